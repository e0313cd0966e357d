"""Which protocol a flow speaks, and which part of it each packet's payload is.

`observe` is called for each packet of a flow, in the order of the capture. TCP is followed in order of the sequence
numbers, each direction apart. What has been seen already keeps its part as far as that is known cheaply. A hole
makes what follows it UNKNOWN, until it is filled, the stream is found again (a record or head begins with a
segment), or too much went by (`phases_state.MISSED`): then the rest counts as bulk.
"""

from typing import Any

from producers.compiled import bare_inner, inlined
from producers.engine.kernel.layout import Fragment, Part, Signature
from producers.engine.kernel.octets import Buffer, number, octet, short
from producers.engine.kernel.phases_binary import recognise_binary_stream
from producers.engine.kernel.phases_datagrams import read_datagram
from producers.engine.kernel.phases_dialogue import converse
from producers.engine.kernel.phases_http import (
    CONTENT,
    begin_line,
    begins_head,
    begins_response,
    end_body,
    forget_answers,
    is_capital,
    may_begin_head,
    read_http,
)
from producers.engine.kernel.phases_records import (
    begins_hello,
    begins_key_exchange,
    begins_old_hello,
    begins_ssh,
    begins_tls,
    end_unit,
    read_ssh,
    read_tls,
)
from producers.engine.kernel.phases_signatures import recognise_stream
from producers.engine.kernel.phases_state import (
    BANNER,
    BULK,
    ENDLESS,
    FRESH,
    GUESS,
    HEADER,
    LOST,
    MISSED,
    MISSES,
    PHASE_FIELDS,
    UNIT,
)

__all__ = ["PHASE_FIELDS", "is_quiet", "observe", "quiet_part"]

_NO_SIGNATURE = int(Signature.NONE)
_HTTP, _TLS, _SSH, _RDP = int(Signature.HTTP), int(Signature.TLS), int(Signature.SSH), int(Signature.RDP)
_SOCKS, _FIRST_BEFORE_TLS, _LAST_BEFORE_TLS = (
    int(Signature.SOCKS),
    int(Signature.SMTP),
    int(Signature.MYSQL),
)
_NONE, _UNKNOWN, _HEAD = int(Part.NONE), int(Part.UNKNOWN), int(Part.HEAD)
_BODY, _ENCRYPTED = int(Part.BODY), int(Part.ENCRYPTED)
_LATER = int(Fragment.LATER)

_LOOK = 64  # payload packets of a flow
_GUESSED_RIGHT = 3  # record headers where they were expected
_HANDSHAKE, _APPLICATION_DATA = 22, 23
_SYN = 2
_TCP, _UDP = 6, 17


@bare_inner
def observe(  # noqa: PLR0913, PLR0917 - arrays and indices, not rows
    flows: Any, slot: int, facts: Any, index: int, buffer: Buffer, start: int, available: int
) -> None:
    """Write `signature` and `part` of a packet whose flow, direction and payload are known.

    `flows[slot]` is its flow's row (dtype with PHASE_FIELDS), `facts[index]` the packet with `forward` and what
    `parse` wrote; its payload begins at `buffer[start]`, and `available` bytes of it were captured.
    """
    flow, fact = flows[slot], facts[index]
    length = number(fact.length)
    fact.signature = flow.signature
    fact.content = 0
    if length <= 0:
        fact.part = _NONE
        return
    available = min(number(available), length)
    if available <= 0 or fact.fragment == _LATER or fact.protocol not in (_TCP, _UDP):
        fact.part = _UNKNOWN
        return
    if fact.protocol == _TCP and is_quiet(
        flows, slot, 1 - number(fact.forward), facts, index, octet(buffer, start)
    ):
        fact.part = quiet_part(flows, slot)
        return
    if fact.protocol == _TCP:
        flow.phase_content = -1
        fact.part = _read_segment(flows, slot, facts, index, buffer, number(start), available)
        if flow.phase_content >= 0 and flow.signature == _HTTP:
            fact.content = flow.phase_content - start + 1
    else:
        fact.part = read_datagram(flows, slot, facts, index, buffer, number(start), available)
    if flow.signature != _NO_SIGNATURE:  # what opens a tunnel still is what it was
        fact.signature = flow.signature


