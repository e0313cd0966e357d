"""A capture as a stream of bytes, from a file, a pipe or an interface: what these sources share."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager

from producers.sources import pcap, pcapng
from producers.sources.container import Unpacked
from producers.sources.packet import Block
from producers.sources.reading import WINDOW, Feed, Reader, Reading
from runtime.errors import NotACaptureError
from runtime.names import shown

KNOWN = "pcap and pcapng are read, plain or compressed with gzip or zstd"


def reader_for(magic: bytes, name: str) -> Reader:
    """The reader for a capture that begins with these four bytes, or NotACaptureError."""
    if magic in pcap.MAGICS:
        return pcap.PcapReader()
    if magic == pcapng.MAGIC:
        return pcapng.PcapngReader()
    if not magic:
        raise NotACaptureError(f"{name}: empty, not a capture", KNOWN)
    raise NotACaptureError(f"{name}: not a capture", KNOWN)


class StreamSource(ABC):
    """Packets of one stream of bytes. A subclass opens its feed.

    `paced` says that the bytes come in real time.
    """

    live = False
    paced = False

    def __init__(self, path: str, name: str) -> None:
        self.path = shown(path)
        self.name = shown(name)
        self._reading: Reading | None = None
        self._stopped = False

    @property
    def dropped(self) -> int:
        """Packets that the capture says were dropped while it was taken."""
        return self._reading.dropped if self._reading else 0

    @property
    def progress(self) -> float | None:
        """The share that has been read; None for a stream without a known end."""
        return None

    @abstractmethod
    def opened(self) -> AbstractContextManager[Feed]:
        """Open the stream; leaving the context closes it."""

    def stop(self) -> None:
        """End `blocks` soon, from another thread."""
        self._stopped = True

    def blocks(self) -> Iterator[Block]:
        """Yield the packets in blocks; then CaptureError if the stream is damaged or cut off."""
        with self.opened() as feed:
            self._reading = Reading(
                Unpacked(feed),
                self.name,
                reader_for,
                paced=self.paced,
                ahead=not self.paced and self._window() == WINDOW,
                window=self._window(),
            )
            for block in self._reading.blocks(self._over):
                if self.live or len(block):
                    yield block

    def _over(self) -> bool:
        """Whether to read no further, though the stream has not ended."""
        return self._stopped

    def _window(self) -> int:
        """How many bytes to have in memory at a time."""
        return WINDOW
