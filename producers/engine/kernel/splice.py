"""Closing the holes that skipped payload leaves in what the decoders get of a TCP stream.

tshark knows the pieces of a message by their place in the stream. So what we do not hand over is taken out of the
stream: the sequence numbers after it are shifted back, and the other side's acknowledgements likewise. What is missing
because it was never captured, or comes later, is another matter: that hole stays, it is said where it begins, and what
fills it is handed over. `producers.decoders.ordering` waits for that, or gives it up.

A connection that pauses for longer than a flow may is another flow afterwards, but not for tshark. How far the streams
of a pair of addresses and ports were moved is therefore remembered beyond its flow.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from producers.compiled import bare_entry, bare_inner
from producers.engine.kernel.layout import DECODE, Fragment, Kind
from producers.engine.kernel.octets import number, spread

SPLICE_FIELDS: list[tuple[Any, ...]] = [
    ("splice_uid", "i8"),  # the flow that the rest is about
    ("splice_state", "u1", (2,)),  # bits, see below
    ("splice_first", "u4", (2,)),  # sequence number of the first that was handed over
    ("splice_end", "u4", (2,)),  # and the one after the last
    ("splice_skipped", "u4", (2,)),  # sequence number after what was not
    ("splice_shift", "u4", (2,)),  # bytes taken out so far
    ("splice_begin", "u4", (2,)),  # where what was handed over goes on after the last bytes taken out
    ("splice_cut", "u4", (2,)),  # how many bytes those were
    ("splice_hole", "u4", (2,)),  # where a hole that may yet be filled begins
    ("splice_rim", "u4", (2,)),  # and where it ends
]
"""What a flow's row needs for `splice`. Never to be cleared when a row is given to another flow: packets of the
flow before may still wait for their turn in the block; `splice` itself tells the flows apart by `uid`."""

STREAMS = np.dtype(
    [
        ("name", "u8"),  # of addresses and ports, the same for both directions; 0: none
        ("begun", "u1", (2,)),  # the lower address and port first
        ("end", "u4", (2,)),
        ("shift", "u4", (2,)),
    ],
    align=True,
)
_STREAMS = 1 << 14

_BEGUN, _SKIPPED, _CUT, _HOLE, _LOWERED, _PUSHED = 1, 2, 4, 8, 16, 32
_FLOWS = (1 << 14) - 1
_FLOW, _WHOLE = int(Kind.FLOW), int(Fragment.NONE)
_FIN, _SYN, _PSH, _ACK = 1, 2, 8, 16
_WRAP = 0xFFFFFFFF
_MAX_UNSEEN = 1 << 24  # an acknowledgement of more than this beyond what came is not believed
_PORT = np.uint64(48)


def new_streams() -> NDArray[Any]:
    """Memory for `splice`, empty. What has no room in it is forgotten, in every run alike."""
    return np.zeros(_STREAMS, STREAMS)


@bare_entry
def splice(flows: Any, facts: Any, streams: Any) -> None:
    """Write `sequence_shift` and `acknowledgement_shift` of a block's packets; runs after the policy's verdicts.

    `flows` is the table (dtype with SPLICE_FIELDS) that `slot` of the rows of `facts` counts in, `streams` comes
    from `new_streams`. A packet that fills a hole in what was handed over gets DECODE, whatever the policy said; one
    of which everything was handed over before loses it. `missing` and `unseen` say where holes begin.
    """
    for index in range(len(facts)):
        fact = facts[index]
        fact.sequence_shift = 0
        fact.acknowledgement_shift = 0
        fact.missing = 0
        fact.unseen = 0
        fact.pushed = 0
        if fact.kind != _FLOW or fact.protocol != 6 or fact.slot < 0 or fact.fragment != _WHOLE:
            continue
        flow = flows[fact.slot]
        side = 1 - number(fact.forward)
        if flow.splice_uid != fact.uid:
            _forget(flow, fact.uid)
            if not fact.tcp_flags & _SYN:
                _recall(flow, fact, side, streams)
        if fact.length > 0 and not fact.verdict & DECODE:
            _skip(flow, fact, side)
        if fact.verdict & DECODE and _came_before(flow, fact, side):
            fact.verdict &= ~DECODE
        if fact.verdict & DECODE:
            _take(flow, fact, side)
            if fact.length > 0 or fact.tcp_flags & _SYN:
                _remember(flow, fact, side, streams)


@bare_inner
def _take(flow: Any, fact: Any, side: int) -> None:
    """Write what concerns a packet that is handed over."""
    acknowledgement = number(fact.acknowledgement)
    fact.pushed = (number(flow.splice_state[side]) & _PUSHED > 0) | (
        number(flow.splice_state[1 - side]) & _PUSHED > 0
    ) << 1
    _lower(flow, side, number(fact.sequence) - (0 if fact.tcp_flags & _SYN else 1))
    if fact.tcp_flags & _ACK:
        _lower(flow, 1 - side, acknowledgement - 1)
        if fact.length > 0:
            fact.unseen = _acknowledge(flow, 1 - side, acknowledgement)
    fact.sequence_shift = _hand_over(flow, fact, side)
    fact.acknowledgement_shift = _shift_at(flow, 1 - side, acknowledgement)


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
def _lower(flow: Any, side: int, sequence: int) -> None:
    """Begin a side's numbers, that of its SYN first, at a multiple of 64 KiB within the first GiB.

    Where they wrap around tshark finds no message that goes on. The multiple is not the same for flows that follow
    each other on the same ports: by the SYN's number tshark knows a connection from the one before it.
    """
    if not flow.splice_state[side] & _LOWERED:
        flow.splice_state[side] |= _LOWERED
        flow.splice_shift[side] = (sequence - ((number(flow.splice_uid) & _FLOWS) << 16)) & _WRAP


@bare_inner
def _end(high: Any, low: Any, port: Any) -> Any:
    """A number for an address and port."""
    return spread(low ^ spread(high ^ (np.uint64(port) << _PORT)))


@bare_inner
def _remember(flow: Any, fact: Any, side: int, streams: Any) -> None:
    """Note how far the streams of a packet's addresses and ports have come and were moved."""
    sender = _end(fact.source_high, fact.source_low, fact.source_port)
    receiver = _end(fact.destination_high, fact.destination_low, fact.destination_port)
    name = spread(sender + receiver)
    stream = streams[number(name) & (len(streams) - 1)]
    stream.name = name
    first = side if sender < receiver else 1 - side
    for at in range(2):
        own = first if at == 0 else 1 - first
        stream.begun[at] = flow.splice_state[own] & _BEGUN
        stream.end[at] = flow.splice_end[own]
        stream.shift[at] = flow.splice_shift[own]


