"""TLS records and SSH packets: units behind a header with their length, until the encryption begins."""

from typing import Any

import numpy as np

from producers.compiled import bare_inner
from producers.engine.kernel.octets import Buffer, number, octet, short, word
from producers.engine.kernel.phases_state import BANNER, BULK, ENDLESS, HEADER, LOST, UNIT

_APPLICATION_DATA = 23
_NEWKEYS = 21
_LONGEST_RECORD = 16384 + 2048  # RFC 5246, 6.2.3
_LONGEST_PACKET = 256 << 10  # what OpenSSH takes; RFC 4253, 6.1 asks for 35000 at least
_TLS_HEADER, _SSH_HEADER = 5, 6  # for SSH with padding length and message number
_ENCRYPTION_FOLLOWS = 1  # in `phase_bits`: the unit is NEWKEYS


@bare_inner
def begins_tls(buffer: Buffer, start: int, available: int) -> bool:
    """Whether a TLS record's header may stand at `start`; what is too short is judged by what is there."""
    if available < 1 or not 20 <= octet(buffer, start) <= 23:
        return False
    if available < 3:
        return available == 1 or octet(buffer, start + 1) == 3
    if octet(buffer, start + 1) != 3 or octet(buffer, start + 2) > 4:
        return False
    return available < 5 or 0 < short(buffer, start + 3) <= _LONGEST_RECORD


@bare_inner
def begins_hello(buffer: Buffer, start: int, available: int) -> bool:
    """Whether a record with a ClientHello or ServerHello begins at `start`."""
    return (
        available >= 11
        and octet(buffer, start) == 22
        and begins_tls(buffer, start, available)
        and 1 <= octet(buffer, start + 5) <= 2
        and octet(buffer, start + 6) == 0
        and octet(buffer, start + 9) == 3
    )


@bare_inner
def begins_old_hello(buffer: Buffer, start: int, available: int) -> bool:
    """Whether a ClientHello in SSL 2.0's form stands at `start`, offering 3.0 or later (RFC 5246, E.2)."""
    if available < 11 or octet(buffer, start) & 0x80 == 0:
        return False
    if octet(buffer, start + 2) != 1 or octet(buffer, start + 3) != 3 or octet(buffer, start + 4) > 4:
        return False
    ciphers, session, challenge = (
        short(buffer, start + 5),
        short(buffer, start + 7),
        short(buffer, start + 9),
    )
    length = short(buffer, start) & 0x7FFF
    return ciphers % 3 == 0 and 16 <= challenge <= 32 and length == 9 + ciphers + session + challenge


@bare_inner
def begins_ssh(buffer: Buffer, start: int, available: int) -> bool:
    """Whether an SSH banner begins at `start`; of one cut short, whether it may."""
    if available < 1:
        return False
    if available < 4:
        return octet(buffer, start) == 83 and (available == 1 or octet(buffer, start + 1) == 83)
    return word(buffer, start) == 0x5353482D


@bare_inner
def begins_key_exchange(buffer: Buffer, start: int, available: int) -> bool:
    """Whether an unencrypted SSH packet of the key exchange (messages 20 to 49) begins at `start`."""
    if available < _SSH_HEADER:
        return False
    length, padding = word(buffer, start), octet(buffer, start + 4)
    return (
        12 <= length <= 35000
        and (length + 4) % 8 == 0
        and 4 <= padding < length
        and 20 <= octet(buffer, start + 5) <= 49
    )


@bare_inner
def read_tls(flows: Any, slot: int, side: int, buffer: Buffer, at: int, end: int) -> bool:  # noqa: PLR0913, PLR0917 - arrays and indices, not rows
    """Follow `buffer[at:end]`, the stream's next bytes; whether any is before the first application data."""
    flow = flows[slot]
    telling = False
    while at < end:
        if flow.phase_state[side] == HEADER:
            if flow.phase_step[side] == 0 and octet(buffer, at) == _APPLICATION_DATA:
                flow.phase_state[side] = BULK
                flow.phase_left[side] = ENDLESS
                continue
            telling = True
            flow.phase_held[side] = flow.phase_held[side] << np.uint64(8) | np.uint64(octet(buffer, at))
            flow.phase_step[side] += 1
            at += 1
            if flow.phase_step[side] == _TLS_HEADER:
                _record(flow, side)
        elif flow.phase_state[side] == LOST:
            return telling
        else:
            telling = telling or flow.phase_state[side] == UNIT
            at += _pass(flow, side, end - at)
    return telling


@bare_inner
def _record(flow: Any, side: int) -> None:
    """Judge the record's header that was just completed."""
    held = number(flow.phase_held[side])
    kind, version, length = held >> 32 & 0xFF, held >> 16 & 0xFFFF, held & 0xFFFF
    flow.phase_step[side] = 0
    flow.phase_left[side] = length
    if not (20 <= kind <= 24 and version >> 8 == 3 and length <= _LONGEST_RECORD):
        flow.phase_state[side] = LOST
    elif length > 0:
        flow.phase_state[side] = UNIT


@bare_inner
def read_ssh(flows: Any, slot: int, side: int, buffer: Buffer, at: int, end: int) -> bool:  # noqa: PLR0913, PLR0917 - arrays and indices, not rows
    """Follow `buffer[at:end]`, the stream's next bytes; whether any is up to the end of NEWKEYS."""
    flow = flows[slot]
    telling = False
    while at < end:
        if flow.phase_state[side] == BANNER:
            telling = True
            if octet(buffer, at) == 10:
                flow.phase_state[side] = HEADER
                flow.phase_step[side] = 0
            at += 1
        elif flow.phase_state[side] == HEADER:
            telling = True
            flow.phase_held[side] = flow.phase_held[side] << np.uint64(8) | np.uint64(octet(buffer, at))
            flow.phase_step[side] += 1
            at += 1
            if flow.phase_step[side] == _SSH_HEADER:
                _packet(flow, side)
        elif flow.phase_state[side] == LOST:
            return telling
        else:
            telling = telling or flow.phase_state[side] == UNIT
            at += _pass(flow, side, end - at)
    return telling


@bare_inner
def _packet(flow: Any, side: int) -> None:
    """Judge the packet's header that was just completed; RFC 4253, 6: the length counts what follows it."""
    held = number(flow.phase_held[side])
    length, message = held >> 16 & 0xFFFFFFFF, held & 0xFF
    flow.phase_step[side] = 0
    flow.phase_left[side] = length - 2
    flow.phase_bits[side] = _ENCRYPTION_FOLLOWS if message == _NEWKEYS else 0
    flow.phase_state[side] = UNIT if 2 < length <= _LONGEST_PACKET else LOST


@bare_inner
def _pass(flow: Any, side: int, length: int) -> int:
    """Pass over bytes of the unit without a look at them, `length` at most; how many."""
    passed = min(length, number(flow.phase_left[side]))
    flow.phase_left[side] -= passed
    if flow.phase_state[side] == BULK:
        flow.phase_run[side] += passed
    else:
        flow.phase_run[side] = 0
    end_unit(flow, side)
    return passed


@bare_inner
def end_unit(flow: Any, side: int) -> None:
    """Go on to what follows a unit of which nothing is left."""
    if flow.phase_left[side] > 0 or flow.phase_state[side] != UNIT:
        return
    if flow.phase_bits[side] == _ENCRYPTION_FOLLOWS:
        flow.phase_state[side] = BULK
        flow.phase_left[side] = ENDLESS
        flow.phase_bits[side] = 0
    else:
        flow.phase_state[side] = HEADER
