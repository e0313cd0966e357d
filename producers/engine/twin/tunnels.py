"""What an IP packet may carry that is a packet again: one function per encapsulation.

`inside` names the encapsulation and the `Place` of the packet in it, or None. The caller keeps the outer
flow where what is inside turns out to be no IP packet, so these functions need not be certain.
"""

from collections.abc import Callable, Mapping
from struct import Struct

from producers.engine.keys import UDP
from producers.engine.twin.links import frame_relay
from producers.engine.twin.network import (
    ETHERNET,
    IPV4,
    IPV6,
    MPLS,
    NO_IP,
    NSH,
    PPP,
    Place,
    data_frame,
    ethernet,
    network,
    raw_ip,
)

Inner = Callable[[bytes, int], Place]
Found = tuple[str, Place]

_short = Struct(">H").unpack_from
_ERSPAN_2, _ERSPAN_3, _WCCP, _BRIDGED_TOO, _FRAME_RELAY = 0x88BE, 0x22EB, 0x883E, 0x6400, 0x6559
_ARUBA = frozenset(range(0x8200, 0x8380, 0x10))
_MAX_ROUTES, _MAX_TAGS = 16, 32


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
    """RFC 2784 and 2890; with source routing RFC 1701; version 1 is PPTP's (RFC 2637)."""
    if len(data) < offset + 4:
        return NO_IP
    flags, kind = _short(data, offset)[0], _short(data, offset + 2)[0]
    at = (
        offset + 4 + 4 * sum(1 for bits in (0xC000, 0x2000, 0x1000) if flags & bits)
    )  # checksum, key, sequence
    if flags & 7 == 1:
        at += 4 if flags & 0x0080 else 0  # acknowledgement number
        return network(PPP, data, at, None) if kind == PPP else NO_IP
    if flags & 7:
        return NO_IP  # a version unknown
    if flags & 0x4000:
        at = _after_routes(data, at)
    if kind in {_ERSPAN_2, _ERSPAN_3}:
        return _erspan(kind, data, at, numbered=bool(flags & 0x1000)) if at else NO_IP
    return _by_type(kind, data, at) if at else NO_IP


def _by_type(kind: int, data: bytes, at: int) -> Place:
    """What GRE carries by its protocol type, but for ERSPAN."""
    if kind == _WCCP:
        plain = len(data) > at and data[at] >> 4 in {4, 6}
        return IPV4, at if plain else at + 4
    if kind in _ARUBA:
        return _wireless(data, at)
    if kind == _FRAME_RELAY:
        return frame_relay(data, at, None)
    return _bridged(ETHERNET if kind == _BRIDGED_TOO else kind, data, at)


def _after_routes(data: bytes, offset: int) -> int:
    """Where the source routes (RFC 1701) end, after an entry of length 0; 0 if they do not."""
    for _ in range(_MAX_ROUTES):
        if len(data) < offset + 4:
            return 0
        length = data[offset + 3]
        offset += 4 + length
        if not length:
            return offset
    return 0


def _erspan(kind: int, data: bytes, offset: int, *, numbered: bool) -> Place:
    """draft-foschiano-erspan: type II if GRE is numbered, else type I, which has no header; III has a version."""
    third = numbered and len(data) > offset and data[offset] >> 4 == 2
    if kind == _ERSPAN_3 or third:
        platform = len(data) > offset + 11 and data[offset + 11] & 1
        return ethernet(data, offset + (20 if platform else 12), None)
    return ethernet(data, offset + (8 if numbered else 0), None)


def _wireless(data: bytes, offset: int) -> Place:
    """The IP packet in a frame of IEEE 802.11; its frame control may be swapped."""
    if len(data) < offset + 24:
        return NO_IP
    kind, flags = data[offset : offset + 2]
    if kind & 0x0F != 0x08:
        kind, flags = flags, kind
    layer, at = data_frame(kind, flags, data, offset)
    return network(layer, data, at, None) if at else NO_IP


def _l2tp(data: bytes, offset: int) -> Place:
    """RFC 2661: a data message (version 2) holds a PPP frame."""
    if len(data) < offset + 2:
        return NO_IP
    (flags,) = _short(data, offset)
    if flags & 0x800F != 2:
        return NO_IP
    offset += 6 + (2 if flags & 0x4000 else 0) + (4 if flags & 0x0800 else 0)
    if flags & 0x0200:
        if len(data) < offset + 2:
            return NO_IP
        offset += 2 + _short(data, offset)[0]
    return network(PPP, data, offset, None)


def _lisp(data: bytes, offset: int) -> Place:
    """RFC 9300: eight bytes, then the packet."""
    return _versioned(data, offset + 8)


