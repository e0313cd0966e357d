"""One capture being read: bytes of a feed come into a window, scanners find the packets, blocks go out.

A window is filled, scanned where it lies, and handed out in slices; what is left of a packet at its end moves on to
the next. Nothing that was handed out is written to again. A capture that does not come in real time is read ahead: a
thread fills the next window while this one is worked on.
"""

import mmap
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, nullcontext
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from producers.sources import scan
from producers.sources.errors import BrokenStreamError, broken, cut_off, damaged
from producers.sources.packet import Block, Interface
from runtime.errors import CaptureError

BLOCK_PACKETS = 16_384
WINDOW = 2 << 20
POLL_SECONDS = 0.2
LINGER_SECONDS = 0.02
"""How long a stream that comes in real time is gathered, from its first bytes on, before its packets go on."""
MAGIC_LENGTH = 4
_LEAST_ROOM = 1 << 16
_GAP = 1 << 17
"""The room in front of what is read ahead, for the rest of a packet; a longer rest moves both to another buffer."""
_WINDOWS_AHEAD = 2  # with one, the thread waits at every window for the next to be asked for
_BUFFERS = 6
# What sys.getrefcount says of a buffer that only the list and the loop over it hold.
_UNSHARED = 3


class Feed(Protocol):
    """Where the bytes of a capture come from."""

    def read_into(self, room: memoryview, seconds: float) -> int | None:
        """Put bytes at the beginning of `room`, and return how many; 0 at the end, None if none came in time.

        Waits at most `seconds` where bytes come in real time. Raises CaptureError where they cannot be read,
        BrokenStreamError where they cannot be unpacked.
        """
        ...


class Scanned(NamedTuple):
    """What a scan has found: packets in the columns, the place it came to, and whether it has not seen all.

    `damage` says why the capture makes no sense there.
    """

    packets: int
    position: int
    again: bool = False
    damage: str = ""


class Reader(Protocol):
    """Reads captures of one format."""

    @property
    def interfaces(self) -> tuple[Interface, ...]:
        """The interfaces so far."""
        ...

    @property
    def dropped(self) -> int:
        """Packets that the capture says were dropped."""
        ...

    def scan(self, buffer: NDArray[np.uint8], start: int, end: int, columns: NDArray[np.int64]) -> Scanned:
        """Fill `columns`, whose rows are those of `scan`, with the packets between two places of the buffer."""
        ...

    def unfinished(self) -> bool:
        """Whether the capture cannot end here though no byte is left over."""
        ...


