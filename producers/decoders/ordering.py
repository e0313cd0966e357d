"""Packets for tshark in the order of their TCP streams: batches in, and out again with holes waited for.

Nearly all batches pass as they are. Where the engine found a hole (`missing`, `unseen` of FACTS), the connection's
packets are followed one by one (`unbroken.Stream`), and those held back beyond their block are copied.
"""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from producers.decoders.unbroken import Hole, Segment, Stream
from producers.engine.kernel.layout import DECODE, FACTS, Fragment, Kind
from producers.engine.model import Batch, Flow, FlowRecord
from producers.sources.packet import Block, Interface

MAX_HELD, MAX_HELD_BYTES = 1 << 14, 32 << 20
"""What is held back of all connections at most."""
MAX_STREAMS = 1 << 14
_ACK, _SYN = 16, 2
_MASK = 0xFFFF_FFFF
_FLOW, _WHOLE, _TCP = int(Kind.FLOW), int(Fragment.NONE), 6
_COLUMNS = (
    *("uid", "forward", "sequence", "length", "tcp_flags", "acknowledgement", "sequence_shift"),
    *("acknowledgement_shift", "missing", "unseen", "verdict", "pushed"),
)


class Chosen(NamedTuple):
    """Packets of a batch to be decoded, in order.

    Their `indexes` in it, their `frames`, and in `holes` whether bytes just before each are lost. Each has its turn
    after the packet `after` of the block that was fed.
    """

    batch: Batch
    indexes: NDArray[np.int64]
    frames: NDArray[np.int64]
    holes: NDArray[np.bool_]
    after: NDArray[np.int64]

    def take(self, rows: NDArray[np.bool_]) -> "Chosen":
        """Some of them."""
        if rows.all():
            return self
        return Chosen(self.batch, self.indexes[rows], self.frames[rows], self.holes[rows], self.after[rows])


class _Kept(NamedTuple):
    """A packet that outlives its block."""

    frame: int
    time_ns: int
    wire: int
    interface: Interface
    data: NDArray[np.uint8]
    fact: Any
    flow: Flow | None


class _Turn(NamedTuple):
    """A packet whose turn it is: its index in the block or itself, when, and what `unbroken.Ready` says of it."""

    after: int
    what: int | _Kept
    hole: bool
    jump: int


@dataclass(slots=True)
class _Arranged:
    """Packets of a block, and others that outlived theirs, in an order of their own (`Batch`)."""

    block: Block
    facts: NDArray[Any]
    origins: Sequence[int | _Kept]
    of: Batch | None

    @property
    def records(self) -> list[tuple[int, FlowRecord]]:
        """None: they come with the batch that was fed."""
        return []

    def flow(self, index: int) -> Flow | None:
        """The flow of the packet at `index`."""
        origin = self.origins[index]
        if isinstance(origin, _Kept):
            return origin.flow
        return None if self.of is None else self.of.flow(origin)


