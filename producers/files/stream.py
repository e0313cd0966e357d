"""One direction of a TCP connection, put together from its segments: in order, each byte once, holes told.

Where segments overlap the bytes that came first win. What comes ahead of a hole is held up to a bound; past it, the
hole is told and the stream goes on behind it.
"""

from bisect import bisect_left, insort
from collections.abc import Iterator

MAX_HELD = 1 << 20
"""Bytes of one stream that wait for a hole to be filled."""
MAX_SEGMENTS = 1024
"""Segments that wait."""

_HALF = 1 << 31
_MASK = (1 << 32) - 1


class Budget:
    """Bytes that all streams and bodies together may hold."""

    def __init__(self, limit: int) -> None:
        self.limit, self.used = limit, 0

    def take(self, size: int) -> bool:
        """Whether there is room for `size` more bytes, which are then taken."""
        if self.used + size > self.limit:
            return False
        self.used += size
        return True

    def give(self, size: int) -> None:
        """Give bytes back."""
        self.used -= size


class Stream:
    """Segments in, pieces in order out: bytes, or an int for a hole of so many bytes.

    `start` is the sequence number of the first byte (RFC 9293, section 3.4). `over` is true once everything up to
    the FIN has been told.
    """

    def __init__(self, start: int, budget: Budget, max_held: int = MAX_HELD) -> None:
        self._at = 0  # where the next byte stands, from the first on
        self._start, self._budget, self._max_held = start, budget, max_held
        self._held: list[tuple[int, bytes]] = []  # disjoint, by where they begin
        self._size = 0
        self._end: int | None = None

    @property
    def at(self) -> int:
        """Where the next byte stands, from the first on."""
        return self._at

    @property
    def over(self) -> bool:
        """Whether the FIN has been reached."""
        return self._end is not None and self._at >= self._end

    @property
    def holds(self) -> bool:
        """Whether anything waits behind a hole."""
        return bool(self._held)

    def awaits(self, sequence: int) -> bool:
        """Whether the byte at `sequence` is the next one, and nothing is held."""
        return not self._held and (sequence - self._start - self._at) & _MASK == 0

    def push(self, sequence: int, data: bytes) -> Iterator[bytes | int]:
        """Take a segment's payload in; yield what is in order now."""
        begin = self._place(sequence)
        if begin < 0 < begin + len(data):
            data, begin = data[-begin:], 0
        if begin < 0:
            return
        if not self._held and begin == self._at:  # as nearly always
            if data:
                self._at += len(data)
                yield data
            return
        self._hold(begin, data)
        yield from self._ready()
        while self._held and (self._size > self._max_held or len(self._held) > MAX_SEGMENTS):
            yield from self._leap()

    def acknowledged(self, number: int) -> Iterator[bytes | int]:
        """Yield what is held behind holes that the other side has all the same: the capture has lost them.

        `number` is an acknowledgement that came with payload, so that packets swapped on their way make no holes.
        """
        while self._held and self._held[0][0] <= self._place(number):
            yield from self._leap()

    def finish(self, sequence: int) -> None:
        """Told that the stream ends before the byte at `sequence`, where the FIN stands."""
        end = self._place(sequence)
        if self._end is None and end >= self._at:
            self._end = end

    def flush(self) -> Iterator[bytes | int]:
        """Yield all that is held, with the holes before it: no segment follows."""
        while self._held:
            yield from self._leap()
        if self._end is not None and self._at < self._end:
            hole, self._at = self._end - self._at, self._end
            yield hole

    def _place(self, sequence: int) -> int:
        """Where a sequence number stands from the stream's first byte on: the place nearest to the next byte."""
        return self._at + ((sequence - self._start - self._at + _HALF) & _MASK) - _HALF

    def _hold(self, begin: int, data: bytes) -> None:
        """Keep of a segment what is neither told nor held."""
        end = begin + len(data)
        begin = max(begin, self._at)
        offset = begin - (end - len(data))
        base = begin - offset
        place = bisect_left(self._held, (begin, b""))
        if place and self._held[place - 1][0] + len(self._held[place - 1][1]) > begin:
            place -= 1
        free: list[tuple[int, int]] = []
        for known, known_data in self._held[place:]:
            if known >= end or begin >= end:
                break
            if known > begin:
                free.append((begin, known))
            begin = max(begin, known + len(known_data))
        if begin < end:
            free.append((begin, end))
        for first, last in free:
            if not self._budget.take(last - first):
                return  # a hole, told when the stream goes on behind it
            insort(self._held, (first, data[first - base : last - base]))
            self._size += last - first

    def _ready(self) -> Iterator[bytes]:
        ready = 0
        for begin, data in self._held:
            if begin != self._at:
                break
            self._at += len(data)
            ready += 1
        told = self._held[:ready]
        del self._held[:ready]
        for _, data in told:
            self._size -= len(data)
            self._budget.give(len(data))
            yield data

    def _leap(self) -> Iterator[bytes | int]:
        """Tell the hole before what is held first, and that."""
        hole = self._held[0][0] - self._at
        self._at += hole
        if hole:
            yield hole
        yield from self._ready()
