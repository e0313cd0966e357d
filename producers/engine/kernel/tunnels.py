"""What an IP packet may carry that is a packet again: one function per encapsulation.

`inside` names the encapsulation and the place of the packet in it, EtherType 0 if there is none. The caller keeps the
outer flow where what is inside turns out to be no IP packet, so these functions need not be certain.
"""
# ruff: noqa: PLR0911, PLR0913, PLR0917 - a dispatcher has a branch for each kind, and columns travel one by one

from producers.compiled import bare_inner
from producers.engine.kernel.layout import TUNNELS
from producers.engine.kernel.links import (
    BRIDGED,
    INSIDE,
    IPV4,
    IPV6,
    MPLS,
    NO_IP,
    PPP,
    Facts,
    Place,
    ethernet,
    network,
    raw_ip,
)
from producers.engine.kernel.octets import Buffer, octet, short
from producers.engine.keys import UDP

_IPIP, _GRE, _ETHERIP, _MPLS, _GTP, _TEREDO, _VXLAN, _AYIYA, _GENEVE = (
    TUNNELS.index(kind)
    for kind in ("ipip", "gre", "etherip", "mpls", "gtp", "teredo", "vxlan", "ayiya", "geneve")
)
_ERSPAN_2, _ERSPAN_3, _WCCP = 0x88BE, 0x22EB, 0x883E


@bare_inner
def is_tunnel_port(port: int) -> bool:
    """Whether a UDP port, of either side, tells an encapsulation."""
    return port in (2152, 3544, 4789, 4790, 5072, 6081, 6635, 8472)


@bare_inner
def inside(
    protocol: int, source_port: int, destination_port: int, buffer: Buffer, at: int, end: int, facts: Facts
) -> tuple[int, int, int]:
    """The packet inside the payload at `at` (for UDP: after its header): index in TUNNELS, and its place."""
    if protocol == UDP:
        port = destination_port if is_tunnel_port(destination_port) else source_port
        if not is_tunnel_port(port):
            return 0, 0, -1
        tunnel, (kind, place) = _by_port(port, buffer, at, end, facts)
    elif protocol == 4:
        tunnel, kind, place = _IPIP, IPV4, at
    elif protocol == 41:
        tunnel, kind, place = _IPIP, IPV6, at
    elif protocol == 47:
        tunnel, (kind, place) = _GRE, _gre(buffer, at, end, facts)
    elif protocol == 97:  # RFC 3378
        tunnel, (kind, place) = _ETHERIP, NO_IP
        if at < end and octet(buffer, at) == 0x30:
            kind, place = ethernet(buffer, at + 2, end, facts)
    elif protocol == 137:  # RFC 4023
        tunnel, (kind, place) = _MPLS, network(MPLS, buffer, at, end, facts, INSIDE)
    else:
        return 0, 0, -1
    return tunnel, kind, place


@bare_inner
def _by_port(port: int, buffer: Buffer, at: int, end: int, facts: Facts) -> tuple[int, Place]:
    """What UDP carries by one of `is_tunnel_port`."""
    if port == 2152:
        return _GTP, _gtp_user(buffer, at, end)
    if port == 3544:
        return _TEREDO, _teredo(buffer, at, end)
    if port == 4790:
        return _VXLAN, _vxlan_gpe(buffer, at, end, facts)
    if port == 5072:
        return _AYIYA, _ayiya(buffer, at, end)
    if port == 6081:
        return _GENEVE, _geneve(buffer, at, end, facts)
    if port == 6635:
        return _MPLS, network(MPLS, buffer, at, end, facts, INSIDE)
    if at < end and octet(buffer, at) == 0x08:  # RFC 7348
        return _VXLAN, ethernet(buffer, at + 8, end, facts)
    return _VXLAN, NO_IP


@bare_inner
def _bridged(kind: int, buffer: Buffer, at: int, end: int, facts: Facts) -> Place:
    if kind == BRIDGED:
        return ethernet(buffer, at, end, facts)
    return network(kind, buffer, at, end, facts, INSIDE)


