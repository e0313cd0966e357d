"""Scenes about files that are carried in clear."""

from __future__ import annotations

import hashlib
import random
import zlib
from struct import pack
from typing import TYPE_CHECKING, Any

from samples.record import servers, servers_files
from samples.record.case import Case
from samples.record.lab import Lab, Tap

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SERVER, CLIENT = "192.0.2.60", "192.0.2.101"
NAME = "files.example.com"
AGENT = ("-A", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0")


def _png(noise: random.Random) -> bytes:
    """A picture of 60 by 50 grey dots (PNG, third edition, section 5)."""
    dots = b"".join(b"\0" + noise.randbytes(60) for _ in range(50))
    chunks = (b"IHDR" + pack(">IIBBBBB", 60, 50, 8, 0, 0, 0, 0), b"IDAT" + zlib.compress(dots), b"IEND")
    framed = (pack(">I", len(each) - 4) + each + pack(">I", zlib.crc32(each)) for each in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def files(lab: Lab, out: Path) -> Case:
    """Files up and down over HTTP, FTP in both modes, mail and SMB."""
    server, client = lab.host("files", f"{SERVER}/24"), lab.host("client1", f"{CLIENT}/24")
    noise = random.Random(5)  # noqa: S311 the content of files, the same in each recording
    table = "".join(f"{number},{noise.randrange(1000)}\n" for number in range(600)).encode()
    picture = _png(noise)
    page = b"%PDF-1.7\n" + noise.randbytes(2000) + b"\n.\n..\n%%EOF\n"
    servers.web(server)
    server.write("www/table.csv", table)
    servers_files.ftp(server)
    server.write("ftp/pub/picture.png", picture)
    servers_files.mail(server)
    servers_files.smb(server)
    server.write("share/letters/page.pdf", page)
    for path in ("ftp/in", "share", "share/letters"):
        (server.folder / path).chmod(0o777)
    up = client.write("notes.txt", "all quiet\n" * 300)
    image, document = client.write("picture.png", picture), client.write("page.pdf", page)
    ftp = f"ftp://{SERVER}"
    client.etc("hosts", f"127.0.0.1 localhost\n{SERVER} {NAME}\n")
    with Tap(lab, out):
        client.run("curl", "-sS", *AGENT, "-o", "/dev/null", f"http://{NAME}/table.csv")
        client.run("curl", "-sS", *AGENT, "-o", "/dev/null", "-r", "100-499", f"http://{NAME}/table.csv")
        form = ("-F", "title=two files", "-F", f"one=@{up};type=text/plain", "-F", f"two=@{image}")
        client.run("curl", "-sS", "-o", "/dev/null", *AGENT, "-H", "Expect:", *form, f"http://{NAME}/form")
        client.run(
            "curl", "-sS", "-o", "/dev/null", f"{ftp}/pub/", f"{ftp}/pub/picture.png", "-o", "/dev/null"
        )
        client.run("curl", "-sS", "-o", "/dev/null", "-P", "-", "--disable-eprt", f"{ftp}/pub/picture.png")
        client.run("curl", "-sS", "-T", str(up), f"{ftp}/in/notes.txt")
        client.run(
            *("swaks", "--server", SERVER, "--from", "amelia@example.com", "--to", "fred@example.com"),
            *(
                "--header",
                "Subject: two things",
                "--body",
                "see below",
                "--h-Message-Id",
                "<7@mail.example.com>",
            ),
            *("--attach-type", "image/png", "--attach-name", "picture.png", "--attach", f"@{image}"),
            *("--attach-type", "application/pdf", "--attach-name", "page.pdf", "--attach", f"@{document}"),
        )
        commands = f"get letters/page.pdf {client.folder}/got.pdf; put {up} notes.txt"
        client.run("smbclient", "-N", f"//{SERVER}/public", "-c", commands)
    seen: dict[str, Any] = {
        "event.dataset": "network_traffic.file",
        "source.ip": CLIENT,
        "destination.ip": SERVER,
    }

    def file(source: str, name: str, content: bytes, **more: Any) -> dict[str, Any]:
        told = {
            "netflight.file.source": source,
            "netflight.file.complete": True,
            "file.name": name,
            "file.size": len(content),
            "file.hash.sha256": hashlib.sha256(content).hexdigest(),
        }
        return {**seen, **told, **more}

    text = up.read_bytes()
    to_server = {"netflight.file.direction": "to_server"}
    return Case(
        title="Files over HTTP, FTP, mail and SMB: downloads, a range, a form, attachments, both FTP modes",
        recorded="curl, swaks and smbclient against nginx, vsftpd, aiosmtpd and Samba. The range of a file is "
        "incomplete on purpose.",
        packages=("nginx", "curl", "vsftpd", "swaks", "python3-aiosmtpd", "samba", "smbclient"),
        counted=("http", "flow"),
        sent={"http": 3},
        contains=[
            file("HTTP", "table.csv", table, **{"url.path": "/table.csv"}),
            {
                **seen,
                "file.name": "table.csv",
                "netflight.file.complete": False,
                "netflight.file.bytes_seen": 400,
            },
            file("HTTP", "notes.txt", text, **to_server),
            file("HTTP", "picture.png", picture, **to_server, **{"file.mime_type": "image/png"}),
            file("FTP_DATA", "picture.png", picture, **{"file.path": "picture.png"}),
            file("FTP_DATA", "notes.txt", text, **to_server),
            file("SMTP", "picture.png", picture, **to_server, **{"email.message_id": "<7@mail.example.com>"}),
            file("SMTP", "page.pdf", page, **to_server, **{"file.mime_type": "application/pdf"}),
            file("SMB", "page.pdf", page, **{"file.path": "letters\\page.pdf"}),
            file("SMB", "notes.txt", text, **to_server),
        ],
    )


SCENES: dict[str, Callable[[Lab, Path], Case]] = {"files": files}
