"""From a frame to the network layer: link headers, VLAN tags, MPLS labels, PPPoE, LLC/SNAP.

Places are absolute in the block's buffer; a function that returns a place returns the EtherType of what it found and
where that begins, NO_IP where the frame claims no IP. `end` is where the packet's captured bytes end, and nothing is
read beyond it. Link types are those of the tcpdump group's list (https://www.tcpdump.org/linktypes.html). Addresses
and tags go to row `index` of the facts; inside a tunnel the index is -1 and nobody takes them down.
"""
# ruff: noqa: PLR0911, PLR0912, PLR0913, PLR0917, C901 - a dispatcher has a branch for each kind, and columns travel one by one

from producers.compiled import bare_inner
from producers.engine.kernel.octets import (
    NO_IP,
    Buffer,
    Facts,
    Place,
    little,
    little_word,
    number,
    octet,
    short,
    word,
)
from producers.engine.kernel.wireless import SHORTEST, data_frame, wireless

IPV4, IPV6 = 0x0800, 0x86DD
BRIDGED = 0x6558  # transparent Ethernet bridging, as GRE and Geneve name it
LLC, MPLS, NSH, PPP, INSIDE = number(0), number(0x8847), number(0x894F), number(0x880B), number(-1)
"""Arguments: of the type that variables have, or numba would compile the function called once for each."""

_MPLS_UPSTREAM, _PPPOE, _ITAG, _VNTAG = 0x8848, 0x8864, 0x88E7, 0x8926
_ETAG, _CISCO_METADATA, _HARDWARE_BACKUP = 0x893F, 0x8909, 0x8988
_FABRICPATH, _TRILL, _HSR, _RTAG, _MACSEC = 0x8903, 0x22F3, 0x892F, 0xF1C1, 0x88E5
_JUMBO_LLC, _CENTRINO = 0x8870, 0x2452
_ASSOCIATED = 0x1000  # the control word of a channel beside a pseudowire
_MAX_LLC = 0x05DC
_UNKNOWN = _MAX_LLC + 1  # no EtherType: a length where none can be
_MAX_TAGS = 16
_KEPT_TAGS = 4
_PPI = 192


@bare_inner
def find(linktype: int, buffer: Buffer, start: int, end: int, facts: Facts, index: int) -> Place:
    """The place of the IP packet in the frame that begins at `start`."""
    at = start
    if linktype == _PPI:
        linktype, at = _ppi(buffer, at, end)
    if linktype == 1:
        kind, at = _ethernet_link(buffer, start, at, end, facts, index)
    elif linktype in (0, 108):
        kind, at = _null(buffer, at, end)
    elif linktype in (12, 14, 101):
        return raw_ip(buffer, at, end)
    elif linktype == 228:
        return IPV4, at
    elif linktype == 229:
        return IPV6, at
    elif linktype == 239:
        return _nflog(buffer, at, end)
    elif linktype in (16, 18, 19, 106):  # classical IP over ATM
        return raw_ip(buffer, at, end)
    elif linktype in (11, 100):  # RFC 2684: LLC
        kind = LLC
    elif linktype in (9, 50):
        kind = PPP
    elif linktype == 204:  # a byte for the direction
        kind, at = PPP, at + 1
    elif linktype == 51:
        kind = _PPPOE
    elif linktype in (104, 112):
        kind, at = _chdlc(buffer, at, end)
    elif linktype == 107:
        kind, at = frame_relay(buffer, at, end)
    elif linktype in (17, 109, 117):
        return _firewall(linktype, buffer, at, end)
    elif linktype == 122:  # RFC 2625: two Fibre Channel addresses, LLC
        kind, at = LLC, at + 16
    elif linktype == 138:  # RFC 2734: two addresses of IEEE 1394, an EtherType
        kind, at = (short(buffer, at + 16), at + 18) if end >= at + 18 else NO_IP
    elif linktype in (113, 276):
        kind, at = _cooked(linktype, buffer, start, at, end, facts, index)
    elif linktype in (105, 119, 127, 163):
        kind, at = wireless(linktype, buffer, start, at, end, facts, index)
    else:
        return NO_IP
    if at < 0:
        return NO_IP
    return network(kind, buffer, at, end, facts, index)


