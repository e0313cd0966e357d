"""Damaged and hostile captures, and a tshark that dies, through the whole producer."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from struct import pack

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from producers.decoders import tshark
from runtime.errors import CaptureError, DecoderError
from schemas.events import Event
from tests.decoding import FLOW, Decoded, check, decode
from tests.packets import enhanced, ethernet, interface, ip, option, pcap, section, tcp, udp

pytestmark = [
    pytest.mark.skipif(shutil.which("editcap") is None, reason="tshark and editcap are not installed"),
]
SAMPLES = Path(__file__).resolve().parents[2] / "samples"
DAY = SAMPLES / "office_day" / "capture.pcap"
SMALL = [
    "beacon/capture.pcap",
    "dhcp/capture.pcapng",
    "dns/capture.pcap",
    "ssh/capture.pcap",
    "web/capture.pcap",
]
SECOND = 10**9
SUNATM, ETHERNET, USER0 = 123, 1, 147
QUERY = bytes.fromhex("12340100000100000000000003777777076578616d706c6503636f6d0000010001")


def asking(port: int = 40_000) -> bytes:
    """A DNS query in a frame."""
    return ethernet(ip("192.0.2.1", "192.0.2.53", 17, udp(port, 53, QUERY)))


def editcap(*arguments: str) -> Callable[[Path, Path, random.Random], None]:
    def damage(source: Path, copy: Path, chance: random.Random) -> None:
        seed = ["--seed", str(chance.randrange(1 << 30))] if "-E" in arguments else []
        subprocess.run(["editcap", *arguments, *seed, source, copy], check=True, capture_output=True)

    return damage


def cut(source: Path, copy: Path, chance: random.Random) -> None:
    data = source.read_bytes()
    copy.write_bytes(data[: chance.randrange(24, len(data))])


def flipped(source: Path, copy: Path, chance: random.Random) -> None:
    data = bytearray(source.read_bytes())
    for _ in range(100):
        data[chance.randrange(24, len(data))] ^= 1 << chance.randrange(8)
    copy.write_bytes(data)


DAMAGES = {
    "0.1 % errors": editcap("-E", "0.001"),
    "1 % errors": editcap("-E", "0.01"),
    "10 % errors": editcap("-E", "0.1"),
    "short packets": editcap("-s", "70"),
    "long ago": editcap("-t", "-5000000000"),
    "cut": cut,
    "flipped bits": flipped,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_capture_is_decoded_as_far_as_it_goes(tmp_path: Path, damage: str) -> None:
    chance = random.Random(damage)
    for name in SMALL:
        copy = tmp_path / name.replace("/", "-")
        DAMAGES[damage](SAMPLES / name, copy, chance)
        decoded = decode([copy])
        check(decoded)
        assert all(isinstance(error, CaptureError) for error in decoded.outcome.errors)
        assert set(decoded.outcome.telemetry.labels("undecoded")) <= {
            "tshark has no link types beyond 65,535"
        }


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.sampled_from([1, 101, 12, 113, 276, 0, 108, 105, 127, 189, 65_000]),
            st.binary(max_size=80)
            | st.builds(
                lambda port, data: ethernet(ip("192.0.2.1", "192.0.2.2", 17, udp(port, 53, data))),
                st.sampled_from([53, 67, 443, 4789, 5353]),
                st.binary(max_size=200),
            )
            | st.builds(
                lambda port, data: ethernet(
                    ip("2001:db8::1", "2001:db8::2", 6, tcp(40_000, port, 24, 1, data))
                ),
                st.sampled_from([22, 80, 443]),
                st.binary(max_size=200) | st.just(b"GET http://[::1%0]:99999/ HTTP/1.1\r\nHost: [x\r\n\r\n"),
            ),
            st.integers(0, 2**64 - 1),
            st.integers(0, 2**32 - 1),
        ),
        min_size=1,
        max_size=60,
    ),
    st.sampled_from([0, 6, 9, 0x8A, 0xFF]),
)
def test_any_frames_are_accounted_for(
    tmp_path: Path, frames: list[tuple[int, bytes, int, int]], resolution: int
) -> None:
    links = sorted({link for link, *_ in frames})
    options = option(9, bytes([resolution]))
    data = section() + b"".join(interface(linktype=link, options=options) for link in links)
    for link, frame, stamp, wire in frames:
        data += enhanced(links.index(link), stamp, frame, wire)
    (tmp_path / "any.pcapng").write_bytes(data)
    decoded = decode([tmp_path / "any.pcapng"])
    check(decoded)
    assert decoded.outcome.errors == []
    assert decoded.outcome.accounting.read == len(frames)


def test_a_link_type_that_tshark_refuses_costs_no_other_packet(tmp_path: Path) -> None:
    data = section() + interface(linktype=SUNATM) + interface(linktype=ETHERNET)
    for number in range(50):
        query = asking(40_000 + number)
        data += enhanced(0, number * 2000, b"\1\2\3", 3) + enhanced(1, number * 2000 + 1, query, len(query))
    (tmp_path / "mixed.pcapng").write_bytes(data)
    events, outcome = decode([tmp_path / "mixed.pcapng"])
    assert sum(event["event"]["dataset"] == "network_traffic.dns" for event in events) == 50
    assert outcome.errors == []
    lost = outcome.telemetry.labels("undecoded")
    assert sum(lost.values()) == 50
    assert lost[f"tshark refused link type {SUNATM}"] == 47


@pytest.mark.parametrize("linktype", [USER0, 1000, 65_535, 70_000])
def test_unknown_link_types_are_not_ip(tmp_path: Path, linktype: int) -> None:
    (tmp_path / "unknown.pcap").write_bytes(
        pcap([(SECOND, asking(), 99), (SECOND, b"", 0)], linktype=linktype)
    )
    decoded = decode([tmp_path / "unknown.pcap"])
    check(decoded)
    assert (decoded.outcome.accounting.not_ip, decoded.outcome.errors) == (2, [])


def test_long_texts_are_cut_and_named(tmp_path: Path) -> None:
    head = b"GET /%s HTTP/1.1\r\nHost: a.example\r\n\r\n" % (b"x" * 20_000)
    frame = ethernet(ip("192.0.2.1", "192.0.2.2", 6, tcp(40_000, 80, 24, 1, head)))
    (tmp_path / "long.pcap").write_bytes(pcap([(SECOND, frame, len(frame))]))
    decoded = decode([tmp_path / "long.pcap"])
    check(decoded)
    (http,) = (event for event in decoded.events if event["event"]["dataset"] == "network_traffic.http")
    assert http["url"]["domain"] == "a.example"
    assert "url.path" in http["netflight"]["field"]["truncated"]
    assert len(http["url"]["path"]) == 8191


def test_a_packet_longer_than_possible_ends_the_capture_after_those_before_it(tmp_path: Path) -> None:
    packets = [(SECOND, asking(), len(asking())), (SECOND, bytes(400_000), 400_000)]
    (tmp_path / "long.pcap").write_bytes(pcap(packets))
    decoded = decode([tmp_path / "long.pcap"])
    check(decoded)
    assert [event["event"]["dataset"] for event in decoded.events] == ["network_traffic.dns", FLOW]
    (error,) = decoded.outcome.errors
    assert isinstance(error, CaptureError)


def test_hostile_http_heads_make_valid_events(tmp_path: Path) -> None:
    heads = [
        b"GET / HTTP/1.1\r\nHost: [fe80::1%25eth0]:99999\r\nX-Forwarded-For: fe80::1%1\r\n\r\n",
        b'GET http://[::1/ HTTP/1.1\r\nHost: \xff\xfe\xed\xa0\x80\r\nUser-Agent: \0\1\x7f"\\\r\n\r\n',
        b"GET /\xed\xa0\x80\xc0\xaf?%00 HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        b"filtered filtered HTTP/1.1\r\nfiltered: filtered\r\n_source: {}\r\n\r\n",
        b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: -1\r\nHost: a:-1\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: \r\n\r\nGET /2 HTTP/1.1\r\nHost: b\r\n\r\nGET /3 HTTP/1.1\r\n\r\n",
    ]
    packets = []
    for number, head in enumerate(heads):
        frame = ethernet(ip("192.0.2.1", "192.0.2.2", 6, tcp(40_000 + number, 80, 24, 1, head)))
        packets.append((number * SECOND, frame, len(frame)))
    (tmp_path / "heads.pcap").write_bytes(pcap(packets))
    decoded = decode([tmp_path / "heads.pcap"])
    check(decoded)
    http = [event for event in decoded.events if event["event"]["dataset"] == "network_traffic.http"]
    assert decoded.outcome.telemetry.labels("undecoded") == {}
    assert [event["url"]["path"] for event in http if event["source"]["port"] == 40_005] == ["*", "/2", "/3"]
    assert {event["source"]["port"] for event in http} >= {40_000, 40_001, 40_002, 40_004, 40_005}
    assert all(0 <= event["url"]["port"] <= 65_535 for event in http)


def stream(port: int, *segments: bytes, begin: int = 0) -> list[tuple[int, bytes, int]]:
    """The packets of a client that sends these segments to a port."""
    packets, sequence = [], 1
    for number, data in enumerate(segments):
        frame = ethernet(ip("192.0.2.1", "192.0.2.2", 6, tcp(41_000 + begin, port, 24, sequence, data)))
        packets.append((SECOND + number * 1000, frame, len(frame)))
        sequence += len(data)
    return packets


def pieces(data: bytes, size: int = 1400) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def of(dataset: str, decoded: Decoded) -> list[Event]:
    return [event for event in decoded.events if event["event"]["dataset"] == f"network_traffic.{dataset}"]


def test_endless_heads_and_targets_are_bounded(tmp_path: Path) -> None:
    """A megabyte of target, of Host, of header fields that never end, of header fields of one name."""
    request = b"GET /x HTTP/1.1\r\nHost: a.example\r\n"
    heads = [
        b"GET /" + b"x" * 1_000_000 + b" HTTP/1.1\r\nHost: a.example\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: " + b"h." * 32_768 + b"\r\n\r\n",
        request + b"".join(b"X-%d: y\r\n" % number for number in range(60_000)),
        request + b"X-Forwarded-For: 192.0.2.9\r\n" * 20_000 + b"\r\n",
        request + b"Authorization: Basic " + b"QUFB" * 100_000 + b"\r\n\r\n",
    ]
    packets = [
        packet for number, head in enumerate(heads) for packet in stream(80, *pieces(head), begin=number)
    ]
    (tmp_path / "endless.pcap").write_bytes(pcap(packets))
    decoded = decode([tmp_path / "endless.pcap"])
    check(decoded)
    assert decoded.outcome.telemetry.labels("undecoded") == {}
    assert decoded.outcome.errors == []
    assert all(len(orjson.dumps(event)) < 100_000 for event in decoded.events)
    cut_short = [event for event in decoded.events if "truncated" in event["netflight"].get("field", {})]
    named = {name for event in cut_short for name in event["netflight"]["field"]["truncated"]}
    assert "url.domain" in named


NAMES = [
    b'a"b\\c',
    b"a\r\nb",
    b"\0\0\0",
    b"\xff\xfe\xed\xa0\x80",
    b"\x1b[31m",
    b"x" * 16_000,
    b"\xe2\x80\xae",
    b"",
]


def server_hello_request(name: bytes) -> bytes:
    """A client hello that asks for a name, in records of at most 16 KiB."""
    said = pack(">HHHBH", 0, len(name) + 5, len(name) + 3, 0, len(name)) + name
    body = b"\3\3" + bytes(32) + b"\0\0\2\x13\1\1\0" + pack(">H", len(said)) + said
    message = b"\1" + len(body).to_bytes(3, "big") + body
    return b"".join(b"\x16\3\1" + pack(">H", len(piece)) + piece for piece in pieces(message, 16_000))


def test_names_of_any_bytes_make_valid_events(tmp_path: Path) -> None:
    packets = []
    for number, name in enumerate(NAMES):
        host = b"GET / HTTP/1.1\r\nHost: " + name + b"\r\nUser-Agent: " + name + b"\r\n\r\n"
        packets += stream(80, *pieces(host), begin=number)
        packets += stream(443, *pieces(server_hello_request(name)), begin=number)
        label = name[:63]
        query = pack(">6H", number, 0x0100, 1, 0, 0, 0) + bytes([len(label)]) + label + b"\0\0\1\0\1"
        frame = ethernet(ip("192.0.2.1", "192.0.2.53", 17, udp(42_000 + number, 53, query)))
        packets.append((SECOND, frame, len(frame)))
    (tmp_path / "names.pcap").write_bytes(pcap(packets))
    decoded = decode([tmp_path / "names.pcap"])
    check(decoded)
    assert decoded.outcome.telemetry.labels("undecoded") == {}
    assert (len(of("tls", decoded)), len(of("dns", decoded))) == (len(NAMES), len(NAMES))
    assert len(of("http", decoded)) >= len(NAMES)
    assert len(of("tls", decoded)[5]["tls"]["client"]["server_name"]) == 8191


def test_compression_loops_and_cut_messages_are_told_as_far_as_they_go(tmp_path: Path) -> None:
    header = pack(">6H", 7, 0x8180, 1, 2, 0, 0)
    loops = [b"\xc0\x0c\0\1\0\1", b"\1a\xc0\x0c\0\1\0\1", b"\xff\xff\0\1\0\1", b"\x3f" + b"a" * 20, b""]
    packets = []
    for number, question in enumerate(loops):
        message = header + question + question
        for port in (53, 5353):
            frame = ethernet(ip("192.0.2.53", "192.0.2.1", 17, udp(port, 43_000 + number, message)))
            packets.append((SECOND, frame, len(frame)))
    whole = server_hello_request(b"a.example")
    for number in range(len(whole)):  # cut anywhere: the record says it is whole
        short = b"\x16\3\1" + pack(">H", number) + whole[5 : 5 + number]
        packets += stream(443, short, begin=number)
    (tmp_path / "loops.pcap").write_bytes(pcap(packets))
    decoded = decode([tmp_path / "loops.pcap"])
    check(decoded)
    assert decoded.outcome.telemetry.labels("undecoded") == {}
    assert of("dns", decoded)
    assert of("tls", decoded)


def test_hostile_frames_of_http2_make_valid_events(tmp_path: Path) -> None:
    chance = random.Random(7)
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\4\0\0\0\0\0"
    packets = []
    for number in range(60):
        frames = b""
        for _ in range(8):
            body = chance.choice([chance.randbytes(chance.randrange(60)), b"\x82\x86\x84\x41\1a"])
            head = len(body).to_bytes(3, "big") + bytes(
                [chance.choice([1, 5, 9, 0]), chance.choice([4, 0, 5, 45])]
            )
            frames += head + pack(">I", chance.randrange(4)) + body
        packets += stream(chance.choice([80, 9999]), preface, frames, begin=number)
    (tmp_path / "frames.pcap").write_bytes(pcap(packets))
    decoded = decode([tmp_path / "frames.pcap"])
    check(decoded)
    assert decoded.outcome.telemetry.labels("undecoded") == {}
    assert of("http", decoded)


def flow_facts(event: Event) -> Event:
    """A flow's record without what tshark adds to it: protocols, the responder's name, and the line that has both."""
    del event["event"]["created"], event["message"]
    event["network"].pop("protocol", None)
    event["network"].pop("application", None)
    event["related"].pop("hosts", None)
    for side in ("destination", "server"):
        for name in ("domain", "registered_domain", "subdomain", "top_level_domain"):
            event[side].pop(name, None)
    event["netflight"]["flow"].pop("protocols", None)
    return event


def children() -> list[int]:
    """Our own tsharks."""
    found = Path(f"/proc/{os.getpid()}/task").glob("*/children")
    pids = [int(pid) for path in found for pid in path.read_text().split()]
    return [pid for pid in pids if _name(pid) == "tshark"]


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def strike(number: signal.Signals) -> int:
    """Send a signal to every tshark of ours; return how many there were."""
    struck = 0
    for pid in children():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
            struck += 1
    return struck


def test_a_killed_tshark_costs_a_packet_and_no_flow() -> None:
    whole = decode([DAY])
    assert whole.outcome.telemetry.labels("undecoded") == {}
    kills, heard = 0, 0

    def kill(_: Event) -> None:
        nonlocal kills, heard
        heard += 1
        if heard in (20, 60, 300):
            kills += strike(signal.SIGKILL)

    killed = decode([DAY], kill)
    check(killed)
    lost = killed.outcome.telemetry.labels("undecoded")
    assert kills >= 2
    assert set(lost) == {"tshark ended (SIGKILL)"}
    assert 1 <= sum(lost.values()) <= kills
    assert killed.outcome.errors == []

    def flows(events: list[Event]) -> list[Event]:
        return [flow_facts(event) for event in events if event["event"]["dataset"] == FLOW]

    assert flows(killed.events) == flows(whole.events)
    assert len(killed.events) >= len(whole.events) * 0.97


def test_a_tshark_that_dies_again_and_again_is_an_error_after_all_flows_are_told() -> None:
    over = threading.Event()

    def kill() -> None:
        while not over.wait(0.01):
            strike(signal.SIGKILL)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    try:
        events, outcome = decode([DAY])
    finally:
        over.set()
        killer.join()
    (error,) = outcome.errors
    assert isinstance(error, DecoderError)
    assert "office_day/capture.pcap: decoding given up" in str(error)
    assert outcome.accounting.read == 3263
    counted = sum(
        e["network"]["packets"] for e in events if e["event"]["dataset"] == FLOW and e["flow"]["final"]
    )
    assert counted == outcome.accounting.in_flows
    chosen = sum(rule["decoded_packets"] for rule in outcome.rules.values())
    assert sum(outcome.telemetry.labels("undecoded").values()) == chosen


@pytest.mark.parametrize("sample", ["beacon", "web", "smb", "redis"])
def test_packets_cut_short_within_their_payload_never_hang_tshark(sample: str, tmp_path: Path) -> None:
    copies = [tmp_path / f"{size}.pcap" for size in (67, 70, 90)]
    for copy in copies:
        editcap("-s", copy.stem)(SAMPLES / sample / "capture.pcap", copy, random.Random(1))
    outcome = decode(copies).outcome
    assert (outcome.errors, outcome.restarts) == ([], [0] * len(outcome.restarts))


def test_a_script_that_tshark_does_not_load_ends_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    furnish = tshark._furnish  # noqa: SLF001  # what gives tshark its scripts

    def broken(profile: Path) -> None:
        furnish(profile)
        with (profile / "init.lua").open("a", encoding="utf-8") as script:
            script.write('\nProto("tcp", "a name that is taken")\n')

    monkeypatch.setattr(tshark, "_furnish", broken)
    (error,) = decode([SAMPLES / "dns" / "capture.pcap"]).outcome.errors
    assert isinstance(error, DecoderError)
    assert "two protocols with the same name" in str(error)


def test_a_tshark_that_hangs_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tshark, "SILENT_SECONDS", 2.0)
    stopped = 0

    def stop(_: Event) -> None:
        nonlocal stopped
        if not stopped:
            stopped = strike(signal.SIGSTOP)

    began = time.monotonic()
    decoded = decode([DAY], stop)
    check(decoded)
    assert stopped == 1
    assert decoded.outcome.telemetry.labels("undecoded") == {"tshark ended (no answer for 2 s)": 1}
    assert time.monotonic() - began < 60
