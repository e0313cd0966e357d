"""A capture on a pipe: standard input (`netflight decode -`) or a named pipe, in any format of a file."""

import fcntl
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO

from producers.sources.reading import Feed
from producers.sources.stream import StreamSource
from runtime.errors import CaptureError

_PIPE_BYTES = 1 << 20  # what an unprivileged process may ask for


class PipeFeed:
    """The bytes of a descriptor that cannot be sought, as they come; `ended` when there are no more."""

    def __init__(self, descriptor: int, name: str) -> None:
        self._descriptor, self._name = descriptor, name
        self.ended = False
        self._poll = select.poll()  # select has no room for descriptors beyond 1,023
        self._poll.register(descriptor, select.POLLIN)
        with suppress(OSError):  # no pipe, or the user's other pipes have used up their share
            fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)

    def read_into(self, room: memoryview, seconds: float) -> int | None:
        """As `Feed.read_into`."""
        try:
            if not self._poll.poll(seconds * 1000):
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
