"""A file's content on its way past: counted, hashed, decoded, its first bytes kept; nothing else of it stays."""

import hashlib
import zlib
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from producers.files.mime import HEAD, mime_type
from producers.files.stream import Budget

_STEP = 1 << 18  # bytes that come out of a decompressor at once
DECODED = {"gzip": 31, "x-gzip": 31, "deflate": 15}
"""Content codings that are undone (RFC 9110, section 8.4.1), with zlib's name of their window and wrapping."""


class Spot(NamedTuple):
    """A packet: its frame number, its time, and the interface it came in on."""

    frame: int
    time_ns: int
    interface: str


class Content(NamedTuple):
    """What is known of a content: its size (None: not known), MIME type, and hashes where it is whole and small."""

    size: int | None
    mime: str
    md5: str = ""
    sha256: str = ""


class _Digest:
    """Size, first bytes and hashes of what passes; past `limit` bytes it counts only."""

    def __init__(self, limit: int) -> None:
        self.size, self.head, self._limit = 0, b"", limit
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._sha256 = hashlib.sha256()

    @property
    def over(self) -> bool:
        return self.size > self._limit

    def write(self, data: bytes) -> None:
        self.size += len(data)
        if len(self.head) < HEAD:
            self.head += data[: HEAD - len(self.head)]
        if self.size <= self._limit:
            self._md5.update(data)
            self._sha256.update(data)

    def content(self, *, whole: bool, size: int | None) -> Content:
        mime = mime_type(self.head) if self.head else ""
        if not whole or self.over:
            return Content(self.size if whole else size, mime)
        return Content(self.size, mime, self._md5.hexdigest(), self._sha256.hexdigest())


class Body:
    """A content as it was sent: `seen` bytes of it, `missing` ones that were not seen.

    `coding` is its content coding; where it can be undone, size, type and hashes are those of what comes out.
    `limit` is the size up to which it is hashed; `size` is what it should have, where that is known: a larger one is
    counted only.
    """

    def __init__(self, limit: int, size: int | None = None, coding: str = "") -> None:
        self.seen = self.missing = 0
        self.expected = size
        self._limit = 0 if size is not None and size > limit else limit
        self._sent = _Digest(self._limit)
        self._plain = _Digest(self._limit) if coding in DECODED else None
        self._coding, self._inflate = coding, zlib.decompressobj(DECODED.get(coding, 15))
        self._failed = self._ended = False

    @property
    def decoded(self) -> bool:
        """Whether the content coding was undone."""
        return self._plain is not None and self._ended and not self._failed

    def write(self, data: bytes) -> None:
        """Take the next bytes."""
        self.seen += len(data)
        self._sent.write(data)
        if self._plain is not None and not (self.missing or self._failed or self._plain.over):
            self._decode(data, self._plain)

    def gap(self, size: int) -> None:
        """Told that so many bytes were not seen."""
        self.missing += size

    def content(self, *, whole: bool) -> Content:
        """What is known at the end; `whole`: nothing follows and nothing is missing."""
        whole = whole and not self.missing
        if self._plain is None or self._failed or not self._plain.head:
            return self._sent.content(whole=whole, size=self.expected)
        if self._plain.over or not self._ended:  # how large it would become nobody knows
            return Content(None, mime_type(self._plain.head))
        return self._plain.content(whole=whole, size=None)

    def close(self) -> None:
        """Give back what was held."""

    def _decode(self, data: bytes, plain: _Digest) -> None:
        try:
            self._inflate_all(data, plain)
        except zlib.error:
            if self._coding != "deflate" or plain.size or self.seen != len(data):
                self._failed = True
                return
            self._inflate = zlib.decompressobj(-15)  # what many mean by deflate: RFC 9110, section 8.4.1.2
            try:
                self._inflate_all(data, plain)
            except zlib.error:
                self._failed = True

    def _inflate_all(self, data: bytes, plain: _Digest) -> None:
        while data and not plain.over:
            plain.write(self._inflate.decompress(data, _STEP))
            data = self._inflate.unconsumed_tail
            if self._inflate.eof:
                rest = self._inflate.unused_data
                self._ended = True
                if not rest.startswith(b"\x1f\x8b") or DECODED[self._coding] != DECODED["gzip"]:
                    break
                self._inflate, data, self._ended = (
                    zlib.decompressobj(31),
                    rest,
                    False,
                )  # RFC 1952, section 2.2


class KeptBody(Body):
    """A content that is kept, because files are inside of it: mail, form data.

    `data` has zeros where bytes are missing, at the places (from, to) in `holes`. It is None, and nothing is inside,
    where the content is larger than `limit` or memory was short.
    """

    def __init__(self, limit: int, budget: Budget, size: int | None = None) -> None:
        super().__init__(limit, size)
        self._budget = budget
        self.data: bytearray | None = bytearray() if size is None or size <= limit else None
        self.holes: list[tuple[int, int]] = []

    def write(self, data: bytes) -> None:
        """Take the next bytes."""
        super().write(data)
        self._keep(data)

    def gap(self, size: int) -> None:
        """Told that so many bytes were not seen."""
        super().gap(size)
        if self.data is not None:
            begin = len(self.data)
            self._keep(bytes(min(size, self._limit + 1)))
            self.holes.append((begin, begin + size))

    def close(self) -> None:
        """Let go of the content."""
        if self.data is not None:
            self._budget.give(len(self.data))
            self.data = None

    def _keep(self, data: bytes) -> None:
        if self.data is None:
            return
        if len(self.data) + len(data) > self._limit or not self._budget.take(len(data)):
            self.close()
        else:
            self.data += data


@dataclass(slots=True)
class File:
    """A file that was seen: between which packets, which way, what is known of it.

    `client_first`: the flow's initiator is the client. `fields` are more of its event's, by dotted name.
    """

    source: str
    protocol: str
    to_client: bool
    client_first: bool
    first: Spot
    last: Spot
    content: Content
    complete: bool
    seen: int
    missing: int
    name: str = ""
    path: str = ""
    declared: str = ""
    coding: str = ""
    fields: dict[str, Any] = field(default_factory=dict)
