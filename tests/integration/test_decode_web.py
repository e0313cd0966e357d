"""QUIC, HTTP/2 and TLS against tshark's own columns; messages that share packets, and messages over many."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from struct import pack
from typing import Any

import orjson
import pytest

from schemas.events import Event, get
from tests.captures import captures
from tests.decoding import check, decode, everything
from tests.packets import ethernet, ip, pcap, tcp

pytestmark = [
    pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed"),
]
SAMPLES = Path(__file__).resolve().parents[2] / "samples"
MILLISECOND = 10**6
PUBLIC = (
    *(
        f"arkime/captures/{name}.pcap"
        for name in ("quic24-wireshark", "quic33-wireshark", "quic34", "quic43")
    ),
    *(
        f"arkime/captures/{name}.pcap"
        for name in ("quicietf", "quicietfooo", "fbzero-android", "http2-nghttp2")
    ),
    *(f"arkime/captures/{name}.pcap" for name in ("openvpn_synthetic", "http-basicauth", "http-digestauth")),
    *(f"ja4/captures/{name}.pcapng" for name in ("tls-handshake", "tls3", "ssh2")),
    "protocols/HTTP_websocket.pcap",
)


def paths() -> list[Path]:
    return [
        *(captures() / name for name in PUBLIC),
        *(SAMPLES / name / "capture.pcap" for name in ("http2", "http_logins")),
    ]


def events() -> dict[str, list[Event]]:
    """The events of each capture."""
    told = everything()
    return {str(path): told[str(path)] for path in paths()}


def of(name: str, found: list[Event]) -> list[Event]:
    return [event for event in found if event["event"]["dataset"] == f"network_traffic.{name}"]


def columns(path: Path, shown: str, *fields: str) -> list[list[str]]:
    """tshark's columns of the packets that a display filter shows."""
    command = ["tshark", "-n", "-r", str(path), "-Y", shown, "-T", "fields"]
    for field in fields:
        command += ["-e", field]
    lines = subprocess.run(command, capture_output=True, check=True, text=True).stdout.splitlines()
    return [line.split("\t") for line in lines]


QUIC = "quic.long.packet_type == 0 || quic.supported_version || gquic.tag || fb_zero.tag"


def test_quic_connections_and_names_are_those_of_tshark() -> None:
    seen = 0
    for path in paths():
        ours = of("quic", events()[str(path)])
        rows = columns(path, QUIC, "udp.stream", "tcp.stream")
        assert len(ours) == len({tuple(row) for row in rows}), path.name
        names = columns(
            path, QUIC, "tls.handshake.extensions_server_name", "gquic.tag.sni", "fb_zero.tag.sni"
        )
        wanted = {name for row in names for column in row for name in column.split(",") if name}
        assert {get(event, "tls.client.server_name") for event in ours} - {None} == wanted
        seen += len(ours)
    assert seen > 30


def test_tls_is_told_once_for_each_hello_that_differs() -> None:
    for name in ("tls-handshake", "tls3"):
        path = captures() / "ja4" / "captures" / f"{name}.pcapng"
        rows = columns(path, "tls.handshake.type == 1", "tcp.stream", "udp.stream", "tls.handshake.ja3")
        hellos = {tuple(row) for row in rows}
        ours = [event for event in of("tls", events()[str(path)]) if get(event, "tls.client.ja3")]
        assert len(ours) == len(hellos)
        assert sorted(event["tls"]["client"]["ja3"] for event in ours) == sorted(row[2] for row in hellos)


def test_no_secret_is_in_an_event() -> None:
    """Neither the passwords nor what they are on the wire in base64."""
    text = orjson.dumps(list(events().values()))
    assert text.count(b"[redacted]") >= 10
    secrets = (
        b"passworddddd",
        b"cGFzc3dvcmRkZGRk",
        b"earhart",
        b"ZWFyaGFydA",
        b"letmein",
        b"bGV0bWVpbg",
        b"2YotnF",
    )
    assert [secret for secret in secrets if secret in text] == []


def moved(source: Path, target: Path, port: int, to: int) -> Path:
    """A copy of a capture with another TCP port."""
    data = bytearray(source.read_bytes())
    at = 24
    while at < len(data):
        length, frame = int.from_bytes(data[at + 8 : at + 12], "little"), at + 16
        for place in (frame + 34, frame + 36) if data[frame + 23] == 6 else ():
            if data[place : place + 2] == pack(">H", port):
                data[place : place + 2] = pack(">H", to)
        at = frame + length
    target.write_bytes(data)
    return target


def shown(found: list[Event]) -> list[tuple[Any, ...]]:
    fields = ("http.request.method", "url.path", "http.response.status_code", "netflight.http.stream")
    return [tuple(get(event, field) for field in fields) for event in of("http", found)]


def test_http2_is_found_on_any_port(tmp_path: Path) -> None:
    source = SAMPLES / "http2" / "capture.pcap"
    found = decode([moved(source, tmp_path / "moved.pcap", 8080, 50_051)])
    check(found)
    assert shown(found.events) == shown(events()[str(source)])