@bare_inner
def network(kind: int, buffer: Buffer, at: int, end: int, facts: Facts, index: int) -> Place:
    """Pass over tags and labels after an EtherType (or 802.3 length) until IP or something else is there."""
    for _ in range(_MAX_TAGS):
        if kind in (IPV4, IPV6):
            return kind, at
        if kind in (0x8100, 0x88A8, 0x9100, 0x9200, 0x9300):  # IEEE 802.1Q
            if end < at + 4:
                return NO_IP
            if index >= 0:
                keep_tag(buffer, at, facts, index)
            kind, at = short(buffer, at + 2), at + 4
        else:
            kind, at = _llc(buffer, at, end) if kind <= _MAX_LLC else _step(kind, buffer, at, end)
            if at < 0:
                return NO_IP
    return NO_IP


@bare_inner
def ethernet(buffer: Buffer, at: int, end: int, facts: Facts) -> Place:
    """The place of the IP packet in an Ethernet frame inside a tunnel."""
    if end < at + 14:
        return NO_IP
    return network(short(buffer, at + 12), buffer, at + 14, end, facts, INSIDE)


@bare_inner
def raw_ip(buffer: Buffer, at: int, end: int) -> Place:
    """An IP packet without any link header: its version says which. Anything else is a damaged IPv4 packet."""
    if at < end and octet(buffer, at) >> 4 == 6:
        return IPV6, at
    return IPV4, at


@bare_inner
def keep_tag(buffer: Buffer, at: int, facts: Facts, index: int) -> None:
    """Take down the identifier of the VLAN tag at `at`; of more than four the outermost."""
    kept = facts[index].vlans
    if kept < _KEPT_TAGS:
        facts[index].vlan[kept] = short(buffer, at) & 0x0FFF
        facts[index].vlans = kept + 1


@bare_inner
def _step(kind: int, buffer: Buffer, at: int, end: int) -> Place:
    """Pass over one header that is no VLAN tag."""
    if kind in (MPLS, _MPLS_UPSTREAM):
        return _mpls(buffer, at, end)
    if kind == _PPPOE:  # RFC 2516: the session stage, code 0
        return (PPP, at + 6) if end > at + 6 and octet(buffer, at + 1) == 0 else NO_IP
    if kind == PPP:
        return _ppp(buffer, at, end)
    if kind == BRIDGED:  # a frame within a frame
        return (short(buffer, at + 12), at + 14) if end >= at + 14 else NO_IP
    if kind == _ITAG:  # IEEE 802.1ah: four bytes, then the customer's Ethernet frame
        return BRIDGED, at + 4
    if kind == _VNTAG:
        return (short(buffer, at + 4), at + 6) if end >= at + 6 else NO_IP
    if kind in (_ETAG, _CISCO_METADATA, _HARDWARE_BACKUP):  # six bytes (IEEE 802.1BR) before the EtherType
        return (short(buffer, at + 6), at + 8) if end >= at + 8 else NO_IP
    if kind in (_HSR, _RTAG):  # IEC 62439-3, IEEE 802.1CB: four bytes before the EtherType
        return (short(buffer, at + 4), at + 6) if end >= at + 6 else NO_IP
    if kind == _FABRICPATH:  # a tree and a TTL, then the frame
        return BRIDGED, at + 2
    if kind == _JUMBO_LLC:
        return LLC, at
    return _rare_step(kind, buffer, at, end)


@bare_inner
def _rare_step(kind: int, buffer: Buffer, at: int, end: int) -> Place:
    """Pass over one header of variable length that is no VLAN tag."""
    if kind == NSH:
        return _nsh(buffer, at, end)
    if kind == _TRILL:  # RFC 6325: options are counted in words
        return (BRIDGED, at + 6 + (short(buffer, at) >> 6 & 0x1F) * 4) if end >= at + 6 else NO_IP
    if (
        kind == _MACSEC
    ):  # IEEE 802.1AE: neither encrypted nor changed; with the channel's identifier or without
        if end < at + 6 or octet(buffer, at) & 0x8C:
            return NO_IP
        at += 14 if octet(buffer, at) & 0x20 else 6
        return (short(buffer, at), at + 2) if end >= at + 2 else NO_IP
    if kind == _CENTRINO:  # a frame of IEEE 802.11
        if end < at + SHORTEST:
            return NO_IP
        return data_frame(octet(buffer, at), octet(buffer, at + 1), buffer, at, end, False)
    return NO_IP


