"""HTTP/2 (RFC 9113): heads and data of messages from the frames of a connection; heads may go on in others."""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from producers.decoders.content import CONTENT
from producers.decoders.convert import number
from producers.decoders.tree import Tree, find_all, first, texts
from producers.decoders.unit import Place

_DATA, _HEADERS, _PUSH_PROMISE, _CONTINUATION = 0, 1, 5, 9
_END_STREAM, _END_HEADERS = 0x1, 0x4
_MAX_OPEN = 1000  # heads that wait for their rest; the oldest is given up
_MAX_NAMES = 200  # header fields read of one head


@dataclass(slots=True)
class Head:
    """The head of a message: its header fields by name, the first of each; `pushed` where a server promises it.

    `ends`: nothing follows it on its stream.
    """

    stream: int
    place: Place
    pushed: bool = False
    headers: dict[str, str] = field(default_factory=dict)
    ends: bool = False


class Data(NamedTuple):
    """A piece of a message's body; with the last one `ends` is true. `whole`: it is the body from its beginning on."""

    stream: int
    octets: bytes
    ends: bool
    whole: bool = False


class Heads:
    """Reads heads off layers. One that goes on in CONTINUATION frames (section 6.10) is whole with the last of them."""

    def __init__(self) -> None:
        self._open: OrderedDict[tuple[object, ...], Head] = OrderedDict()

    def read(self, layer: Tree, place: Place) -> Iterator[Head | Data]:
        """Yield the heads that are whole with this layer, and the data in it."""
        for frame in find_all(layer, "http2.stream"):
            kind, stream, flags = (_number(frame, name) for name in ("type", "streamid", "flags"))
            if kind == _DATA and stream and first(frame, "http2.type"):
                octets, whole = _octets(first(frame, "http2.data.data")), "http2.body.fragments" in frame
                yield Data(stream, octets, bool(flags & _END_STREAM), whole)
                continue
            if kind not in (_HEADERS, _PUSH_PROMISE, _CONTINUATION) or not stream:
                continue
            # No other frame may come in between, so a connection has one open head a side at most.
            where = (place.path, place.flow.uid if place.flow else None, place.from_initiator)
            head = self._open.pop(where, None)
            if kind != _CONTINUATION:
                promised = _number(frame, "push_promise.promised_stream_id")
                is_promise = kind == _PUSH_PROMISE
                head = Head(promised if is_promise else stream, place, is_promise)
                head.ends = is_promise or bool(flags & _END_STREAM)
            elif head is None:
                continue
            _add(head, frame)
            if flags & _END_HEADERS:
                yield head
            else:
                self._open[where] = head
                if len(self._open) > _MAX_OPEN:
                    self._open.popitem(last=False)


def _add(head: Head, frame: Tree) -> None:
    for item in find_all(frame, "http2.header"):
        for name in texts(item.get("http2.header.name"))[:1]:
            if len(head.headers) < _MAX_NAMES:
                head.headers.setdefault(name.lower(), next(iter(texts(item.get("http2.header.value"))), ""))


def _octets(text: str) -> bytes:
    """The first of a frame's bytes, from hexadecimal digits with colons."""
    return bytes.fromhex(text[: 3 * CONTENT - 1].replace(":", ""))


def _number(frame: Tree, name: str) -> int:
    """A number of a frame; 0 where it has none."""
    found = texts(frame.get(f"http2.{name}"))
    return (number(found[0]) or 0) if found else 0
