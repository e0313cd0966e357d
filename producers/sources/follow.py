"""A folder that captures are being written to: each is read in its turn, the newest as it grows.

Made for what `dumpcap -b` and `tcpdump -C -W` leave behind: a new file every so often, an old one deleted, overwritten,
renamed or compressed now and then. The files are one capture: frames count through, and flows go on from one to the
next.
"""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from producers.sources.container import Unpacked
from producers.sources.file import FileFeed, open_raw
from producers.sources.folder import HEAD, Folder, HeadFeed, Turn
from producers.sources.packet import Block, block_of
from producers.sources.reading import POLL_SECONDS, Reading
from producers.sources.stream import reader_for
from runtime.errors import CaptureError, UsageError
from runtime.names import shown

_LOOK_SECONDS = 1.0


class FollowSource:
    """Packets of the captures in a folder, and of those that will be, until `stop`.

    Files are taken in the order of their last change, then of their names, with numbers as numbers; folders inside and
    hidden files are not looked into. A file is over when a newer capture stands beside it, or when it is
    overwritten, so one writer at a time per folder. What is renamed, copied or compressed after it was read is not read
    again; what is overwritten in place is a new capture (`folder.Folder`).

    `tell` hears at once of a file that is no capture or cannot be read to its end; the others are still read. `blocks`
    raises a CaptureError that names those of the second kind after it was stopped. Raises UsageError unless
    the path is a folder.
    """

    live = True
    progress = None

    def __init__(self, folder: Path, tell: Callable[[str], None] = lambda _text: None) -> None:
        if not folder.is_dir():
            raise UsageError(f"{folder}: not a folder", "only a folder can be followed")
        self.path = shown(folder)
        self._folder, self._tell = Folder(folder, tell), tell
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
            self._look()
            try:
                turn = self._folder.next()
                if turn is not None:
                    yield from self._read(turn)
                    continue
            except CaptureError as error:
                self._note(error)
                continue
            time.sleep(POLL_SECONDS)
            yield block_of([])
        self._look()
        for name in self._folder.unfinished():
            self._tell(f"skipped {name}: it ends before its first packet")
        if self._errors:
            raise _summed(self.path, self._errors)

    def newer(self) -> bool:
        """Whether another capture waits for its turn."""
        self._look()
        return bool(self._folder)

    def _read(self, turn: Turn) -> Iterator[Block]:
        name = shown(turn.path.name)
        with open_raw(turn.path, name) as raw:
            status = os.fstat(raw.fileno())
            if (status.st_dev, status.st_ino) != turn.identity:
                self._folder.again(turn)  # renamed since it was looked at
                return
            begun = self._folder.begin(turn)
            feed = _GrowingFeed(raw, name, self.newer)
            first = self._frames + 1 - turn.skip
            reading = Reading(
                HeadFeed(Unpacked(feed), begun), name, reader_for, paced=True, first_frame=first
            )
            self._reading = reading
            try:
                for block in reading.blocks(lambda: self._stopped):
                    yield _after(block, turn.skip - (block.first_frame - first))
                    if time.monotonic() - self._looked > _LOOK_SECONDS:
                        self._look()
            finally:
                self._reading = None
                self._dropped += reading.dropped
                self._frames += max(reading.packets - turn.skip, 0)
                begun.packets = max(reading.packets, turn.skip)
                self._folder.leave(turn, begun, feed.read)

    def _look(self) -> None:
        """See what is in the folder now; what was lost is noted."""
        self._looked = time.monotonic()
        self._folder.look()
        while self._folder.lost:
            self._note(self._folder.lost.pop(0))

    def _note(self, error: CaptureError) -> None:
        self._errors.append(error)
        self._tell(str(error))


class _GrowingFeed:
    """The bytes of a file that may grow.

    It is over when `newer` says so and then nothing more is there, or when it is overwritten: then it is shorter than
    what was read of it, or begins differently, which is looked at after each read, so that nothing of the next
    generation is taken for the rest of this one.
    """

    def __init__(self, file: BinaryIO, name: str, newer: Callable[[], bool]) -> None:
        self._file, self._feed, self._newer = file, FileFeed(file, name), newer
        self._head = b""
        self._over = self._final = False
        self.read = 0

    def read_into(self, room: memoryview, seconds: float) -> int | None:
        """As `Feed.read_into`."""
        until = time.monotonic() + seconds
        while not self._over:
            got = self._feed.read_into(room, 0.0) or 0
            self._over = self._overwritten(room[:got])
            if self._over:
                break
            self.read += got
            if got or self._final:
                return got
            self._final = self._newer()
            if not self._final:
                left = until - time.monotonic()
                if left <= 0:
                    return None
                time.sleep(min(left, POLL_SECONDS / 4))
        return 0

    def _overwritten(self, came: memoryview) -> bool:
        if len(self._head) < HEAD and self.read == len(self._head):
            self._head += came[: HEAD - len(self._head)]
        descriptor = self._file.fileno()
        begins = os.pread(descriptor, len(self._head), 0)
        return begins != self._head or os.fstat(descriptor).st_size < self.read + len(came)


def _after(block: Block, skip: int) -> Block:
    """The packets of a block after the first `skip`; an empty block where there are none."""
    if skip <= 0 or not len(block):
        return block
    if skip >= len(block):
        return block_of([])
    return Block(
        block.first_frame + skip,
        block.buffer,
        block.time_ns[skip:],
        block.offset[skip:],
        block.captured[skip:],
        block.wire[skip:],
        block.interface[skip:],
        block.interfaces,
    )


def _summed(folder: str, errors: list[CaptureError]) -> CaptureError:
    if len(errors) == 1:
        return errors[0]
    return CaptureError(
        f"{folder}: {len(errors):,} captures were not read to their end, the first of them {errors[0].what}"
    )
