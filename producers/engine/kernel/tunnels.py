"""What an IP packet may carry that is a packet again: one function per encapsulation.

`inside` names the encapsulation and the place of the packet in it, EtherType 0 if there is none. The caller keeps the
outer flow where what is inside turns out to be no IP packet, so these functions need not be certain.
"""
# ruff: noqa: PLR0911, PLR0913, PLR0917, C901 - a dispatcher has a branch for each kind, and columns travel one by one

from producers.compiled import bare_inner
from producers.engine.kernel.layout import TUNNELS
from producers.engine.kernel.links import (
    BRIDGED,
    INSIDE,
    IPV4,
    IPV6,
    MPLS,
    NSH,
    PPP,
    ethernet,
    frame_relay,
    network,
    raw_ip,
)
from producers.engine.kernel.octets import NO_IP, Buffer, Facts, Place, octet, short
from producers.engine.kernel.wireless import SHORTEST, data_frame
from producers.engine.keys import UDP

_IPIP, _GRE, _ETHERIP, _MPLS, _GTP, _TEREDO, _VXLAN, _AYIYA, _GENEVE = (
    TUNNELS.index(kind)
    for kind in ("ipip", "gre", "etherip", "mpls", "gtp", "teredo", "vxlan", "ayiya", "geneve")
)
_L2TP, _LISP, _CAPWAP, _TZSP, _PIM, _ETHERNET = (
    TUNNELS.index(kind) for kind in ("l2tp", "lisp", "capwap", "tzsp", "pim", "ethernet")
)
_ERSPAN_2, _ERSPAN_3, _WCCP, _BRIDGED_TOO, _FRAME_RELAY = 0x88BE, 0x22EB, 0x883E, 0x6400, 0x6559
_MAX_ROUTES, _MAX_TAGS = 16, 32


@bare_inner
def is_tunnel_port(port: int) -> bool:
    """Whether a UDP port, of either side, tells an encapsulation."""
    return port in (
        *(1701, 2123, 2152, 3386, 3544, 4341, 4342, 4754, 4789, 4790, 5072, 5247, 6081, 6635, 8472, 37008),
    )


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
    elif protocol == 103:
        tunnel, (kind, place) = _PIM, _register(buffer, at, end)
    elif protocol == 143:  # RFC 8986
        tunnel, (kind, place) = _ETHERNET, ethernet(buffer, at, end, facts)
    else:
        return 0, 0, -1
    return tunnel, kind, place


@bare_inner
def _by_port(port: int, buffer: Buffer, at: int, end: int, facts: Facts) -> tuple[int, Place]:
    """What UDP carries by one of `is_tunnel_port`."""
    if port in (2123, 2152, 3386):
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
    if port in (4789, 8472):  # RFC 7348; what is reserved there is used by many, the flag forgotten by some
        return _VXLAN, ethernet(buffer, at + 8, end, facts)
    return _by_rare_port(port, buffer, at, end, facts)


@bare_inner
def _by_rare_port(port: int, buffer: Buffer, at: int, end: int, facts: Facts) -> tuple[int, Place]:
    if port == 1701:
        return _L2TP, _l2tp(buffer, at, end, facts)
    if port == 4341:  # RFC 9300: eight bytes, then the packet
        return _LISP, _versioned(buffer, at + 8, end)
    if port == 4342:  # RFC 9301: of the control messages, the encapsulated one
        return _LISP, _versioned(buffer, at + 4, end) if at < end and octet(buffer, at) >> 4 == 8 else NO_IP
    if port == 4754:  # RFC 8086
        return _GRE, _gre(buffer, at, end, facts)
    if port == 5247:
        return _CAPWAP, _capwap(buffer, at, end, facts)
    return _TZSP, _tzsp(buffer, at, end, facts)


@bare_inner
def _bridged(kind: int, buffer: Buffer, at: int, end: int, facts: Facts) -> Place:
    if kind == BRIDGED:
        return ethernet(buffer, at, end, facts)
    return network(kind, buffer, at, end, facts, INSIDE)


@bare_inner
def _gre(buffer: Buffer, start: int, end: int, facts: Facts) -> Place:
    """RFC 2784 and 2890; with source routing RFC 1701; version 1 is PPTP's (RFC 2637)."""
    if end < start + 4:
        return NO_IP
    flags, kind = short(buffer, start), short(buffer, start + 2)
    summed = 1 if flags & 0xC000 else 0
    at = start + 4 + 4 * (summed + (flags >> 13 & 1) + (flags >> 12 & 1))  # checksum, key, sequence
    if flags & 7 == 1:
        at += 4 if flags & 0x0080 else 0  # acknowledgement number
        return network(PPP, buffer, at, end, facts, INSIDE) if kind == PPP else NO_IP
    if flags & 7:
        return NO_IP  # a version unknown
    if flags & 0x4000:
        at = _after_routes(buffer, at, end)
        if at < 0:
            return NO_IP
    if kind in (_ERSPAN_2, _ERSPAN_3):
        return _erspan(kind, flags, buffer, at, end, facts)
    if kind == _WCCP:
        plain = end > at and octet(buffer, at) >> 4 in (4, 6)
        return IPV4, at if plain else at + 4
    if kind & 0xFE0F == 0x8200 and kind <= 0x8370:  # Aruba: frames of IEEE 802.11
        return _wireless(buffer, at, end, facts)
    if kind == _FRAME_RELAY:
        kind, at = frame_relay(buffer, at, end)
        return network(kind, buffer, at, end, facts, INSIDE) if at >= 0 else NO_IP
    if kind == _BRIDGED_TOO:
        return ethernet(buffer, at, end, facts)
    return _bridged(kind, buffer, at, end, facts)


