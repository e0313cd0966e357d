"""What the generated code of a policy calls: sets and ranges in tables, the flow's hash for sampling."""

from typing import Any

import numpy as np

from producers.compiled import inner

_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_STEP = np.uint64(0x9E3779B97F4A7C15)


@inner
def in_bits(tables: Any, start: int, words: int, value: Any) -> Any:
    """Whether the bit of `value` is set in the bit set of so many words that begins at word `start`."""
    position = np.int64(value)
    if position >> 6 >= words:
        return False
    return (tables[start + (position >> 6)] >> np.uint64(position & 63)) & np.uint64(1) != np.uint64(0)


@inner
def in_ranges(tables: Any, start: int, high: Any, low: Any) -> Any:
    """Whether an address is in one of the sorted, separate ranges at word `start`: their number, then theirs.

    A range is four words: the high and low half of its first address, then of its last.
    """
    below, above = np.int64(0), np.int64(tables[start])
    while below < above:  # the ranges before `below` end before the address
        middle = (below + above) >> 1
        at = start + 1 + 4 * middle
        if tables[at + 2] < high or (tables[at + 2] == high and tables[at + 3] < low):
            below = middle + 1
        else:
            above = middle
    if below == np.int64(tables[start]):
        return False
    at = start + 1 + 4 * below
    return tables[at] < high or (tables[at] == high and tables[at + 1] <= low)


@inner
def begins(buffer: Any, at: Any, left: Any, tables: Any, start: int) -> Any:
    """Whether the `left` bytes at `at` begin with a text of the table at `start`: their number, then length, bytes."""
    position = np.int64(start + 1)
    for _ in range(np.int64(tables[start])):
        length = np.int64(tables[position])
        if length <= left:
            same = 0
            while same < length and buffer[at + same] == tables[position + 1 + same]:
                same += 1
            if same == length:
                return True
        position += 1 + length
    return False


@inner
def mixed(high: Any, low: Any, port: Any) -> Any:
    """A hash of one end of a flow: the finalizer of splitmix64 over its words."""
    state = np.uint64(port) + _STEP
    for word in (high, low, _STEP):
        state = (state ^ word) + _STEP
        state = (state ^ (state >> np.uint64(30))) * _FIRST
        state = (state ^ (state >> np.uint64(27))) * _SECOND
        state ^= state >> np.uint64(31)
    return state


@inner
def sampled(facts: Any, i: int, share: int) -> Any:
    """Whether the packet's flow is the one in `share` that is kept; what has no flow is.

    The hash is the same for both directions and in every run, so flows are kept whole, by every sensor alike.
    """
    row = facts[i]
    if row.kind != 2:
        return True
    source_port, destination_port = np.uint64(0), np.uint64(0)
    if row.ported == 1:
        source_port, destination_port = np.uint64(row.source_port), np.uint64(row.destination_port)
    ends = mixed(row.source_high, row.source_low, source_port)
    ends += mixed(row.destination_high, row.destination_low, destination_port)
    return (ends ^ (ends >> np.uint64(32))) % np.uint64(share) == np.uint64(0)
