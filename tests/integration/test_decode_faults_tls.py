"""A strong signature beats the port; TLS in every wrapping, its certificates and tickets."""

import shutil
import subprocess
from collections import Counter, defaultdict
from pathlib import Path
from struct import pack
from typing import Any

import orjson
import pytest

from schemas.events import Event, get
from tests.captures import captures, faults
from tests.connections import FIRST_CLIENT, connection, copies
from tests.decoding import FLOW, check, decode
from tests.packets import ethernet, ip, pcap, udp

pytestmark = [
    pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed"),
    pytest.mark.timeout(300),
]
SAMPLES = Path(__file__).resolve().parents[2] / "samples"
HELLO = (
    bytes.fromhex("0100002d0303")
    + bytes(range(32))
    + bytes.fromhex("000004 1301c02f 0100 0000".replace(" ", ""))
)
DATA = b"\x17\x03\x03\x00\x40" + bytes(range(64))
GET = b"GET /a HTTP/1.1\r\nHost: a.example\r\n\r\n"
# Some of each kind of port: mail, names, files, directories, databases, queues, calls, industry, tunnels, and none's.
SOME = (
    21,
    25,
    53,
    88,
    102,
    110,
    179,
    389,
    502,
    1080,
    1433,
    1521,
    1723,
    1883,
    2049,
    2404,
    3306,
    4840,
    5060,
    5222,
)
OTHERS = (5432, 5672, 6379, 6667, 8080, 9042, 9092, 11_211, 20_000, 27_017, 44_818, 31_337)
SIDE = ("event", "client", "server", "source", "destination", "network", "related", "flow", "observer", "log")


def record(message: bytes) -> bytes:
    """A message of TLS's handshake in a record of its own."""
    return b"\x16\x03\x01" + pack(">H", len(message)) + message


def kinds(events: list[Event]) -> Counter[str]:
    """How many events each dataset has, but for flows."""
    found = Counter(str(event["event"]["dataset"]).rpartition(".")[2] for event in events)
    del found["flow"]
    return found


def registered() -> list[int]:
    """The ports of TCP that this tshark gives to a protocol."""
    told = subprocess.run(["tshark", "-G", "decodes"], capture_output=True, text=True, check=True).stdout
    lines = [line.split("\t") for line in told.splitlines()]
    return sorted({int(line[1]) for line in lines if line[0] == "tcp.port" and line[1] != "0"})


def contents(event: Event) -> str:
    """What an event says, but for where, when and on which port it was seen."""
    told = {name: value for name, value in event.items() if name not in SIDE and name[0] not in "@_"}
    netflight = {
        name: value for name, value in told.pop("netflight", {}).items() if name not in ("frame", "flow")
    }
    told.pop("message")  # an address with the port may be in it
    url = {name: value for name, value in told.pop("url", {}).items() if name not in ("port", "full")}
    return orjson.dumps([told, netflight, url], option=orjson.OPT_SORT_KEYS).decode()


def by_port(events: list[Event], ports: list[int]) -> dict[int, Counter[tuple[str, str]]]:
    """The events of each copy of a connection, by the port of its server."""
    found: dict[int, Counter[tuple[str, str]]] = defaultdict(Counter)
    for event in events:
        if event["event"]["dataset"] != FLOW:
            ends = (event["source"]["port"], event["destination"]["port"])
            number = next(
                end - FIRST_CLIENT for end in ends if FIRST_CLIENT <= end < FIRST_CLIENT + len(ports)
            )
            found[ports[number]][event["event"]["dataset"], contents(event)] += 1
    return found


def moved_to(path: Path, sample: str, ends: tuple[int, int], ports: list[int]) -> list[int]:
    """Decode a connection of a sample on each of the ports; the ports whose events differ from those of its own."""
    client, server = ends
    order = [server, *(port for port in ports if port != server)]
    path.write_bytes(copies(SAMPLES / sample / "capture.pcap", client, server, order))
    found = by_port(decode([path]).events, order)
    assert found[server]
    return [port for port in order if found[port] != found[server]]


def test_tls_is_found_on_the_ports_of_others() -> None:
    decoded = decode([faults() / "tls_ports.pcap"])
    check(decoded)
    assert kinds(decoded.events) == {"tls": 38}
    for event in decoded.events:
        if event["event"]["dataset"] != FLOW:
            assert get(event, "tls.client.server_name")
            assert get(event, "tls.client.ja3")
            assert get(event, "netflight.tls.client.ja4")