def _lisp_control(data: bytes, offset: int) -> Place:
    """RFC 9301: of the control messages, the encapsulated one."""
    return _versioned(data, offset + 4) if len(data) > offset and data[offset] >> 4 == 8 else NO_IP


def _capwap(data: bytes, offset: int) -> Place:
    """RFC 5415, 4.3: data in clear, whole, either as Ethernet or, of binding 1, as IEEE 802.11 (RFC 5416)."""
    if len(data) < offset + 8 or data[offset] or data[offset + 3] & 0x88:
        return NO_IP
    binding, native = data[offset + 2] >> 1 & 0x1F, data[offset + 2] & 1
    offset += (data[offset + 1] >> 3) * 4
    if not native or not binding:
        return ethernet(data, offset, None)
    return _wireless(data, offset) if binding == 1 else NO_IP


def _tzsp(data: bytes, offset: int) -> Place:
    """TaZmen Sniffer Protocol: a packet received or sent, after tags that end with 1."""
    if len(data) < offset + 5 or data[offset] != 1 or data[offset + 1] > 1:
        return NO_IP
    (kind,) = _short(data, offset + 2)
    offset += 4
    for _ in range(_MAX_TAGS):
        if len(data) <= offset + 1:
            return NO_IP
        tag = data[offset]
        offset += 1
        if tag == 1:
            break
        offset += 1 + data[offset] if tag else 0
    if kind == 1:
        return ethernet(data, offset, None)
    return _wireless(data, offset) if kind == 18 else NO_IP


def _register(data: bytes, offset: int) -> Place:
    """RFC 7761, 4.9.3: a register message of PIM holds a packet, but for the null one."""
    if len(data) < offset + 8 or data[offset] != 0x21 or data[offset + 4] & 0x40:
        return NO_IP
    return _versioned(data, offset + 8)


def _ethernet(data: bytes, offset: int) -> Place:
    """RFC 8986."""
    return ethernet(data, offset, None)


def _ipv4(_data: bytes, offset: int) -> Place:
    return IPV4, offset


def _ipv6(_data: bytes, offset: int) -> Place:
    return IPV6, offset


def _etherip(data: bytes, offset: int) -> Place:
    """RFC 3378."""
    return ethernet(data, offset + 2, None) if data[offset : offset + 1] == b"\x30" else NO_IP


def _mpls_in_ip(data: bytes, offset: int) -> Place:
    """RFC 4023."""
    return network(MPLS, data, offset, None)


def _vxlan(data: bytes, offset: int) -> Place:
    """RFC 7348."""
    return ethernet(data, offset + 8, None)


def _vxlan_gpe(data: bytes, offset: int) -> Place:
    """draft-ietf-nvo3-vxlan-gpe: the next protocol is in byte 3, whether its flag is set or forgotten."""
    if len(data) < offset + 8:
        return NO_IP
    kind = {0: ETHERNET, 1: IPV4, 2: IPV6, 3: ETHERNET, 4: NSH, 5: MPLS}.get(data[offset + 3], 0xFFFF)
    return _bridged(kind, data, offset + 8)


def _geneve(data: bytes, offset: int) -> Place:
    """RFC 8926."""
    if len(data) < offset + 8 or data[offset] >> 6:
        return NO_IP
    return _bridged(_short(data, offset + 2)[0], data, offset + 8 + (data[offset] & 0x3F) * 4)


def _gtp_user(data: bytes, offset: int) -> Place:
    """3GPP TS 29.281: a T-PDU (message 255), after optional fields and extension headers; TS 09.60: version 0."""
    if len(data) < offset + 8 or data[offset + 1] != 0xFF:
        return NO_IP
    if data[offset] & 0xF0 == 0x10:
        return _versioned(data, offset + 20)
    if data[offset] & 0xF0 != 0x30:
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
    103: ("pim", _register),
    137: ("mpls", _mpls_in_ip),
    143: ("ethernet", _ethernet),
}

UDP_PORTS: Mapping[int, tuple[str, Inner]] = {
    1701: ("l2tp", _l2tp),
    2123: ("gtp", _gtp_user),
    2152: ("gtp", _gtp_user),
    3386: ("gtp", _gtp_user),
    3544: ("teredo", _teredo),
    4341: ("lisp", _lisp),
    4342: ("lisp", _lisp_control),
    4754: ("gre", _gre),
    4789: ("vxlan", _vxlan),
    4790: ("vxlan", _vxlan_gpe),
    5072: ("ayiya", _ayiya),
    5247: ("capwap", _capwap),
    6081: ("geneve", _geneve),
    6635: ("mpls", _mpls_in_ip),
    8472: ("vxlan", _vxlan),
    37008: ("tzsp", _tzsp),
}