@bare_inner
def _recall(flow: Any, fact: Any, side: int, streams: Any) -> None:
    """Begin a flow in the middle of a connection where the flow before it has ended; what lies between was skipped."""
    sender = _end(fact.source_high, fact.source_low, fact.source_port)
    receiver = _end(fact.destination_high, fact.destination_low, fact.destination_port)
    name = spread(sender + receiver)
    stream = streams[number(name) & (len(streams) - 1)]
    if stream.name != name:
        return
    first = side if sender < receiver else 1 - side
    for at in range(2):
        own = first if at == 0 else 1 - first
        if not stream.begun[at]:
            continue
        flow.splice_state[own] = _BEGUN | _LOWERED
        flow.splice_first[own] = stream.end[at]
        flow.splice_end[own] = stream.end[at]
        flow.splice_shift[own] = stream.shift[at]
        reached = number(fact.sequence if own == side else fact.acknowledgement)
        if (own == side or fact.tcp_flags & _ACK) and _after(reached, number(stream.end[at])) > 0:
            flow.splice_skipped[own] = reached
            flow.splice_state[own] |= _SKIPPED


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
        _note_push(flow, fact, side)


@bare_inner
def _came_before(flow: Any, fact: Any, side: int) -> bool:
    """Whether all bytes of a segment were handed over before."""
    length, state = number(fact.length), number(flow.splice_state[side])
    if length == 0 or not state & _BEGUN:
        return False
    sequence = number(fact.sequence)
    if fact.tcp_flags & _SYN:  # with data (RFC 7413): the same again, or another connection
        return sequence == number(flow.splice_first[side])
    end = sequence + length
    if (
        _after(end, number(flow.splice_end[side])) > 0
        or _after(sequence, number(flow.splice_first[side])) < 0
    ):
        return False
    return not (
        state & _HOLE
        and _after(end, number(flow.splice_hole[side])) > 0
        and _after(number(flow.splice_rim[side]), sequence) > 0
    )


