"""Finding a packet's flow: a hash table with open addressing (linear probing, deletion by moving back)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from producers.compiled import bare_entry, bare_inner
from producers.engine.kernel.octets import number
from producers.engine.kernel.table_rows import Table

ONE_WAY = 3
"""What FACTS calls `ported` for an ICMP message that is no query and no answer."""
_LOW = 0xFFFF_FFFF
_A, _B, _C = np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53), np.uint64(0x9E3779B97F4A7C15)
_SHIFT, _TOP = np.uint64(33), np.uint64(48)


@bare_inner
def _mixed(x: Any) -> Any:
    """MurmurHash3's finaliser: every bit of 64 changes half of the others."""
    x = (x ^ (x >> _SHIFT)) * _A
    x = (x ^ (x >> _SHIFT)) * _B
    return x ^ (x >> _SHIFT)


@bare_inner
def key_hash(seed: Any, facts: Any, packet: int) -> Any:
    """64 bits of a packet's key, the same for both directions unless the flow has only one."""
    row = facts[packet]
    source = _mixed(row.source_low ^ seed) + row.source_high
    destination = _mixed(row.destination_low ^ seed) + row.destination_high
    source = _mixed(source ^ (np.uint64(row.source_port) << _TOP))
    destination = _mixed(destination ^ (np.uint64(row.destination_port) << _TOP))
    if row.ported == ONE_WAY:
        source *= _C
    return _mixed(source + destination + np.uint64(row.protocol) * _C)


@bare_inner
def _tag(key: Any) -> int:
    """31 bits of a hash."""
    return number(key >> _SHIFT)


@bare_inner
def find(cells: NDArray[np.int64], flows: Any, facts: Any, packet: int, key: Any) -> int:
    """Twice the row of the packet's flow, plus 1 if its initiator sent the packet; -1 if there is none."""
    mask = len(cells) - 1
    tag = _tag(key)
    place = tag & mask
    wanted = facts[packet]
    while cells[place] != 0:
        if cells[place] >> 32 == tag:
            slot = number(cells[place] & _LOW) - 1
            row = flows[slot]
            if (
                row.protocol == wanted.protocol
                and row.version == wanted.version
                and (row.ported != 0) == (wanted.ported != 0)
            ):
                same = (
                    row.source_low == wanted.source_low
                    and row.destination_low == wanted.destination_low
                    and row.source_port == wanted.source_port
                    and row.destination_port == wanted.destination_port
                    and row.source_high == wanted.source_high
                    and row.destination_high == wanted.destination_high
                )
                across = (
                    wanted.ported != ONE_WAY
                    and row.source_low == wanted.destination_low
                    and row.destination_low == wanted.source_low
                    and row.source_port == wanted.destination_port
                    and row.destination_port == wanted.source_port
                    and row.source_high == wanted.destination_high
                    and row.destination_high == wanted.source_high
                )
                if same and across:  # it sends to itself: the direction is that of its first packet
                    return slot * 2 + 1 - number(row.backward)
                if same or across:
                    return slot * 2 + number(same)
        place = (place + 1) & mask
    return -1


@bare_inner
def insert(cells: NDArray[np.int64], key: Any, slot: int) -> None:
    """Add a row that is not there; the table is never full, see `grown`."""
    mask = len(cells) - 1
    tag = _tag(key)
    place = tag & mask
    while cells[place] != 0:
        place = (place + 1) & mask
    cells[place] = tag << 32 | (slot + 1)


@bare_inner
def remove(cells: NDArray[np.int64], key: Any, slot: int) -> None:
    """Take a row out, and move those after it that would no longer be found."""
    mask = len(cells) - 1
    tag = _tag(key)
    place = tag & mask
    while cells[place] != tag << 32 | (slot + 1):
        place = (place + 1) & mask
    cells[place] = 0
    at = (place + 1) & mask
    while cells[at] != 0:
        home = (cells[at] >> 32) & mask
        if ((at - home) & mask) >= ((at - place) & mask):
            cells[place] = cells[at]
            cells[at] = 0
            place = at
        at = (at + 1) & mask


@bare_entry
def rehash(old: NDArray[np.int64], new: NDArray[np.int64]) -> None:
    """Fill an empty index of another size with what is in `old`."""
    mask = len(new) - 1
    for cell in old:
        if cell != 0:
            place = (cell >> 32) & mask
            while new[place] != 0:
                place = (place + 1) & mask
            new[place] = cell


def grown(table: Table, flows: int) -> Table:
    """The same table with an index that stays half empty with so many flows."""
    size = len(table.cells)
    if 2 * flows <= size:
        return table
    while size < 2 * flows:
        size *= 2
    cells = np.zeros(size, np.int64)
    rehash(table.cells, cells)
    return table._replace(cells=cells)