@bare_inner
def _nsh(buffer: Buffer, at: int, end: int) -> Place:
    """RFC 8300: a length in words and the kind of what follows."""
    length = (octet(buffer, at + 1) & 0x3F) * 4 if end >= at + 8 else 0
    if length < 8:
        return NO_IP
    following = octet(buffer, at + 3)
    kind = _UNKNOWN
    if following == 1:
        kind = IPV4
    elif following == 2:
        kind = IPV6
    elif following == 3:
        kind = BRIDGED
    elif following == 4:
        kind = NSH
    elif following == 5:
        kind = MPLS
    return kind, at + length


@bare_inner
def _mpls(buffer: Buffer, at: int, end: int) -> Place:
    """RFC 3032: labels to the bottom of the stack, then IP by its version, or a pseudowire (RFC 4448)."""
    bottom = False
    for _ in range(_MAX_TAGS):
        if end <= at + 4:
            return NO_IP
        at += 4
        bottom = octet(buffer, at - 2) & 1 == 1
        if bottom:
            break
    if not bottom:
        return NO_IP
    version = octet(buffer, at) >> 4
    if version == 4:
        return IPV4, at
    if version == 6:
        return IPV6, at
    if end >= at + 4 and short(buffer, at) == _ASSOCIATED and short(buffer, at + 2) in (0x21, 0x57):
        return (IPV4 if octet(buffer, at + 3) == 0x21 else IPV6), at + 4  # RFC 5885
    return BRIDGED, at + 4 if _is_controlled(buffer, at, end) else at


@bare_inner
def _is_controlled(buffer: Buffer, at: int, end: int) -> bool:
    """Whether the frame in a pseudowire has a control word before it (RFC 4448, 4.6).

    A destination may begin with the same zeros, and a short frame's length is in that word: the frame's type decides.
    """
    if end < at + 2 or octet(buffer, at) >> 4:
        return False
    if end < at + 18:
        return short(buffer, at) == 0
    known, other = short(buffer, at + 16), short(buffer, at + 12)
    if known in (IPV4, IPV6, 0x8100, 0x88A8, 0x0806):
        return True
    return short(buffer, at) == 0 and other not in (IPV4, IPV6, 0x8100, 0x88A8, 0x0806)


@bare_inner
def _ppp(buffer: Buffer, at: int, end: int) -> Place:
    """RFC 1661, with address and control if they are there and a protocol of one or two bytes."""
    if end >= at + 2 and short(buffer, at) in (0xFF03, 0x0F00, 0x8F00):
        at += 2
    if end < at + 2:
        return NO_IP
    protocol, at = octet(buffer, at), at + 1
    if not protocol & 1:
        protocol, at = protocol << 8 | octet(buffer, at), at + 1
    kind = _UNKNOWN
    if protocol == 0x21:
        kind = IPV4
    elif protocol == 0x57:
        kind = IPV6
    elif protocol in (0x281, 0x283):
        kind = MPLS
    elif protocol in (IPV4, IPV6):
        kind = protocol
    return kind, at


@bare_inner
def _llc(buffer: Buffer, at: int, end: int) -> Place:
    """IEEE 802.2: SNAP (RFC 1042) or the service access point of IP."""
    if end < at + 3 or octet(buffer, at + 2) != 3:
        return NO_IP
    points = short(buffer, at)
    if points == 0xAAAA and end >= at + 8:
        return max(short(buffer, at + 6), _UNKNOWN), at + 8
    return (IPV4, at + 3) if points == 0x0606 else NO_IP


@bare_inner
def _ethernet_link(buffer: Buffer, start: int, at: int, end: int, facts: Facts, index: int) -> Place:
    """IEEE 802.3: an EtherType, or a length and then LLC."""
    if end < at + 14:
        return NO_IP
    facts[index].destination_mac = at - start
    facts[index].source_mac = at - start + 6
    return short(buffer, at + 12), at + 14


