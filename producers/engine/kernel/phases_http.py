"""HTTP/1: where heads end and how long bodies are (RFC 9112), so that bodies are passed over without a look.

The first bytes of a body are noted, because events show them (`CONTENT`).
"""

from typing import Any

import numpy as np

from producers.compiled import bare_inner, inlined
from producers.engine.kernel.layout import Signature
from producers.engine.kernel.octets import Buffer, number, octet, word
from producers.engine.kernel.phases_state import (
    BULK,
    CODING,
    ENDLESS,
    FRESH,
    LENGTH,
    LINE,
    LOST,
    NAME,
    SIZE,
    VALUE,
)

# in `phase_bits`
_RESPONSE, _CHUNKED, _SIZED, _TRAILER, _HEAD, _CONNECT = 1, 2, 4, 8, 16, 32

# requests without an answer, in `phase_queue`
_WAITING = 32
_PLAIN, _NO_BODY, _TUNNEL = 0, 1, 2

CONTENT = 1024
"""How many bytes of a body events show; those of the chunked coding around them count, too."""
_LONGEST_LINE = 128 << 10
_LONGEST_BODY = 1 << 56

_BASIS, _PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)
_BYTE = np.uint64(8)


def _digest(name: bytes) -> np.uint64:
    """FNV-1a, as the kernel reckons it of a field's name."""
    value = int(_BASIS)
    for byte in name:
        value = (value ^ byte) * int(_PRIME) & 0xFFFFFFFFFFFFFFFF
    return np.uint64(value)


_CONTENT_LENGTH, _TRANSFER_ENCODING = _digest(b"content-length"), _digest(b"transfer-encoding")
_CHUNKED_TOKEN = np.frombuffer(b"chunked", dtype=np.uint8)
_HTTP_1 = np.uint64(int.from_bytes(b"HTTP/1.", "big"))
_METHOD_HEAD = np.uint64(int.from_bytes(b"HEAD", "big"))
_METHOD_CONNECT = np.uint64(int.from_bytes(b"CONNECT", "big"))


@bare_inner
def is_capital(byte: int) -> bool:
    """Whether a byte is one of A to Z."""
    return 65 <= byte <= 90


@bare_inner
def begins_response(buffer: Buffer, start: int, available: int) -> bool:
    """Whether a status line begins at `start`."""
    return (
        available >= 12
        and word(buffer, start) == 0x48545450
        and word(buffer, start + 4) & 0xFFFFFF00 == 0x2F312E00
        and octet(buffer, start + 8) == 32
        and 49 <= octet(buffer, start + 9) <= 53
        and 48 <= octet(buffer, start + 10) <= 57
        and 48 <= octet(buffer, start + 11) <= 57
    )


@bare_inner
def begins_request(buffer: Buffer, start: int, available: int) -> bool:
    """Whether a request line begins at `start`: method, target, and the version if the line's end is there."""
    if available < 6 or not is_capital(octet(buffer, start)):
        return False
    end = start + available
    at = start + 1
    while at < end and (is_capital(octet(buffer, at)) or octet(buffer, at) in (45, 95)):
        at += 1
    method = at - start
    if not 3 <= method <= 20 or at + 1 >= end or octet(buffer, at) != 32:
        return False
    target = octet(buffer, at + 1)
    is_connect = method == 7 and word(buffer, start) == 0x434F4E4E
    if target not in (47, 42, 104, 72) and not is_connect:  # a path, *, http:
        return False
    while at < end and octet(buffer, at) != 10:
        at += 1
    return at == end or _ends_in_version(buffer, start, at)


@bare_inner
def _ends_in_version(buffer: Buffer, start: int, end: int) -> bool:
    """Whether the line up to `end`, where its line feed is, ends in HTTP/1.x."""
    if octet(buffer, end - 1) == 13:
        end -= 1
    return (
        end - start >= 12
        and word(buffer, end - 8) == 0x48545450
        and word(buffer, end - 4) & 0xFFFFFF00 == 0x2F312E00
    )


@bare_inner
def begins_head(buffer: Buffer, start: int, available: int) -> bool:
    """Whether a request's or a response's head begins at `start`."""
    return begins_response(buffer, start, available) or begins_request(buffer, start, available)


@bare_inner
def may_begin_head(buffer: Buffer, start: int, available: int) -> bool:
    """Whether the few bytes there are may be the beginning of a head."""
    for at in range(start, start + min(available, 4)):
        if not is_capital(octet(buffer, at)):
            return False
    return 0 < available < 12


@bare_inner
def begin_line(flow: Any, side: int) -> None:
    """Expect a start line."""
    flow.phase_state[side] = LINE
    flow.phase_step[side] = 0
    flow.phase_column[side] = 0
    flow.phase_bits[side] = 0
    flow.phase_left[side] = 0
    flow.phase_held[side] = np.uint64(0)


