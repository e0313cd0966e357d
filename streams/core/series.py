"""What a statistic remembers beyond its windows: which groups were seen before, what is usual at an hour of the week.

Both are functions of the windows in their order. What changes is told by `writes`, as rows of the merge's table.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median
from typing import Any

import orjson

from schemas.events import NANOSECONDS
from streams.core.results import Row, Total
from streams.core.statistics import WEEK_NS, Group, Statistic

ROBUST = 1.4826
"""MAD times this estimates the standard deviation of normally distributed values (Rousseeuw & Croux, 1993)."""
_REFRESH = 30
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

Change = tuple[str, list[Any], bytes | None]
"""A row of the table: its kind, the rest of its key, its value; None deletes."""


@dataclass(slots=True)
class _Seen:
    first: int
    last: int


class Series:
    """The memory of one statistic; without `first_seen` and `baseline` it has none."""

    def __init__(self, statistic: Statistic) -> None:
        self._statistic = statistic
        self._seen: dict[Group, _Seen] = {}
        self._history: dict[tuple[int, int, Group], dict[int, float]] = {}
        self._changed: dict[tuple[str, bytes], Change] = {}
        self._forgotten = 0

    def load(self, kind: str, place: list[Any], stored: Any) -> None:
        """Take a row back from the table."""
        if kind == "seen":
            self._seen[tuple(place)] = _Seen(*stored)
        elif kind == "usual":
            weekday, hour, *group = place
            self._history[weekday, hour, tuple(group)] = dict(stored)

    def writes(self) -> list[Change]:
        """The rows that changed since the last call."""
        changed = list(self._changed.values())
        self._changed.clear()
        return changed

    def new_in(self, start_ns: int, total: Total) -> tuple[Total, list[int]]:
        """The groups of a window that no earlier one had, and the windows that are to be told again.

        A window that comes late may be the first one for a group that a later window had called new.
        """
        forget = self._statistic.forget_ns
        if not forget:
            return total, []
        new, again = {}, set()
        for group, states in total.items():
            seen = self._seen.get(group)
            if seen is None or start_ns - seen.last > forget:
                seen = self._remember(group, start_ns, start_ns)
            elif start_ns < seen.first:
                again.add(seen.first)
                seen = self._remember(group, start_ns, seen.last)
            elif start_ns - seen.last >= max(forget // _REFRESH, self._statistic.shape.size_ns):
                seen = self._remember(group, seen.first, start_ns)
            if seen.first == start_ns:
                new[group] = states
        return new, sorted(again)

    def compared(self, start_ns: int, rows: list[Row]) -> list[Row]:
        """A window's rows with what is usual at its hour of the week, which they become part of."""
        baseline = self._statistic.baseline
        if baseline is None:
            return rows
        place = self._statistic.measures.names.index(baseline.of)
        moment = datetime.fromtimestamp(start_ns // NANOSECONDS, UTC)
        compared = []
        for row in rows:
            slot = (moment.weekday(), moment.hour, row.group)
            history = self._history.setdefault(slot, {})
            value = row.values[place]
            oldest = start_ns - baseline.weeks * WEEK_NS
            before = [amount for start, amount in history.items() if oldest <= start < start_ns]
            compared.append(row._replace(beside=_usual(moment, before, value, baseline.minimum)))
            history[start_ns] = value
            for start in [start for start in history if start < oldest]:
                del history[start]
            self._change("usual", [moment.weekday(), moment.hour, *row.group], sorted(history.items()))
        return compared

    def forget(self, horizon_ns: int) -> None:
        """Drop what is older than it may be; looked for now and then."""
        statistic = self._statistic
        forget, baseline = statistic.forget_ns, statistic.baseline
        if horizon_ns - self._forgotten < (forget // _REFRESH if forget else WEEK_NS):
            return
        self._forgotten = horizon_ns
        if forget:
            # what refreshes `last` late may still be on its way
            margin = forget + forget // _REFRESH + statistic.shape.size_ns
            for group in [group for group, seen in self._seen.items() if seen.last + margin < horizon_ns]:
                del self._seen[group]
                self._change("seen", list(group), None)
        if baseline is not None:
            oldest = horizon_ns - baseline.weeks * WEEK_NS
            for slot in [slot for slot, history in self._history.items() if max(history) < oldest]:
                weekday, hour, group = slot
                del self._history[slot]
                self._change("usual", [weekday, hour, *group], None)

    def _remember(self, group: Group, first: int, last: int) -> _Seen:
        seen = self._seen[group] = _Seen(first, last)
        self._change("seen", list(group), [first, last])
        return seen

    def _change(self, kind: str, place: list[Any], value: Any) -> None:
        row = None if value is None else orjson.dumps(value)
        self._changed[kind, orjson.dumps(place)] = (kind, place, row)


def _usual(moment: datetime, before: Iterable[float], value: float, minimum: int) -> dict[str, Any]:
    """Median and median absolute deviation of earlier values, and how many of the latter a value is away."""
    amounts = list(before)
    beside: dict[str, Any] = {
        "netflight.baseline.hour": moment.hour,
        "netflight.baseline.weekday": _DAYS[moment.weekday()],
        "netflight.baseline.samples": len(amounts),
    }
    if amounts:
        middle = float(median(amounts))
        deviation = float(median(abs(amount - middle) for amount in amounts))
        beside |= {"netflight.baseline.median": middle, "netflight.baseline.mad": deviation}
        if len(amounts) >= minimum and deviation > 0:
            beside["netflight.baseline.score"] = (value - middle) / (ROBUST * deviation)
    return beside
