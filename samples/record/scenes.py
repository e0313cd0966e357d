"""The scenes of the samples, by name, and the everyday ones: DNS, web, SSH, DHCP, ping."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING, Any

from samples.record import (
    hostile,
    scenes_db,
    scenes_files,
    scenes_ics,
    scenes_mail,
    scenes_net,
    scenes_rpc,
    scenes_web,
    scenes_windows,
    servers,
)
from samples.record.case import Case
from samples.record.lab import Lab, Tap, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from samples.record.lab import Host

BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"

DNS4, DNS6 = "192.0.2.53", "2001:db8:0:2::53"
QUERIES: list[tuple[str, str, str, str]] = [  # server, name, type, response code
    (DNS4, "www.example.com", "A", "NOERROR"),
    (DNS4, "www.example.com", "AAAA", "NOERROR"),
    (DNS4, "shop.example.com", "A", "NOERROR"),
    (DNS4, "example.com", "MX", "NOERROR"),
    (DNS4, "example.com", "TXT", "NOERROR"),
    (DNS4, "example.com", "NS", "NOERROR"),
    (DNS4, "example.com", "SOA", "NOERROR"),
    (DNS4, "example.com", "CAA", "NOERROR"),
    (DNS4, "_sip._tcp.example.com", "SRV", "NOERROR"),
    (DNS4, "80.2.0.192.in-addr.arpa", "PTR", "NOERROR"),
    (DNS4, "nothing-here.example.com", "A", "NXDOMAIN"),
    (DNS4, "mail1.example.com", "AAAA", "NOERROR"),  # the name is there, the type is not
    (DNS4, "elsewhere.example.org", "A", "REFUSED"),
    (DNS4, "big.example.com", "TXT", "NOERROR"),  # truncated, then asked again over TCP
    (DNS6, "www.example.com", "A", "NOERROR"),
    (DNS6, "www.example.com", "AAAA", "NOERROR"),
    (DNS6, "gone.example.net", "A", "NXDOMAIN"),
]


def know_each_other(one: Host, other: Host, address_one: str, address_other: str) -> None:
    """Give two hosts each other's IPv6 neighbour entry: the scene is not about neighbour discovery."""
    for host, peer, address in ((one, other, address_other), (other, one, address_one)):
        mac = peer.run("cat", "/sys/class/net/eth0/address").strip()
        host.run("ip", "neigh", "replace", address, "lladdr", mac, "dev", "eth0", "nud", "permanent")


def dns(lab: Lab, out: Path) -> Case:
    """Every question of QUERIES, and one that gets no answer."""
    server = lab.host("ns1", f"{DNS4}/24", f"{DNS6}/64")
    client = lab.host("client1", "192.0.2.101/24", "2001:db8:0:2::101/64")
    know_each_other(server, client, DNS6, "2001:db8:0:2::101")
    servers.dns(server)
    with Tap(lab, out):
        for address, name, kind, _ in QUERIES:
            client.run("dig", f"@{address}", name, kind, "+tries=1")
        client.run("dig", f"@{DNS4}", "silent.example.com", "A", "+tries=1", "+time=2", ok=(9,))
    contains: list[dict[str, Any]] = [
        {
            "event.dataset": "network_traffic.dns",
            "dns.question.name": name,
            "dns.question.type": kind,
            "dns.response_code": code,
            "destination.ip": address,
            "destination.port": 53,
        }
        for address, name, kind, code in QUERIES
    ]
    contains[0] |= {"dns.resolved_ip": ["192.0.2.80"], "network.transport": "udp"}
    contains[1] |= {"dns.resolved_ip": ["2001:db8:0:2::80"]}
    contains[2] |= {"dns.resolved_ip": ["192.0.2.80", "192.0.2.81"], "dns.answers_count": 4}
    contains[3] |= {"dns.answers_count": 2}
    contains += [
        {
            "event.dataset": "network_traffic.dns",
            "dns.question.name": "big.example.com",
            "network.transport": "tcp",
        },
        {
            "event.dataset": "network_traffic.dns",
            "dns.question.name": "silent.example.com",
            "dns.question.type": "A",
        },
        {"event.dataset": "network_traffic.flow", "network.transport": "tcp", "destination.port": 53},
    ]
    events = len(QUERIES) + 2  # the repeat over TCP, the unanswered one
    return Case(
        title="DNS: common record types, a name that is missing, a truncated answer, one without answer",
        recorded="dig asked a BIND 9 server over IPv4 and IPv6. The TXT record of big.example.com does not fit "
        "into UDP, so dig asks again over TCP. A response policy makes the server silent about "
        "silent.example.com.",
        packages=("bind9", "bind9-dnsutils"),
        counted=("dns", "flow", "arp"),
        sent={"dns": events, "flow": events},
        contains=contains,
    )