@bare_inner
def _after_routes(buffer: Buffer, at: int, end: int) -> int:
    """Where the source routes (RFC 1701) end, after an entry of length 0; -1 if they do not."""
    for _ in range(_MAX_ROUTES):
        if end < at + 4:
            return -1
        length = octet(buffer, at + 3)
        at += 4 + length
        if not length:
            return at
    return -1


@bare_inner
def _erspan(kind: int, flags: int, buffer: Buffer, at: int, end: int, facts: Facts) -> Place:
    """draft-foschiano-erspan: type II if GRE is numbered, else type I, which has no header; III has a version."""
    numbered = flags & 0x1000 != 0
    third = numbered and end > at and octet(buffer, at) >> 4 == 2
    if kind == _ERSPAN_3 or third:
        platform = end > at + 11 and octet(buffer, at + 11) & 1 != 0
        return ethernet(buffer, at + (20 if platform else 12), end, facts)
    return ethernet(buffer, at + (8 if numbered else 0), end, facts)


@bare_inner
def _wireless(buffer: Buffer, at: int, end: int, facts: Facts) -> Place:
    """The IP packet in a frame of IEEE 802.11; its frame control may be swapped, as many access points send it."""
    if end < at + SHORTEST:
        return NO_IP
    kind, flags = octet(buffer, at), octet(buffer, at + 1)
    if kind & 0x0F != 0x08:
        kind, flags = flags, kind
    layer, at = data_frame(kind, flags, buffer, at, end, False)
    return network(layer, buffer, at, end, facts, INSIDE) if at >= 0 else NO_IP


@bare_inner
def _l2tp(buffer: Buffer, at: int, end: int, facts: Facts) -> Place:
    """RFC 2661: a data message (version 2) holds a PPP frame. What one of version 3 holds only its session knows."""
    if end < at + 2:
        return NO_IP
    flags = short(buffer, at)
    if flags & 0x800F != 2:
        return NO_IP
    at += 6 + (2 if flags & 0x4000 else 0) + (4 if flags & 0x0800 else 0)  # length; sequence numbers
    if flags & 0x0200:
        if end < at + 2:
            return NO_IP
        at += 2 + short(buffer, at)
    return network(PPP, buffer, at, end, facts, INSIDE)


@bare_inner
def _capwap(buffer: Buffer, at: int, end: int, facts: Facts) -> Place:
    """RFC 5415, 4.3: data in clear, whole, either as Ethernet or, of binding 1, as IEEE 802.11 (RFC 5416)."""
    if end < at + 8 or octet(buffer, at) or octet(buffer, at + 3) & 0x88:  # DTLS; a fragment, or a keep-alive
        return NO_IP
    binding, native = octet(buffer, at + 2) >> 1 & 0x1F, octet(buffer, at + 2) & 1
    at += (octet(buffer, at + 1) >> 3) * 4
    if not native or not binding:
        return ethernet(buffer, at, end, facts)
    return _wireless(buffer, at, end, facts) if binding == 1 else NO_IP


@bare_inner
def _tzsp(buffer: Buffer, at: int, end: int, facts: Facts) -> Place:
    """TaZmen Sniffer Protocol: a packet received or sent, after tags that end with 1."""
    if end < at + 5 or octet(buffer, at) != 1 or octet(buffer, at + 1) > 1:
        return NO_IP
    kind, at = short(buffer, at + 2), at + 4
    for _ in range(_MAX_TAGS):
        if end <= at + 1:
            return NO_IP
        tag = octet(buffer, at)
        at += 1
        if tag == 1:
            break
        at += 1 + octet(buffer, at) if tag else 0
    if kind == 1:
        return ethernet(buffer, at, end, facts)
    return _wireless(buffer, at, end, facts) if kind == 18 else NO_IP


@bare_inner
def _register(buffer: Buffer, at: int, end: int) -> Place:
    """RFC 7761, 4.9.3: a register message of PIM holds a packet, but for the null one."""
    if end < at + 8 or octet(buffer, at) != 0x21 or octet(buffer, at + 4) & 0x40:
        return NO_IP
    return _versioned(buffer, at + 8, end)


@bare_inner
def _vxlan_gpe(buffer: Buffer, at: int, end: int, facts: Facts) -> Place:
    """draft-ietf-nvo3-vxlan-gpe: the next protocol is in byte 3, whether its flag is set or forgotten."""
    if end < at + 8:
        return NO_IP
    following = octet(buffer, at + 3)
    if following == 1:
        return IPV4, at + 8
    if following == 2:
        return IPV6, at + 8
    if following == 4:
        return network(NSH, buffer, at + 8, end, facts, INSIDE)
    if following == 5:
        return network(MPLS, buffer, at + 8, end, facts, INSIDE)
    return ethernet(buffer, at + 8, end, facts) if following in (0, 3) else NO_IP


@bare_inner
def _geneve(buffer: Buffer, at: int, end: int, facts: Facts) -> Place:
    """RFC 8926."""
    if end < at + 8 or octet(buffer, at) >> 6:
        return NO_IP
    return _bridged(short(buffer, at + 2), buffer, at + 8 + (octet(buffer, at) & 0x3F) * 4, end, facts)


@bare_inner
def _gtp_user(buffer: Buffer, start: int, end: int) -> Place:
    """3GPP TS 29.281: a T-PDU (message 255), after optional fields and extension headers; TS 09.60: version 0."""
    if end < start + 8 or octet(buffer, start + 1) != 0xFF:
        return NO_IP
    flags, at = octet(buffer, start), start + 8
    if flags & 0xF0 == 0x10:
        return _versioned(buffer, start + 20, end)
    if flags & 0xF0 != 0x30:
        return NO_IP
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
