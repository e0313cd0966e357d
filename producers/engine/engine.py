"""The decision engine: native stages over a block's packets, and Python only where a flow is told."""

from collections import OrderedDict
from collections.abc import Iterator
from functools import cached_property
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from producers.engine.kernel.layout import DECODE, FACTS
from producers.engine.kernel.parse import Datagrams, new_datagrams, parse
from producers.engine.kernel.splice import new_streams, splice
from producers.engine.kernel.table import expire, finish, track
from producers.engine.kernel.table_index import grown, rehash
from producers.engine.kernel.table_rows import (
    COUNT,
    EVICTIONS,
    FLOW,
    HIGH,
    KINDS,
    PIECE,
    RECORDS,
    Table,
    new_table,
)
from producers.engine.model import Accounting, Flow, FlowRecord, Timeouts
from producers.engine.records import flows_of
from producers.sources.packet import Block, RawPacket, block_of

Number = TypeVar("Number", bound=np.generic)

MAX_FLOWS = 1_000_000
_KNOWN = 16_384
_ETHERNET = 1
_NO_ROWS = np.zeros(0, FLOW)
_NO_PLACES = np.zeros(0, np.int64)


class Policy(Protocol):
    """What decides over packets. It is handed a piece of a block: row i of `facts` is packet i of `block`."""

    def admit(self, facts: NDArray[Any], block: Block) -> None:
        """Take packets out before the flow table: set `kind` to IGNORED. Runs after `parse`."""
        ...

    def decide(self, facts: NDArray[Any], block: Block) -> None:
        """Write `verdict` and `rule`. Runs after `track`."""
        ...


class Rows(NamedTuple):
    """A block decided, as arrays.

    `facts` has a row of `kernel.layout.FACTS` a packet and is good until the engine is fed again; `records` has rows
    of `kernel.table_rows.FLOW`, each to be told before the packet whose index is in `places`.
    """

    facts: NDArray[Any]
    records: NDArray[Any]
    places: NDArray[np.int64]


