"""From a window's states to its results: totals over panes and partitions, ranks, revisions, events."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from schemas.events import NANOSECONDS, Event, Times, event_id, new_event, put, sensor_fields, timestamp
from schemas.model import fields_of
from streams.core.statistics import Group, Statistic

Total = Mapping[Group, list[Any]]
"""Groups with their measures' states."""


class States(NamedTuple):
    """A group in a part: its measures' states, the times of its first and last event where they are kept."""

    values: list[Any]
    first_ns: int = 0
    last_ns: int = 0


class Row(NamedTuple):
    """A group's result: the measures' values in their order, and what is said beside them, by field."""

    group: Group
    values: list[Any]
    beside: dict[str, Any]


class Result(NamedTuple):
    """A window's results of one revision, in order of rank; `retracted` were in one before and are none any more."""

    statistic: str
    start_ns: int
    end_ns: int
    revision: int
    rows: list[Row]
    retracted: list[Group]


def total_of(
    statistic: Statistic, panes: Iterable[Mapping[int, Mapping[Group, States]]]
) -> dict[Group, list[Any]]:
    """The states of panes added up, over the source partitions of each in their order; nothing given is changed."""
    measures = statistic.measures
    total: dict[Group, list[Any]] = {}
    for by_source in panes:
        for source in sorted(by_source):
            for group, states in by_source[source].items():
                known = total.get(group)
                if known is None:
                    known = total[group] = measures.zero()
                measures.merge(known, states.values)
    return total


def rows_of(statistic: Statistic, seconds: float, total: Total) -> list[Row]:
    """The groups that are results: all in order of their names, or those with most of the top measure first."""
    rows = [Row(group, statistic.measures.results(states, seconds), {}) for group, states in total.items()]
    if statistic.top is None:
        return sorted(rows, key=lambda row: str(row.group))
    place = statistic.measures.names.index(statistic.top.by)
    rows.sort(key=lambda row: (*_descending(row.values[place]), str(row.group)))
    return rows[: statistic.top.limit]


def _descending(value: float | None) -> tuple[bool, float]:
    """The place of a value in order, the greatest first; none is last."""
    return (value is None, 0 if value is None else -value)


@dataclass(frozen=True, slots=True)
class Closed:
    """What was told of a window last: its revision, what it said, its end, and its groups where some may go again."""

    revision: int
    digest: str
    end_ns: int
    groups: tuple[Group, ...]

    def dump(self) -> bytes:
        """As a row's value."""
        return orjson.dumps([self.revision, self.digest, self.end_ns, self.groups])

    @classmethod
    def load(cls, stored: list[Any]) -> "Closed":
        """From a row's value."""
        revision, digest, end_ns, groups = stored
        return cls(revision, digest, end_ns, tuple(tuple(group) for group in groups))


def revise(
    before: Closed | None, statistic: Statistic, window: tuple[int, int], rows: list[Row]
) -> tuple[Closed, Result] | None:
    """The next revision of a window (its start and end); None where it says what it said before, or nothing yet."""
    digest = hashlib.blake2b(orjson.dumps([tuple(row) for row in rows]), digest_size=12).hexdigest()
    if (before is None and not rows) or (before is not None and before.digest == digest):
        return None
    start_ns, end_ns = window
    revision = before.revision + 1 if before else 0
    told = {row.group for row in rows}
    retracted = [group for group in before.groups if group not in told] if before else []
    can_go = statistic.forget_ns > 0 or statistic.top is not None or not statistic.shape.aligned
    groups = tuple(row.group for row in rows) if can_go else ()
    result = Result(statistic.name, start_ns, end_ns, revision, rows, retracted)
    return Closed(revision, digest, end_ns, groups), result


def result_events(
    statistic: Statistic, result: Result, *, namespace: str, observer: str, created_ns: int
) -> list[tuple[Group, Event]]:
    """A window's results as events of the statistic's dataset: one per group, by rank, the retracted ones last.

    The id is a function of the dataset, the statistic, the group, the window's start and the revision. `observer` names
    the worker; the events counted may be of many sensors.
    """
    fields = fields_of(statistic.emits)
    events = []
    for rank, row in enumerate(result.rows, start=1):
        event = _envelope(statistic, result, row.group, namespace, observer, created_ns)
        for name, value in zip(
            (*statistic.groups, *statistic.measures.names), (*row.group, *row.values), strict=True
        ):
            if value is not None:
                put(event, name, [value] if fields[name].array and not isinstance(value, list) else value)
        for name, value in row.beside.items():
            put(event, name, value)
        if statistic.top:
            put(event, statistic.top.rank, rank)
        events.append((row.group, event))
    for group in result.retracted:
        event = _envelope(statistic, result, group, namespace, observer, created_ns)
        for name, value in zip(statistic.groups, group, strict=True):
            put(event, name, [value] if fields[name].array else value)
        put(event, "netflight.window.retracted", True)
        events.append((group, event))
    return events


def _envelope(  # noqa: PLR0913, PLR0917  # called here only
    statistic: Statistic, result: Result, group: Group, namespace: str, observer: str, created_ns: int
) -> Event:
    start_ns, end_ns, revision = result.start_ns, result.end_ns, result.revision
    dataset = statistic.emits
    # Whatever the wire put into a group, it is one group's.
    scope = orjson.dumps([statistic.name, *group]).decode()
    event = new_event(
        dataset,
        event_id(dataset.dataset, scope, start_ns, revision),
        namespace,
        Times(start_ns, start_ns, end_ns, created_ns),
    )
    event |= {name: {**said} for name, said in sensor_fields(observer).items()}
    event["message"] = " ".join(
        [statistic.name, *(f"{name}={value}" for name, value in zip(statistic.groups, group, strict=True))]
    )
    event["netflight"] = {
        "window": {
            "start": timestamp(start_ns),
            "end": timestamp(end_ns),
            "seconds": (end_ns - start_ns) / NANOSECONDS,
            "revision": revision,
        },
        "statistic": statistic.name,
    }
    return event