@bare_inner
def _gre(buffer: Buffer, start: int, end: int, facts: Facts) -> Place:
    """RFC 2784 and 2890; version 1 is PPTP's (RFC 2637)."""
    if end < start + 4:
        return NO_IP
    flags, kind = short(buffer, start), short(buffer, start + 2)
    at = (
        start + 4 + 4 * ((flags >> 15 & 1) + (flags >> 13 & 1) + (flags >> 12 & 1))
    )  # checksum, key, sequence
    if flags & 7 == 1:
        at += 4 if flags & 0x0080 else 0  # acknowledgement number
        return network(PPP, buffer, at, end, facts, INSIDE) if kind == PPP else NO_IP
    if flags & 0x4007:
        return NO_IP  # source routing (RFC 1701) or a version unknown
    if kind == _ERSPAN_3:  # draft-foschiano-erspan
        platform = end > at + 11 and octet(buffer, at + 11) & 1 != 0
        return ethernet(buffer, at + (20 if platform else 12), end, facts)
    if kind == _ERSPAN_2:  # type II if GRE is numbered, else type I, which has no header
        return ethernet(buffer, at + (8 if flags & 0x1000 else 0), end, facts)
    if kind == _WCCP:
        plain = end > at and octet(buffer, at) >> 4 == 4
        return IPV4, at if plain else at + 4
    return _bridged(kind, buffer, at, end, facts)


@bare_inner
def _vxlan_gpe(buffer: Buffer, at: int, end: int, facts: Facts) -> Place:
    """draft-ietf-nvo3-vxlan-gpe: the next protocol is in byte 3, whether its flag is set or forgotten."""
    if end < at + 8 or octet(buffer, at) & 0xC8 != 0x08:
        return NO_IP
    following = octet(buffer, at + 3)
    if following == 1:
        return IPV4, at + 8
    if following == 2:
        return IPV6, at + 8
    return ethernet(buffer, at + 8, end, facts) if following in (0, 3) else NO_IP


@bare_inner
def _geneve(buffer: Buffer, at: int, end: int, facts: Facts) -> Place:
    """RFC 8926."""
    if end < at + 8 or octet(buffer, at) >> 6:
        return NO_IP
    return _bridged(short(buffer, at + 2), buffer, at + 8 + (octet(buffer, at) & 0x3F) * 4, end, facts)


@bare_inner
def _gtp_user(buffer: Buffer, start: int, end: int) -> Place:
    """3GPP TS 29.281: a T-PDU (message 255), after optional fields and extension headers."""
    if end < start + 8 or octet(buffer, start) & 0xF0 != 0x30 or octet(buffer, start + 1) != 0xFF:
        return NO_IP
    flags, at = octet(buffer, start), start + 8
    if flags & 0x07:
        at += 4
        following = octet(buffer, at - 1) if flags & 0x04 and end >= at else 0
        while following:
            length = octet(buffer, at) * 4 if end > at else 0
            if not length or end < at + length:
                return NO_IP
            at += length
            following = octet(buffer, at - 1)
    return _versioned(buffer, at, end)


@bare_inner
def _teredo(buffer: Buffer, at: int, end: int) -> Place:
    """RFC 4380: authentication and origin indication may come before the IPv6 packet."""
    if end >= at + 4 and short(buffer, at) == 1:
        at += 13 + octet(buffer, at + 2) + octet(buffer, at + 3)
    if end >= at + 2 and short(buffer, at) == 0:
        at += 8
    return _versioned(buffer, at, end)


@bare_inner
def _ayiya(buffer: Buffer, at: int, end: int) -> Place:
    """draft-massar-v6ops-ayiya: identity and signature have their lengths in the first two bytes."""
    if end < at + 8 or octet(buffer, at + 3) not in (4, 41):
        return NO_IP
    identity, signature = 1 << (octet(buffer, at) >> 4), (octet(buffer, at + 1) >> 4) * 4
    return _versioned(buffer, at + 8 + identity + signature, end)


@bare_inner
def _versioned(buffer: Buffer, at: int, end: int) -> Place:
    """IP by its version, or nothing."""
    if at < end and octet(buffer, at) >> 4 in (4, 6):
        return raw_ip(buffer, at, end)
    return NO_IP
