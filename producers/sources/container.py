"""What a capture may be wrapped in: gzip or zstd, recognised by its first bytes and unpacked as it streams."""

import zlib
from abc import ABC, abstractmethod

import zstandard

from producers.sources.errors import BrokenStreamError, CutStreamError
from producers.sources.reading import MAGIC_LENGTH, Feed

GZIP = b"\x1f\x8b"
ZSTD = b"\x28\xb5\x2f\xfd"
# A file may begin with a skippable frame (RFC 8878, section 3.1.2), as those of pzstd do.
_ZSTD_SKIPPABLE = frozenset(bytes([low]) + b"\x2a\x4d\x18" for low in range(0x50, 0x60))
_INPUT = 1 << 15
_OUTPUT = 1 << 14  # inflated bytes at a time, whatever the ratio; so much is lost where data is damaged
# Compressed bytes given to zstd at a time: they make at most 32 MiB (256 blocks of 128 KiB from four bytes each).
_SLICE = 1 << 10


class Unpacked:
    """A feed as it is, or unpacked if it begins like gzip or zstd."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._head = bytearray()
        self._inner: Feed | None = None

    def read_into(self, room: memoryview, seconds: float) -> int | None:
        """As `Feed.read_into`."""
        while self._inner is None:
            got = self._feed.read_into(room[: MAGIC_LENGTH - len(self._head)], seconds)
            if got is None:
                return None
            self._head += room[:got]
            if got == 0 or len(self._head) == MAGIC_LENGTH:
                self._inner = _chosen(bytes(self._head), self._feed)
        return self._inner.read_into(room, seconds)


def _chosen(head: bytes, feed: Feed) -> Feed:
    if head.startswith(GZIP):
        return _Gzip(head, feed)
    if head == ZSTD or head in _ZSTD_SKIPPABLE:
        return _Zstd(head, feed)
    return _Plain(head, feed)


class _Plain:
    """The head that was looked at, then the feed."""

    def __init__(self, head: bytes, feed: Feed) -> None:
        self._head, self._feed = head, feed

    def read_into(self, room: memoryview, seconds: float) -> int | None:
        if not self._head:
            return self._feed.read_into(room, seconds)
        count = min(len(self._head), len(room))
        room[:count] = self._head[:count]
        self._head = self._head[count:]
        return count


class _Compressed(ABC):
    """Members or frames of compressed data that follow each other."""

    name = ""

    def __init__(self, head: bytes, feed: Feed) -> None:
        self._input, self._output = head, memoryview(b"")
        self._feed = feed
        self._read = bytearray(_INPUT)
        self._begun = False

    def read_into(self, room: memoryview, seconds: float) -> int | None:
        while not self._output:
            if not self._input:
                got = self._feed.read_into(memoryview(self._read), seconds)
                if got is None:
                    return None
                if got == 0:
                    if self._begun:
                        raise CutStreamError(f"the {self.name} data is cut off")
                    return 0
                self._input = bytes(self._read[:got])
            self._output = memoryview(self._unpack())
        count = min(len(self._output), len(room))
        room[:count] = self._output[:count]
        self._output = self._output[count:]
        return count

    @abstractmethod
    def _unpack(self) -> bytes:
        """Take some of `_input`, and give what comes of it; `_begun` tells whether more must follow."""


class _Gzip(_Compressed):
    """Members one after the other (RFC 1952, section 2.2); zero padding after the last is allowed."""

    name = "gzip"

    def __init__(self, head: bytes, feed: Feed) -> None:
        super().__init__(head, feed)
        self._member = zlib.decompressobj(wbits=31)

    def _unpack(self) -> bytes:
        data = self._input if self._begun else self._input.lstrip(b"\x00")
        if not data:
            self._input = b""
            return b""
        try:
            out = self._member.decompress(data, _OUTPUT)
        except zlib.error as error:
            raise BrokenStreamError(f"the gzip data is damaged ({error})") from error
        self._begun = not self._member.eof
        self._input = self._member.unconsumed_tail
        if self._member.eof:
            self._input = self._member.unused_data
            self._member = zlib.decompressobj(wbits=31)
        return out


class _Zstd(_Compressed):
    """Frames one after the other (RFC 8878, section 3), skippable ones among them."""

    name = "zstd"

    def __init__(self, head: bytes, feed: Feed) -> None:
        super().__init__(head, feed)
        self._decompressor = zstandard.ZstdDecompressor()
        self._frame = self._decompressor.decompressobj()

    def _unpack(self) -> bytes:
        data, self._input = self._input[:_SLICE], self._input[_SLICE:]
        try:
            out = self._frame.decompress(data)
        except zstandard.ZstdError as error:
            raise BrokenStreamError(f"the zstd data is damaged ({error})") from error
        self._begun = not self._frame.eof
        if self._frame.eof:
            self._input = self._frame.unused_data + self._input
            self._frame = self._decompressor.decompressobj()
        return out
