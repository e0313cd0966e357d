"""The captures in a folder that is written to: each is known by its inode and by what it begins with, not by its name.

A file that is renamed stays the same file. One that is overwritten in place, by a ring that begins again, is another
generation: it has shrunk, or begins differently. A copy, plain or compressed, begins like what was copied.
"""

import os
import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np

from producers.sources.container import Unpacked
from producers.sources.errors import BrokenStreamError, CutStreamError
from producers.sources.file import FileFeed, open_raw
from producers.sources.pcap import FILE_HEADER
from producers.sources.stream import reader_for
from runtime.errors import CaptureError, NotACaptureError
from runtime.names import shown

HEAD = 2048
"""How many bytes of its beginning a file is known by; the first packet's time is among them."""

_REMEMBERED = 4096  # beginnings of captures that were read
_NUMBER = re.compile(r"(\d+)")
Identity: TypeAlias = tuple[int, int]


class Turn(NamedTuple):
    """A capture whose turn it is: its file, its identity, and how many packets of it were read from another file."""

    path: Path
    identity: Identity
    skip: int


@dataclass(slots=True)
class Begun:
    """What was read of a capture: its first bytes as unpacked, its length in bytes as unpacked, its packets."""

    head: bytes
    size: int = 0
    packets: int = 0
    reading: bool = True


@dataclass(slots=True)
class _File:
    """A file as it was when it was last looked at; `left` is how many of its bytes were there after its turn."""

    name: str
    size: int
    changed_ns: int
    head: bytes
    waits: bool = False
    left: int | None = None
    copy_of: Begun | None = None


class Folder:
    """Which captures of a folder wait for their turn. `skipped` hears of files that are none.

    Folders inside and hidden files are not looked into.
    """

    def __init__(self, path: Path, skipped: Callable[[str], None]) -> None:
        self._path, self._skipped = path, skipped
        self._files: dict[Identity, _File] = {}
        self._begun: deque[Begun] = deque(maxlen=_REMEMBERED)
        self._undecided: dict[Identity, str] = {}
        self.lost: list[CaptureError] = []

    def __bool__(self) -> bool:
        """Whether a capture waits."""
        return any(file.waits for file in self._files.values())

    def look(self) -> None:
        """See what is in the folder now; what was lost since the last look is added to `lost`."""
        present = set()
        self._undecided.clear()
        for name, identity, found in sorted(self._entries(), key=lambda entry: _natural(entry[0])):
            if identity in present:
                continue  # another name of the same file
            present.add(identity)
            known = self._files.get(identity)
            if known is None:
                self._classify(name, identity, found)
            elif (known.size, known.changed_ns) != (found.st_size, found.st_mtime_ns):
                self._changed(known, name, identity, found)
            else:
                known.name = name
        for identity in self._files.keys() - present:
            gone = self._files.pop(identity)
            if gone.waits and not self._copied(gone):
                self.lost.append(CaptureError(f"{gone.name}: gone before it was read"))

    def next(self) -> Turn | None:
        """The waiting capture that changed first, of equals the first by name, numbers being numbers."""
        while waiting := [item for item in self._files.items() if item[1].waits]:
            identity, file = min(waiting, key=lambda item: (item[1].changed_ns, _natural(item[1].name)))
            file.waits = False
            path = self._path / file.name
            if file.copy_of is None and path.exists():  # it may have been copied while both waited
                file.copy_of = self._original(_unpacked_head(path)[0])
                if file.copy_of is not None and not _has_more(file, file.copy_of):
                    continue
            return Turn(path, identity, file.copy_of.packets if file.copy_of else 0)
        return None

    def again(self, turn: Turn) -> None:
        """Let a capture wait once more: its name has become that of another file since it was looked at."""
        file = self._files.get(turn.identity)
        if file is not None:
            file.waits = True

    def begin(self, turn: Turn) -> Begun:
        """What will be known of a capture while it is read and afterwards."""
        begun = Begun(b"", packets=turn.skip)
        self._begun.append(begun)
        return begun

    def leave(self, turn: Turn, begun: Begun, read: int) -> None:
        """Note that a capture's turn is over after so many bytes of its file; a copy of it may have more."""
        begun.reading = False
        file = self._files.get(turn.identity)
        if file is not None and not file.waits:
            file.left = max(read, file.size)
        for copy in self._files.values():
            copy.waits = copy.waits or (copy.copy_of is begun and _has_more(copy, begun))

    def unfinished(self) -> list[str]:
        """Names of files that are begun like compressed captures and have not come to their first packet."""
        return sorted(self._undecided.values(), key=_natural)

    def _entries(self) -> list[tuple[str, Identity, os.stat_result]]:
        found = []
        try:
            with os.scandir(self._path) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    try:
                        if entry.is_file():
                            status = entry.stat()
                            found.append((entry.name, (status.st_dev, status.st_ino), status))
                    except OSError:
                        continue  # it has gone in the meantime
        except OSError as error:
            raise CaptureError(f"{self._path}: {error.strerror}") from error
        return found

    def _changed(self, known: _File, name: str, identity: Identity, found: os.stat_result) -> None:
        """A known file has grown, or is another generation."""
        try:
            head = _raw_head(self._path / name)
        except CaptureError:
            return  # gone, or not to be read just now
        shrunk = found.st_size < known.size
        if shrunk or not head.startswith(known.head):
            if known.waits and known.left is None:
                self.lost.append(CaptureError(f"{known.name}: overwritten before it was read"))
            del self._files[identity]
            self._classify(name, identity, found)
            return
        known.name, known.size, known.changed_ns, known.head = name, found.st_size, found.st_mtime_ns, head
        if known.copy_of is not None:
            known.waits = known.waits or _has_more(known, known.copy_of)
        elif known.left is not None and found.st_size > known.left:
            known.left = found.st_size
            what = f"{name}: grew after a newer capture was there; its end was not read"
            self.lost.append(CaptureError(what, "a folder that is followed has one writer"))

    def _classify(self, name: str, identity: Identity, found: os.stat_result) -> None:
        """Let a new file wait for its turn, or pass over it; one that is only begun is looked at again."""
        if found.st_size < FILE_HEADER:
            return
        path = self._path / name
        try:
            raw = _raw_head(path)
            head, whole = _unpacked_head(path)
        except CaptureError as error:
            if path.exists():
                self._files[identity] = _File(name, found.st_size, found.st_mtime_ns, b"")
                self._skipped(f"skipped {error}")
            return
        packed = head[: len(raw)] != raw[: len(head)]
        if packed and not whole and len(head) < HEAD and not _packets(head):
            self._undecided[identity] = name  # it has begun, and may be a copy
            return
        file = _File(name, found.st_size, found.st_mtime_ns, raw)
        file.copy_of = self._original(head)
        file.waits = file.copy_of is None or _has_more(file, file.copy_of)
        self._files[identity] = file

    def _original(self, head: bytes) -> Begun | None:
        """The capture that was read already and begins so, a first packet included."""
        for begun in reversed(self._begun):
            length = min(len(head), len(begun.head))
            if head[:length] == begun.head[:length] and (length == HEAD or _packets(head[:length])):
                return begun
        return None

    def _copied(self, gone: _File) -> bool:
        """Whether what a file held before it was gone is in another one, or was read from one."""
        try:
            heads = [_unpacked_head(self._path / file.name)[0] for file in self._files.values() if file.waits]
        except CaptureError:
            return False
        return any(head.startswith(gone.head) for head in heads)


