"""The edge: which packets of a block carry files, their payload to the parsers, and the files back, in order.

numpy chooses the packets, by their flow's signature, port or greeting; TLS and whatever else is recognised is never
looked at. Everything else is per chosen packet.
"""

from collections import OrderedDict
from heapq import heappop, heappush
from itertools import count
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from producers.engine.kernel.layout import Fragment, Kind, Signature
from producers.engine.keys import TCP
from producers.engine.model import Batch, Flow
from producers.files.body import File, Spot
from producers.files.conversation import Conversation, Tools
from producers.files.ftp import Channel, FtpControl, FtpData
from producers.files.http import HttpConversation
from producers.files.stream import Budget, Stream
from producers.files.text import FTP_PORTS, MAIL_PORTS, Greeted, conversation_on

_FIN, _SYN, _RST, _ACK = 1, 2, 4, 16
_BEGINNINGS = 1 << 16  # connections of which the first sequence numbers are remembered, in numpy
_MAX_OPEN = 20_000  # connections whose streams are put together at once
_MAX_CHANNELS = 1000  # data connections that were announced and have not begun
_CALLED = np.zeros(256, np.bool_)  # signatures of what is read
_CALLED[[Signature.HTTP]] = True
_NAMELESS = int(Signature.NONE)
_PORTS = np.zeros(65_536, np.bool_)
_PORTS[list(FTP_PORTS | MAIL_PORTS)] = True
_GREETING = b"220"
_CONTROLS = (FtpControl, Greeted)


class Found(NamedTuple):
    """A file and the flow it was seen on."""

    flow: Flow
    file: File


class _Open:
    """A connection that is read: its streams by direction, and its parser."""

    __slots__ = ("conversation", "flow", "last", "streams")

    def __init__(self, flow: Flow, conversation: Conversation, last: Spot) -> None:
        self.flow, self.conversation, self.last = flow, conversation, last
        self.streams: dict[bool, Stream] = {}


