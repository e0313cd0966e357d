"""pcap and pcapng: every byte order and resolution gives the same packets; damage is told with its place."""

import gzip
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from struct import pack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from producers.sources.opening import open_path
from producers.sources.packet import RawPacket, Source
from runtime.errors import CaptureError
from tests.packets import Packet, block, enhanced, interface, option, pcap, read, reading, section

PACKETS = st.lists(
    st.tuples(st.integers(0, 4_000_000_000 * 10**9), st.binary(max_size=90), st.integers(0, 2**31))
)


def collect(source: Source, into: list[RawPacket]) -> None:
    for part in source.blocks():
        into += part


def seen(packets: list[RawPacket]) -> list[Packet]:
    return [(packet.time_ns, packet.data, packet.wire_length) for packet in packets]


@pytest.fixture(scope="module", autouse=True)
def compiled() -> None:
    """The scanners are compiled before any test is timed."""
    for capture in CAPTURES.values():
        read(capture)


@given(
    packets=PACKETS,
    order=st.sampled_from("<>"),
    magic=st.sampled_from([0xA1B2C3D4, 0xA1B23C4D, 0xA1B2CD34]),
    step=st.integers(1, 99),
    window=st.integers(8, 999),
    ahead=st.booleans(),
)
def test_pcap_in_any_order_and_unit_read_in_any_pieces_gives_its_packets(
    *, packets: list[Packet], order: str, magic: int, step: int, window: int, ahead: bool
) -> None:
    unit = 1 if magic == 0xA1B23C4D else 1000
    expected = [(time_ns // unit * unit, data, wire) for time_ns, data, wire in packets]
    got = read(pcap(packets, order, magic), step, window, ahead=ahead)
    assert seen(got) == expected
    assert [packet.frame for packet in got] == list(range(1, len(packets) + 1))


@given(
    PACKETS,
    st.sampled_from("<>"),
    st.sampled_from([0, 3, 6, 9, 12, 0x80 | 10, 0x80 | 30]),
    st.integers(1, 99),
)
def test_pcapng_in_any_order_and_resolution_gives_its_packets(
    packets: list[Packet], order: str, resolution: int, step: int
) -> None:
    units = 2 ** (resolution & 0x7F) if resolution & 0x80 else 10**resolution
    options = option(9, bytes([resolution]), order) + option(2, b"eth7", order)
    capture = section(order) + interface(order, options=options)
    expected = []
    for time_ns, data, wire in packets:
        stamp = time_ns * units // 10**9
        if stamp >= 2**64:
            continue
        capture += enhanced(0, stamp, data, wire, order)
        expected.append((stamp * 10**9 // units, data, wire))
    got = read(capture, step)
    assert seen(got) == expected
    assert all(packet.interface == "eth7" for packet in got)


def test_pcapng_sections_interfaces_offsets_and_old_blocks() -> None:
    shifted = option(9, b"\x09") + option(14, pack("<q", 100))
    capture = (
        section("<")
        + interface("<", 1)
        + interface("<", 101, shifted, snaplen=3)
        + block(0x0BAD, b"unknown block, skipped")
        + enhanced(1, 5, b"raw", 3)
        + block(2, pack("<HHIIII", 0, 7, 0, 2_000_000, 2, 60) + b"ab")
        + section(">")
        + interface(">", 113, snaplen=4)
        + block(3, pack(">I", 60) + b"simp", ">")
    )
    got = read(capture)
    assert [(p.frame, p.time_ns, p.linktype, p.data, p.wire_length) for p in got] == [
        (1, 100 * 10**9 + 5, 101, b"raw", 3),
        (2, 2 * 10**9, 1, b"ab", 60),
        (3, 2 * 10**9, 113, b"simp", 60),  # without a time of its own
    ]


def test_pcapng_drop_counts_are_the_newest_statistics_of_each_interface() -> None:
    def statistics(number: int, dropped: int) -> bytes:
        return block(5, pack("<III", number, 0, 0) + option(5, pack("<Q", dropped)) + option(0, b""))

    def dropped(capture: bytes) -> int:
        source = reading(capture)
        assert all(not len(block) for block in source.blocks())
        return source.dropped

    first = section() + interface() + interface() + statistics(0, 3) + statistics(1, 10) + statistics(0, 5)
    assert dropped(first) == 15
    assert dropped(first + section() + interface() + statistics(0, 1)) == 16


def test_a_negative_fraction_of_a_second_counts_back() -> None:
    capture = pcap([]) + pack("<IiII", 100, -1, 0, 0)
    assert read(capture)[0].time_ns == 99_999_999_000


CAPTURES = {
    "pcap": pcap([(10**18, b"x" * 60, 60)] * 5),
    "pcapng": section() + interface() + enhanced(0, 10**15, b"x" * 60, 60) * 5,
}


@pytest.mark.parametrize("kind", CAPTURES)
@pytest.mark.parametrize("pack_up", [bytes, gzip.compress])
def test_a_truncated_capture_gives_what_came_before_and_names_the_place(
    tmp_path: Path, kind: str, pack_up: Callable[[bytes], bytes]
) -> None:
    whole = CAPTURES[kind]
    per_packet = (len(whole) - (24 if kind == "pcap" else 48)) // 5
    cut = whole[: len(whole) - per_packet - 7]
    path = tmp_path / "capture.pcap"
    path.write_bytes(pack_up(cut))
    got: list[RawPacket] = []
    with pytest.raises(CaptureError) as error:
        collect(open_path(str(path)), got)
    assert len(got) == 3
    place = len(whole) - 2 * per_packet
    assert str(error.value) == (
        f"capture.pcap: truncated at packet 4 (byte {place:,}); the 3 packets before it were decoded"
    )


@pytest.mark.parametrize(
    ("capture", "why"),
    [
        (CAPTURES["pcap"] + pack("<IIII", 1, 1, 0xFFFFFFFF, 60), "4,294,967,295"),
        (CAPTURES["pcapng"] + pack("<II", 6, 0xFFFFFFFC) + bytes(40), "4,294,967,292"),
        (CAPTURES["pcapng"] + block(6, pack("<IIIII", 0, 0, 0, 0xFFFFFFF0, 60)), "4,294,967,280"),
        (CAPTURES["pcapng"] + enhanced(9, 0, b"", 0), "interface 9"),
        (CAPTURES["pcapng"] + pack("<II", 6, 3) + bytes(40), "3 bytes"),
        (CAPTURES["pcapng"] + block(6, bytes(20))[:-4] + bytes(4), "lengths differ"),
        (CAPTURES["pcapng"] + pack("<II", 0x0A0D0D0A, 28) + bytes(40), "byte-order"),
    ],
)
def test_lengths_beyond_belief_are_damage_and_take_no_memory(
    tmp_path: Path, capture: bytes, why: str
) -> None:
    path = tmp_path / "capture"
    path.write_bytes(capture)
    got: list[RawPacket] = []
    tracemalloc.start()
    with pytest.raises(CaptureError, match=r"damaged .* at packet 6 ") as error:
        collect(open_path(str(path)), got)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert why in str(error.value)
    assert len(got) == 5
    assert peak < 2_000_000


def test_an_unknown_block_of_four_gigabytes_is_a_truncation() -> None:
    with pytest.raises(CaptureError, match="truncated at packet 1 "):
        read(section() + interface() + pack("<II", 0x0BAD, 0xFFFFFFFC) + bytes(50_000), 1000)


@settings(max_examples=300)
@given(
    st.sampled_from(sorted(CAPTURES)),
    st.integers(0, 400),
    st.binary(min_size=1, max_size=8),
    st.integers(1, 200),
)
def test_any_damage_ends_in_packets_or_in_a_capture_error(kind: str, at: int, junk: bytes, step: int) -> None:
    capture = CAPTURES[kind]
    at = min(at, len(capture) - len(junk))
    damaged = capture[:4] + (capture[:at] + junk + capture[at + len(junk) :])[4:]
    try:
        got = read(damaged, step)
    except CaptureError:
        return
    assert len(got) <= 5


@given(st.sampled_from([pcap([])[:24], section()]), st.binary(max_size=300))
def test_any_bytes_after_a_header_end_in_packets_or_in_a_capture_error(head: bytes, rest: bytes) -> None:
    try:
        got = read(head + rest)
    except CaptureError:
        return
    assert sum(len(packet.data) for packet in got) <= len(rest)
