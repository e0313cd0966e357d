"""The windows of all source partitions, put together: parts are replaced, never added, so redelivery changes nothing.

The merge reads a log of two kinds of messages. A part says what one source partition counted in a pane; it replaces the
part that partition sent before. A mark says how far a source partition's watermark is, or that it is idle. A window is
closed when every partition's watermark is past its end or the partition is idle; a part that changes a closed window
gives the next revision. No clock is read: the same log gives the same results.

A step's results must be safe in Kafka before its rows are written. The cursor row is written after what the step
changed; a message at or below the cursor is skipped. So a step that a crash cut short is taken again and gives the same
results. Rows that are not needed any more are deleted after the cursor, which says so: a step that is taken again finds
all that it found before, and what a crash left over is deleted later.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from schemas.events import NANOSECONDS
from streams.core.results import Closed, Result, Row, States, revise, rows_of, total_of
from streams.core.series import Series
from streams.core.shapes import Span, spans
from streams.core.statistics import Group, Statistic
from streams.core.windows import Part, Write

Window = tuple[int, Group | None]
"""A window's start, and the group that it belongs to where windows follow the events of each group."""


@dataclass(slots=True)
class Step:
    """What a message did: results to publish first, then rows to write in this order; parts that came too late."""

    results: list[Result] = field(default_factory=list)
    writes: list[Write] = field(default_factory=list)
    dropped: int = 0


@dataclass(slots=True)
class _Mark:
    watermark: int | None = None
    idle: bool = False


@dataclass(slots=True)
class _Meeting:
    """A statistic where its parts meet: panes by source partition, the windows that were told, what it remembers.

    Where windows follow the events of each group: `places` are a group's panes, `unfinished` is how far the watermark
    must be until one more of its windows is closed, `lost` are groups that a part had and its next one has not.
    """

    statistic: Statistic
    series: Series
    panes: dict[int, dict[int, dict[Group, States]]] = field(default_factory=dict)
    told: dict[Group | None, dict[int, Closed]] = field(default_factory=dict)
    waiting: set[int] = field(default_factory=set)
    horizon: int | None = None
    places: dict[Group, set[int]] = field(default_factory=dict)
    unfinished: dict[Group, int] = field(default_factory=dict)
    lost: set[Group] = field(default_factory=set)

    @property
    def margin(self) -> int:
        """How far behind the horizon a window's end must be until nothing changes it: a session may still grow."""
        shape = self.statistic.shape
        return shape.size_ns + shape.pane_ns if self.statistic.timed else 0

    def over(self, end_ns: int) -> bool:
        """Whether a window that ends there is told for good."""
        return self.horizon is not None and end_ns + self.margin <= self.horizon

    def put(self, pane: int, source: int, part: dict[Group, States]) -> None:
        """Put a part in the place of the one before."""
        before = self.panes.setdefault(pane, {}).get(source, {})
        self.panes[pane][source] = part
        if not self.statistic.shape.aligned:
            for group in part:
                self.places.setdefault(group, set()).add(pane)
            self.lost.update(before.keys() - part.keys())

    def drop(self, pane: int) -> list[int]:
        """Forget a pane; returns the source partitions that had parts of it."""
        by_source = self.panes.pop(pane)
        for group in {group for groups in by_source.values() for group in groups} & self.places.keys():
            self.places[group].discard(pane)
            if not self.places[group]:
                del self.places[group]
        return list(by_source)


