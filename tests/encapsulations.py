"""Encapsulations as functions: a packet in, the IP packet that carries it out; and frames of link types around one."""

from collections.abc import Callable, Mapping
from functools import partial
from struct import pack
from typing import NamedTuple

from tests.packets import ethernet, ip, udp

Ends = tuple[str, str]
Wrap = Callable[[bytes, Ends], bytes]
"""The IP packet between two ends that carries an IP packet."""

LABEL = b"\0\x01\x01\xff"
_WIFI = b"\0\0" + bytes(18) + b"\0\0"


def kind_of(packet: bytes) -> int:
    """The EtherType of an IP packet."""
    return 0x86DD if packet[0] >> 4 == 6 else 0x0800


def tagged(packet: bytes) -> bytes:
    """An Ethernet frame with two tags."""
    return ethernet(pack(">HHHH", 100, 0x8100, 7, kind_of(packet)) + packet, 0x88A8)


def bought(frame: bytes) -> bytes:
    """An Ethernet frame between cards of a known maker, by which tshark knows a frame in a pseudowire."""
    return bytes.fromhex("001b21000002001b21000001") + frame[12:]


def snap(packet: bytes) -> bytes:
    """LLC and SNAP."""
    return b"\xaa\xaa\x03\0\0\0" + pack(">H", kind_of(packet)) + packet


def ppp(packet: bytes) -> bytes:
    """A PPP frame with address and control."""
    return b"\xff\x03" + pack(">H", 0x57 if packet[0] >> 4 == 6 else 0x21) + packet


def wifi(packet: bytes, control: bytes = b"\x08\x01") -> bytes:
    """A data frame of IEEE 802.11, with quality of service if its control says so."""
    return control + _WIFI + (b"\0\0" if 0x88 in control else b"") + snap(packet)


def aggregate(packet: bytes) -> bytes:
    """A data frame of IEEE 802.11 that holds an A-MSDU of one."""
    held = snap(packet)
    head = bytes.fromhex("020000000001020000000002") + pack(">H", len(held))
    return b"\x88\x02" + _WIFI + b"\x80\0" + head + held


def service(packet: bytes) -> bytes:
    """A network service header (RFC 8300) of type 2, without metadata."""
    return b"\x0f\xc2\x02" + (b"\x02" if packet[0] >> 4 == 6 else b"\x01") + b"\0\0\x07\xff" + packet


def gre(flags: int, kind: int | None, options: int, inner: Callable[[bytes], bytes]) -> Wrap:
    """GRE with as many bytes of options; the type is the packet's unless given."""

    def wrap(packet: bytes, ends: Ends) -> bytes:
        named = kind_of(packet) if kind is None else kind
        return ip(*ends, 47, pack(">HH", flags, named) + bytes(options) + inner(packet))

    return wrap


def over_udp(port: int, header: bytes, inner: Callable[[bytes], bytes], sender: int = 40_001) -> Wrap:
    """A header and what follows it to a UDP port."""
    return lambda packet, ends: ip(*ends, 17, udp(sender, port, header + inner(packet)))


def over_ip(protocol: int, header: bytes, inner: Callable[[bytes], bytes]) -> Wrap:
    """A header and what follows it in an IP packet."""
    return lambda packet, ends: ip(*ends, protocol, header + inner(packet))


def plain(packet: bytes) -> bytes:
    """The packet itself."""
    return packet


def routed(packet: bytes, ends: Ends) -> bytes:
    """GRE with a source route (RFC 1701) of one address and its end."""
    route = b"\x08\0\0\x04" + bytes(4) + bytes(4)
    return ip(*ends, 47, pack(">HH", 0x4000, kind_of(packet)) + bytes(4) + route + packet)


def ip_in_ip(packet: bytes, ends: Ends) -> bytes:
    """RFC 2003, 2473 and 4213."""
    return ip(*ends, 41 if packet[0] >> 4 == 6 else 4, packet)


def authenticated(packet: bytes, ends: Ends) -> bytes:
    """An authentication header (RFC 4302) before the packet."""
    return ip(*ends, 51, (b"\x29" if packet[0] >> 4 == 6 else b"\x04") + b"\x04" + bytes(22) + packet)


def gpe(packet: bytes, ends: Ends) -> bytes:
    """VXLAN-GPE with an IP packet."""
    following = 2 if packet[0] >> 4 == 6 else 1
    return ip(*ends, 17, udp(40_002, 4790, bytes((0x0C, 0, 0, following)) + bytes(4) + packet))


def geneve_ip(packet: bytes, ends: Ends) -> bytes:
    """Geneve with an IP packet."""
    return ip(*ends, 17, udp(40_003, 6081, pack(">HH", 0, kind_of(packet)) + bytes(4) + packet))