@bare_inner
def _ppi(buffer: Buffer, at: int, end: int) -> Place:
    """Per-packet information: a length and the link type of what follows, -1 if none can."""
    if end < at + 8:
        return -1, at
    length, linktype = little(buffer, at + 2), little_word(buffer, at + 4)
    return (-1 if linktype == _PPI or length < 8 else linktype), at + length


@bare_inner
def _null(buffer: Buffer, at: int, end: int) -> Place:
    """BSD loopback: the address family as a word in the byte order of whoever captured."""
    big = low = shift = 0
    for place in range(at, min(at + 4, end)):
        big = big << 8 | octet(buffer, place)
        low |= octet(buffer, place) << shift
        shift += 8
    if big >> 16 == 0xFF03:
        return PPP, at
    return _family(min(big, low), at + 4)


@bare_inner
def _family(family: int, at: int) -> Place:
    """What begins at `at` by an address family of BSD (or Linux, or Windows), or by an EtherType in its stead."""
    if family in (2, IPV4):
        return IPV4, at
    return (IPV6, at) if family in (10, 23, 24, 28, 30, IPV6) else NO_IP


@bare_inner
def _firewall(linktype: int, buffer: Buffer, at: int, end: int) -> Place:
    """What pf logged, in its old and new format, and what enc(4) saw: a header with an address family."""
    if linktype == 117:  # a length that is a multiple of four with its padding, the family
        if end < at + 4:
            return NO_IP
        return _family(octet(buffer, at + 1), at + (octet(buffer, at) + 3) // 4 * 4)
    if end < at + 4:
        return NO_IP
    family = min(word(buffer, at), little_word(buffer, at))
    return _family(family, at + (28 if linktype == 17 else 12))


@bare_inner
def _nflog(buffer: Buffer, start: int, end: int) -> Place:
    """Linux netfilter log: attributes in host order; number 9 holds the packet."""
    at = start + 4
    while end >= at + 4:
        length = little(buffer, at)
        if length < 4:
            return NO_IP
        if little(buffer, at + 2) & 0x7FFF == 9:
            return raw_ip(buffer, at + 4, end) if octet(buffer, start) in (2, 10) else NO_IP
        at += (length + 3) // 4 * 4
    return NO_IP


@bare_inner
def _chdlc(buffer: Buffer, at: int, end: int) -> Place:
    """Cisco HDLC: address, control, EtherType; or PPP in HDLC-like framing."""
    if at < end and octet(buffer, at) == 0xFF:
        return PPP, at
    return (short(buffer, at + 2), at + 4) if end >= at + 4 else NO_IP


@bare_inner
def frame_relay(buffer: Buffer, at: int, end: int) -> Place:
    """RFC 2427 (NLPID) or Cisco's encapsulation (EtherType) after a Q.922 address of two to four bytes."""
    start = at
    while at < end and at - start < 4 and not octet(buffer, at) & 1:
        at += 1
    at += 1
    if end < at + 2:
        return NO_IP
    if octet(buffer, at) != 3:
        return max(short(buffer, at), _UNKNOWN), at + 2
    at += 2 if octet(buffer, at + 1) == 0 else 1  # a pad may follow the control byte
    layer = octet(buffer, at) if at < end else 0
    if layer == 0xCC:
        return IPV4, at + 1
    if layer == 0x8E:
        return IPV6, at + 1
    if layer == 0x80 and end >= at + 6:
        return max(short(buffer, at + 4), _UNKNOWN), at + 6
    return NO_IP


@bare_inner
def _cooked(linktype: int, buffer: Buffer, start: int, at: int, end: int, facts: Facts, index: int) -> Place:
    """Linux cooked capture: 16 bytes, the EtherType last; in version 2 20 bytes, the EtherType first."""
    if linktype == 113:
        if end < at + 16:
            return NO_IP
        kind, length, mac, after = short(buffer, at + 14), short(buffer, at + 4), at + 6, at + 16
    else:
        if end < at + 20:
            return NO_IP
        kind, length, mac, after = short(buffer, at), octet(buffer, at + 11), at + 12, at + 20
    if length == 6 and (word(buffer, mac) or short(buffer, mac + 4)):
        facts[index].source_mac = mac - start
    return kind, after
