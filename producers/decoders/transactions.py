"""Units become transactions: a request meets its response, the parts of a connection come together.

Time is packet time. What is over leaves in the order it began, so the same packets give the same events.
"""

from collections import OrderedDict, deque
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from producers.decoders.base import Decoder
from producers.decoders.turns import Taken, Turns, confirms, contradicts
from producers.decoders.unit import Role, Unit
from producers.engine.model import Flow
from schemas.events import NANOSECONDS

_MAX_PARTS = 64
_MAX_KEYS = 100  # of one flow that are counted each for itself
NEVER = 1 << 96
_NOBODY: Taken[Any] = Taken(None)


class Transaction(NamedTuple):
    """One event to be: its units in the order they were seen, `request` and `response` where they have roles."""

    request: Unit | None
    response: Unit | None
    parts: tuple[Unit, ...] = ()

    @property
    def units(self) -> tuple[Unit, ...]:
        """Every unit of the transaction."""
        request, response, parts = self
        if parts:
            return parts
        if request is None:
            return () if response is None else (response,)
        return (request,) if response is None else (request, response)


class Tracker:
    """What a dataset does with units, behind one interface; `expire` and `end` yield what is over.

    `held` has the uids of the flows of which something is kept: `end` does nothing for others. `whole`: a transaction
    is of all that its connection has said.
    """

    whole = False

    def __init__(self, decoder: Decoder) -> None:
        self.decoder = decoder
        self.held: Container[int] = ()
        self._timeout_ns = int(decoder.transaction.timeout * NANOSECONDS)

    @property
    def due_ns(self) -> int:
        """After which packet time `expire` has something to tell."""
        return NEVER

    def add(self, unit: Unit) -> Iterator[Transaction]:
        """Take a unit in; yield the transactions that are complete with it."""
        yield Transaction(request=unit, response=None)

    def expire(self, now_ns: int) -> Iterator[Transaction]:  # noqa: ARG002  # nothing waits here
        """Yield the transactions that have waited too long by `now_ns`."""
        yield from ()

    def end(self, flow: Flow) -> Iterator[Transaction]:  # noqa: ARG002  # nothing waits here
        """Yield what is left of a flow that has ended."""
        yield from ()

    def close(self) -> Iterator[Transaction]:
        """Yield everything that is left."""
        yield from ()


@dataclass(slots=True, eq=False)
class _Repeated:
    """Units of one key on one flow: how many were told, the last one's frame, and what came past the limit."""

    told: int = 0
    frame: int = 0
    more: int = 0
    first: Unit | None = None
    last: Unit | None = None


class LimitTracker(Tracker):
    """Every unit at once, but of one key in a packet one, on a flow `limit`; those past it when the flow ends.

    The first unit of these says in `extra` how many they are.
    """

    def __init__(self, decoder: Decoder) -> None:
        super().__init__(decoder)
        self._of_flow: dict[int, dict[tuple[str, ...], _Repeated]] = {}
        self.held = self._of_flow

    def add(self, unit: Unit) -> Iterator[Transaction]:
        """Tell the unit, or count it."""
        flow = unit.place.flow
        known = self._of_flow.setdefault(-1 if flow is None else flow.uid, {})
        seen = known.get(unit.key)
        if seen is None:
            key = unit.key if len(known) < _MAX_KEYS else ()
            seen = known.setdefault(key, _Repeated())
        if seen.frame == unit.place.frame:
            return
        seen.frame = unit.place.frame
        if seen.told < self.decoder.transaction.limit:
            seen.told += 1
            yield Transaction(request=unit, response=None)
            return
        seen.more += 1
        seen.first, seen.last = seen.first or unit, unit

    def end(self, flow: Flow) -> Iterator[Transaction]:
        """Yield what was past the limit on a flow."""
        yield from self._tell(flow.uid)

    def close(self) -> Iterator[Transaction]:
        """Yield what was past the limit anywhere."""
        for uid in list(self._of_flow):
            yield from self._tell(uid)

    def _tell(self, uid: int) -> Iterator[Transaction]:
        for seen in self._of_flow.pop(uid, {}).values():
            if seen.first is not None:
                seen.first.extra = seen.more
                yield Transaction(seen.first, seen.last if seen.more > 1 else None)