@inlined
def is_quiet(flows: Any, slot: int, side: int, facts: Any, index: int, first: int) -> bool:  # noqa: PLR0913, PLR0917 - arrays and indices, not rows
    """Whether a segment is the ordinary one within bulk: next in order, and its first byte begins no head.

    Then it is followed already, and its part is `quiet_part`. Most packets go no further than this.
    """
    flow, fact = flows[slot], facts[index]
    length = number(fact.length)
    if (
        flow.phase_state[side] != BULK
        or fact.sequence != flow.phase_next[side]
        or length >= flow.phase_left[side]
        or (flow.phase_run[side] < CONTENT and flow.signature == _HTTP)
        or first == _HANDSHAKE
        or is_capital(first)
    ):
        return False
    _advance(flow, side, number(fact.sequence), length, length)
    return True


@inlined
def quiet_part(flows: Any, slot: int) -> int:
    """The Part of a quiet segment of a flow."""
    return _BODY if flows[slot].signature == _HTTP else _ENCRYPTED


@bare_inner
def _read_segment(  # noqa: PLR0913, PLR0917 - arrays and indices, not rows
    flows: Any, slot: int, facts: Any, index: int, buffer: Buffer, start: int, available: int
) -> int:
    """The Part of a TCP segment with payload; learns the flow's signature."""
    flow, fact = flows[slot], facts[index]
    side = 1 - number(fact.forward)
    sequence = number(fact.sequence) + (1 if fact.tcp_flags & _SYN else 0)
    length = number(fact.length)
    signature = number(flow.signature)
    if signature == _NO_SIGNATURE or _may_change(signature):
        signature = _look(flows, slot, facts, index, buffer, start, available)
    if signature not in (_HTTP, _TLS, _SSH):
        if signature in (_NO_SIGNATURE, _SOCKS) and flow.phase_state[side] == GUESS:
            _follow_guess(flow, side, sequence, buffer, start, available, length)
        return _UNKNOWN
    gap = _ahead(sequence, number(flow.phase_next[side]))
    bulk = _BODY if signature == _HTTP else _ENCRYPTED
    restarts = gap >= 0 and flow.phase_state[side] == BULK and _restarts(signature, buffer, start, available)
    if not restarts and gap >= 0 and flow.phase_state[side] == BULK and gap + length <= flow.phase_left[side]:
        if flow.phase_run[side] < CONTENT:
            flow.phase_content = start
        _advance(flow, side, sequence, gap + length, length)
        if signature == _HTTP:
            end_body(flow, side)
        return bulk
    return _follow(flows, slot, side, sequence, gap, restarts, buffer, start, available, length)


@bare_inner
def _ahead(sequence: int, expected: int) -> int:
    """How far a sequence number lies ahead of another, negative if behind; they count modulo 2**32."""
    distance = (sequence - expected) & 0xFFFFFFFF
    return distance - (1 << 32) if distance >= 1 << 31 else distance


@bare_inner
def _advance(flow: Any, side: int, sequence: int, passed: int, length: int) -> None:
    """Pass over bytes of a unit: up to the end of a segment at `sequence`, `passed` from where we were."""
    flow.phase_next[side] = (sequence + length) & 0xFFFFFFFF
    flow.phase_left[side] -= passed
    flow.phase_run[side] += passed
    flow.phase_misses[side] = 0
    flow.phase_missed[side] = 0


@bare_inner
def _restarts(signature: int, buffer: Buffer, start: int, available: int) -> bool:
    """Whether a segment within bulk begins so clearly with a head that the bulk must have ended."""
    first = octet(buffer, start)
    if signature == _HTTP:
        return is_capital(first) and begins_head(buffer, start, available)
    return signature == _TLS and first == _HANDSHAKE and begins_hello(buffer, start, available)