class Merger:
    """The merge of one partition of its log. `sources` is how many partitions each dataset's topic has."""

    def __init__(self, partition: int, statistics: Mapping[str, Statistic], sources: int) -> None:
        self.partition = partition
        self._meetings = {name: _Meeting(stat, Series(stat)) for name, stat in statistics.items()}
        self._sources = sources
        self._cursor = -1
        self._marks: dict[str, dict[int, _Mark]] = {}

    def load(self, rows: Iterable[tuple[bytes, bytes]]) -> int:
        """Take rows back from the table, and return how many; those of other partitions are passed over."""
        taken = 0
        for key, value in rows:
            kind, partition, *rest = orjson.loads(key)
            if partition != self.partition:
                continue
            taken += 1
            stored = orjson.loads(value)
            if kind == "cursor":
                self._load_cursor(stored)
            elif rest[0] in self._meetings:
                self._load_row(self._meetings[rest[0]], kind, rest[1:], stored)
        for meeting in self._meetings.values():
            self._await(meeting, meeting.panes)
            meeting.lost.update(group for group in meeting.told if group is not None)
        return taken

    def step(self, message: Mapping[str, Any], offset: int) -> Step:
        """Take in the message at an offset of the log. Raises ValueError, KeyError or TypeError where it is none."""
        done = Step()
        if offset <= self._cursor:
            return done
        unneeded: list[Write] = []
        if message["kind"] == "part":
            self._part(done, message)
        else:
            unneeded = self._mark(done, message)
        self._cursor = offset
        done.writes += [(self._key("cursor"), self._cursor_row()), *unneeded]
        return done

    def waiting(self) -> int:
        """How many windows hold something and are not told yet."""
        return sum(len(meeting.waiting) + len(meeting.unfinished) for meeting in self._meetings.values())

    def _load_cursor(self, stored: dict[str, Any]) -> None:
        self._cursor = stored["offset"]
        for name, horizon in stored["horizon"].items():
            if name in self._meetings:
                self._meetings[name].horizon = horizon
        self._marks = {
            dataset: {int(p): _Mark(*mark) for p, mark in marks.items()}
            for dataset, marks in stored["marks"].items()
        }

    @staticmethod
    def _load_row(meeting: _Meeting, kind: str, place: list[Any], stored: Any) -> None:
        if kind == "told":
            group = tuple(place[1:]) if len(place) > 1 else None
            meeting.told.setdefault(group, {})[place[0]] = Closed.load(stored)
        elif kind == "part":
            meeting.put(place[0], place[1], _states(meeting.statistic, stored))
        else:
            meeting.series.load(kind, place, stored)

    def _part(self, done: Step, message: Mapping[str, Any]) -> None:
        meeting = self._meetings.get(message["statistic"])
        if meeting is None:
            return
        name, pane, source = meeting.statistic.name, int(message["start"]), message["partition"]
        if meeting.horizon is not None and pane + meeting.statistic.shape.pane_ns <= meeting.horizon:
            done.dropped += 1
            return
        meeting.put(pane, source, _states(meeting.statistic, message["groups"]))
        done.writes.append((self._key("part", name, pane, source), orjson.dumps(message["groups"])))
        self._await(meeting, [pane])
        self._tell_closed(done, meeting)

    def _mark(self, done: Step, message: Mapping[str, Any]) -> list[Write]:
        """Take in a mark; returns the rows to delete once it is done."""
        dataset = message["dataset"]
        marks = self._marks.setdefault(dataset, {})
        before = marks.get(message["partition"], _Mark()).watermark
        reached = message["watermark"]
        later = max((mark for mark in (before, reached) if mark is not None), default=None)
        marks[message["partition"]] = _Mark(later, message["idle"])
        unneeded: list[Write] = []
        for meeting in self._meetings.values():
            if meeting.statistic.dataset.name == dataset:
                self._tell_closed(done, meeting)
                unneeded += self._forget(meeting)
        return unneeded

    @staticmethod
    def _await(meeting: _Meeting, panes: Iterable[int]) -> None:
        """Note what is to be told, or told anew, once it is closed: starts of aligned windows, panes of others.

        What ended before the horizon has been told for good: of its panes some may be gone.
        """
        shape, horizon = meeting.statistic.shape, meeting.horizon
        for pane in panes:
            if shape.aligned:
                meeting.waiting.update(
                    start
                    for start in shape.starts(pane)
                    if horizon is None or start + shape.size_ns > horizon
                )
            else:
                meeting.waiting.add(pane)

    def _tell_closed(self, done: Step, meeting: _Meeting) -> None:
        if meeting.statistic.shape.aligned:
            self._tell_aligned(done, meeting)
        else:
            self._tell_following(done, meeting)

    def _tell_aligned(self, done: Step, meeting: _Meeting) -> None:
        statistic, shape = meeting.statistic, meeting.statistic.shape
        reached = self._reached(statistic)
        closed = {start for start in meeting.waiting if start + shape.size_ns <= reached}
        meeting.waiting -= closed
        while closed:
            start = min(closed)
            closed.discard(start)
            total = total_of(statistic, (meeting.panes.get(pane, {}) for pane in shape.panes(start)))
            new, again = meeting.series.new_in(start, total)
            rows, changed = meeting.series.compared(
                start, rows_of(statistic, shape.size_ns / NANOSECONDS, new)
            )
            self._tell(done, meeting, (start, None), start + shape.size_ns, rows)
            self._write_series(done, meeting)
            known = meeting.told.get(None, {})
            closed.update(later for later in (*again, *changed) if later in known)

    def _tell_following(self, done: Step, meeting: _Meeting) -> None:
        """Sliding windows and sessions of the groups in which something has changed, as far as they are closed."""
        shape, reached = meeting.statistic.shape, self._reached(meeting.statistic)
        ready = {pane for pane in meeting.waiting if pane + shape.pane_ns <= reached}
        meeting.waiting -= ready
        changed = {
            group for pane in ready for groups in meeting.panes.get(pane, {}).values() for group in groups
        }
        changed |= meeting.lost
        changed |= {group for group, end_ns in meeting.unfinished.items() if end_ns <= reached}
        meeting.lost = set()
        for group in sorted(changed, key=str):
            self._tell_group(done, meeting, group, reached)

    def _tell_group(self, done: Step, meeting: _Meeting, group: Group, reached: float) -> None:
        """A group's windows that are closed by the watermark; those that became part of another are retracted."""
        statistic = meeting.statistic
        # an event as long after a session's end as its gap is still part of it
        pause = statistic.shape.size_ns + 1 if statistic.timed else 0
        only, found = _spans(meeting, group)
        open_until = []
        for span in found:
            if meeting.over(span.end_ns):
                continue
            if span.end_ns + pause > reached:
                open_until.append(span.end_ns + pause)
                continue
            total = total_of(statistic, (only[pane] for pane in span.panes))
            rows = rows_of(statistic, (span.end_ns - span.start_ns) / NANOSECONDS, total)
            self._tell(done, meeting, (span.start_ns, group), span.end_ns, rows)
        meeting.unfinished.pop(group, None)
        if open_until:
            meeting.unfinished[group] = min(open_until)
        starts = {span.start_ns for span in found}
        for start, told in list(meeting.told.get(group, {}).items()):
            if start not in starts and _needed(meeting, start, told, found):
                self._tell(done, meeting, (start, group), told.end_ns, [])

    def _tell(self, done: Step, meeting: _Meeting, window: Window, end_ns: int, rows: list[Row]) -> None:
        """Publish a window's next revision where it says something else than the one before."""
        statistic, (start, group) = meeting.statistic, window
        told = meeting.told.setdefault(group, {})
        revised = revise(told.get(start), statistic, (start, end_ns), rows)
        if revised is not None:
            told[start], result = revised
            done.results.append(result)
            done.writes.append((self._told_key(statistic, window), told[start].dump()))

    def _write_series(self, done: Step, meeting: _Meeting) -> None:
        name = meeting.statistic.name
        done.writes += [(self._key(kind, name, *place), row) for kind, place, row in meeting.series.writes()]

    def _reached(self, statistic: Statistic) -> float:
        """The event time up to which nothing is expected: no end where all partitions are idle."""
        marks = self._marks.get(statistic.dataset.name, {})
        if len(marks) < self._sources:
            return -math.inf
        active = [mark.watermark for mark in marks.values() if not mark.idle]
        return min((-math.inf if mark is None else mark for mark in active), default=math.inf)

    def _forget(self, meeting: _Meeting) -> list[Write]:
        """Drop what every partition at work is past by the grace; what comes for it later is dropped.

        Returns the rows to delete.
        """
        statistic, reached = meeting.statistic, self._reached(meeting.statistic)
        if math.isinf(reached):
            return []
        horizon = int(reached) - statistic.grace_ns
        if meeting.horizon is not None and horizon <= meeting.horizon:
            return []
        meeting.horizon = horizon
        name, writes = statistic.name, list[Write]()
        of_group = {group: _spans(meeting, group)[1] for group in meeting.places} if statistic.timed else {}
        for pane in _expired(meeting, horizon, of_group):
            writes += [(self._key("part", name, pane, source), None) for source in meeting.drop(pane)]
        for group, windows in list(meeting.told.items()):
            spans_now = of_group.get(group, []) if group is not None else []
            for start in [s for s, told in windows.items() if not _needed(meeting, s, told, spans_now)]:
                del windows[start]
                writes.append((self._told_key(statistic, (start, group)), None))
            if not windows:
                del meeting.told[group]
        meeting.series.forget(horizon)
        writes += [(self._key(kind, name, *place), row) for kind, place, row in meeting.series.writes()]
        return writes

    def _cursor_row(self) -> bytes:
        marks = {
            dataset: {str(p): [mark.watermark, mark.idle] for p, mark in found.items()}
            for dataset, found in self._marks.items()
        }
        horizon = {name: m.horizon for name, m in self._meetings.items() if m.horizon is not None}
        return orjson.dumps({"offset": self._cursor, "horizon": horizon, "marks": marks})

    def _told_key(self, statistic: Statistic, window: Window) -> bytes:
        return self._key("told", statistic.name, window[0], *(window[1] or ()))

    def _key(self, kind: str, *parts: Any) -> bytes:
        return orjson.dumps([kind, self.partition, *parts])