@dataclass(slots=True, eq=False)
class _Waiting:
    """A request that waits; `response` is that of a doubtful pair, which the next unit of the flow decides."""

    unit: Unit
    where: tuple[object, ...]
    done: bool = False
    response: Unit | None = None


class PairTracker(Tracker):
    """Requests wait for the response with the same key, on the same flow unless the dataset says otherwise.

    Those of one key are answered in their order, as far as TCP's numbers do not contradict (`Turns`). A pair in doubt
    waits until the flow's next unit: a request confirms it, a response that answers nothing shows that it is none.
    """

    def __init__(self, decoder: Decoder) -> None:
        super().__init__(decoder)
        self._by_key: dict[tuple[object, ...], Turns[_Waiting]] = {}
        self._by_flow: dict[int, list[_Waiting]] = {}
        self._doubtful: dict[int, _Waiting] = {}
        self.held = self._by_flow
        self._by_age: deque[_Waiting] = deque()
        self._done = 0
        self._by_numbers = not decoder.transaction.any_flow and not decoder.any_side

    @property
    def due_ns(self) -> int:
        """After which packet time the oldest request has waited too long."""
        return self._by_age[0].unit.place.time_ns + self._timeout_ns if self._by_age else NEVER

    def add(self, unit: Unit) -> Iterator[Transaction]:
        """Keep a request; yield a response with its request, or alone where none waits."""
        if unit.role is Role.SINGLE:
            yield Transaction(request=unit, response=None)
            return
        asks = unit.role is Role.REQUEST
        flow, of_request = unit.place.flow, unit.place.from_initiator is asks
        where: tuple[object, ...] = (None, None, *unit.key)
        if flow is not None and not self.decoder.transaction.any_flow:
            where = (flow.uid, None if self.decoder.any_side else of_request, *unit.key)
        yield from self._ask(unit, where) if asks else self._answer(unit, where)

    def _ask(self, unit: Unit, where: tuple[object, ...]) -> Iterator[Transaction]:
        flow = unit.place.flow
        waiting = _Waiting(unit, where)
        if flow is not None:
            if flow.uid in self._doubtful:
                response = self._doubtful[flow.uid].response
                right = response is None or confirms(unit.place, response.place)
                yield from self._decide(flow.uid, right=right)
            self._by_flow.setdefault(flow.uid, []).append(waiting)
        self._by_age.append(waiting)
        turns = self._by_key.get(where)
        if turns is None:
            identified = bool(unit.key)
            turns = Turns(by_numbers=self._by_numbers, identified=identified)
            self._by_key[where] = turns
        for given_up in turns.ask(waiting, unit.place):
            yield from self._give_up(given_up)

    def _answer(self, unit: Unit, where: tuple[object, ...]) -> Iterator[Transaction]:
        turns = self._by_key.get(where)
        flow = unit.place.flow
        if self.decoder.interim(unit):
            if turns is not None:
                turns.hear(unit.place, partial(self._possible, unit))
            return
        taken: Taken[_Waiting] = _NOBODY
        if turns is not None:
            taken = turns.answer(unit.place, partial(self._possible, unit))
        found = taken.item
        if flow is not None and flow.uid in self._doubtful:
            right = (
                found is not None or self.decoder.speaks_alone(unit) or not self._contradicts(unit, flow.uid)
            )
            yield from self._decide(flow.uid, right=right)
        for given_up in taken.given_up:
            yield from self._give_up(given_up)
        if found is None:
            yield Transaction(None, unit)
        elif flow is not None and (unit.doubtful or (taken.doubtful and not unit.key)):
            found.response = unit
            self._doubtful[flow.uid] = found
        else:
            self._forget(found)
            yield Transaction(found.unit, unit)

    def _possible(self, response: Unit, waiting: _Waiting) -> bool:
        possible = self.decoder.any_side or _other_side(waiting.unit, response)
        return possible and self.decoder.match(waiting.unit, response)

    def _contradicts(self, response: Unit, uid: int) -> bool:
        """Whether a response that answers nothing shows that a flow's doubtful pair is none, as others wait."""
        before = self._doubtful[uid].response
        others = len(self._by_flow.get(uid, ())) > 1
        return others or (before is not None and contradicts(response.place, before.place))

    def _decide(self, uid: int, *, right: bool) -> Iterator[Transaction]:
        """Yield a flow's doubtful pair: as such if it is right, else its halves."""
        waiting = self._doubtful.pop(uid, None)
        if waiting is None or waiting.done:
            return
        response = waiting.response
        self._forget(waiting)
        if right:
            yield Transaction(waiting.unit, response)
        else:
            yield Transaction(waiting.unit, None)
            yield Transaction(None, response)

    def expire(self, now_ns: int) -> Iterator[Transaction]:
        """Yield the requests that nobody answered in time."""
        by_age = self._by_age
        while by_age and (by_age[0].done or by_age[0].unit.place.time_ns + self._timeout_ns < now_ns):
            yield from self._overdue(by_age.popleft())

    def end(self, flow: Flow) -> Iterator[Transaction]:
        """Yield the unanswered requests of a flow."""
        for waiting in self._by_flow.pop(flow.uid, ()):
            yield from self._overdue(waiting)
        for side in (None, True, False):
            self._by_key.pop((flow.uid, side), None)
        self._doubtful.pop(flow.uid, None)

    def close(self) -> Iterator[Transaction]:
        """Yield every unanswered request."""
        while self._by_age:
            yield from self._overdue(self._by_age.popleft())

    def _overdue(self, waiting: _Waiting) -> Iterator[Transaction]:
        """Give up a request that may wait still."""
        turns = self._by_key.get(waiting.where)
        if turns is not None and not waiting.done:
            turns.remove(waiting)
        yield from self._give_up(waiting)

    def _give_up(self, waiting: _Waiting) -> Iterator[Transaction]:
        if not waiting.done:
            self._forget(waiting)
            yield Transaction(waiting.unit, waiting.response)

    def _forget(self, waiting: _Waiting) -> None:
        waiting.done = True
        where, flow = waiting.where, waiting.unit.place.flow
        turns = self._by_key.get(where)
        keyed = bool(waiting.unit.key) or where[0] is None
        if turns is not None and not turns and keyed:
            del self._by_key[where]
        of_flow = self._by_flow.get(flow.uid) if flow is not None else None
        if flow is not None and of_flow is not None:
            of_flow.remove(waiting)
            if not of_flow and keyed and where[:2] not in self._by_key:
                del self._by_flow[flow.uid]
        self._compact()

    def _compact(self) -> None:
        """Let go of answered requests now and then, so that memory follows what waits."""
        self._done += 1
        if self._done > 1000 and self._done > len(self._by_age) // 2:
            self._by_age = deque(waiting for waiting in self._by_age if not waiting.done)
            self._done = 0


