"""The windows as they are now, from the rows of the table `parts`: what `netflight top` shows.

Rows come as the table's changelog has them, in each partition's order; a later one replaces the one before it. A
window is what all source partitions have counted in its panes so far, merged.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import orjson

from schemas.events import NANOSECONDS
from streams.core.shapes import spans
from streams.core.statistics import Group, Statistic

Place = tuple[int, Group]
"""A source partition and a group."""
States = list[Any]


class LiveWindow(NamedTuple):
    """A window of a statistic: `closed` when no source partition that counts in it expects more for it.

    Where windows follow the events of each group, the newest window of every group that is at work makes one.
    """

    statistic: str
    start_ns: int
    end_ns: int
    closed: bool


class Progress(NamedTuple):
    """How far a source's partitions are in event time: the lowest and the highest watermark, in nanoseconds."""

    lowest_ns: int
    highest_ns: int
    partitions: int


class Ranking(NamedTuple):
    """A window's groups with the values of their measures, those with most of `leading` first; `total` of all."""

    groups: list[tuple[Group, list[Any]]]
    total: list[Any]


class LiveWindows:
    """What the rows tell, of the statistics that are known; rows of others are passed over."""

    def __init__(self, statistics: Mapping[str, Statistic]) -> None:
        self._statistics = dict(statistics)
        self._panes: dict[str, dict[int, dict[Place, bytes]]] = {}
        self._marks: dict[str, dict[int, int]] = {}
        self._ranked: dict[LiveWindow, Ranking] = {}

    def take(self, key: bytes, value: bytes | None) -> None:
        """Take in a row as it was written; None deletes it."""
        kind, source, partition, *rest = orjson.loads(key)
        if kind == "watermark" and value is not None:
            mark = orjson.loads(value)
            if mark is not None:
                self._marks.setdefault(source, {})[partition] = mark
        elif kind == "row" and rest[0] in self._statistics:
            name, start, *group = rest
            self._put(name, start, (partition, tuple(group)), value)

    def counted(self) -> list[str]:
        """The statistics that have windows, by name."""
        return sorted(self._panes)

    def windows(self, name: str) -> list[LiveWindow]:
        """A statistic's windows, the oldest first."""
        statistic = self._statistics[name]
        panes = self._panes.get(name, {})
        if not statistic.shape.aligned:
            newest = self._newest_spans(statistic)
            if not newest:
                return []
            begin = min(start for start, _, _ in newest.values())
            end = max(end for _, end, _ in newest.values())
            return [LiveWindow(name, begin, end, closed=False)]
        starts = {start for pane in panes for start in statistic.shape.starts(pane)}
        return [self._window(statistic, start) for start in sorted(starts)]

    def current(self, name: str) -> list[LiveWindow]:
        """The windows of a statistic that are open, after the one that was closed last."""
        windows = self.windows(name)
        last = max((place for place, window in enumerate(windows) if window.closed), default=0)
        return windows[last:]

    def progress(self, name: str) -> Progress | None:
        """How far the partitions of a statistic's source are; None before the first watermark."""
        marks = self._marks.get(self._statistics[name].dataset.name)
        return Progress(min(marks.values()), max(marks.values()), len(marks)) if marks else None

    def ranking(self, window: LiveWindow) -> Ranking:
        """A window's groups, over all partitions."""
        if window not in self._ranked:
            self._ranked[window] = self._rank(window)
        return self._ranked[window]

    def merged(self, window: LiveWindow, groups: Iterable[Group]) -> list[Any]:
        """The measures of several groups together."""
        states = self._states(window)
        return self._total(window, (states[group] for group in groups))

    def _put(self, name: str, start: int, place: Place, value: bytes | None) -> None:
        panes = self._panes.setdefault(name, {})
        rows = panes.setdefault(start, {})
        if value is None:
            rows.pop(place, None)
        else:
            rows[place] = value
        if not rows:
            del panes[start]
        if not panes:
            del self._panes[name]
        shape = self._statistics[name].shape
        for window in [window for window in self._ranked if window.statistic == name]:
            if not shape.aligned or window.start_ns <= start < window.end_ns:
                del self._ranked[window]

    def _window(self, statistic: Statistic, start: int) -> LiveWindow:
        marks = self._marks.get(statistic.dataset.name, {})
        end = start + statistic.shape.size_ns
        panes = self._panes[statistic.name]
        partitions = {
            partition for pane in statistic.shape.panes(start) for partition, _ in panes.get(pane, {})
        }
        closed = all(marks.get(partition, end - 1) >= end for partition in partitions)
        return LiveWindow(statistic.name, start, end, closed)

    def _rank(self, window: LiveWindow) -> Ranking:
        statistic = self._statistics[window.statistic]
        states = self._states(window)
        seconds = (window.end_ns - window.start_ns) / NANOSECONDS
        values = {group: list(statistic.measures.results(state, seconds)) for group, state in states.items()}
        place = leading(statistic)
        order = sorted(values.items(), key=lambda item: (-_number(item[1][place]), str(item[0])))
        return Ranking(order, self._total(window, states.values()))

    def _total(self, window: LiveWindow, found: Iterable[States]) -> list[Any]:
        statistic = self._statistics[window.statistic]
        total = statistic.measures.zero()
        for states in found:
            statistic.measures.merge(total, states)
        seconds = (window.end_ns - window.start_ns) / NANOSECONDS
        return list(statistic.measures.results(total, seconds))

    def _states(self, window: LiveWindow) -> dict[Group, States]:
        """The states of a window's groups, merged over its panes and the partitions."""
        statistic = self._statistics[window.statistic]
        panes = self._panes.get(window.statistic, {})
        if not statistic.shape.aligned:
            wanted = self._newest_spans(statistic)
            found: dict[Group, States] = {}
            for pane, rows in panes.items():
                for (_, group), value in rows.items():
                    if group in wanted and pane in wanted[group][2]:
                        _merge(statistic, found, group, value)
            return found
        merged: dict[Group, States] = {}
        for pane in statistic.shape.panes(window.start_ns):
            for (_, group), value in panes.get(pane, {}).items():
                _merge(statistic, merged, group, value)
        return merged

    def _newest_spans(self, statistic: Statistic) -> dict[Group, tuple[int, int, tuple[int, ...]]]:
        """The newest sliding window or session of each group that is at work: within its size of the newest event."""
        times: dict[Group, dict[int, tuple[int, int]]] = {}
        for pane, rows in self._panes.get(statistic.name, {}).items():
            for (_, group), value in rows.items():
                first, last = orjson.loads(value)[2:] or (pane, pane)
                known = times.setdefault(group, {}).get(pane, (first, last))
                times[group][pane] = (min(first, known[0]), max(last, known[1]))
        newest = {
            group: spans(statistic.shape, [(pane, *times[group][pane]) for pane in sorted(times[group])])[-1]
            for group in times
        }
        latest = max((span.end_ns for span in newest.values()), default=0)
        return {
            group: span for group, span in newest.items() if span.end_ns > latest - statistic.shape.size_ns
        }


def leading(statistic: Statistic) -> int:
    """Which measure ranks groups: the one of `top`, else the first of bytes, else the first; its place."""
    names = statistic.measures.names
    if statistic.top is not None:
        return names.index(statistic.top.by)
    return next((place for place, name in enumerate(names) if name.endswith("bytes")), 0)


def as_json(windows: LiveWindows, statistic: Statistic, window: LiveWindow) -> dict[str, Any]:
    """A window for machines: times in nanoseconds since 1970, groups with their fields by name."""
    progress = windows.progress(statistic.name)
    names = (*statistic.groups, *statistic.measures.names)
    return {
        "start_ns": window.start_ns,
        "end_ns": window.end_ns,
        "closed": window.closed,
        "watermark_ns": progress.lowest_ns if progress else None,
        "groups": [
            dict(zip(names, (*group, *values), strict=True))
            for group, values in windows.ranking(window).groups
        ],
    }


def _merge(statistic: Statistic, into: dict[Group, States], group: Group, value: bytes) -> None:
    states = statistic.measures.load(orjson.loads(value)[1])
    if group in into:
        statistic.measures.merge(into[group], states)
    else:
        into[group] = states


def _number(value: Any) -> float:
    return value if isinstance(value, int | float) else 0.0
