"""What an IP packet may carry that is a packet again: one function per encapsulation.

`inside` names the encapsulation and the `Place` of the packet in it, or None. The caller keeps the outer
flow where what is inside turns out to be no IP packet, so these functions need not be certain.
"""

from collections.abc import Callable, Mapping
from struct import Struct

from producers.engine.keys import UDP
from producers.engine.twin.links import ETHERNET, IPV4, IPV6, NO_IP, Place, ethernet, network, raw_ip

Inner = Callable[[bytes, int], Place]
Found = tuple[str, Place]

_short = Struct(">H").unpack_from
_PPP = 0x880B
_ERSPAN_2, _ERSPAN_3, _WCCP = 0x88BE, 0x22EB, 0x883E


def inside(protocol: int, ports: tuple[int, int], data: bytes, offset: int) -> Found | None:
    """The packet inside an IP payload at `offset` (for UDP: after its header), and what carries it."""
    by_port = UDP_PORTS.get(ports[1]) or UDP_PORTS.get(ports[0])
    named = by_port if protocol == UDP else IP_PROTOCOLS.get(protocol)
    if named is None:
        return None
    kind, inner = named
    place = inner(data, offset)
    return (kind, place) if place[0] else None


def _bridged(kind: int, data: bytes, offset: int) -> Place:
    return ethernet(data, offset, None) if kind == ETHERNET else network(kind, data, offset, None)


def _gre(data: bytes, offset: int) -> Place:
    """RFC 2784 and 2890; version 1 is PPTP's (RFC 2637)."""
    if len(data) < offset + 4:
        return NO_IP
    flags, kind = _short(data, offset)[0], _short(data, offset + 2)[0]
    at = offset + 4 + 4 * sum(1 for bit in (0x8000, 0x2000, 0x1000) if flags & bit)  # checksum, key, sequence
    if flags & 7 == 1:
        at += 4 if flags & 0x0080 else 0  # acknowledgement number
        return network(_PPP, data, at, None) if kind == _PPP else NO_IP
    if flags & 0x4007:
        return NO_IP  # source routing (RFC 1701) or a version unknown
    if kind in {_ERSPAN_2, _ERSPAN_3}:
        return _erspan(kind, data, at, numbered=bool(flags & 0x1000))
    if kind == _WCCP:
        plain = len(data) > at and data[at] >> 4 == 4
        return IPV4, at if plain else at + 4
    return _bridged(kind, data, at)


def _erspan(kind: int, data: bytes, offset: int, *, numbered: bool) -> Place:
    """draft-foschiano-erspan: type III, else type II if GRE is numbered, else type I, which has no header."""
    if kind == _ERSPAN_3:
        platform = len(data) > offset + 11 and data[offset + 11] & 1
        return ethernet(data, offset + (20 if platform else 12), None)
    return ethernet(data, offset + (8 if numbered else 0), None)


def _ipv4(_data: bytes, offset: int) -> Place:
    return IPV4, offset


def _ipv6(_data: bytes, offset: int) -> Place:
    return IPV6, offset


def _etherip(data: bytes, offset: int) -> Place:
    """RFC 3378."""
    return ethernet(data, offset + 2, None) if data[offset : offset + 1] == b"\x30" else NO_IP


def _mpls_in_ip(data: bytes, offset: int) -> Place:
    """RFC 4023."""
    return network(0x8847, data, offset, None)


def _vxlan(data: bytes, offset: int) -> Place:
    """RFC 7348."""
    return ethernet(data, offset + 8, None) if data[offset : offset + 1] == b"\x08" else NO_IP


def _vxlan_gpe(data: bytes, offset: int) -> Place:
    """draft-ietf-nvo3-vxlan-gpe: the next protocol is in byte 3, whether its flag is set or forgotten."""
    if len(data) < offset + 8 or data[offset] & 0xC8 != 0x08:
        return NO_IP
    kind = {0: ETHERNET, 1: IPV4, 2: IPV6, 3: ETHERNET}.get(data[offset + 3], 0xFFFF)
    return _bridged(kind, data, offset + 8)


def _geneve(data: bytes, offset: int) -> Place:
    """RFC 8926."""
    if len(data) < offset + 8 or data[offset] >> 6:
        return NO_IP
    return _bridged(_short(data, offset + 2)[0], data, offset + 8 + (data[offset] & 0x3F) * 4)


def _gtp_user(data: bytes, offset: int) -> Place:
    """3GPP TS 29.281: a T-PDU (message 255), after optional fields and extension headers."""
    if len(data) < offset + 8 or data[offset] & 0xF0 != 0x30 or data[offset + 1] != 0xFF:
        return NO_IP
    at = offset + 8
    if data[offset] & 0x07:
        at += 4
        following = data[at - 1] if data[offset] & 0x04 and len(data) >= at else 0
        while following:
            length = data[at] * 4 if len(data) > at else 0
            if not length or len(data) < at + length:
                return NO_IP
            following = data[at + length - 1]
            at += length
    return _versioned(data, at)


def _teredo(data: bytes, offset: int) -> Place:
    """RFC 4380: authentication and origin indication may come before the IPv6 packet."""
    if data[offset : offset + 2] == b"\0\1" and len(data) >= offset + 4:
        offset += 13 + data[offset + 2] + data[offset + 3]
    if data[offset : offset + 2] == b"\0\0":
        offset += 8
    return _versioned(data, offset)


def _ayiya(data: bytes, offset: int) -> Place:
    """draft-massar-v6ops-ayiya: identity and signature have their lengths in the first two bytes."""
    if len(data) < offset + 8 or data[offset + 3] not in {4, 41}:
        return NO_IP
    return _versioned(data, offset + 8 + (1 << (data[offset] >> 4)) + (data[offset + 1] >> 4) * 4)


def _versioned(data: bytes, offset: int) -> Place:
    """IP by its version, or nothing."""
    version = data[offset] >> 4 if len(data) > offset else 0
    return raw_ip(data, offset) if version in {4, 6} else NO_IP


IP_PROTOCOLS: Mapping[int, tuple[str, Inner]] = {
    4: ("ipip", _ipv4),
    41: ("ipip", _ipv6),
    47: ("gre", _gre),
    97: ("etherip", _etherip),
    137: ("mpls", _mpls_in_ip),
}

UDP_PORTS: Mapping[int, tuple[str, Inner]] = {
    2152: ("gtp", _gtp_user),
    3544: ("teredo", _teredo),
    4789: ("vxlan", _vxlan),
    4790: ("vxlan", _vxlan_gpe),
    5072: ("ayiya", _ayiya),
    6081: ("geneve", _geneve),
    6635: ("mpls", _mpls_in_ip),
    8472: ("vxlan", _vxlan),
}
