"""From an EtherType to the network layer: VLAN tags, MPLS labels, PPPoE, PPP, LLC/SNAP, frames within frames.

Every function here takes a frame and an offset and returns `Place`: the EtherType of the packet found and
where it begins; EtherType 0 says that the frame claims no IP. None raises, whatever the bytes.
"""

from collections.abc import Callable, Mapping
from struct import Struct

IPV4, IPV6 = 0x0800, 0x86DD
ETHERNET = 0x6558  # transparent Ethernet bridging, as GRE and Geneve name it
NOTHING = 0

Place = tuple[int, int]
NO_IP: Place = (NOTHING, 0)

_VLAN = frozenset({0x8100, 0x88A8, 0x9100, 0x9200, 0x9300})
PPP, MPLS, NSH = 0x880B, 0x8847, 0x894F
PPPOE = 0x8864
_MAX_LLC = 0x05DC
UNKNOWN = _MAX_LLC + 1  # no EtherType: a length where none can be
MAX_TAGS = 16
_PPP_PROTOCOLS = {0x21: IPV4, 0x57: IPV6, 0x281: 0x8847, 0x283: 0x8848, 0x800: IPV4, 0x86DD: IPV6}
_LIKELY = frozenset({IPV4, IPV6, 0x8100, 0x88A8, 0x0806})  # in a pseudowire
_short = Struct(">H").unpack_from


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
    return (PPP, offset + 6) if len(data) > offset + 6 and data[offset + 1] == 0 else NO_IP


def _inner_ethernet(data: bytes, offset: int) -> Place:
    """A frame within a frame: its addresses do not matter, so what follows is only passed over."""
    return (_short(data, offset + 12)[0], offset + 14) if len(data) >= offset + 14 else NO_IP


def _vntag(data: bytes, offset: int) -> Place:
    """Cisco VN-Tag: four bytes, then the EtherType of what follows."""
    return (_short(data, offset + 4)[0], offset + 6) if len(data) >= offset + 6 else NO_IP


def _etag(data: bytes, offset: int) -> Place:
    """IEEE 802.1BR's E-tag, Cisco metadata and others: six bytes, then the EtherType of what follows."""
    return (_short(data, offset + 6)[0], offset + 8) if len(data) >= offset + 8 else NO_IP


def _itag(_data: bytes, offset: int) -> Place:
    """IEEE 802.1ah: four bytes, then the customer's Ethernet frame."""
    return ETHERNET, offset + 4


def _nsh(data: bytes, offset: int) -> Place:
    """RFC 8300: a length in words and the kind of what follows."""
    length = (data[offset + 1] & 0x3F) * 4 if len(data) >= offset + 8 else 0
    if length < 8:
        return NO_IP
    kinds = {1: IPV4, 2: IPV6, 3: ETHERNET, 4: NSH, 5: MPLS}
    return kinds.get(data[offset + 3], UNKNOWN), offset + length


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
    if data[offset : offset + 4] in {b"\x10\0\0\x21", b"\x10\0\0\x57"}:  # RFC 5885
        return (IPV4 if data[offset + 3] == 0x21 else IPV6), offset + 4
    return ETHERNET, offset + 4 if _is_controlled(data, offset) else offset


def _is_controlled(data: bytes, offset: int) -> bool:
    """Whether a control word (RFC 4448, 4.6) is before the frame in a pseudowire: the frame's type decides."""
    if len(data) < offset + 18:
        return data[offset : offset + 2] == b"\0\0"
    if data[offset] >> 4:
        return False
    if _short(data, offset + 16)[0] in _LIKELY:
        return True
    return data[offset : offset + 2] == b"\0\0" and _short(data, offset + 12)[0] not in _LIKELY


