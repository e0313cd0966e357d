"""What is remembered of a flow to tell the parts of its protocol: the fields and the states of a direction.

Each direction of a TCP stream is followed by sequence number. It is in a header that is read byte by byte, or
in a unit whose length is known (`phase_left`) and whose bytes need not be looked at.
"""

from typing import Any

PHASE_FIELDS: list[tuple[Any, ...]] = [
    # of the flow
    ("signature", "u1"),  # layout.Signature
    ("phase_looked", "u1"),  # payload packets in which a signature was looked for
    ("phase_pending", "u1"),  # HTTP: requests without an answer yet
    ("phase_queue", "u8"),  # HTTP: two bits for each of them, the oldest lowest (phases_http.py)
    (
        "phase_content",
        "i8",
    ),  # HTTP: where in the buffer a body's first bytes stand in this payload, -1: none of them
    # of each direction, 0: the initiator's
    ("phase_state", "u1", (2,)),  # one of the states below
    (
        "phase_hint",
        "u1",
        (2,),
    ),  # what its last payload, a half of some signature, awaits from the other direction
    ("phase_step", "u1", (2,)),  # how far in a header; how many packets bore out a guess
    ("phase_bits", "u1", (2,)),  # what the header said so far
    ("phase_misses", "u1", (2,)),  # packets in a row whose part could not be told
    ("phase_missed", "u4", (2,)),  # and their payload bytes
    ("phase_next", "u4", (2,)),  # sequence number after what was followed
    ("phase_column", "u4", (2,)),  # HTTP: bytes of the line so far
    ("phase_status", "u2", (2,)),  # HTTP: status of the response
    ("phase_held", "u8", (2,)),  # the header's bytes so far, or a digest of them
    ("phase_left", "i8", (2,)),  # bytes left of the unit
    ("phase_run", "i8", (2,)),  # bytes of body or application data just before `phase_next`
]
"""What a flow's row needs for `phases.observe`; all zero when the flow begins."""

FRESH = 0  # nothing of this direction was understood yet
LOST = 1  # was followed, but its headers make no sense any more
GUESS = 2  # maybe TLS in mid-stream: the lengths of its records are tried
HEADER = 3  # in the header of a TLS record or SSH packet
UNIT = 4  # in a record or packet that tells something
BULK = 5  # in a body, or in application data
BANNER = 6  # SSH's first line
LINE = 7  # HTTP: start line
NAME = 8  # a field's name
VALUE = 9  # a field's value, of no interest
LENGTH = 10  # Content-Length's value
CODING = 11  # Transfer-Encoding's value
SIZE = 12  # the line before a chunk

ENDLESS = 1 << 62
"""`phase_left` of a unit without a known end."""

MISSES = 64
MISSED = 256 << 10
"""A stream with a hole is taken for bulk after so many packets, or bytes, whose part could not be told."""