class Ordering:
    """Holds back what comes before a hole is filled; `holes` has what is lost of a flow."""

    def __init__(self) -> None:
        self._streams: dict[int, Stream] = {}
        self._due: list[
            tuple[int, int]
        ] = []  # when streams that hold something back are looked at, and their uids
        self._held = self._held_bytes = 0
        self._now_ns = 0

    def holes(self, uid: int) -> Sequence[Hole]:
        """The holes of a flow that are lost, as they were found."""
        stream = self._streams.get(uid)
        return () if stream is None else stream.holes

    def over(self, uid: int) -> None:
        """Forget a flow whose last packet was given out."""
        self._streams.pop(uid, None)

    @property
    def due_ns(self) -> int | None:
        """When something that is held back is to be given up, None where nothing is."""
        return self._due[0][0] if self._due else None

    def arrange(self, batch: Batch) -> Chosen:
        """The packets of a batch that are to be decoded, and those before it whose turn it is now."""
        facts = batch.facts
        chosen = np.flatnonzero(facts["verdict"] & DECODE)
        troubled = (facts["missing"] > 0) | (facts["unseen"] > 0)
        if not self._streams and not troubled.any():
            return _as_they_are(batch, chosen)
        known = np.fromiter(self._streams, np.int64, len(self._streams))
        followed = np.isin(facts["uid"], np.union1d(known, facts["uid"][troubled]))
        followed &= (facts["kind"] == _FLOW) & (facts["protocol"] == _TCP) & (facts["fragment"] == _WHOLE)
        if not followed.any() and not self._due:
            return _as_they_are(batch, chosen)
        turns = list(self._follow(batch, np.flatnonzero(followed)))
        plain = chosen[~followed[chosen]]
        self._keep(batch)
        return _arranged(batch, plain, turns)

    def expired(self, now_ns: int) -> Chosen | None:
        """What was held back until `now_ns`, by the clock, where nothing comes; None if that is nothing."""
        turns = list(self._expire(now_ns, -1))
        return _arranged(None, np.zeros(0, np.int64), turns) if turns else None

    def ended(self, uid: int) -> Chosen | None:
        """What is still held back of a flow that has ended; None if that is nothing."""
        turns = list(self._release(uid, -1, force=True))
        return _arranged(None, np.zeros(0, np.int64), turns) if turns else None

    def rest(self) -> Chosen | None:
        """Everything that is still held back; None if that is nothing."""
        turns = [turn for uid in list(self._streams) for turn in self._release(uid, -1, force=True)]
        return _arranged(None, np.zeros(0, np.int64), turns) if turns else None

    def _follow(self, batch: Batch, rows: NDArray[np.int64]) -> Iterator[_Turn]:
        """Take the packets of connections with holes in, one by one; yield those whose turn it is."""
        times = np.maximum.accumulate(np.maximum(batch.block.time_ns, self._now_ns))
        ends = [(at, record.flow.uid) for at, record in batch.records if record.final]
        events = heapq.merge(
            [(at, 0, uid) for at, uid in ends], [(index, 1, index) for index in rows.tolist()]
        )
        facts = batch.facts[rows]
        columns = dict(
            zip(rows.tolist(), zip(*(facts[name].tolist() for name in _COLUMNS), strict=True), strict=True)
        )
        for at, kind, what in events:
            yield from self._expire_by(times, at)
            if kind == 0:
                yield from self._release(what, at - 1, force=True)
            else:
                self._now_ns = int(times[at])
                yield from self._see(at, columns[at], batch)
        yield from self._expire_by(times, len(times))
        self._now_ns = int(times[-1])

    def _see(self, index: int, row: tuple[int, ...], batch: Batch) -> Iterator[_Turn]:
        (
            uid,
            forward,
            sequence,
            length,
            flags,
            acknowledged,
            shift,
            back_shift,
            missing,
            unseen,
            verdict,
            pushed,
        ) = row
        stream = self._streams.get(uid)
        if stream is None:
            if missing <= 0 and unseen <= 0:
                if verdict & DECODE:
                    yield _Turn(index, index, False, 0)  # a field of a tuple
                return
            stream = self._streams[uid] = self._new_stream((bool(pushed & 1), bool(pushed & 2)), forward)
        side = 1 - forward
        acknowledgement = acknowledged if flags & _ACK else None
        stream.see(side, flags, acknowledgement)
        if verdict & DECODE:
            size = int(batch.block.captured[index])
            stream.add(
                Segment(
                    *(side, sequence, length + (1 if flags & _SYN else 0), flags, acknowledgement),
                    shifts=(shift, back_shift),
                    missing=missing,
                    unseen=unseen,
                    time_ns=self._now_ns,
                    size=size,
                    what=index,
                )
            )
            self._held += 1
            self._held_bytes += size
        if stream.held:
            yield from self._release(uid, index)
            while self._held > MAX_HELD or self._held_bytes > MAX_HELD_BYTES:
                oldest = next(uid for uid, stream in self._streams.items() if stream.held)
                yield from self._release(oldest, index, force=True)

    def _new_stream(self, pushed: tuple[bool, bool], forward: int) -> Stream:
        """Another connection to follow; where there are too many, one of which nothing is held back is forgotten."""
        if len(self._streams) >= MAX_STREAMS:
            idle = next((uid for uid, stream in self._streams.items() if not stream.held), None)
            if idle is not None:
                del self._streams[idle]
        return Stream(pushed if forward else pushed[::-1])

    def _release(self, uid: int, after: int, *, force: bool = False) -> Iterator[_Turn]:
        """Yield the packets of a connection whose turn it is."""
        stream = self._streams.get(uid)
        if stream is None or not stream.held:
            return
        count, size = len(stream.held), stream.held_bytes
        for segment, hole, jump in stream.ready(self._now_ns, force=force):
            yield _Turn(after, segment.what, hole, jump)
        self._held += len(stream.held) - count
        self._held_bytes += stream.held_bytes - size
        if stream.held:
            if stream.due != stream.deadline:
                stream.due = stream.deadline
                heapq.heappush(self._due, (stream.due, uid))
        elif stream.over:
            del self._streams[uid]

    def _expire_by(self, times: NDArray[np.int64], index: int) -> Iterator[_Turn]:
        """Give up what was waited for too long before the packet at `index`, each in its time."""
        while self._due and index and self._due[0][0] < times[index - 1]:
            at = int(np.searchsorted(times, self._due[0][0], side="right"))
            yield from self._expire(int(times[at]), at)

    def _expire(self, now_ns: int, after: int) -> Iterator[_Turn]:
        while self._due and self._due[0][0] < now_ns:
            _, uid = heapq.heappop(self._due)
            stream = self._streams.get(uid)
            if stream is not None and stream.held and stream.deadline < now_ns:
                self._now_ns = max(self._now_ns, now_ns)
                yield from self._release(uid, after)

    def _keep(self, batch: Batch) -> None:
        """Copy the packets that are still held back: their block goes."""
        block = batch.block
        for stream in self._streams.values():
            for segment in stream.held:
                if isinstance(segment.what, int):
                    index = segment.what
                    begin = int(block.offset[index])
                    segment.what = _Kept(
                        block.first_frame + index,
                        int(block.time_ns[index]),
                        int(block.wire[index]),
                        block.interfaces[int(block.interface[index])],
                        block.buffer[begin : begin + int(block.captured[index])].copy(),
                        batch.facts[index].copy(),
                        batch.flow(index),
                    )


