"""Bodies of HTTP/1 messages (RFC 9112): one file each, those in multipart/form-data (RFC 7578) each for itself."""

import re
from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

from producers.decoders.datasets.http import host_and_port, split_target
from producers.files.body import Body, Content, File, KeptBody, Spot
from producers.files.conversation import Tools
from producers.files.heads import (
    Fields,
    extension,
    file_name,
    header_fields,
    media_type,
    parameters,
    url_name,
)
from producers.files.multipart import Part, parts_of

_MAX_HEAD = 65_536
_MAX_WAITING = 100  # requests without a response
_MAX_LINE = 4_096
_ENDLESS = 1 << 62
_BEGINS = re.compile(rb"(?:HTTP/1\.[01] \d{3}|[A-Z][A-Z_-]{1,23} \S[^\r\n]{0,8192} HTTP/1\.[01]\r?\n)")
_BLANK = re.compile(rb"\r?\n\r?\n")
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_FORM = "application/x-www-form-urlencoded"


class _In(Enum):
    """What a side's next bytes are."""

    LOST = 0  # not known: until a packet begins with a head
    HEAD = 1
    LENGTH = 2
    SIZE = 3  # a chunk's size
    CHUNK = 4
    CHUNK_END = 5
    TRAILER = 6
    UNTIL_CLOSE = 7


class _Request(NamedTuple):
    method: str
    target: str
    host: str


@dataclass(slots=True)
class _Message:
    """A message whose body is being read."""

    request: _Request | None
    fields: Fields
    body: Body
    first: Spot
    last: Spot
    partial: bool = False


class _Side:
    """One direction: where in which message it is."""

    def __init__(self) -> None:
        self.state = _In.HEAD
        self.buffer = bytearray()
        self.left = 0
        self.lost = False  # since the last head
        self.message: _Message | None = None


