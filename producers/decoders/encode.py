"""Chosen packets of a block as the bytes that tshark reads, natively.

Where the policy skipped payload of a TCP connection, the numbers of what follows are moved down by as much, so that
tshark finds no hole and waits for nothing. Checksums stay as they are: tshark does not verify them.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from producers.compiled import entry
from producers.decoders.places import Places
from producers.engine.kernel.layout import Fragment
from producers.engine.keys import TCP
from producers.engine.model import Batch
from producers.sources.packet import Block, Interface
from producers.sources.write import PACKET_HEAD, encode, interface_block

MAX_LINKTYPE = 0xFFFF
"""The link types that pcapng can tell."""
MAX_LENGTH = 262_144
"""What tshark takes for a packet at most, in bytes (WTAP_MAX_PACKET_SIZE_STANDARD)."""

_LATER = int(Fragment.LATER)


@dataclass(slots=True)
class Portion:
    """Packets on their way through tshark: enhanced packet blocks, where each begins, and where it was seen.

    The first `answered` of them have been answered; `skipped` ones (by their number here) are not sent again.
    """

    data: memoryview
    starts: list[int]
    places: Places
    answered: int = 0
    skipped: set[int] = field(default_factory=set)

    def next_skipped(self, begin: int = 0) -> int:
        """The number of the next packet, from `begin` or the first unanswered on, that is skipped; else the end."""
        if not self.skipped:
            return len(self.starts)
        first = max(begin, self.answered)
        return min((number for number in self.skipped if number >= first), default=len(self.starts))

    def skip(self, numbers: Iterable[int]) -> int:
        """Skip packets; return how many were not skipped yet."""
        before = len(self.skipped)
        self.skipped.update(numbers)
        return len(self.skipped) - before

    def frame(self, number: int) -> int:
        """A packet's frame number."""
        return int(self.places.frames[number])

    def packets(self, first: int, last: int) -> memoryview:
        """The blocks of the packets from `first` up to and without `last`."""
        end = self.starts[last] if last < len(self.starts) else len(self.data)
        return self.data[self.starts[first] : end]


class Interfaces:
    """The interfaces of one tshark's input: one per link type, numbered as they come."""

    def __init__(self) -> None:
        self.linktypes: list[int] = []

    def number(self, block: Block) -> tuple[NDArray[np.int64], bytes]:
        """The number of each of a block's interfaces, and the descriptions of those that are new."""
        numbers, new = [], b""
        for _, linktype in block.interfaces:
            if linktype not in self.linktypes and linktype <= MAX_LINKTYPE:
                self.linktypes.append(linktype)
                new += interface_block(Interface("", linktype))
            numbers.append(self.linktypes.index(linktype) if linktype <= MAX_LINKTYPE else -1)
        return np.array(numbers, dtype=np.int64), new

    def all(self) -> bytes:
        """The descriptions of all interfaces so far."""
        return b"".join(interface_block(Interface("", linktype)) for linktype in self.linktypes)


def portion(batch: Batch, indexes: NDArray[np.int64], places: Places, numbers: NDArray[np.int64]) -> Portion:
    """The packets of a batch at `indexes`, encoded; their link types are MAX_LINKTYPE at most."""
    block, facts = batch.block, batch.facts
    data, starts = encode(block, indexes, numbers)
    if facts["sequence_shift"].any() or facts["acknowledgement_shift"].any():
        _close_holes(data, starts, indexes, block.captured, facts)
    return Portion(data.data, starts.tolist(), places)


@entry
def _close_holes(
    data: NDArray[np.uint8],
    starts: NDArray[np.int64],
    indexes: NDArray[np.int64],
    captured: NDArray[np.int64],
    facts: NDArray[Any],
) -> None:
    """Take the shifts from the sequence and acknowledgement numbers (RFC 9293, section 3.1) of encoded packets."""
    for number in range(len(indexes)):
        index = indexes[number]
        transport = np.int64(facts[index].transport)
        if facts[index].protocol != TCP or facts[index].fragment == _LATER:
            continue
        if transport < 0 or transport + 12 > captured[index]:
            continue
        place = starts[number] + PACKET_HEAD + transport + 4
        for shift in (facts[index].sequence_shift, facts[index].acknowledgement_shift):
            value = np.int64(0)
            for digit in range(4):
                value = value << 8 | np.int64(data[place + digit])
            value -= np.int64(shift)
            for digit in range(4):
                data[place + 3 - digit] = np.uint8(value >> (8 * digit) & 0xFF)
            place += 4
