"""Which protocol a flow speaks, and which part of it each packet's payload is.

`observe` is called for each packet of a flow, in the order of the capture.
"""

from typing import Any

from producers.compiled import inner
from producers.engine.kernel.layout import Part

PHASE_FIELDS: list[tuple[Any, ...]] = [
    # of the flow
    ("signature", "u1"),  # layout.Signature
    ("phase_looked", "u1"),  # payload packets in which a signature was looked for
    ("phase_pending", "u1"),  # HTTP: requests without an answer yet
    ("phase_queue", "u8"),  # HTTP: two bits a request without answer, the oldest lowest: see http.py
    # of each direction, 0: the initiator's
    ("phase_state", "u1", (2,)),  # what comes next in the stream; 0: nothing of it was seen
    ("phase_step", "u1", (2,)),  # how far in a header or line
    ("phase_misses", "u1", (2,)),  # packets in a row whose part could not be told
    ("phase_bits", "u1", (2,)),  # HTTP: what the head said so far
    ("phase_status", "u2", (2,)),  # HTTP: status of the response
    ("phase_next", "u4", (2,)),  # sequence number after what was followed
    ("phase_missed", "u4", (2,)),  # payload bytes of those packets
    ("phase_column", "u4", (2,)),  # HTTP: bytes of the line so far
    ("phase_held", "u8", (2,)),  # the header's bytes so far
    ("phase_left", "i8", (2,)),  # bytes left of the record, packet or body
    ("phase_run", "i8", (2,)),  # bytes of body or application data just before `phase_next`
]
"""What a flow's row needs for `observe`; all zero when the flow begins."""

_NONE = int(Part.NONE)
_UNKNOWN = int(Part.UNKNOWN)


@inner
def observe(flows: Any, slot: int, facts: Any, index: int, buffer: Any, start: int, available: int) -> None:  # noqa: PLR0913, PLR0917 - arrays and indices, not rows
    """Write `signature` and `part` of a packet whose flow, direction and payload are known.

    `flows[slot]` is its flow's row (dtype with PHASE_FIELDS), `facts[index]` the packet with `forward`, `length`
    and what `parse` wrote; its payload begins at `buffer[start]`, `available` bytes of it were captured (0 to
    `length`).
    """
    facts[index].part = _NONE if facts[index].length <= 0 else _UNKNOWN
    facts[index].signature = flows[slot].signature
