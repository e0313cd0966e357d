"""A capture as a stream of bytes, from a file or a pipe: what both sources share."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Protocol

from producers.sources import pcap, pcapng
from producers.sources.container import BrokenStreamError, inflated
from producers.sources.errors import broken
from producers.sources.packet import Block
from runtime.errors import CaptureError, NotACaptureError

BLOCK_PACKETS = 1_000
BLOCK_BYTES = 4 << 20  # a block of jumbo packets ends earlier
CHUNK = 1 << 17
KNOWN = "pcap and pcapng are read, plain or gzip-compressed"
MAGIC_LENGTH = 4


class Parser(Protocol):
    """A push parser of one capture format."""

    @property
    def dropped(self) -> int:
        """Packets that the capture says were dropped."""
        ...

    def push(self, chunk: bytes, out: Block) -> None:
        """Append the packets that `chunk` completes to `out`; CaptureError where the capture is damaged."""
        ...

    def end(self) -> None:
        """Raise CaptureError if the capture is cut off."""
        ...


def parser_for(magic: bytes, name: str) -> Parser:
    """The parser for a capture that begins with these four bytes, or NotACaptureError."""
    if magic in pcap.MAGICS:
        return pcap.PcapParser(name)
    if magic == pcapng.MAGIC:
        return pcapng.PcapngParser(name)
    if not magic:
        raise NotACaptureError(f"{name}: empty, not a capture", KNOWN)
    if magic == b"\x28\xb5\x2f\xfd":
        raise NotACaptureError(f"{name}: compressed with zstd", "unpack it first: zstd -d")
    raise NotACaptureError(f"{name}: not a capture", KNOWN)


class StreamSource(ABC):
    """Packets of one stream. A subclass yields its chunks; an empty chunk says that nothing came for now."""

    live = False

    def __init__(self, path: str, name: str) -> None:
        self.path = path
        self.name = name
        self._parser: Parser | None = None
        self._stopped = False
        self._head = b""

    @property
    def dropped(self) -> int:
        """Packets that the capture says were dropped while it was taken."""
        return self._parser.dropped if self._parser else 0

    @property
    def progress(self) -> float | None:
        """The share that has been read; None for a stream without a known end."""
        return None

    @abstractmethod
    def chunks(self) -> Iterator[bytes]:
        """Yield the stream's bytes as they come; end soon after `stop`."""

    def stop(self) -> None:
        """End `blocks` soon, from another thread."""
        self._stopped = True

    def blocks(self) -> Iterator[Block]:
        """Yield the packets in blocks; then CaptureError if the stream is damaged or cut off."""
        out: Block = []
        weight = yielded = 0
        try:
            for chunk in inflated(self.chunks()):
                weight += len(chunk)
                self._push(chunk, out)
                while len(out) >= BLOCK_PACKETS:
                    block, out, weight = out[:BLOCK_PACKETS], out[BLOCK_PACKETS:], 0
                    yielded += len(block)
                    yield block
                if weight >= BLOCK_BYTES or (not chunk and (out or self.live)):
                    block, out, weight = out, [], 0
                    yielded += len(block)
                    yield block
            if not self._stopped:
                self._finish()
        except (CaptureError, BrokenStreamError) as error:
            yield from (out[start : start + BLOCK_PACKETS] for start in range(0, len(out), BLOCK_PACKETS))
            if isinstance(error, BrokenStreamError):
                raise broken(self.name, yielded + len(out), str(error)) from error
            raise
        if out:
            yield out

    def _push(self, chunk: bytes, out: Block) -> None:
        if self._parser is None:
            self._head += chunk
            if len(self._head) < MAGIC_LENGTH:
                return
            self._parser = parser_for(self._head[:MAGIC_LENGTH], self.name)
            chunk, self._head = self._head, b""
        self._parser.push(chunk, out)

    def _finish(self) -> None:
        if self._parser is None:
            self._parser = parser_for(self._head, self.name)
        self._parser.end()
