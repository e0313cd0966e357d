"""The windows of all source partitions, merged: parts are replaced, never added, so redelivery changes nothing.

The merge reads a log of two kinds of messages. A part says what one source partition counted in a window; it
replaces the part that partition sent before. A mark says how far a source partition's watermark is, or that it is
idle. A window is closed when every partition's watermark is past its end or the partition is idle; a part that
changes a closed window gives the next revision. No clock is read: the same log gives the same results.

A step's results must be safe in Kafka before its rows are written. The cursor row is written last; a message at
or below the cursor is skipped. So a step that a crash cut short is taken again and gives the same results.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from streams.core.statistics import Amounts, Group, Result, Statistic, ranked
from streams.core.windows import Part, Window, Write


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


class Merger:
    """The merge of one partition of its log. `sources` is how many partitions each dataset's topic has."""

    def __init__(self, partition: int, statistics: Mapping[str, Statistic], sources: int) -> None:
        self.partition = partition
        self._statistics = dict(statistics)
        self._sources = sources
        self._cursor = -1
        self._marks: dict[str, dict[int, _Mark]] = {}
        self._horizon: dict[str, int] = {}
        self._parts: dict[Window, dict[int, dict[Group, Amounts]]] = {}
        self._heads: dict[Window, tuple[int, str]] = {}

    def load(self, items: Iterable[tuple[bytes, bytes]]) -> None:
        """Take rows back from the table; rows of other partitions are passed over."""
        for key, value in items:
            kind, partition, *rest = orjson.loads(key)
            if partition != self.partition:
                continue
            stored = orjson.loads(value)
            if kind == "cursor":
                self._cursor = stored["offset"]
                self._horizon = stored["horizon"]
                self._marks = {
                    dataset: {int(p): _Mark(*mark) for p, mark in marks.items()}
                    for dataset, marks in stored["marks"].items()
                }
            elif rest[0] not in self._statistics:
                continue
            elif kind == "head":
                self._heads[rest[0], rest[1]] = (stored[0], stored[1])
            else:
                groups = {tuple(group): tuple(amounts) for group, amounts in stored}
                self._parts.setdefault((rest[0], rest[1]), {})[rest[2]] = groups

    def step(self, message: Mapping[str, Any], offset: int) -> Step:
        """Take in the message at an offset of the log."""
        done = Step()
        if offset <= self._cursor:
            return done
        if message["kind"] == "part":
            self._part(done, message)
        else:
            self._mark(done, message)
        self._cursor = offset
        done.writes.append((self._key("cursor"), self._cursor_row()))
        return done

    def _part(self, done: Step, message: Mapping[str, Any]) -> None:
        statistic = self._statistics.get(message["statistic"])
        if statistic is None:
            return
        window = (statistic.name, int(message["start"]))
        if window[1] + statistic.window_ns <= self._horizon.get(statistic.name, -1):
            done.dropped += 1
            return
        groups = {tuple(group): tuple(amounts) for group, amounts in message["groups"]}
        self._parts.setdefault(window, {})[message["partition"]] = groups
        done.writes.append(
            (self._key("part", *window, message["partition"]), orjson.dumps(message["groups"]))
        )
        if window in self._heads or self._closed(statistic, window[1]):
            self._publish(done, statistic, window)

    def _mark(self, done: Step, message: Mapping[str, Any]) -> None:
        dataset = message["dataset"]
        marks = self._marks.setdefault(dataset, {})
        before = marks.get(message["partition"], _Mark()).watermark
        reached = message["watermark"]
        later = max((mark for mark in (before, reached) if mark is not None), default=None)
        marks[message["partition"]] = _Mark(later, message["idle"])
        for window in sorted(self._parts):
            statistic = self._statistics[window[0]]
            ours = statistic.dataset.name == dataset and window not in self._heads
            if ours and self._closed(statistic, window[1]):
                self._publish(done, statistic, window)
        for statistic in self._statistics.values():
            if statistic.dataset.name == dataset:
                self._forget(done, statistic)

    def _closed(self, statistic: Statistic, start_ns: int) -> bool:
        end = start_ns + statistic.window_ns
        marks = self._marks.get(statistic.dataset.name, {})
        return len(marks) == self._sources and all(
            mark.idle or (mark.watermark is not None and mark.watermark >= end) for mark in marks.values()
        )

    def _publish(self, done: Step, statistic: Statistic, window: Window) -> None:
        total: dict[Group, Amounts] = {}
        for groups in self._parts[window].values():
            for group, amounts in groups.items():
                before = total.get(group)
                total[group] = (
                    tuple(a + b for a, b in zip(before, amounts, strict=True)) if before else amounts
                )
        results = ranked(statistic, total)
        digest = hashlib.blake2b(orjson.dumps(results), digest_size=12).hexdigest()
        revision, published = self._heads.get(window, (-1, ""))
        if digest == published:
            return
        self._heads[window] = (revision + 1, digest)
        done.results.append(Result(*window, revision + 1, results))
        done.writes.append((self._key("head", *window), orjson.dumps([revision + 1, digest])))

    def _forget(self, done: Step, statistic: Statistic) -> None:
        """Drop windows that every partition at work is past by the grace; what comes for them later is dropped."""
        marks = self._marks[statistic.dataset.name]
        active = [mark.watermark for mark in marks.values() if not mark.idle]
        reached = [mark for mark in active if mark is not None]
        if len(marks) < self._sources or not active or len(reached) < len(active):
            return
        horizon = max(min(reached) - statistic.grace_ns, self._horizon.get(statistic.name, -1))
        self._horizon[statistic.name] = horizon
        over = [w for w in self._parts if w[0] == statistic.name and w[1] + statistic.window_ns <= horizon]
        for window in over:
            parts = self._parts.pop(window)
            done.writes.extend((self._key("part", *window, source), None) for source in parts)
            if self._heads.pop(window, None):
                done.writes.append((self._key("head", *window), None))

    def _cursor_row(self) -> bytes:
        marks = {
            dataset: {str(p): [mark.watermark, mark.idle] for p, mark in found.items()}
            for dataset, found in self._marks.items()
        }
        return orjson.dumps({"offset": self._cursor, "horizon": self._horizon, "marks": marks})

    def _key(self, kind: str, *parts: Any) -> bytes:
        return orjson.dumps([kind, self.partition, *parts])


def part_message(part: Part, partition: int) -> bytes:
    """A part of a source partition as a message of the merge's log."""
    return orjson.dumps(
        {
            "kind": "part",
            "statistic": part.statistic,
            "start": part.start_ns,
            "partition": partition,
            "groups": [[list(group), list(amounts)] for group, amounts in part.groups.items()],
        }
    )


def mark_message(dataset: str, partition: int, watermark: int | None, *, idle: bool) -> bytes:
    """A source partition's watermark, or that it is idle, as a message of the merge's log."""
    return orjson.dumps(
        {"kind": "mark", "dataset": dataset, "partition": partition, "watermark": watermark, "idle": idle}
    )
