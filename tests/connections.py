"""TCP connections written by hand, and recorded packets with other ports."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from struct import pack, unpack_from

from producers.sources.packet import RawPacket
from tests.packets import ethernet, ip, pcap, read, tcp

TCP, UDP = 6, 17
FIRST_CLIENT = 52_001
_ETHERNET, _RAW, _COOKED = 1, 101, 113
_IPV4, _IPV6 = 0x0800, 0x86DD
_TAGS = (0x8100, 0x88A8)


def connection(*turns: bytes, port: int, client: int = 40_000, begun: bool = True) -> bytes:
    """A capture of one connection: the client's turn, the server's, and so on; an empty one is passed over.

    `begun`: it begins with a three-way handshake.
    """
    ends = (("192.0.2.1", client), ("192.0.2.2", port))
    sequence = [1001, 5001]
    packets = [(0, 1, b"", 2), (1, 0, b"", 18), (0, 1, b"", 16)] if begun else []
    packets += [(turn % 2, 1 - turn % 2, data, 24) for turn, data in enumerate(turns) if data]
    frames = []
    for place, (source, target, data, flags) in enumerate(packets):
        at = sequence[source] - (1 if flags & 2 else 0)
        segment = tcp(ends[source][1], ends[target][1], flags, at, data)
        packet = ethernet(ip(ends[source][0], ends[target][0], TCP, segment), swapped=source)
        frames.append((10**9 + place * 10**6, packet, len(packet)))
        sequence[source] += len(data)
    return pcap(frames)


def ported(source: Path, ports: Mapping[int, int], protocol: int = TCP) -> bytes:
    """A capture as pcap with other ports of a protocol, as `ports` maps them; checksums stay as they were."""
    packets = read(source.read_bytes())
    moved = [(each.time_ns, _ported(each, ports, protocol), each.wire_length) for each in packets]
    return pcap(moved, magic=0xA1B23C4D, linktype=packets[0].linktype)


def _ported(packet: RawPacket, ports: Mapping[int, int], protocol: int) -> bytes:
    data = bytearray(packet.data)
    at = _transport(data, packet.linktype, protocol)
    for place in (at, at + 2) if 0 <= at <= len(data) - 4 else ():
        (port,) = unpack_from(">H", data, place)
        data[place : place + 2] = pack(">H", ports.get(port, port))
    return bytes(data)


def _transport(data: bytes | bytearray, linktype: int, protocol: int) -> int:
    """Where the header of a transport protocol begins in a frame; -1 if there is none, or only a later fragment."""
    at, kind = 0, _IPV4 if data and data[0] >> 4 == 4 else _IPV6
    if linktype != _RAW:
        at = {_ETHERNET: 14, _COOKED: 16}.get(linktype, len(data))
        kind = int.from_bytes(data[at - 2 : at], "big")
        while kind in _TAGS:
            at += 4
            kind = int.from_bytes(data[at - 2 : at], "big")
    if kind == _IPV4 and len(data) >= at + 20 and data[at + 9] == protocol:
        offset = int.from_bytes(data[at + 6 : at + 8], "big") & 0x1FFF
        return -1 if offset else at + 4 * (data[at] & 15)
    return at + 40 if kind == _IPV6 and len(data) >= at + 40 and data[at + 6] == protocol else -1


def copies(source: Path, client: int, server: int, ports: Sequence[int]) -> bytes:
    """A connection of a capture once for each of the `ports` as its server's; the client's port counts up.

    Copies begin a second after each other. IPv4 or IPv6 on Ethernet.
    """
    whole = [
        each for each in read(source.read_bytes()) if _ends(each) in ((client, server), (server, client))
    ]
    moved = []
    for number, port in enumerate(ports):
        other = {client: FIRST_CLIENT + number, server: port}
        moved += [
            (each.time_ns + number * 10**9, _ported(each, other, TCP), each.wire_length) for each in whole
        ]
    return pcap(sorted(moved), magic=0xA1B23C4D, linktype=whole[0].linktype)


def _ends(packet: RawPacket) -> tuple[int, int]:
    at = _transport(packet.data, packet.linktype, TCP)
    return unpack_from(">HH", packet.data, at) if 0 <= at <= len(packet.data) - 4 else (0, 0)
