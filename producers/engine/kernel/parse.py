"""From a frame to a row of facts: the innermost IP packet's key, its transport's figures, and what carried it.

Ordinary TCP and UDP over IP over Ethernet, with one VLAN tag at most, is read in one step; everything else layer by
layer. Nothing here raises, whatever the bytes.
"""
# ruff: noqa: PLR0911, PLR0912, PLR0913, PLR0917, C901 - columns travel one by one; a branch for each protocol

import numpy as np
from numpy.typing import NDArray

from producers.compiled import entry, inner
from producers.engine.kernel.fragments import PIECE, Datagrams, Pieces, follow, new_datagrams, note
from producers.engine.kernel.ip import (
    DAMAGED,
    FIRST,
    LATER,
    NONE,
    network_layer,
    segment,
    tcp_layer,
    udp_layer,
)
from producers.engine.kernel.layout import FACTS, Kind
from producers.engine.kernel.links import IPV4, IPV6, find, keep_tag
from producers.engine.kernel.octets import (
    Buffer,
    Facts,
    long,
    number,
    octet,
    prefetch,
    short,
    spread,
    word,
)
from producers.engine.kernel.tunnels import inside, is_tunnel_port
from producers.engine.keys import TCP, UDP

__all__ = ["Datagrams", "new_datagrams", "parse"]

MAX_NESTING = 8

_MALFORMED = int(Kind.MALFORMED)
_ETHERNET = 1
_AHEAD, _CACHE_LINE = 8, 64
_BLANK = np.zeros(1, FACTS)
for _name in ("source_mac", "destination_mac", "transport", "payload", "slot"):
    _BLANK[_name] = -1


@entry
def parse(
    buffer: Buffer,
    offset: NDArray[np.int64],
    captured: NDArray[np.int64],
    wire: NDArray[np.int64],
    time_ns: NDArray[np.int64],
    interface: NDArray[np.int32],
    linktypes: NDArray[np.int32],
    facts: Facts,
    datagrams: Datagrams,
) -> None:
    """Fill a row of `facts` for each packet of a block; the fields of later stages become 0 (`slot` -1).

    The columns are those of `Block`, `linktypes` has the link type of each of its interfaces, `datagrams` comes from
    `new_datagrams` and goes from block to block. What is not IP keeps MAC addresses and VLAN ids only, what is
    malformed also the outermost addresses and the shard, as far as its IP header was captured.
    A later fragment has no transport header; its `payload` is the piece of the datagram that it carries.
    """
    pieces = np.empty(4 * MAX_NESTING, PIECE)
    count = number(0)  # an int64 as the counts that follow, or numba compiles what it goes to twice
    for index in range(len(offset)):
        if index + _AHEAD < len(offset):
            prefetch(buffer, offset[index + _AHEAD])
            prefetch(buffer, offset[index + _AHEAD] + _CACHE_LINE)
        facts[index] = _BLANK[0]
        start = offset[index]
        end = min(start + captured[index], len(buffer))
        linktype = number(linktypes[interface[index]])
        if linktype == _ETHERNET and _quick(buffer, start, end, facts, index):
            continue
        if count + MAX_NESTING >= len(pieces):
            pieces = _longer(pieces)
        count = _layers(linktype, buffer, start, end, start + wire[index], facts, index, pieces, count)
    if count:
        follow(pieces, count, time_ns, facts, datagrams)


@inner
def _quick(buffer: Buffer, start: int, end: int, facts: Facts, index: int) -> bool:
    """Whether this is an ordinary packet over Ethernet that was read in one step; else its row is as it was."""
    if end < start + 42:
        return False
    kind, at = short(buffer, start + 12), start + 14
    if kind == 0x8100:
        kind, at = short(buffer, start + 16), start + 18
    if kind == IPV4:
        if end < at + 28 or octet(buffer, at) != 0x45 or short(buffer, at + 6) & 0x3FFF:
            return False
        version, protocol, transport, length = 4, octet(buffer, at + 9), at + 20, short(buffer, at + 2) - 20
    elif kind == IPV6:
        if end < at + 48 or octet(buffer, at) >> 4 != 6:
            return False
        version, protocol, transport, length = 6, octet(buffer, at + 6), at + 40, short(buffer, at + 4)
    else:
        return False
    last = transport + length
    if protocol == TCP:
        if min(end, last) < transport + 20 or not tcp_layer(buffer, start, transport, last, facts, index):
            return False
    elif protocol == UDP:
        source, destination = short(buffer, transport), short(buffer, transport + 2)
        if length < 8 or is_tunnel_port(source) or is_tunnel_port(destination):
            return False
        udp_layer(buffer, start, transport, last, facts, index)
    else:
        return False
    facts[index].destination_mac = 0
    facts[index].source_mac = 6
    if at == start + 18:
        keep_tag(buffer, start + 14, facts, index)
    facts[index].depth = 1
    network_layer(version, protocol, buffer, at, facts, index)
    _outermost(version, buffer, at, facts, index)
    return True


