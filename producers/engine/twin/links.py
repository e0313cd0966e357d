"""From a frame to the network layer: link headers, VLAN tags, MPLS labels, PPPoE, LLC/SNAP.

Every function here takes a frame and an offset and returns `Place`: the EtherType of the packet found and
where it begins; EtherType 0 says that the frame claims no IP. None raises, whatever the bytes. Link types are
those of the tcpdump group's list (https://www.tcpdump.org/linktypes.html).
"""

from collections.abc import Callable, Mapping
from struct import Struct

IPV4, IPV6 = 0x0800, 0x86DD
ETHERNET = 0x6558  # transparent Ethernet bridging, as GRE and Geneve name it
NOTHING = 0

Place = tuple[int, int]
NO_IP: Place = (NOTHING, 0)

_VLAN = frozenset({0x8100, 0x88A8, 0x9100, 0x9200, 0x9300})
_PPPOE = 0x8864
_PPP = 0x880B
_MAX_LLC = 0x05DC
_UNKNOWN = _MAX_LLC + 1  # no EtherType: a length where none can be
MAX_TAGS = 16
_AF_INET, _AF_INET6 = frozenset({2}), frozenset({10, 23, 24, 28, 30})
_PPP_PROTOCOLS = {0x21: IPV4, 0x57: IPV6, 0x281: 0x8847, 0x283: 0x8848}
_short = Struct(">H").unpack_from
_little = Struct("<H").unpack_from


class Trace:
    """What a look at a frame keeps beyond the key: MAC addresses, VLAN ids, the outermost packet's key."""

    __slots__ = ("destination_mac", "outer", "source_mac", "vlan_ids")

    def __init__(self) -> None:
        self.source_mac = b""
        self.destination_mac = b""
        self.vlan_ids: tuple[int, ...] = ()
        self.outer: tuple[str, bytes] | None = None

    def macs(self, source: bytes, destination: bytes) -> None:
        """Keep the outermost pair of addresses; cooked captures have zeros where there is none."""
        if not self.source_mac and len(source) == 6 and (any(source) or destination):
            self.source_mac = source
            self.destination_mac = destination if len(destination) == 6 else b""


Link = Callable[[bytes, int, Trace | None], Place]


def ethernet(data: bytes, offset: int, trace: Trace | None) -> Place:
    """IEEE 802.3: an EtherType, or a length and then LLC."""
    if len(data) < offset + 14:
        return NO_IP
    if trace is not None:
        trace.macs(data[offset + 6 : offset + 12], data[offset : offset + 6])
    return network(_short(data, offset + 12)[0], data, offset + 14, trace)


def network(kind: int, data: bytes, offset: int, trace: Trace | None) -> Place:
    """Pass over tags and labels after an EtherType (or 802.3 length) until IP or something else is there."""
    for _ in range(MAX_TAGS):
        if kind in {IPV4, IPV6}:
            return kind, offset
        if kind in _VLAN:
            kind, offset = _vlan(data, offset, trace)
        else:
            step = _llc if kind <= _MAX_LLC else _STEPS.get(kind, _nothing)
            kind, offset = step(data, offset)
            if not offset:
                return NO_IP
    return NO_IP


def _nothing(_data: bytes, _offset: int) -> Place:
    return NO_IP


def _vlan(data: bytes, offset: int, trace: Trace | None) -> Place:
    """IEEE 802.1Q: the tag's identifier, then the EtherType of what follows."""
    if len(data) < offset + 4:
        return NO_IP
    if trace is not None:
        trace.vlan_ids += (_short(data, offset)[0] & 0x0FFF,)
    return _short(data, offset + 2)[0], offset + 4


def _pppoe(data: bytes, offset: int) -> Place:
    """RFC 2516: the session stage, code 0."""
    return (_PPP, offset + 6) if len(data) > offset + 6 and data[offset + 1] == 0 else NO_IP


def _inner_ethernet(data: bytes, offset: int) -> Place:
    """A frame within a frame: its addresses do not matter, so what follows is only passed over."""
    return (_short(data, offset + 12)[0], offset + 14) if len(data) >= offset + 14 else NO_IP


def _vntag(data: bytes, offset: int) -> Place:
    """Cisco VN-Tag: four bytes, then the EtherType of what follows."""
    return (_short(data, offset + 4)[0], offset + 6) if len(data) >= offset + 6 else NO_IP


def _etag(data: bytes, offset: int) -> Place:
    """IEEE 802.1BR's E-tag and Cisco metadata: six bytes, then the EtherType of what follows."""
    return (_short(data, offset + 6)[0], offset + 8) if len(data) >= offset + 8 else NO_IP


def _itag(_data: bytes, offset: int) -> Place:
    """IEEE 802.1ah: four bytes, then the customer's Ethernet frame."""
    return ETHERNET, offset + 4