WEB = "192.0.2.80"


def web(lab: Lab, out: Path) -> Case:
    """Requests over HTTP and HTTPS, and two TLS handshakes that fail."""
    server = lab.host("web1", f"{WEB}/24")
    client = lab.host("client1", "192.0.2.101/24")
    certs = servers.certificates(server.folder, "www.example.com", "shop.example.com")
    servers.web(server, certs)
    client.etc("hosts", f"127.0.0.1 localhost\n{WEB} www.example.com shop.example.com\n")
    here, secure = "http://www.example.com", "https://www.example.com"
    trust = ("--cacert", str(certs.authority))

    def curl(*argv: str, ok: tuple[int, ...] = (0,)) -> None:
        client.run("curl", "-sS", "-A", BROWSER, "-o", "/dev/null", *argv, ok=ok)

    with Tap(lab, out):
        # Three requests in one connection; -o for each URL.
        curl(f"{here}/", "-o", "/dev/null", f"{here}/style.css", "-o", "/dev/null", f"{here}/about.html")
        curl("-I", f"{here}/")
        curl(f"{here}/old")
        curl(f"{here}/missing")
        curl(f"{here}/fail")
        curl("-d", "name=Amelia&message=hello", f"{here}/form")
        curl("-e", f"{here}/about.html", f"{here}/search?q=flight+recorder&page=2")
        curl("-H", "X-Forwarded-For: 203.0.113.7", f"{here}/status.json")
        curl("--compressed", f"{here}/long.html")  # nginx compresses on the fly: chunked
        curl(f"{here}/files/report.bin")
        curl(*trust, "--tls-max", "1.2", "--ciphers", "ECDHE-ECDSA-AES128-GCM-SHA256", f"{secure}/")
        curl(*trust, "--tlsv1.3", "--tls13-ciphers", "TLS_AES_256_GCM_SHA384", f"{secure}/about.html")
        curl(*trust, "--tls-max", "1.2", "https://shop.example.com/")
        curl("--tls-max", "1.2", f"{secure}/", ok=(60,))  # does not know the authority: alert unknown_ca
        client.run(  # the server refuses TLS 1.1: alert protocol_version
            "openssl",
            "s_client",
            "-connect",
            f"{WEB}:443",
            "-servername",
            "old.example.com",
            "-tls1_1",
            "-cipher",
            "ALL:@SECLEVEL=0",
            ok=(1,),
        )
    http: dict[str, Any] = {
        "event.dataset": "network_traffic.http",
        "destination.ip": WEB,
        "destination.port": 80,
    }
    tls: dict[str, Any] = {
        "event.dataset": "network_traffic.tls",
        "destination.ip": WEB,
        "destination.port": 443,
    }
    certificate = {"tls.server.x509.serial_number": certs.serial, "tls.server.hash.sha1": certs.sha1.upper()}

    def request(method: str, path: str, status: int, **more: Any) -> dict[str, Any]:
        event = {**http, "http.request.method": method, "url.path": path, "http.response.status_code": status}
        return event | {name.replace("__", "."): value for name, value in more.items()}

    return Case(
        title="Web: HTTP/1.1 with and without TLS, keep-alive, redirects and errors, failed TLS handshakes",
        recorded="curl and openssl s_client asked an nginx server. The certificate is of a test authority made for "
        "the recording and thrown away. One client does not know the authority, one only speaks TLS 1.1.",
        packages=("nginx", "curl", "openssl"),
        counted=("http", "tls", "flow", "arp"),
        sent={"http": 12, "tls": 5, "flow": 15},
        contains=[
            request(
                "GET",
                "/",
                200,
                url__domain="www.example.com",
                user_agent__original=BROWSER,
                http__version="1.1",
            ),
            request("GET", "/style.css", 200, http__response__mime_type="text/css"),
            request("GET", "/about.html", 200, http__response__mime_type="text/html"),
            request("HEAD", "/", 200),
            request("GET", "/old", 301),
            request("GET", "/missing", 404),
            request("GET", "/fail", 500),
            request("POST", "/form", 200, http__response__mime_type="text/plain"),
            request(
                "GET",
                "/search",
                200,
                url__query="q=flight+recorder&page=2",
                http__request__referrer=f"{here}/about.html",
            ),
            request("GET", "/status.json", 200, network__forwarded_ip="203.0.113.7"),
            request("GET", "/long.html", 200),
            request("GET", "/files/report.bin", 200, http__response__body__bytes=200 * 1024),
            {
                **tls,
                **certificate,
                "tls.version": "1.2",
                "tls.client.server_name": "www.example.com",
                "tls.cipher": "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
            },
            {
                **tls,
                "tls.version": "1.3",
                "tls.client.server_name": "www.example.com",
                "tls.cipher": "TLS_AES_256_GCM_SHA384",
            },
            {**tls, **certificate, "tls.version": "1.2", "tls.client.server_name": "shop.example.com"},
            {**tls, "tls.client.server_name": "old.example.com"},
        ],
    )


