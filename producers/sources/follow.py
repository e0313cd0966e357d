"""A folder that captures are being written to: each is read in its turn, the newest as it grows.

Made for what `dumpcap -b` leaves behind: a new file every so often, an old one deleted now and then. The files are one
capture: frames count through, and flows go on from one to the next.
"""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from producers.sources.container import Unpacked
from producers.sources.file import FileFeed, check, open_raw
from producers.sources.packet import Block, block_of
from producers.sources.pcap import FILE_HEADER
from producers.sources.reading import POLL_SECONDS, Reading
from producers.sources.stream import reader_for
from runtime.errors import CaptureError, UsageError

_LOOK_SECONDS = 1.0
_REMEMBERED = 3  # files that were left, so that it is seen if one of them grows
_NUMBER = re.compile(r"(\d+)")


class FollowSource:
    """Packets of the captures in a folder, and of those that will be, until `stop`.

    Files are taken in the order of their last change, then of their names, with numbers as numbers; folders inside and
    hidden files are not looked into. A file is over when a newer capture stands beside it, so one writer at a time
    per folder. A name that comes again after it was gone is a new file; one that is overwritten in place is not.

    `tell` hears at once of a file that is no capture or cannot be read to its end; the others are still read. `blocks`
    raises a CaptureError that names those of the second kind after it was stopped. Raises UsageError unless
    the path is a folder.
    """

    live = True
    progress = None

    def __init__(self, folder: Path, tell: Callable[[str], None] = lambda _text: None) -> None:
        if not folder.is_dir():
            raise UsageError(f"{folder}: not a folder", "only a folder can be followed")
        self.path = str(folder)
        self._folder, self._tell = folder, tell
        self._known: set[str] = set()
        self._waiting: set[str] = set()
        self._left: dict[str, int] = {}
        self._looked = 0.0
        self._frames = self._dropped = 0
        self._reading: Reading | None = None
        self._errors: list[CaptureError] = []
        self._stopped = False

    @property
    def dropped(self) -> int:
        """Packets that the captures say were dropped while they were taken."""
        return self._dropped + (self._reading.dropped if self._reading else 0)

    def stop(self) -> None:
        """End `blocks` soon, from another thread."""
        self._stopped = True

    def blocks(self) -> Iterator[Block]:
        """Yield the packets in blocks, an empty one when nothing came for a while."""
        while not self._stopped:
            file = self._next()
            if file is None:
                time.sleep(POLL_SECONDS)
                yield block_of([])
                continue
            try:
                yield from self._read(file)
            except CaptureError as error:
                self._note(error)
        self._look()
        if self._errors:
            raise _summed(self.path, self._errors)

    def newer(self) -> bool:
        """Whether another capture waits for its turn."""
        self._look()
        return bool(self._waiting)

    def _read(self, file: Path) -> Iterator[Block]:
        with open_raw(file, file.name) as raw:
            feed = _GrowingFeed(FileFeed(raw, file.name), self.newer)
            reading = Reading(Unpacked(feed), file.name, reader_for, paced=True, first_frame=self._frames + 1)
            self._reading = reading
            try:
                for block in reading.blocks(lambda: self._stopped):
                    yield block
                    if time.monotonic() - self._looked > _LOOK_SECONDS:
                        self._look()
            finally:
                self._reading = None
                self._dropped += reading.dropped
                self._frames += reading.packets
                self._left = dict([*self._left.items(), (file.name, feed.read)][-_REMEMBERED:])

    def _next(self) -> Path | None:
        """The file whose turn it is; what has gone in the meantime is noted."""
        self._look()
        turns = []
        for name in sorted(self._waiting, key=_natural):
            try:
                turns.append(((self._folder / name).stat().st_mtime_ns, name))
            except OSError as error:
                self._waiting.discard(name)
                self._note(CaptureError(f"{name}: gone before it was read ({error.strerror})"))
        if not turns:
            return None
        name = min(turns, key=lambda turn: turn[0])[1]  # the first of equals, which is first by name
        self._waiting.discard(name)
        return self._folder / name

    def _look(self) -> None:
        """See what is in the folder: new captures wait, and one that was left must not have grown."""
        self._looked = time.monotonic()
        try:
            names = {entry.name for entry in self._folder.iterdir() if not entry.name.startswith(".")}
        except OSError as error:
            raise CaptureError(f"{self.path}: {error.strerror}") from error
        self._known &= names
        for name in sorted(names - self._known, key=_natural):
            self._classify(name)
        for name, size in list(self._left.items()):
            with suppress(FileNotFoundError):
                self._check_left(name, size)

    def _check_left(self, name: str, size: int) -> None:
        if (self._folder / name).stat().st_size > size:
            del self._left[name]
            what = f"{name}: grew after a newer capture was there; its end was not read"
            self._note(CaptureError(what, "a folder that is followed has one writer"))

    def _classify(self, name: str) -> None:
        """Let a new file wait for its turn, or pass over it; one that is only begun is looked at again."""
        file = self._folder / name
        try:
            if not file.is_file():
                self._known.add(name)
                return
            if file.stat().st_size < FILE_HEADER:
                return
            check(file)
        except (CaptureError, OSError) as error:
            if file.exists():
                self._known.add(name)
                self._tell(f"skipped {error}")
            return
        self._known.add(name)
        self._waiting.add(name)

    def _note(self, error: CaptureError) -> None:
        self._errors.append(error)
        self._tell(str(error))


class _GrowingFeed:
    """The bytes of a file that may grow; it is over when `newer` says so and then nothing more is there."""

    def __init__(self, feed: FileFeed, newer: Callable[[], bool]) -> None:
        self._feed, self._newer = feed, newer
        self._final = False

    @property
    def read(self) -> int:
        """The bytes read so far."""
        return self._feed.read

    def read_into(self, room: memoryview, seconds: float) -> int | None:
        """As `Feed.read_into`."""
        until = time.monotonic() + seconds
        while True:
            got = self._feed.read_into(room, 0.0)
            if got or self._final:
                return got
            self._final = self._newer()
            if not self._final:
                left = until - time.monotonic()
                if left <= 0:
                    return None
                time.sleep(min(left, POLL_SECONDS / 4))


def _natural(name: str) -> list[tuple[int, str]]:
    """A key that sorts file9 before file10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in _NUMBER.split(name) if part]


def _summed(folder: str, errors: list[CaptureError]) -> CaptureError:
    if len(errors) == 1:
        return errors[0]
    return CaptureError(
        f"{folder}: {len(errors):,} captures were not read to their end, the first of them {errors[0].what}"
    )
