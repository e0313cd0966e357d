"""The edge: which packets of a block carry files, their payload to the parsers, and the files back, in order.

numpy chooses the packets, by their flow's signature, port or greeting; TLS and whatever else is recognised is never
looked at. In long bodies, packets that follow each other are handed on together.
"""

from heapq import heappop, heappush
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from producers.engine.kernel.layout import Fragment, Kind, Signature
from producers.engine.keys import TCP
from producers.engine.model import Batch
from producers.files.body import Spot
from producers.files.connections import (
    ACK,
    COLUMNS,
    FIN,
    RST,
    SURPRISES,
    SYN,
    Connections,
    Found,
    Open,
    Row,
)
from producers.files.text import FTP_PORTS, MAIL_PORTS
from runtime.telemetry import Telemetry

_CALLED = np.zeros(256, np.bool_)  # signatures of what is read
_CALLED[[Signature.HTTP, Signature.SMB]] = True
_NAMELESS = np.zeros(256, np.bool_)  # those of what is read by its port or greeting, or is told by none
_NAMELESS[[Signature.NONE, *(member for member in Signature if member >= Signature.SOCKS)]] = True
_PORTS = np.zeros(65_536, np.bool_)
_PORTS[list(FTP_PORTS | MAIL_PORTS)] = True
_GREETING = b"220"
_FLAGS = ACK | 8  # what packets that are handed on together may have: PSH


Run = tuple[list[int], int]
"""Packets that follow each other, by their indexes, and how many of them have been read."""


class FileWatch:
    """Reads blocks after the engine has decided them. `limit` is up to which size, in bytes, a file is hashed.

    All that is held (segments before a hole, mails, forms) is at most `memory` bytes.
    """

    def __init__(self, limit: int, memory: int, telemetry: Telemetry | None = None) -> None:
        self._connections = Connections(limit, memory, telemetry or Telemetry("files"))

    def read(self, batch: Batch) -> list[tuple[int, Found]]:
        """The files that a batch completes, each with the index of the packet it comes before."""
        connections, facts = self._connections, batch.facts
        _remember_beginnings(connections, facts)
        chosen = _choose(batch, connections.nameless)
        if not len(chosen) and not len(connections):
            return []
        ended = [(place, record.flow.uid) for place, record in batch.records if record.final]
        return _Reading(connections, batch, chosen).run(ended)

    def ended(self, uid: int) -> list[Found]:
        """The files of a flow that is over."""
        self._connections.over(uid)
        return self._connections.found()


def _remember_beginnings(connections: Connections, facts: NDArray[Any]) -> None:
    begins = np.flatnonzero(facts["tcp_flags"] & SYN)
    begins = begins[facts["kind"][begins] == Kind.FLOW]
    if len(begins):
        connections.remember(
            facts["uid"][begins],
            facts["forward"][begins].astype(np.int64),
            facts["sequence"][begins].astype(np.int64),
        )


def _choose(batch: Batch, read: set[int]) -> NDArray[np.int64]:
    """The packets that may carry files, or say where they are; `read`: connections that no signature tells."""
    facts = batch.facts
    signature = facts["signature"]
    some: NDArray[np.int64] = np.flatnonzero(_CALLED[signature] | _NAMELESS[signature])
    some = some[(facts["length"][some] > 0) | ((facts["tcp_flags"][some] & (FIN | RST)) != 0)]
    some = some[(facts["protocol"][some] == TCP) & (facts["fragment"][some] == Fragment.NONE)]
    some = some[facts["kind"][some] == Kind.FLOW]
    if not len(some):
        return some
    wanted = _CALLED[signature[some]]
    nameless = np.flatnonzero(~wanted)
    if len(nameless):
        wanted[nameless] = _speaks(batch, some[nameless], read)
    chosen: NDArray[np.int64] = some[wanted]
    return chosen


