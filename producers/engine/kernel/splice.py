"""Closing the holes that skipped payload leaves in what the decoders get of a TCP stream.

tshark puts streams in order and waits for what is missing. So what we do not hand over is taken out of the stream:
the sequence numbers after it are shifted back, and the other side's acknowledgements likewise. What is missing because
it was never captured, or comes later, is another matter: that hole stays, and what fills it is handed over.
"""

from typing import Any

from producers.compiled import bare_entry, bare_inner
from producers.engine.kernel.layout import DECODE, Fragment, Kind
from producers.engine.kernel.octets import number

SPLICE_FIELDS: list[tuple[Any, ...]] = [
    ("splice_uid", "i8"),  # the flow that the rest is about
    ("splice_state", "u1", (2,)),  # bits, see below
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

_BEGUN, _SKIPPED, _CUT, _HOLE = 1, 2, 4, 8
_FLOW, _WHOLE = int(Kind.FLOW), int(Fragment.NONE)
_FIN, _SYN = 1, 2
_WRAP = 0xFFFFFFFF


@bare_entry
def splice(flows: Any, facts: Any) -> None:
    """Write `sequence_shift` and `acknowledgement_shift` of a block's packets; runs after the policy's verdicts.

    `flows` is the table (dtype with SPLICE_FIELDS) that `slot` of the rows of `facts` counts in. A packet that
    fills a hole in what was handed over gets DECODE, whatever the policy said.
    """
    for index in range(len(facts)):
        fact = facts[index]
        fact.sequence_shift = 0
        fact.acknowledgement_shift = 0
        if fact.kind != _FLOW or fact.protocol != 6 or fact.slot < 0 or fact.fragment != _WHOLE:
            continue
        flow = flows[fact.slot]
        if flow.splice_uid != fact.uid:
            _forget(flow, fact.uid)
        side = 1 - number(fact.forward)
        if fact.length > 0 and not fact.verdict & DECODE:
            _skip(flow, fact, side)
        if fact.verdict & DECODE:
            fact.sequence_shift = _hand_over(flow, fact, side)
            fact.acknowledgement_shift = _shift_at(flow, 1 - side, number(fact.acknowledgement))


@bare_inner
def _after(sequence: int, other: int) -> int:
    """How far a sequence number lies behind another, negative if before it; they count modulo 2**32."""
    distance = (sequence - other) & _WRAP
    return distance - (1 << 32) if distance >= 1 << 31 else distance


@bare_inner
def _forget(flow: Any, uid: int) -> None:
    """Begin with another flow."""
    flow.splice_uid = uid
    for side in range(2):
        flow.splice_state[side] = 0
        flow.splice_shift[side] = 0


@bare_inner
def _skip(flow: Any, fact: Any, side: int) -> None:
    """Note a segment that is not handed over; have it handed over if it lies in a hole."""
    sequence = number(fact.sequence)
    end = sequence + number(fact.length)
    state = number(flow.splice_state[side])
    if not state & _BEGUN:
        return
    if (
        state & _HOLE
        and _after(end, number(flow.splice_hole[side])) > 0
        and _after(number(flow.splice_rim[side]), sequence) > 0
    ):
        fact.verdict |= DECODE
    elif not state & _SKIPPED or _after(end, number(flow.splice_skipped[side])) > 0:
        flow.splice_skipped[side] = end & _WRAP
        flow.splice_state[side] |= _SKIPPED


@bare_inner
def _hand_over(flow: Any, fact: Any, side: int) -> int:
    """The shift of a packet that is handed over, after what lies before it was taken out or noted as a hole."""
    sequence = number(fact.sequence)
    length = number(fact.length)
    if length == 0 and not fact.tcp_flags & _SYN:
        return _shift_at(flow, side, sequence)
    end = sequence + length + (1 if fact.tcp_flags & _SYN else 0)
    if not flow.splice_state[side] & _BEGUN:
        flow.splice_state[side] = _BEGUN
        flow.splice_end[side] = end & _WRAP
        return 0
    gap = _after(sequence, number(flow.splice_end[side]))
    if gap > 0:
        _bridge(flow, side, sequence, gap)
    elif flow.splice_state[side] & _HOLE and _after(sequence, number(flow.splice_hole[side])) <= 0:
        if _after(end, number(flow.splice_rim[side])) >= 0:
            flow.splice_state[side] &= ~_HOLE
        elif _after(end, number(flow.splice_hole[side])) > 0:
            flow.splice_hole[side] = end & _WRAP
    if _after(end, number(flow.splice_end[side])) > 0:
        flow.splice_end[side] = end & _WRAP
    if flow.splice_state[side] & _SKIPPED and _after(number(flow.splice_skipped[side]), end) <= 0:
        flow.splice_state[side] &= ~_SKIPPED
    return _shift_at(flow, side, sequence)


@bare_inner
def _bridge(flow: Any, side: int, sequence: int, gap: int) -> None:
    """Take the skipped bytes out before a segment at `sequence`, `gap` after the end; the rest is a hole."""
    cut = 0
    if flow.splice_state[side] & _SKIPPED:
        reach = _after(number(flow.splice_skipped[side]), number(flow.splice_end[side]))
        cut = min(max(reach, 0), gap)
    if cut > 0:
        flow.splice_shift[side] = (number(flow.splice_shift[side]) + cut) & _WRAP
        flow.splice_begin[side] = (number(flow.splice_end[side]) + cut) & _WRAP
        flow.splice_cut[side] = cut
        flow.splice_state[side] |= _CUT
    if cut < gap:
        if not flow.splice_state[side] & _HOLE:
            flow.splice_hole[side] = (sequence - (gap - cut)) & _WRAP
        flow.splice_rim[side] = sequence
        flow.splice_state[side] |= _HOLE


@bare_inner
def _shift_at(flow: Any, side: int, sequence: int) -> int:
    """The shift of a sequence number or acknowledgement of a side's stream.

    Within bytes that were not handed over, it is such that the number comes to stand where they were taken out.
    """
    shift = number(flow.splice_shift[side])
    state = number(flow.splice_state[side])
    if state & _CUT:
        before = _after(number(flow.splice_begin[side]), sequence)
        if before > 0:
            return (shift - min(before, number(flow.splice_cut[side]))) & _WRAP
    if state & _SKIPPED:
        end = number(flow.splice_end[side])
        beyond = min(_after(sequence, end), _after(number(flow.splice_skipped[side]), end))
        if beyond > 0:
            return (shift + beyond) & _WRAP
    return shift
