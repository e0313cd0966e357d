"""What a statistic remembers: first seen, and what is usual, whatever came late and wherever it was reloaded."""

import random
from datetime import UTC, datetime
from itertools import pairwise
from statistics import median
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.events import NANOSECONDS
from streams.core.results import Row
from streams.core.series import ROBUST, Series
from streams.core.statistics import WEEK_NS, Baseline, Statistic
from tests.windows import SECOND, Cluster, Faults, Seen, Told, run, statistic

seen = st.builds(Seen, st.integers(0, 400).map(lambda time: time * SECOND), st.sampled_from("abc"))
streams_of_events = st.lists(st.lists(seen, max_size=15), min_size=1, max_size=3)
FIRST = statistic(10, forget=60.0)


def first_windows(streams: list[list[Seen]], forget: int) -> set[tuple[int, int, tuple[str]]]:
    """The windows in which a group is new: its first one, and each that comes more than `forget` after another."""
    new = set()
    for group in "abc":
        starts = sorted(
            {
                e.time_ns // (10 * SECOND) * 10 * SECOND
                for events in streams
                for e in events
                if e.group == group
            }
        )
        again = [later for earlier, later in pairwise(starts) if later - earlier > forget]
        new |= {(start, start + 10 * SECOND, (group,)) for start in starts[:1] + again}
    return new


@settings(max_examples=40, deadline=None)
@given(streams_of_events, st.integers(0, 2**32), st.sampled_from([0.0, 0.1, 0.4]), st.integers(1, 5))
def test_a_group_is_told_in_the_windows_in_which_it_is_new(
    streams: list[list[Seen]], seed: int, crashes: float, batch: int
) -> None:
    cluster = Cluster(FIRST, len(streams), random.Random(seed), mergers=2)
    assert not FIRST.apart
    told = run(cluster, streams, Faults(crashes, batch))
    assert set(told) == first_windows(streams, FIRST.forget_ns)


BASELINE = Baseline(of="size", weeks=1, minimum=2)
USUAL = statistic(10, baseline=BASELINE)


def compared(streams: list[list[Seen]]) -> Told:
    """The windows of the hour in their order, each compared with those before."""
    sums: dict[tuple[int, str], list[int]] = {}
    for event in (event for events in streams for event in events):
        amounts = sums.setdefault((event.time_ns // (10 * SECOND) * 10 * SECOND, event.group), [0, 0])
        amounts[0] += 1
        amounts[1] += event.size
    told: Told = {}
    for (start, group), amounts in sums.items():
        before = [size for (other, own), (_, size) in sums.items() if own == group and other < start]
        beside = usual(start, before, amounts[1])
        told[start, start + 10 * SECOND, (group,)] = (amounts, beside)
    return told


def usual(start: int, before: list[int], value: int, minimum: int = 2) -> dict[str, Any]:
    moment = datetime.fromtimestamp(start // NANOSECONDS, UTC)
    beside: dict[str, Any] = {
        "netflight.baseline.hour": moment.hour,
        "netflight.baseline.weekday": moment.strftime("%A"),
        "netflight.baseline.samples": len(before),
    }
    if before:
        middle = float(median(before))
        deviation = float(median([abs(amount - middle) for amount in before]))
        beside |= {"netflight.baseline.median": middle, "netflight.baseline.mad": deviation}
        if len(before) >= minimum and deviation:
            beside["netflight.baseline.score"] = (value - middle) / (ROBUST * deviation)
    return beside


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.lists(st.builds(Seen._replace, seen, size=st.integers(0, 99)), max_size=15), min_size=1, max_size=3
    ),
    st.integers(0, 2**32),
    st.sampled_from([0.0, 0.1, 0.4]),
    st.integers(1, 5),
)
def test_a_result_is_compared_with_the_windows_before_it_even_those_that_came_later(
    streams: list[list[Seen]], seed: int, crashes: float, batch: int
) -> None:
    cluster = Cluster(USUAL, len(streams), random.Random(seed), mergers=2)
    assert run(cluster, streams, Faults(crashes, batch)) == compared(streams)


def reloaded(made: Statistic, rows: dict[bytes, bytes]) -> Series:
    again = Series(made)
    for key, value in rows.items():
        kind, *place = orjson.loads(key)
        again.load(kind, place, orjson.loads(value))
    return again


def keep(series: Series, rows: dict[bytes, bytes]) -> None:
    for kind, place, row in series.writes():
        key = orjson.dumps([kind, *place])
        if row is None:
            del rows[key]
        else:
            rows[key] = row


HOUR = 3600 * SECOND


@pytest.mark.parametrize("reload", [False, True])
def test_weeks_are_compared_by_weekday_and_hour_before_and_after_a_reload(*, reload: bool) -> None:
    made = statistic(3600, baseline=Baseline(of="size", weeks=4, minimum=3))
    series, rows = Series(made), dict[bytes, bytes]()
    amounts: dict[int, int] = {}
    draw = random.Random(5)
    for hour in range(24 * 7 * 7):
        start = hour * HOUR
        amounts[start] = draw.randrange(1000)
        (row,), again = series.compared(start, [Row(("a",), [1, amounts[start]], {})])
        before = [amounts[start - week * WEEK_NS] for week in range(1, 5) if start >= week * WEEK_NS]
        assert row.beside == usual(start, before, amounts[start], minimum=3)
        assert again == []
        series.forget(start)
        keep(series, rows)
        if reload and hour % 50 == 0:
            series = reloaded(made, rows)
    assert len(rows) == 24 * 7
    assert max(len(orjson.loads(row)) for row in rows.values()) <= 6
    series.forget(100 * WEEK_NS)
    keep(series, rows)
    assert rows == {}


def test_a_result_without_the_value_is_compared_with_nothing() -> None:
    made = statistic(3600, baseline=Baseline(of="low"), low={"min": "size"})
    row = Row(("a",), [None], {})
    series = Series(made)
    assert series.compared(0, [row]) == ([row], [])
    assert series.writes() == []


def test_groups_are_forgotten_and_their_rows_are_deleted() -> None:
    series, rows = Series(FIRST), dict[bytes, bytes]()
    most = 0
    for window in range(500):
        start = window * 10 * SECOND
        new, again = series.new_in(start, {("always",): [], (f"once {window}",): []})
        assert set(new) == {(f"once {window}",)} | ({("always",)} if window == 0 else set())
        assert again == []
        series.forget(start)
        keep(series, rows)
        if window % 7 == 0:
            series = reloaded(FIRST, rows)
        most = max(most, len(rows))
    assert most < 15


def test_a_late_window_closes_the_pause_after_which_a_group_was_new() -> None:
    series = Series(FIRST)
    group: dict[tuple[Any, ...], list[Any]] = {("a",): []}
    assert series.new_in(0, group) == (group, [])
    assert series.new_in(100 * SECOND, group) == (group, [])
    assert series.new_in(50 * SECOND, group) == ({}, [100 * SECOND])
    assert series.new_in(100 * SECOND, group) == ({}, [])
