"""The tracker of HTTP: pairs, whose bodies' first bytes may come in segments after the one with the head.

A response waits for them, until its body's first bytes are there, the next head comes, the flow ends or a hole
follows, but no longer than `HOLD_SECONDS` of packet time. A request's are added to it while it waits for its response.
"""

from collections import OrderedDict
from collections.abc import Container, Iterator

from producers.decoders.base import Decoder
from producers.decoders.chunks import NO_SEQUENCE, Beginning
from producers.decoders.transactions import NEVER, PairTracker, Tracker, Transaction, tracker_for
from producers.decoders.unit import Place, Role, Unit
from producers.engine.model import Flow
from schemas.events import NANOSECONDS

HOLD_SECONDS = 5.0
_HOLD_NS = int(HOLD_SECONDS * NANOSECONDS)
_MASK, _HALF = 0xFFFFFFFF, 1 << 31

_Side = tuple[int, bool, tuple[str, ...]]
"""A flow's uid, a direction, and the key of the stream of HTTP/2 in it."""


class _Either:
    """What is in one of two containers."""

    def __init__(self, *containers: Container[int]) -> None:
        self._containers = containers

    def __contains__(self, uid: object) -> bool:
        return any(uid in each for each in self._containers)


class BodyTracker(PairTracker):
    """Pairs whose units say in `extra` that a body belongs to them.

    Its bytes come in units of their own (`beside.bodies`), each after the units of the packet that it was in.
    """

    def __init__(self, decoder: Decoder) -> None:
        super().__init__(decoder)
        self._asking: dict[_Side, _Awaited] = {}
        self._open: OrderedDict[_Side, tuple[_Awaited, Transaction]] = OrderedDict()
        self._flows: dict[int, dict[_Side, None]] = {}
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
        where = flow.uid, unit.place.from_initiator, unit.key
        if unit.role is Role.PART:
            yield from self._more(where, unit)
            return
        yield from self._let_go(where)
        awaited = _awaited(unit)
        if unit.role is Role.REQUEST:
            self._asking.pop(where, None)
            if awaited is not None:
                self._asking[where] = awaited
                self._flows.setdefault(flow.uid, {})[where] = None
        for transaction in super().add(unit):
            if awaited is not None and transaction.response is unit and not _bodiless(transaction):
                self._open[where] = awaited, transaction
                self._flows.setdefault(flow.uid, {})[where] = None
            else:
                yield transaction

    def _more(self, where: _Side, unit: Unit) -> Iterator[Transaction]:
        """Take a part of a body in."""
        known = self._open.get(where)
        awaited = known[0] if known else self._asking.get(where)
        if awaited is None:
            return
        awaited.take(unit)
        if not awaited.beginning.awaited:
            self._asking.pop(where, None)
            yield from self._let_go(where)

    def _let_go(self, where: _Side) -> Iterator[Transaction]:
        known = self._open.pop(where, None)
        of_flow = self._flows.get(where[0])
        if of_flow is not None and where not in self._asking:
            of_flow.pop(where, None)
        if known is not None:
            yield known[1]

    def expire(self, now_ns: int) -> Iterator[Transaction]:
        """Yield what has waited too long."""
        while self._open_until() < now_ns:
            yield from self._let_go(next(iter(self._open)))
        yield from super().expire(now_ns)

    def end(self, flow: Flow) -> Iterator[Transaction]:
        """Yield what is left of a flow that has ended."""
        for where in self._flows.pop(flow.uid, ()):
            self._asking.pop(where, None)
            yield from self._let_go(where)
        yield from super().end(flow)

    def close(self) -> Iterator[Transaction]:
        """Yield everything that is left."""
        while self._open:
            yield from self._let_go(next(iter(self._open)))
        yield from super().close()


class _Awaited:
    """A body that is being put together: where its bytes go, and at which sequence number the next of them stand."""

    __slots__ = ("_next", "beginning", "head")

    def __init__(self, head: Place, beginning: Beginning) -> None:
        self.head, self.beginning = head, beginning
        self._next = -1

    def take(self, unit: Unit) -> None:
        """Take a piece that follows what is there; with any other the body is over as far as it can be shown."""
        data, begin, end = unit.extra
        if begin == NO_SEQUENCE:
            ends, whole = end
            self.beginning.take(data, anew=whole)
            if ends:
                self.beginning.stop()
            return
        # The first stands in the head's packet, or right after it; a SYN counts as a byte.
        first = self._next < 0 and (begin - self.head.sequence) & _MASK <= self.head.length + 1
        follows = first or begin == self._next
        if follows and not unit.place.hole:
            self._next = end
            self.beginning.take(data)
        elif self._next < 0 or (begin - self._next) & _MASK < _HALF:
            self.beginning.stop()


def _awaited(unit: Unit) -> _Awaited | None:
    """The body that belongs to a head, if there is one; it is the unit's from now on."""
    interim, known = unit.extra or (False, None)
    if known is None:
        return None
    beginning = Beginning(*known)
    unit.extra = interim, beginning
    return _Awaited(unit.place, beginning)


def _bodiless(transaction: Transaction) -> bool:
    """Whether a response has no body whatever its head says (RFC 9112, section 6.3)."""
    request = transaction.request
    return request is not None and request.fields.get("http.request.method") in ("HEAD", "CONNECT")


def tracker_of(decoder: Decoder, *, bodies: bool) -> Tracker:
    """The tracker for a decoder: by its dataset's kind of transaction, or one that puts `bodies` together."""
    return BodyTracker(decoder) if bodies and decoder.bodies else tracker_for(decoder)
