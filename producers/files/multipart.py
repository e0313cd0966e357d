"""The parts of a multipart body (RFC 2046, section 5.1), as mail and forms have them: by their boundaries.

Read by hand and not by email.parser, because bytes that were not seen must be told of the part they are missing in.
"""

import base64
import binascii
import quopri
import re
from collections.abc import Iterator
from dataclasses import dataclass

from producers.files.body import Body, Content
from producers.files.heads import Fields, header_fields, media_type, parameters

_BLANK = re.compile(rb"\r?\n\r?\n")
_BASE64 = re.compile(rb"[^A-Za-z0-9+/]")
_MAX_PARTS = 1000
_MAX_DEPTH = 10
_MAX_HEAD = 65_536


@dataclass(slots=True)
class Part:
    """A part that is not multipart itself. `data` is decoded; `seen` and `missing` count the bytes as sent.

    `said` has the parameters of its Content-Disposition.
    """

    fields: Fields
    said: Fields
    data: bytes
    seen: int
    missing: int
    complete: bool

    def content(self) -> Content:
        """What is known of what is inside."""
        body = Body(len(self.data))
        body.write(self.data)
        content = body.content(whole=self.complete)
        return content if self.complete else content._replace(size=None)


def parts_of(
    data: bytes | bytearray, holes: list[tuple[int, int]], boundary: str, *, depth: int = 0
) -> list[Part]:
    """The innermost parts of a multipart body; `holes` are the places of bytes that were not seen."""
    found: list[Part] = []
    for begin, end, closed in _spans(bytes(data), boundary):
        if len(found) >= _MAX_PARTS:
            break
        inside = [(first - begin, last - begin) for first, last in holes if first < end and last > begin]
        found += entity(bytes(data[begin:end]), inside, closed=closed, depth=depth)
    return found[:_MAX_PARTS]


def entity(raw: bytes, holes: list[tuple[int, int]], *, closed: bool, depth: int = 0) -> list[Part]:
    """A head with its content as a part, or the parts inside of it; `closed`: its end was seen."""
    blank = _BLANK.search(b"\r\n" + raw[:_MAX_HEAD])
    begin = blank.end() - 2 if blank else len(raw)
    fields = header_fields(raw[:begin])
    if media_type(fields).startswith("multipart/") and depth < _MAX_DEPTH:
        boundary = parameters(fields["content-type"]).get("boundary", "")
        inside = [(max(first - begin, 0), last - begin) for first, last in holes if last > begin]
        if boundary:
            return parts_of(raw[begin:], inside, boundary, depth=depth + 1)
    missing = sum(max(min(last, len(raw)) - max(first, 0), 0) for first, last in holes)
    data, sound = _decoded(raw[begin:], fields.get("content-transfer-encoding", "").strip().lower())
    said = parameters(fields.get("content-disposition", ""))
    seen = len(raw) - begin
    return [Part(fields, said, data, max(seen - missing, 0), missing, closed and not missing and sound)]


def _spans(data: bytes, boundary: str) -> Iterator[tuple[int, int, bool]]:
    """Where each part begins and ends, and whether a boundary says that it ends there."""
    if not boundary or len(boundary) > 200:
        return
    mark = b"--" + boundary.encode("utf-8", "replace")
    begin = -1
    at = 0 if data.startswith(mark) else _line(data, mark, 0)
    while at >= 0:
        if begin >= 0:
            end = at - 1 if data[at - 1 : at] == b"\n" else at
            yield begin, max(end - (data[end - 1 : end] == b"\r"), begin), True
        behind = at + len(mark)
        if data[behind : behind + 2] == b"--":
            return
        line = data.find(b"\n", behind)
        if line < 0:
            return
        begin = line + 1
        # An empty part's own boundary begins where it does.
        at = begin if data.startswith(mark, begin) else _line(data, mark, begin)
    if begin >= 0:
        yield begin, len(data), False


def _line(data: bytes, mark: bytes, begin: int) -> int:
    """Where the next line begins that starts with `mark` and has no more letters; -1: nowhere."""
    at = data.find(b"\n" + mark, max(begin - 1, 0))
    while at >= 0:
        behind = data[at + 1 + len(mark) : at + 3 + len(mark)]
        if not behind or behind[:1] in (b"\r", b"\n", b" ", b"\t") or behind == b"--":
            return at + 1
        at = data.find(b"\n" + mark, at + 1)
    return -1


def _decoded(data: bytes, coding: str) -> tuple[bytes, bool]:
    """Content as it was before its transfer coding (RFC 2045, section 6), and whether that could be undone."""
    if coding == "base64":
        letters = _BASE64.sub(b"", data.partition(b"=")[0])
        whole = len(letters) % 4 != 1
        letters = letters if whole else letters[:-1]
        try:
            return base64.b64decode(letters + b"=" * (-len(letters) % 4)), whole
        except binascii.Error:
            return data, False
    if coding == "quoted-printable":
        return quopri.decodestring(data), True
    return data, True