def _nsh(data: bytes, offset: int) -> Place:
    """RFC 8300: a length in words and the kind of what follows."""
    length = (data[offset + 1] & 0x3F) * 4 if len(data) >= offset + 8 else 0
    if length < 8:
        return NO_IP
    return {1: IPV4, 2: IPV6, 3: ETHERNET, 5: 0x8847}.get(data[offset + 3], _UNKNOWN), offset + length


def _mpls(data: bytes, offset: int) -> Place:
    """RFC 3032: labels to the bottom of the stack, then IP by its version, or a pseudowire (RFC 4448)."""
    for _ in range(MAX_TAGS):
        if len(data) <= offset + 4:
            return NO_IP
        offset += 4
        if data[offset - 2] & 1:
            break
    else:
        return NO_IP
    version = data[offset] >> 4
    if version in {4, 6}:
        return (IPV4 if version == 4 else IPV6), offset
    return ETHERNET, offset + 4 if data[offset : offset + 2] == b"\0\0" else offset


def _ppp(data: bytes, offset: int) -> Place:
    """RFC 1661, with address and control if they are there and a protocol of one or two bytes."""
    if data[offset : offset + 2] in {b"\xff\x03", b"\x0f\x00", b"\x8f\x00"}:
        offset += 2
    if len(data) < offset + 2:
        return NO_IP
    if data[offset] & 1:
        return _PPP_PROTOCOLS.get(data[offset], _UNKNOWN), offset + 1
    return _PPP_PROTOCOLS.get(_short(data, offset)[0], _UNKNOWN), offset + 2


def _llc(data: bytes, offset: int) -> Place:
    """IEEE 802.2: SNAP (RFC 1042) or the service access point of IP."""
    head = data[offset : offset + 8]
    if len(head) == 8 and head[:3] == b"\xaa\xaa\x03":
        return max(_short(head, 6)[0], _UNKNOWN), offset + 8
    if head[:3] == b"\x06\x06\x03":
        return IPV4, offset + 3
    return NO_IP


def raw_ip(data: bytes, offset: int, _trace: Trace | None = None) -> Place:
    """An IP packet without any link header: its version says which. Anything else is a damaged IPv4 packet."""
    version = data[offset] >> 4 if len(data) > offset else 4
    return (IPV6 if version == 6 else IPV4), offset


def _raw_ipv4(_data: bytes, offset: int, _trace: Trace | None) -> Place:
    return IPV4, offset


def _raw_ipv6(_data: bytes, offset: int, _trace: Trace | None) -> Place:
    return IPV6, offset


def _family(number: int, offset: int) -> Place:
    if number in _AF_INET:
        return IPV4, offset
    return (IPV6, offset) if number in _AF_INET6 else NO_IP


def _null(data: bytes, offset: int, _trace: Trace | None) -> Place:
    """BSD loopback: the address family as a word in the byte order of whoever captured."""
    word = data[offset : offset + 4]
    number = min(int.from_bytes(word, "little"), int.from_bytes(word, "big"))
    return _family(number, offset + 4)


def _sll(data: bytes, offset: int, trace: Trace | None) -> Place:
    """Linux cooked capture: 16 bytes, the EtherType last."""
    if len(data) < offset + 16:
        return NO_IP
    if trace is not None and data[offset + 4 : offset + 6] == b"\0\6":
        trace.macs(data[offset + 6 : offset + 12], b"")
    return network(_short(data, offset + 14)[0], data, offset + 16, trace)


def _sll2(data: bytes, offset: int, trace: Trace | None) -> Place:
    """Linux cooked capture, version 2: 20 bytes, the EtherType first."""
    if len(data) < offset + 20:
        return NO_IP
    if trace is not None and data[offset + 11] == 6:
        trace.macs(data[offset + 12 : offset + 18], b"")
    return network(_short(data, offset)[0], data, offset + 20, trace)


def _ppp_link(data: bytes, offset: int, trace: Trace | None) -> Place:
    return network(_PPP, data, offset, trace)


def _ppp_ether(data: bytes, offset: int, trace: Trace | None) -> Place:
    return network(_PPPOE, data, offset, trace)


def _chdlc(data: bytes, offset: int, trace: Trace | None) -> Place:
    """Cisco HDLC: address, control, EtherType; or PPP in HDLC-like framing."""
    if data[offset : offset + 1] == b"\xff":
        return network(_PPP, data, offset, trace)
    if len(data) < offset + 4:
        return NO_IP
    return network(_short(data, offset + 2)[0], data, offset + 4, trace)


def _frame_relay(data: bytes, offset: int, trace: Trace | None) -> Place:
    """RFC 2427 (NLPID) or Cisco's encapsulation (EtherType) after a Q.922 address of two to four bytes."""
    start = offset
    while offset < len(data) and offset - start < 4 and not data[offset] & 1:
        offset += 1
    offset += 1
    if len(data) < offset + 2:
        return NO_IP
    if data[offset] != 3:
        return network(max(_short(data, offset)[0], _UNKNOWN), data, offset + 2, trace)
    offset += 2 if data[offset + 1] == 0 else 1  # a pad may follow the control byte
    nlpid = data[offset] if len(data) > offset else 0
    if nlpid == 0xCC:
        return IPV4, offset + 1
    if nlpid == 0x8E:
        return IPV6, offset + 1
    if nlpid == 0x80 and len(data) >= offset + 6:
        return network(max(_short(data, offset + 4)[0], _UNKNOWN), data, offset + 6, trace)
    return NO_IP