def _as_they_are(batch: Batch, chosen: NDArray[np.int64]) -> Chosen:
    return Chosen(batch, chosen, chosen + batch.block.first_frame, np.zeros(len(chosen), np.bool_), chosen)


def _arranged(batch: Batch | None, plain: NDArray[np.int64], turns: Sequence[_Turn]) -> Chosen:
    """Packets of a batch that go as they came, and others in their turn, as a batch of their own."""
    turn_at = np.array([turn.after for turn in turns], np.int64)
    order = np.argsort(np.concatenate([plain, turn_at]), kind="stable")
    origins: list[int | _Kept] = [*plain.tolist(), *(turn.what for turn in turns)]
    none = np.zeros(len(plain), np.int64)
    holes = np.concatenate([none, np.array([turn.hole for turn in turns], np.int64)])[order] != 0
    jumps = np.concatenate([none, np.array([turn.jump for turn in turns], np.int64)])[order]
    origins = [origins[place] for place in order.tolist()]
    after = np.concatenate([plain, turn_at])[order]
    block, facts = _gathered(batch, origins)
    facts["sequence_shift"] = (facts["sequence_shift"].astype(np.int64) - jumps) & _MASK
    first = 0 if batch is None else batch.block.first_frame
    frames = np.array(
        [origin.frame if isinstance(origin, _Kept) else first + origin for origin in origins], np.int64
    )
    return Chosen(
        _Arranged(block, facts, origins, batch), np.arange(len(origins), dtype=np.int64), frames, holes, after
    )


def _gathered(batch: Batch | None, origins: Sequence[int | _Kept]) -> tuple[Block, NDArray[Any]]:
    """A block and the facts of packets of a batch and of such as outlived theirs."""
    kept = [(place, origin) for place, origin in enumerate(origins) if isinstance(origin, _Kept)]
    interfaces: list[Interface] = [] if batch is None else list(batch.block.interfaces)
    interfaces += dict.fromkeys(each.interface for _, each in kept if each.interface not in interfaces)
    total = len(origins)
    time_ns, offset, captured, wire = (np.zeros(total, np.int64) for _ in range(4))
    interface, facts = np.zeros(total, np.int32), np.zeros(total, FACTS)
    buffer, end = np.zeros(0, np.uint8), 0
    if batch is not None:
        block = batch.block
        buffer, end = block.buffer, len(block.buffer)
        own = np.array(
            [place for place, origin in enumerate(origins) if not isinstance(origin, _Kept)], np.int64
        )
        rows = np.array([origin for origin in origins if not isinstance(origin, _Kept)], np.int64)
        time_ns[own], offset[own], captured[own] = (
            block.time_ns[rows],
            block.offset[rows],
            block.captured[rows],
        )
        wire[own], interface[own], facts[own] = block.wire[rows], block.interface[rows], batch.facts[rows]
    for place, each in kept:
        time_ns[place], offset[place], captured[place] = each.time_ns, end, len(each.data)
        wire[place], interface[place], facts[place] = each.wire, interfaces.index(each.interface), each.fact
        end += len(each.data)
    if kept:
        buffer = np.concatenate([buffer, *(each.data for _, each in kept)])
        buffer.flags.writeable = False
    return Block(0, buffer, time_ns, offset, captured, wire, interface, tuple(interfaces)), facts