def gtp_extended(packet: bytes, ends: Ends) -> bytes:
    """GTP-U with a sequence number and a PDU session container (TS 38.415)."""
    rest = b"\0\1\0\x85\x01\x10\x09\0"
    head = b"\x36\xff" + pack(">HI", len(rest) + len(packet), 7) + rest
    return ip(*ends, 17, udp(2152, 2152, head + packet))


def gtp(version: int, port: int) -> Wrap:
    """GTP-U, or the data messages of GTP version 0, which has 20 bytes of header."""

    def wrap(packet: bytes, ends: Ends) -> bytes:
        head = b"\x30" if version else b"\x1e"
        head += b"\xff" + pack(">H", len(packet)) + bytes(4 if version else 16)
        return ip(*ends, 17, udp(40_004, port, head + packet))

    return wrap


def l2tp(flags: int, fields: bytes) -> Wrap:
    """A data message of L2TP version 2; `fields` are those that the flags say, with the ids."""
    return over_udp(1701, pack(">H", flags | 2) + fields, ppp, 1701)


TUNNELS: Mapping[str, tuple[str, Wrap]] = {
    "gre": ("gre", gre(0, None, 0, plain)),
    "gre, all options": ("gre", gre(0xB000, None, 12, plain)),
    "gre, source routes": ("gre", routed),
    "gre, bridged (nvgre)": ("gre", gre(0x2000, 0x6558, 4, tagged)),
    "gre, mpls": ("gre", gre(0, 0x8847, 0, LABEL.__add__)),
    "gre, pptp": ("gre", gre(0x3081, 0x880B, 12, ppp)),
    "gre, erspan 1": ("gre", gre(0, 0x88BE, 0, tagged)),
    "gre, erspan 2": ("gre", gre(0x1000, 0x88BE, 4, lambda p: b"\x10\x01" + bytes(6) + ethernet(p))),
    "gre, erspan 3": ("gre", gre(0x1000, 0x22EB, 4, lambda p: b"\x20\x01" + bytes(10) + ethernet(p))),
    "gre, erspan 3, platform": (
        "gre",
        gre(0x1000, 0x22EB, 4, lambda p: b"\x20\x01" + bytes(9) + b"\x01" + bytes(8) + ethernet(p)),
    ),
    "gre, wccp": ("gre", gre(0, 0x883E, 0, lambda p: bytes(4) + p)),
    "gre, frame relay": ("gre", gre(0, 0x6559, 0, lambda p: b"\x18\x41" + snapped_relay(p))),
    "gre, nsh": ("gre", gre(0, 0x894F, 0, service)),
    "gre, aruba": ("gre", gre(0, 0x8200, 0, wifi)),
    "gre, aruba, a-msdu": ("gre", gre(0, 0x8210, 0, aggregate)),
    "gre over udp": (
        "gre",
        lambda p, ends: over_udp(4754, pack(">HH", 0x2000, kind_of(p)) + bytes(4), plain)(p, ends),
    ),
    "ip in ip": ("ipip", ip_in_ip),
    "ip behind an authentication header": ("ipip", authenticated),
    "etherip": ("etherip", over_ip(97, b"\x30\0", ethernet)),
    "ethernet in ip": ("ethernet", over_ip(143, b"", ethernet)),
    "mpls in ip": ("mpls", over_ip(137, LABEL, plain)),
    "mpls in udp": ("mpls", over_udp(6635, LABEL, plain)),
    "mpls in udp, pseudowire": ("mpls", over_udp(6635, LABEL + bytes(4), lambda p: bought(tagged(p)))),
    "vxlan": ("vxlan", over_udp(4789, b"\x08" + bytes(7), ethernet)),
    "vxlan, group policy, tags": ("vxlan", over_udp(4789, b"\x88\x48\x12\x34\0\0\x2a\0", tagged)),
    "vxlan, reserved bits": ("vxlan", over_udp(4789, b"\xff" * 8, ethernet)),
    "vxlan-gpe": ("vxlan", gpe),
    "vxlan-gpe, ethernet": ("vxlan", over_udp(4790, b"\x0c\0\0\x03" + bytes(4), ethernet)),
    "vxlan-gpe, nsh": ("vxlan", over_udp(4790, b"\x0c\0\0\x04" + bytes(4), service)),
    "geneve": ("geneve", geneve_ip),
    "geneve, options": (
        "geneve",
        over_udp(6081, b"\x02\0\x65\x58\0\0\x07\0" + b"\x01\x02\x80\x01" + bytes(4), tagged),
    ),
    "gtp": ("gtp", gtp(1, 2152)),
    "gtp, extension header": ("gtp", gtp_extended),
    "gtp on the control port": ("gtp", gtp(1, 2123)),
    "gtp version 0": ("gtp", gtp(0, 3386)),
    "l2tp": ("l2tp", l2tp(0, b"\0\7\0\x09")),
    "l2tp, numbered, with an offset": ("l2tp", l2tp(0x0A00, b"\0\7\0\x09" + bytes(4) + b"\0\x02\0\0")),
    "lisp": ("lisp", over_udp(4341, b"\xc0" + bytes(7), plain)),
    "capwap": ("capwap", over_udp(5247, b"\0\x10\x02\0" + bytes(4), ethernet)),
    "capwap, 802.11": (
        "capwap",
        over_udp(5247, b"\0\x10\x03\0" + bytes(4), partial(wifi, control=b"\x01\x08")),
    ),
    "tzsp": ("tzsp", over_udp(37008, b"\1\0\0\1\x0a\1\5\1", ethernet)),
    "tzsp, 802.11": ("tzsp", over_udp(37008, b"\1\0\0\x12\1", wifi)),
    "pim register": ("pim", over_ip(103, b"\x21\0\0\0" + bytes(4), plain)),
}
"""By name: what the engine calls it, and the function."""

