"""Shapes of windows: tumbling, hopping, sliding, session, all of them made of panes.

A pane is the longest stretch of event time that no window cuts: an event is counted once, in its pane, however many
windows it is in, and windows are put together from panes where the source partitions meet (panes: Li et al., "No pane,
no gain", SIGMOD Record 34(1), 2005). All times are nanoseconds of event time.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, model_validator

from schemas.events import NANOSECONDS


class Kind(StrEnum):
    """How windows lie on the axis of event time."""

    TUMBLING = "tumbling"
    HOPPING = "hopping"
    SLIDING = "sliding"
    SESSION = "session"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


Seconds = Annotated[float, Field(ge=0.001, allow_inf_nan=False)]

MAX_PANES = 10_000


class Hopping(_Strict):
    """Windows of `size` seconds, one beginning every `step` seconds."""

    size: Seconds
    step: Seconds

    @model_validator(mode="after")
    def _overlap(self) -> "Hopping":
        if self.step > self.size:
            raise ValueError("step is longer than size: events between the windows would be in none")
        size, step = _ns(self.size), _ns(self.step)
        if size // math.gcd(size, step) > MAX_PANES:
            raise ValueError(f"no length goes into size and step less than {MAX_PANES:,} times")
        return self


class Sliding(_Strict):
    """For each group a window of `size` seconds up to each of its events, told apart by `resolution` seconds."""

    size: Seconds
    resolution: Seconds = 1.0

    @model_validator(mode="after")
    def _whole(self) -> "Sliding":
        if _ns(self.size) % _ns(self.resolution):
            raise ValueError("size is no multiple of resolution: a window would begin within a pane")
        return self


class Session(_Strict):
    """For each group the stretches in which its events follow each other within `gap` seconds.

    Events are kept by panes of `resolution` seconds; where a session begins and ends is exact.
    """

    gap: Seconds
    resolution: Seconds = 1.0

    @model_validator(mode="after")
    def _fine_enough(self) -> "Session":
        if self.resolution > self.gap:
            raise ValueError("resolution is coarser than gap: a pause within a pane would not be seen")
        return self


class WindowSpec(_Strict):
    """A declaration's `window`: one of tumbling (seconds), hopping, sliding, session."""

    tumbling: Seconds | None = None
    hopping: Hopping | None = None
    sliding: Sliding | None = None
    session: Session | None = None

    @model_validator(mode="before")
    @classmethod
    def _seconds(cls, data: Any) -> Any:
        return {"tumbling": data} if isinstance(data, int | float) else data

    @model_validator(mode="after")
    def _one(self) -> "WindowSpec":
        if sum(getattr(self, kind) is not None for kind in Kind) != 1:
            raise ValueError(f"a window is one of {', '.join(Kind)}")
        return self

    def shape(self) -> "Shape":
        """The windows in nanoseconds."""
        if self.hopping is not None:
            size, step = _ns(self.hopping.size), _ns(self.hopping.step)
            return Shape(Kind.HOPPING, math.gcd(size, step), size, step)
        if self.sliding is not None:
            return Shape(Kind.SLIDING, _ns(self.sliding.resolution), _ns(self.sliding.size), 0)
        if self.session is not None:
            return Shape(Kind.SESSION, _ns(self.session.resolution), _ns(self.session.gap), 0)
        size = _ns(self.tumbling or 0)
        return Shape(Kind.TUMBLING, size, size, size)


@dataclass(frozen=True, slots=True)
class Shape:
    """Windows of one kind: `size_ns` is their length, a session's gap; aligned ones begin `step_ns` apart."""

    kind: Kind
    pane_ns: int
    size_ns: int
    step_ns: int

    @property
    def aligned(self) -> bool:
        """Whether the windows lie still, and hold all groups; others follow the events of each group."""
        return self.step_ns > 0

    def starts(self, pane: int) -> range:
        """The starts of the aligned windows that hold a pane, oldest first."""
        first = -((self.size_ns - pane - self.pane_ns) // self.step_ns) * self.step_ns
        return range(first, pane + 1, self.step_ns)

    def panes(self, start: int) -> range:
        """The panes of the aligned window that begins at `start`."""
        return range(start, start + self.size_ns, self.pane_ns)


class Span(NamedTuple):
    """A group's window that follows its events: from `start_ns` to `end_ns`, made of panes."""

    start_ns: int
    end_ns: int
    panes: tuple[int, ...]


def spans(shape: Shape, panes: Iterable[tuple[int, int, int]]) -> list[Span]:
    """The sliding or session windows of a group: `panes` are (start, first event, last event), oldest first.

    A sliding window ends with its pane and holds those within `size_ns` before that; a session begins with its first
    event and ends with its last one.
    """
    return _sliding(shape, list(panes)) if shape.kind is Kind.SLIDING else _sessions(shape, panes)


def _sliding(shape: Shape, panes: list[tuple[int, int, int]]) -> list[Span]:
    found, begin = [], 0
    for place, (pane, _, _) in enumerate(panes):
        end = pane + shape.pane_ns
        while panes[begin][0] < end - shape.size_ns:
            begin += 1
        found.append(Span(end - shape.size_ns, end, tuple(start for start, _, _ in panes[begin : place + 1])))
    return found


def _sessions(shape: Shape, panes: Iterable[tuple[int, int, int]]) -> list[Span]:
    found: list[Span] = []
    for pane, first, last in panes:
        before = found[-1] if found else None
        if before is not None and first - before.end_ns <= shape.size_ns:
            found[-1] = Span(before.start_ns, max(last, before.end_ns), (*before.panes, pane))
        else:
            found.append(Span(first, last, (pane,)))
    return found


def _ns(seconds: float) -> int:
    return round(seconds * NANOSECONDS)