class FlowEngine:
    """Counts every packet in its flow; flows are told apart by the rules of docs/flows.md.

    `max_flows` (1 at least) bounds the memory, about 0.6 KB a flow: past it, the one idle for longest ends as
    `evicted`. Without a policy every packet gets the verdict DECODE, and TCP's streams are not put in order.
    """

    def __init__(
        self, timeouts: Timeouts | None = None, max_flows: int = MAX_FLOWS, policy: Policy | None = None
    ) -> None:
        self.accounting = Accounting()
        self.policy = policy
        self._table = new_table(timeouts or Timeouts(), max_flows)
        self._datagrams = new_datagrams()
        self._streams = new_streams()
        self._facts = np.zeros(PIECE, FACTS)
        self._names: dict[str, int] = {}
        self._known: OrderedDict[int, Flow] = OrderedDict()

    @property
    def open_flows(self) -> int:
        """How many flows are in the table."""
        return self._table.state.item(COUNT)

    @property
    def evicted(self) -> int:
        """How many flows had to end because there were too many."""
        return int(self._table.state[EVICTIONS])

    def feed(self, block: Block) -> "FlowBatch":
        """Take a block in; return its packets decided and the records of flows that ended on the way."""
        return FlowBatch(self, block, self.feed_rows(block))

    def feed_rows(self, block: Block) -> Rows:
        """The same as arrays, without any object a flow."""
        total = len(block)
        if len(self._facts) < total:
            self._facts = np.zeros(total, FACTS)
        block = _frozen(block)
        linktypes = np.array([interface.linktype for interface in block.interfaces], np.int32)
        numbers = np.array([self._number(each.name) for each in block.interfaces], np.int32)
        told = _Told()
        for begin in range(0, total, PIECE):
            piece = _piece(block, begin, min(begin + PIECE, total))
            facts = self._facts[begin : begin + len(piece)]
            _parse(piece, linktypes, facts, self._datagrams)
            if self.policy is not None:
                self.policy.admit(facts, piece)
            self._track(piece, facts, numbers[piece.interface], told, begin)
            if self.policy is None:  # for who wants flows only: the order of streams is for tshark
                facts["verdict"] = DECODE
            else:
                self.policy.decide(facts, piece)
                splice(self._table.flows, facts, self._streams)
        self._account()
        return Rows(self._facts[:total], told.rows(), told.places())

    def warm(self) -> None:
        """Compile all native code, or load it, by a packet that another engine takes; the policy decides none."""
        other = FlowEngine(max_flows=1)
        block = _frozen(block_of([RawPacket(1, 0, _ETHERNET, bytes(64), 64, "")]))
        splice(other._table.flows, other.feed_rows(block).facts, other._streams)  # one of its own kind
        table = new_table(Timeouts(), 1)
        expire(table, 1, 0)
        finish(table, np.zeros(0, np.int64), 0)
        rehash(table.cells, np.zeros_like(table.cells))
        if self.policy is not None:
            none = _piece(block, 0, 0)
            self.policy.admit(self._facts[:0], none)
            self.policy.decide(self._facts[:0], none)

    def advance(self, now_ns: int) -> Iterator[FlowRecord]:
        """Yield the records of flows that are over by `now_ns`."""
        done = False
        while not done:
            done = expire(self._table, now_ns, 0)
            yield from self._told()

    def close(self) -> Iterator[FlowRecord]:
        """Yield the final records of all flows that are left: end reason `end`, or how TCP closed them."""
        rows = self._table.flows[: self._table.state[HIGH]]
        slots = np.flatnonzero(rows["live"])
        slots = slots[np.argsort(rows["uid"][slots])]
        step = len(self._table.records)
        for begin in range(0, len(slots), step):
            finish(self._table, slots[begin : begin + step], 0)
            yield from self._told()

    def flows(self, rows: NDArray[Any]) -> list[Flow]:
        """Rows of `Rows.records` as flows, with the protocols that were recognised on them."""
        flows = flows_of(rows, list(self._names))
        for flow in flows:
            known = self._known.get(flow.uid)
            if known is not None:
                flow.protocols = known.protocols
        return flows

    def flow(self, uid: int, slot: int, records: NDArray[Any]) -> Flow | None:
        """The flow of a packet of the block fed last; `records` are those of its flows that ended in it."""
        known = self._known.get(uid)
        if known is not None:
            self._known.move_to_end(uid)
            return known
        row = self._table.flows[slot : slot + 1]
        if row["uid"][0] != uid:  # it has ended and its row belongs to another
            row = records[records["uid"] == uid][:1]
        (flow,) = flows_of(row, list(self._names))
        self._known[uid] = flow
        if len(self._known) > _KNOWN:
            self._known.popitem(last=False)
        return flow

    def flows_by_uid(
        self, uids: NDArray[np.int64], slots: NDArray[np.int64], records: NDArray[Any]
    ) -> dict[int, Flow]:
        """As `flow` for many, which takes a third of the time: rows are copied out of the table together."""
        known = self._known
        found = {uid: known[uid] for uid in uids.tolist() if uid in known}
        for uid in found:
            known.move_to_end(uid)
        new = np.array([uid not in found for uid in uids.tolist()], np.bool_)
        rows = self._table.flows[slots[new]]
        ended = rows["uid"] != uids[new]
        if ended.any():
            told, first = np.unique(records["uid"], return_index=True)
            rows[ended] = records[first[np.searchsorted(told, uids[new][ended])]]
        for flow in flows_of(rows, list(self._names)):
            found[flow.uid] = known[flow.uid] = flow
        while len(known) > _KNOWN:
            known.popitem(last=False)
        return found

    def _number(self, name: str) -> int:
        return self._names.setdefault(name, len(self._names))

    def _track(
        self, piece: Block, facts: NDArray[Any], names: NDArray[np.int32], told: "_Told", first: int
    ) -> None:
        """Count a piece's packets in their flows and take the records out whenever there is no room left."""
        self._table = table = grown(self._table, self.open_flows + len(piece))
        buffer, offset, captured, wire = piece.buffer, piece.offset, piece.captured, piece.wire
        begin = 0
        while begin < len(piece):
            begin = track(table, facts, begin, buffer, offset, captured, wire, piece.time_ns, names)
            told.take(table, first)

    def _told(self) -> Iterator[FlowRecord]:
        """Yield the records that are in the table's memory."""
        told = _Told()
        told.take(self._table, 0)
        rows = told.rows()
        for flow, final in zip(self.flows(rows), rows["final"].tolist(), strict=True):
            yield FlowRecord(flow, bool(final))

    def _account(self) -> None:
        kinds = self._table.state[KINDS:].tolist()  # by Kind
        accounting = self.accounting
        accounting.read = sum(kinds)
        accounting.not_ip, accounting.malformed, accounting.in_flows, accounting.ignored = kinds


