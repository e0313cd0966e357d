"""Fragments of IP datagrams: only the first tells the ports, the others follow it into its flow.

A first fragment that comes late is looked for in the rest of the block. One that never comes leaves the others in a
flow of their protocol without ports.
"""
# ruff: noqa: PLR0913, PLR0917, FBT001 - columns and figures travel one by one

import os
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from producers.compiled import inner
from producers.engine.kernel.layout import FACTS
from producers.engine.kernel.octets import Buffer, Facts, long, number, octet, short, spread, word

MAX_DATAGRAMS = 4_096
LIFETIME_NS = 30_000_000_000
"""RFC 8200 gives a datagram a minute to arrive, Linux half of that; identifications are used again after."""

PIECE = np.dtype(
    [
        # the datagram's name
        ("source_high", "u8"),
        ("source_low", "u8"),
        ("destination_high", "u8"),
        ("destination_low", "u8"),
        ("identification", "u4"),
        ("protocol", "u1"),
        ("version", "u1"),
        ("first", "u1"),
        # the packet it was seen in, and what chains pieces of one hash, -1: none
        ("packet", "i4"),
        ("next", "i4"),
        # a remembered datagram's neighbours by age, -1: none, and when it began
        ("older", "i4"),
        ("newer", "i4"),
        ("time_ns", "i8"),
    ],
    align=True,
)
"""A piece of a datagram in a block, or a datagram that is remembered."""

Pieces = NDArray[Any]
_OLDEST, _NEWEST, _COUNT = 0, 1, 2
_HEADS = 8_192


class Datagrams(NamedTuple):
    """The flows of datagrams whose first fragment was seen, the memory of `parse` from block to block.

    A row of `facts` holds the key of the datagram in the same row of `pieces`; `heads` begins the chain of each hash,
    `ends` has the oldest and the newest row and how many there are. `seed` is another each time: packets that were
    made to have one hash stay cheap.
    """

    pieces: Pieces
    facts: Facts
    heads: NDArray[np.int32]
    ends: NDArray[np.int32]
    seed: NDArray[np.uint64]


def new_datagrams() -> Datagrams:
    """Memory for MAX_DATAGRAMS datagrams, about 1 MiB, empty."""
    return Datagrams(
        np.zeros(MAX_DATAGRAMS, PIECE),
        np.zeros(MAX_DATAGRAMS, FACTS),
        np.full(_HEADS, -1, np.int32),
        np.array([-1, -1, 0], np.int32),
        np.frombuffer(bytearray(os.urandom(8)), np.uint64),
    )


@inner
def note(
    buffer: Buffer, at: int, name: int, version: int, first: bool, packet: int, pieces: Pieces, count: int
) -> None:
    """Write down that the IP packet at `at` is a piece; `name` is where IPv4's or the fragment's header is."""
    pieces[count].version = version
    pieces[count].first = first
    pieces[count].packet = packet
    if version == 4:
        pieces[count].protocol = octet(buffer, name + 9)
        pieces[count].identification = short(buffer, name + 4)
        pieces[count].source_high = np.uint64(0)
        pieces[count].source_low = np.uint64(word(buffer, at + 12))
        pieces[count].destination_high = np.uint64(0)
        pieces[count].destination_low = np.uint64(word(buffer, at + 16))
    else:
        pieces[count].protocol = octet(buffer, name)
        pieces[count].identification = word(buffer, name + 4)
        pieces[count].source_high = long(buffer, at + 8)
        pieces[count].source_low = long(buffer, at + 16)
        pieces[count].destination_high = long(buffer, at + 24)
        pieces[count].destination_low = long(buffer, at + 32)


@inner
def follow(
    pieces: Pieces, count: int, time_ns: NDArray[np.int64], facts: Facts, datagrams: Datagrams
) -> None:
    """Give later fragments the key of their datagram's flow; `pieces` are the block's, `count` of them."""
    ahead = np.empty(0, np.int32)
    begin = number(0)
    while begin < count:
        packet = number(pieces[begin].packet)
        after = _after_packet(pieces, begin, count)
        told = pieces[after - 1].first == 1
        if not told:
            row = _find(pieces, after - 1, datagrams.pieces, datagrams.heads, datagrams.seed[0])
            if row >= 0 and _near(time_ns[packet], datagrams.pieces[row].time_ns):
                told = _take_key(datagrams.facts, row, facts, packet)
            else:
                if len(ahead) == 0:
                    ahead = _look_ahead(pieces, count, datagrams.seed[0])
                row = _find(pieces, after - 1, pieces, ahead, datagrams.seed[0])
                if row >= 0 and _near(time_ns[packet], time_ns[pieces[row].packet]):
                    told = _take_key(facts, number(pieces[row].packet), facts, packet)
        if told:
            for piece in range(begin, after):
                if pieces[piece].first == 1:
                    _remember(pieces, piece, time_ns[packet], facts, packet, datagrams)
        begin = after


@inner
def _look_ahead(pieces: Pieces, count: int, seed: np.uint64) -> NDArray[np.int32]:
    """Chains of the datagrams that begin in this block, the first of each name alone."""
    size = 16
    while size < 2 * count:
        size *= 2
    heads = np.empty(size, np.int32)
    for head in range(size):
        heads[head] = -1
    begin = number(0)
    while begin < count:
        after = _after_packet(pieces, begin, count)
        if pieces[after - 1].first == 1:
            for piece in range(begin, after):
                if _find(pieces, piece, pieces, heads, seed) < 0:
                    _chain(pieces, piece, heads, seed)
        begin = after
    return heads


