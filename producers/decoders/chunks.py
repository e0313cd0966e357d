"""The first bytes of an HTTP/1 body, out of segments and the chunked coding (RFC 9112, section 7.1)."""

from producers.decoders.content import CONTENT

NO_SEQUENCE = -1
"""Where a unit with a piece of a body has its sequence number, if what carries the piece keeps the order itself."""

_MAX_LINE = 256
_SIZE, _DATA, _END = 0, 1, 2


class Beginning:
    """The beginning of a body: `data`; `awaited` while more of it, up to CONTENT bytes, may come.

    `length` is the body's, None where only its end or its coding tells; `shown` stands for its bytes as long as none
    were taken.
    """

    __slots__ = ("_at", "_left", "_line", "_taken", "awaited", "chunked", "data", "length")

    def __init__(self, length: int | None = None, chunked: bool = False, shown: bytes = b"") -> None:  # noqa: FBT001, FBT002  # as units carry it
        self.data = bytearray(shown[:CONTENT])
        self.length = None if chunked else length
        self.chunked = chunked
        self.awaited = True
        self._taken = False
        self._at, self._left, self._line = _SIZE, 0, bytearray()

    def take(self, data: bytes, *, anew: bool = False) -> None:
        """Take the body's next bytes as they were sent, or, `anew`, its first."""
        if not self.awaited:
            return
        if anew or not self._taken:
            self._taken = True
            self.data.clear()
        if self.chunked:
            self._take_chunks(memoryview(data))
        else:
            self._append(data)
        if len(self.data) >= CONTENT or (self.length is not None and len(self.data) >= self.length):
            self.stop()

    def stop(self) -> None:
        """Nothing more comes, or what comes does not follow what is there."""
        self.awaited = False

    @property
    def truncated(self) -> bool:
        """Whether the body goes on after `data`, as far as that is known."""
        return len(self.data) >= CONTENT if self.length is None else len(self.data) < self.length

    def _append(self, data: bytes | memoryview) -> None:
        room = CONTENT - len(self.data)
        if self.length is not None:
            room = min(room, self.length - len(self.data))
        self.data += data[: max(room, 0)]

    def _take_chunks(self, data: memoryview) -> None:
        while data and self.awaited and len(self.data) < CONTENT:
            if self._at == _DATA:
                piece = data[: self._left]
                self._append(piece)
                self._left -= len(piece)
                data = data[len(piece) :]
                if not self._left:
                    self._at = _END
                continue
            line, found, data = _line(data)
            self._line += line
            if len(self._line) > _MAX_LINE:
                self.stop()
            elif found:
                self._end_line()

    def _end_line(self) -> None:
        """A line is whole: a chunk's size, or the empty one after a chunk."""
        text = bytes(self._line).partition(b";")[0].strip()
        self._line.clear()
        if self._at == _END:
            self._at = _SIZE
            return
        try:
            size = int(text, 16)
        except ValueError:
            size = 0
        if size <= 0:
            self.stop()
        self._at, self._left = _DATA, size


def _line(data: memoryview) -> tuple[bytes, bool, memoryview]:
    """What is there of the first line, whether it is whole, and what follows it."""
    start = bytes(data[: _MAX_LINE + 1])
    end = start.find(b"\n")
    return (start, False, data[len(start) :]) if end < 0 else (start[:end], True, data[end + 1 :])