def _other_side(request: Unit, response: Unit) -> bool:
    """Whether the response comes from the other side; on another flow, or without one, the key says so."""
    asked, answered = request.place.flow, response.place.flow
    if asked is None or answered is None or asked.uid != answered.uid:
        return True
    return request.place.from_initiator != response.place.from_initiator


@dataclass(slots=True, eq=False)
class _Connection:
    flow: Flow
    parts: list[Unit] = field(default_factory=list)


class ConnectionTracker(Tracker):
    """The parts of a flow become one transaction when they have told all, or the flow ends, or time is up."""

    whole = True

    def __init__(self, decoder: Decoder) -> None:
        super().__init__(decoder)
        self._open: OrderedDict[int, _Connection] = OrderedDict()
        self._told: set[int] = set()
        self._held: set[int] = set()
        self.held = self._held

    @property
    def due_ns(self) -> int:
        """After which packet time the oldest connection has taken too long."""
        if not self._open:
            return NEVER
        return next(iter(self._open.values())).parts[0].place.time_ns + self._timeout_ns

    def add(self, unit: Unit) -> Iterator[Transaction]:
        """Add a part; yield the connection when it has told all."""
        flow = unit.place.flow
        if flow is None:
            yield Transaction(None, None, (unit,))
            return
        if flow.uid in self._told:
            return
        connection = self._open.get(flow.uid)
        if connection is not None and self.decoder.begins_anew(unit, connection.parts):
            yield from self._tell(self._open.pop(flow.uid), more=False)
            connection = None
        if connection is None:
            connection = self._open[flow.uid] = _Connection(flow)
            self._held.add(flow.uid)
        if not _repeats(connection.parts, unit):
            connection.parts.append(unit)
        if self.decoder.told_all(connection.parts) or len(connection.parts) == _MAX_PARTS:
            yield from self._tell(self._open.pop(flow.uid), more=not self.decoder.transaction.again)

    def expire(self, now_ns: int) -> Iterator[Transaction]:
        """Yield the connections whose handshake has taken too long."""
        while self._open:
            oldest = next(iter(self._open.values()))
            if oldest.parts[0].place.time_ns + self._timeout_ns >= now_ns:
                return
            self._open.popitem(last=False)
            yield from self._tell(oldest, more=not self.decoder.transaction.again)

    def end(self, flow: Flow) -> Iterator[Transaction]:
        """Yield what is known of a connection whose flow has ended."""
        self._told.discard(flow.uid)
        self._held.discard(flow.uid)
        connection = self._open.pop(flow.uid, None)
        if connection is not None:
            yield from self._tell(connection, more=False)

    def close(self) -> Iterator[Transaction]:
        """Yield what is known of every connection left."""
        while self._open:
            yield from self._tell(self._open.popitem(last=False)[1], more=False)

    def _tell(self, connection: _Connection, *, more: bool) -> Iterator[Transaction]:
        if more:
            self._told.add(connection.flow.uid)
        if any(part.fields or part.hashes for part in connection.parts):
            for parts in self.decoder.tellings(connection.parts):
                yield Transaction(None, None, tuple(parts))


