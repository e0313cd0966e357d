"""From one source to events: source -> engine -> tshark -> decoders -> transactions -> events, in order.

The engine's packets and flow records stand in one queue; tshark answers packets in the order it got them, so
a flow record is told only after the last of the flow's packets has been decoded.
"""

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from producers.decoders.base import Decoder
from producers.decoders.builder import EventBuilder
from producers.decoders.protocols import QUOTING, application_protocols
from producers.decoders.registry import decoder_for
from producers.decoders.transactions import Tracker, Transaction, tracker_for
from producers.decoders.tree import Tree, layers_of
from producers.decoders.tshark import MAX_LINKTYPE, Tshark, TsharkEndedError, layers
from producers.decoders.unit import Place
from producers.engine.model import Accounting, Decided, Engine, Flow, FlowRecord, Verdict
from producers.sources.packet import RawPacket, Source
from runtime.errors import CaptureError, DecoderError, NetflightError
from runtime.telemetry import Telemetry
from schemas.events import Event
from schemas.model import datasets

Emit = Callable[[Event], None]
Progress = Callable[[Accounting, float | None], None]

_MAX_BACKLOG = 4 << 20
_MAX_PENDING = 20_000
# Decoding of a capture is given up after so many deaths of tshark with fewer answers between any two of them.
_MAX_DEATHS = 20
_ANSWERS_BETWEEN = 10_000
# A kind of link is not tried again after tshark has refused so many of its packets.
_MAX_REFUSALS = 3
_QUIET_SECONDS = 0.2
# What a fault in a decoder raises.
_SURPRISES = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DecodePlan:
    """What tshark is asked for, and which decoders read which of its layers."""

    protocols: tuple[str, ...]
    preferences: dict[str, str]
    decoders: tuple[Decoder, ...]
    by_layer: dict[str, Decoder] = field(default_factory=dict)


def decode_plan() -> DecodePlan:
    """The plan for all datasets that are decoded from packets."""
    decoders = tuple(decoder_for(dataset) for dataset in datasets().values() if dataset.tshark is not None)
    preferences: dict[str, str] = {}
    by_layer: dict[str, Decoder] = {}
    for decoder in decoders:
        if decoder.dataset.tshark is not None:
            preferences |= decoder.dataset.tshark.preferences
            by_layer |= dict.fromkeys(decoder.dataset.tshark.protocols, decoder)
    return DecodePlan(tuple(sorted(by_layer)), preferences, decoders, by_layer)


def start_tshark(plan: DecodePlan) -> Tshark:
    """Start a tshark for the plan; it is ready before its first packet, so it can be started ahead."""
    return Tshark(plan.protocols, plan.preferences)