def _states(statistic: Statistic, groups: list[list[Any]]) -> dict[Group, States]:
    return {tuple(group): States(statistic.measures.load(dumped), *times) for group, dumped, *times in groups}


def _spans(meeting: _Meeting, group: Group) -> tuple[dict[int, dict[int, dict[Group, States]]], list[Span]]:
    """What the panes hold of one group, and its windows."""
    only: dict[int, dict[int, dict[Group, States]]] = {}
    ends = []
    for pane in sorted(meeting.places.get(group, ())):
        by_source = meeting.panes[pane]
        found = {source: {group: groups[group]} for source, groups in by_source.items() if group in groups}
        if found:
            only[pane] = found
            states = [groups[group] for groups in found.values()]
            ends.append((pane, min(one.first_ns for one in states), max(one.last_ns for one in states)))
    return only, spans(meeting.statistic.shape, ends)


def _needed(meeting: _Meeting, start: int, told: Closed, found: Iterable[Span]) -> bool:
    """Whether a window that was told can still change: by its end, or as it is in a session that goes on."""
    return not meeting.over(told.end_ns) or any(
        span.start_ns <= start <= span.end_ns and not meeting.over(span.end_ns) for span in found
    )


def _expired(meeting: _Meeting, horizon: int, of_group: Mapping[Group, list[Span]]) -> list[int]:
    """The panes that no window needs whose end is behind the horizon by the margin."""
    shape = meeting.statistic.shape
    if not meeting.statistic.timed:
        reach = shape.size_ns if shape.aligned else shape.pane_ns + shape.size_ns
        return [pane for pane in meeting.panes if pane + reach <= horizon]
    needed = {
        pane
        for found in of_group.values()
        for span in found
        if not meeting.over(span.end_ns)
        for pane in span.panes
    }
    return [pane for pane in meeting.panes if pane not in needed]


def merge_partition(statistic: Statistic, start_ns: int) -> str:
    """What decides in which partition of the log a pane's parts meet: a window by itself, or all of a statistic's."""
    return f"{statistic.name}|{start_ns}" if statistic.apart else statistic.name


def part_message(part: Part, partition: int) -> bytes:
    """A part of a source partition as a message of the merge's log."""
    return orjson.dumps(
        {
            "kind": "part",
            "statistic": part.statistic,
            "start": part.start_ns,
            "partition": partition,
            "groups": part.groups,
        }
    )


def mark_message(dataset: str, partition: int, watermark: int | None, *, idle: bool) -> bytes:
    """A source partition's watermark, or that it is idle, as a message of the merge's log."""
    return orjson.dumps(
        {"kind": "mark", "dataset": dataset, "partition": partition, "watermark": watermark, "idle": idle}
    )