class FlowBatch:
    """A block, decided (`producers.engine.model.Batch`). Flows become objects when somebody asks for them."""

    def __init__(self, engine: FlowEngine, block: Block, rows: Rows) -> None:
        self.block = block
        self.facts = rows.facts
        self._engine = engine
        self._rows = rows

    @cached_property
    def records(self) -> list[tuple[int, FlowRecord]]:
        """The records to be told, each with the index of the packet it comes before."""
        rows = self._rows.records
        flows = self._engine.flows(rows)
        finals, places = rows["final"].tolist(), self._rows.places.tolist()
        return [
            (place, FlowRecord(flow, bool(final)))
            for place, flow, final in zip(places, flows, finals, strict=True)
        ]

    @cached_property
    def _uids(self) -> list[int]:
        uids: list[int] = self.facts["uid"].tolist()
        return uids

    @cached_property
    def _decoded(self) -> dict[int, Flow]:
        """The flows of all packets that are decoded: one of them is hardly ever asked for alone."""
        rows = self.facts[(self.facts["verdict"] & DECODE != 0) & (self.facts["uid"] != 0)]
        uids, first = np.unique(rows["uid"], return_index=True)
        return self._engine.flows_by_uid(uids, rows["slot"][first].astype(np.int64), self._rows.records)

    def flow(self, index: int) -> Flow | None:
        """The flow of the packet at `index`, None where it carries no IP or was taken out."""
        uid = self._uids[index]
        if not uid:
            return None
        flow = self._decoded.get(uid)
        if flow is not None:
            return flow
        return self._engine.flow(uid, int(self.facts["slot"][index]), self._rows.records)


class _Told:
    """Records taken out of the table's memory, which is small and used again."""

    def __init__(self) -> None:
        self._rows: list[NDArray[Any]] = []
        self._places: list[NDArray[np.int64]] = []

    def take(self, table: Table, first: int) -> None:
        """Empty the records of a piece whose first packet is the block's packet `first`."""
        count = table.state.item(RECORDS)
        if count:
            self._rows.append(table.records[:count].copy())
            self._places.append(table.record_at[:count] + first)
            table.state[RECORDS] = 0

    def rows(self) -> NDArray[Any]:
        """All of them."""
        return _joined(self._rows, _NO_ROWS)

    def places(self) -> NDArray[np.int64]:
        """The packets that they come before."""
        return _joined(self._places, _NO_PLACES)


def _joined(parts: list[NDArray[Number]], none: NDArray[Number]) -> NDArray[Number]:
    """One array of all; the ordinary cases first, because putting rows of many fields together takes its time."""
    if len(parts) == 1:
        return parts[0]
    return np.concatenate(parts) if parts else none


def _parse(piece: Block, linktypes: NDArray[np.int32], facts: NDArray[Any], datagrams: Datagrams) -> None:
    columns = piece.offset, piece.captured, piece.wire, piece.time_ns, piece.interface
    parse(piece.buffer, *columns, linktypes, facts, datagrams)


def _frozen(block: Block) -> Block:
    """The same block, its arrays read-only: else numba compiles everything once for arrays that are and once more."""
    return Block(
        block.first_frame,
        _read_only(block.buffer),
        _read_only(block.time_ns),
        _read_only(block.offset),
        _read_only(block.captured),
        _read_only(block.wire),
        _read_only(block.interface),
        block.interfaces,
    )


def _read_only(column: NDArray[Number]) -> NDArray[Number]:
    view = np.ascontiguousarray(column).view()
    view.flags.writeable = False
    return view


def _piece(block: Block, begin: int, end: int) -> Block:
    """Packets of a block, as a block of its own over the same bytes."""
    span = slice(begin, end)
    return Block(
        block.first_frame + begin,
        block.buffer,
        block.time_ns[span],
        block.offset[span],
        block.captured[span],
        block.wire[span],
        block.interface[span],
        block.interfaces,
    )
