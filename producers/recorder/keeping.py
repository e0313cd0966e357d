"""What outlives the ring: flows that somebody asked to keep, as lines of a journal in its folder.

A line is a JSON object: `community_id`, `from` and `to` (nanoseconds since 1970, of packets), `made` (wall clock).
Anybody may append one while a recorder runs; it reads new lines once a second. A line is spent a day after the
ring has moved past both the time it was made and the end of its span.
"""

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
import orjson

from producers.recorder.index import Table, flow_number
from producers.recorder.segment import Words
from runtime.errors import UsageError

JOURNAL = "keep.ndjson"
_GRACE_NS = 86_400 * 10**9
_SPENT_LINES = 10_000
_LIMIT = 2**63 - 1


class Keep(NamedTuple):
    """A flow's packets from one time to another are to be kept; when that was asked."""

    community_id: str
    from_ns: int
    to_ns: int
    made_ns: int

    def line(self) -> bytes:
        """Its line in the journal."""
        return orjson.dumps(
            {"community_id": self.community_id, "from": self.from_ns, "to": self.to_ns, "made": self.made_ns},
            option=orjson.OPT_APPEND_NEWLINE,
        )


def append(folder: Path, keep: Keep) -> None:
    """Add a line to the journal in a ring's folder; raises UsageError for a wrong id, OSError."""
    flow_number(keep.community_id)
    with _locked(folder / JOURNAL) as file:
        torn = False
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            torn = file.read() != b"\n"
        file.write(b"\n" * torn + keep.line())


def kept_ids(folder: Path) -> list[Keep]:
    """What the journal asks for, in its order."""
    try:
        data = (folder / JOURNAL).read_bytes()
    except FileNotFoundError:
        return []
    return [keep for line in data.splitlines() if (keep := _read(line)) is not None]


class Keeping:
    """The journal as a recorder reads it. `add` may be called from any thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._keeps: dict[int, Keep] = {}
        self._inode, self._offset, self._lines = 0, 0, 0

    def add(self, keep: Keep) -> None:
        """Keep a flow; it is held in memory even where the journal cannot be written, which raises OSError."""
        number = flow_number(keep.community_id)
        with self._lock:
            known = self._keeps.get(number)
            if known and _covers(known, keep):
                return
            self._merge(number, keep)
        append(self._folder, keep)

    def refresh(self) -> None:
        """Read what was appended since; raises OSError."""
        path = self._folder / JOURNAL
        try:
            state = path.stat()
        except FileNotFoundError:
            return
        if state.st_ino != self._inode:
            self._inode, self._offset, self._lines = state.st_ino, 0, 0
        if state.st_size <= self._offset:
            return
        with path.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        whole = data.rfind(b"\n") + 1
        self._offset += whole
        with self._lock:
            for line in data[:whole].splitlines():
                self._lines += 1
                keep = _read(line)
                if keep is not None:
                    self._merge(flow_number(keep.community_id), keep)

    def forget(self, oldest_ns: int) -> None:
        """Drop what is spent for a ring whose oldest segment was begun at `oldest_ns`; raises OSError."""
        with self._lock:
            self._keeps = {
                number: keep
                for number, keep in self._keeps.items()
                if max(keep.made_ns, min(keep.to_ns, _LIMIT - _GRACE_NS)) + _GRACE_NS >= oldest_ns
            }
            left = len(self._keeps)
        if self._lines > 2 * left + _SPENT_LINES:
            self._compact()

    def matching(self, table: Table) -> Iterator[tuple[Words, int, int]]:
        """The positions of a segment's packets of flows to keep, each with the span of times."""
        with self._lock:
            keeps = dict(self._keeps)
        if not keeps or not len(table.numbers):
            return
        asked = np.fromiter(keeps, dtype=np.uint64, count=len(keeps))
        places = np.minimum(np.searchsorted(table.numbers, asked), len(table.numbers) - 1)
        for number in asked[table.numbers[places] == asked].tolist():
            found, keep = table.find(number), keeps[number]
            if found is not None and found.first_ns <= keep.to_ns and found.last_ns >= keep.from_ns:
                yield found.words, keep.from_ns, keep.to_ns

    def _merge(self, number: int, keep: Keep) -> None:
        known = self._keeps.get(number)
        if known is not None:
            keep = Keep(
                keep.community_id,
                min(keep.from_ns, known.from_ns),
                max(keep.to_ns, known.to_ns),
                max(keep.made_ns, known.made_ns),
            )
        self._keeps[number] = keep

    def _compact(self) -> None:
        """Write the journal anew with what is not spent; a line appended meanwhile waits for the lock."""
        path = self._folder / JOURNAL
        with _locked(path):
            self.refresh()
            draft = path.with_suffix(".part")
            with self._lock:
                draft.write_bytes(b"".join(keep.line() for keep in self._keeps.values()))
            draft.replace(path)


def _covers(known: Keep, keep: Keep) -> bool:
    """Whether a keep adds nothing to a known one."""
    inside = known.from_ns <= keep.from_ns and known.to_ns >= keep.to_ns
    return inside and keep.made_ns - known.made_ns < _GRACE_NS // 24


def _read(line: bytes) -> Keep | None:
    """A journal's line; None for one that is none, which a crash may leave."""
    try:
        found = orjson.loads(line)
        keep = Keep(str(found["community_id"]), int(found["from"]), int(found["to"]), int(found["made"]))
        flow_number(keep.community_id)
    except (ValueError, KeyError, TypeError, UsageError):
        return None
    return keep


@contextmanager
def _locked(path: Path) -> Iterator[IO[bytes]]:
    """The journal, open and locked; the one that stands under the name, even if it was just replaced."""
    while True:
        with path.open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            try:
                same = os.path.samestat(os.fstat(file.fileno()), path.stat())
            except FileNotFoundError:
                same = False
            if same:
                yield file
                return
