"""A capture file, read front to back with a fixed amount of memory."""

from collections.abc import Iterator
from pathlib import Path

from producers.sources.container import BrokenStreamError, inflated
from producers.sources.stream import CHUNK, MAGIC_LENGTH, StreamSource, parser_for
from runtime.errors import CaptureError, NotACaptureError


class FileSource(StreamSource):
    """Packets of one capture file. Raises NotACaptureError at once if it holds something else."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), path.name)
        self._file = path
        self._read = 0
        self._size = path.stat().st_size
        check(path)

    @property
    def progress(self) -> float:
        """The share of the file that has been read, 0 to 1."""
        return min(self._read / self._size, 1.0) if self._size else 1.0

    def chunks(self) -> Iterator[bytes]:
        """Yield the file's bytes; an error of the disk ends them with a CaptureError."""
        try:
            with self._file.open("rb") as stream:
                while not self._stopped and (chunk := stream.read(CHUNK)):
                    self._read += len(chunk)
                    yield chunk
        except OSError as error:
            raise CaptureError(f"{self.name}: {error.strerror}") from error


def check(path: Path) -> None:
    """Raise NotACaptureError unless the file begins like a capture, CaptureError if it cannot be read."""
    head = b""
    try:
        with path.open("rb") as stream:
            for chunk in inflated(iter(lambda: stream.read(CHUNK), b"")):
                head += chunk
                if len(head) >= MAGIC_LENGTH:
                    break
    except OSError as error:
        raise CaptureError(f"{path}: {error.strerror}") from error
    except BrokenStreamError as error:
        raise NotACaptureError(f"{path}: {error}") from error
    parser_for(head[:MAGIC_LENGTH], str(path))
