"""The connections that are read: their streams, their parsers, the files they tell."""

import logging
import struct
from collections import OrderedDict
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from producers.engine.kernel.layout import Signature
from producers.engine.model import Flow
from producers.files.body import File, Spot
from producers.files.conversation import Conversation, Tools
from producers.files.ftp import Channel, FtpControl, FtpData
from producers.files.http import HttpConversation
from producers.files.smb import SmbConversation
from producers.files.stream import Budget, Stream
from producers.files.text import Greeted, conversation_on
from runtime.telemetry import Telemetry

FIN, SYN, RST, ACK = 1, 2, 4, 16
SURPRISES = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
)
"""What a fault in a parser raises."""

_log = logging.getLogger(__name__)
_BEGINNINGS = 1 << 16  # connections of which the first sequence numbers are remembered
_MAX_OPEN = 20_000  # connections whose streams are put together at once
_MAX_CHANNELS = 1000  # data connections that were announced and have not begun
_CONTROLS = (FtpControl, Greeted)


class Row(NamedTuple):
    """What is read of a packet's facts (`kernel.layout.FACTS`), in the order of COLUMNS.

    `begin` and `end` are where its payload stands in the block's buffer, as far as it was captured.
    """

    uid: int
    forward: int
    signature: int
    flags: int
    length: int
    sequence: int
    acknowledgement: int
    sent_before: int
    begin: int
    end: int


COLUMNS = ("uid", "forward", "signature", "tcp_flags", "length", "sequence", "acknowledgement", "sent_before")


class Found(NamedTuple):
    """A file and the flow it was seen on."""

    flow: Flow
    file: File


class Open:
    """A connection that is read: its streams by direction, its parser, and its last packet."""

    __slots__ = ("conversation", "flow", "last", "streams")

    def __init__(self, flow: Flow, conversation: Conversation, last: Spot) -> None:
        self.flow, self.conversation, self.last = flow, conversation, last
        self.streams: dict[bool, Stream] = {}