class FileWatch:
    """Reads blocks after the engine has decided them. `limit` is up to which size, in bytes, a file is hashed.

    All that is held (segments before a hole, mails, forms) is at most `memory` bytes.
    """

    def __init__(self, limit: int, memory: int) -> None:
        self._budget = Budget(memory)
        self._tools = Tools(self._tell, limit, self._budget)
        self._open: OrderedDict[int, _Open] = OrderedDict()
        self._done: OrderedDict[int, None] = OrderedDict()
        self._channels: OrderedDict[tuple[str, int], Channel] = OrderedDict()
        self._controls = 0
        self._found: list[Found] = []
        self._flow: Flow | None = None
        self._begun = np.full(_BEGINNINGS, -1, np.int64)
        self._begin = np.zeros((2, _BEGINNINGS), np.int64)

    def read(self, batch: Batch) -> list[tuple[int, Found]]:
        """The files that a batch completes, each with the index of the packet it comes before."""
        facts = batch.facts
        self._remember_beginnings(facts)
        ended = [(place, record.flow.uid) for place, record in batch.records if record.final]
        chosen = self._choose(batch)
        if not len(chosen) and not self._open:
            return []
        return _Reading(self, batch, chosen, ended).run()

    def ended(self, uid: int) -> list[Found]:
        """The files of a flow that is over."""
        self._done.pop(uid, None)
        known = self._open.pop(uid, None)
        if known is not None:
            self.let_go(known)
        return self.taken()

    def taken(self) -> list[Found]:
        """The files that were told since this was asked last."""
        found, self._found = self._found, []
        return found

    def wants_beginnings(self) -> bool:
        """Whether a SYN may begin a data connection that was announced."""
        return bool(self._channels)

    def has_controls(self) -> bool:
        """Whether a data connection may be announced."""
        return self._controls > 0

    def known(self, uid: int) -> _Open | None:
        """The connection, if it is read."""
        return self._open.get(uid)

    def admit(self, uid: int, flow: Flow, facts: Any, spot: Spot) -> _Open | None:
        """Begin to read a connection; None where nothing is looked for in it."""
        if uid in self._done:
            return None
        conversation = self._conversation(flow, facts)
        if conversation is None:
            return None
        while len(self._open) >= _MAX_OPEN:
            old, oldest = self._open.popitem(last=False)
            self.let_go(oldest)
            self._finished(old)
        known = self._open[uid] = _Open(flow, conversation, spot)
        return known

    def stream(self, known: _Open, uid: int, facts: Any, *, forward: bool) -> Stream:
        """The stream of a direction; begun where the SYN says, if this is the first that was sent."""
        stream = known.streams.get(forward)
        if stream is None:
            start = int(facts["sequence"])
            cell = uid % _BEGINNINGS
            if facts["tcp_flags"] & _SYN:
                start += 1
            elif not facts["sent_before"] and self._begun[cell] == uid and self._begin[int(forward), cell]:
                start = int(self._begin[int(forward), cell])
            stream = known.streams[forward] = Stream(start, self._budget)
        return stream

    def take(self, known: _Open, *, forward: bool, piece: bytes | int, spot: Spot) -> None:
        """Hand a piece of a stream on."""
        self._flow = known.flow
        if isinstance(piece, int):
            known.conversation.gap(forward, piece, spot)
        else:
            known.conversation.data(forward, piece, spot)

    def end(self, known: _Open, *, forward: bool, spot: Spot) -> None:
        """Told that a side has sent all."""
        self._flow = known.flow
        known.conversation.end(forward, spot)

    def drop(self, uid: int) -> None:
        """Look no longer at a connection in which nothing more is looked for."""
        known = self._open.pop(uid, None)
        if known is not None:
            self.let_go(known)
        self._finished(uid)

    def let_go(self, known: _Open) -> None:
        """Tell what is left of a connection."""
        self._flow = known.flow
        for forward, stream in known.streams.items():
            for piece in stream.flush():
                self.take(known, forward=forward, piece=piece, spot=known.last)
            if stream.over:
                known.conversation.end(forward, known.last)
        known.conversation.close(known.last)
        if isinstance(known.conversation, _CONTROLS):
            self._controls -= 1
            if not self._controls:
                self._channels.clear()

    def _finished(self, uid: int) -> None:
        self._done[uid] = None
        if len(self._done) > _MAX_OPEN:
            self._done.popitem(last=False)

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

    def _conversation(self, flow: Flow, facts: Any) -> Conversation | None:
        signature = int(facts["signature"])
        if signature == Signature.HTTP:
            return HttpConversation(self._tools, flow.destination_port)
        channel = self._channels.pop((flow.destination_ip, flow.destination_port or 0), None)
        if channel is not None:
            for key in [key for key, other in self._channels.items() if other is channel]:
                del self._channels[key]
            return FtpData(self._tools, channel)
        if facts["tcp_flags"] & _SYN:
            return None
        found = conversation_on(self._tools, flow.destination_port, flow.community_id, self._announce)
        self._controls += isinstance(found, _CONTROLS)
        return found

    def _remember_beginnings(self, facts: NDArray[Any]) -> None:
        begins = np.flatnonzero(facts["tcp_flags"] & _SYN)
        if not len(begins):
            return
        rows = facts[begins]
        rows = rows[rows["kind"] == Kind.FLOW]
        cells = rows["uid"] % _BEGINNINGS
        new = self._begun[cells] != rows["uid"]
        self._begin[:, cells[new]] = 0
        self._begun[cells] = rows["uid"]
        self._begin[rows["forward"].astype(np.int64), cells] = rows["sequence"].astype(np.int64) + 1

    def _choose(self, batch: Batch) -> NDArray[np.int64]:
        """The packets that may carry files, or say where they are."""
        facts = batch.facts
        signature = facts["signature"]
        some = np.flatnonzero(_CALLED[signature] | (signature == _NAMELESS))
        rows = facts[["kind", "protocol", "fragment", "length", "tcp_flags"]][some]
        flags = rows["tcp_flags"]
        ours = (rows["protocol"] == TCP) & (rows["kind"] == Kind.FLOW) & (rows["fragment"] == Fragment.NONE)
        ours &= (rows["length"] > 0) | ((flags & (_FIN | _RST)) != 0)
        some = some[ours]
        if not len(some):
            return some
        called = _CALLED[signature[some]]
        nameless = ~called
        nameless[nameless] = self._speaks(batch, some[nameless])
        return some[called | nameless]

    def _speaks(self, batch: Batch, some: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of some packets without a signature belong to FTP or mail: by port, greeting, or being read already."""
        rows = batch.facts[["uid", "destination_port", "source_port", "payload", "sent_packets", "length"]][some]
        found = _PORTS[rows["destination_port"]] | _PORTS[rows["source_port"]]
        if self._open:
            found |= np.isin(rows["uid"], np.fromiter(self._open, np.int64, len(self._open)))
        first = np.flatnonzero((rows["sent_packets"] == 0) & (rows["length"] > 3) & ~found)
        if len(first):
            block = batch.block
            begin = rows["payload"][first].astype(np.int64)
            there = (begin >= 0) & (begin + 3 <= block.captured[some[first]])
            first, begin = first[there], begin[there]
            places = block.offset[some[first]] + begin
            marks = [block.buffer[places + at] == octet for at, octet in enumerate(_GREETING)]
            found[first] |= np.logical_and.reduce(marks)
        return found


class _Reading:
    """One batch on its way through the watch. Packets that turn out to matter on the way are taken in, too."""

    def __init__(
        self, watch: FileWatch, batch: Batch, chosen: NDArray[np.int64], ended: list[tuple[int, int]]
    ) -> None:
        self._watch, self._batch = watch, batch
        self._facts, self._block = batch.facts, batch.block
        self._names = [name for name, _ in batch.block.interfaces]
        self._ended = ended
        self._todo: list[int] = chosen.tolist()  # sorted, so a heap
        self._seen = -1
        self._order = count()

    def run(self) -> list[tuple[int, Found]]:
        """Read all of it."""
        told: list[tuple[int, Found]] = []
        ended = iter([*self._ended, (len(self._block) + 1, -1)])
        place, uid = next(ended)
        beginnings = self._beginnings()
        while self._todo or beginnings:
            if beginnings and self._watch.wants_beginnings() and (not self._todo or beginnings[0] < self._todo[0]):
                heappush(self._todo, heappop(beginnings))
            elif not self._todo:
                break
            index = heappop(self._todo)
            while place <= index:
                told += [(place, found) for found in self._watch.ended(uid)]
                place, uid = next(ended)
            while beginnings and beginnings[0] <= index:
                heappop(beginnings)
            if index > self._seen:
                self._seen = index
                self._packet(index)
                told += [(index + 1, found) for found in self._watch.taken()]
        while uid >= 0:
            told += [(place, found) for found in self._watch.ended(uid)]
            place, uid = next(ended)
        return told

    def _beginnings(self) -> list[int]:
        """SYNs, any of which may begin a data connection."""
        if not self._watch.has_controls():
            return []
        facts = self._facts
        begins = ((facts["tcp_flags"] & (_SYN | _ACK)) == _SYN) & (facts["kind"] == Kind.FLOW)
        found: list[int] = np.flatnonzero(begins).tolist()
        return found

    def _packet(self, index: int) -> None:
        facts = self._facts[index]
        uid = int(facts["uid"])
        known = self._watch.known(uid)
        block = self._block
        spot = Spot(
            block.first_frame + index, int(block.time_ns[index]), self._names[int(block.interface[index])]
        )
        if known is None:
            flow = self._batch.flow(index)
            known = self._watch.admit(uid, flow, facts, spot) if flow is not None else None
            if known is None:
                return
            if facts["tcp_flags"] & _SYN:
                self._follow(index, uid)
        self._feed(known, index, facts, spot)
        if known.conversation.done:
            self._watch.drop(uid)

    def _follow(self, index: int, uid: int) -> None:
        """Take in the later packets of a connection that was not known to matter."""
        for later in np.flatnonzero(self._facts["uid"][index + 1 :] == uid).tolist():
            heappush(self._todo, index + 1 + later)

    def _feed(self, known: _Open, index: int, facts: Any, spot: Spot) -> None:
        forward, flags = bool(facts["forward"] == 1), int(facts["tcp_flags"])
        known.last = spot
        length, sequence = int(facts["length"]), int(facts["sequence"])
        if flags & _SYN:
            sequence += 1
        stream = self._watch.stream(known, int(facts["uid"]), facts, forward=forward)
        other = known.streams.get(not forward)
        if length > 0 and other is not None and flags & _ACK:
            for piece in other.acknowledged(int(facts["acknowledgement"])):
                self._watch.take(known, forward=not forward, piece=piece, spot=spot)
        if length > 0:
            block = self._block
            begin = int(block.offset[index]) + int(facts["payload"])
            end = min(begin + length, int(block.offset[index]) + int(block.captured[index]))
            data = block.buffer[begin:end].tobytes() if facts["payload"] >= 0 else b""
            for piece in stream.push(sequence, data):
                self._watch.take(known, forward=forward, piece=piece, spot=spot)
        if flags & _FIN:
            stream.finish(sequence + length)
        if stream.over:
            self._watch.end(known, forward=forward, spot=spot)
