"""A segment: a pcapng file of the ring (one section, little-endian, its interfaces at its head) with its index.

`NUMBER-TIME.pcapng`: the number rises by one, the time is when it was begun. While a segment is being written, or
after a crash, its `.index` is not there: what the file holds up to its last whole packet is valid all the same.
"""

import mmap
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from producers.recorder import index
from producers.recorder.numbers import PACKET_BYTES, PIECE_BYTES, piece

Words = NDArray[np.uint32]
_SECTION, _INTERFACE, _PACKET = 0x0A0D0D0A, 1, 6
_MIN_PACKET_WORDS = 8
_GAP_PAGES = 8  # read as well when what is around is read: cheaper than reading twice
_COPY_WORDS = 1 << 21  # copied at a time, so that a flow of gigabytes takes no memory
SEGMENTS, KEPT = "segments", "kept"
"""The folders of a ring: segments one after the other, and what outlives them."""

_NO_WORDS = np.empty(0, dtype=np.uint32)
_NAME = re.compile(r"(\d{10})-(\d{8}T\d{6}Z)\.pcapng")
_TIME = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True, order=True)
class Place:
    """Where a segment is; `number` orders them, `begun_ns` is wall-clock time, to the second."""

    number: int
    begun_ns: int
    path: Path

    @property
    def index(self) -> Path:
        """Where its index is, if it is finished."""
        return self.path.with_suffix(".index")

    @property
    def numbers(self) -> Path:
        """Where the numbers of its packets' flows are while it has no index."""
        return self.path.with_suffix(".numbers")

    def within(self, folder: Path) -> "Place":
        """The same segment in another folder."""
        return replace(self, path=folder / self.path.name)

    def remove(self) -> None:
        """Delete its files; one that is not there is fine."""
        self.path.unlink(missing_ok=True)
        self.numbers.unlink(missing_ok=True)
        self.index.unlink(missing_ok=True)