@bare_inner
def forget_answers(flow: Any) -> None:
    """Responses may have been missed: keep only the newest request in mind."""
    while flow.phase_pending > 1:
        flow.phase_queue >>= np.uint64(2)
        flow.phase_pending -= 1


@bare_inner
def read_http(flows: Any, slot: int, side: int, buffer: Buffer, at: int, end: int) -> bool:  # noqa: PLR0913, PLR0917 - arrays and indices, not rows
    """Follow `buffer[at:end]`, the stream's next bytes; whether any is of a head."""
    flow = flows[slot]
    telling = False
    while at < end:
        state = flow.phase_state[side]
        if state == BULK:
            _note_content(flow, side, at)
            passed = min(end - at, number(flow.phase_left[side]))
            at += passed
            flow.phase_left[side] -= passed
            flow.phase_run[side] += passed
            end_body(flow, side)
            continue
        if state in (LOST, FRESH):  # FRESH: the connection is a tunnel from here on
            return telling
        if state == SIZE or flow.phase_bits[side] & _TRAILER:
            _note_content(flow, side, at)
            flow.phase_run[side] += 1
        else:
            telling = True
            flow.phase_run[side] = 0
            flow.phase_content = -1
        _read_byte(flow, side, octet(buffer, at))
        at += 1
    return telling


@inlined
def _note_content(flow: Any, side: int, at: int) -> None:
    """Note that a body's first bytes stand at `at`, unless those before it in this payload are of them, too."""
    if flow.phase_run[side] < CONTENT and flow.phase_content < 0:
        flow.phase_content = at


@bare_inner
def _read_byte(flow: Any, side: int, byte: int) -> None:
    """Take the next byte of a head, of a trailer or of a chunk's size."""
    state = flow.phase_state[side]
    if flow.phase_column[side] >= _LONGEST_LINE:
        flow.phase_state[side] = LOST
    elif state == LINE:
        _read_start_line(flow, side, byte)
    elif state == NAME:
        _read_name(flow, side, byte)
    elif state == SIZE:
        _read_size(flow, side, byte)
    elif byte == 10:
        _begin_name(flow, side)
    elif state == LENGTH:
        if 48 <= byte <= 57 and flow.phase_left[side] < _LONGEST_BODY:
            flow.phase_left[side] = flow.phase_left[side] * 10 + byte - 48
        elif byte == 44:  # a list of equal lengths: the first will do
            flow.phase_state[side] = VALUE
    elif state == CODING:
        _read_coding(flow, side, byte)


@bare_inner
def _read_start_line(flow: Any, side: int, byte: int) -> None:
    """Take a byte of a request's or a status line. `phase_held` has its last eight."""
    if byte in (10, 13):
        if byte == 13 or flow.phase_column[side] == 0:  # empty lines before it: RFC 9112, 2.2
            return
        if not flow.phase_bits[side] & _RESPONSE and flow.phase_held[side] >> _BYTE != _HTTP_1:
            flow.phase_state[side] = LOST
            return
        flow.phase_left[side] = 0
        _begin_name(flow, side)
        return
    if flow.phase_column[side] == 0 and not is_capital(byte):
        flow.phase_state[side] = LOST
        return
    if byte == 32 and flow.phase_step[side] == 0:
        flow.phase_step[side] = 1
        if flow.phase_column[side] == 4 and flow.phase_held[side] == _METHOD_HEAD:
            flow.phase_bits[side] = _HEAD
        elif flow.phase_column[side] == 7 and flow.phase_held[side] == _METHOD_CONNECT:
            flow.phase_bits[side] = _CONNECT
        elif flow.phase_column[side] == 8 and flow.phase_held[side] >> _BYTE == _HTTP_1:
            flow.phase_bits[side] = _RESPONSE
            flow.phase_status[side] = 0
    elif flow.phase_bits[side] & _RESPONSE and flow.phase_column[side] < 12:
        flow.phase_status[side] = flow.phase_status[side] * 10 + (byte - 48)
    flow.phase_held[side] = flow.phase_held[side] << _BYTE | np.uint64(byte)
    flow.phase_column[side] += 1


@bare_inner
def _begin_name(flow: Any, side: int) -> None:
    """Expect a field's name or the empty line."""
    flow.phase_state[side] = NAME
    flow.phase_column[side] = 0
    flow.phase_held[side] = _BASIS


@bare_inner
def _read_name(flow: Any, side: int, byte: int) -> None:
    """Take a byte of a field's name, or of the empty line that ends the head."""
    if byte == 10:
        if flow.phase_column[side] > 0:  # a line without a colon
            _begin_name(flow, side)
        else:
            _end_head(flow, side)
    elif byte == 58:
        flow.phase_step[side] = 0
        flow.phase_state[side] = VALUE
        if flow.phase_bits[side] & _TRAILER:
            return
        if flow.phase_held[side] == _CONTENT_LENGTH and not flow.phase_bits[side] & _SIZED:
            flow.phase_bits[side] |= _SIZED
            flow.phase_state[side] = LENGTH
        elif flow.phase_held[side] == _TRANSFER_ENCODING:
            flow.phase_state[side] = CODING
    elif byte != 13:
        lower = byte + 32 if is_capital(byte) else byte
        flow.phase_held[side] = (flow.phase_held[side] ^ np.uint64(lower)) * _PRIME
        flow.phase_column[side] += 1


