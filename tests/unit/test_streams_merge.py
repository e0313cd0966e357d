"""The merge of all shapes of windows: what was told last is what an oracle says that knows all events at once."""

import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.core.merge import Merger, mark_message, part_message
from streams.core.results import Result
from streams.core.shapes import Kind
from streams.core.sketches import bucket, quantile
from streams.core.statistics import Baseline, Statistic, Top
from tests.windows import SECOND, Cluster, Faults, Seen, Told, drive, run, statistic, taken_in

MEASURES: dict[str, Any] = {
    "count": "count",
    "size": {"sum": "size"},
    "low": {"min": "size"},
    "high": {"max": "size"},
    "peers": {"distinct": "peer"},
    "median": {"quantile": "size", "q": 0.5},
    "heaviest": {"top": "peer", "limit": 2},
}
SHAPES: dict[str, Any] = {
    "tumbling": 10,
    "hopping": {"hopping": {"size": 10, "step": 5}},
    "hopping, size no multiple of step": {"hopping": {"size": 10, "step": 4}},
    "sliding": {"sliding": {"size": 10, "resolution": 2}},
    "session": {"session": {"gap": 6, "resolution": 2.5}},
    "session, coarse": {"session": {"gap": 6, "resolution": 6}},
}
every_shape = pytest.mark.parametrize("window", SHAPES.values(), ids=SHAPES.keys())