def test_tls_is_the_same_on_every_port_that_tshark_has_a_protocol_for(tmp_path: Path) -> None:
    ports = registered()
    assert len(ports) > 500
    assert moved_to(tmp_path / "moved.pcap", "web", (42_240, 443), ports) == []


@pytest.mark.parametrize(
    ("sample", "client", "server"),
    [("web", 39_286, 80), ("ssh_bruteforce", 41_010, 22), ("smb", 45_396, 445), ("rdp", 56_942, 3389)],
)
def test_strong_signatures_are_the_same_on_ports_of_others(
    tmp_path: Path, sample: str, client: int, server: int
) -> None:
    ports = [*SOME, *OTHERS, *registered()[::25]]
    assert moved_to(tmp_path / "moved.pcap", sample, (client, server), list(dict.fromkeys(ports))) == []


@pytest.mark.parametrize("begun", [True, False])
@pytest.mark.parametrize("port", [21, 25, 1883, 6379, 44_818])
def test_the_first_segment_decides_whether_the_beginning_was_seen_or_not(
    tmp_path: Path, port: int, *, begun: bool
) -> None:
    said = {
        "tls": [record(HELLO)],
        "http": [GET],
        "ssh": [b"SSH-2.0-a\r\n", b"SSH-2.0-b\r\n"],
        "": [DATA, DATA],
    }
    for name, turns in said.items():
        path = tmp_path / f"{name or 'ciphertext'}.pcap"
        path.write_bytes(connection(*turns, port=port, begun=begun))
        assert kinds(decode([path]).events) == ({name: 1} if name else {})


X224 = (
    bytes.fromhex("030000130ee000000000000100080003000000"),  # RDP's negotiation without a cookie
    bytes.fromhex("030000130ed000001234000200080002000000"),
)
EXTENDED = (
    bytes.fromhex("301d02010177188016312e332e362e312e342e312e313436362e3230303337"),  # LDAP's StartTLS
    bytes.fromhex("300c02010178070a010004000400"),
)
TUNNEL = (b"CONNECT a.example:443 HTTP/1.1\r\nHost: a.example\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n")
GREETED = (b"", b"220 a ESMTP\r\n", b"EHLO b\r\n", b"250 STARTTLS\r\n", b"STARTTLS\r\n", b"220 go\r\n")
POSTGRES = (bytes.fromhex("0000000804d2162f"), b"S")


@pytest.mark.parametrize(
    ("before", "name", "port"),
    [
        (X224, "rdp", 3389),
        (EXTENDED, "ldap", 389),
        (TUNNEL, "http", 3128),
        (GREETED, "smtp", 25),
        (POSTGRES, "pgsql", 5432),
    ],
)
def test_tls_that_begins_within_another_protocol(
    tmp_path: Path, before: tuple[bytes, ...], name: str, port: int
) -> None:
    for number in (port, 6379, 33_890):
        path = tmp_path / f"{number}.pcap"
        path.write_bytes(connection(*before, record(HELLO), port=number))
        found = kinds(decode([path]).events)
        assert found["tls"] == 1
        assert set(found) == {"tls", name}


def test_a_hello_in_the_format_of_ssl_2(tmp_path: Path) -> None:
    ciphers = bytes.fromhex("0700c003008000002f000035")
    hello = b"\x01\x03\x01" + pack(">HHH", len(ciphers), 0, 16) + ciphers + bytes(range(16))
    for port in (443, 25, 6379, 23_456):
        path = tmp_path / f"{port}.pcap"
        path.write_bytes(connection(pack(">H", 0x8000 | len(hello)) + hello, port=port))
        decoded = decode([path])
        check(decoded)
        (event,) = [each for each in decoded.events if each["event"]["dataset"] != FLOW]
        assert get(event, "netflight.tls.client.sslv2_hello") == "1.0"
        assert get(event, "tls.client.supported_ciphers") == [
            "SSL_CK_DES_192_EDE3_CBC_WITH_MD5",
            "SSL_CK_RC2_128_CBC_WITH_MD5",
            "TLS_RSA_WITH_AES_128_CBC_SHA",
            "TLS_RSA_WITH_AES_256_CBC_SHA",
        ]


def datagrams(port: int, *payloads: bytes) -> bytes:
    """A capture of datagrams of one client."""
    frames = [ethernet(ip("192.0.2.1", "192.0.2.2", 17, udp(50_000, port, each))) for each in payloads]
    return pcap([(10**9 * number, frame, len(frame)) for number, frame in enumerate(frames, start=1)])


