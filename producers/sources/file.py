"""A capture file, read front to back with a fixed amount of memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from producers.sources.container import Unpacked
from producers.sources.errors import BrokenStreamError
from producers.sources.reading import MAGIC_LENGTH, WINDOW, Feed
from producers.sources.stream import StreamSource, reader_for
from runtime.errors import CaptureError, NotACaptureError

_SMALLEST_WINDOW = 1 << 16


class FileFeed:
    """The bytes of a file that was opened without a buffer; `read` counts them."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file, self._name = file, name
        self.read = 0

    def read_into(self, room: memoryview, seconds: float) -> int | None:  # noqa: ARG002  # a file never waits
        """As `Feed.read_into`; an error of the disk is a CaptureError."""
        try:
            got: int = self._file.readinto(room)  # type: ignore[attr-defined]
        except OSError as error:
            raise CaptureError(f"{self._name}: {error.strerror}") from error
        self.read += got
        return got


class FileSource(StreamSource):
    """Packets of one capture file. Raises NotACaptureError at once if it holds something else."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), path.name)
        self._file = path
        self._size = path.stat().st_size
        self._feed: FileFeed | None = None
        check(path)

    @property
    def progress(self) -> float:
        """The share of the file that has been read, 0 to 1."""
        read = self._feed.read if self._feed else 0
        return min(read / self._size, 1.0) if self._size else 1.0

    @contextmanager
    def opened(self) -> Iterator[Feed]:
        """Open the file; CaptureError if that is not possible any more."""
        with open_raw(self._file, self.name) as file:
            self._feed = FileFeed(file, self.name)
            yield self._feed

    def _window(self) -> int:
        return max(_SMALLEST_WINDOW, min(self._size + 1, WINDOW))


def open_raw(path: Path, name: str) -> BinaryIO:
    """A file opened for reading without a buffer; CaptureError if that is not possible."""
    try:
        return path.open("rb", buffering=0)
    except OSError as error:
        raise CaptureError(f"{name}: {error.strerror}") from error


def check(path: Path) -> None:
    """Raise NotACaptureError unless the file begins like a capture, CaptureError if it cannot be read."""
    head = bytearray(MAGIC_LENGTH)
    filled = 0
    with open_raw(path, str(path)) as file:
        feed = Unpacked(FileFeed(file, str(path)))
        try:
            while filled < MAGIC_LENGTH and (got := feed.read_into(memoryview(head)[filled:], 0.0)):
                filled += got
        except BrokenStreamError as error:
            raise NotACaptureError(f"{path}: {error}") from error
    reader_for(bytes(head[:filled]), str(path))
