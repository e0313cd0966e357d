"""Lines of a text protocol, from pieces of a stream."""

from collections.abc import Iterator

_MAX_LINE = 8_192


class Lines:
    """Pieces in, whole lines out, without their ends; of a longer line than 8 KiB the beginning only."""

    def __init__(self) -> None:
        self._buffer = b""

    def push(self, data: bytes) -> None:
        """Take a piece in."""
        self._buffer += data

    def __iter__(self) -> Iterator[bytes]:
        while True:
            line, end, rest = self._buffer.partition(b"\n")
            if not end:
                self._buffer = self._buffer[:_MAX_LINE]
                return
            self._buffer = rest
            yield line.rstrip(b"\r")[:_MAX_LINE]

    def rest(self) -> bytes:
        """What follows the last line that was taken; it is taken, too."""
        rest, self._buffer = self._buffer, b""
        return rest
