"""IPv4 and IPv6 headers, their extensions and fragments, and the transport headers: one row of facts.

A packet that cannot be read leaves its row as it was, so that an outer packet's stays where the inner one is damaged.
"""
# ruff: noqa: PLR0911, PLR0913, PLR0917 - columns travel one by one; a branch for each protocol

import numpy as np

from producers.compiled import bare_inner, inlined
from producers.engine.kernel.layout import Fragment, Kind
from producers.engine.kernel.links import IPV4
from producers.engine.kernel.octets import Buffer, Facts, long, octet, short, word
from producers.engine.keys import ICMP, ICMPV6, SCTP, TCP, UDP

NONE, FIRST, LATER = int(Fragment.NONE), int(Fragment.FIRST), int(Fragment.LATER)
DAMAGED = -1

_FLOW = int(Kind.FLOW)
_FRAGMENT, _AUTHENTICATION = 44, 51
_MAX_EXTENSIONS = 16
_MAX_LENGTH = 0x7FFF_FFFF

Header = tuple[int, int, int, int, int]
"""Protocol (DAMAGED if the header does not parse), where the payload begins and ends on the wire, Fragment, and
where the datagram's name is: IPv4's header or IPv6's fragment header."""


@bare_inner
def segment(
    kind: int, buffer: Buffer, start: int, at: int, end: int, wire_end: int, facts: Facts, index: int
) -> tuple[int, int]:
    """Read the IP packet at `at` into a row: Fragment and where its datagram's name is, or DAMAGED.

    `start` is where the frame begins, `end` and `wire_end` where it ends as captured and on the wire.
    """
    version = 4 if kind == IPV4 else 6
    if version == 4:
        protocol, payload, last, piece, name = _ipv4(buffer, at, end, wire_end)
    else:
        protocol, payload, last, piece, name = _ipv6(buffer, at, end)
    if protocol == _AUTHENTICATION and piece != LATER:  # RFC 4302
        if end < payload + 12:
            return DAMAGED, name
        protocol, payload = octet(buffer, payload), payload + 8 + octet(buffer, payload + 1) * 4
    if protocol < 0:
        return DAMAGED, name
    if piece == LATER:
        _no_ports(facts, index)
        facts[index].transport = -1
        facts[index].payload = payload - start
        facts[index].length = min(max(last - payload, 0), _MAX_LENGTH)
    elif not _transport(protocol, buffer, start, payload, min(end, last), last, facts, index):
        return DAMAGED, name
    facts[index].fragment = piece
    network_layer(version, protocol, buffer, at, facts, index)
    return piece, name


@inlined
def network_layer(version: int, protocol: int, buffer: Buffer, at: int, facts: Facts, index: int) -> None:
    """Take down a packet's addresses, protocol and TTL or hop limit."""
    facts[index].kind = _FLOW
    facts[index].version = version
    facts[index].protocol = protocol
    if version == 4:
        facts[index].ttl = buffer[at + 8]
        facts[index].source_high = np.uint64(0)
        facts[index].source_low = np.uint64(word(buffer, at + 12))
        facts[index].destination_high = np.uint64(0)
        facts[index].destination_low = np.uint64(word(buffer, at + 16))
    else:
        facts[index].ttl = buffer[at + 7]
        facts[index].source_high = long(buffer, at + 8)
        facts[index].source_low = long(buffer, at + 16)
        facts[index].destination_high = long(buffer, at + 24)
        facts[index].destination_low = long(buffer, at + 32)


@inlined
def tcp_layer(buffer: Buffer, start: int, at: int, last: int, facts: Facts, index: int) -> bool:
    """RFC 9293; options are not read, so they may be cut off. False if the header claims to be too short."""
    words = octet(buffer, at + 12)
    if words < 0x50:
        return False
    _ports(buffer, start, at, at + (words >> 2 & 0x3C), last, facts, index)
    facts[index].sequence = word(buffer, at + 4)
    facts[index].acknowledgement = word(buffer, at + 8)
    facts[index].tcp_flags = buffer[at + 13]
    facts[index].window = short(buffer, at + 14)
    return True


@bare_inner
def udp_layer(buffer: Buffer, start: int, at: int, last: int, facts: Facts, index: int) -> None:
    """RFC 768; the length is the IP packet's, whatever UDP's own says."""
    _ports(buffer, start, at, at + 8, last, facts, index)


