"""The index of a segment: from a flow's number to where its packets stand, in 4 bytes a packet and 28 a flow.

A flow's number is the first 64 bits of its Community ID, so that the id alone finds the packets.

A file of columns, little-endian: the header, then of each flow, sorted by number, its number (u8), the times of its
first and last packet (i8) and where its positions begin (u4, one more for the end); the positions of all
packets (u4, in words of 4 bytes from the segment's first), flow by flow; at last a CRC-32 of each
page of 4,096 bytes of all this. A reader maps the file and checks the pages that it comes by, so that a lookup
reads a few pages of an index of any size and still meets no damage unseen.
"""

import base64
import binascii
import mmap
import os
import zlib
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from runtime.errors import NetflightError, UsageError

UNKNOWN = 0
"""The number of packets that are in no flow."""

WORD = 4
PAGE = 4096
_MAGIC = b"NFINDEX1"
_HEADER = np.dtype(
    [
        ("magic", "S8"),
        ("packets", "<u8"),
        ("flows", "<u8"),
        ("first_ns", "<i8"),
        ("last_ns", "<i8"),
        ("bytes", "<u8"),  # of the segment
        ("written_ns", "<i8"),  # the last packet, by the wall clock
        ("crc", "<u4"),  # of all before it
        ("reserved", "<u4"),
    ]
)
_FLOW_BYTES = 8 + 8 + 8 + 4


def flow_number(community_id: str) -> int:
    """The number of a Community ID (version 1); raises UsageError if it is none."""
    version, _, text = community_id.partition(":")
    try:
        digest = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        digest = b""
    if version != "1" or len(digest) != 20:
        raise UsageError(
            f"{community_id[:60]!r} is no Community ID",
            "it looks like 1:LQU9qZlK+B5F3KDmev6m5PMibrg=, as network.community_id of an event says",
        )
    return int.from_bytes(digest[:8], "big")


class IndexDamagedError(NetflightError):
    """An index file is not what was written; the segment itself still tells all of it."""


class Totals(NamedTuple):
    """What a segment holds: packets, flows, first and last packet's time, bytes, when it was last written to."""

    packets: int
    flows: int
    first_ns: int
    last_ns: int
    bytes: int
    written_ns: int


class Found(NamedTuple):
    """A flow in a segment: times of its first and last packet, positions of its packets in words, ascending."""

    first_ns: int
    last_ns: int
    words: NDArray[np.uint32]


class Table(NamedTuple):
    """An index in memory; `starts` has one entry more than there are flows."""

    numbers: NDArray[np.uint64]
    first_ns: NDArray[np.int64]
    last_ns: NDArray[np.int64]
    starts: NDArray[np.uint32]
    words: NDArray[np.uint32]

    def find(self, number: int) -> Found | None:
        """The packets of a flow, None if it has none here."""
        place = int(np.searchsorted(self.numbers, np.uint64(number)))
        if place == len(self.numbers) or self.numbers[place] != number:
            return None
        words = self.words[self.starts[place] : self.starts[place + 1]]
        return Found(int(self.first_ns[place]), int(self.last_ns[place]), np.sort(words))

    def span(self) -> tuple[int, int]:
        """The times of the first and the last packet; 0, 0 of an empty one."""
        return (int(self.first_ns.min()), int(self.last_ns.max())) if len(self.numbers) else (0, 0)


def build(numbers: NDArray[np.uint64], words: NDArray[np.uint32], time_ns: NDArray[np.int64]) -> Table:
    """The index of packets: the number of each one's flow, its position in words, its time."""
    order = np.argsort(numbers)
    ordered, times = numbers[order], time_ns[order]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1]))) if len(order) else order
    return Table(
        ordered[starts],
        np.minimum.reduceat(times, starts) if len(starts) else times,
        np.maximum.reduceat(times, starts) if len(starts) else times,
        np.append(starts, len(order)).astype(np.uint32),
        words[order],
    )


