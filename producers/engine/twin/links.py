"""From a frame to the network layer, by the capture's link type: link headers, then what `network` passes over.

Every function here takes a frame and an offset and returns `Place`: the EtherType of the packet found and
where it begins; EtherType 0 says that the frame claims no IP. None raises, whatever the bytes. Link types are
those of the tcpdump group's list (https://www.tcpdump.org/linktypes.html).
"""

from collections.abc import Callable, Mapping
from struct import Struct

from producers.engine.twin.network import (
    IPV4,
    IPV6,
    NO_IP,
    PPP,
    PPPOE,
    UNKNOWN,
    Place,
    Trace,
    data_frame,
    ethernet,
    network,
    raw_ip,
)

_AF_INET, _AF_INET6 = frozenset({2, IPV4}), frozenset({10, 23, 24, 28, 30, IPV6})
_short = Struct(">H").unpack_from
_little = Struct("<H").unpack_from

Link = Callable[[bytes, int, Trace | None], Place]


def _raw_ipv4(_data: bytes, offset: int, _trace: Trace | None) -> Place:
    return IPV4, offset


def _raw_ipv6(_data: bytes, offset: int, _trace: Trace | None) -> Place:
    return IPV6, offset


def _family(family: int, offset: int) -> Place:
    """What begins at `offset` by an address family, or by an EtherType in its stead."""
    if family in _AF_INET:
        return IPV4, offset
    return (IPV6, offset) if family in _AF_INET6 else NO_IP


def _either_order(data: bytes, offset: int) -> int:
    word = data[offset : offset + 4]
    return min(int.from_bytes(word, "little"), int.from_bytes(word, "big"))


def _null(data: bytes, offset: int, trace: Trace | None) -> Place:
    """BSD loopback: the address family as a word in the byte order of whoever captured; or PPP."""
    if data[offset : offset + 2] == b"\xff\x03" and len(data) >= offset + 4:
        return network(PPP, data, offset, trace)
    return _family(_either_order(data, offset), offset + 4)


def _pflog(data: bytes, offset: int, _trace: Trace | None) -> Place:
    """What pf logged: the header's length, which is padded to a multiple of four, and the address family."""
    if len(data) < offset + 4:
        return NO_IP
    return _family(data[offset + 1], offset + (data[offset] + 3) // 4 * 4)


def _old_pflog(data: bytes, offset: int, _trace: Trace | None) -> Place:
    return _family(_either_order(data, offset), offset + 28) if len(data) >= offset + 4 else NO_IP


def _enc(data: bytes, offset: int, _trace: Trace | None) -> Place:
    """OpenBSD's enc(4): address family, SPI and flags."""
    return _family(_either_order(data, offset), offset + 12) if len(data) >= offset + 4 else NO_IP


def _llc_link(data: bytes, offset: int, trace: Trace | None) -> Place:
    """RFC 2684 over ATM: LLC."""
    return network(0, data, offset, trace)


def _fibre_channel(data: bytes, offset: int, trace: Trace | None) -> Place:
    """RFC 2625: two Fibre Channel addresses, LLC."""
    return network(0, data, offset + 16, trace)


def _firewire(data: bytes, offset: int, trace: Trace | None) -> Place:
    """RFC 2734: two addresses of IEEE 1394, an EtherType."""
    if len(data) < offset + 18:
        return NO_IP
    return network(_short(data, offset + 16)[0], data, offset + 18, trace)


def _directed_ppp(data: bytes, offset: int, trace: Trace | None) -> Place:
    return network(PPP, data, offset + 1, trace)


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
    return network(PPP, data, offset, trace)


def _ppp_ether(data: bytes, offset: int, trace: Trace | None) -> Place:
    return network(PPPOE, data, offset, trace)


def _chdlc(data: bytes, offset: int, trace: Trace | None) -> Place:
    """Cisco HDLC: address, control, EtherType; or PPP in HDLC-like framing."""
    if data[offset : offset + 1] == b"\xff":
        return network(PPP, data, offset, trace)
    if len(data) < offset + 4:
        return NO_IP
    return network(_short(data, offset + 2)[0], data, offset + 4, trace)


def frame_relay(data: bytes, offset: int, trace: Trace | None) -> Place:
    """RFC 2427 (NLPID) or Cisco's encapsulation (EtherType) after a Q.922 address of two to four bytes."""
    start = offset
    while offset < len(data) and offset - start < 4 and not data[offset] & 1:
        offset += 1
    offset += 1
    if len(data) < offset + 2:
        return NO_IP
    if data[offset] != 3:
        return network(max(_short(data, offset)[0], UNKNOWN), data, offset + 2, trace)
    offset += 2 if data[offset + 1] == 0 else 1  # a pad may follow the control byte
    nlpid = data[offset] if len(data) > offset else 0
    if nlpid == 0xCC:
        return IPV4, offset + 1
    if nlpid == 0x8E:
        return IPV6, offset + 1
    if nlpid == 0x80 and len(data) >= offset + 6:
        return network(max(_short(data, offset + 4)[0], UNKNOWN), data, offset + 6, trace)
    return NO_IP


def _wifi(data: bytes, offset: int, trace: Trace | None, *, padded: bool = False) -> Place:
    """IEEE 802.11 without anything before it."""
    if len(data) < offset + 24:
        return NO_IP
    kind, flags = data[offset], data[offset + 1]
    _, at = data_frame(kind, flags, data, offset, padded=padded)
    if not at:
        return NO_IP
    if trace is not None:
        _wifi_macs(data, offset, flags & 3, trace)
    return network(0, data, at, trace)


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


LINKS: Mapping[int, Link] = {
    0: _null,
    1: ethernet,
    9: _ppp_link,
    11: _llc_link,
    12: raw_ip,
    14: raw_ip,
    16: raw_ip,
    17: _old_pflog,
    18: raw_ip,
    19: raw_ip,
    50: _ppp_link,
    51: _ppp_ether,
    100: _llc_link,
    101: raw_ip,
    104: _chdlc,
    105: _wifi,
    106: raw_ip,
    107: frame_relay,
    108: _null,
    109: _enc,
    112: _chdlc,
    113: _sll,
    117: _pflog,
    119: _prism,
    122: _fibre_channel,
    127: _radiotap,
    138: _firewire,
    163: _prism,
    192: _ppi,
    204: _directed_ppp,
    228: _raw_ipv4,
    229: _raw_ipv6,
    239: _nflog,
    276: _sll2,
}
