"""A capture on a pipe: standard input (`netflight decode -`) or a named pipe, in any format of a file."""

import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from producers.sources.reading import Feed
from producers.sources.stream import StreamSource
from runtime.errors import CaptureError


class PipeFeed:
    """The bytes of a descriptor that cannot be sought, as they come; `ended` when there are no more."""

    def __init__(self, descriptor: int, name: str) -> None:
        self._descriptor, self._name = descriptor, name
        self.ended = False

    def read_into(self, room: memoryview, seconds: float) -> int | None:
        """As `Feed.read_into`."""
        try:
            if not select.select([self._descriptor], [], [], seconds)[0]:
                return None
            got = os.readv(self._descriptor, [room])
        except OSError as error:
            raise CaptureError(f"{self._name}: {error.strerror}") from error
        self.ended = got == 0
        return got


class StdinSource(StreamSource):
    """Packets of a stream that cannot be sought; what has come is handed on when the stream pauses."""

    paced = True

    def __init__(self, stream: IO[bytes] | None = None, path: str = "") -> None:
        super().__init__(path, path or "stdin")
        self._stream = stream or sys.stdin.buffer

    @contextmanager
    def opened(self) -> Iterator[Feed]:
        """The stream, which whoever opened it closes."""
        yield PipeFeed(self._stream.fileno(), self.name)
