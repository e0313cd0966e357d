"""Files over SMB 2 and 3 (MS-SMB2), unless encrypted or compressed: what READ and WRITE carry, by the file's id.

A file is told when it is closed. It is whole when every byte from its beginning to its end was read, or written, once.
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct, unpack_from
from struct import error as StructError  # noqa: N812  # its name is in lower case
from typing import TypeVar

from producers.files.body import Body, File, Spot
from producers.files.conversation import Tools
from producers.files.heads import base_name
from producers.files.stream import Stream

K = TypeVar("K")
V = TypeVar("V")

_HEADER = Struct("<4sHHIHHIIQII")  # section 2.2.1, up to the tree's id; 64 bytes with session and signature
_MAGIC, _HEADER_SIZE = b"\xfeSMB", 64
_TREE_CONNECT, _CREATE, _CLOSE, _READ, _WRITE = 3, 5, 6, 8, 9
_RESPONSE = 1
_DIRECTORY = 0x10
_PENDING = 0x103
_SAME = b"\xff" * 16  # the file of the command before it (section 3.2.4.1.4)
_MAX_MESSAGE = (8 << 20) + 4096
_MAX_KNOWN = 1000  # files, trees, and requests without a response, each
_MAX_AHEAD = 1 << 30
_MAX_HELD = 16 << 20
_MASK = (1 << 32) - 1


@dataclass(slots=True)
class _Handle:
    """An open file: where it is, and how large it was when it was opened."""

    path: str
    share: str
    size: int


@dataclass(slots=True)
class _Transfer:
    """What is read from a file, or written to it."""

    body: Body
    stream: Stream
    first: Spot
    last: Spot
    end: int = 0
    whole: bool = True


@dataclass(slots=True)
class _Asked:
    """A request whose response says the rest."""

    command: int
    text: str = ""
    handle: bytes = b""
    offset: int = 0


class SmbConversation:
    """Both directions of a connection."""

    def __init__(self, tools: Tools) -> None:
        self.done = False
        self._tools = tools
        self._buffers = {True: bytearray(), False: bytearray()}
        self._lost = {True: False, False: False}
        self._asked: OrderedDict[int, _Asked] = OrderedDict()
        self._trees: OrderedDict[int, str] = OrderedDict()
        self._handles: OrderedDict[bytes, _Handle] = OrderedDict()
        self._transfers: OrderedDict[tuple[bytes, bool], _Transfer] = OrderedDict()
        self._client = True
        self._latest = b""  # the file of the command before, in a chain of them

    def data(self, forward: bool, data: bytes, spot: Spot) -> None:  # noqa: FBT001  # see Conversation
        """The next bytes of a side: messages behind four bytes of length (MS-SMB2, section 2.1)."""
        buffer = self._buffers[forward]
        if self._lost[forward]:
            if data[:1] != b"\0" or data[4:8] != _MAGIC:
                return
            self._lost[forward] = False
        if not self._tools.budget.take(len(data)):
            self._lose(forward)
            return
        buffer += data
        while len(buffer) >= 4:
            size = int.from_bytes(buffer[1:4], "big")
            if buffer[0] or size > _MAX_MESSAGE:
                self._lose(forward)
                return
            if len(buffer) < 4 + size:
                return
            message = bytes(buffer[4 : 4 + size])
            del buffer[: 4 + size]
            self._tools.budget.give(4 + size)
            self._message(forward, message, spot)

    def room(self, forward: bool) -> int:  # noqa: FBT001  # as above
        """How many of a side's next bytes are within a message."""
        buffer = self._buffers[forward]
        return max(int.from_bytes(buffer[1:4], "big") + 3 - len(buffer), 0) if len(buffer) >= 4 else 0

    def gap(self, forward: bool, size: int, spot: Spot) -> None:  # noqa: FBT001, ARG002  # as above
        """A hole: the message it is in is lost, and it goes on where a packet begins with one."""
        self._lose(forward)

    def end(self, forward: bool, spot: Spot) -> None:  # noqa: FBT001  # as above
        """Nothing to tell: files are closed before."""

    def close(self, spot: Spot) -> None:  # noqa: ARG002  # as above
        """What was not closed is told as it stands."""
        for forward in self._buffers:
            self._lose(forward)
        for key in list(self._transfers):
            self._tell(key, closed=False)

    def _lose(self, forward: bool) -> None:  # noqa: FBT001  # as above
        self._tools.budget.give(len(self._buffers[forward]))
        self._buffers[forward].clear()
        self._lost[forward] = True

    def _message(self, forward: bool, message: bytes, spot: Spot) -> None:  # noqa: FBT001  # as above
        """The commands of a message, which may be a chain of them."""
        self._latest = b""
        at = 0
        while message[at : at + 4] == _MAGIC and len(message) >= at + _HEADER_SIZE:
            head = _HEADER.unpack_from(message, at)
            status, command, flags, following, number, tree = (*head[3:5], *head[6:9], head[10])
            end = at + following if following else len(message)
            piece = message[at:end]
            try:
                if flags & _RESPONSE:
                    self._response(status, command, (number, tree), piece, spot)
                else:
                    self._client = forward
                    self._request(command, (number, tree), piece, spot)
            except StructError:
                return  # cut off: nothing behind it can be trusted
            if following < _HEADER_SIZE:
                return
            at = end

    def _request(self, command: int, ids: tuple[int, int], piece: bytes, spot: Spot) -> None:
        number, tree = ids
        asked = _Asked(command)
        if command == _TREE_CONNECT:  # section 2.2.9
            asked.text = _text(piece, _HEADER_SIZE + 4)
        elif command == _CREATE:  # section 2.2.13
            asked.text = _text(piece, _HEADER_SIZE + 44)
        elif command == _CLOSE:  # section 2.2.15
            asked.handle = self._handle(piece[_HEADER_SIZE + 8 : _HEADER_SIZE + 24])
        elif command == _READ:  # section 2.2.19
            (asked.offset,) = unpack_from("<Q", piece, _HEADER_SIZE + 8)
            asked.handle = self._handle(piece[_HEADER_SIZE + 16 : _HEADER_SIZE + 32])
        elif command == _WRITE:  # section 2.2.21
            begin, size, offset = unpack_from("<HIQ", piece, _HEADER_SIZE + 2)
            handle = self._handle(piece[_HEADER_SIZE + 16 : _HEADER_SIZE + 32])
            self._move(handle, offset, piece[begin : begin + size], spot, to_client=False)
            return
        else:
            return
        if command == _CREATE:
            asked.handle = self._trees.get(tree, "").encode("utf-8", "surrogatepass")
        _keep(self._asked, number, asked)

    def _response(self, status: int, command: int, ids: tuple[int, int], piece: bytes, spot: Spot) -> None:
        number, tree = ids
        asked = self._asked.get(number)
        if asked is None or asked.command != command or status == _PENDING:
            return
        del self._asked[number]
        if status and command != _CLOSE:
            return
        if command == _TREE_CONNECT:
            _keep(self._trees, tree, asked.text)
        elif command == _CREATE:  # section 2.2.14
            size, attributes = unpack_from("<QI", piece, _HEADER_SIZE + 48)
            self._latest = piece[_HEADER_SIZE + 64 : _HEADER_SIZE + 80]
            share = asked.handle.decode("utf-8", "surrogatepass")
            if not attributes & _DIRECTORY and not share.upper().endswith("IPC$"):
                _keep(self._handles, self._latest, _Handle(asked.text, share, size))
        elif command == _READ:  # section 2.2.20
            begin, size = unpack_from("<BxI", piece, _HEADER_SIZE + 2)
            handle = asked.handle if asked.handle != _SAME else self._latest
            self._move(handle, asked.offset, piece[begin : begin + size], spot, to_client=True)
        elif command == _CLOSE:
            handle = asked.handle if asked.handle != _SAME else self._latest
            for to_client in (True, False):
                self._tell((handle, to_client), closed=True)
            self._handles.pop(handle, None)

    def _handle(self, told: bytes) -> bytes:
        """A file's id; in a chain the id of the command before, where that is known already."""
        if told == _SAME and self._latest:
            return self._latest
        self._latest = told if told != _SAME else self._latest
        return told

    def _move(self, handle: bytes, offset: int, data: bytes, spot: Spot, *, to_client: bool) -> None:
        """Bytes of a file at an offset."""
        known = self._handles.get(handle)
        if known is None or not data:
            return
        transfer = self._transfers.get((handle, to_client))
        if transfer is None:
            size = known.size if to_client else None
            body, stream = Body(self._tools.limit, size), Stream(0, self._tools.budget, _MAX_HELD)
            transfer = _Transfer(body, stream, spot, spot)
            self._transfers[handle, to_client] = transfer
            if len(self._transfers) > _MAX_KNOWN:
                self._tell(next(iter(self._transfers)), closed=False)
        transfer.last = spot
        transfer.end = max(transfer.end, offset + len(data))
        if offset < transfer.stream.at and not to_client:
            transfer.whole = False  # written over: what the file holds in the end is not what was sent first
        if abs(offset - transfer.stream.at) > _MAX_AHEAD:
            transfer.whole = False
            return
        _write(transfer, transfer.stream.push(offset & _MASK, data))

    def _tell(self, key: tuple[bytes, bool], *, closed: bool) -> None:
        transfer, known = self._transfers.pop(key, None), self._handles.get(key[0])
        if transfer is None or known is None:
            return
        _write(transfer, transfer.stream.flush())
        body, to_client = transfer.body, key[1]
        end = max(known.size, transfer.end)
        if body.seen + body.missing < end:
            body.gap(end - body.seen - body.missing)
        whole = transfer.whole and not body.missing and (to_client or closed)
        self._tools.tell(
            File(
                source="SMB",
                protocol="smb2",
                to_client=to_client,
                client_first=self._client,
                first=transfer.first,
                last=transfer.last,
                content=body.content(whole=whole),
                complete=whole,
                seen=body.seen,
                missing=body.missing,
                name=base_name(known.path),
                path=known.path,
                fields={"netflight.file.share": known.share} if known.share else {},
            )
        )


def _write(transfer: _Transfer, pieces: Iterator[bytes | int]) -> None:
    for piece in pieces:
        if isinstance(piece, int):
            transfer.body.gap(piece)
        else:
            transfer.body.write(piece)


def _text(piece: bytes, place: int) -> str:
    """The text that an offset and a length at `place` point to."""
    begin, size = unpack_from("<HH", piece, place)
    return piece[begin : begin + size].decode("utf-16-le", "replace")


def _keep(known: OrderedDict[K, V], key: K, value: V) -> None:
    """Remember, and forget the oldest where there are too many."""
    known[key] = value
    if len(known) > _MAX_KNOWN:
        known.popitem(last=False)