def _ppp(data: bytes, offset: int) -> Place:
    """RFC 1661, with address and control if they are there and a protocol of one or two bytes."""
    if data[offset : offset + 2] in {b"\xff\x03", b"\x0f\x00", b"\x8f\x00"}:
        offset += 2
    if len(data) < offset + 2:
        return NO_IP
    if data[offset] & 1:
        return _PPP_PROTOCOLS.get(data[offset], UNKNOWN), offset + 1
    return _PPP_PROTOCOLS.get(_short(data, offset)[0], UNKNOWN), offset + 2


def _llc(data: bytes, offset: int) -> Place:
    """IEEE 802.2: SNAP (RFC 1042) or the service access point of IP."""
    head = data[offset : offset + 8]
    if len(head) == 8 and head[:3] == b"\xaa\xaa\x03":
        return max(_short(head, 6)[0], UNKNOWN), offset + 8
    if head[:3] == b"\x06\x06\x03":
        return IPV4, offset + 3
    return NO_IP


def _redundant(data: bytes, offset: int) -> Place:
    """IEC 62439-3 (HSR) and IEEE 802.1CB: four bytes, then the EtherType of what follows."""
    return _vntag(data, offset)


def _fabricpath(_data: bytes, offset: int) -> Place:
    """Cisco FabricPath: a tree and a TTL, then the frame."""
    return ETHERNET, offset + 2


def _trill(data: bytes, offset: int) -> Place:
    """RFC 6325: options are counted in words; then the frame."""
    if len(data) < offset + 6:
        return NO_IP
    return ETHERNET, offset + 6 + (_short(data, offset)[0] >> 6 & 0x1F) * 4


def _macsec(data: bytes, offset: int) -> Place:
    """IEEE 802.1AE, neither encrypted nor changed: with the channel's identifier or without, then an EtherType."""
    if len(data) < offset + 6 or data[offset] & 0x8C:
        return NO_IP
    offset += 14 if data[offset] & 0x20 else 6
    return (_short(data, offset)[0], offset + 2) if len(data) >= offset + 2 else NO_IP


def _jumbo_llc(_data: bytes, offset: int) -> Place:
    return 0, offset


def _centrino(data: bytes, offset: int) -> Place:
    """A frame of IEEE 802.11 as some cards hand it on."""
    return data_frame(data[offset], data[offset + 1], data, offset) if len(data) >= offset + 24 else NO_IP


def data_frame(kind: int, flags: int, data: bytes, offset: int, *, padded: bool = False) -> Place:
    """The LLC in an IEEE 802.11 data frame that is not encrypted, after a header as long as its flags tell.

    `kind` and `flags` are its frame control. Of a frame that holds several (A-MSDU) it is the first one's.
    """
    if kind & 0x0F != 0x08 or kind & 0x40 or flags & 0x40:
        return NO_IP  # no data frame, no data in it, or protected
    header = 24 + (6 if flags & 3 == 3 else 0)
    aggregated = False
    if kind & 0x80:
        aggregated = len(data) > offset + header and bool(data[offset + header] & 0x80)
        header += 2 + (4 if flags & 0x80 else 0)
    if padded:
        header = (header + 3) // 4 * 4
    return 0, offset + header + (14 if aggregated else 0)


def raw_ip(data: bytes, offset: int, _trace: Trace | None = None) -> Place:
    """An IP packet without any link header: its version says which. Anything else is a damaged IPv4 packet."""
    version = data[offset] >> 4 if len(data) > offset else 4
    return (IPV6 if version == 6 else IPV4), offset


_STEPS: Mapping[int, Callable[[bytes, int], Place]] = {
    ETHERNET: _inner_ethernet,
    0x22F3: _trill,
    0x2452: _centrino,
    0x8870: _jumbo_llc,
    0x88E5: _macsec,
    0x8903: _fabricpath,
    0x892F: _redundant,
    0x8988: _etag,
    0xF1C1: _redundant,
    MPLS: _mpls,
    0x8848: _mpls,
    0x8909: _etag,
    0x8926: _vntag,
    0x893F: _etag,
    NSH: _nsh,
    0x88E7: _itag,
    PPPOE: _pppoe,
    PPP: _ppp,
}