def new_place(folder: Path, number: int, begun_ns: int) -> Place:
    """The place of a segment that is begun now."""
    begun = datetime.fromtimestamp(begun_ns // 10**9, UTC)
    return Place(number, begun_ns, folder / f"{number:010d}-{begun.strftime(_TIME)}.pcapng")


def places(folder: Path) -> list[Place]:
    """The segments in a folder, oldest first; none where there is no such folder."""
    try:
        names = [path.name for path in folder.iterdir()]
    except FileNotFoundError:
        return []
    found = []
    for name in names:
        if match := _NAME.fullmatch(name):
            begun = datetime.strptime(match[2], _TIME).replace(tzinfo=UTC)
            found.append(Place(int(match[1]), int(begun.timestamp()) * 10**9, folder / name))
    return sorted(found)


class SegmentWriter:
    """Writes a segment; what stands in the file are whole blocks at any time, or the call raised OSError."""

    def __init__(self, place: Place, head: bytes) -> None:
        """Begin it with its section header and interfaces; raises OSError."""
        self.place, self.size, self.packets = place, 0, 0
        self._numbers: list[NDArray[np.uint64]] = []
        self._words: list[Words] = []
        self._times: list[NDArray[np.int64]] = []
        self._file = _created(place.path)
        self._beside, self._beside_size = -1, 0
        try:
            self._beside = _created(place.numbers)
            self._write(memoryview(head))
        except OSError:
            self.close()
            place.remove()
            raise

    def append(
        self,
        data: NDArray[np.uint8],
        positions: NDArray[np.int64],
        numbers: NDArray[np.uint64],
        time_ns: NDArray[np.int64],
    ) -> None:
        """Add packet blocks: where each begins in `data`, the number of its flow, its time; raises OSError."""
        words = ((positions + self.size) // index.WORD).astype(np.uint32)
        beside = piece(numbers, words, (self.size + data.nbytes) // index.WORD)
        _write_all(self._beside, memoryview(beside), self._beside_size)
        try:
            self._write(data.data)
        except OSError:
            _cut(self._beside, self._beside_size)
            raise
        self._beside_size += len(beside)
        self._words.append(words)
        self._numbers.append(numbers)
        self._times.append(time_ns)
        self.packets += len(numbers)

    def footprint(self, packets: int = 0) -> int:
        """Bytes on disk that it and its index take at most, with so many packets more."""
        more = packets * PACKET_BYTES + PIECE_BYTES if packets else 0
        packets += self.packets
        return self.size + self._beside_size + more + index.index_bytes(packets, packets)

    def there(self) -> bool:
        """Whether the file still stands under its name."""
        try:
            return os.path.samestat(self.place.path.stat(), os.fstat(self._file))
        except FileNotFoundError:
            return False

    def finish(self, written_ns: int) -> int:
        """Write the index and close; returns the size of both files. Raises OSError: then it has no index yet."""
        try:
            table = index.build(
                np.concatenate(self._numbers or [np.empty(0, np.uint64)]),
                np.concatenate(self._words or [np.empty(0, np.uint32)]),
                np.concatenate(self._times or [np.empty(0, np.int64)]),
            )
            size = self.size + index.write(self.place.index, table, self.size, written_ns)
            self.place.numbers.unlink(missing_ok=True)
            return size
        finally:
            self.close()

    def close(self) -> None:
        """Close the files as they stand, without an index."""
        for file in (self._file, self._beside):
            if file >= 0:
                os.close(file)
        self._file = self._beside = -1

    def _write(self, data: memoryview) -> None:
        _write_all(self._file, data, self.size)
        self.size += len(data)


def _created(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)


def _write_all(file: int, data: memoryview, size: int) -> None:
    """Add to a file of `size` bytes, all or nothing."""
    done = 0
    try:
        while done < len(data):
            done += os.write(file, data[done:])
    except OSError:
        _cut(file, size)
        raise


def _cut(file: int, size: int) -> None:
    os.ftruncate(file, size)
    os.lseek(file, size, os.SEEK_SET)


def mapped(path: Path, positions: Words) -> Words:
    """The words of a finished segment, mapped, to read packets at ascending `positions`; raises OSError.

    What of it is not in memory is read ahead around those packets and nowhere else: a flow's few packets would
    have the kernel read most of a segment otherwise.
    """
    with path.open("rb") as file:
        whole = os.fstat(file.fileno()).st_size // index.WORD
        if not whole:
            return _NO_WORDS
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    data.madvise(mmap.MADV_RANDOM)
    pages = np.unique(positions[positions < whole] // (mmap.PAGESIZE // index.WORD)).astype(np.int64)
    runs = np.split(pages, np.flatnonzero(np.diff(pages) > _GAP_PAGES) + 1) if len(pages) else []
    for run in runs:
        first, last = int(run[0]) * mmap.PAGESIZE, (int(run[-1]) + 2) * mmap.PAGESIZE
        data.madvise(mmap.MADV_WILLNEED, first, min(last, len(data)) - first)
    return np.frombuffer(data, dtype="<u4", count=whole)


def loaded(path: Path) -> Words:
    """The words of a segment that may be cut while it is read, in memory; raises OSError."""
    return np.fromfile(path, dtype="<u4")


def head_words(words: Words) -> int:
    """How many words the section header and the interfaces take; 0 where there is no whole header."""
    at = 0
    while at + 3 <= len(words) and words[at] == (_INTERFACE if at else _SECTION):
        length = int(words[at + 1]) // index.WORD
        if length < 3 or at + length > len(words):
            break
        at += length
    return at


def linktypes(words: Words) -> list[int]:
    """The link types of the interfaces at a segment's head."""
    found, end = [], head_words(words)
    at = int(words[1]) // index.WORD if end else 0
    while at < end:
        found.append(int(words[at + 2]) & 0xFFFF)
        at += int(words[at + 1]) // index.WORD
    return found


class Picked(NamedTuple):
    """Packets of a segment: their positions and lengths in words, their times, and how many were not readable."""

    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    time_ns: NDArray[np.int64]
    damaged: int


def pick(words: Words, positions: Words, from_ns: int, to_ns: int) -> Picked:
    """The packets at `positions` whose time is in the span, both ends included."""
    asked = len(positions)
    starts = positions[positions + np.uint64(_MIN_PACKET_WORDS) <= np.uint64(len(words))].astype(np.int64)
    lengths = words[starts + 1].astype(np.int64) // index.WORD
    ends = starts + lengths
    good = (words[starts] == _PACKET) & (lengths >= _MIN_PACKET_WORDS) & (ends <= len(words))
    good[good] = words[ends[good] - 1] == words[starts[good] + 1]
    starts, lengths = starts[good], lengths[good]
    damaged = asked - len(starts)
    times = words[starts + 3].astype(np.int64) << 32 | words[starts + 4].astype(np.int64)
    inside = (times >= from_ns) & (times <= to_ns)
    return Picked(starts[inside], lengths[inside], times[inside], damaged)


def copies(words: Words, picked: Picked) -> Iterator[tuple[Words, slice]]:
    """The blocks of picked packets one after the other, in pieces: the words, and which packets they are."""
    first, count = 0, len(picked.starts)
    ends = np.cumsum(picked.lengths)
    while first < count:
        before = int(ends[first - 1]) if first else 0
        last = max(int(np.searchsorted(ends, before + _COPY_WORDS, side="right")), first + 1)
        lengths = picked.lengths[first:last]
        into = np.cumsum(lengths) - lengths
        place = np.repeat(picked.starts[first:last] - into, lengths)
        place += np.arange(len(place))
        yield words[place], slice(first, last)
        first = last
