"""Real servers for the laboratory's hosts, with throw-away keys and passwords."""

from __future__ import annotations

import random
import secrets
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from samples.record.lab import wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from samples.record.lab import Host

LONG_TEXT = " ".join(f'"{i:03d} {"flight recorder " * 12}"' for i in range(16))  # 3 KB: more than UDP takes

EXAMPLE_COM = f"""\
$TTL 3600
@       SOA   ns1 hostmaster 2026010101 7200 3600 1209600 300
@       NS    ns1
@       MX    10 mail1
@       MX    20 mail2
@       TXT   "v=spf1 mx -all"
@       CAA   0 issue "ca.example.net"
ns1     A     192.0.2.53
ns1     AAAA  2001:db8:0:2::53
www     A     192.0.2.80
www     AAAA  2001:db8:0:2::80
shop    CNAME store
store   CNAME web-pool
web-pool 60 A 192.0.2.80
web-pool 60 A 192.0.2.81
mail1   A     192.0.2.25
mail2   A     192.0.2.26
intranet A    192.0.2.80
files   A     192.0.2.22
_sip._tcp SRV 10 60 5060 sip1
sip1    A     192.0.2.61
big     TXT   {LONG_TEXT}
"""

EXAMPLE_NET = """\
$TTL 300
@       SOA   ns1.example.com. hostmaster.example.com. 2026010101 7200 3600 1209600 300
@       NS    ns1.example.com.
cdn-updates A 198.51.100.66
ns.t    A     198.51.100.53
t       NS    ns.t
"""

REVERSE = """\
$TTL 3600
@       SOA   ns1.example.com. hostmaster.example.com. 2026010101 7200 3600 1209600 300
@       NS    ns1.example.com.
80      PTR   www.example.com.
"""

# A response policy zone whose one rule makes the server stay silent about a name.
SILENCE = """\
$TTL 60
@       SOA   localhost. hostmaster.example.com. 1 7200 3600 1209600 60
@       NS    localhost.
silent.example.com CNAME rpz-drop.
"""

NAMED_CONF = """\
options {{
  directory "{folder}"; pid-file none; session-keyfile none; dnssec-validation no;
  listen-on {{ any; }}; listen-on-v6 {{ any; }}; recursion no; notify no; hostname none; server-id none;
  response-policy {{ zone "silence.test"; }} recursive-only no qname-wait-recurse no;
}};
controls {{ }};
zone "example.com" {{ type primary; file "example.com.zone"; }};
zone "example.net" {{ type primary; file "example.net.zone"; }};
zone "2.0.192.in-addr.arpa" {{ type primary; file "reverse.zone"; }};
zone "silence.test" {{ type primary; file "silence.zone"; }};
"""


def dns(host: Host) -> None:
    """BIND with the zones above; the name silent.example.com gets no answer."""
    zones = {"example.com": EXAMPLE_COM, "example.net": EXAMPLE_NET, "reverse": REVERSE, "silence": SILENCE}
    for name, text in zones.items():
        host.write(f"{name}.zone", text)
    conf = host.write("named.conf", NAMED_CONF.format(folder=host.folder))
    host.start("named", "-g", "-n", "1", "-c", str(conf))
    wait_for(lambda: host.listening(53) and host.listening(53, "udp"), "named")
    log = host.folder / "named.log"
    wait_for(lambda: "running" in log.read_text(errors="replace"), "named to load its zones")


@dataclass(frozen=True)
class Certificates:
    """Paths of a test authority's certificate and of a server's certificate and key, with what they say."""

    authority: Path
    server: Path
    key: Path
    serial: str  # hexadecimal, upper case
    sha1: str  # hexadecimal, lower case


def certificates(folder: Path, name: str, *others: str) -> Certificates:
    """Make a test authority and a server certificate for `name` (and `others`) that it signed."""
    ca, ca_key = folder / "ca.pem", folder / "ca.key"
    cert, key, request, extensions = (folder / f"server.{end}" for end in ("pem", "key", "csr", "ext"))
    names = ",".join(f"DNS:{each}" for each in (name, *others))
    extensions.write_text(f"subjectAltName={names}\nbasicConstraints=CA:FALSE\n")
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    _openssl(
        "req",
        "-x509",
        *curve,
        "-days",
        "3650",
        "-subj",
        "/O=Example/CN=Example Test CA",
        "-keyout",
        str(ca_key),
        "-out",
        str(ca),
    )
    _openssl("req", *curve, "-subj", f"/O=Example/CN={name}", "-keyout", str(key), "-out", str(request))
    _openssl(
        "x509",
        "-req",
        "-in",
        str(request),
        "-CA",
        str(ca),
        "-CAkey",
        str(ca_key),
        "-days",
        "825",
        "-set_serial",
        "0x" + f"{secrets.randbits(126) | 1 << 126:x}",
        "-extfile",
        str(extensions),
        "-out",
        str(cert),
    )
    serial = _openssl("x509", "-in", str(cert), "-noout", "-serial").split("=", 1)[1].strip()
    sha1 = _openssl("x509", "-in", str(cert), "-noout", "-fingerprint", "-sha1").split("=", 1)[1].strip()
    return Certificates(ca, cert, key, serial, sha1.replace(":", "").lower())


def _openssl(*argv: str) -> str:
    return subprocess.run(["openssl", *argv], capture_output=True, text=True, check=True).stdout


