"""Protocols that are read as a stream of bytes: what came in a packet, and lines and blocks however segments cut them.

tshark gives the bytes in the order of the connection, each once (streams.lua).
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

from producers.decoders.tree import Tree, texts
from producers.decoders.unbroken import ahead
from producers.decoders.unit import Place

MAX_LINE = 65_536
"""Bytes that are kept of a line; the rest of a longer one is left out."""

REPLY = re.compile(rb"\d{3}[ -]")
"""How a reply of SMTP or FTP begins (RFC 5321, 4.2; RFC 959, 4.2)."""

_BINARY = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1e]")


class Piece(NamedTuple):
    """The bytes of a stream that one packet brought, whether the client sent them, and where they were seen."""

    client: bool
    data: bytes
    place: Place


def piece(layer: Tree, protocol: str, place: Place) -> Piece:
    """What a layer of streams.lua, called `protocol`, has brought; nothing where it is broken.

    What was sent before the connection was recognised comes with the first packet after it, of the other side.
    """
    found = texts(layer.get(f"{protocol}.bytes"))[:1]
    try:
        data = bytes.fromhex(found[0].replace(":", "")) if found else b""
    except ValueError:
        data = b""
    if f"{protocol}.earlier" in layer:
        place = place._replace(
            from_initiator=not place.from_initiator, length=0, sequence=-1, acknowledgement=-1, hole=False
        )
    return Piece(texts(layer.get(f"{protocol}.client"))[:1] == ["1"], data, place)


class Continuity:
    """Whether the packets of one direction follow each other: `place.hole` stays until something of them is read."""

    __slots__ = ("_end",)

    def __init__(self) -> None:
        self._end = -1

    def lost_before(self, place: Place) -> bool:
        """Whether bytes are lost between the packet before and this one."""
        end = self._end
        self._end = -1 if place.sequence < 0 else place.sequence + place.length
        follows = end >= 0 and place.sequence >= 0 and ahead(place.sequence, end) <= 0
        return place.hole and not follows


class Stream(Continuity):
    """The bytes of one direction that are not read yet, bounded by MAX_LINE and one packet.

    A line that `begins` matches is whole also where it comes right after a hole.
    """

    __slots__ = ("_begins", "_held", "_mended", "_searched")

    def __init__(self, begins: re.Pattern[bytes] | None = None) -> None:
        super().__init__()
        self._begins = begins
        self._held = bytearray()
        self._searched = 0
        self._mended = True

    def feed(self, data: bytes, *, hole: bool = False) -> None:
        """Take bytes in; where some before them are lost, what is left of the line around the hole is left out."""
        if hole:
            self._held.clear()
            self._searched = 0
            self._mended = False
        self._held += data

    def line(self) -> bytes | None:
        """The next line without its end, CRLF or LF; None until it is whole."""
        while True:
            end = self._held.find(b"\n", self._searched)
            if end < 0:
                del self._held[MAX_LINE:]
                self._searched = len(self._held)
                return None
            whole = bytes(self._held[:end])
            del self._held[: end + 1]
            self._searched = 0
            mended, self._mended = self._mended, True
            if mended or (self._begins is not None and self._begins.match(whole)):
                return whole.removesuffix(b"\r")[:MAX_LINE]

    def take(self, size: int) -> bytes:
        """At most `size` of the bytes that are there."""
        taken = bytes(self._held[:size])
        del self._held[:size]
        self._searched = 0
        return taken

    @property
    def empty(self) -> bool:
        """Whether all that came was read."""
        return not self._held


def begins_with(words: Iterable[str], before: bytes = b"") -> re.Pattern[bytes]:
    """How a line begins whose first word, after what `before` matches, is one of `words`."""
    return re.compile(before + b"(?:" + "|".join(sorted(words)).encode() + rb")(?=\s|:|$)", re.IGNORECASE)


def is_text(line: bytes) -> bool:
    """Whether a line may be one of a text protocol: it has no control characters but for white space and escape."""
    return _BINARY.search(line) is None


def begins_tls(data: bytes) -> bool:
    """Whether bytes are the begin of a TLS record (RFC 8446, 5.1), which no line of text begins like."""
    return data[:1] in (b"\x14", b"\x15", b"\x16", b"\x17")


def text(line: bytes) -> str:
    """A line as text; what is no UTF-8 is U+FFFD."""
    return line.decode("utf-8", "replace")
