"""What one source partition has counted: rows of groups in panes of event time, exact under redelivery.

A row holds what a group counted in a pane, and the offset of the last event it took in; an event at or below that
offset is ignored. The rows are the partition's part of a pane; `merge` puts the parts together. Rows go to a changelog
in the order in which they are written here, so what is found after a crash is this state as it was after some write,
and redelivery brings it forward again, whatever batches the events come in.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from schemas.events import NANOSECONDS, Event
from streams.core.statistics import Counted, Group, Statistic
from streams.core.watermark import Watermark

# A part goes to the merge as one message; heavier groups first, if it would be larger than a message may be.
MAX_GROUPS = 50_000
MAX_BYTES = 7_000_000

Pane = tuple[str, int]
"""A statistic's name and the pane's start."""
Write = tuple[bytes, bytes | None]
Dumped = list[Any]
"""A group in a part: the group, its dumped states, and the times of its first and last event where they are kept."""


class Part(NamedTuple):
    """What one source partition counted in one pane, complete up to `offset`; `cut` groups did not fit."""

    statistic: str
    start_ns: int
    offset: int
    groups: list[Dumped]
    cut: int


@dataclass(slots=True)
class Taken:
    """How many counts of events came late and correct a closed window, and how many came too late."""

    late: int = 0
    dropped: int = 0


@dataclass(slots=True)
class _Row:
    key: bytes
    offset: int
    states: list[Any]
    first_ns: int
    last_ns: int


@dataclass(slots=True)
class _Counter:
    """A statistic at work: its panes, and the functions that take values in."""

    statistic: Statistic
    adds: tuple[Callable[[Any, Any], Any], ...]
    panes: dict[int, dict[Group, _Row]] = field(default_factory=dict)


class PartitionWindows:
    """The open panes of one partition of a source (a dataset's topic), for every statistic over it.

    Rows come back from the table with `load`. A pane is open until the watermark is past its end by the statistic's
    grace; then it is forgotten, and an event for it is dropped and counted.
    """

    def __init__(
        self, source: str, partition: int, statistics: Iterable[Statistic], lateness_seconds: float
    ) -> None:
        self.source = source
        self.partition = partition
        self._counters = {
            stat.name: _Counter(stat, tuple(accumulator.add for accumulator in stat.measures.accumulators))
            for stat in statistics
        }
        panes = (counter.statistic.shape.pane_ns for counter in self._counters.values())
        self.watermark = Watermark(round(lateness_seconds * NANOSECONDS), math.gcd(*panes))
        self._moved = False
        self._touched: dict[int, tuple[_Row, Statistic]] = {}
        self._absorbed: dict[Pane, int] = {}
        self._emitted: dict[Pane, int] = {}

    def load(self, rows: Iterable[tuple[bytes, bytes]]) -> int:
        """Take rows back from the table; those of other partitions and unknown statistics are passed over.

        Returns how many were taken.
        """
        taken = 0
        for key, value in rows:
            kind, source, partition, *rest = orjson.loads(key)
            if (source, partition) != (self.source, self.partition):
                continue
            stored = orjson.loads(value)
            if kind == "watermark":
                self.watermark.value = stored
            elif rest[0] not in self._counters:
                continue
            elif kind == "emitted":
                self._emitted[rest[0], rest[1]] = stored
            else:
                self._keep(key, rest[0], rest[1], tuple(rest[2:]), stored)
            taken += 1
        return taken

    def absorb(self, event: Event, time_ns: int, offset: int, done: Taken) -> None:
        """Count an event and move the watermark; what it changed is told by `flush`.

        What an unexpected value does to a reader is raised before anything was counted.
        """
        found = [(counter, counter.statistic.count(event)) for counter in self._counters.values()]
        for counter, counted in found:
            if counted:
                self._count(counter, counted, time_ns, offset, done)
        if self.watermark.observe(time_ns):
            self._moved = True

    def flush(self) -> tuple[list[Write], bool]:
        """The rows that changed since the last call, each once, the watermark last; and whether that moved."""
        writes: list[Write] = [
            (row.key, orjson.dumps(_stored(statistic, row))) for row, statistic in self._touched.values()
        ]
        self._touched.clear()
        moved, self._moved = self._moved, False
        if moved:
            writes.append((self._key("watermark"), orjson.dumps(self.watermark.value)))
        return writes, moved

    def due(self, *, everything: bool = False) -> list[Part]:
        """The parts that have changed since they were last handed on, of panes that are over by the watermark.

        With `everything`, of all panes: nothing more is expected for now.
        """
        found = []
        for pane, offset in self._absorbed.items():
            if offset > self._emitted.get(pane, -1):
                name, start = pane
                if everything or self.watermark.passed(start + self._counters[name].statistic.shape.pane_ns):
                    found.append(self._part(pane, offset))
        return found

    def hand_on(self, parts: Iterable[Part]) -> list[Write]:
        """Remember that parts were handed on for good; return the rows to write."""
        writes: list[Write] = []
        for part in parts:
            self._emitted[part.statistic, part.start_ns] = part.offset
            key = self._key("emitted", part.statistic, part.start_ns)
            writes.append((key, orjson.dumps(part.offset)))
        return writes

    def forget(self) -> list[Write]:
        """Drop the panes that are past their grace and handed on; return the rows to delete."""
        writes: list[Write] = []
        for name, counter in self._counters.items():
            for start in [start for start in counter.panes if self._over(counter.statistic, start)]:
                writes += [(row.key, None) for row in counter.panes.pop(start).values()]
                self._absorbed.pop((name, start), None)
        # not by the panes: a crash may have left an `emitted` whose rows are gone
        for name, start in [pane for pane in self._emitted if pane not in self._absorbed]:
            del self._emitted[name, start]
            writes.append((self._key("emitted", name, start), None))
        return writes

    def open_panes(self) -> int:
        """How many panes hold something that was not handed on yet."""
        return sum(offset > self._emitted.get(pane, -1) for pane, offset in self._absorbed.items())

    def _count(self, counter: _Counter, counted: Counted, time_ns: int, offset: int, done: Taken) -> None:
        statistic = counter.statistic
        name = statistic.name
        start = time_ns // statistic.shape.pane_ns * statistic.shape.pane_ns
        if self.watermark.passed(start + statistic.shape.pane_ns):
            if self._over(statistic, start):  # its rows may be deleted in part
                done.dropped += 1
                return
            done.late += 1
        rows = counter.panes.setdefault(start, {})
        touched = self._touched
        for group, values in counted:
            row = rows.get(group)
            if row is None:
                key = self._key("row", name, start, *group)
                row = rows[group] = _Row(key, -1, statistic.measures.zero(), time_ns, time_ns)
            elif offset <= row.offset:
                continue
            row.states = [
                add(state, value) for add, state, value in zip(counter.adds, row.states, values, strict=True)
            ]
            row.offset = offset
            if time_ns < row.first_ns:
                row.first_ns = time_ns
            elif time_ns > row.last_ns:
                row.last_ns = time_ns
            touched[id(row)] = (row, statistic)
        self._absorbed[name, start] = offset

    def _keep(self, key: bytes, name: str, start: int, group: Group, stored: list[Any]) -> None:
        counter = self._counters[name]
        offset, dumped, *times = stored
        first, last = times or (start, start)
        row = _Row(key, offset, counter.statistic.measures.load(dumped), first, last)
        counter.panes.setdefault(start, {})[group] = row
        self._absorbed[name, start] = max(offset, self._absorbed.get((name, start), -1))

    def _over(self, statistic: Statistic, start: int) -> bool:
        return self.watermark.passed(start + statistic.shape.pane_ns + statistic.grace_ns)

    def _part(self, pane: Pane, offset: int) -> Part:
        name, start = pane
        counter = self._counters[name]
        statistic = counter.statistic
        rows = counter.panes[start]
        groups = [[list(group), *_stored(statistic, row)[1:]] for group, row in rows.items()]
        if len(groups) <= MAX_GROUPS and len(orjson.dumps(groups)) <= MAX_BYTES:
            return Part(name, start, offset, groups, 0)
        weights = [statistic.weight(row.states) for row in rows.values()]
        order = sorted(range(len(groups)), key=lambda place: (-weights[place], str(groups[place][0])))
        kept, size = [], 0
        for place in order[:MAX_GROUPS]:
            size += len(orjson.dumps(groups[place])) + 1
            if size > MAX_BYTES:
                break
            kept.append(groups[place])
        return Part(name, start, offset, kept, len(groups) - len(kept))

    def _key(self, kind: str, *parts: Any) -> bytes:
        return orjson.dumps([kind, self.source, self.partition, *parts])


def _stored(statistic: Statistic, row: _Row) -> list[Any]:
    """A row's value: offset, dumped states, and the times of its first and last event where they are kept."""
    dumped = [row.offset, statistic.measures.dump(row.states)]
    return [*dumped, row.first_ns, row.last_ns] if statistic.timed else dumped
