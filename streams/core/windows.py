"""Tumbling windows of one source partition: plain rows, exact under redelivery.

A row holds what a group counted in a window, and the offset of the last event it took in; an event at or
below that offset is ignored. The rows are the partition's part of a window; `merge` adds the parts up.
Rows go to a changelog in the order in which they are written here, so what is found after a crash is this
state as it was after some write, and redelivery brings it forward again.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from schemas.events import NANOSECONDS
from streams.core.statistics import Amounts, Counted, Group, Statistic
from streams.core.watermark import Watermark

# A part goes to the merge as one message; heavier groups first, if it would be larger than a message may be.
MAX_GROUPS = 50_000

Window = tuple[str, int]
Write = tuple[bytes, bytes | None]


class Part(NamedTuple):
    """What one source partition counted in one window, complete up to `offset`."""

    statistic: str
    start_ns: int
    offset: int
    groups: dict[Group, Amounts]
    cut: int


@dataclass(slots=True)
class Absorbed:
    """What an event did: rows to write in this order, whether the watermark moved, windows it came late to."""

    writes: list[Write] = field(default_factory=list)
    moved: bool = False
    late: int = 0
    dropped: int = 0


class PartitionWindows:
    """The open windows of one partition of a source (a dataset's topic), for every statistic over it.

    `rows` and `emitted` come back from the table with `load`. A window is open until the watermark is past
    its end by the statistic's grace; then it is forgotten, and an event for it is dropped and counted.
    """

    def __init__(
        self, source: str, partition: int, statistics: Iterable[Statistic], lateness_seconds: float
    ) -> None:
        self.source = source
        self.partition = partition
        self._statistics = {statistic.name: statistic for statistic in statistics}
        step = math.gcd(*(statistic.window_ns for statistic in self._statistics.values()))
        self.watermark = Watermark(round(lateness_seconds * NANOSECONDS), step)
        self._rows: dict[Window, dict[Group, tuple[int, Amounts]]] = {}
        self._absorbed: dict[Window, int] = {}
        self._emitted: dict[Window, int] = {}

    def load(self, items: Iterable[tuple[bytes, bytes]]) -> None:
        """Take rows back from the table; rows of other partitions and of unknown statistics are passed over."""
        for key, value in items:
            kind, source, partition, *rest = orjson.loads(key)
            if (source, partition) != (self.source, self.partition):
                continue
            stored = orjson.loads(value)
            if kind == "watermark":
                self.watermark.value = stored
            elif rest[0] not in self._statistics:
                continue
            elif kind == "emitted":
                self._emitted[rest[0], rest[1]] = stored
            else:
                window, group = (rest[0], rest[1]), tuple(rest[2:])
                self._keep(window, group, stored[0], tuple(stored[1:]))

    def absorb(self, time_ns: int, offset: int, counted: Mapping[str, Counted]) -> Absorbed:
        """Count an event's groups and amounts, by statistic, and move the watermark."""
        done = Absorbed()
        for name, groups in counted.items():
            if groups:
                self._count(done, self._statistics[name], time_ns, offset, groups)
        if self.watermark.observe(time_ns):
            done.moved = True
            done.writes.append((self._key("watermark"), orjson.dumps(self.watermark.value)))
        return done

    def due(self, *, everything: bool = False) -> list[Part]:
        """The parts that have changed since they were last handed on, of windows that are over by the watermark.

        With `everything`, of all windows: nothing more is expected for now.
        """
        found = []
        for window, offset in self._absorbed.items():
            name, start = window
            over = everything or self.watermark.passed(start + self._statistics[name].window_ns)
            if over and offset > self._emitted.get(window, -1):
                found.append(self._part(window, offset))
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
        """Drop the windows that are past their grace; return the rows to delete."""
        writes: list[Write] = []
        for window in [w for w in self._rows if self._expired(w)]:
            name, start = window
            writes.extend((self._key("row", name, start, *group), None) for group in self._rows.pop(window))
            self._absorbed.pop(window, None)
            if self._emitted.pop(window, None) is not None:
                writes.append((self._key("emitted", name, start), None))
        return writes

    def _count(self, done: Absorbed, stat: Statistic, time_ns: int, offset: int, groups: Counted) -> None:
        window = (stat.name, stat.start_of(time_ns))
        end = window[1] + stat.window_ns
        if self.watermark.passed(end + stat.grace_ns):
            done.dropped += 1
            return
        if self.watermark.passed(end):
            done.late += 1
        rows = self._rows.get(window, {})
        for group, amounts in groups:
            last, before = rows.get(group, (-1, (0,) * len(amounts)))
            if offset <= last:
                continue
            after = tuple(a + b for a, b in zip(before, amounts, strict=True))
            self._keep(window, group, offset, after)
            done.writes.append((self._key("row", *window, *group), orjson.dumps([offset, *after])))

    def _keep(self, window: Window, group: Group, offset: int, amounts: Amounts) -> None:
        self._rows.setdefault(window, {})[group] = (offset, amounts)
        self._absorbed[window] = max(offset, self._absorbed.get(window, -1))

    def _expired(self, window: Window) -> bool:
        statistic = self._statistics[window[0]]
        return self.watermark.passed(window[1] + statistic.window_ns + statistic.grace_ns)

    def _part(self, window: Window, offset: int) -> Part:
        groups = {group: amounts for group, (_, amounts) in self._rows[window].items()}
        cut = max(0, len(groups) - MAX_GROUPS)
        if cut:
            statistic = self._statistics[window[0]]
            place = statistic.measures.index(statistic.top.by) if statistic.top else 0
            heaviest = sorted(groups.items(), key=lambda item: (-item[1][place], str(item[0])))
            groups = dict(heaviest[:MAX_GROUPS])
        return Part(*window, offset, groups, cut)

    def _key(self, kind: str, *parts: Any) -> bytes:
        return orjson.dumps([kind, self.source, self.partition, *parts])