def ssh(lab: Lab, out: Path) -> Case:
    """A command and a copy, both with a key."""
    server, client = lab.host("files", "192.0.2.22/24"), lab.host("client1", "192.0.2.101/24")
    login = servers.ssh(server, client)
    upload = client.write("report.txt", "all quiet\n" * 2000)
    options = (
        "-F",
        "/dev/null",
        "-i",
        str(login.key),
        "-o",
        "StrictHostKeyChecking=no",
        "-o",
        "LogLevel=ERROR",
        "-o",
        f"UserKnownHostsFile={client.folder}/known_hosts",
    )
    with Tap(lab, out):
        client.run("ssh", *options, f"{login.user}@192.0.2.22", "cat notes.txt")
        client.run("scp", *options, str(upload), f"{login.user}@192.0.2.22:report.txt")
    event: dict[str, Any] = {
        "source.ip": "192.0.2.101",
        "destination.ip": "192.0.2.22",
        "destination.port": 22,
    }
    return Case(
        title="SSH: a login with a key, and a copy with scp",
        recorded="OpenSSH's ssh and scp against its sshd: one remote command, then one file of 20 KB copied "
        "to the server.",
        packages=("openssh-server", "openssh-client"),
        counted=("ssh", "flow", "arp"),
        sent={"ssh": 2, "flow": 2},
        contains=[
            {"event.dataset": "network_traffic.ssh", **event},
            {"event.dataset": "network_traffic.flow", "network.transport": "tcp", **event},
        ],
    )


UDHCPC_SCRIPT = """\
#!/bin/sh
case "$1" in
  bound|renew) ip address replace "$ip/$mask" dev "$interface"; echo "$1" >> lease.log ;;
  deconfig) ip -4 address flush dev "$interface" ;;
esac
"""


def dhcp(lab: Lab, out: Path) -> Case:
    """A lease is asked for, used, renewed and given back."""
    server, client = lab.host("gateway", "192.0.2.1/24"), lab.host("client1")
    servers.dhcp(server)
    # The gateway does not check whether the client is still there while the lease is given back.
    server.run("sysctl", "-qw", "net.ipv4.neigh.eth0.delay_first_probe_time=60")
    script = client.write("lease.sh", UDHCPC_SCRIPT, 0o755)
    leases = client.write("lease.log", "")
    mac = client.run("cat", "/sys/class/net/eth0/address").strip().upper().replace(":", "-")
    with Tap(lab, out):
        # Ask, check by ARP that nobody has the address, renew when told, release at the end.
        udhcpc = client.start(
            "udhcpc", "-f", "-R", "-a", "-i", "eth0", "-x", "hostname:client1", "-s", str(script)
        )
        wait_for(lambda: "bound" in leases.read_text(), "a lease")
        client.run("ping", "-c", "2", "-i", "0.3", "192.0.2.1")
        lab.tell(udhcpc, signal.SIGUSR1)
        wait_for(lambda: "renew" in leases.read_text(), "the renewal")
        time.sleep(0.5)
        lab.stop(udhcpc)
    message: dict[str, Any] = {"event.dataset": "network_traffic.dhcpv4"}
    return Case(
        title="DHCP: discover, offer, request, acknowledge, renewal, release",
        recorded="busybox udhcpc got a lease of dnsmasq, probed the address by ARP, pinged the gateway twice, renewed "
        "the lease and gave it back.",
        packages=("dnsmasq-base", "udhcpc", "iputils-ping"),
        counted=("dhcpv4", "icmp", "arp", "flow"),
        sent={"dhcpv4": 7, "icmp": 2, "arp": 3},
        contains=[
            {**message, "source.mac": mac, "destination.port": 67, "source.ip": "0.0.0.0"},  # noqa: S104
            {**message, "source.ip": "192.0.2.1", "source.port": 67, "destination.port": 68},
            {"event.dataset": "network_traffic.arp"},
        ],
    )