@bare_inner
def _acknowledge(flow: Any, side: int, acknowledgement: int) -> int:
    """Open a hole for what a side must have sent, because it was acknowledged; return how many bytes that is.

    One byte may be a FIN that was not seen.
    """
    state = number(flow.splice_state[side])
    if not state & _BEGUN:
        return 0
    end = number(flow.splice_end[side])
    gap = unseen = _after(acknowledgement, end)
    if state & _SKIPPED:
        unseen = min(gap, _after(acknowledgement, number(flow.splice_skipped[side])))
    if unseen <= 1 or unseen > _MAX_UNSEEN:
        return 0
    missing = _bridge(flow, side, acknowledgement, gap)
    flow.splice_end[side] = acknowledgement
    flow.splice_state[side] &= ~_SKIPPED
    return missing


@bare_inner
def _hand_over(flow: Any, fact: Any, side: int) -> int:
    """The shift of a packet that is handed over, after what lies before it was taken out or noted as a hole."""
    sequence = number(fact.sequence)
    length = number(fact.length)
    if length == 0 and not fact.tcp_flags & _SYN:
        return _shift_at(flow, side, sequence)
    end = sequence + length + (1 if fact.tcp_flags & _SYN else 0)
    if not flow.splice_state[side] & _BEGUN:
        flow.splice_state[side] |= _BEGUN
        _note_push(flow, fact, side)
        flow.splice_first[side] = sequence
        flow.splice_end[side] = end & _WRAP
        return number(flow.splice_shift[side])
    gap = _after(sequence, number(flow.splice_end[side]))
    fact.missing = gap
    if gap > 0:
        fact.missing = _bridge(flow, side, sequence, gap)
    elif flow.splice_state[side] & _HOLE and _after(sequence, number(flow.splice_hole[side])) <= 0:
        if _after(end, number(flow.splice_rim[side])) >= 0:
            flow.splice_state[side] &= ~_HOLE
        elif _after(end, number(flow.splice_hole[side])) > 0:
            flow.splice_hole[side] = end & _WRAP
    if _after(end, number(flow.splice_end[side])) > 0:
        flow.splice_end[side] = end & _WRAP
        _note_push(flow, fact, side)
    if flow.splice_state[side] & _SKIPPED and _after(number(flow.splice_skipped[side]), end) <= 0:
        flow.splice_state[side] &= ~_SKIPPED
    return _shift_at(flow, side, sequence)


@bare_inner
def _note_push(flow: Any, fact: Any, side: int) -> None:
    """Note whether a side's stream has come to what is likely to be the end of a message."""
    if fact.tcp_flags & (_PSH | _SYN):
        flow.splice_state[side] |= _PUSHED
    else:
        flow.splice_state[side] &= ~_PUSHED


@bare_inner
def _bridge(flow: Any, side: int, sequence: int, gap: int) -> int:
    """Take the skipped bytes out before a segment at `sequence`, `gap` after the end.

    The rest, which is returned, is a hole.
    """
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
    return gap - cut


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
