"""Units that need no tshark: what the engine's own facts and the packets' bytes say.

Each comes with the index of the packet after the one it was in, so that it follows what tshark shows of its packet.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from producers.decoders.content import CONTENT
from producers.decoders.unit import Place, Role, Unit
from producers.engine.kernel.layout import Part, Signature
from producers.engine.model import Batch

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MASK = 0xFFFFFFFF
_PIECE = CONTENT + 256  # bytes of a segment that are looked at; beside the content there may be chunk sizes
_SIZES_UNTIL = 64  # segments with payload of a direction, the handshake's among them


class _Seen(NamedTuple):
    """A packet with payload, as plain values: its index `at`, where it was seen, and its sequence number after a SYN.

    `start` is where its payload begins in the block's buffer, `captured` how much of it is there.
    """

    at: int
    place: Place
    sequence: int
    start: int
    captured: int


def bodies(batch: Batch, path: str) -> list[tuple[int, Unit]]:
    """The first bytes of HTTP bodies, as they were sent.

    `extra` is the bytes, and the sequence numbers of the first of them and of what follows the segment.
    """
    indexes = np.flatnonzero(batch.facts["content"])
    if not len(indexes):
        return []
    buffer, found = batch.block.buffer, []
    for seen, content in zip(
        _seen(batch, indexes, path), batch.facts["content"][indexes].tolist(), strict=True
    ):
        offset = content - 1
        size = min(seen.place.length, seen.captured, offset + _PIECE) - offset
        if size > 0:
            first = seen.start + offset
            octets = buffer[first : first + size].tobytes()
            end = (seen.sequence + seen.place.length) & _MASK
            said = octets, (seen.sequence + offset) & _MASK, end
            found.append((seen.at + 1, Unit(Role.PART, {}, seen.place, "http", extra=said)))
    return found


def encrypted(batch: Batch, path: str) -> list[tuple[int, Unit]]:
    """The sizes of the first segments of SSH connections after the encryption has begun.

    `extra` is as `SshDecoder` has it: the side, and what there is of it.
    """
    facts = batch.facts
    chosen: NDArray[np.bool_] = (facts["signature"] == Signature.SSH) & (facts["part"] == Part.ENCRYPTED)
    if not chosen.any():
        return []
    found = []
    for seen in _seen(batch, np.flatnonzero(chosen & (facts["sent_packets"] < _SIZES_UNTIL)), path):
        side = "client" if seen.place.from_initiator else "server"
        part = {"size": seen.place.length, "sequence": seen.sequence}
        found.append((seen.at + 1, Unit(Role.PART, {}, seen.place, "ssh", extra=(side, part))))
    return found


def _seen(batch: Batch, indexes: "NDArray[np.intp]", path: str) -> Iterator[_Seen]:
    """The packets at some indexes; columns are read at once, which costs less than row by row."""
    block, facts = batch.block, batch.facts[indexes]
    names = [interface.name for interface in block.interfaces]
    columns = [
        facts[name].tolist()
        for name in ("forward", "length", "sequence", "acknowledgement", "tcp_flags", "payload")
    ]
    times, numbers, starts, sizes = (
        column[indexes].tolist() for column in (block.time_ns, block.interface, block.offset, block.captured)
    )
    rows = zip(indexes.tolist(), times, numbers, starts, sizes, *columns, strict=True)
    for index, time_ns, number, start, size, forward, length, sequence, acknowledged, flags, payload in rows:
        place = Place(
            *(
                block.first_frame + index,
                time_ns,
                batch.flow(index),
                bool(forward),
                length,
                names[number],
                path,
            ),
            sequence,
            acknowledged,
        )
        begin = (sequence + (flags >> 1 & 1)) & _MASK  # a SYN takes a number before the first byte
        yield _Seen(index, place, begin, start + payload, size - payload)
