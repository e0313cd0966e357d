"""From a frame to what the flow table needs: the key and the transport's figures of its innermost IP packet.

Ordinary TCP and UDP over IPv4 over Ethernet is read in one step; everything else layer by layer. Neither
raises, whatever the bytes.
"""

from struct import Struct

from producers.engine.keys import TCP, UDP
from producers.engine.twin.ip import Fragment, Segment, segment
from producers.engine.twin.links import LINKS
from producers.engine.twin.network import Trace
from producers.engine.twin.tunnels import UDP_PORTS, inside

Parsed = tuple[bytes, int, int, int, int, tuple[Fragment, ...], int, int]
"""Key; TCP flags, sequence number, window; the payload's length on the wire; its fragments, outermost first;
TCP's acknowledgement number; TTL or hop limit."""

NOT_IP, MALFORMED = 0, 1
MAX_NESTING = 8

_ETHERNET, _FAST_LENGTH = 1, 54
# EtherType, version and header length, total length, fragment, protocol, addresses and ports,
# sequence and acknowledgement numbers, TCP header length, flags, window
_fast = Struct(">12xHBxHxxHBBxx12sIIBBH").unpack_from
_ports = Struct(">HH").unpack_from


def parse(linktype: int, data: bytes, wire_length: int) -> Parsed | int:
    """Read one frame; NOT_IP if it claims no IP packet, MALFORMED if that packet's headers do not parse."""
    if linktype == _ETHERNET and len(data) >= _FAST_LENGTH:
        kind, first, total, piece, ttl, protocol, ends, sequence, acked, words, flags, window = _fast(data)
        if kind == 0x0800 and first == 0x45 and not piece & 0x3FFF:
            if protocol == TCP:
                if total >= 40 and words >= 0x50:
                    length = total - 20 - (words >> 2 & 0x3C)
                    return b"\x06" + ends, flags, sequence, window, max(length, 0), (), acked, ttl
            elif protocol == UDP and total >= 28:
                source, destination = _ports(ends, 8)
                if source not in UDP_PORTS and destination not in UDP_PORTS:
                    return b"\x11" + ends, 0, 0, 0, total - 28, (), 0, ttl
    return trace(linktype, data, wire_length, None)


def trace(linktype: int, data: bytes, wire_length: int, notes: Trace | None) -> Parsed | int:
    """Read one frame layer by layer; `notes` takes down MAC addresses, VLAN ids and outer addresses."""
    link = LINKS.get(linktype)
    place = link(data, 0, notes) if link else (0, 0)
    if not place[0]:
        return NOT_IP
    outer = found = segment(place, data, wire_length)
    if found is None or outer is None:
        return MALFORMED
    fragments = (found.fragment,) if found.fragment else ()
    for _ in range(MAX_NESTING):
        deeper = _unwrap(found, data, wire_length)
        if deeper is None:
            break
        kind, found = deeper
        if notes is not None and notes.outer is None:
            notes.outer = (kind, outer.key)
        if found.fragment:
            fragments = (*fragments, found.fragment)
    figures = found.flags, found.sequence, found.window, found.length
    return (found.key, *figures, fragments, found.acknowledgement, found.ttl)


def _unwrap(outer: Segment, data: bytes, wire_length: int) -> tuple[str, Segment] | None:
    """The IP packet inside an IP packet and what carries it; None if there is none that can be read."""
    if outer.fragment and not outer.fragment.first:
        return None
    ports = _ports(outer.key, len(outer.key) - 4) if outer.protocol == UDP else (0, 0)
    found = inside(outer.protocol, ports, data, outer.payload)
    if found is None:
        return None
    inner = segment(found[1], data, wire_length)
    return (found[0], inner) if inner else None