def _speaks(batch: Batch, some: NDArray[np.int64], read: set[int]) -> NDArray[np.bool_]:
    """Which of some packets without a signature belong to FTP or mail: by port, greeting, or being read already."""
    facts, block = batch.facts, batch.block
    found: NDArray[np.bool_] = _PORTS[facts["destination_port"][some]] | _PORTS[facts["source_port"][some]]
    if read:
        found |= np.isin(facts["uid"][some], np.fromiter(read, np.int64, len(read)))
    first = np.flatnonzero((facts["sent_packets"][some] == 0) & (facts["length"][some] > 3) & ~found)
    if len(first):
        begin = facts["payload"][some[first]].astype(np.int64)
        there = (begin >= 0) & (begin + 3 <= block.captured[some[first]])
        first, begin = first[there], begin[there]
        places = block.offset[some[first]] + begin
        marks = [block.buffer[places + at] == octet for at, octet in enumerate(_GREETING)]
        found[first] |= np.logical_and.reduce(marks)
    return found


def _rows(batch: Batch, indexes: NDArray[np.int64]) -> list[Row]:
    facts, block = batch.facts, batch.block
    payload, captured = facts["payload"][indexes].astype(np.int64), block.captured[indexes]
    begin = np.where(payload >= 0, np.minimum(payload, captured), captured)
    end = np.minimum(begin + facts["length"][indexes], captured)
    places = [(block.offset[indexes] + edge).tolist() for edge in (begin, end)]
    columns = [facts[name][indexes].tolist() for name in COLUMNS]
    return list(map(Row, *columns, *places))


def _runs(batch: Batch, indexes: NDArray[np.int64]) -> dict[int, Run]:
    """Packets of one direction, each beginning where the one before it ends, by the first of them.

    None of the other direction is between them, and all were captured whole.
    """
    facts = batch.facts
    indexes = indexes[np.argsort(facts["uid"][indexes], kind="stable")]
    uid, forward = facts["uid"][indexes], facts["forward"][indexes]
    length, sequence = facts["length"][indexes].astype(np.int64), facts["sequence"][indexes].astype(np.int64)
    payload = facts["payload"][indexes]
    fit = ((facts["tcp_flags"][indexes] & ~np.uint8(_FLAGS)) == 0) & (length > 0) & (payload >= 0)
    fit &= payload + length <= batch.block.captured[indexes]
    joined = fit[1:] & fit[:-1] & (uid[1:] == uid[:-1]) & (forward[1:] == forward[:-1])
    joined &= (sequence[:-1] + length[:-1]) & 0xFFFFFFFF == sequence[1:]
    edges = np.flatnonzero(~joined) + 1
    begins, ends = np.concatenate(([0], edges)), np.concatenate((edges, [len(indexes)]))
    long = np.flatnonzero(ends - begins > 1)
    order: list[int] = indexes.tolist()
    return {
        order[begin]: (order[begin:end], 0)
        for begin, end in zip(begins[long].tolist(), ends[long].tolist(), strict=True)
    }