NGINX_CONF = """\
daemon off; master_process off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
  access_log off; server_tokens off; keepalive_timeout 30s; default_type application/octet-stream;
  types {{ text/html html; text/css css; text/plain txt; application/json json; image/svg+xml svg; }}
  gzip on; gzip_min_length 256;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  server {{
    listen 80; listen [::]:80; {tls}
    root {folder}/www;
    location = /old {{ return 301 /about.html; }}
    location = /fail {{ return 500 "out of order\\n"; }}
    location = /form {{ default_type text/plain; return 200 "thank you\\n"; }}
    location = /search {{ default_type text/html; return 200 "<p>no result for $arg_q</p>\\n"; }}
    location = /updates/check {{ default_type text/plain; return 200 "none\\n"; }}
  }}
}}
"""


def web(host: Host, certs: Certificates | None = None) -> None:
    """Run nginx on port 80, and on 443 (TLS 1.2 and 1.3) where there is a certificate."""
    noise = random.Random(200_000)  # noqa: S311 the content of a download, the same in each recording
    paragraph = "<p>A flight recorder keeps what happened.</p>\n"
    pages: dict[str, str | bytes] = {
        "index.html": "<html><link rel=stylesheet href=style.css><body>Welcome</body></html>\n",
        "about.html": f"<html><body>{paragraph}</body></html>\n",
        "style.css": "body { font: 1em serif }\n",
        "long.html": f"<html><body>{paragraph * 200}</body></html>\n",
        "status.json": '{"status": "up"}\n',
        "files/report.bin": noise.randbytes(200 * 1024),
        "files/photo.bin": noise.randbytes(60 * 1024),
    }
    for name, content in pages.items():
        host.write(f"www/{name}", content)
    tls = ""
    if certs:
        tls = (
            f"listen 443 ssl; listen [::]:443 ssl; ssl_protocols TLSv1.2 TLSv1.3; "
            f"ssl_certificate {certs.server}; ssl_certificate_key {certs.key};"
        )
    conf = host.write("nginx.conf", NGINX_CONF.format(folder=host.folder, tls=tls))
    host.start("nginx", "-c", str(conf), "-e", str(host.folder / "error.log"))
    wait_for(lambda: host.listening(80), "nginx")


SSHD_CONF = """\
HostKey {folder}/host_ed25519
PidFile none
UsePAM no
StrictModes no
MaxStartups 50
UseDNS no
PasswordAuthentication yes
AuthorizedKeysFile {folder}/authorized_keys
Subsystem sftp internal-sftp
"""


@dataclass(frozen=True)
class Login:
    """How to log in to the host that `ssh` set up: exists until the laboratory is taken down."""

    user: str
    password: str
    key: Path


def ssh(host: Host, client: Host) -> Login:
    """OpenSSH with one account, `alice`, that only exists on this host; the client gets a key for it."""
    password = secrets.token_urlsafe(18)
    home = host.write("home/notes.txt", "left on the server\n").parent
    hashed = subprocess.run(
        ["openssl", "passwd", "-6", "-stdin"], input=password, capture_output=True, text=True, check=True
    ).stdout.strip()
    me = "root:x:0:0:root:/root:/bin/sh\n"
    host.etc(
        "passwd",
        f"{me}sshd:x:104:65534::/run/sshd:/usr/sbin/nologin\nalice:x:2001:2001::{home}:/bin/sh\n",
    )
    host.etc("group", "root:x:0:\nnogroup:x:65534:\nalice:x:2001:\n")
    host.etc("shadow", f"root:*:20000:0:99999:7:::\nsshd:*:20000::::::\nalice:{hashed}:20000:0:99999:7:::\n")
    subprocess.run(["chown", "-R", "2001:2001", str(home)], check=True)
    key = client.folder / "id_ed25519"
    for path, owner in ((key, "alice@client"), (host.folder / "host_ed25519", "host")):
        argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", owner, "-f", str(path)]
        subprocess.run(argv, check=True)
    host.write("authorized_keys", key.with_suffix(".pub").read_text())
    conf = host.write("sshd_config", SSHD_CONF.format(folder=host.folder))
    host.start("sh", "-c", f"mkdir -p /run/sshd && exec /usr/sbin/sshd -D -e -f {conf}")
    wait_for(lambda: host.listening(22), "sshd")
    return Login("alice", password, key)


DNSMASQ_CONF = """\
port=0
interface=eth0
bind-interfaces
no-ping
leasefile-ro
dhcp-authoritative
dhcp-range=192.0.2.100,192.0.2.120,255.255.255.0,1h
dhcp-option=option:router,192.0.2.1
dhcp-option=option:dns-server,192.0.2.53
domain=example.com
log-dhcp
"""


def dhcp(host: Host) -> None:
    """Run dnsmasq, handing out 192.0.2.100-120."""
    conf = host.write("dnsmasq.conf", DNSMASQ_CONF)
    host.start("dnsmasq", "-k", f"--conf-file={conf}", "--user=root", "--log-facility=-")
    wait_for(lambda: host.listening(67, "udp"), "dnsmasq")


def tunnel(host: Host) -> str:
    """iodined, IP over DNS below t.example.net, 10.53.0.1 at its end; returns the tunnel's password."""
    password = secrets.token_urlsafe(12)
    host.start("iodined", "-f", "-c", "-P", password, "10.53.0.1/24", "t.example.net")
    wait_for(lambda: host.listening(53, "udp"), "iodined")
    return password