TEREDO: Mapping[str, bytes] = {
    "teredo": b"",
    "teredo, origin": b"\0\0" + bytes(6),
    "teredo, authentication": b"\0\1\0\0" + bytes(9),
    "teredo, both": b"\0\1\2\2" + bytes(4 + 9) + b"\0\0" + bytes(6),
}
"""What may be before an IPv6 packet on port 3544, over IPv4."""


def snapped_relay(packet: bytes) -> bytes:
    """What follows the address of Frame Relay (RFC 2427)."""
    return b"\x03\0\x80\0\0\0" + pack(">H", kind_of(packet)) + packet


class Link(NamedTuple):
    """A link type and the frame of it around an IP packet."""

    linktype: int
    frame: Callable[[bytes], bytes]


def fabricpath(packet: bytes) -> bytes:
    """An Ethernet frame within Cisco FabricPath."""
    return ethernet(b"\x04\x01" + ethernet(pack(">HH", 7, kind_of(packet)) + packet, 0x8100), 0x8903)


def family(packet: bytes) -> bytes:
    """The address family of BSD as a byte."""
    return b"\x18" if packet[0] >> 4 == 6 else b"\x02"


LINKS: Mapping[str, Link] = {
    "ethernet": Link(1, ethernet),
    "802.1ad": Link(1, tagged),
    "802.1ah": Link(1, lambda p: ethernet(bytes(4) + tagged(p), 0x88E7)),
    "snap": Link(1, lambda p: ethernet(snap(p), len(p) + 8) if len(p) < 1400 else ethernet(p)),
    "fabricpath": Link(1, fabricpath),
    "trill": Link(1, lambda p: ethernet(b"\0\0" + bytes(4) + ethernet(p), 0x22F3)),
    "mpls": Link(1, lambda p: ethernet(LABEL + p, 0x8847)),
    "pseudowire": Link(1, lambda p: ethernet(LABEL + bytes(4) + bought(ethernet(p)), 0x8847)),
    "pppoe": Link(1, lambda p: ethernet(b"\x11\0\0\1" + pack(">H", len(p) + 2) + ppp(p)[2:], 0x8864)),
    "nsh": Link(1, lambda p: ethernet(service(p), 0x894F)),
    "macsec, not encrypted": Link(
        1, lambda p: ethernet(b"\x20" + bytes(13) + pack(">H", kind_of(p)) + p + bytes(16), 0x88E5)
    ),
    "null": Link(0, lambda p: family(p) + bytes(3) + p),
    "null, ppp": Link(0, ppp),
    "loop": Link(108, lambda p: bytes(3) + family(p) + p),
    "raw": Link(101, plain),
    "ppp": Link(9, ppp),
    "ppp with direction": Link(204, lambda p: b"\0" + ppp(p)),
    "hdlc": Link(104, lambda p: b"\x0f\0" + pack(">H", kind_of(p)) + p),
    "frame relay": Link(107, lambda p: b"\x18\x41" + snapped_relay(p)),
    "atm, llc": Link(100, snap),
    "atm, ip": Link(106, plain),
    "cooked": Link(113, lambda p: b"\0\0\0\1\0\6" + bytes(8) + pack(">H", kind_of(p)) + p),
    "cooked 2": Link(276, lambda p: pack(">H", kind_of(p)) + bytes(9) + b"\6" + bytes(8) + p),
    "802.11": Link(105, wifi),
    "radiotap": Link(127, lambda p: b"\0\0\x08\0\0\0\0\0" + wifi(p)),
    "ppi": Link(192, lambda p: b"\0\0\x08\0\x69\0\0\0" + wifi(p)),
    "avs": Link(163, lambda p: b"\x80\x21\x10\x01\0\0\0\x40" + bytes(56) + wifi(p)),
    "pf": Link(117, lambda p: b"\x3d" + family(p) + bytes(62) + p),
    "enc": Link(109, lambda p: family(p) + bytes(3) + bytes(8) + p),
}