class _Reading:
    """One batch on its way to the connections. Packets that turn out to matter on the way are taken in, too."""

    def __init__(self, connections: Connections, batch: Batch, chosen: NDArray[np.int64]) -> None:
        self._connections, self._batch = connections, batch
        self._facts, self._block = batch.facts, batch.block
        self._names = [name for name, _ in batch.block.interfaces]
        self._bytes = batch.block.buffer.data
        self._todo: list[int] = chosen.tolist()  # sorted, so a heap
        self._row = dict(zip(self._todo, _rows(batch, chosen), strict=True))
        self._runs = _runs(batch, chosen) if len(chosen) else {}
        self._taken: set[int] = set()

    def run(self, ended: list[tuple[int, int]]) -> list[tuple[int, Found]]:
        """Read all of it; `ended` are the flows that are over, each with the index of the packet it is before."""
        told: list[tuple[int, Found]] = []
        over = iter([*ended, (len(self._block) + 1, -1)])
        place, uid = next(over)
        beginnings = self._beginnings()
        while self._todo or (beginnings and self._connections.announced):
            if beginnings and (not self._todo or beginnings[0] < self._todo[0]):
                index = heappop(beginnings)
                if not self._connections.announced:
                    continue
            else:
                index = heappop(self._todo)
            while place <= index:
                told += [(place, found) for found in self._over(uid)]
                place, uid = next(over)
            if index not in self._taken:
                self._taken.add(index)
                self._guarded(index)
                told += [(index + 1, found) for found in self._connections.found()]
        while uid >= 0:
            told += [(place, found) for found in self._over(uid)]
            place, uid = next(over)
        return told

    def _guarded(self, index: int) -> None:
        """Read a packet; one that a parser fails on ends what is looked for in its connection, and nothing else."""
        try:
            self._packet(index)
        except SURPRISES as error:
            self._connections.fail(int(self._facts["uid"][index]), error)

    def _over(self, uid: int) -> list[Found]:
        self._connections.over(uid)
        return self._connections.found()

    def _beginnings(self) -> list[int]:
        """SYNs, where any of them may begin a data connection."""
        if not self._connections.controls and not any(_NAMELESS[row.signature] for row in self._row.values()):
            return []
        facts = self._facts
        begins = ((facts["tcp_flags"] & (SYN | ACK)) == SYN) & (facts["kind"] == Kind.FLOW)
        found: list[int] = np.flatnonzero(begins).tolist()
        return found

    def _packet(self, index: int) -> None:
        row = self._row.get(index)
        if row is None:
            (row,) = _rows(self._batch, np.array([index]))
        known = self._connections.get(row.uid)
        if known is None:
            if not self._connections.wants(row.uid):
                return
            flow = self._batch.flow(index)
            known = self._connections.admit(row, flow, self._spot(index)) if flow is not None else None
            if known is None:
                return
            if row.flags & SYN:
                self._follow(index, row.uid)
        run = self._runs.pop(index, None)
        taken = 0 if run is None else self._feed_run(known, row, run)
        if not taken:
            self._feed(known, index, row)
        if run is not None:
            packets, done = run[0], run[1] + max(taken, 1)
            if done + 1 < len(packets):
                self._runs[packets[done]] = packets, done
        if known.conversation.done:
            self._connections.drop(row.uid)

    def _spot(self, index: int) -> Spot:
        block = self._block
        name = self._names[int(block.interface[index])]
        return Spot(block.first_frame + index, int(block.time_ns[index]), name)

    def _follow(self, index: int, uid: int) -> None:
        """Take in the later packets of a connection that was not known to matter."""
        for later in np.flatnonzero(self._facts["uid"][index + 1 :] == uid).tolist():
            heappush(self._todo, index + 1 + later)

    def _feed_run(self, known: Open, row: Row, run: Run) -> int:
        """Hand packets within a body on together; how many there were."""
        forward = row.forward == 1
        stream, other = known.streams.get(forward), known.streams.get(not forward)
        if stream is None or not stream.awaits(row.sequence) or (other is not None and other.holds):
            return 0
        left, rows, pieces = known.conversation.room(forward), self._row, []
        packets, done = run
        if left < 2 * row.length:
            return 0
        for index in islice(packets, done, None):
            each = rows[index]
            left -= each.length
            if left < 0:
                break
            pieces.append(self._bytes[each.begin : each.end])
        taken = packets[done : done + len(pieces)]
        self._taken.update(taken)
        known.last = self._spot(taken[-1])
        for piece in stream.push(row.sequence, b"".join(pieces)):
            self._connections.take(known, piece, known.last, forward=forward)
        return len(taken)

    def _feed(self, known: Open, index: int, row: Row) -> None:
        forward, connections = row.forward == 1, self._connections
        known.last = spot = self._spot(index)
        sequence = row.sequence + 1 if row.flags & SYN else row.sequence
        stream = connections.stream(known, row)
        other = known.streams.get(not forward)
        if row.length > 0 and other is not None and other.holds and row.flags & ACK:
            for piece in other.acknowledged(row.acknowledgement):
                connections.take(known, piece, spot, forward=not forward)
        if row.length > 0:
            for piece in stream.push(sequence, bytes(self._bytes[row.begin : row.end])):
                connections.take(known, piece, spot, forward=forward)
        if row.flags & FIN:
            stream.finish(sequence + row.length)
        if stream.over:
            connections.end(known, spot, forward=forward)