@inner
def _after_packet(pieces: Pieces, begin: int, count: int) -> int:
    """Where the pieces of the next packet begin."""
    after = begin + 1
    while after < count and pieces[after].packet == pieces[begin].packet:
        after += 1
    return after


@inner
def _near(left_ns: int, right_ns: int) -> bool:
    """Whether two times, of whatever size, are no further apart than a datagram lives."""
    apart = np.uint64(max(left_ns, right_ns)) - np.uint64(min(left_ns, right_ns))
    return bool(apart <= np.uint64(LIFETIME_NS))


@inner
def _hash(pieces: Pieces, piece: int, seed: np.uint64) -> int:
    """A hash of a datagram's name, 0 or more, that nobody outside can choose."""
    value = spread(seed ^ pieces[piece].source_low)
    value = spread(value ^ pieces[piece].destination_low)
    if pieces[piece].version == 6:
        value = spread(value ^ pieces[piece].source_high)
        value = spread(value ^ pieces[piece].destination_high)
    return number(spread(value ^ np.uint64(pieces[piece].identification)) >> np.uint64(32))


@inner
def _chain(pieces: Pieces, piece: int, heads: NDArray[np.int32], seed: np.uint64) -> None:
    """Put a piece before the others of its hash."""
    head = _hash(pieces, piece, seed) & (len(heads) - 1)
    pieces[piece].next = heads[head]
    heads[head] = piece


@inner
def _find(pieces: Pieces, piece: int, known: Pieces, heads: NDArray[np.int32], seed: np.uint64) -> int:
    """The row of `known` with the name of `piece`, -1: none."""
    row = number(heads[_hash(pieces, piece, seed) & (len(heads) - 1)])
    while row >= 0:
        if (
            known[row].source_low == pieces[piece].source_low
            and known[row].destination_low == pieces[piece].destination_low
            and known[row].source_high == pieces[piece].source_high
            and known[row].destination_high == pieces[piece].destination_high
            and known[row].identification == pieces[piece].identification
            and known[row].protocol == pieces[piece].protocol
            and known[row].version == pieces[piece].version
        ):
            return row
        row = number(known[row].next)
    return number(-1)


@inner
def _take_key(source: Facts, row: int, facts: Facts, packet: int) -> bool:
    """Copy a flow's key to a packet's row; whether it is another than the packet's own."""
    other = (
        facts[packet].protocol != source[row].protocol
        or facts[packet].version != source[row].version
        or facts[packet].ported != source[row].ported
        or facts[packet].source_port != source[row].source_port
        or facts[packet].destination_port != source[row].destination_port
        or facts[packet].source_high != source[row].source_high
        or facts[packet].source_low != source[row].source_low
        or facts[packet].destination_high != source[row].destination_high
        or facts[packet].destination_low != source[row].destination_low
    )
    _copy_key(source, row, facts, packet)
    return bool(other)


@inner
def _copy_key(source: Facts, row: int, facts: Facts, packet: int) -> None:
    facts[packet].depth = source[row].depth
    facts[packet].protocol = source[row].protocol
    facts[packet].version = source[row].version
    facts[packet].ported = source[row].ported
    facts[packet].source_port = source[row].source_port
    facts[packet].destination_port = source[row].destination_port
    facts[packet].source_high = source[row].source_high
    facts[packet].source_low = source[row].source_low
    facts[packet].destination_high = source[row].destination_high
    facts[packet].destination_low = source[row].destination_low


@inner
def _remember(
    pieces: Pieces, piece: int, time_ns: int, facts: Facts, packet: int, datagrams: Datagrams
) -> None:
    """Keep a datagram's key as the newest one; past MAX_DATAGRAMS the oldest is forgotten."""
    known, heads, ends, seed = datagrams.pieces, datagrams.heads, datagrams.ends, datagrams.seed[0]
    row = _find(pieces, piece, known, heads, seed)
    if row >= 0:
        _unlink(known, row, ends)
    else:
        if ends[_COUNT] < MAX_DATAGRAMS:
            row = number(ends[_COUNT])
            ends[_COUNT] += 1
        else:
            row = number(ends[_OLDEST])
            _unlink(known, row, ends)
            _unchain(known, row, heads, seed)
        known[row] = pieces[piece]
        _chain(known, row, heads, seed)
    known[row].time_ns = time_ns
    _copy_key(facts, packet, datagrams.facts, row)
    known[row].older = ends[_NEWEST]
    known[row].newer = -1
    if ends[_NEWEST] >= 0:
        known[ends[_NEWEST]].newer = row
    else:
        ends[_OLDEST] = row
    ends[_NEWEST] = row


@inner
def _unlink(known: Pieces, row: int, ends: NDArray[np.int32]) -> None:
    """Take a row out of the order of age."""
    older, newer = known[row].older, known[row].newer
    if older >= 0:
        known[older].newer = newer
    else:
        ends[_OLDEST] = newer
    if newer >= 0:
        known[newer].older = older
    else:
        ends[_NEWEST] = older


@inner
def _unchain(known: Pieces, row: int, heads: NDArray[np.int32], seed: np.uint64) -> None:
    """Take a row out of the chain of its hash."""
    head = _hash(known, row, seed) & (len(heads) - 1)
    if heads[head] == row:
        heads[head] = known[row].next
        return
    before = heads[head]
    while known[before].next != row:
        before = known[before].next
    known[before].next = known[row].next
