"""Parts against tshark: no packet in which it finds a handshake message or a head was taken for bulk."""

import subprocess
from pathlib import Path

from producers.engine.engine import FlowEngine
from producers.engine.kernel.layout import Part
from producers.sources.opening import expand, open_path
from tests.captures import captures

TELLING = (
    "tls.handshake.type || dtls.handshake.type || http.request || http.response || ssh.message_code"
    " || quic.long.packet_type || wg.type < 4 || stun || rtcp || dns || sip"
)
MOST = 30
KEYS_INSIDE = {"http2-with-cookies.pcapng"}
"""Captures that bring their TLS keys: tshark decrypts what the engine rightly takes for encrypted."""


def bulk(path: str) -> set[int]:
    """The frames that are BODY or ENCRYPTED."""
    engine = FlowEngine()
    frames: set[int] = set()
    for block in open_path(path).blocks():
        parts = engine.feed(block).facts["part"]
        frames |= {
            block.first_frame + at for at, part in enumerate(parts) if part in (Part.BODY, Part.ENCRYPTED)
        }
    return frames


def telling(path: str) -> set[int]:
    """The frames in which tshark finds a message, each where it begins: bodies are not put together."""
    command = ["tshark", "-n", "-o", "http.desegment_body:FALSE", "-o", "http.dechunk_body:FALSE", "-r", path]
    command += ["-Y", TELLING, "-T", "fields", "-e", "frame.number"]
    return {int(line) for line in subprocess.run(command, capture_output=True, check=True).stdout.split()}


def test_no_message_is_taken_for_bulk() -> None:
    """Looks at the captures with the most bulk; each one costs a start of tshark."""
    found = {
        path: bulk(path) for path in expand([str(captures())]).captures if Path(path).name not in KEYS_INSIDE
    }
    most = sorted(found, key=lambda path: len(found[path]), reverse=True)[:MOST]
    assert sum(len(found[path]) for path in most) > 0.9 * sum(map(len, found.values()))
    hidden = {Path(path).name: found[path] & telling(path) for path in most}
    assert not {name: frames for name, frames in hidden.items() if frames}