@bare_inner
def _look(flows: Any, slot: int, facts: Any, index: int, buffer: Buffer, start: int, available: int) -> int:  # noqa: PLR0913, PLR0917 - arrays and indices, not rows
    """Look for a signature in a segment of a flow that has none, or one in which another may begin.

    Past the first segments, look for the clearest only.
    """
    flow, fact = flows[slot], facts[index]
    side = 1 - number(fact.forward)
    found = _NO_SIGNATURE
    if flow.phase_looked < _LOOK:
        flow.phase_looked += 1
        if flow.signature in (_NO_SIGNATURE, _SOCKS):
            found = _recognise(flow, side, facts, index, buffer, start, available)
            if found == _NO_SIGNATURE and octet(buffer, start) == _APPLICATION_DATA:
                _guess(flow, side, facts, index, buffer, start, available)
        elif begins_hello(buffer, start, available) or begins_old_hello(buffer, start, available):
            found = _TLS
    elif octet(buffer, start) == _HANDSHAKE:
        found = _TLS if begins_hello(buffer, start, available) else _NO_SIGNATURE
    elif octet(buffer, start) == 72 and flow.signature in (_NO_SIGNATURE, _SOCKS):  # H
        found = _HTTP if begins_response(buffer, start, available) else _NO_SIGNATURE
    if found == _NO_SIGNATURE:
        return number(flow.signature)
    flow.signature = found
    if found in (_HTTP, _TLS, _SSH):
        for side in range(2):
            flow.phase_state[side] = FRESH
    return found


@bare_inner
def _may_change(signature: int) -> bool:
    """Whether another protocol may begin on a flow of this one."""
    return signature in (_SOCKS, _RDP) or _FIRST_BEFORE_TLS <= signature <= _LAST_BEFORE_TLS


@bare_inner
def _recognise(  # noqa: PLR0913, PLR0917 - arrays and indices, not rows
    flow: Any, side: int, facts: Any, index: int, buffer: Buffer, start: int, available: int
) -> int:
    """The Signature of a segment, by its own bytes or as the answer to what was said before; NONE if it has none."""
    fact = facts[index]
    length = number(fact.length)
    found = recognise_stream(buffer, start, available, fact.source_port, fact.destination_port)
    if found == _NO_SIGNATURE:
        found = recognise_binary_stream(buffer, start, available, length)
    if found == _NO_SIGNATURE:
        found = converse(flow, side, buffer, start, available, length)
    return found


@bare_inner
def _guess(  # noqa: PLR0913, PLR0917 - arrays and indices, not rows
    flow: Any, side: int, facts: Any, index: int, buffer: Buffer, start: int, available: int
) -> None:
    """Begin to try whether TLS records follow each other from a segment on that begins like one."""
    if flow.phase_state[side] == FRESH and available >= 5 and begins_tls(buffer, start, available):
        flow.phase_state[side] = GUESS
        flow.phase_next[side] = facts[index].sequence
        flow.phase_step[side] = 0
        flow.phase_left[side] = 0


@bare_inner
def _follow_guess(  # noqa: PLR0913, PLR0917 - a piece of buffer
    flow: Any, side: int, sequence: int, buffer: Buffer, start: int, available: int, length: int
) -> None:
    """Try whether TLS records follow each other; where enough did, the flow is TLS in mid-stream."""
    gap = _ahead(sequence, number(flow.phase_next[side]))
    if gap + length <= 0:
        return
    at = number(flow.phase_left[side]) - gap  # of the next header, from the segment's first byte
    if at < 0:
        flow.phase_state[side] = FRESH
        return
    while at + 5 <= available and flow.phase_state[side] == GUESS:
        if begins_tls(buffer, start + at, available - at):
            flow.phase_step[side] += 1
            at += 5 + short(buffer, start + at + 3)
        else:
            flow.phase_state[side] = FRESH
        if flow.phase_step[side] >= _GUESSED_RIGHT:
            flow.signature = _TLS
            flow.phase_state[side] = BULK
            flow.phase_run[side] = 0
            flow.phase_state[1 - side] = FRESH
            at = number(ENDLESS)
    if at < length:  # a header in two segments is not worth the trouble
        flow.phase_state[side] = FRESH
        return
    flow.phase_left[side] = at - length
    flow.phase_next[side] = (sequence + length) & 0xFFFFFFFF