@inner
def _layers(
    linktype: int,
    buffer: Buffer,
    start: int,
    end: int,
    wire_end: int,
    facts: Facts,
    index: int,
    pieces: Pieces,
    count: int,
) -> int:
    """Read one frame layer by layer; its pieces of datagrams are noted, `count` with them is returned."""
    kind, at = find(linktype, buffer, start, end, facts, index)
    if not kind:
        return count
    kind = _by_version(kind, buffer, at, end)
    piece, name = segment(kind, buffer, start, at, end, wire_end, facts, index)
    version = 4 if kind == IPV4 else 6
    if end >= at + (20 if version == 4 else 40) and octet(buffer, at) >> 4 == version:
        _outermost(version, buffer, at, facts, index)
    if piece == DAMAGED:
        facts[index].kind = _MALFORMED
        return count
    facts[index].depth = 1
    count = _keep_piece(piece, buffer, at, name, facts, index, pieces, count)
    for depth in range(MAX_NESTING):
        if piece == LATER:
            break
        tunnel, kind, at = _inside(buffer, start, end, facts, index)
        if not kind:
            break
        kind = _by_version(kind, buffer, at, end)
        piece, name = segment(kind, buffer, start, at, end, wire_end, facts, index)
        if piece == DAMAGED:
            break
        facts[index].depth = depth + 2
        if not facts[index].tunnel:
            facts[index].tunnel = tunnel
        count = _keep_piece(piece, buffer, at, name, facts, index, pieces, count)
    return count


@inner
def _by_version(kind: int, buffer: Buffer, at: int, end: int) -> int:
    """An EtherType, but IPv6's if it is IPv4's and the packet at `at` is of version 6."""
    if kind == IPV4 and at < end and octet(buffer, at) >> 4 == 6:
        return number(IPV6)
    return number(kind)


@inner
def _inside(buffer: Buffer, start: int, end: int, facts: Facts, index: int) -> tuple[int, int, int]:
    """What `tunnels.inside` finds in the packet of a row."""
    return inside(
        number(facts[index].protocol),
        number(facts[index].source_port),
        number(facts[index].destination_port),
        buffer,
        start + number(facts[index].payload),
        end,
        facts,
    )


@inner
def _keep_piece(
    piece: int, buffer: Buffer, at: int, name: int, facts: Facts, index: int, pieces: Pieces, count: int
) -> int:
    """Note the packet of a row if it is a piece of a datagram; return the count of pieces."""
    if piece == NONE:
        return count
    note(buffer, at, name, number(facts[index].version), piece == FIRST, index, pieces, count)
    return count + 1


@inner
def _outermost(version: int, buffer: Buffer, at: int, facts: Facts, index: int) -> None:
    """Take down the addresses of the frame's first IP packet and their hash."""
    facts[index].outer_version = version
    if version == 4:
        source, destination = np.uint64(word(buffer, at + 12)), np.uint64(word(buffer, at + 16))
        mixed = spread(source) + spread(destination)
    else:
        facts[index].outer_source_high = high = long(buffer, at + 8)
        source, destination = long(buffer, at + 16), long(buffer, at + 32)
        mixed = spread(spread(high) ^ source)
        facts[index].outer_destination_high = high = long(buffer, at + 24)
        mixed += spread(spread(high) ^ destination)
    facts[index].outer_source_low = source
    facts[index].outer_destination_low = destination
    facts[index].shard = max(number(mixed >> np.uint64(32)), 1)


@inner
def _longer(pieces: Pieces) -> Pieces:
    """The same pieces with room for as many again."""
    longer = np.empty(2 * len(pieces), PIECE)
    for piece in range(len(pieces)):  # a slice would take numba three seconds longer to compile
        longer[piece] = pieces[piece]
    return longer