def ping(lab: Lab, out: Path) -> Case:
    """Echoes through a router, and what comes back when there is nobody, no port, no time left."""
    client = lab.host("client1", "192.0.2.101/24", "2001:db8:0:2::101/64")
    router = lab.host("router", "192.0.2.1/24", "2001:db8:0:2::1/64")
    lab.plug(router, "eth1", "far", "198.51.100.1/24", "2001:db8:0:51::1/64")
    server = lab.host("server1", "198.51.100.20/24", "2001:db8:0:51::20/64", segment="far")
    router.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
    for host, *gateways in (
        (client, "192.0.2.1", "2001:db8:0:2::1"),
        (server, "198.51.100.1", "2001:db8:0:51::1"),
    ):
        for gateway in gateways:
            host.run("ip", "route", "add", "default", "via", gateway)
    fast = ("-i", "0.2")
    with Tap(lab, out):
        client.run("ping", *fast, "-c", "4", "198.51.100.20")
        client.run("ping", *fast, "-c", "4", "2001:db8:0:51::20")
        client.run("ping", *fast, "-c", "2", "-s", "3000", "198.51.100.20")  # three fragments each way
        client.run("ping", "-c", "1", "-t", "1", "198.51.100.20", ok=(1,))
        client.run("ping", "-c", "1", "-t", "1", "2001:db8:0:51::20", ok=(1,))
        client.run("ping", "-c", "1", "-W", "5", "198.51.100.99", ok=(1,))
        client.run("ping", "-c", "1", "-W", "5", "2001:db8:0:51::99", ok=(1,))
        # A port nobody listens on: the ICMP error quotes the question.
        client.run("dig", "@198.51.100.20", "www.example.com", "+tries=1", "+time=1", ok=(9,))
        client.run("dig", "@2001:db8:0:51::20", "www.example.com", "+tries=1", "+time=1", ok=(9,))
    four = {"event.dataset": "network_traffic.icmp", "network.transport": "icmp"}
    six = {"event.dataset": "network_traffic.icmp", "network.transport": "ipv6-icmp"}
    return Case(
        title="ICMP: echoes, fragments, time exceeded, host and port unreachable, over IPv4 and IPv6",
        recorded="ping through a Linux router to a host, with time-to-live 1, and to an address that nobody has; "
        "dig to a port that nobody listens on. Captured on the client's segment, with ARP and neighbour discovery.",
        packages=("iputils-ping", "bind9-dnsutils"),
        counted=("icmp", "arp"),
        contains=[
            {**four, "source.ip": "192.0.2.101", "destination.ip": "198.51.100.20"},
            {**six, "source.ip": "2001:db8:0:2::101", "destination.ip": "2001:db8:0:51::20"},
            {**four, "source.ip": "192.0.2.1", "destination.ip": "192.0.2.101"},
            {**four, "source.ip": "198.51.100.20", "destination.ip": "192.0.2.101"},
            {**six, "source.ip": "2001:db8:0:2::1", "destination.ip": "2001:db8:0:2::101"},
            {"event.dataset": "network_traffic.dns", "dns.question.name": "www.example.com"},
        ],
    )


SCENES: dict[str, Callable[[Lab, Path], Case]] = {
    "dns": dns,
    "web": web,
    "ssh": ssh,
    "dhcp": dhcp,
    "ping": ping,
    "port_scan": hostile.port_scan,
    "ssh_bruteforce": hostile.ssh_bruteforce,
    "beacon": hostile.beacon,
    "dns_tunnel": hostile.dns_tunnel,
    "office_day": hostile.office_day,
    **scenes_net.SCENES,
    **scenes_rpc.SCENES,
    **scenes_db.SCENES,
    **scenes_ics.SCENES,
    **scenes_mail.SCENES,
    **scenes_windows.SCENES,
    **scenes_web.SCENES,
    **scenes_files.SCENES,
}
