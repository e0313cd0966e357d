"""IPv4 and IPv6 headers, their extensions and fragments, and the transport headers that make a flow's key."""

from struct import Struct
from typing import NamedTuple

from producers.engine.keys import ICMP, ICMPV6, SCTP, TCP, UDP, answer_type
from producers.engine.twin.network import IPV4, Place

_HEADERS = {TCP: 20, UDP: 8, SCTP: 12, ICMP: 4, ICMPV6: 4}  # what must be there of a header
_SKIPPED = frozenset({0, 43, 60, 135, 139, 140})  # IPv6 extension headers of eight-byte units
_FRAGMENT, _AUTHENTICATION = 44, 51
_MAX_EXTENSIONS = 16

_v4 = Struct(">BxHHHBB").unpack_from
_v6 = Struct(">HBB").unpack_from
_tcp = Struct(">IIBBH").unpack_from
_short = Struct(">H").unpack_from


class Fragment(NamedTuple):
    """A datagram's name (protocol, addresses, identification) and whether this is its first piece."""

    datagram: bytes
    first: bool


class Segment(NamedTuple):
    """One IP packet, read: its flow's key, the transport's figures, and where its payload is.

    `flags`, `sequence`, `acknowledgement` and `window` are TCP's, else 0. `length` is the payload's on the
    wire. `protocol` is the one after all extension headers, `payload` the offset of what the transport
    carries, `ttl` the TTL or hop limit.
    """

    key: bytes
    flags: int
    sequence: int
    window: int
    length: int
    protocol: int
    payload: int
    fragment: Fragment | None
    acknowledgement: int
    ttl: int


class _Header(NamedTuple):
    """An IP header: where its payload begins and ends on the wire, and the piece of a datagram it carries."""

    protocol: int
    addresses: bytes
    payload: int
    end: int
    fragment: Fragment | None
    ttl: int


def segment(place: Place, data: bytes, wire_end: int) -> Segment | None:
    """Read the IP packet at `place`; None if its headers do not parse. `wire_end` is the frame's length.

    What IPv4's EtherType announces may be of version 6.
    """
    kind, offset = place
    newer = kind != IPV4 or (len(data) > offset and data[offset] >> 4 == 6)
    header = _ipv6(data, offset) if newer else _ipv4(data, offset, wire_end)
    if header is None:
        return None
    if header.protocol == _AUTHENTICATION and (header.fragment is None or header.fragment.first):
        header = _authenticated(header, data)
        if header is None:
            return None
    if header.fragment is not None and not header.fragment.first:
        key = bytes((header.protocol,)) + header.addresses
        length = max(header.end - header.payload, 0)
        return Segment(key, 0, 0, 0, length, header.protocol, len(data), header.fragment, 0, header.ttl)
    return _transport(header, data)


def _ipv4(data: bytes, offset: int, wire_end: int) -> _Header | None:
    """RFC 791. A total length of 0: the network card had still to cut it, so it goes to the frame's end."""
    if len(data) < offset + 20:
        return None
    first, total, name, piece, ttl, protocol = _v4(data, offset)
    length = (first & 0x0F) * 4
    if first >> 4 != 4 or length < 20 or len(data) < offset + length:
        return None
    total = total or wire_end - offset
    if total < length:
        return None
    addresses = data[offset + 12 : offset + 20]
    fragment = None
    if piece & 0x3FFF:
        datagram = bytes((protocol,)) + addresses + name.to_bytes(2, "big")
        fragment = Fragment(datagram, first=not piece & 0x1FFF)
    return _Header(protocol, addresses, offset + length, offset + total, fragment, ttl)


def _ipv6(data: bytes, offset: int) -> _Header | None:
    """RFC 8200, with its extension headers up to the transport's or to a later fragment's payload."""
    if len(data) < offset + 40 or data[offset] >> 4 != 6:
        return None
    length, protocol, ttl = _v6(data, offset + 4)
    addresses = data[offset + 8 : offset + 40]
    at, end = offset + 40, offset + 40 + length
    if not length:
        end = len(data)  # a jumbogram (RFC 2675) or a segment still to be cut
    fragment = None
    for _ in range(_MAX_EXTENSIONS):
        if protocol in _SKIPPED:
            if len(data) < at + 8:
                return None
            protocol, at = data[at], at + 8 + data[at + 1] * 8
        elif protocol == _FRAGMENT:
            if len(data) < at + 8:
                return None
            piece = _short(data, at + 2)[0]
            if piece & 0xFFF9:
                datagram = data[at : at + 1] + addresses + data[at + 4 : at + 8]
                fragment = Fragment(datagram, first=not piece & 0xFFF8)
            protocol, at = data[at], at + 8
            if fragment is not None and not fragment.first:
                break
        else:
            break
    else:
        return None
    return _Header(protocol, addresses, at, end, fragment, ttl)


def _authenticated(header: _Header, data: bytes) -> _Header | None:
    """RFC 4302: pass over an authentication header."""
    at = header.payload
    if len(data) < at + 12:
        return None
    return header._replace(protocol=data[at], payload=at + 8 + data[at + 1] * 4)


def _transport(header: _Header, data: bytes) -> Segment | None:
    """Read the transport's header; None if less of it is there than it needs."""
    protocol, at = header.protocol, header.payload
    key = bytes((protocol,)) + header.addresses
    need = _HEADERS.get(protocol, 0)
    if min(len(data), header.end) < at + need:
        return None
    if protocol == TCP:
        return _tcp_segment(key, header, data)
    if protocol in {UDP, SCTP}:
        return _plain(key + data[at : at + 4], header, at + need)
    if protocol in {ICMP, ICMPV6}:
        types = _icmp_types(protocol, data[at], data[at + 1])
        return _plain(key + types, header, min(at + 8, header.end))
    return _plain(key, header, at)


def _tcp_segment(key: bytes, header: _Header, data: bytes) -> Segment | None:
    """RFC 9293; options are not read, so they may be cut off."""
    at = header.payload
    sequence, acked, words, flags, window = _tcp(data, at + 4)
    if words < 0x50:
        return None
    payload = at + (words >> 2 & 0x3C)
    length = max(header.end - payload, 0)
    key += data[at : at + 4]
    figures = flags, sequence, window, length
    return Segment(key, *figures, TCP, payload, header.fragment, acked, header.ttl)


def _plain(key: bytes, header: _Header, payload: int) -> Segment:
    rest = max(header.end - payload, 0)
    return Segment(key, 0, 0, 0, rest, header.protocol, payload, header.fragment, 0, header.ttl)


def _icmp_types(protocol: int, kind: int, code: int) -> bytes:
    """The type and its answer's type; or, for a type without an answer, the type and the code."""
    answer = answer_type(protocol, kind)
    return bytes((0, kind, 0, code if answer is None else answer))