halves = st.integers(0, 240).map(lambda half: half * SECOND // 2)
times = halves | st.integers(0, 120 * SECOND)
seen = st.builds(
    Seen, times, st.sampled_from("abc"), st.integers(-50, 50), st.none() | st.sampled_from(["x", "y", "z"])
)
streams_of_events = st.lists(st.lists(seen, max_size=20), min_size=1, max_size=3)


def windows_of(given_statistic: Statistic, events: Sequence[Seen]) -> dict[tuple[int, int, str], list[Seen]]:
    """Every window with its events, by what the shape is said to be."""
    shape = given_statistic.shape
    found: dict[tuple[int, int, str], list[Seen]] = defaultdict(list)
    for group in {event.group for event in events}:
        own = sorted((event for event in events if event.group == group), key=lambda seen: seen.time_ns)
        if shape.kind is Kind.SESSION:
            runs: list[list[Seen]] = []
            for event in own:
                if runs and event.time_ns - runs[-1][-1].time_ns <= shape.size_ns:
                    runs[-1].append(event)
                else:
                    runs.append([event])
            found |= {(one[0].time_ns, one[-1].time_ns, group): one for one in runs}
            continue
        if shape.kind is Kind.SLIDING:
            starts = {(event.time_ns // shape.pane_ns + 1) * shape.pane_ns - shape.size_ns for event in own}
        else:
            last = max(event.time_ns for event in own)
            starts = set(range(-shape.size_ns // shape.step_ns * shape.step_ns, last + 1, shape.step_ns))
        for start in starts:
            end = start + shape.size_ns
            if inside := [event for event in own if start <= event.time_ns < end]:
                found[start, end, group] = inside
    return found


def measured(events: list[Seen]) -> list[Any]:
    sizes = [event.size for event in events]
    peers = Counter(event.peer for event in events if event.peer)
    heaviest = sorted(peers.items(), key=lambda item: (-item[1], item[0]))[:2]
    buckets = Counter(bucket(size) for size in sizes)
    top = [{"value": value, "count": count} for value, count in heaviest] or None
    return [len(events), sum(sizes), min(sizes), max(sizes), len(peers), quantile(dict(buckets), 0.5), top]


def oracle(given_statistic: Statistic, streams: list[list[Seen]]) -> Told:
    found = windows_of(given_statistic, [event for events in streams for event in events])
    return {(start, end, (group,)): (measured(inside), {}) for (start, end, group), inside in found.items()}


@every_shape
@settings(max_examples=20, deadline=None)
@given(streams_of_events, st.integers(0, 2**32), st.sampled_from([0.0, 0.1, 0.4]), st.integers(1, 5))
def test_what_was_told_last_is_what_all_events_at_once_say(
    window: Any, streams: list[list[Seen]], seed: int, crashes: float, batch: int
) -> None:
    made = statistic(window, **MEASURES)
    cluster = Cluster(made, len(streams), random.Random(seed), mergers=2)
    assert run(cluster, streams, Faults(crashes, batch)) == oracle(made, streams)
    assert cluster.dropped == 0


MEMORIES: dict[str, Statistic] = {
    **{
        f"{name}, grace {grace}": statistic(window, grace=grace)
        for name, window in SHAPES.items()
        for grace in (0, 9)
    },
    "first seen": statistic(10, grace=20.0, forget=60.0),
    "first seen, late by more than is remembered": statistic(10, grace=500.0, forget=60.0),
    "baseline": statistic(10, grace=20.0, baseline=Baseline(of="size", weeks=1, minimum=2)),
    "top": statistic(10, grace=20.0, top=Top(by="size", limit=2, rank="rank")),
}


@pytest.mark.parametrize("made", MEMORIES.values(), ids=MEMORIES.keys())
@pytest.mark.parametrize("seed", range(5))
def test_a_log_tells_the_same_revisions_and_leaves_the_same_rows_whatever_crashed(
    made: Statistic, seed: int
) -> None:
    draw = random.Random(seed)
    streams = [
        sorted(
            (
                Seen(draw.randrange(600) * SECOND // 2, draw.choice("abcdef"), draw.randrange(100))
                for _ in range(40)
            ),
            key=lambda event: event.time_ns + draw.randrange(20) * SECOND,
        )
        for _ in range(draw.randrange(1, 4))
    ]
    cluster = Cluster(made, len(streams), draw)
    drive(cluster, streams)
    cluster.merge(0, 0)
    results, rows = cluster.results, cluster.merged[0]
    cluster.results, cluster.merged = {}, [{}]
    cluster.start_mergers()
    log, at, marks = cluster.logs[0], 0, 2 * len(streams)
    for _ in range(25):
        cluster.logs[0] = log[: draw.randrange(at, len(log) - marks) + 1]
        at = draw.randrange(cluster.merge(0, at, crash=True) + 1)
        cluster.start_mergers()
    cluster.logs[0] = log
    cluster.merge(0, at)
    assert cluster.results == results
    assert cluster.merged[0] == rows
    left = {kind for kind, *_ in map(orjson.loads, rows)}
    assert left <= ({"cursor", "usual"} if made.baseline else {"cursor"})


@every_shape
def test_memory_and_rows_are_given_back_in_a_long_stream(window: Any) -> None:
    draw = random.Random(1)
    made = statistic(window, grace=5.0)
    cluster = Cluster(made, 2, draw)
    most = at = 0
    for number in range(400):
        batch = [Seen((number * 5 + draw.randrange(5)) * SECOND, draw.choice("abcdefgh")) for _ in range(2)]
        crash = number % 20 == 10
        cluster.take(number % 2, number * 2, batch, crash=crash)
        if crash:  # what is lost comes again
            cluster.start()
            cluster.take(number % 2, number * 2, batch)
        at = cluster.merge(0, at, crash=crash)
        if crash:
            cluster.start_mergers()
        most = max(most, *map(len, cluster.tables), len(cluster.merged[0]))
    assert most < 120
    assert sum(merger.waiting() for merger in cluster.mergers) < 30
    assert sum(source.open_panes() for source in cluster.sources) < 15


@every_shape
def test_late_within_the_grace_corrects_and_past_it_is_dropped_and_counted(window: Any) -> None:
    made = statistic(window, grace=60.0)
    cluster = Cluster(made, 1, random.Random(0))

    def take(offset: int, *times: float) -> None:
        cluster.take(0, offset, [Seen(round(time * SECOND), "a") for time in times])
        cluster.hand_on(0, idle=False)

    take(0, 1, 60)
    cluster.hand_on(0, idle=False)
    take(2, 2, 61)
    assert cluster.dropped == 0
    assert cluster.late == 1
    take(4, 200)
    take(5, 3)
    assert (cluster.late, cluster.dropped) == (1, 1)
    cluster.hand_on(0, idle=True)
    cluster.merge(0, 0)
    kept = [Seen(round(time * SECOND), "a") for time in (1, 60, 2, 61, 200)]
    want = {window: len(inside) for window, inside in windows_of(made, kept).items()}
    got = {(start, end, group): values[0] for (start, end, (group,)), (values, _) in cluster.told().items()}
    assert got == want


def part(made: Statistic, *events: Seen, partition: int = 0) -> list[bytes]:
    state, _ = taken_in(made, events)
    return [part_message(found, partition) for found in state.due(everything=True)]


def mark(seconds: float | None, partition: int = 0, *, idle: bool = False) -> bytes:
    return mark_message("flow", partition, None if seconds is None else round(seconds * SECOND), idle=idle)


def feed(merger: Merger, *messages: bytes, begin: int = 0) -> list[Result]:
    found = []
    for offset, message in enumerate(messages, start=begin):
        found += merger.step(orjson.loads(message), offset).results
    return found


def merger(made: Statistic, sources: int = 1) -> Merger:
    return Merger(0, {made.name: made}, sources)


def at(seconds: float, group: str = "a", size: int = 1) -> Seen:
    return Seen(round(seconds * SECOND), group, size)


def test_sessions_that_a_late_event_joins_become_one_and_the_other_is_retracted() -> None:
    made = statistic({"session": {"gap": 5, "resolution": 1}})
    state = merger(made)
    first = feed(state, *part(made, at(1), at(9)), mark(30))
    assert [(r.start_ns, r.end_ns, r.revision) for r in first] == [
        (1 * SECOND, 1 * SECOND, 0),
        (9 * SECOND, 9 * SECOND, 0),
    ]
    joined = feed(state, *part(made, at(5)), begin=10)
    assert [(r.start_ns, r.end_ns, r.revision, r.rows == []) for r in joined] == [
        (1 * SECOND, 9 * SECOND, 1, False),
        (9 * SECOND, 9 * SECOND, 1, True),
    ]
    assert joined[1].retracted == [("a",)]


def test_a_session_that_goes_on_keeps_its_revision_however_long_ago_it_was_told() -> None:
    made = statistic({"session": {"gap": 5, "resolution": 5}}, grace=15.0)
    state = merger(made)
    (told,) = feed(state, *part(made, at(1)), mark(20))
    assert (told.revision, told.rows[0].values[0]) == (0, 1)
    more = part(made, *[at(second) for second in range(5, 100, 4)])
    assert feed(state, *more[::-1], *[mark(second) for second in range(25, 95, 5)], begin=10) == []
    (again,) = feed(state, mark(200), begin=100)
    assert (again.start_ns, again.revision, again.rows[0].values[0]) == (SECOND, 1, 25)


def test_an_event_a_gap_after_another_is_in_its_session_and_not_late() -> None:
    made = statistic({"session": {"gap": 5, "resolution": 5}})
    state = merger(made)
    (told,) = feed(state, *part(made, at(10)), mark(15), *part(made, at(15)), mark(30))
    assert (told.revision, told.start_ns, told.end_ns) == (0, 10 * SECOND, 15 * SECOND)


def test_a_rate_of_a_session_of_one_moment_is_none() -> None:
    made = statistic({"session": {"gap": 5}}, rate={"rate": "count"})
    (told,) = feed(merger(made), *part(made, at(1)), mark(30))
    assert told.rows[0].values == [None]


def test_groups_without_the_value_that_ranks_come_last_and_those_that_leave_the_top_are_retracted() -> None:
    made = statistic(10, top=Top(by="low", limit=2, rank="rank"), low={"min": "peer"})
    state = merger(made)
    first = feed(state, *part(made, at(1, "a")), mark(20))
    assert [row.group for row in first[0].rows] == [("a",)]
    numbered = statistic(10, top=Top(by="low", limit=2, rank="rank"), low={"min": "size"})
    later = part(numbered, at(1, "b", 3), at(1, "c", 5), partition=1)
    (second,) = feed(state, *later, begin=10)
    assert [row.group for row in second.rows] == [("c",), ("b",)]
    assert second.retracted == [("a",)]


def test_a_group_that_a_part_has_no_more_takes_its_windows_back() -> None:
    made = statistic({"sliding": {"size": 4, "resolution": 1}})
    state = merger(made)
    assert len(feed(state, *part(made, at(1, "a"), at(1, "b")), mark(20))) == 2
    (gone,) = feed(state, *part(made, at(1, "b")), begin=10)
    assert (gone.rows, gone.retracted) == ([], [("a",)])


@every_shape
def test_deletions_come_after_the_cursor(window: Any) -> None:
    made = statistic(window, grace=20.0)
    state = merger(made)
    feed(state, *part(made, at(1)), mark(5))
    step = state.step(orjson.loads(mark(1000)), 50)
    kinds = [(orjson.loads(key)[0], value is None) for key, value in step.writes]
    cursor = kinds.index(("cursor", False))
    assert [gone for _, gone in kinds[:cursor]] == [False] * cursor
    assert {kind for kind, gone in kinds[cursor + 1 :] if gone} == {"part", "told"}


@given(st.lists(st.lists(seen, min_size=1, max_size=12), min_size=1, max_size=3))
def test_measures_go_through_rows_parts_and_messages_as_they_are(streams: list[list[Seen]]) -> None:
    made = statistic(1000, **MEASURES)
    messages = []
    for number, events in enumerate(streams):
        state, writes = taken_in(made, events)
        again, _ = taken_in(made, [])
        again.load((key, value) for key, value in writes if value is not None)
        assert again.due(everything=True) == state.due(everything=True)
        messages += [part_message(found, number) for found in again.due(everything=True)]
    idle = [mark(None, number, idle=True) for number in range(len(streams))]
    (told,) = feed(merger(made, len(streams)), *messages, *idle)
    for row in told.rows:
        own = [event for events in streams for event in events if (event.group,) == row.group]
        assert row.values == measured(own)