def index_bytes(packets: int, flows: int) -> int:
    """The size of the index file of so many packets of so many flows."""
    body = _HEADER.itemsize + flows * _FLOW_BYTES + WORD + packets * WORD
    return body + -(-body // PAGE) * WORD


def write(path: Path, table: Table, segment_bytes: int, written_ns: int) -> int:
    """Write the file, whole or not at all; returns its size in bytes, raises OSError."""
    header = np.zeros(1, dtype=_HEADER)
    first_ns, last_ns = table.span()
    row: Any = header[0]
    row["magic"], row["packets"], row["flows"] = _MAGIC, len(table.words), len(table.numbers)
    row["first_ns"], row["last_ns"], row["bytes"], row["written_ns"] = (
        first_ns,
        last_ns,
        segment_bytes,
        written_ns,
    )
    row["crc"] = _header_crc(header.tobytes())
    kinds = ("<u8", "<i8", "<i8", "<u4", "<u4")
    columns = [np.asarray(column, dtype=kind).tobytes() for column, kind in zip(table, kinds, strict=True)]
    body = b"".join((header.tobytes(), *columns))
    sums = np.array([zlib.crc32(body[at : at + PAGE]) for at in range(0, len(body), PAGE)], dtype="<u4")
    draft = path.with_name(path.name + ".part")
    try:
        with draft.open("wb") as file:
            file.write(body)
            file.write(sums.tobytes())
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
    return len(body) + sums.nbytes


def totals(path: Path) -> Totals:
    """What the header says; raises IndexDamagedError, or OSError where there is no such file."""
    with path.open("rb") as file:
        return _totals(path, file.read(_HEADER.itemsize), os.fstat(file.fileno()).st_size)


class IndexFile:
    """An index file, mapped; every page is checked before it is believed."""

    def __init__(self, path: Path) -> None:
        """Open it; raises IndexDamagedError if it is cut or its header wrong, OSError if it is not there."""
        self._path = path
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size < _HEADER.itemsize:
                raise _damaged(path)
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._map.madvise(mmap.MADV_RANDOM)
        self.totals = _totals(path, self._map[: _HEADER.itemsize], size)
        flows, packets = self.totals.flows, self.totals.packets
        self._numbers = _HEADER.itemsize
        self._first = self._numbers + 8 * flows
        self._last = self._first + 8 * flows
        self._starts = self._last + 8 * flows
        self._words = self._starts + 4 * (flows + 1)
        self._sums = self._words + 4 * packets
        self._good: set[int] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._map.close()

    def find(self, number: int) -> Found | None:
        """The packets of a flow, None if it has none here; raises IndexDamagedError."""
        low, high = 0, self.totals.flows
        while low < high:
            middle = (low + high) // 2
            if self._one(self._numbers + 8 * middle, "<u8") < number:
                low = middle + 1
            else:
                high = middle
        if low == self.totals.flows or self._one(self._numbers + 8 * low, "<u8") != number:
            return None
        start, end = self._one(self._starts + 4 * low, "<u4"), self._one(self._starts + 4 * low + 4, "<u4")
        words = self._read(self._words + 4 * start, 4 * (end - start), "<u4")
        return Found(
            self._one(self._first + 8 * low, "<i8"), self._one(self._last + 8 * low, "<i8"), np.sort(words)
        )

    def table(self) -> Table:
        """All of it, in memory; raises IndexDamagedError."""
        flows = self.totals.flows
        self._map.madvise(mmap.MADV_WILLNEED)
        return Table(
            self._read(self._numbers, 8 * flows, "<u8"),
            self._read(self._first, 8 * flows, "<i8"),
            self._read(self._last, 8 * flows, "<i8"),
            self._read(self._starts, 4 * (flows + 1), "<u4"),
            self._read(self._words, 4 * self.totals.packets, "<u4"),
        )

    def _one(self, start: int, kind: str) -> int:
        return int(self._read(start, int(kind[2:]), kind)[0])

    def _read(self, start: int, length: int, kind: str) -> NDArray[Any]:
        for page in range(start // PAGE, -(-(start + length) // PAGE)):
            if page not in self._good:
                end = min((page + 1) * PAGE, self._sums)
                told = self._map[self._sums + WORD * page : self._sums + WORD * page + WORD]
                if zlib.crc32(self._map[page * PAGE : end]) != int.from_bytes(told, "little"):
                    raise _damaged(self._path)
                self._good.add(page)
        return np.frombuffer(self._map[start : start + length], dtype=kind)


def _header_crc(header: bytes) -> int:
    return zlib.crc32(header[:-8])


def _totals(path: Path, header: bytes, size: int) -> Totals:
    if len(header) < _HEADER.itemsize or not header.startswith(_MAGIC):
        raise _damaged(path)
    row = np.frombuffer(header, dtype=_HEADER)[0]
    if int(row["crc"]) != _header_crc(header):
        raise _damaged(path)
    found = Totals(*(int(row[name]) for name in Totals._fields))
    if size != index_bytes(found.packets, found.flows):
        raise _damaged(path)
    return found


def _damaged(path: Path) -> IndexDamagedError:
    return IndexDamagedError(
        f"{path}: damaged index", "its segment is read instead; remove the file to be rid of it"
    )