@bare_inner
def _read_coding(flow: Any, side: int, byte: int) -> None:
    """Look for `chunked` in the value of Transfer-Encoding; `phase_step` is how much of it has been there."""
    step = number(flow.phase_step[side])
    lower = byte | 32
    if lower == _CHUNKED_TOKEN[step]:
        step += 1
    else:
        step = 1 if lower == _CHUNKED_TOKEN[0] else 0
    if step == len(_CHUNKED_TOKEN):
        flow.phase_bits[side] |= _CHUNKED
        flow.phase_state[side] = VALUE
    flow.phase_step[side] = step


@bare_inner
def _read_size(flow: Any, side: int, byte: int) -> None:
    """Take a byte of a chunk's size line; `phase_step` is 0 before the first digit, 1 in them, 2 after."""
    digit = number(-1)
    if 48 <= byte <= 57:
        digit = byte - 48
    elif 97 <= byte | 32 <= 102:
        digit = (byte | 32) - 87
    flow.phase_column[side] += 1
    if byte == 10 and flow.phase_step[side] > 0:
        if flow.phase_left[side] == 0:
            flow.phase_bits[side] |= _TRAILER
            _begin_name(flow, side)
        else:
            flow.phase_left[side] += 2  # the line end after the chunk
            flow.phase_state[side] = BULK
    elif flow.phase_step[side] < 2 and digit >= 0 and flow.phase_left[side] < _LONGEST_BODY:
        flow.phase_step[side] = 1
        flow.phase_left[side] = flow.phase_left[side] * 16 + digit
    elif flow.phase_step[side] == 0:
        flow.phase_state[side] = LOST
    else:
        flow.phase_step[side] = 2


@bare_inner
def _begin_size(flow: Any, side: int) -> None:
    """Expect a chunk's size."""
    flow.phase_state[side] = SIZE
    flow.phase_step[side] = 0
    flow.phase_column[side] = 0
    flow.phase_left[side] = 0


@bare_inner
def end_body(flow: Any, side: int) -> None:
    """Go on to the next chunk or head where nothing is left of the body."""
    if flow.phase_left[side] > 0 or flow.phase_state[side] != BULK:
        return
    if flow.phase_bits[side] & _CHUNKED:
        _begin_size(flow, side)
    else:
        begin_line(flow, side)


@bare_inner
def _end_head(flow: Any, side: int) -> None:
    """Find how long the body is: RFC 9112, 6.3."""
    bits = flow.phase_bits[side]
    if bits & _TRAILER:
        begin_line(flow, side)
        return
    has_body = True
    if bits & _RESPONSE:
        status = flow.phase_status[side]
        kind = _answered(flow) if status == 101 or not 100 <= status <= 199 else _NO_BODY
        if status == 101 or (kind == _TUNNEL and 200 <= status <= 299):
            _begin_tunnel(flow)
            return
        has_body = kind != _NO_BODY and status not in (204, 304)
    else:
        _asked(flow, bits)
    if has_body and bits & _CHUNKED:
        _begin_size(flow, side)
    elif has_body and bits & _SIZED:
        flow.phase_state[side] = BULK
        end_body(flow, side)
    elif has_body and bits & _RESPONSE:
        flow.phase_state[side] = BULK
        flow.phase_left[side] = ENDLESS
    else:
        begin_line(flow, side)


@bare_inner
def _asked(flow: Any, bits: int) -> None:
    """Remember a request until it is answered."""
    kind = np.uint64(_PLAIN)
    if bits & _HEAD:
        kind = np.uint64(_NO_BODY)
    elif bits & _CONNECT:
        kind = np.uint64(_TUNNEL)
    if flow.phase_pending < _WAITING:
        flow.phase_queue |= kind << np.uint64(2 * flow.phase_pending)
        flow.phase_pending += 1


@bare_inner
def _answered(flow: Any) -> int:
    """Take the oldest request from the queue; what it means for its response."""
    if flow.phase_pending == 0:
        return _PLAIN
    kind = number(flow.phase_queue & np.uint64(3))
    flow.phase_queue >>= np.uint64(2)
    flow.phase_pending -= 1
    return kind


@bare_inner
def _begin_tunnel(flow: Any) -> None:
    """Both sides may speak something else now."""
    flow.signature = np.uint8(Signature.NONE)
    flow.phase_looked = 0
    flow.phase_pending = 0
    flow.phase_queue = np.uint64(0)
    for side in range(2):
        flow.phase_state[side] = FRESH
        flow.phase_misses[side] = 0
        flow.phase_missed[side] = 0
        flow.phase_left[side] = 0
        flow.phase_run[side] = 0