class Connections:
    """All of them, by their flows' uids. `limit` is up to which size a file is hashed, `memory` what all may hold."""

    def __init__(self, limit: int, memory: int, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self.nameless: set[int] = set()
        """Those that no signature tells."""
        self._budget = Budget(memory)
        self._tools = Tools(self._tell, limit, self._budget)
        self._open: OrderedDict[int, Open] = OrderedDict()
        self._done: OrderedDict[int, None] = OrderedDict()
        self._channels: OrderedDict[tuple[str, int], Channel] = OrderedDict()
        self._controls = 0
        self._found: list[Found] = []
        self._flow: Flow | None = None
        self._begun = np.full(_BEGINNINGS, -1, np.int64)
        self._begin = np.zeros((2, _BEGINNINGS), np.int64)

    def __len__(self) -> int:
        return len(self._open)

    @property
    def controls(self) -> int:
        """How many may announce a data connection."""
        return self._controls

    @property
    def announced(self) -> bool:
        """Whether a SYN may begin a data connection."""
        return bool(self._channels)

    def remember(
        self, uids: NDArray[np.int64], forward: NDArray[np.int64], sequence: NDArray[np.int64]
    ) -> None:
        """Remember where the streams of connections begin, by their SYNs."""
        cells = uids % _BEGINNINGS
        self._begin[:, cells[self._begun[cells] != uids]] = 0
        self._begun[cells] = uids
        self._begin[forward, cells] = sequence + 1

    def wants(self, uid: int) -> bool:
        """Whether a connection that is not read may be worth it."""
        return uid not in self._done

    def get(self, uid: int) -> Open | None:
        """The connection, if it is read."""
        return self._open.get(uid)

    def admit(self, row: Row, flow: Flow, spot: Spot) -> Open | None:
        """Begin to read a connection; None where nothing is looked for in it."""
        conversation = self._conversation(flow, row)
        if conversation is None:
            return None
        while len(self._open) >= _MAX_OPEN:
            self.drop(next(iter(self._open)))
        if not isinstance(conversation, HttpConversation | SmbConversation):
            self.nameless.add(row.uid)
        known = self._open[row.uid] = Open(flow, conversation, spot)
        return known

    def stream(self, known: Open, row: Row) -> Stream:
        """The stream of a direction; begun where the SYN says, if this is the first that was sent."""
        forward = row.forward == 1
        stream = known.streams.get(forward)
        if stream is None:
            start, cell = row.sequence, row.uid % _BEGINNINGS
            if row.flags & SYN:
                start += 1
            elif not row.sent_before and self._begun[cell] == row.uid and self._begin[row.forward, cell]:
                start = int(self._begin[row.forward, cell])
            stream = known.streams[forward] = Stream(start, self._budget)
        return stream

    def take(self, known: Open, piece: bytes | int, spot: Spot, *, forward: bool) -> None:
        """Hand a piece of a stream on."""
        self._flow = known.flow
        if isinstance(piece, int):
            known.conversation.gap(forward, piece, spot)
        else:
            known.conversation.data(forward, piece, spot)

    def end(self, known: Open, spot: Spot, *, forward: bool) -> None:
        """Told that a side has sent all."""
        self._flow = known.flow
        known.conversation.end(forward, spot)

    def drop(self, uid: int) -> None:
        """Look no longer at a connection in which nothing more is looked for."""
        self.over(uid)
        self._done[uid] = None
        if len(self._done) > _MAX_OPEN:
            self._done.popitem(last=False)

    def fail(self, uid: int, error: Exception) -> None:
        """Count what a parser did not expect, a fault of its own, and let go of the connection."""
        self._telemetry.count("undecoded", f"looking for files failed ({type(error).__name__})")
        _log.debug("looking for files failed", exc_info=error)
        self.drop(uid)

    def over(self, uid: int) -> None:
        """Tell what is left of a connection that has ended."""
        self._done.pop(uid, None)
        self.nameless.discard(uid)
        known = self._open.pop(uid, None)
        if known is not None:
            try:
                self._finish(known)
            except SURPRISES as error:
                self.fail(uid, error)

    def _finish(self, known: Open) -> None:
        for forward, stream in known.streams.items():
            for piece in stream.flush():
                self.take(known, piece, known.last, forward=forward)
            if stream.over:
                self.end(known, known.last, forward=forward)
        self._flow = known.flow
        known.conversation.close(known.last)
        if isinstance(known.conversation, _CONTROLS):
            self._controls -= 1
            if not self._controls:
                self._channels.clear()

    def found(self) -> list[Found]:
        """The files that were told since this was asked last."""
        found, self._found = self._found, []
        return found

    def _tell(self, file: File) -> None:
        if self._flow is not None:
            self._found.append(Found(self._flow, file))

    def _announce(self, address: str, port: int, channel: Channel) -> None:
        """Await a data connection; behind a NAT the address said is not the one that is used."""
        known = {address} if self._flow is None else {address, self._flow.destination_ip}
        for each in known - {""}:
            self._channels[each, port] = channel
            self._channels.move_to_end((each, port))
        while len(self._channels) > _MAX_CHANNELS:
            self._channels.popitem(last=False)

    def _conversation(self, flow: Flow, row: Row) -> Conversation | None:
        if row.signature == Signature.HTTP:
            return HttpConversation(self._tools, flow.destination_port)
        if row.signature == Signature.SMB:
            return SmbConversation(self._tools)
        channel = self._channels.pop((flow.destination_ip, flow.destination_port or 0), None)
        if channel is not None:
            for key in [key for key, other in self._channels.items() if other is channel]:
                del self._channels[key]
            return FtpData(self._tools, channel)
        if row.flags & SYN:
            return None
        found = conversation_on(self._tools, flow.destination_port, flow.community_id, self._announce)
        self._controls += isinstance(found, _CONTROLS)
        return found
