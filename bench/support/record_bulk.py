"""Records the bulk capture: a million packets of web downloads, by curl from nginx, on a network of namespaces.

Two hosts on one Ethernet segment, MTU 1500, offloads off, so that packets are as on a cable; dumpcap listens on
the segment. Most downloads are TLS 1.3 or 1.2, with HTTP/1.1 or HTTP/2, some plain HTTP; pages with many objects
over one connection, single files over one each. It takes about a minute and needs root.
"""

import os
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from runtime.errors import NetflightError, UsageError
from samples.record.lab import Host, Lab, LabError, Tap, together, wait_for
from samples.record.servers import Certificates, certificates

PACKETS = 1_000_000
"""So many packets a bulk capture has at least."""

PROGRAMS = {
    "ip": "iproute2",
    "ethtool": "ethtool",
    "dumpcap": "wireshark-common",
    "nginx": "nginx-light",
    "curl": "curl",
    "openssl": "openssl",
}
"""What recording needs, and the Debian packages it is in."""
_SERVERS = ("192.0.2.80", "192.0.2.81", "192.0.2.82")
_CLIENTS = tuple(f"192.0.2.{number}" for number in range(101, 109))
_NAMES = 12
_AT_ONCE = 6
_BUFFER_MIB = 512
_SECONDS = 120  # no download lasts so long

# Objects by their size in bytes: what pages are made of, and what people fetch.
_SMALL = {f"small/{n}.js": 400 * 2**n for n in range(8)}
_MEDIUM = {f"medium/{n}.jpg": 60_000 * (n + 1) for n in range(8)}
_LARGE = {f"large/{n}.iso": 4_000_000 * (n + 1) for n in range(4)}

_CONF = """\
daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off; server_tokens off; keepalive_timeout 30s; default_type application/octet-stream;
  sendfile on; tcp_nopush on; limit_rate {rate};
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  server {{
    listen 80; listen 443 ssl http2;
    ssl_protocols TLSv1.2 TLSv1.3; ssl_certificate {certs.server}; ssl_certificate_key {certs.key};
    root {folder}/www;
  }}
}}
"""


def record_bulk(path: Path, packets: int = PACKETS) -> None:
    """Record a capture of at least `packets` packets to `path`.

    Raises UsageError where root or a program is missing, NetflightError where the recording fails or packets
    were lost; nothing stays at `path` then.
    """
    _require()
    partial_path = path.with_suffix(".part")
    try:
        with Lab() as lab:
            certs = certificates(lab.folder, "www.example.com", "*.example.com")
            server = lab.host("web", *(f"{address}/24" for address in _SERVERS))
            client = lab.host("clients", *(f"{address}/24" for address in _CLIENTS))
            _serve(server, certs)
            with Tap(lab, partial_path, buffer=_BUFFER_MIB):
                together(_visits(client, certs, packets), _AT_ONCE)
        partial_path.replace(path)
    except (LabError, subprocess.SubprocessError) as error:
        raise NetflightError(f"recording the bulk capture: {error}", "run the same command again") from error
    finally:
        partial_path.unlink(missing_ok=True)


def _require() -> None:
    if os.geteuid() != 0:
        raise UsageError(
            "the bulk capture is not recorded yet, and recording it needs root (network namespaces, dumpcap)",
            "run this once with sudo, or name a capture with --capture",
        )
    search = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    missing = [package for name, package in PROGRAMS.items() if not shutil.which(name, path=search)]
    if missing:
        raise UsageError(
            "the bulk capture is not recorded yet, and programs to record it are missing",
            f"apt-get install {' '.join(missing)}, or name a capture with --capture",
        )


def _serve(host: Host, certs: Certificates, rate: str = "24m") -> None:
    noise = random.Random(1_000_000)  # noqa: S311  # what is downloaded, the same in each recording
    for name, size in (_SMALL | _MEDIUM | _LARGE).items():
        host.write(f"www/{name}", noise.randbytes(size))
    conf = host.write("nginx.conf", _CONF.format(folder=host.folder, certs=certs, rate=rate))
    host.start("nginx", "-c", str(conf), "-e", str(host.folder / "error.log"))
    wait_for(lambda: host.listening(80) and host.listening(443), "nginx")


def _visits(client: Host, certs: Certificates, packets: int) -> Iterator[Callable[[], str]]:
    """Downloads that make at least `packets` packets in all, at some 1,200 bytes each, acknowledgements included."""
    chance = random.Random(443)  # noqa: S311  # chooses downloads, no secrets
    left = packets * 1.1
    while left > 0:
        kind = chance.choices(["call", "page", "file"], weights=[9, 8, 3])[0]
        if kind == "call":  # a few small answers, in a connection of their own
            objects = chance.choices(list(_SMALL), k=chance.randint(1, 3))
        elif kind == "page":  # many objects over one connection
            objects = chance.choices(list(_SMALL), k=chance.randint(4, 12))
            objects += chance.choices(list(_MEDIUM), k=chance.randint(1, 8))
        else:
            objects = chance.choices(list(_LARGE), weights=[8, 4, 2, 1])
        sizes = _SMALL | _MEDIUM | _LARGE
        left -= sum(sizes[name] for name in objects) / 1_200
        yield partial(_fetch, client, certs, objects, chance.randrange(1 << 30))


def _fetch(client: Host, certs: Certificates, objects: list[str], seed: int) -> str:
    """One curl: its objects over one connection, the scheme and versions by chance."""
    chance = random.Random(seed)  # noqa: S311  # as above
    name = f"www{chance.randrange(_NAMES)}.example.com"
    address = chance.choice(_SERVERS)
    secure = chance.random() < 0.9
    argv = ["curl", "-sS", "--fail", "--max-time", str(_SECONDS), "--interface", chance.choice(_CLIENTS)]
    argv += ["--resolve", f"{name}:{443 if secure else 80}:{address}"]
    if secure:
        argv += ["--cacert", str(certs.authority), "--tls-max", chance.choice(["1.2", "1.3", "1.3"])]
        argv += [chance.choice(["--http1.1", "--http2"])]
    scheme = "https" if secure else "http"
    for path in objects:
        argv += ["-o", "/dev/null", f"{scheme}://{name}/{path}"]
    return client.run(*argv, seconds=_SECONDS + 10)