class Window:
    """A stretch of the capture in memory: scanned up to `start`, filled up to `end`."""

    def __init__(self, size: int) -> None:
        self._size = _pages(size)
        self._buffers: list[NDArray[np.uint8]] = []
        self.buffer = np.empty(0, dtype=np.uint8)
        self.start = self.end = 0

    def room(self, least: int = 1) -> memoryview:
        """What can be filled, `least` bytes or more; what is not yet scanned moves on to another buffer if need be.

        What moves on ends where a page begins, and the room has whole pages: the kernel copies a fifth faster if
        neither the file's bytes nor their place in memory begin within a page.
        """
        if len(self.buffer) - self.end < least:
            rest = self.buffer[self.start : self.end]
            size, end = self._size, _pages(len(rest))
            while size - end < max(least, size // 4):
                size *= 2
            buffer = self.free(size)
            begin = end - len(rest)
            buffer[begin:end] = rest
            self.buffer, self.start, self.end = buffer, begin, end
        return self.buffer[self.end :].data

    def move_on(self, buffer: NDArray[np.uint8], begin: int, end: int) -> None:
        """Go on with what another buffer holds between two places, which what is not yet scanned is put before."""
        rest = self.buffer[self.start : self.end]
        if len(rest) > begin:
            read, begin = buffer[begin:end], _pages(len(rest))
            end = begin + len(read)
            buffer = _new_buffer(end)
            buffer[begin:] = read
        buffer[begin - len(rest) : begin] = rest
        self.buffer, self.start, self.end = buffer, begin - len(rest), end

    def free(self, size: int = 0) -> NDArray[np.uint8]:
        """A buffer that no block has a part in any more, or a new one; it begins with a page.

        Memory that was written to lately is in the processor's cache, and new memory is cleared by the kernel first:
        reading takes half the time.
        """
        size = size or self._size
        if size != self._size:
            return _new_buffer(size)
        for buffer in self._buffers:
            if sys.getrefcount(buffer) == _UNSHARED:
                return buffer
        buffer = _new_buffer(size)
        if len(self._buffers) < _BUFFERS:
            self._buffers.append(buffer)
        return buffer


def _pages(size: int) -> int:
    """The size of as many whole pages as are needed."""
    return -(-size // mmap.PAGESIZE) * mmap.PAGESIZE


def _new_buffer(size: int) -> NDArray[np.uint8]:
    return np.frombuffer(mmap.mmap(-1, size), dtype=np.uint8)


class _Ahead:
    """Fills the next window in a thread, which reads and unpacks without holding up the others."""

    def __init__(self, feed: Feed, window: Window) -> None:
        self._feed, self._window = feed, window
        self._thread = ThreadPoolExecutor(1, "read-ahead")
        self._coming = deque(self._begin() for _ in range(_WINDOWS_AHEAD))

    def gather(self) -> bool:
        """Wait for the next window and go on with it; False at the end, and then the error there was."""
        window, (buffer, coming) = self._window, self._coming.popleft()
        filled, error = coming.result()
        window.move_on(buffer, _GAP, _GAP + filled)
        if error is not None:
            raise error
        if _GAP + filled < len(buffer):
            return False
        del buffer  # so that it is known to be free once its blocks are gone
        self._coming.append(self._begin())
        return True

    def close(self) -> None:
        """End the thread, which may be filling a window."""
        self._thread.shutdown(cancel_futures=True)

    def _begin(self) -> "tuple[NDArray[np.uint8], Future[tuple[int, Exception | None]]]":
        buffer = self._window.free()
        return buffer, self._thread.submit(_fill, self._feed, buffer[_GAP:].data)


def _fill(feed: Feed, room: memoryview) -> tuple[int, Exception | None]:
    """Read until the room is full or the feed ends: how many bytes it has got, and the error that ended it."""
    filled = 0
    try:
        while filled < len(room) and (got := feed.read_into(room[filled:], POLL_SECONDS)) != 0:
            filled += got or 0
    except (CaptureError, BrokenStreamError) as error:
        return filled, error
    return filled, None


class Reading:
    """The blocks of one capture. The first packet is frame `first_frame`.

    `paced` says that the feed's bytes come in real time: then packets go on as they come, and an empty block
    says that nothing came for a while. `ahead` has another thread read, which pays where there is more than a
    window. `reader_for` gives the reader for a capture's first four bytes.
    """

    def __init__(  # noqa: PLR0913  # what differs between sources, each named
        self,
        feed: Feed,
        name: str,
        reader_for: Callable[[bytes, str], Reader],
        *,
        paced: bool = False,
        ahead: bool = False,
        first_frame: int = 1,
        window: int = WINDOW,
    ) -> None:
        self._feed, self._name, self._reader_for, self._paced = feed, name, reader_for, paced
        self._first_frame = first_frame
        self._ahead = ahead
        self._window = Window(window + _GAP if ahead else window)
        self._scanned = 0
        self._columns = np.empty((5, BLOCK_PACKETS), dtype=np.int64)
        self.reader: Reader | None = None
        self.packets = 0

    @property
    def dropped(self) -> int:
        """Packets that the capture says were dropped while it was taken."""
        return self.reader.dropped if self.reader else 0

    def blocks(self, stopped: Callable[[], bool] = lambda: False) -> Iterator[Block]:
        """Yield the packets, until the end or until `stopped`; CaptureError if the stream is damaged or cut off."""
        try:
            yield from self._windows(stopped)
        except (CaptureError, BrokenStreamError) as error:
            yield from self._complete(stopped)
            if isinstance(error, BrokenStreamError):
                raise broken(self._name, self.packets, str(error)) from error
            raise
        if not stopped():
            self._finish()

    def _windows(self, stopped: Callable[[], bool]) -> Iterator[Block]:
        """Fill and scan one window after the other, until the end or until `stopped`."""
        ahead = _Ahead(self._feed, self._window) if self._ahead else None
        with closing(ahead) if ahead else nullcontext():
            while not stopped():
                more = ahead.gather() if ahead else self._gather()
                yield from self._complete(stopped)
                if not more:
                    break

    def _gather(self) -> bool:
        """Fill the window, as far as bytes come in time; False at the end."""
        window, until, seconds = self._window, 0.0, POLL_SECONDS
        least = _LEAST_ROOM if self._paced else 1
        room = window.room(least)
        while True:
            got = self._feed.read_into(room, seconds)
            if got == 0:
                return False
            if got is None:
                return True
            window.end += got
            room = room[got:]
            if not room:
                return True
            if self._paced:
                now = time.monotonic()
                until = until or now + LINGER_SECONDS
                seconds = until - now
                if seconds <= 0:
                    return True

    def _complete(self, stopped: Callable[[], bool]) -> Iterator[Block]:
        """Yield the packets that are complete in the window, or an empty block if the stream is paced."""
        window = self._window
        if self.reader is None:
            magic = window.buffer[window.start : min(window.start + MAGIC_LENGTH, window.end)].tobytes()
            if len(magic) == MAGIC_LENGTH:
                self.reader = self._reader_for(magic, self._name)
        again, any_packets = self.reader is not None, False
        while again and self.reader is not None and not stopped():
            found = self.reader.scan(window.buffer, window.start, window.end, self._columns)
            again, any_packets = found.again, any_packets or found.packets > 0
            first, window.start = window.start, found.position
            self._scanned += found.position - first
            if found.packets:
                yield self._block(self.reader.interfaces, found.packets, first)
            if found.damage:
                raise damaged(self._name, self.packets, self._scanned, found.damage)
        if self._paced and not any_packets:
            yield self._block((), 0, window.start)

    def _block(self, interfaces: tuple[Interface, ...], count: int, first: int) -> Block:
        """The first packets of the columns, whose bytes lie from `first` on to what has been scanned."""
        window, columns = self._window, self._columns
        frame = self._first_frame + self.packets
        self.packets += count
        return Block(
            frame,
            window.buffer[first : window.start],
            columns[scan.TIME, :count].copy(),
            columns[scan.OFFSET, :count] - first,
            columns[scan.CAPTURED, :count].copy(),
            columns[scan.WIRE, :count].copy(),
            columns[scan.INTERFACE, :count].astype(np.int32),
            interfaces,
        )

    def _finish(self) -> None:
        window = self._window
        rest = window.buffer[window.start : window.end]
        if self.reader is None:
            self.reader = self._reader_for(rest[:MAGIC_LENGTH].tobytes(), self._name)
        if len(rest) or self.reader.unfinished():
            raise cut_off(self._name, self.packets, self._scanned)
