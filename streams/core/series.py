"""What a statistic remembers beyond its windows: which groups were seen before, what is usual at an hour of the week.

Both are functions of the windows in their order. What changes is told by `writes`, as rows of the merge's table.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from statistics import median
from typing import Any, NamedTuple

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


class _Stay(NamedTuple):
    """The first and the last window of a group that was seen without a pause of `forget`."""

    first: int
    last: int


class Series:
    """The memory of one statistic; without `first_seen` and `baseline` it has none."""

    def __init__(self, statistic: Statistic) -> None:
        self._statistic = statistic
        self._seen: dict[Group, list[_Stay]] = {}
        self._history: dict[tuple[int, int, Group], dict[int, float]] = {}
        self._changed: dict[tuple[str, bytes], Change] = {}
        self._forgotten = 0
        self._horizon: int | None = None

    def load(self, kind: str, place: list[Any], stored: Any) -> None:
        """Take a row back from the table."""
        if kind == "seen":
            self._seen[tuple(place)] = [_Stay(*stay) for stay in stored]
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

        A window that comes late may be the first one for a group that a later window had called new, or close the pause
        after which it was.
        """
        forget = self._statistic.forget_ns
        if not forget:
            return total, []
        new, again = {}, set[int]()
        refresh = max(forget // _REFRESH, self._statistic.shape.size_ns)
        for group, states in total.items():
            stays = self._seen.get(group, [])
            near = [stay for stay in stays if stay.first - forget <= start_ns <= stay.last + forget]
            first = min([start_ns, *(stay.first for stay in near)])
            last = max([start_ns, *(stay.last for stay in near)])
            if len(near) != 1 or first < near[0].first or last - near[0].last >= refresh:
                self._seen[group] = sorted(
                    [stay for stay in stays if stay not in near] + [_Stay(first, last)]
                )
                self._change("seen", list(group), self._seen[group])
            again.update(stay.first for stay in near if stay.first > first)
            if first == start_ns:
                new[group] = states
        return new, sorted(again)

    def compared(self, start_ns: int, rows: list[Row]) -> tuple[list[Row], list[int]]:
        """A window's rows with what is usual at its hour of the week, which they become part of.

        And the windows that are to be told again: what was usual for them has changed. A row without a value of the
        measure is compared with nothing.
        """
        baseline = self._statistic.baseline
        if baseline is None:
            return rows, []
        place = self._statistic.measures.names.index(baseline.of)
        moment = datetime.fromtimestamp(start_ns // NANOSECONDS, UTC)
        compared, again = [], set[int]()
        for row in rows:
            value = row.values[place]
            if value is None:
                compared.append(row)
                continue
            slot = (moment.weekday(), moment.hour, row.group)
            history = self._history.setdefault(slot, {})
            oldest = start_ns - baseline.weeks * WEEK_NS
            before = [amount for start, amount in history.items() if oldest <= start < start_ns]
            compared.append(row._replace(beside=_usual(moment, before, value, baseline.minimum)))
            if history.get(start_ns) == value:
                continue
            history[start_ns] = value
            again.update(start for start in history if start > start_ns)
            if self._horizon is not None:
                oldest = self._horizon - baseline.weeks * WEEK_NS
                for start in [start for start in history if start < oldest]:
                    del history[start]
            self._change("usual", [moment.weekday(), moment.hour, *row.group], sorted(history.items()))
        return compared, sorted(again)

    def forget(self, horizon_ns: int) -> None:
        """Drop what is older than it may be; looked for now and then."""
        self._horizon = horizon_ns
        statistic = self._statistic
        forget, baseline = statistic.forget_ns, statistic.baseline
        if horizon_ns - self._forgotten < (forget // _REFRESH if forget else WEEK_NS):
            return
        self._forgotten = horizon_ns
        if forget:
            # what refreshes `last` late may still be on its way
            margin = forget + forget // _REFRESH + statistic.shape.size_ns
            for group, stays in list(self._seen.items()):
                kept = [stay for stay in stays if stay.last + margin >= horizon_ns]
                if not kept:
                    del self._seen[group]
                elif len(kept) < len(stays):
                    self._seen[group] = kept
                else:
                    continue
                self._change("seen", list(group), kept or None)
        if baseline is not None:
            oldest = horizon_ns - baseline.weeks * WEEK_NS
            for slot in [slot for slot, history in self._history.items() if max(history) < oldest]:
                weekday, hour, group = slot
                del self._history[slot]
                self._change("usual", [weekday, hour, *group], None)

    def _change(self, kind: str, place: list[Any], value: Any) -> None:
        row = None if value is None else orjson.dumps(value, default=tuple)  # for _Stay
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