def dtls(number: int, body: bytes, offset: int, length: int) -> bytes:
    """A record of DTLS with a fragment of a client hello (RFC 6347, 4.1 and 4.2.2)."""
    piece = body[offset : offset + length]
    head = (
        b"\x01"
        + len(body).to_bytes(3, "big")
        + b"\0\0"
        + offset.to_bytes(3, "big")
        + len(piece).to_bytes(3, "big")
    )
    return b"\x16\xfe\xfd\0\0" + number.to_bytes(6, "big") + pack(">H", len(head + piece)) + head + piece


NAME = b"a.example"
EXTENSION = pack(">HHHBH", 0, len(NAME) + 5, len(NAME) + 3, 0, len(NAME)) + NAME
DTLS_HELLO = (
    b"\xfe\xfd"
    + bytes(range(32))
    + b"\0\0"
    + b"\0\x02\xc0\x2f"
    + b"\1\0"
    + pack(">H", len(EXTENSION))
    + EXTENSION
)


def test_fragments_of_a_dtls_hello_are_one_hello(tmp_path: Path) -> None:
    path = tmp_path / "fragments.pcap"
    pieces = [dtls(number, DTLS_HELLO, at, 24) for number, at in enumerate(range(0, len(DTLS_HELLO), 24))]
    path.write_bytes(datagrams(4444, *pieces))
    (event,) = [each for each in decode([path]).events if each["event"]["dataset"] != FLOW]
    assert get(event, "tls.client.server_name") == "a.example"
    path.write_bytes(datagrams(4444, *pieces[1:]))
    assert kinds(decode([path]).events) == {}


@pytest.mark.parametrize("port", [53, 69, 123, 161, 514, 1812, 4500, 5060])
def test_datagrams_are_recognised_on_ports_of_others(tmp_path: Path, port: int) -> None:
    path = tmp_path / "datagrams.pcap"
    path.write_bytes(datagrams(port, dtls(0, DTLS_HELLO, 0, len(DTLS_HELLO))))
    assert kinds(decode([path]).events) == {"tls": 1}
    path.write_bytes(datagrams(port, bytes.fromhex("000100002112a442") + bytes(range(12))))
    assert kinds(decode([path]).events) == {"stun": 1}


def tls_of(name: str) -> list[dict[str, Any]]:
    """What the tls events of a capture of attacks say under `netflight.tls`."""
    decoded = decode([captures() / "attacks" / name])
    check(decoded)
    return [
        event["netflight"]["tls"] for event in decoded.events if event["event"]["dataset"].endswith(".tls")
    ]


@pytest.mark.parametrize(
    ("name", "side"), [("broken", "client"), ("explicit", "client"), ("exploit", "server")]
)
def test_explicit_curves_show(name: str, side: str) -> None:
    (tls,) = tls_of(f"{name}.pcap")
    assert tls[side]["explicit_curve"] is True
    assert "explicit" in [entry.get("public_key_curve") for entry in tls[side]["chain"]]
    assert "explicit_curve" not in tls[{"client": "server", "server": "client"}[side]]


def test_constraints_on_names_show() -> None:
    found = [
        said
        for tls in tls_of("spookyssl-merged.pcap")
        for side in tls.values()
        for said in side.get("name_constraints", ())
    ]
    assert found
    assert all(said.startswith("permitted;email:xn--") for said in found)


def test_a_ticket_of_zeros_shows() -> None:
    zeros = "00" * 16
    first, second = tls_of("gnutls-tls1.2-vulnerable.pcap")
    assert (first["server"]["ticket_key_name"], second["client"]["ticket_key_name"]) == (zeros, zeros)
    for tls in tls_of("gnutls-tls1.2-non-vulnerable.pcap"):
        assert zeros not in [side.get("ticket_key_name") for side in tls.values()]


def test_every_certificate_of_a_chain_is_in_the_event_with_its_hashes() -> None:
    decoded = decode([captures() / "attacks" / "exploit.pcap"])
    (event,) = [each for each in decoded.events if each["event"]["dataset"].endswith(".tls")]
    chain = event["netflight"]["tls"]["server"]["chain"]
    assert len(chain) == get(event, "netflight.tls.server.certificates") == 2
    for entry in chain:
        assert {"subject", "issuer", "serial_number", "not_before", "not_after"} < set(entry)
        assert {entry["hash"][kind] for kind in ("md5", "sha1", "sha256")} <= set(event["related"]["hash"])
