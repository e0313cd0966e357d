"""pcapng in its corners: clocks of any resolution and offset, drop counts, sections without end, large packets."""

from collections.abc import Sequence
from pathlib import Path
from struct import pack

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.sources import pcapng
from producers.sources.errors import MAX_PACKET, max_packet
from producers.sources.opening import open_path
from producers.sources.reading import BLOCK_PACKETS
from runtime.errors import CaptureError
from tests.packets import block, enhanced, interface, option, pcap, read, reading, section

USB_LINUX = 189
LATEST, EARLIEST = 2**63 - 1, -(2**63)


@pytest.fixture(scope="module", autouse=True)
def compiled() -> None:
    """The scanners are compiled before any test is timed."""
    read(section() + interface())
    read(pcap([]))


def times(resolution: int, offset: int, stamps: Sequence[int], order: str = "<") -> list[int]:
    options = option(9, bytes([resolution]), order) + option(14, pack(order + "q", offset), order)
    packets = b"".join(enhanced(0, stamp, b"", 0, order) for stamp in stamps)
    return [packet.time_ns for packet in read(section(order) + interface(order, options=options) + packets)]


STAMPS = st.one_of(
    st.integers(0, 2**64 - 1),
    st.sampled_from(
        [0, 1, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1, LATEST // 1000, LATEST // 1000 + 1]
    ),
)
OFFSETS = st.one_of(st.just(0), st.integers(-(2**63), 2**63 - 1), st.integers(-9_223_372_040, 9_223_372_040))


@given(st.integers(0, 255), OFFSETS, st.lists(STAMPS, min_size=1, max_size=9), st.sampled_from("<>"))
def test_times_are_exact_in_every_resolution_or_the_nearest_that_can_be_told(
    resolution: int, offset: int, stamps: list[int], order: str
) -> None:
    exponent = resolution & 0x7F
    units = 2**exponent if resolution & 0x80 else 10**exponent
    exact = [stamp * 10**9 // units + offset * 10**9 for stamp in stamps]
    assert times(resolution, offset, stamps, order) == [max(EARLIEST, min(time, LATEST)) for time in exact]


def test_clocks_that_are_found_in_the_wild() -> None:
    assert times(0x80 | 20, 0, [1_700_000_000 * 2**20 + 1]) == [1_700_000_000 * 10**9 + 953]
    assert times(12, 0, [1_700_000_000_123_456_789]) == [1_700_000_000_123_456]
    assert times(9, -5, [6 * 10**9 + 1]) == [10**9 + 1]


def dropped(capture: bytes) -> int:
    source = reading(capture)
    for _ in source.blocks():
        assert source.reader is not None
    return source.dropped


@pytest.mark.parametrize("order", "<>")
def test_packet_blocks_tell_of_drops_and_statistics_of_them_again(order: str) -> None:
    def lossy(count: int) -> bytes:
        comment = option(1, b"seven b", order)
        options = comment + option(4, pack(order + "Q", count), order) + option(0, b"", order)
        return block(6, pack(order + "IIIII", 1, 0, 0, 3, 3) + b"abc\0" + options, order)

    old = block(2, pack(order + "HHIIII", 0, 5, 0, 0, 0, 0), order)
    unknown = block(2, pack(order + "HHIIII", 0, 0xFFFF, 0, 0, 0, 0), order)
    begin = section(order) + interface(order) * 2
    assert dropped(begin + lossy(2) + lossy(3) + old + unknown + old) == 15
    assert dropped((begin + lossy(2) + lossy(3)) * 3) == 15

    def statistics(count: int) -> bytes:
        return block(5, pack(order + "III", 1, 0, 0) + option(5, pack(order + "Q", count), order), order)

    assert dropped(begin + lossy(2) + lossy(3) + statistics(4)) == 5
    assert dropped(begin + lossy(2) + lossy(3) + statistics(6)) == 6
    assert dropped(begin + lossy(2**64 - 1) * 3) == 3 * 2**48
    assert dropped(begin + statistics(2**64 - 1)) == 2**64 - 1


def test_options_that_overrun_their_block_tell_nothing() -> None:
    body = pack("<IIIII", 0, 0, 0, 0, 0) + pack("<HH", 4, 8)
    capture = section() + interface() + block(6, body) + enhanced(0, 1, b"\x07" * 8, 8)
    assert dropped(capture) == 0
    assert [packet.data for packet in read(capture)] == [b"", b"\x07" * 8]


@pytest.mark.parametrize("order", "<>")
def test_old_packet_blocks_name_their_interface_in_either_order(order: str) -> None:
    old = block(2, pack(order + "HHIIII", 1, 0, 0, 9, 3, 60) + b"raw", order)
    (packet,) = read(section(order) + interface(order, 1) + interface(order, 101) + old)
    assert (packet.linktype, packet.time_ns, packet.data, packet.wire_length) == (101, 9_000, b"raw", 60)


def test_interfaces_of_many_sections_are_kept_once() -> None:
    one = section() + interface("<", 1, option(2, b"eth0")) + interface("<", 101, option(2, b"tun0"))
    blocks = list(reading((one + enhanced(1, 0, b"x", 1) + enhanced(0, 0, b"y", 1)) * 500).blocks())
    assert {block.interfaces for block in blocks} == {(("eth0", 1), ("tun0", 101))}
    assert sum(len(block) for block in blocks) == 1_000
    assert [packet.interface for block in blocks for packet in block] == ["tun0", "eth0"] * 500


def test_interfaces_without_end_are_forgotten_or_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pcapng, "MAX_INTERFACES", 100)

    def named(number: int) -> bytes:
        return interface("<", 1, option(2, b"%d" % number))

    distinct = b"".join(section() + named(number) + enhanced(0, 0, b"", 0) for number in range(450))
    blocks = list(reading(distinct).blocks())
    assert max(len(block.interfaces) for block in blocks) == 101
    names = [packet.interface for block in blocks for packet in block]
    assert names == [str(number) for number in range(450)]
    assert len(read(section() + interface() * 100 + enhanced(99, 0, b"", 0))) == 1
    with pytest.raises(CaptureError, match="more than 100 interfaces"):
        read(section() + interface() * 101)


def test_the_longest_packet_is_the_one_that_tshark_reads(tmp_path: Path) -> None:
    longest = bytes(MAX_PACKET)
    assert len(read(pcap([(0, longest, MAX_PACKET)]))[0].data) == MAX_PACKET
    assert len(read(section() + interface() + enhanced(0, 0, longest, 1))[0].data) == MAX_PACKET
    for capture in (
        pcap([(0, longest + b"x", 1)]),
        section() + interface() + enhanced(0, 0, longest + b"x", 1),
    ):
        with pytest.raises(CaptureError, match=r"damaged .a packet of 262,145 bytes is not possible"):
            read(capture)
    assert len(read(pcap([(0, longest, 1)] * 9), window=4096, ahead=True)) == 9
    large = np.random.default_rng(4).bytes(5_000_001)
    path = tmp_path / "usb.pcapng"
    path.write_bytes(section() + interface("<", USB_LINUX) + enhanced(0, 0, large, 1) * 2)
    (first, second) = [packet for part in open_path(str(path)).blocks() for packet in part]
    assert first.data == second.data == large
    assert max_packet(USB_LINUX) == 128 << 20


def test_a_long_option_beside_a_packet_is_passed_over() -> None:
    comments = option(1, bytes(65_000)) * 2
    packet = block(6, pack("<IIIII", 0, 0, 0, 4, 4) + b"abcd" + comments)
    assert [packet.data for packet in read(section() + interface() + packet * 3)] == [b"abcd"] * 3


def test_columns_stand_alone_and_in_the_types_of_the_contract() -> None:
    capture = section() + interface() + enhanced(0, 5, b"abcde", 60) * (BLOCK_PACKETS + 3)
    blocks = list(reading(capture, window=1 << 22).blocks())
    assert [len(block) for block in blocks] == [BLOCK_PACKETS, 3]
    for part in blocks:
        columns = (part.time_ns, part.offset, part.captured, part.wire)
        assert all(column.dtype == np.int64 and column.flags.c_contiguous for column in columns)
        assert part.interface.dtype == np.int32
        assert part.buffer.dtype == np.uint8
        assert part.buffer.flags.c_contiguous
        assert part.buffer.flags.writeable
        assert len(part.buffer) >= int((part.offset + part.captured).max())