class HeadFeed:
    """A capture's bytes as unpacked; notes the first of them, and how many there were."""

    def __init__(self, feed: Unpacked, begun: Begun) -> None:
        self._feed, self._begun = feed, begun

    def read_into(self, room: memoryview, seconds: float) -> int | None:
        """As `Feed.read_into`."""
        got = self._feed.read_into(room, seconds)
        if got:
            begun = self._begun
            begun.size += got
            if len(begun.head) < HEAD:
                begun.head += room[: min(got, HEAD - len(begun.head))].tobytes()
        return got


def _has_more(copy: _File, begun: Begun) -> bool:
    """Whether a plain copy is longer than what was read, which no longer goes on."""
    return not begun.reading and copy.head.startswith(begun.head) and copy.size > begun.size


def _raw_head(path: Path) -> bytes:
    with open_raw(path, shown(path)) as file:
        try:
            return file.read(HEAD)
        except OSError as error:
            raise CaptureError(f"{shown(path)}: {error.strerror}") from error


def _unpacked_head(path: Path) -> tuple[bytes, bool]:
    """The first bytes of a capture as unpacked, and whether they are all there are; CaptureError if it is none."""
    name, head, filled, whole = shown(path), bytearray(HEAD), 0, True
    with open_raw(path, name) as file:
        feed = Unpacked(FileFeed(file, name))
        try:
            while filled < HEAD and (got := feed.read_into(memoryview(head)[filled:], 0.0)):
                filled += got
        except CutStreamError:
            whole = False
        except BrokenStreamError as error:
            if not filled:
                raise NotACaptureError(f"{name}: {error}") from error
    found = bytes(head[:filled])
    if whole or len(found) >= 4:
        reader_for(found[:4], name)
    return found, whole


def _packets(head: bytes) -> int:
    """How many whole packets there are in the first bytes of a capture."""
    columns, buffer = np.empty((5, HEAD), dtype=np.int64), np.frombuffer(bytearray(head), dtype=np.uint8)
    try:
        reader = reader_for(head[:4], "")
        start, packets, again = 0, 0, True
        while again:
            found = reader.scan(buffer, start, len(head), columns)
            start, packets, again = found.position, packets + found.packets, found.again and not found.damage
    except CaptureError:
        return 0
    return packets


def _natural(name: str) -> list[tuple[int, str]]:
    """A key that sorts file9 before file10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in _NUMBER.split(name) if part]
