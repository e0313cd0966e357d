"""Blocks written as pcapng: what is read again is what was written."""

from struct import unpack_from

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.sources.packet import Block, Interface, RawPacket, block_of
from producers.sources.write import PACKET_HEAD, encode, interface_block, preamble
from runtime.errors import CaptureError
from tests.packets import read

INTERFACES = (Interface("eth0", 1), Interface("", 101), Interface("wlan0", 105))
PACKETS = st.lists(
    st.builds(
        lambda time_ns, data, more, number: RawPacket(
            1, time_ns, INTERFACES[number].linktype, data, len(data) + more, INTERFACES[number].name
        ),
        st.integers(0, 2**63 - 1),
        st.binary(max_size=70),
        st.integers(0, 2_000),
        st.integers(0, 2),
    ),
    min_size=1,
    max_size=20,
)


def numbers(*values: int) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    return np.array(values, dtype=np.int64)


def block(packets: list[RawPacket]) -> Block:
    return block_of([packet._replace(frame=frame) for frame, packet in enumerate(packets, 1)])


@pytest.fixture(scope="module", autouse=True)
def compiled() -> None:
    """The writer is compiled before any test is timed."""
    encode(block([RawPacket(1, 0, 1, b"", 0, "")]), numbers(0), numbers(0))


@given(PACKETS, st.data())
def test_what_is_written_is_read_again(packets: list[RawPacket], data: st.DataObject) -> None:
    source = block(packets)
    chosen = data.draw(st.lists(st.integers(0, len(packets) - 1), max_size=30))
    places = numbers(*(INTERFACES.index(interface) for interface in source.interfaces))
    encoded = encode(source, numbers(*chosen), places)
    written = encoded.data.tobytes()
    got = read(preamble(INTERFACES) + written)
    assert [packet[1:] for packet in got] == [packets[index][1:] for index in chosen]
    assert len(encoded.positions) == len(chosen)
    for position, index in zip(encoded.positions.tolist(), chosen, strict=True):
        assert unpack_from("<I", written, position) == (6,)
        (length,) = unpack_from("<I", written, position + 20)
        assert written[position + PACKET_HEAD :][:length] == packets[index].data


def test_only_heads_are_kept_where_that_is_wanted() -> None:
    source = block([RawPacket(1, 5, 1, bytes(range(60)), 60, "eth0")] * 4)
    encoded = encode(source, numbers(0, 1, 2, 3), numbers(0), keep=numbers(13, 60, 99, -1))
    got = read(preamble([Interface("eth0", 1)]) + encoded.data.tobytes())
    assert [len(packet.data) for packet in got] == [13, 60, 60, 0]
    assert got[0].data == bytes(range(13))
    assert {packet.wire_length for packet in got} == {60}


def test_a_limit_ends_the_output_before_it_but_not_before_the_first_packet() -> None:
    source = block([RawPacket(1, 5, 1, bytes(61), 61, "")] * 10)
    indexes = numbers(*range(10))
    for limit, count in [(0, 1), (95, 1), (96, 1), (2 * 96 - 1, 1), (2 * 96, 2), (960, 10), (10**9, 10)]:
        encoded = encode(source, indexes, numbers(0), limit=limit)
        assert len(encoded.positions) == count
        assert len(encoded.data) == count * 96
    nothing = encode(source, numbers(), numbers(0))
    assert (len(nothing.data), len(nothing.positions)) == (0, 0)


def test_what_pcapng_cannot_say_is_the_nearest_that_it_can() -> None:
    early = block([RawPacket(1, -5, 1, b"x", 2**40, "")])
    (packet,) = read(preamble([Interface("", 1)]) + encode(early, numbers(0), numbers(0)).data.tobytes())
    assert (packet.time_ns, packet.wire_length) == (0, 2**32 - 1)
    with pytest.raises(CaptureError, match="link type 65,536"):
        interface_block(Interface("", 1 << 16))


def test_an_interface_can_follow_packets() -> None:
    source = block([RawPacket(1, 5, 1, b"one", 3, "a"), RawPacket(1, 6, 101, b"two", 3, "b")])
    first = encode(source, numbers(0), numbers(0, 1)).data.tobytes()
    second = encode(source, numbers(1), numbers(0, 1)).data.tobytes()
    a, b = source.interfaces
    got = read(preamble([a]) + first + interface_block(b) + second)
    assert [(packet.interface, packet.linktype, packet.data) for packet in got] == [
        ("a", 1, b"one"),
        ("b", 101, b"two"),
    ]
