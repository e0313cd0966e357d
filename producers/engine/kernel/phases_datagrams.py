"""Protocols over UDP: what a datagram is shows in the datagram, once the flow's protocol is known."""

from typing import Any

import numpy as np

from producers.compiled import bare_inner
from producers.engine.kernel.layout import Part, Signature
from producers.engine.kernel.octets import Buffer, little_word, number, octet, short, word
from producers.engine.kernel.phases_binary import recognise_binary_datagram
from producers.engine.kernel.phases_signatures import begins_sip, begins_stun, is_dns_port

_NONE, _DNS, _SIP = int(Signature.NONE), int(Signature.DNS), int(Signature.SIP)
_QUIC, _DTLS, _STUN = int(Signature.QUIC), int(Signature.DTLS), int(Signature.STUN)
_WIREGUARD, _BITTORRENT, _RTP = int(Signature.WIREGUARD), int(Signature.BITTORRENT), int(Signature.RTP)
_UNKNOWN, _HEAD, _BODY, _ENCRYPTED = int(Part.UNKNOWN), int(Part.HEAD), int(Part.BODY), int(Part.ENCRYPTED)

_LOOK = 64  # datagrams of a flow
_STEADY = 8  # RTP or WireGuard packets that must follow each other before they are believed
_NEARBY = 64  # serial numbers that are missing at most


@bare_inner
def read_datagram(  # noqa: PLR0913, PLR0917 - arrays and indices, not rows
    flows: Any, slot: int, facts: Any, index: int, buffer: Buffer, start: int, available: int
) -> int:
    """The Part of a datagram with at least one captured byte at `start`; learns the flow's signature."""
    flow, fact = flows[slot], facts[index]
    length = number(fact.length)
    if flow.signature == _NONE and flow.phase_looked < _LOOK:
        flow.phase_looked += 1
        flow.signature = _recognise(buffer, start, available, length, fact.source_port, fact.destination_port)
    signature = flow.signature
    side = 1 - number(fact.forward)
    if signature == _QUIC:  # RFC 9000, 17
        return _HEAD if octet(buffer, start) & 0x80 else _ENCRYPTED
    if signature == _WIREGUARD:
        return _wireguard_part(buffer, start, available, length)
    if signature in (_STUN, _DTLS, _RTP) or (signature == _NONE and flow.phase_looked < _LOOK):
        return _media_part(flow, side, buffer, start, available, length)
    return _UNKNOWN


@bare_inner
def _media_part(flow: Any, side: int, buffer: Buffer, start: int, available: int, length: int) -> int:  # noqa: PLR0913, PLR0917 - a piece of buffer
    """Tell STUN, DTLS, RTP and RTCP on one flow apart by the first byte: RFC 7983."""
    first = octet(buffer, start)
    if 20 <= first <= 63 and begins_dtls(buffer, start, available, length):
        if flow.signature != _RTP:
            flow.signature = _DTLS
        return _dtls_part(buffer, start, available, length)
    if 128 <= first <= 191 and available >= 12:
        if _is_steady(flow, side, buffer, start):
            flow.signature = _RTP
            return _BODY
    elif (
        flow.signature == _NONE
        and first == 4
        and _wireguard_part(buffer, start, available, length) == _ENCRYPTED
        and _counts_up(flow, side, np.uint64(word(buffer, start + 4)), little_word(buffer, start + 8))
    ):
        flow.signature = _WIREGUARD
    return _UNKNOWN


@bare_inner
def _is_steady(flow: Any, side: int, buffer: Buffer, start: int) -> bool:
    """Whether this looks like one more RTP packet (RFC 3550, 5.1) of a source that sent several before it.

    Another source or payload type, as that of a dialled digit among speech, has to prove itself again.
    """
    kind = octet(buffer, start + 1)
    payload_type = kind & 0x7F
    if 192 <= kind <= 223 or 35 <= payload_type < 96:  # RTCP; reserved
        return False
    source = np.uint64(word(buffer, start + 8)) << np.uint64(8) | np.uint64(payload_type)
    return _counts_up(flow, side, source, short(buffer, start + 2))


