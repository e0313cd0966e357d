"""Closing the holes that skipped payload leaves in what the decoders get of a TCP stream."""

from typing import Any

from producers.compiled import entry

SPLICE_FIELDS: list[tuple[Any, ...]] = [
    ("splice_uid", "i8"),  # the flow that the rest is about
    ("splice_state", "u1", (2,)),  # bits, see splice.py
    ("splice_end", "u4", (2,)),  # sequence number after what was handed over
    ("splice_skipped", "u4", (2,)),  # sequence number after what was not
    ("splice_shift", "u4", (2,)),  # bytes taken out so far
    ("splice_begin", "u4", (2,)),  # where what was handed over goes on after the last bytes taken out
    ("splice_cut", "u4", (2,)),  # how many bytes those were
    ("splice_hole", "u4", (2,)),  # where a hole that may yet be filled begins
    ("splice_rim", "u4", (2,)),  # and where it ends
]
"""What a flow's row needs for `splice`. Never to be cleared when a row is given to another flow: packets of the
flow before may still wait for their turn in the block; `splice` itself tells the flows apart by `uid`."""


@entry
def splice(flows: Any, facts: Any) -> None:
    """Write `sequence_shift` and `acknowledgement_shift` of a block's packets; runs after the policy's verdicts.

    `flows` is the table (dtype with SPLICE_FIELDS) that `slot` of the rows of `facts` counts in.
    """