def _wifi(data: bytes, offset: int, trace: Trace | None, *, padded: bool = False) -> Place:
    """IEEE 802.11 data frames that are not encrypted: LLC after a header as long as its flags tell."""
    if len(data) < offset + 24:
        return NO_IP
    kind, flags = data[offset], data[offset + 1]
    if kind & 0x0F != 0x08 or kind & 0x40 or flags & 0x40:
        return NO_IP  # no data frame, no data in it, or protected
    header = 24 + (6 if flags & 3 == 3 else 0)
    aggregated = False
    if kind & 0x80:
        aggregated = len(data) > offset + header and bool(data[offset + header] & 0x80)
        header += 2 + (4 if flags & 0x80 else 0)
    if padded:
        header = (header + 3) // 4 * 4
    if aggregated:
        header += 14
    if trace is not None:
        _wifi_macs(data, offset, flags & 3, trace)
    return network(0, data, offset + header, trace)


def _wifi_macs(data: bytes, offset: int, direction: int, trace: Trace) -> None:
    """Source and destination by the To-DS and From-DS bits (IEEE 802.11, table 9-26)."""
    first, second, third = (data[offset + at : offset + at + 6] for at in (4, 10, 16))
    fourth = data[offset + 24 : offset + 30]
    source, destination = ((second, first), (second, third), (third, first), (fourth, third))[direction]
    trace.macs(source, destination)


def _radiotap(data: bytes, offset: int, trace: Trace | None) -> Place:
    """Radiotap: its length, and in its flags whether the 802.11 header is padded to four bytes."""
    if len(data) < offset + 8:
        return NO_IP
    (length,) = _little(data, offset + 2)
    present = int.from_bytes(data[offset + 4 : offset + 8], "little")
    at = offset + 8
    word = present
    while word & 0x8000_0000 and at + 4 <= len(data):
        word = int.from_bytes(data[at : at + 4], "little")
        at += 4
    if present & 1:
        at = offset + (at - offset + 7) // 8 * 8 + 8
    padded = bool(present & 2) and at < min(len(data), offset + length) and bool(data[at] & 0x20)
    return _wifi(data, offset + length, trace, padded=padded)


def _prism(data: bytes, offset: int, trace: Trace | None) -> Place:
    """Prism header (its length in host order at byte 4) or AVS header (network order)."""
    if len(data) < offset + 8:
        return NO_IP
    big = data[offset : offset + 3] in {b"\x80\x21\x10", b"\0\0\0"}
    length = int.from_bytes(data[offset + 4 : offset + 8], "big" if big else "little")
    return _wifi(data, offset + min(length, len(data)), trace)


def _ppi(data: bytes, offset: int, trace: Trace | None) -> Place:
    """Per-packet information: a length and the link type of what follows."""
    if len(data) < offset + 8:
        return NO_IP
    length, inner = _little(data, offset + 2)[0], int.from_bytes(data[offset + 4 : offset + 8], "little")
    if inner == 192 or length < 8:
        return NO_IP
    link = LINKS.get(inner)
    return link(data, offset + length, trace) if link else NO_IP


def _nflog(data: bytes, offset: int, trace: Trace | None) -> Place:
    """Linux netfilter log: attributes in host order; number 9 holds the packet."""
    at = offset + 4
    while len(data) >= at + 4:
        length, kind = _little(data, at)[0], _little(data, at + 2)[0] & 0x7FFF
        if length < 4:
            return NO_IP
        if kind == 9:
            return raw_ip(data, at + 4, trace) if data[offset] in {2, 10} else NO_IP
        at += (length + 3) // 4 * 4
    return NO_IP


_STEPS: Mapping[int, Callable[[bytes, int], Place]] = {
    ETHERNET: _inner_ethernet,
    0x8847: _mpls,
    0x8848: _mpls,
    0x8909: _etag,
    0x8926: _vntag,
    0x893F: _etag,
    0x894F: _nsh,
    0x88E7: _itag,
    _PPPOE: _pppoe,
    _PPP: _ppp,
}

LINKS: Mapping[int, Link] = {
    0: _null,
    1: ethernet,
    9: _ppp_link,
    12: raw_ip,
    14: raw_ip,
    50: _ppp_link,
    51: _ppp_ether,
    101: raw_ip,
    104: _chdlc,
    105: _wifi,
    107: _frame_relay,
    108: _null,
    113: _sll,
    119: _prism,
    127: _radiotap,
    192: _ppi,
    228: _raw_ipv4,
    229: _raw_ipv6,
    239: _nflog,
    276: _sll2,
}