def test_dns_over_tls_is_tls(tmp_path: Path) -> None:
    source = SAMPLES / "web" / "capture.pcap"
    found = of("tls", decode([moved(source, tmp_path / "moved.pcap", 443, 853)]).events)
    assert len(found) == len(of("tls", decode([source]).events)) == 5
    assert {event["destination"]["port"] for event in found} == {853}


def test_tls_in_openvpn_is_found_on_any_port() -> None:
    found = of("tls", events()[str(captures() / "arkime" / "captures" / "openvpn_synthetic.pcap")])
    assert [event["destination"]["port"] for event in found] == [4444, 5555, 8443, 6666]
    assert {event["tls"]["client"]["server_name"] for event in found} == {"arkime.test"}
    assert all(event["tls"]["server"]["x509"]["subject"] for event in found)


def played(tmp_path: Path, port: int, sent: Iterator[tuple[bool, bytes]]) -> list[Event]:
    """What comes of a TCP connection in which the client (true) or the server sent these segments."""
    flags, sequence = 24, {True: 1, False: 1}
    frames = [
        ethernet(ip("192.0.2.1", "192.0.2.2", 6, tcp(40_000, port, 2))),
        ethernet(ip("192.0.2.2", "192.0.2.1", 6, tcp(port, 40_000, 18)), swapped=1),
    ]
    for client, data in sent:
        ends = (40_000, port) if client else (port, 40_000)
        addresses = ("192.0.2.1", "192.0.2.2") if client else ("192.0.2.2", "192.0.2.1")
        segment = tcp(*ends, flags, sequence[client], data)
        frames.append(ethernet(ip(*addresses, 6, segment), swapped=int(not client)))
        sequence[client] += len(data)
    packets = [(number * MILLISECOND, frame, len(frame)) for number, frame in enumerate(frames)]
    (tmp_path / "made.pcap").write_bytes(pcap(packets))
    found = decode([tmp_path / "made.pcap"])
    check(found)
    assert found.outcome.telemetry.labels("undecoded") == {}
    return found.events


def cut(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


REQUESTS = b"".join(b"GET /%d HTTP/1.1\r\nHost: a.example\r\n\r\n" % number for number in range(5))
RESPONSES = b"".join(
    b"HTTP/1.1 %d X\r\nContent-Length: 3\r\n\r\nabc" % code for code in (200, 404, 500, 301, 204)
)


@pytest.mark.parametrize(("size", "of_responses"), [(7, 20), (40, 40), (10_000, 10_000)])
def test_http_messages_share_segments_and_cross_them(tmp_path: Path, size: int, of_responses: int) -> None:
    """Smaller pieces of responses are not understood: tshark takes a head for a body's that is in the same segment."""
    sent = [(True, piece) for piece in cut(REQUESTS, size)] + [
        (False, piece) for piece in cut(RESPONSES, of_responses)
    ]
    found = shown(played(tmp_path, 80, iter(sent)))
    assert [event[1:3] for event in found] == [
        ("/0", 200),
        ("/1", 404),
        ("/2", 500),
        ("/3", 301),
        ("/4", 204),
    ]


def question(number: int) -> bytes:
    message = pack(">6H", number, 0x0100, 1, 0, 0, 0) + b"\x02n%d\7example\0\0\1\0\1" % number
    return pack(">H", len(message)) + message


def answer(number: int) -> bytes:
    message = pack(">6H", number, 0x8180, 1, 1, 0, 0) + question(number)[14:]
    message += b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\xc0\0\2" + bytes([number])
    return pack(">H", len(message)) + message


@pytest.mark.parametrize("size", [1, 5, 50, 10_000])
def test_dns_messages_share_segments_and_cross_them(tmp_path: Path, size: int) -> None:
    asked = b"".join(question(number) for number in range(5))
    answered = b"".join(answer(number) for number in (4, 2, 0, 1, 3))
    sent = [(True, piece) for piece in cut(asked, size)] + [(False, piece) for piece in cut(answered, size)]
    found = of("dns", played(tmp_path, 53, iter(sent)))
    told = {event["dns"]["question"]["name"]: event["dns"]["resolved_ip"] for event in found}
    assert told == {f"n{number}.example": [f"192.0.2.{number}"] for number in range(5)}


def hello(name: bytes) -> bytes:
    """A client hello in records of 100 bytes each."""
    server_name = pack(">HHHBH", 0, len(name) + 5, len(name) + 3, 0, len(name)) + name
    body = b"\3\3" + bytes(32) + b"\0" + pack(">H", 2) + b"\x13\x01" + b"\1\0"
    body += pack(">H", len(server_name)) + server_name
    message = b"\1" + len(body).to_bytes(3, "big") + body
    return b"".join(b"\x16\3\1" + pack(">H", len(piece)) + piece for piece in cut(message, 100))


@pytest.mark.parametrize("size", [20, 10_000])
def test_a_hello_crosses_records_and_segments(tmp_path: Path, size: int) -> None:
    sent = [(True, piece) for piece in cut(hello(b"a" * 200 + b".example"), size)]
    (event,) = of("tls", played(tmp_path, 443, iter(sent)))
    assert event["tls"]["client"]["server_name"] == "a" * 200 + ".example"
