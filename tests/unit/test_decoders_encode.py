"""Packets on their way to tshark: nothing but the shifted numbers differs from what was captured."""

from types import SimpleNamespace
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from producers.decoders.encode import MAX_LINKTYPE, Interfaces, portion
from producers.decoders.ordering import Chosen
from producers.decoders.places import places_of
from producers.engine.kernel.layout import FACTS, Fragment
from producers.sources.packet import Block, RawPacket, block_of
from producers.sources.write import preamble
from tests.packets import ethernet, ip, read, tcp, udp

SEQUENCE, ACKNOWLEDGEMENT = slice(38, 42), slice(42, 46)
TRANSPORT = 34


def packets(*frames: bytes, linktype: int = 1) -> Block:
    return block_of([RawPacket(7 + n, n, linktype, data, len(data) + n, "") for n, data in enumerate(frames)])


def sent(block: Block, facts: np.ndarray, chosen: list[int]) -> list[RawPacket]:
    """What a reader of the encoded bytes finds."""
    indexes = np.array(chosen, dtype=np.int64)
    numbers, new = Interfaces().number(block)
    batch: Any = SimpleNamespace(block=block, facts=facts, flow=lambda _index: None)
    handed = Chosen(batch, indexes, indexes + block.first_frame, np.zeros(len(indexes), np.bool_), indexes)
    encoded = portion(batch, indexes, places_of(handed), numbers)
    assert [encoded.frame(n) for n in range(len(chosen))] == [block.first_frame + index for index in chosen]
    return read(preamble() + new + bytes(encoded.data))


def segment(sequence: int, payload: bytes = b"x") -> bytes:
    return ethernet(ip("192.0.2.1", "192.0.2.2", 6, tcp(1000, 80, 24, sequence, payload)))


@settings(deadline=None)  # the first call may compile
@given(
    st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)), min_size=1, max_size=5),
    st.integers(0, 2**32 - 1),
)
def test_shifts_are_taken_from_both_numbers_modulo_their_size(
    shifts: list[tuple[int, int]], sequence: int
) -> None:
    block = packets(*(segment(sequence) for _ in shifts))
    facts = np.zeros(len(shifts), FACTS)
    facts["protocol"], facts["transport"] = 6, TRANSPORT
    facts["sequence_shift"], facts["acknowledgement_shift"] = zip(*shifts, strict=True)
    found = sent(block, facts, list(range(len(shifts))))
    for packet, original, (first, second) in zip(found, block, shifts, strict=True):
        for place, shift in ((SEQUENCE, first), (ACKNOWLEDGEMENT, second)):
            before = int.from_bytes(original.data[place], "big")
            assert int.from_bytes(packet.data[place], "big") == (before - shift) % 2**32
        assert packet.data[: SEQUENCE.start] == original.data[: SEQUENCE.start]
        assert packet.data[ACKNOWLEDGEMENT.stop :] == original.data[ACKNOWLEDGEMENT.stop :]
        assert packet.wire_length == original.wire_length


def test_only_what_has_a_whole_tcp_header_is_shifted() -> None:
    cut = segment(5)[: TRANSPORT + 11]
    datagram = ethernet(ip("192.0.2.1", "192.0.2.2", 17, udp(1, 2, bytes(20))))
    block = packets(cut, datagram, segment(5), segment(5))
    facts = np.zeros(4, FACTS)
    facts["protocol"] = [6, 17, 6, 6]
    facts["transport"] = [TRANSPORT, TRANSPORT, -1, TRANSPORT]
    facts["fragment"][3] = Fragment.LATER
    facts["sequence_shift"] = facts["acknowledgement_shift"] = 3
    assert [packet.data for packet in sent(block, facts, [0, 1, 2, 3])] == [packet.data for packet in block]


def test_chosen_packets_keep_their_time_length_and_link_type() -> None:
    block = block_of(
        [
            RawPacket(1 + n, 10**18 + n, link, bytes([n]) * n, 2 * n, f"eth{n}")
            for n, link in enumerate([1, 113, 1, 101])
        ]
    )
    found = sent(block, np.zeros(4, FACTS), [0, 1, 3])
    wanted = [block.packet(index) for index in (0, 1, 3)]
    assert [p[1:5] for p in found] == [p[1:5] for p in wanted]


def test_interfaces_are_told_once_and_unknown_link_types_never() -> None:
    interfaces = Interfaces()
    first = block_of([RawPacket(1, 0, 1, b"", 0, "a"), RawPacket(2, 0, MAX_LINKTYPE + 1, b"", 0, "b")])
    numbers, new = interfaces.number(first)
    assert numbers.tolist() == [0, -1]
    again, none = interfaces.number(
        block_of([RawPacket(1, 0, 113, b"", 0, "a"), RawPacket(2, 0, 1, b"", 0, "c")])
    )
    assert again.tolist() == [1, 0]
    assert new + none == interfaces.all()
