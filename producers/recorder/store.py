"""The ring on disk: segments up to a quota, the oldest deleted for the newest, flows to keep copied out before.

    FOLDER/segments/   the ring
    FOLDER/kept/       packets of kept flows, under the name of the segment they were in
    FOLDER/keep.ndjson what to keep (producers.recorder.keeping)
    FOLDER/lock        held by the one recorder that writes here

A segment is deleted only after its kept packets stand in `kept` with their index; where a crash came in between,
both are there, and the next start finishes the deletion.
"""

import fcntl
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from producers.recorder import index, numbers
from producers.recorder.index import IndexDamagedError, IndexFile, Table
from producers.recorder.keeping import Keeping
from producers.recorder.rebuilt import rebuilt
from producers.recorder.segment import (
    KEPT,
    SEGMENTS,
    Place,
    SegmentWriter,
    Words,
    copies,
    head_words,
    mapped,
    new_place,
    pick,
    places,
)
from producers.sources.packet import Interface
from producers.sources.write import preamble
from runtime.errors import UsageError

LOCK = "lock"
_MIN_QUOTA = 1 << 20
_QUOTA_SEGMENTS = 8  # a segment is at most this share of the quota, so that little goes at a time
_MAX_SEGMENT = 16 << 30  # what 32 bits of words reach
_SEGMENT_SECONDS = 900.0
_SECOND_NS = 10**9