class StreamTracker(Tracker):
    """The first parts of a flow that have the same key become one transaction; later ones make none.

    Units of other roles are told at once.
    """

    def __init__(self, decoder: Decoder) -> None:
        super().__init__(decoder)
        self._open: OrderedDict[tuple[object, ...], list[Unit]] = OrderedDict()
        self._of_flow: dict[int, set[tuple[object, ...]]] = {}
        self.held = self._of_flow

    @property
    def due_ns(self) -> int:
        """After which packet time the oldest stream is told."""
        return next(iter(self._open.values()))[0].place.time_ns + self._timeout_ns if self._open else NEVER

    def add(self, unit: Unit) -> Iterator[Transaction]:
        """Add a part; yield the stream when it has told all."""
        flow = unit.place.flow
        if flow is None or unit.role is not Role.PART:
            yield Transaction(request=unit, response=None)
            return
        where = (flow.uid, *unit.key)
        parts = self._open.get(where)
        if parts is None:
            streams = self._of_flow.setdefault(flow.uid, set())
            if where in streams or len(streams) == _MAX_PARTS:
                return
            streams.add(where)
            parts = self._open[where] = []
        parts.append(unit)
        if self.decoder.told_all(parts) or len(parts) == _MAX_PARTS:
            yield Transaction(None, None, tuple(self._open.pop(where)))

    def expire(self, now_ns: int) -> Iterator[Transaction]:
        """Yield the streams that have begun too long ago."""
        while self._open and self.due_ns < now_ns:
            yield Transaction(None, None, tuple(self._open.popitem(last=False)[1]))

    def end(self, flow: Flow) -> Iterator[Transaction]:
        """Yield the streams of a flow that has ended."""
        for where in sorted(self._of_flow.pop(flow.uid, ()), key=str):
            parts = self._open.pop(where, None)
            if parts:
                yield Transaction(None, None, tuple(parts))

    def close(self) -> Iterator[Transaction]:
        """Yield every stream that is left."""
        while self._open:
            yield Transaction(None, None, tuple(self._open.popitem(last=False)[1]))


def _repeats(parts: list[Unit], unit: Unit) -> bool:
    """Whether the unit says nothing that a part of the same side has not said."""
    return not unit.fields and any(
        part.extra == unit.extra
        and part.fields == unit.fields
        and part.place.from_initiator == unit.place.from_initiator
        for part in parts
    )


def tracker_for(decoder: Decoder) -> Tracker:
    """The tracker for a decoder's kind of transaction."""
    kinds: dict[str, type[Tracker]] = {
        "single": Tracker,
        "pair": PairTracker,
        "connection": ConnectionTracker,
        "stream": StreamTracker,
    }
    if decoder.transaction.limit:
        return LimitTracker(decoder)
    return kinds[decoder.transaction.kind](decoder)
