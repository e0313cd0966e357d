"""What TCP's flags and sequence numbers tell of a connection: history, its end, what was lost, late and sent again.

The twin's `tcp` says the same with objects; what is counted is defined in docs/flows.md. `side` is 0 for the
initiator's segments, 1 for the other's. Sequence numbers are 64-bit integers here, taken modulo 2**32.
"""
# ruff: noqa: PLR0913, PLR0917 - arrays and indices, not rows

from typing import Any

import numpy as np

from producers.compiled import bare_inner, inlined
from producers.engine.kernel.octets import number
from producers.engine.kernel.table_rows import FIN_CLOSED, MAX_HOLES, RST_CLOSED

FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10
REACH = 1 << 20
MAX_GAP = 1 << 30
MAX_UNSEEN = 1 << 24
REORDERED_NS = 3_000_000
BACKWARD = ord("^")

_LETTERS = np.frombuffer(b"SsHhAaDdFfRrTtWwQqIiGg", np.uint8)
# Numbers of a type, because for a plain one that is passed on numba compiles the function once more.
_SYN, _ANSWER, MORE, DATA, _FIN, _RST, _AGAIN, _CLOSED, _ODD, _FLIPPED, _GAP = map(number, range(11))
NEXT, _FIRST = 1, 2
_SENT, ACCEPTED, _OVER = 1, 2, 3
_MASK, _HALF = 0xFFFF_FFFF, 0x8000_0000
_WELL_KNOWN = 1024


@inlined
def distance(ahead: int, other: int) -> int:
    """How far a sequence number is ahead of another, modulo 2**32: negative if it is behind."""
    return ((ahead - other + _HALF) & _MASK) - _HALF


@bare_inner
def note(flows: Any, slot: int, side: int, letter: int) -> None:
    """Put a letter into the history when it happens first: upper case for the initiator."""
    row = flows[slot]
    place = letter * 2 + side
    if number(row.seen) >> place & 1 == 0:
        row.seen = number(row.seen) | 1 << place
        row.history[row.letters] = _LETTERS[place]
        row.letters += 1


@bare_inner
def see(flows: Any, slot: int, side: int, facts: Any, packet: int, now: int) -> int:
    """Take one segment in; return FIN_CLOSED or RST_CLOSED if it closes the connection, else 0."""
    row, fact = flows[slot], facts[packet]
    length, flags = number(fact.length), number(fact.tcp_flags)
    if flags & RST == 0 and (length > 0 or flags & (FIN | SYN)):
        _advance(flows, slot, side, number(fact.sequence), length, flags, now)
    if flags & (FIN | SYN | RST):
        _control(flows, slot, side, number(fact.sequence), flags)
    if length > 0:
        note(flows, slot, side, DATA)
    elif flags & (FIN | SYN | RST | ACK) == ACK:
        note(flows, slot, side, MORE)
    if fact.window == 0 and flags & (FIN | SYN | RST) == 0:
        row.zero_windows += 1
        note(flows, slot, side, _CLOSED)
    if flags & RST:
        return FIN_CLOSED if flags & FIN and _finished(flows, slot) else RST_CLOSED
    if row.handshake != _OVER:
        _handshake(flows, slot, side, flags, number(fact.acknowledgement), now)
    if flags & ACK:
        _acknowledged(flows, slot, 1 - side, number(fact.acknowledgement))
    return FIN_CLOSED if flags & FIN and _finished(flows, slot) else 0


@bare_inner
def continues(flows: Any, slot: int, side: int, length: int) -> None:
    """Take in a later fragment of a segment: payload that follows on what came before."""
    if length > 0:
        note(flows, slot, side, DATA)
        flows[slot].next[side] = number(flows[slot].next[side]) + length & _MASK


@bare_inner
def _finished(flows: Any, slot: int) -> bool:
    """Whether both sides sent FIN."""
    return number(flows[slot].seen) >> 2 * _FIN & 3 == 3


@bare_inner
def _advance(flows: Any, slot: int, side: int, sequence: int, length: int, flags: int, now: int) -> None:
    """Move the next expected sequence number on, or tell what comes late from what comes again."""
    row = flows[slot]
    end = sequence + length + (flags >> 1 & 1) + (flags & 1) & _MASK
    if flags & SYN or row.known[side] & NEXT == 0:
        if flags & SYN and row.known[side] & _FIRST and number(row.first[side]) == sequence:
            row.retransmits += 1
            return
        row.known[side] |= NEXT
        row.next[side], row.advanced_ns[side], row.holes[side] = end, now, 0
        return
    expected = number(row.next[side])
    gap, ahead = distance(sequence, expected), distance(end, expected)
    if ahead > 0:
        if gap > MAX_GAP:
            row.holes[side] = 0
        elif gap > 0:
            _hole(flows, slot, side, sequence)
        elif row.holes[side]:
            row.missed_bytes[side] -= _fill(flows, slot, side, sequence, end)
        row.next[side], row.advanced_ns[side] = end, now
    elif length != 1 or ahead != 0 or flags & FIN:  # one byte again is a keep-alive
        filled = _fill(flows, slot, side, sequence, end) if row.holes[side] else 0
        row.missed_bytes[side] -= filled
        if filled > 0 and now - row.advanced_ns[side] <= max(REORDERED_NS, row.handshake_ns):
            row.out_of_order += 1
            return
        row.retransmits += 1
        if length > 0:
            note(flows, slot, side, _AGAIN)


