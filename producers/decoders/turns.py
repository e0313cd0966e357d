"""Which request a response answers where no number in the messages says so: TCP's numbers are the proof.

A server answers the requests of a connection in their order. First-in first-out is right as long as every request and
every response was seen and read. Where one was not, each later response would go to the request before its own. The
sequence and acknowledgement numbers of the packets (RFC 9293, section 3.4) show what the order alone does not:

- a server cannot answer what it has not received: the response's packet acknowledges the request;
- a client that sends a request has not yet received the response to it: its packet does not acknowledge the response;
- most clients wait for a response before they send the next request: what the client has received between two
  requests, with nothing else outstanding, was the response to the first one, read or not.

In doubt a response goes to a request only if no other one is possible.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from producers.decoders.unit import Place

T = TypeVar("T")

_MODULUS, _HALF = 1 << 32, 1 << 31
_LOOK_BACK = 64
"""So many requests are looked at, the latest first, for those that a doubtful response may answer."""


@dataclass(slots=True, eq=False)
class _Turn(Generic[T]):
    """A request that waits: the first byte of its packet, and what the client had received when it sent it.

    `begun` is what the server has sent of the answer since, as far as it was read. `alone`: nothing else was
    outstanding. `after_hole`: requests just before it may be missing. Without TCP's numbers `sent` is -1.
    """

    item: T
    sent: int
    heard: int
    begun: int
    alone: bool
    after_hole: bool


@dataclass(slots=True)
class _Burst:
    """Requests that a client sent without hearing anything between them, and how many responses may be to them."""

    sent: int
    heard: int
    asked: int = 1
    answered: int = 0


class Taken(NamedTuple, Generic[T]):
    """Which request a response answers, if any; the earlier ones that nobody will answer; whether it is in doubt.

    A doubtful answer is right if the client's next request acknowledges the response, and wrong if another response
    comes first that answers nothing.
    """

    item: T | None
    given_up: tuple[T, ...] = ()
    doubtful: bool = False


class Turns(Generic[T]):
    """The requests of one connection (or of one key on it) that wait; at most `limit` of them, 0: any number.

    Without `by_numbers` they are answered in their order, whatever TCP's numbers are. Before the first of
    `identified` ones that is seen there is none: they have a key, if one that is used again.

    `sure`: the stream was seen from its begin, and nothing in it since is missing. `waits`: the client is known to
    wait for what it has asked before it asks again; `rolls`: it is known not to. `pipelined`: what waits now was sent
    without waiting. `strays`: the responses that come now are to requests that were not seen.
    """

    __slots__ = (
        *("_acknowledged", "_answered", "_burst", "_by_numbers", "_identified", "_limit", "_pending"),
        *("_pipelined", "_rolls", "_strays", "_sure", "_waiting", "_waits"),
    )

    def __init__(self, limit: int = 0, *, by_numbers: bool = True, identified: bool = False) -> None:
        self._limit, self._by_numbers, self._identified = limit, by_numbers, identified
        self._waiting: deque[_Turn[T]] = deque()
        self._sure: bool | None = None
        self._waits = self._pipelined = self._rolls = self._strays = False
        self._answered = self._acknowledged = self._pending = -1
        self._burst: _Burst | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[T]:
        return (turn.item for turn in self._waiting)

    @property
    def first(self) -> T | None:
        """The request that has waited for longest."""
        return self._waiting[0].item if self._waiting else None

    @property
    def last(self) -> T | None:
        """The request that was sent last."""
        return self._waiting[-1].item if self._waiting else None

    def ask(self, item: T, place: Place) -> list[T]:
        """A request was sent at `place`; return the earlier ones that will not be answered any more."""
        waiting = self._waiting
        given_up: list[T] = []
        if not self._has_numbers(place):
            waiting.append(_Turn(item, -1, -1, -1, alone=not waiting, after_hole=False))
        else:
            self._begin(place)
            hole = place.hole and not _reaches(self._acknowledged, place.sequence)
            if not self._sure and not hole and self._begins_anew(place):
                given_up = list(self)
                waiting.clear()
                self._sure = self._waits = True
                self._burst = None
            if not self._waits:
                self._learn(place)
            self._pending = -1
            self._strays &= not _reaches(place.acknowledgement, self._answered)
            if waiting and waiting[-1].heard == place.acknowledgement:
                self._pipelined = True
            heard = place.acknowledgement
            waiting.append(_Turn(item, place.sequence, heard, heard, not waiting, hole))
        if self._limit and len(waiting) > self._limit:
            given_up.append(waiting.popleft().item)
            self._sure = False
        return given_up

    def _begin(self, place: Place) -> None:
        """At the first packet: what is before it is known if the connection was seen from its begin."""
        if self._sure is None:
            self._sure = self._waits = self._identified or place.flow is None or place.flow.begun

    def _begins_anew(self, place: Place) -> bool:
        """Whether all that was asked before is over: a client that waits has received all since, and something."""
        heard, waiting = place.acknowledgement, self._waiting
        if self._rolls or not _reaches(heard, self._answered):
            return False
        burst = self._burst
        if not self._waits:  # it seems to: its last burst had as many responses as requests
            return burst is not None and burst.asked == burst.answered and _after(heard, burst.heard)
        return not waiting or waiting[-1].sent < 0 or _after(heard, waiting[-1].heard)

    def _learn(self, place: Place) -> None:
        """Count the requests of a burst, to get to know whether the client waits for all responses to it."""
        burst = self._burst
        if burst is not None and burst.heard == place.acknowledgement:
            burst.asked += 1
        else:
            self._burst = _Burst(place.sequence, place.acknowledgement)

    def answer(self, place: Place, possible: Callable[[T], bool] | None = None) -> Taken[T]:
        """A response was received at `place`: whom it answers, of those that are `possible`."""
        turn = self._first(possible)
        if not self._has_numbers(place) or (turn is not None and turn.sent < 0):
            if turn is not None:
                self._waiting.remove(turn)
            return Taken(turn.item if turn else None)
        self._begin(place)
        burst = self._burst
        if burst is not None:
            fits = _after(place.acknowledgement, burst.sent) and _reaches(place.sequence, burst.heard)
            burst.answered += (
                1 if fits else burst.asked + 1
            )  # those that do not fit are not counted away again
        if turn is None:
            self._sure, self._pending = False, -1
            self._heard(place)
            return Taken(None)
        if place.hole or turn.after_hole or not _fits(turn, place) or self._overtaken(turn, place):
            self._sure = False
        if not self._sure:
            return self._doubtful(place, possible)
        self._waiting.remove(turn)
        if self._waiting and _after(self._waiting[-1].heard, turn.heard):
            self._rolls = True
        self._pipelined = self._pipelined and bool(self._waiting)
        self._heard(place)
        return Taken(turn.item)

    def hear(self, place: Place, possible: Callable[[T], bool] | None = None) -> T | None:
        """The server sent at `place` something that does not end its answer; return the request it belongs to."""
        turn = self._first(possible)
        if self._has_numbers(place) and (turn is None or turn.sent >= 0):
            if turn is not None and (not self._sure or self._overtaken(turn, place)):
                turn = self._only(place, possible)
            self._heard(place)
            if turn is not None:
                turn.begun = self._answered
        return turn.item if turn is not None else None

    def remove(self, item: T) -> None:
        """A request does not wait any longer; nothing happens where it does not wait."""
        for turn in self._waiting:
            if turn.item is item:
                self._waiting.remove(turn)
                return

    def _first(self, possible: Callable[[T], bool] | None) -> _Turn[T] | None:
        return next((turn for turn in self._waiting if possible is None or possible(turn.item)), None)

    def _has_numbers(self, place: Place) -> bool:
        """Whether TCP's numbers are known of a packet; 0 stands there where it acknowledges nothing."""
        return self._by_numbers and place.acknowledgement > 0

    def _heard(self, place: Place) -> None:
        self._answered = (place.sequence + place.length) % _MODULUS
        self._acknowledged = place.acknowledgement

    def _overtaken(self, turn: _Turn[T], place: Place) -> bool:
        """Whether the response seems to answer a later request: the client sent that one after it had been answered."""
        last = self._waiting[-1]
        return (
            turn.alone
            and not self._pipelined
            and last.sent >= 0
            and _after(last.heard, turn.begun)
            and _fits(last, place)
            and _reaches(place.sequence, last.heard)
        )

    def _doubtful(self, place: Place, possible: Callable[[T], bool] | None) -> Taken[T]:
        """The answer to the only request that is possible; those that were sent before it are over.

        Two such without a request between them show a client that does not wait: then neither is one.
        """
        self._strays |= self._pending >= 0
        found = None if self._strays else self._only(place, possible)
        self._heard(place)
        self._pending = self._answered if found is not None else -1
        if found is None:
            return Taken(None)
        over = [turn for turn in self._waiting if possible is None or possible(turn.item)]
        over = over[: over.index(found)]
        for turn in (*over, found):
            self._waiting.remove(turn)
        return Taken(found.item, tuple(turn.item for turn in over), doubtful=True)

    def _only(self, place: Place, possible: Callable[[T], bool] | None) -> _Turn[T] | None:
        """The only request that a response can answer: of those that could, the one sent when the others were over."""
        found: _Turn[T] | None = None
        for number, turn in enumerate(reversed(self._waiting)):
            if number == _LOOK_BACK:
                return None
            if turn.sent < 0 or not _fits(turn, place) or not _reaches(place.sequence, turn.heard):
                continue
            if possible is not None and not possible(turn.item):
                continue
            if found is None:
                found = turn
            elif self._rolls or turn.heard == found.heard:
                return None
            else:
                break
        return found


def confirms(request: Place, response: Place) -> bool:
    """Whether the client had received a response when it sent a request."""
    end = (response.sequence + response.length) % _MODULUS
    return (
        request.acknowledgement <= 0
        or response.acknowledgement <= 0
        or _reaches(request.acknowledgement, end)
    )


def contradicts(response: Place, doubtful: Place) -> bool:
    """Whether a response that answers nothing shows that the one before it was to another request.

    It does if the server had received nothing in between; else it may be to a request that was not seen.
    """
    return response.acknowledgement <= 0 or not _after(response.acknowledgement, doubtful.acknowledgement)


def _after(one: int, other: int) -> bool:
    """Whether a sequence number is after another."""
    return 0 < (one - other) % _MODULUS < _HALF


def _reaches(one: int, other: int) -> bool:
    """Whether a sequence number is not before another; -1 is before all."""
    return other < 0 or (one >= 0 and (one - other) % _MODULUS < _HALF)


def _fits(turn: _Turn[T], place: Place) -> bool:
    """Whether a response at `place` can answer a request: the server had received it, the client not the response."""
    return _after(place.acknowledgement, turn.sent) and _after(
        (place.sequence + place.length) % _MODULUS, turn.heard
    )
