"""The tracker of HTTP: pairs, whose bodies' first bytes may come in segments after the one with the head.

A response waits for them, until its body's first bytes are there, the next head comes, the flow ends or a hole
follows, but no longer than `HOLD_SECONDS` of packet time. A request's are added to it while it waits for its response.
"""

from collections import OrderedDict
from collections.abc import Container, Iterator

from producers.decoders.base import Decoder
from producers.decoders.chunks import Beginning, resumed
from producers.decoders.transactions import NEVER, PairTracker, Tracker, Transaction, tracker_for
from producers.decoders.unit import Role, Unit
from producers.engine.model import Flow
from schemas.events import NANOSECONDS

HOLD_SECONDS = 5.0
_HOLD_NS = int(HOLD_SECONDS * NANOSECONDS)

_Side = tuple[int, bool]
"""A flow's uid and a direction."""


class _Either:
    """What is in one of two containers."""

    def __init__(self, *containers: Container[int]) -> None:
        self._containers = containers

    def __contains__(self, uid: object) -> bool:
        return any(uid in each for each in self._containers)


class BodyTracker(PairTracker):
    """Pairs whose units say in `extra`, with the state of a `Beginning`, that more of their bodies may come."""

    def __init__(self, decoder: Decoder) -> None:
        super().__init__(decoder)
        self._asking: dict[_Side, Beginning] = {}
        self._open: OrderedDict[_Side, tuple[Beginning, Transaction]] = OrderedDict()
        self._flows: dict[int, None] = {}
        self.held = _Either(self.held, self._flows)

    @property
    def due_ns(self) -> int:
        """After which packet time a request or a response has waited too long."""
        return min(super().due_ns, self._open_until())

    def _open_until(self) -> int:
        if not self._open:
            return NEVER
        _, transaction = next(iter(self._open.values()))
        return transaction.units[-1].place.time_ns + _HOLD_NS

    def add(self, unit: Unit) -> Iterator[Transaction]:
        """Take a head, or a part of a body, in; yield the transactions that are complete with it."""
        flow = unit.place.flow
        if flow is None:
            if unit.role is not Role.PART:
                yield from super().add(unit)
            return
        where = flow.uid, unit.place.from_initiator
        if unit.role is Role.PART:
            yield from self._more(where, unit)
            return
        yield from self._let_go(where)
        beginning = _awaited(unit)
        if unit.role is Role.REQUEST:
            self._asking.pop(where, None)
            if beginning is not None:
                self._asking[where] = beginning
                self._flows[flow.uid] = None
        for transaction in super().add(unit):
            if beginning is not None and transaction.response is unit and not self._bodiless(transaction):
                self._open[where] = beginning, transaction
                self._flows[flow.uid] = None
            else:
                yield transaction

    def _more(self, where: _Side, unit: Unit) -> Iterator[Transaction]:
        """Take a part of a body in."""
        known = self._open.get(where)
        beginning = known[0] if known else self._asking.get(where)
        if beginning is None:
            return
        if unit.place.hole:
            beginning.stop()
        else:
            beginning.take(unit.extra)
        if not beginning.awaited:
            self._asking.pop(where, None)
            yield from self._let_go(where)

    def _bodiless(self, transaction: Transaction) -> bool:
        request = transaction.request
        return request is not None and request.fields.get("http.request.method") in ("HEAD", "CONNECT")

    def _let_go(self, where: _Side) -> Iterator[Transaction]:
        known = self._open.pop(where, None)
        if known is not None:
            yield known[1]

    def expire(self, now_ns: int) -> Iterator[Transaction]:
        """Yield what has waited too long."""
        while self._open_until() < now_ns:
            yield from self._let_go(next(iter(self._open)))
        yield from super().expire(now_ns)

    def end(self, flow: Flow) -> Iterator[Transaction]:
        """Yield what is left of a flow that has ended."""
        self._flows.pop(flow.uid, None)
        for forward in (True, False):
            self._asking.pop((flow.uid, forward), None)
            yield from self._let_go((flow.uid, forward))
        yield from super().end(flow)

    def close(self) -> Iterator[Transaction]:
        """Yield everything that is left."""
        while self._open:
            yield from self._let_go(next(iter(self._open)))
        yield from super().close()


def _awaited(unit: Unit) -> Beginning | None:
    """What there is of a message's body, if more of it may come; the unit has it from now on."""
    interim, state = unit.extra or (False, None)
    if state is None:
        return None
    beginning = resumed(state)
    unit.extra = interim, beginning
    return beginning


def tracker_of(decoder: Decoder) -> Tracker:
    """The tracker for a decoder: by its dataset's kind of transaction, or one that puts bodies together."""
    return BodyTracker(decoder) if decoder.bodies else tracker_for(decoder)