@bare_inner
def _follow(  # noqa: PLR0913, PLR0917 - a piece of buffer
    flows: Any,
    slot: int,
    side: int,
    sequence: int,
    gap: int,
    restarts: bool,  # noqa: FBT001 - what is known, no mode
    buffer: Buffer,
    start: int,
    available: int,
    length: int,
) -> int:
    """The Part of a segment that begins `gap` bytes after what was followed so far.

    `restarts` says that it begins so clearly with a head that a body must have ended.
    """
    flow = flows[slot]
    state = flow.phase_state[side]
    bulk = _BODY if flow.signature == _HTTP else _ENCRYPTED
    known = state not in (FRESH, LOST)
    if known and gap < 0 and gap + length <= 0:
        return bulk if -gap <= flow.phase_run[side] else _missed(flow, side, sequence, length, bulk)
    skipped = number(0)
    old = bulk
    if known and gap < 0:
        skipped = -gap
        old = bulk if skipped <= flow.phase_run[side] else _HEAD
    elif known and not restarts and gap > 0 and state in (UNIT, BULK) and gap <= flow.phase_left[side]:
        _pass_over(flow, side, gap)
    elif not known or restarts or gap > 0:
        if not (restarts or _begins(flow, state == FRESH, buffer, start, available)):
            return _missed(flow, side, sequence, length, bulk)
        _begin(flow, side, buffer, start, available)
        if known and state != BULK and flow.signature == _HTTP:
            forget_answers(flow)
    telling = _read(flows, slot, side, buffer, start + min(skipped, available), start + available)
    _pass_over(flow, side, length - max(available, skipped))
    flow.phase_next[side] = (sequence + length) & 0xFFFFFFFF
    flow.phase_misses[side] = 0
    flow.phase_missed[side] = 0
    if telling:
        return _HEAD
    return old if flow.phase_state[side] != LOST else _UNKNOWN


@bare_inner
def _missed(flow: Any, side: int, sequence: int, length: int, bulk: int) -> int:
    """Count a segment whose part cannot be told; past the limit, take the stream for bulk from here on."""
    flow.phase_misses[side] += 1
    flow.phase_missed[side] += length
    if flow.phase_state[side] == LOST:
        flow.phase_next[side] = (sequence + length) & 0xFFFFFFFF
    if flow.phase_misses[side] <= MISSES and flow.phase_missed[side] <= MISSED:
        return _UNKNOWN
    flow.phase_state[side] = BULK
    flow.phase_bits[side] = 0
    flow.phase_left[side] = ENDLESS
    flow.phase_run[side] = 0
    _advance(flow, side, sequence, length, length)
    return bulk


@bare_inner
def _pass_over(flow: Any, side: int, length: int) -> None:
    """Pass over bytes that are not there: within a unit nothing is lost with them."""
    if length <= 0:
        return
    state = flow.phase_state[side]
    if state not in (UNIT, BULK) or length > flow.phase_left[side]:
        if state != FRESH:
            flow.phase_state[side] = LOST
        return
    flow.phase_left[side] -= length
    if state == BULK:
        flow.phase_run[side] += length
    if flow.signature == _HTTP:
        end_body(flow, side)
    else:
        end_unit(flow, side)


@bare_inner
def _begins(flow: Any, first: bool, buffer: Buffer, start: int, available: int) -> bool:  # noqa: FBT001 - what is known, no mode
    """Whether the stream can be followed from `start`; the `first` of a direction may be cut short."""
    if flow.signature == _HTTP:
        return begins_head(buffer, start, available) or (first and may_begin_head(buffer, start, available))
    if flow.signature == _SSH:
        found = begins_key_exchange(buffer, start, available)  # its banner may stand behind other lines
        return found or (first and begins_ssh(buffer, start, available))
    if available < 5 and not first:
        return False
    return begins_tls(buffer, start, available) or begins_old_hello(buffer, start, available)


@bare_inner
def _begin(flow: Any, side: int, buffer: Buffer, start: int, available: int) -> None:
    """Follow the stream from `start`."""
    flow.phase_run[side] = 0
    if flow.signature == _HTTP:
        begin_line(flow, side)
        return
    flow.phase_step[side] = 0
    flow.phase_bits[side] = 0
    flow.phase_state[side] = HEADER
    if flow.signature == _SSH and begins_ssh(buffer, start, available):
        flow.phase_state[side] = BANNER
    elif flow.signature == _TLS and begins_old_hello(buffer, start, available):
        flow.phase_state[side] = UNIT
        flow.phase_left[side] = 2 + (short(buffer, start) & 0x7FFF)


@bare_inner
def _read(flows: Any, slot: int, side: int, buffer: Buffer, at: int, end: int) -> bool:  # noqa: PLR0913, PLR0917 - arrays and indices, not rows
    """Follow the stream's next bytes by the flow's protocol; whether any of them tells something."""
    if flows[slot].signature == _HTTP:
        return read_http(flows, slot, side, buffer, at, end)
    if flows[slot].signature == _SSH:
        return read_ssh(flows, slot, side, buffer, at, end)
    return read_tls(flows, slot, side, buffer, at, end)