class HttpConversation:
    """Both directions of a connection. Who the client is shows by who sends requests."""

    def __init__(self, tools: Tools, port: int | None) -> None:
        self.done = False
        self._tools, self._port = tools, port
        self._sides = {True: _Side(), False: _Side()}
        self._requests: deque[_Request] = deque(maxlen=_MAX_WAITING)
        self._client: bool | None = None

    def data(self, forward: bool, data: bytes, spot: Spot) -> None:  # noqa: FBT001  # see Conversation
        """The next bytes of a side."""
        side = self._sides[forward]
        if side.state is _In.LOST:
            if not _BEGINS.match(data):
                return
            side.state = _In.HEAD
        rest = memoryview(data)
        while rest and not self.done:
            rest = self._step(forward, side, rest, spot)

    def room(self, forward: bool) -> int:  # noqa: FBT001  # as above
        """How many of a side's next bytes are within a body."""
        side = self._sides[forward]
        if side.state in (_In.LENGTH, _In.CHUNK):
            return side.left - 1
        return _ENDLESS if side.state is _In.UNTIL_CLOSE else 0

    def gap(self, forward: bool, size: int, spot: Spot) -> None:  # noqa: FBT001  # as above
        """A hole: within a body of known length it is passed over, elsewhere the place is lost."""
        side = self._sides[forward]
        message = side.message
        known = side.state is _In.UNTIL_CLOSE or (side.state in (_In.LENGTH, _In.CHUNK) and size <= side.left)
        if message is not None:
            message.body.gap(size if known else side.left)
        if not known or message is None:
            self._lose(forward, side, spot)
        elif side.state is not _In.UNTIL_CLOSE:
            side.left -= size
            if not side.left:
                self._end_of_run(forward, side, spot)

    def end(self, forward: bool, spot: Spot) -> None:  # noqa: FBT001  # as above
        """A FIN: the end of a body that lasts until then (RFC 9112, section 6.3)."""
        side = self._sides[forward]
        self._finish(forward, side, spot, whole=side.state is _In.UNTIL_CLOSE)
        side.state = _In.LOST

    def close(self, spot: Spot) -> None:
        """What has not ended by now is incomplete."""
        for forward, side in self._sides.items():
            self._finish(forward, side, spot, whole=False)
            side.state = _In.LOST

    def _step(self, forward: bool, side: _Side, data: memoryview, spot: Spot) -> memoryview:  # noqa: FBT001  # as above
        """Take some of the bytes; return the others."""
        state, message = side.state, side.message
        if state is _In.UNTIL_CLOSE and message is not None:
            self._write(message, data, spot)
            return data[len(data) :]
        if state in (_In.LENGTH, _In.CHUNK) and message is not None:
            piece = data[: side.left]
            self._write(message, piece, spot)
            side.left -= len(piece)
            if not side.left:
                self._end_of_run(forward, side, spot)
            return data[len(piece) :]
        if state is _In.HEAD:
            return self._head(forward, side, data, spot)
        if state in (_In.SIZE, _In.CHUNK_END, _In.TRAILER):
            return self._line(forward, side, data, spot)
        return data[len(data) :]

    @staticmethod
    def _write(message: _Message, data: memoryview, spot: Spot) -> None:
        message.body.write(bytes(data))
        message.last = spot

    def _end_of_run(self, forward: bool, side: _Side, spot: Spot) -> None:  # noqa: FBT001  # as above
        """The bytes of a body of known length, or of a chunk, are over."""
        if side.state is _In.CHUNK:
            side.state = _In.CHUNK_END
        else:
            self._finish(forward, side, spot, whole=True)

    def _line(self, forward: bool, side: _Side, data: memoryview, spot: Spot) -> memoryview:  # noqa: FBT001  # as above
        """A line of the chunked coding (RFC 9112, section 7.1): a size, the end of a chunk, a trailer field."""
        before = len(side.buffer)
        side.buffer += data[:_MAX_LINE]
        end = side.buffer.find(b"\n", max(before - 1, 0))
        if end < 0:
            if len(side.buffer) > _MAX_LINE:
                self._lose(forward, side, spot)
            return data[_MAX_LINE:]
        line = bytes(side.buffer[:end]).strip()
        side.buffer.clear()
        rest = data[end + 1 - before :]
        if side.state is _In.CHUNK_END:
            side.state = _In.SIZE
        elif side.state is _In.SIZE:
            try:
                side.left = int(line.partition(b";")[0].strip() or b"x", 16)
            except ValueError:
                side.left = -1
            if side.left < 0:
                self._lose(forward, side, spot)
            else:
                side.state = _In.CHUNK if side.left else _In.TRAILER
        elif not line:
            self._finish(forward, side, spot, whole=True)
        return rest

    def _head(self, forward: bool, side: _Side, data: memoryview, spot: Spot) -> memoryview:  # noqa: FBT001  # as above
        before = len(side.buffer)
        side.buffer += data[:_MAX_HEAD]
        if not before:
            side.buffer = side.buffer.lstrip(b"\r\n")  # RFC 9112, section 2.2
            before = len(side.buffer) - len(data[:_MAX_HEAD])
        end = _BLANK.search(side.buffer, max(before - 3, 0))
        if end is None:
            if len(side.buffer) > _MAX_HEAD:
                self._lose(forward, side, spot)
            return data[_MAX_HEAD:]
        head = bytes(side.buffer[: end.start()])
        side.buffer.clear()
        if not _BEGINS.match(head + b"\r\n"):
            self._lose(forward, side, spot)
            return data[len(data) :]
        first, _, lines = head.partition(b"\n")
        words, fields = first.decode("utf-8", "replace").split(None, 2), header_fields(lines)
        if head.startswith(b"HTTP/"):
            self._client = not forward
            if side.lost:  # and with it who knows how many responses: this one answers what was asked last
                self._requests = deque(list(self._requests)[-1:], maxlen=_MAX_WAITING)
            self._response(side, int(words[1]), fields, spot)
        else:
            self._client = forward
            request = _Request(words[0], words[1], fields.get("host", ""))
            self._requests.append(request)
            self._begin(side, request, fields, spot, sized=True)
        side.lost = False
        return data[end.end() - before :]

    def _response(self, side: _Side, status: int, fields: Fields, spot: Spot) -> None:
        if 100 <= status < 200 and status != 101:
            return
        request = self._requests.popleft() if self._requests else None
        method = request.method if request else ""
        if status == 101 or (method == "CONNECT" and status < 300):
            self.done = True  # another protocol follows
        elif method != "HEAD" and status not in (204, 304):
            self._begin(side, request, fields, spot, sized=False)
            if side.message is not None and status == 206:
                side.message.partial = not _is_whole(fields.get("content-range", ""))

    def _begin(
        self, side: _Side, request: _Request | None, fields: Fields, spot: Spot, *, sized: bool
    ) -> None:
        """Begin a body, if there is one (RFC 9112, section 6.3); `sized`: not one that lasts until the end."""
        length = fields.get("content-length", "").partition(",")[0].strip()
        size = int(length) if length.isascii() and length.isdigit() and len(length) < 19 else None
        if "chunked" in fields.get("transfer-encoding", "").lower():
            side.state, size = _In.SIZE, None
        elif size is not None:
            side.state, side.left = _In.LENGTH, size
        elif not sized:
            side.state = _In.UNTIL_CLOSE
        if size == 0 or side.state is _In.HEAD:
            side.state = _In.HEAD
            return
        limit, coding = self._tools.limit, fields.get("content-encoding", "").strip().lower()
        if media_type(fields) == "multipart/form-data" and not coding:
            body: Body = KeptBody(limit, self._tools.budget, size)
        else:
            body = Body(limit, size, "" if coding == "identity" else coding)
        side.message = _Message(request, fields, body, spot, spot)

    def _lose(self, forward: bool, side: _Side, spot: Spot) -> None:  # noqa: FBT001  # as above
        """What comes is no HTTP, or too much: go on where a packet begins with a head."""
        self._finish(forward, side, spot, whole=False)
        side.buffer.clear()
        side.state, side.lost = _In.LOST, True

    def _finish(self, forward: bool, side: _Side, spot: Spot, *, whole: bool) -> None:  # noqa: FBT001  # as above
        """Tell the body that is being read, if there is one, and await the next head."""
        message, side.message = side.message, None
        side.state = _In.HEAD
        if message is None:
            return
        body, to_client = message.body, forward != self._client
        if not whole and not body.missing and side.left:
            body.gap(side.left)
        side.left = 0
        message.last = max(message.last, spot) if whole else message.last
        if body.seen and media_type(message.fields) != _FORM:
            for file in self._files(message, to_client=to_client, whole=whole):
                self._tools.tell(file)
        body.close()

    def _files(self, message: _Message, *, to_client: bool, whole: bool) -> list[File]:
        """The files of a body: those of a form, or the body itself."""
        body, fields = message.body, message.fields
        if isinstance(body, KeptBody) and body.data is not None:
            boundary = parameters(fields["content-type"]).get("boundary", "")
            parts = [part for part in parts_of(body.data, body.holes, boundary) if _is_file(part)]
            files = [
                self._file(message, part.fields, part.content(), to_client=to_client, whole=part.complete)
                for part in parts
            ]
            for file, part in zip(files, parts, strict=True):
                file.seen, file.missing = part.seen, part.missing
            return files
        whole = whole and not body.missing and not message.partial
        content = body.content(whole=whole)
        file = self._file(message, fields, content, to_client=to_client, whole=whole)
        file.coding = fields.get("content-encoding", "").strip().lower()
        if not file.name and message.request and (to_client or message.request.method == "PUT"):
            file.name = url_name(split_target(message.request.target, message.request.method).rest)
        return [file]

    def _file(
        self, message: _Message, fields: Fields, content: Content, *, to_client: bool, whole: bool
    ) -> File:
        return File(
            source="HTTP",
            protocol="http",
            to_client=to_client,
            client_first=bool(self._client),
            first=message.first,
            last=message.last,
            content=content,
            complete=whole,
            seen=message.body.seen,
            missing=message.body.missing,
            name=file_name(fields),
            declared=media_type(fields),
            fields=_url(message.request, self._port),
        )


def _is_file(part: Part) -> bool:
    """Whether a form's part is a file; a browser sends one without name and content where none was chosen."""
    return "filename" in part.said and bool(part.said["filename"] or part.data)


def _is_whole(content_range: str) -> bool:
    """Whether a range is all there is (RFC 9110, section 14.4)."""
    found = _RANGE.match(content_range)
    return found is not None and int(found[1]) == 0 and int(found[2]) + 1 == int(found[3])


def _url(request: _Request | None, port: int | None) -> dict[str, Any]:
    """Where a file came from or went to. The query is left out: it is told, and guarded, in the request's event."""
    if request is None:
        return {}
    target = split_target(request.target, request.method)
    host, told = host_and_port(request.host.rpartition("@")[2] or target.authority)
    path = target.rest.partition("?")[0].partition("#")[0]
    fields: dict[str, Any] = {
        "url.scheme": target.scheme,
        "url.domain": host,
        "url.port": told if told is not None else port,
        "url.path": path,
        "url.extension": extension(url_name(path)),
    }
    return {name: value for name, value in fields.items() if value not in ("", None)}
