"""Units that need no tshark: what the engine's own facts and the packets' bytes say.

Each comes with the index of the packet after the one it was in, so that it follows what tshark shows of its packet.
"""

from typing import TYPE_CHECKING, Any

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


def bodies(batch: Batch, path: str) -> list[tuple[int, Unit]]:
    """The first bytes of HTTP bodies, as they were sent.

    `extra` is the bytes, and the sequence numbers of the first of them and of what follows the segment.
    """
    facts, block = batch.facts, batch.block
    found = []
    for index in np.flatnonzero(facts["content"]).tolist():
        fact = facts[index]
        offset = int(fact["content"]) - 1
        start = int(fact["payload"]) + offset
        size = min(int(fact["length"]) - offset, int(block.captured[index]) - start, _PIECE)
        if size <= 0:
            continue
        first, sequence = int(block.offset[index]) + start, _first_byte(fact)
        said = (
            block.buffer[first : first + size].tobytes(),
            (sequence + offset) & _MASK,
            (sequence + int(fact["length"])) & _MASK,
        )
        found.append((index + 1, Unit(Role.PART, {}, _place(batch, index, path), "http", extra=said)))
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
    for index in np.flatnonzero(chosen & (facts["sent_packets"] < _SIZES_UNTIL)).tolist():
        fact = facts[index]
        side = "client" if fact["forward"] else "server"
        part = {"size": int(fact["length"]), "sequence": _first_byte(fact)}
        place = _place(batch, index, path)
        found.append((index + 1, Unit(Role.PART, {}, place, "ssh", extra=(side, part))))
    return found


def _first_byte(fact: Any) -> int:
    """The sequence number of a segment's first byte of payload; a SYN takes one before it."""
    return (int(fact["sequence"]) + (int(fact["tcp_flags"]) >> 1 & 1)) & _MASK


def _place(batch: Batch, index: int, path: str) -> Place:
    """Where a packet was seen."""
    fact, block = batch.facts[index], batch.block
    return Place(
        block.first_frame + index,
        int(block.time_ns[index]),
        batch.flow(index),
        bool(fact["forward"]),
        int(fact["length"]),
        block.interfaces[int(block.interface[index])].name,
        path,
        int(fact["sequence"]),
        int(fact["acknowledgement"]),
    )
