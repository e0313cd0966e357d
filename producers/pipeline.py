"""From one source to events: source -> engine -> tshark -> decoders -> transactions -> events, in order.

Packets that are decoded and flow records stand in one queue, in the packets' order; tshark's answers are taken at its
head, so events come out in that order however many children work, and a flow's record is told only after the last
of its packets has been decoded.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from operator import itemgetter
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from producers.decoders import beside
from producers.decoders.bodies import tracker_of
from producers.decoders.builder import EventBuilder
from producers.decoders.datasets.anomaly import broken, troubles
from producers.decoders.decoding import SURPRISES, Answer, restored, surprise
from producers.decoders.holes import TAG, touches
from producers.decoders.lane import Lane
from producers.decoders.ordering import Chosen, Ordering
from producers.decoders.places import Holes, Places
from producers.decoders.plan import DecodePlan
from producers.decoders.pool import Pool
from producers.decoders.secrets import Credentials
from producers.decoders.transactions import NEVER, Tracker, Transaction
from producers.decoders.unit import Place, Role, Unit
from producers.engine.kernel.layout import NAMING, Kind, Signature
from producers.engine.model import Accounting, Batch, Engine, Flow, FlowRecord
from producers.files.connections import Found
from producers.files.events import units_of
from producers.files.watch import FileWatch
from producers.sources.packet import Block, Source
from runtime.errors import CaptureError, DecoderError, NetflightError
from runtime.telemetry import Telemetry
from schemas.events import Event

Emit = Callable[[Event], None]
Progress = Callable[[Accounting, float | None], None]
Waiting = tuple[Lane, int, int, Flow | None, bool, int, str, int, int, bool]
"""A packet that tshark will answer: its lane, and its `Place` but for the path."""

_MAX_BACKLOG = 8 << 20
_MAX_WAITING = 40_000
_MAX_PROTOCOLS = 16
_MAX_SHOWN = 1000  # credentials remembered per flow
_QUIET_SECONDS = 0.2


class Recorder(Protocol):
    """Keeps packets; hears of every batch."""

    def write(self, batch: Batch) -> None:
        """Keep what the policy says of a batch."""
        ...


class Pipeline:
    """Decodes one source to its end and hands every event to `emit`, in the order of the packets."""

    def __init__(  # noqa: PLR0913  # its parts, each named
        self,
        source: Source,
        engine: Engine,
        plan: DecodePlan,
        pool: Pool,
        *,
        builder: EventBuilder,
        emit: Emit,
        telemetry: Telemetry,
        recorder: Recorder | None = None,
        files: FileWatch | None = None,
    ) -> None:
        self._source, self._engine, self._plan, self._pool = source, engine, plan, pool
        self._builder, self._emit, self._telemetry, self._recorder = builder, emit, telemetry, recorder
        self._files = files
        self._queue: deque[Waiting | FlowRecord | Found | Unit] = deque()
        self._trackers: dict[str, Tracker] = {
            d.dataset.name: tracker_of(d, bodies=builder.shows("http_bodies")) for d in plan.decoders
        }
        self._bodies = builder.shows("http_bodies") and "http" in self._trackers
        self._by_number = list(self._trackers.values())
        self._used: list[Tracker] = []  # those of datasets that the source has, in the datasets' order
        for decoder in plan.decoders:
            decoder.begin()
        self._protocols: dict[int, list[str]] = {}
        self._signatures: dict[int, list[Signature]] = {}
        self._shown: dict[int, set[tuple[str, Credentials]]] = {}
        self._ordering = Ordering()
        self._holes = Holes()
        self._now_ns = 0
        self._latest_ns = 0  # the latest packet's own time
        self._came_ns = 0  # when the last block came, by the monotonic clock; 0 before the first
        self._due_ns = NEVER

    @property
    def accounting(self) -> Accounting:
        """Where every packet went."""
        self._engine.accounting.dropped = self._source.dropped
        return self._engine.accounting

    def run(self, stop: threading.Event, progress: Progress | None = None) -> None:
        """Decode to the end, or until `stop`; what was read by then is decoded in both cases.

        Raises, after everything else was told, the CaptureError of a damaged capture, or the DecoderError of a
        tshark that died too often: then the flows are complete and the packets left are counted as undecoded.
        """
        error: NetflightError | None = None
        try:
            try:
                self._read(stop, progress)
            except CaptureError as cut_short:
                error = cut_short
            self._queue_held(self._ordering.rest())
            self._queue_records(self._engine.close())
            self._finish()
        finally:
            self._pool.close()
        given_up = self._pool.error
        if given_up is not None and error is None:
            what = f"{self._source.path or 'live'}: decoding given up: {given_up.what}"
            error = DecoderError(what, given_up.hint)
        if error is not None:
            raise error

    def _read(self, stop: threading.Event, progress: Progress | None) -> None:
        for block in self._source.blocks():
            if len(block):
                self._take(block)
            else:
                self._idle()
            if progress is not None:
                progress(self.accounting, self._source.progress)
            if stop.is_set():
                self._source.stop()

    def _take(self, block: Block) -> None:
        self._latest_ns, self._came_ns = max(self._latest_ns, int(block.time_ns.max())), time.monotonic_ns()
        batch = self._engine.feed(block)
        if self._recorder is not None:
            self._recorder.write(batch)
        self._queue_up(batch)
        self._exchange(0.0)
        while self._pool.backlog > _MAX_BACKLOG or len(self._queue) > _MAX_WAITING:
            self._exchange(0.05)

    def _queue_up(self, batch: Batch) -> None:
        """Put a batch's records and the packets that tshark gets into the queue, in order."""
        facts = batch.facts
        signed = facts["signature"] != 0
        pairs = facts["uid"][signed] << 8 | facts["signature"][signed]
        for pair in pairs[np.sort(np.unique(pairs, return_index=True)[1])].tolist():
            known = self._signatures.setdefault(pair >> 8, [])
            if pair & 0xFF not in known:
                known.append(Signature(pair & 0xFF))
        after, waiting = self._feed(self._ordering.arrange(batch))
        queue, begin = self._queue, 0
        told = self._beside(batch)
        if told:
            before = np.searchsorted(after, [place for place, _ in told]).tolist()
            for end, (_, item) in zip(before, told, strict=True):
                queue.extend(waiting[begin:end])
                queue.append(item)
                begin = end
        queue.extend(waiting[begin:])

    def _feed(self, chosen: Chosen) -> tuple[NDArray[np.int64], list[Waiting]]:
        """Give packets to the pool; what the queue keeps of each, and the packet of the batch that it comes after."""
        if not len(chosen.indexes):
            return chosen.after, []
        after, places, lanes = self._pool.feed(chosen)
        waiting = _waiting(lanes, places) if places is not None else []
        self._telemetry.count("decoded", amount=len(waiting))
        return after, waiting

    def _beside(self, batch: Batch) -> list[tuple[int, FlowRecord | Found | Unit]]:
        """What is told beside a batch's packets, each with the index of the packet it comes before."""
        records: list[tuple[int, FlowRecord | Found | Unit]] = list(batch.records)
        files = self._files.read(batch) if self._files is not None else []
        faulty = np.flatnonzero(batch.facts["kind"] == Kind.MALFORMED).tolist()
        known = beside.bodies(batch, self._source.path) if self._bodies else []
        if "ssh" in self._trackers:
            known += beside.encrypted(batch, self._source.path)
        if not files and not faulty and not known:
            return records
        units = [(index, broken(_place(batch.block, index, self._source.path))) for index in faulty]
        return sorted([*known, *files, *units, *records], key=itemgetter(0))

    def _queue_held(self, chosen: Chosen | None) -> None:
        """Put packets that were held back into the queue."""
        if chosen is not None:
            self._queue.extend(self._feed(chosen)[1])

    def _queue_records(self, records: Iterator[FlowRecord]) -> None:
        """Put flows that are over into the queue, the files before the flow they were on."""
        for record in records:
            if record.final:
                self._queue_held(self._ordering.ended(record.flow.uid))
                if self._files is not None:
                    self._queue.extend(self._files.ended(record.flow.uid))
            self._queue.append(record)

    def _exchange(self, seconds: float) -> None:
        self._pool.exchange(seconds)
        self._answer()

    def _idle(self) -> None:
        """Nothing came for a while: let what has waited too long go, by packet time and what has passed since."""
        self._pool.nudge()
        self._exchange(_QUIET_SECONDS if self._pool.pending else 0.0)
        if not self._came_ns:
            return
        now_ns = self._latest_ns + time.monotonic_ns() - self._came_ns
        self._queue_held(self._ordering.expired(now_ns))
        self._queue_records(self._engine.advance(now_ns))
        if not self._pool.pending:
            self._now_ns = max(self._now_ns, now_ns)
            self._expire()
        self._answer()

    def _finish(self) -> None:
        for _ in self._pool.finish():
            self._answer()
        self._answer()
        for tracker in self._used:
            self._tell(tracker, tracker.close())

    def _answer(self) -> None:
        """Take what is answered off the queue's head: decode packets, tell flow records."""
        queue = self._queue
        while queue:
            item = queue[0]
            if isinstance(item, FlowRecord):
                self._tell_flow(item)
            elif isinstance(item, Unit):
                self._add(self._trackers[item.protocol if item.role is Role.PART else "anomaly"], item)
            elif isinstance(item, Found):
                units = units_of(item, self._source.path)
                self._emit_event(self._builder.notice("file", units, forward=item.file.client_first))
            else:
                answers = item[0].answers
                if not answers:
                    return
                answer = answers.popleft()
                if answer is not None:
                    self._decode(item, answer)
            queue.popleft()

    def _tell_flow(self, record: FlowRecord) -> None:
        flow = record.flow
        if record.final:
            for tracker in self._used:
                if flow.uid in tracker.held:
                    self._tell(tracker, tracker.end(flow), flow)
            self._pool.over(flow.uid)
            self._ordering.over(flow.uid)
        flow.protocols = self._recognised(flow.uid)
        if record.final:
            self._protocols.pop(flow.uid, None)
            self._signatures.pop(flow.uid, None)
            self._shown.pop(flow.uid, None)
        self._emit_event(self._builder.flow(record, self._source.path))
        for unit in troubles(flow, self._source.path) if record.final else ():
            self._emit_event(self._builder.notice("anomaly", (unit,)))

    def _decode(self, waiting: Waiting, answer: Answer) -> None:
        _, frame, time_ns, flow, forward, length, interface, sequence, acknowledgement, hole = waiting
        if time_ns > self._now_ns:
            self._now_ns = time_ns
            if time_ns > self._due_ns:
                self._expire()
        names, told = answer
        if names and flow is not None:
            self._remember(flow.uid, names)
        if hole or self._holes:
            hole = self._holes.lies_before(flow, forward, hole=hole, read=bool(told))
        if told:
            path = self._source.path
            place = Place(
                *(frame, time_ns, flow, forward, length, interface, path), sequence, acknowledgement, hole
            )
            for item in told:
                if type(item) is str:
                    self._telemetry.count("undecoded", item)
                else:
                    self._units(item, place)

    def _recognised(self, uid: int) -> list[str]:
        """A flow's protocols: by the signatures that are proof, and by tshark; by the others where these name none."""
        signatures, found = self._signatures.get(uid, ()), self._protocols.get(uid, ())
        said = [signature.label for signature in signatures if signature in NAMING or not found]
        return [*(name for name in said if name not in found), *found]

    def _remember(self, uid: int, names: tuple[str, ...]) -> None:
        known = self._protocols.get(uid)
        if known is None:
            known = self._protocols[uid] = []
        for name in names:
            if name not in known and len(known) < _MAX_PROTOCOLS:
                known.append(name)

    def _units(self, item: tuple[Any, ...], place: Place) -> None:
        tracker = self._by_number[item[0]]
        try:
            units = list(restored(item, place, self._plan.decoders))
        except SURPRISES as error:
            self._telemetry.count("undecoded", surprise(tracker.decoder, error))
            return
        for unit in units:
            for credentials in unit.credentials:
                self._show(unit, credentials)
            self._add(tracker, unit)

    def _add(self, tracker: Tracker, unit: Unit) -> None:
        if tracker not in self._used:
            self._used = [
                other for other in self._trackers.values() if other in self._used or other is tracker
            ]
        self._tell(tracker, tracker.add(unit))
        self._due_ns = min(self._due_ns, tracker.due_ns)

    def _show(self, unit: Unit, credentials: Credentials) -> None:
        """Tell of credentials in clear, once per flow."""
        flow = unit.place.flow
        shown = self._shown.setdefault(flow.uid, set()) if flow is not None else set()
        said = (unit.protocol, credentials)
        if said not in shown and len(shown) < _MAX_SHOWN:
            shown.add(said)
            self._emit_event(self._builder.credentials(unit, credentials))

    def _expire(self) -> None:
        for tracker in self._used:
            if tracker.due_ns < self._now_ns:
                self._tell(tracker, tracker.expire(self._now_ns))
        self._due_ns = min((tracker.due_ns for tracker in self._used), default=NEVER)

    def _tell(self, tracker: Tracker, transactions: Iterator[Transaction], ended: Flow | None = None) -> None:
        for transaction in transactions:
            flow = transaction.units[0].place.flow
            lost = self._ordering.holes(flow.uid) if flow is not None else ()
            try:
                event = self._builder.transaction(tracker.decoder, transaction)
            except SURPRISES as error:
                self._telemetry.count("undecoded", surprise(tracker.decoder, error))
            else:
                if touches(transaction, lost, ended, whole=tracker.whole):
                    event["tags"] = [*event.get("tags", ()), TAG]
                self._emit_event(event)
                self._show_all(transaction)

    def _show_all(self, transaction: Transaction) -> None:
        """Tell of the credentials that a transaction shows only when it is complete."""
        for unit in transaction.units:
            if unit.credentials and unit.place.flow is not None:
                for credentials in unit.credentials:
                    self._show(unit, credentials)

    def _emit_event(self, event: Event) -> None:
        self._telemetry.count("events", event["event"]["dataset"])
        self._emit(event)


def _place(block: Block, index: int, path: str) -> Place:
    """Where a packet that belongs to no flow was seen."""
    name = block.interfaces[int(block.interface[index])].name
    frame, time_ns = block.first_frame + index, int(block.time_ns[index])
    return Place(frame, time_ns, None, True, 0, name, path)  # a field of a tuple


def _waiting(lanes: list[Lane], places: Places) -> list[Waiting]:
    """What the queue keeps of packets."""
    return list(
        zip(
            lanes,
            places.frames.tolist(),
            places.times.tolist(),
            places.flow_of_each(),
            places.forward.tolist(),
            places.lengths.tolist(),
            places.name_of_each(),
            *(column.tolist() for column in places.tcp()),
            strict=True,
        )
    )