class Pipeline:
    """Decodes one source to its end and hands every event to `emit`, in the order of the packets."""

    def __init__(  # noqa: PLR0913  # its parts, each named
        self,
        source: Source,
        engine: Engine,
        plan: DecodePlan,
        *,
        builder: EventBuilder,
        emit: Emit,
        telemetry: Telemetry,
        tshark: Tshark | None = None,
    ) -> None:
        self._source, self._engine, self._plan = source, engine, plan
        self._builder, self._emit, self._telemetry = builder, emit, telemetry
        self._tshark: Tshark | None = tshark or start_tshark(plan)
        self._queue: deque[Place | FlowRecord] = deque()
        self._trackers: dict[str, Tracker] = {d.dataset.name: tracker_for(d) for d in plan.decoders}
        self._all_trackers = tuple(self._trackers.values())
        self._now_ns = 0
        self._deaths = 0
        self._answers = 0
        self._refusals: Counter[int] = Counter()
        self._refused: dict[int, str] = {}
        self._given_up = ""
        self._error: NetflightError | None = None

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
        try:
            for block in self._blocks():
                if block is None:
                    self._idle()
                else:
                    self._take(block)
                if progress is not None:
                    progress(self.accounting, self._source.progress)
                if stop.is_set():
                    self._source.stop()
            for record in self._engine.close():
                self._queue.append(record)
            self._finish()
        finally:
            if self._tshark is not None:
                self._tshark.close()
        if self._error is not None:
            raise self._error

    def _blocks(self) -> Iterator[list[Decided | FlowRecord] | None]:
        """Yield what the engine says of each block; None where a live source is quiet."""
        try:
            for block in self._source.blocks():
                yield list(self._engine.feed(block)) if block else None
        except CaptureError as error:
            self._error = error

    def _take(self, items: list[Decided | FlowRecord]) -> None:
        path = self._source.path
        for item in items:
            if isinstance(item, FlowRecord):
                self._queue.append(item)
            elif item.verdict is Verdict.DECODE:
                packet = item.packet
                place = Place(
                    packet.frame,
                    packet.time_ns,
                    item.flow,
                    item.from_initiator,
                    item.payload_length,
                    packet.interface,
                    path,
                )
                self._hand_over(place, packet)
        self._exchange(0.0)
        while self._tshark and (self._tshark.backlog > _MAX_BACKLOG or self._tshark.pending > _MAX_PENDING):
            self._exchange(1.0)

    def _hand_over(self, place: Place, packet: RawPacket) -> None:
        reason = self._given_up or self._refused.get(packet.linktype)
        if packet.linktype > MAX_LINKTYPE:
            reason = "tshark has no link types beyond 65,535"
        if reason or self._tshark is None:
            self._telemetry.count("undecoded", reason or "")
            return
        self._queue.append(place)
        self._tshark.write(packet)

    def _exchange(self, seconds: float) -> None:
        records: list[bytes] = []
        if self._tshark is not None:
            try:
                records = self._tshark.exchange(seconds)
            except TsharkEndedError as error:
                self._replace_tshark(error)
        self._answer(records)

    def _idle(self) -> None:
        """Nothing came for a while: let what has waited too long go, by the clock."""
        if self._tshark is not None and self._tshark.pending:
            self._tshark.nudge()
            self._exchange(_QUIET_SECONDS)
        now_ns = time.time_ns()
        self._queue.extend(self._engine.advance(now_ns))
        if self._tshark is None or not self._tshark.pending:
            self._now_ns = max(self._now_ns, now_ns)
            self._expire()
        self._answer([])

    def _finish(self) -> None:
        finished = False
        while self._tshark is not None and not finished:
            try:
                for records in self._tshark.finish():
                    self._answer(records)
                finished = True
            except TsharkEndedError as error:
                self._replace_tshark(error)
        self._answer([])
        for tracker in self._all_trackers:
            self._tell(tracker, tracker.close())

    def _answer(self, records: list[bytes]) -> None:
        """Match tshark's records with the packets that wait for them; tell the flow records in between."""
        queue = self._queue
        self._answers += len(records)
        for record in records:
            self._tell_flows()
            place = queue.popleft()
            if isinstance(place, Place):
                self._decode(place, record)
        self._tell_flows()

    def _tell_flows(self) -> None:
        queue = self._queue
        while queue and isinstance(queue[0], FlowRecord):
            record = queue.popleft()
            if isinstance(record, FlowRecord):
                if record.final:
                    for tracker in self._all_trackers:
                        self._tell(tracker, tracker.end(record.flow))
                self._emit_event(self._builder.flow(record, self._source.path))

    def _decode(self, place: Place, record: bytes) -> None:
        if place.time_ns > self._now_ns:
            self._now_ns = place.time_ns
            self._expire()
        found = layers(record)
        if found is None:
            self._telemetry.count("undecoded", "record")
            return
        if place.flow is not None:
            _remember_protocols(place.flow, found)
        for name, value in found.items():
            decoder = self._plan.by_layer.get(name)
            if decoder is not None:
                for layer in layers_of(value):
                    self._units(decoder, layer, name, place)
            if name in QUOTING:
                return  # what follows is quoted in the error, and was not sent by anybody

    def _units(self, decoder: Decoder, layer: Tree, protocol: str, place: Place) -> None:
        tracker = self._trackers[decoder.dataset.name]
        try:
            units = list(decoder.units(layer, protocol, place))
        except _SURPRISES as error:
            self._surprised(decoder, error)
            return
        for unit in units:
            self._tell(tracker, tracker.add(unit))

    def _expire(self) -> None:
        for tracker in self._all_trackers:
            self._tell(tracker, tracker.expire(self._now_ns))

    def _tell(self, tracker: Tracker, transactions: Iterator[Transaction]) -> None:
        for transaction in transactions:
            try:
                event = self._builder.transaction(tracker.decoder, transaction)
            except _SURPRISES as error:
                self._surprised(tracker.decoder, error)
            else:
                self._emit_event(event)

    def _surprised(self, decoder: Decoder, error: Exception) -> None:
        """Count what a decoder did not expect, a fault of its own: one packet must not end a capture."""
        self._telemetry.count(
            "undecoded", f"the {decoder.dataset.name} decoder failed ({type(error).__name__})"
        )
        _log.debug("%s: decoder failed", decoder.dataset.name, exc_info=error)

    def _emit_event(self, event: Event) -> None:
        self._telemetry.count("events", event["event"]["dataset"])
        self._emit(event)

    def _replace_tshark(self, error: TsharkEndedError) -> None:
        """Go on with a new tshark after the packet that the old one ended on, which is not decoded."""
        if self._tshark is None:
            return
        unanswered = self._tshark.unanswered
        self._tshark.close()
        self._tshark = None
        self._tell_flows()
        if unanswered:
            self._queue.popleft()
            self._telemetry.count("undecoded", error.reason)
            self._judge(error, unanswered.popleft().linktype)
        if not self._given_up:
            self._tshark = start_tshark(self._plan)
        waiting, self._queue = self._queue, deque()
        for item in waiting:
            if isinstance(item, FlowRecord):
                self._queue.append(item)
            else:
                self._hand_over(item, unanswered.popleft())

    def _judge(self, error: TsharkEndedError, linktype: int) -> None:
        """Decide what is not tried again: a kind of link that tshark refuses, all where it dies again and again."""
        if error.refused:
            self._refusals[linktype] += 1
            if self._refusals[linktype] >= _MAX_REFUSALS:
                self._refused[linktype] = f"tshark refused link type {linktype}"
            return
        self._deaths = self._deaths + 1 if self._answers < _ANSWERS_BETWEEN else 1
        self._answers = 0
        if self._deaths >= _MAX_DEATHS:
            self._given_up = f"{error.reason} {self._deaths} times"
            what = f"{self._source.path or 'live'}: decoding given up: {error.what}, {self._deaths} times"
            self._error = self._error or DecoderError(what, error.hint)


def _remember_protocols(flow: Flow, found: Tree) -> None:
    known = flow.protocols
    for name in application_protocols(found, tunnelled=flow.tunnel is not None):
        if name not in known and len(known) < 16:
            known.append(name)