class Limits(NamedTuple):
    """How much and how long: bytes of the ring and of what is kept, bytes of a segment, seconds (0: any age)."""

    quota_bytes: int
    kept_quota_bytes: int
    segment_bytes: int = 128 << 20
    max_age: float = 0.0

    def checked(self) -> "Limits":
        """The same with a segment that fits; raises UsageError where no ring can be kept to them."""
        if self.quota_bytes < _MIN_QUOTA:
            raise UsageError(
                f"recorder: a quota of {self.quota_bytes:,} bytes holds nothing",
                f"give NETFLIGHT_RECORDER__QUOTA at least {_MIN_QUOTA:,}",
            )
        largest = min(self.quota_bytes // _QUOTA_SEGMENTS, _MAX_SEGMENT)
        return self._replace(segment_bytes=min(max(self.segment_bytes, _MIN_QUOTA // 16), largest))

    @property
    def segment_ns(self) -> int:
        """How long a segment is written to, so that age is kept to closely and indexes are soon there."""
        seconds = min(_SEGMENT_SECONDS, self.max_age / _QUOTA_SEGMENTS or _SEGMENT_SECONDS)
        return int(seconds * _SECOND_NS)


class Piece(NamedTuple):
    """Packets to store: their blocks, where each begins, its flow's number and its time.

    Interface numbers in the blocks count through `interfaces`.
    """

    interfaces: Sequence[Interface]
    data: NDArray[np.uint8]
    positions: NDArray[np.int64]
    numbers: NDArray[np.uint64]
    time_ns: NDArray[np.int64]


class _Held(NamedTuple):
    place: Place
    bytes: int
    written_ns: int


class Store:
    """One writer's hold on a ring. Every call may raise OSError: then nothing of it was stored."""

    def __init__(
        self, folder: Path, limits: Limits, keeping: Keeping, clock: Callable[[], int] = time.time_ns
    ) -> None:
        """Take the ring in `folder`, which exists, and repair what a crash left.

        Raises UsageError where another recorder has it, OSError.
        """
        self._folder, self._limits, self._keeping, self._clock = folder, limits.checked(), keeping, clock
        self._lock = _lock(folder)
        self._writer: SegmentWriter | None = None
        self._interfaces = self._written_ns = 0
        try:
            for name in (SEGMENTS, KEPT):
                (folder / name).mkdir(exist_ok=True)
            ring, kept = folder / SEGMENTS, folder / KEPT
            # a copy without an index was not made to its end; a segment whose copy was, is to be deleted
            self._kept = deque(_take(kept, lambda at: not _good(at) and at.within(ring).path.exists()))
            self._ring = deque(_take(ring, lambda at: _good(at.within(kept)) is not None))
            self._ring_bytes = sum(held.bytes for held in self._ring)
            self._next = max((held.place.number for held in (*self._kept, *self._ring)), default=0) + 1
            self.tick()
        except BaseException:
            self._lock.close()
            raise

    @property
    def bytes(self) -> int:
        """What the ring takes on disk at most, without what is kept."""
        return self._ring_bytes + (self._writer.footprint() if self._writer else 0)

    @property
    def since_ns(self) -> int:
        """When the oldest segment was begun, in wall-clock time; now, where there is none."""
        if self._ring:
            return self._ring[0].place.begun_ns
        return self._writer.place.begun_ns if self._writer else self._clock()

    def append(self, piece: Piece) -> None:
        """Store packets, after room was made for them."""
        limits, packets = self._limits, len(piece.numbers)
        writer = self._writer
        if writer is not None and (
            writer.size + piece.data.nbytes > limits.segment_bytes or len(piece.interfaces) > self._interfaces
        ):
            self._finish()
        head = preamble(piece.interfaces) if self._writer is None else b""
        extra = piece.data.nbytes + len(head) + numbers.PIECE_BYTES + packets * numbers.PACKET_BYTES
        extra += index.index_bytes(packets, packets)
        while self._ring and self.bytes + extra > limits.quota_bytes:
            self._drop()
        if self._writer is None:
            place = new_place(self._folder / SEGMENTS, self._next, self._clock())
            self._writer = SegmentWriter(place, head)
            self._next += 1
            self._interfaces = len(piece.interfaces)
        self._writer.append(piece.data, piece.positions, piece.numbers, piece.time_ns)
        self._written_ns = self._clock()

    def tick(self) -> None:
        """What time brings: new lines of the journal, segments that are too old. Once a second is enough.

        Raises FileNotFoundError where the folder or the open segment was taken away.
        """
        (self._folder / SEGMENTS).stat()
        now_ns, writer = self._clock(), self._writer
        if writer is not None:
            if not writer.there():
                raise FileNotFoundError(2, "the segment being written was removed", str(writer.place.path))
            if writer.place.begun_ns <= now_ns - self._limits.segment_ns:
                self._finish()
        self._keeping.refresh()
        if self._limits.max_age:
            oldest_ns = now_ns - int(self._limits.max_age * _SECOND_NS)
            while self._ring and self._ring[0].written_ns < oldest_ns:
                self._drop()
        while (
            self._ring and self.bytes > self._limits.quota_bytes
        ):  # the quota was lowered since the last run
            self._drop()

    def close(self) -> None:
        """Finish the open segment and let go of the ring; the lock is free even where this raises OSError."""
        try:
            self._finish()
        finally:
            self._lock.close()

    def _finish(self) -> None:
        writer, self._writer = self._writer, None
        if writer is None:
            return
        held = _Held(writer.place, writer.finish(self._written_ns), self._written_ns)
        self._ring.append(held)
        self._ring_bytes += held.bytes

    def _drop(self) -> None:
        """Delete the oldest segment of the ring, after its flows to keep were copied."""
        held = self._ring[0]
        table = _table(held.place)
        wanted = list(self._keeping.matching(table))
        if wanted:
            self._save(held, table, wanted)
        held.place.remove()
        self._ring.popleft()
        self._ring_bytes -= held.bytes
        self._keeping.forget(self.since_ns)

    def _save(self, held: _Held, table: Table, wanted: list[tuple[Words, int, int]]) -> None:
        words = mapped(held.place.path, np.sort(np.concatenate([found for found, _, _ in wanted])))
        picked = [pick(words, *asked) for asked in wanted]
        starts = np.sort(np.concatenate([each.starts for each in picked])).astype(np.uint32)
        chosen = pick(words, starts, -(2**63), 2**63 - 1)
        head = words[: head_words(words)].tobytes()
        room = self._limits.kept_quota_bytes - len(head) - index.index_bytes(0, 0) - index.PAGE
        cost = np.cumsum(chosen.lengths * index.WORD + index.index_bytes(1, 1) - index.index_bytes(0, 0))
        fitting = int(np.searchsorted(cost, room, side="right"))
        if not fitting:
            return
        needed = self._limits.kept_quota_bytes - room + int(cost[fitting - 1])
        while self._kept and sum(kept.bytes for kept in self._kept) + needed > self._limits.kept_quota_bytes:
            self._kept.popleft().place.remove()
        chosen = chosen._replace(
            starts=chosen.starts[:fitting], lengths=chosen.lengths[:fitting], time_ns=chosen.time_ns[:fitting]
        )
        order = np.argsort(table.words)
        flows = np.repeat(table.numbers, table.starts[1:] - table.starts[:-1])[order]
        of_flows = flows[np.searchsorted(table.words[order], chosen.starts)]
        writer = SegmentWriter(held.place.within(self._folder / KEPT), head)
        try:
            for data, part in copies(words, chosen):
                lengths = chosen.lengths[part] * index.WORD
                starts_in = np.cumsum(lengths) - lengths
                writer.append(data.view(np.uint8), starts_in, of_flows[part], chosen.time_ns[part])
            size = writer.finish(held.written_ns)
        except OSError:
            writer.close()
            writer.place.remove()
            raise
        self._kept.append(_Held(writer.place, size, held.written_ns))


def _lock(folder: Path) -> IO[str]:
    """The folder's lock, held by this process until closed or ended."""
    file = (folder / LOCK).open("a+", encoding="ascii")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.seek(0)
        owner = file.read(20).strip()
        file.close()
        raise UsageError(
            f"{folder}: another recorder writes here" + (f" (process {owner})" if owner else ""),
            "one ring has one recorder; stop that one or give this one another folder",
        ) from error
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file


def _table(place: Place) -> Table:
    """A segment's index in memory; made anew where it is damaged."""
    try:
        with IndexFile(place.index) as found:
            return found.table()
    except (IndexDamagedError, FileNotFoundError):
        return rebuilt(place)[0]


def _take(folder: Path, superseded: Callable[[Place], bool]) -> Iterator[_Held]:
    """The segments in a folder; those without a good index cut to their last whole packet and indexed.

    Those that another folder has made superfluous are removed.
    """
    for leftover in folder.glob("*.part"):
        leftover.unlink()
    for place in places(folder):
        held = None if superseded(place) else _good(place) or _repaired(place)
        if held is None:
            place.remove()
        else:
            yield held
    for orphan in (*folder.glob("*.index"), *folder.glob("*.numbers")):
        segment = orphan.with_suffix(".pcapng")
        if not segment.exists() or (orphan.suffix == ".numbers" and segment.with_suffix(".index").exists()):
            orphan.unlink()


def _good(place: Place) -> _Held | None:
    try:
        totals = index.totals(place.index)
        if place.path.stat().st_size != totals.bytes:
            return None
    except (IndexDamagedError, FileNotFoundError):
        return None
    return _Held(place, totals.bytes + index.index_bytes(totals.packets, totals.flows), totals.written_ns)


def _repaired(place: Place) -> _Held | None:
    """Index a segment anew; None where it holds no packet."""
    table, whole = rebuilt(place)
    if not len(table.words):
        return None
    written_ns = place.path.stat().st_mtime_ns
    os.truncate(place.path, whole)
    held = _Held(place, whole + index.write(place.index, table, whole, written_ns), written_ns)
    place.numbers.unlink(missing_ok=True)
    return held