@bare_inner
def _hole(flows: Any, slot: int, side: int, end: int) -> None:
    """What lies between the next expected sequence number and `end` is missing until it comes."""
    row = flows[slot]
    begin = number(row.next[side])
    row.missed_bytes[side] += distance(end, begin)
    _append(flows, slot, side, begin, end)
    if row.holes[side] > MAX_HOLES:
        _drop(flows, slot, side)


@bare_inner
def _append(flows: Any, slot: int, side: int, begin: int, end: int) -> None:
    row = flows[slot]
    count = number(row.holes[side])
    row.hole_start[side, count], row.hole_end[side, count] = begin, end
    row.holes[side] = count + 1


@bare_inner
def _drop(flows: Any, slot: int, side: int) -> None:
    """Forget the first hole."""
    row = flows[slot]
    for at in range(MAX_HOLES):
        row.hole_start[side, at] = row.hole_start[side, at + 1]
        row.hole_end[side, at] = row.hole_end[side, at + 1]
    row.holes[side] -= 1


@bare_inner
def _fill(flows: Any, slot: int, side: int, begin: int, end: int) -> int:
    """Take a range out of the holes; return how many bytes of it were missing."""
    row = flows[slot]
    filled = 0
    for _ in range(
        number(row.holes[side])
    ):  # what is left of each goes behind the others, so they stay in order
        low, high = number(row.hole_start[side, 0]), number(row.hole_end[side, 0])
        _drop(flows, slot, side)
        first = low if distance(begin, low) < 0 else begin
        stop = high if distance(end, high) > 0 else end
        if distance(stop, first) <= 0:
            first = stop = high
        if low != first:
            _append(flows, slot, side, low, first)
        if stop != high:
            _append(flows, slot, side, stop, high)
        filled += distance(stop, first)
    if row.holes[side] > MAX_HOLES:  # the range lay inside of one and made two of it
        _drop(flows, slot, side)
    return filled


@bare_inner
def _handshake(flows: Any, slot: int, side: int, flags: int, acknowledgement: int, now: int) -> None:
    """From the last SYN before the SYN-ACK to the initiator's first answer to it."""
    row = flows[slot]
    if flags & SYN:
        if side == 0 and flags & ACK == 0 and row.handshake != ACCEPTED:
            row.handshake, row.syn_ns = _SENT, now
        elif side == 1 and flags & ACK and row.handshake == _SENT:
            row.handshake = ACCEPTED
    elif side == 0 and flags & ACK and row.handshake == ACCEPTED:
        row.handshake = _OVER
        if acknowledgement == (number(row.first[1]) + 1) & _MASK and now >= row.syn_ns:
            row.handshake_ns = now - row.syn_ns


@bare_inner
def _acknowledged(flows: Any, slot: int, side: int, end: int) -> None:
    """What `side` sent by then has arrived at the other, whether it was seen or not."""
    row = flows[slot]
    if row.known[side] & NEXT == 0:
        return
    unseen = distance(end, number(row.next[side]))
    if 1 < unseen <= MAX_UNSEEN:  # 1: a FIN that was not seen
        _hole(flows, slot, side, end)
        row.next[side] = end
    if row.holes[side] and distance(end, number(row.hole_start[side, 0])) > 0:
        note(flows, slot, side, _GAP)


@bare_inner
def _control(flows: Any, slot: int, side: int, sequence: int, flags: int) -> None:
    """A segment with SYN, FIN or RST."""
    if flags & SYN:
        flows[slot].first[side] = sequence
        flows[slot].known[side] |= _FIRST
        note(flows, slot, side, _ANSWER if flags & ACK else _SYN)
        if flags & (FIN | RST):
            note(flows, slot, side, _ODD)
    if flags & (FIN | RST) == FIN | RST:
        note(flows, slot, side, _FLIPPED)
    if flags & FIN:
        note(flows, slot, side, _FIN)
    if flags & RST:
        note(flows, slot, side, _RST)


@bare_inner
def begins_anew(flows: Any, slot: int, side: int, sequence: int) -> bool:
    """Whether a SYN on this connection's addresses and ports opens another one.

    It does if this one was closed or the sequence number is out of reach; its own SYN, sent again, does not (but
    after both FINs it does).
    """
    row = flows[slot]
    if row.known[side] & _FIRST and number(row.first[side]) == sequence:
        return bool(row.closed == FIN_CLOSED)
    if row.closed:
        return True
    return bool(row.known[side] & NEXT and abs(distance(sequence, number(row.next[side]))) > REACH)


@bare_inner
def is_reply(facts: Any, packet: int) -> int:
    """1 if the first segment seen went to the initiator.

    A SYN comes from the initiator, a SYN-ACK goes to it. In the middle of a connection the side with a
    well-known port answers, if the other has none; else whoever is seen first began.
    """
    fact = facts[packet]
    if fact.tcp_flags & SYN:
        return 1 if fact.tcp_flags & ACK else 0
    return 1 if fact.source_port < _WELL_KNOWN <= fact.destination_port else 0