@inlined
def _ports(buffer: Buffer, start: int, at: int, payload: int, last: int, facts: Facts, index: int) -> None:
    facts[index].ported = 1
    facts[index].source_port = short(buffer, at)
    facts[index].destination_port = short(buffer, at + 2)
    facts[index].transport = at - start
    facts[index].payload = payload - start
    facts[index].length = min(max(last - payload, 0), _MAX_LENGTH)


@bare_inner
def _no_ports(facts: Facts, index: int) -> None:
    facts[index].ported = 0
    facts[index].source_port = 0
    facts[index].destination_port = 0


@bare_inner
def _transport(
    protocol: int, buffer: Buffer, start: int, at: int, end: int, last: int, facts: Facts, index: int
) -> bool:
    """Read the transport's header into a row; False if less of it is there than it needs."""
    if protocol == TCP:
        return end >= at + 20 and tcp_layer(buffer, start, at, last, facts, index)
    if protocol == UDP:
        if end < at + 8:
            return False
        udp_layer(buffer, start, at, last, facts, index)
        return True
    if protocol == SCTP:
        if end < at + 12:
            return False
        _ports(buffer, start, at, at + 12, last, facts, index)
        return True
    payload = at
    if protocol in (ICMP, ICMPV6):
        if end < at + 4:
            return False
        _types(protocol, octet(buffer, at), octet(buffer, at + 1), facts, index)
        payload = min(at + 8, last)
    elif end < at:
        return False
    else:
        _no_ports(facts, index)
    facts[index].transport = at - start
    facts[index].payload = payload - start
    facts[index].length = min(max(last - payload, 0), _MAX_LENGTH)
    return True


@bare_inner
def _types(protocol: int, kind: int, code: int, facts: Facts, index: int) -> None:
    """The type and its answer's type; or, for a type without an answer, the type and the code."""
    answer = -1
    if protocol == ICMP:  # RFC 792 and 950: the answer to 8 is 0; RFC 1256: 10 and 9
        if kind in (0, 8):
            answer = 8 - kind
        elif 13 <= kind <= 18:
            answer = ((kind - 13) ^ 1) + 13
        elif kind in (9, 10):
            answer = 19 - kind
    elif kind in (128, 129, 130, 131, 144, 145):  # RFC 4443, 2710, 6275
        answer = kind ^ 1
    elif kind in (133, 134, 135, 136, 139, 140):  # RFC 4861, 4620
        answer = ((kind - 1) ^ 1) + 1
    facts[index].ported = 3 if answer < 0 else 2
    facts[index].source_port = kind
    facts[index].destination_port = code if answer < 0 else answer


@bare_inner
def _ipv4(buffer: Buffer, at: int, end: int, wire_end: int) -> Header:
    """RFC 791. A total length of 0: the network card had still to cut it, so it goes to the frame's end."""
    if end < at + 20 or octet(buffer, at) >> 4 != 4:
        return DAMAGED, at, at, NONE, at
    length = (octet(buffer, at) & 0x0F) * 4
    total = short(buffer, at + 2)
    if total == 0:
        total = wire_end - at
    if length < 20 or end < at + length or total < length:
        return DAMAGED, at, at, NONE, at
    bits = short(buffer, at + 6)
    piece = NONE
    if bits & 0x3FFF:
        piece = LATER if bits & 0x1FFF else FIRST
    return octet(buffer, at + 9), at + length, at + total, piece, at


@bare_inner
def _ipv6(buffer: Buffer, start: int, end: int) -> Header:
    """RFC 8200, with its extension headers up to the transport's or to a later fragment's payload."""
    if end < start + 40 or octet(buffer, start) >> 4 != 6:
        return DAMAGED, start, start, NONE, start
    length, protocol = short(buffer, start + 4), octet(buffer, start + 6)
    at = start + 40
    last = at + length if length else end  # 0: a jumbogram (RFC 2675) or a segment still to be cut
    piece, name = NONE, start
    for _ in range(_MAX_EXTENSIONS):
        if protocol in (0, 43, 60, 135, 139, 140):
            if end < at + 8:
                break
            protocol, at = octet(buffer, at), at + 8 + octet(buffer, at + 1) * 8
        elif protocol == _FRAGMENT:
            if end < at + 8:
                break
            bits = short(buffer, at + 2)
            if bits & 0xFFF9:
                piece, name = LATER if bits & 0xFFF8 else FIRST, at
            protocol, at = octet(buffer, at), at + 8
            if piece == LATER:
                return protocol, at, last, piece, name
        else:
            return protocol, at, last, piece, name
    return DAMAGED, at, last, NONE, name