@bare_inner
def _counts_up(flow: Any, side: int, key: np.uint64, serial: int) -> bool:
    """Whether a packet with this key and serial number comes after enough others of that key.

    What does not count up loses what it had gained: lengths or constants at that place never get there.
    """
    distance = (serial - number(flow.phase_next[side])) & 0xFFFF
    if flow.phase_step[side] == 0 or key != flow.phase_held[side]:
        flow.phase_step[side] = 1
        flow.phase_held[side] = key
        flow.phase_next[side] = serial
    elif distance == 1:
        flow.phase_next[side] = serial
        flow.phase_step[side] = min(number(flow.phase_step[side]) + 1, _STEADY)
    elif distance <= _NEARBY and distance > 0:  # some were lost
        flow.phase_next[side] = serial
    elif flow.phase_step[side] > 1:  # late, twice, or no serial number at all
        flow.phase_step[side] -= 1
    else:
        flow.phase_next[side] = serial
    return number(flow.phase_step[side]) >= _STEADY


@bare_inner
def _recognise(  # noqa: PLR0911, PLR0913, PLR0917 - a list of protocols
    buffer: Buffer, start: int, available: int, length: int, source_port: int, destination_port: int
) -> int:
    """The Signature of a flow's datagram, NONE if this one has none."""
    is_dns = is_dns_port(source_port) or is_dns_port(destination_port)
    if is_dns and (available < 12 or short(buffer, start + 4) <= 16):
        return _DNS
    if _begins_quic(buffer, start, available):
        return _QUIC
    if begins_stun(buffer, start, available) and short(buffer, start + 2) + 20 <= length:
        return _STUN
    if begins_dtls(buffer, start, available, length):
        return _DTLS
    if octet(buffer, start) <= 2 and _wireguard_part(buffer, start, available, length) == _HEAD:
        return _WIREGUARD
    if begins_sip(buffer, start, available):
        return _SIP
    if _begins_bittorrent(buffer, start, available):
        return _BITTORRENT
    return _DNS if is_dns else recognise_binary_datagram(buffer, start, available, length)


@bare_inner
def _begins_quic(buffer: Buffer, start: int, available: int) -> bool:
    """Whether a QUIC packet with a long header and a version that is in use begins at `start`."""
    if available < 7 or octet(buffer, start) & 0xC0 != 0xC0 or octet(buffer, start + 5) > 20:
        return False
    version = word(buffer, start + 1)
    return (
        version in (1, 0x6B3343CF)  # RFC 9000; RFC 9369
        or version >> 8 == 0xFF0000  # drafts
        or version >> 4 == 0xFACEB00  # mvfst
        or version & 0x0F0F0F0F == 0x0A0A0A0A  # to provoke a negotiation: RFC 9000, 15
        or version >> 16 in (0x5130, 0x5430)  # Google's Q0xx, T0xx
    )


@bare_inner
def begins_dtls(buffer: Buffer, start: int, available: int, length: int) -> bool:
    """Whether a DTLS record (RFC 6347, 4.1) that fits into a datagram of `length` begins at `start`."""
    return (
        available >= 13
        and 20 <= octet(buffer, start) <= 25
        and short(buffer, start + 1) in (0xFEFF, 0xFEFD, 0x0100)
        and octet(buffer, start + 3) == 0  # the high byte of the epoch
        and 0 < short(buffer, start + 11) <= length - 13
    )


@bare_inner
def _dtls_part(buffer: Buffer, start: int, available: int, length: int) -> int:
    """HEAD if any record of the datagram is not application data (23), ENCRYPTED else."""
    at = number(0)
    while at + 13 <= available and begins_dtls(buffer, start + at, available - at, length - at):
        if octet(buffer, start + at) != 23:
            return _HEAD
        at += 13 + short(buffer, start + at + 11)
    return _ENCRYPTED if at >= length else _UNKNOWN


@bare_inner
def _wireguard_part(buffer: Buffer, start: int, available: int, length: int) -> int:
    """HEAD for initiation, response and cookie, ENCRYPTED for data, by their exact lengths; UNKNOWN else."""
    if available < 4 or word(buffer, start) & 0xFFFFFF != 0:
        return _UNKNOWN
    kind = octet(buffer, start)
    if (kind == 1 and length == 148) or (kind == 2 and length == 92) or (kind == 3 and length == 64):
        return _HEAD
    if kind == 4 and length >= 32 and length % 16 == 0 and available >= 16:
        return _ENCRYPTED
    return _UNKNOWN


@bare_inner
def _begins_bittorrent(buffer: Buffer, start: int, available: int) -> bool:
    """Whether a query or answer of BitTorrent's hash table (BEP 5) begins at `start`."""
    if available < 12:
        return False
    head = word(buffer, start)
    return head in (0x64313A61, 0x64313A72) and word(buffer, start + 4) == 0x64323A69
