"""A capture on a pipe: standard input (`netflight decode -`) or a named pipe, in any format of a file."""

import os
import select
import sys
from collections.abc import Iterator
from typing import IO

from producers.sources.stream import CHUNK, StreamSource
from runtime.errors import CaptureError

POLL_SECONDS = 0.2


def available(descriptor: int, seconds: float = 0.0) -> bool:
    """Whether a read would not block, waiting at most `seconds` for it."""
    return bool(select.select([descriptor], [], [], seconds)[0])


class StdinSource(StreamSource):
    """Packets of a stream that cannot be sought; what has come is handed on when the stream pauses."""

    def __init__(self, stream: IO[bytes] | None = None, path: str = "") -> None:
        super().__init__(path, path or "stdin")
        self._stream = stream or sys.stdin.buffer

    def chunks(self) -> Iterator[bytes]:
        """Yield what comes; an empty chunk whenever nothing more is there at once."""
        descriptor = self._stream.fileno()
        waited = False
        while not self._stopped:
            if not available(descriptor, POLL_SECONDS if waited else 0.0):
                if not waited:
                    yield b""
                waited = True
                continue
            waited = False
            try:
                chunk = os.read(descriptor, CHUNK)
            except OSError as error:
                raise CaptureError(f"{self.name}: {error.strerror}") from error
            if not chunk:
                return
            yield chunk
