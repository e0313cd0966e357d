"""Windows and their merge: exact whatever the order, the crashes and the redeliveries."""

import random
from collections import defaultdict
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.events import Event
from streams.core.merge import Merger
from streams.core.results import Result, Row
from streams.core.statistics import Statistic, load_statistics
from streams.core.watermark import Watermark
from streams.core.windows import MAX_GROUPS, PartitionWindows
from streams.rules_tools import RULES
from tests.windows import SECOND, Cluster, Faults, Seen, Told, absorbed, run, statistic

STATISTICS = load_statistics([RULES / "statistics"], 10.0)
PROTOCOLS = STATISTICS["traffic_by_protocol"]
TUMBLING = statistic(10, flows="count", packets="count", size={"sum": "size"})
Counts = tuple[int, str]


def windows(partition: int = 0, lateness: float = 5.0) -> PartitionWindows:
    return PartitionWindows("flow", partition, [PROTOCOLS], lateness)


def one(protocol: str, size: int = 1) -> Event:
    return {
        "flow": {"final": True},
        "network": {"protocol": protocol, "transport": "tcp", "packets": 1, "bytes": size},
    }


def test_watermark_is_the_newest_time_less_lateness_and_never_moves_back() -> None:
    mark = Watermark(lateness_ns=5, step_ns=10)
    assert not mark.passed(-100)
    assert mark.observe(104)
    assert (mark.value, mark.observe(104), mark.observe(30)) == (90, False, False)
    assert mark.observe(105)
    assert (mark.passed(100), mark.passed(101)) == (True, False)


def test_an_event_at_or_below_a_rows_offset_is_ignored() -> None:
    state = windows()
    absorbed(state, one("tls"), SECOND, 7)
    assert state.flush()[0]
    for offset in (3, 7):
        absorbed(state, one("tls"), SECOND, offset)
        writes, _ = state.flush()
        assert [key for key, _ in writes if b"row" in key] == []
    (part,) = state.due(everything=True)
    assert part.groups == [[["tls", "tcp"], [1, 1, 1]]]


def test_a_window_is_due_when_the_watermark_passes_and_again_when_a_late_event_changed_it() -> None:
    state = windows()
    absorbed(state, one("tls"), SECOND, 0)
    assert state.due() == []
    absorbed(state, one("tls"), 16 * SECOND, 1)
    _, moved = state.flush()
    assert moved
    (part,) = state.due()
    assert (part.start_ns, part.offset) == (0, 0)
    state.hand_on([part])
    assert state.due() == []
    late = absorbed(state, one("dns"), 2 * SECOND, 2)
    assert (late.late, late.dropped) == (1, 0)
    assert not state.flush()[1]
    (corrected,) = state.due()
    assert [group for group, _ in corrected.groups] == [["tls", "tcp"], ["dns", "tcp"]]


def test_past_its_grace_a_window_is_forgotten_and_an_event_for_it_dropped_and_counted() -> None:
    state = windows()
    absorbed(state, one("tls"), SECOND, 0)
    state.flush()
    state.hand_on(state.due(everything=True))
    absorbed(state, one("tls"), 10_000 * SECOND, 1)
    state.flush()
    deleted = state.forget()
    assert [value for _, value in deleted] == [None, None]
    late = absorbed(state, one("tls"), SECOND, 2)
    assert (late.late, late.dropped) == (0, 1)
    assert state.flush() == ([], False)


@pytest.mark.parametrize("lost", [1, 2])
def test_a_pane_deleted_in_part_takes_nothing_more_and_is_given_back(lost: int) -> None:
    state = windows()
    for offset, protocol in enumerate(["tls", "dns"]):
        absorbed(state, one(protocol), SECOND, offset)
    rows = state.flush()[0]
    rows += state.hand_on(state.due(everything=True))
    absorbed(state, one("tls"), 10_000 * SECOND, 2)
    rows += state.flush()[0]
    deletions = state.forget()
    gone = {key for key, _ in deletions[:lost]}
    again = windows()
    again.load((key, value) for key, value in rows if value is not None and key not in gone)
    late = absorbed(again, one("tls"), SECOND, 3)
    assert (late.late, late.dropped, again.due()) == (0, 1, [])
    assert {key for key, _ in again.forget()} == {key for key, _ in deletions[lost:]}
    assert again.forget() == []


def test_a_batch_writes_each_row_once_and_the_watermark_last() -> None:
    state = windows()
    for offset in range(9):
        absorbed(state, one("tls"), (16 + offset) * SECOND, offset)
    writes, moved = state.flush()
    keys = [key for key, _ in writes]
    assert moved
    assert len(set(keys)) == len(keys) == 3
    assert b"watermark" in keys[-1]
    assert state.flush() == ([], False)


def test_a_part_of_very_many_groups_is_cut_to_the_heaviest_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("streams.core.windows.MAX_GROUPS", 3)
    assert MAX_GROUPS > 3
    state = PartitionWindows("flow", 0, [STATISTICS["top_talkers"]], 0.0)
    for number in range(5):
        event = {**one("tls", number), "source": {"ip": f"192.0.2.{number}", "bytes": number}}
        absorbed(state, event, SECOND, number)
    (part,) = state.due(everything=True)
    assert (part.cut, [group for (group,), _ in part.groups]) == (
        2,
        ["192.0.2.4", "192.0.2.3", "192.0.2.2"],
    )


def expected(streams: list[list[Counts]]) -> Told:
    found: dict[int, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for time_ns, protocol in (event for events in streams for event in events):
        found[time_ns // (10 * SECOND) * 10 * SECOND][protocol] += 1
    return {
        (start, start + 10 * SECOND, (protocol,)): ([amount] * 3, {})
        for start, groups in found.items()
        for protocol, amount in groups.items()
    }


events = st.lists(
    st.tuples(st.integers(0, 120 * SECOND), st.sampled_from(["tls", "dns", "http"])), max_size=25
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(events, min_size=1, max_size=4),
    st.integers(0, 2**32),
    st.sampled_from([0.0, 0.1, 0.4]),
    st.integers(1, 5),
)
def test_whatever_the_order_and_the_crashes_the_last_revisions_add_up(
    streams: list[list[Counts]], seed: int, crashes: float, batch: int
) -> None:
    cluster = Cluster(TUMBLING, len(streams), random.Random(seed), mergers=2)
    seen = [[Seen(*event) for event in events] for events in streams]
    assert run(cluster, seen, Faults(crashes, batch)) == expected(streams)


def merger(sources: int = 2, statistic: Statistic = PROTOCOLS) -> Merger:
    return Merger(0, {statistic.name: statistic}, sources)


def part(partition: int, start: int, size: int = 1) -> dict[str, Any]:
    groups = [[["tls", "tcp"], [1, 1, size]]]
    return {
        "kind": "part",
        "statistic": PROTOCOLS.name,
        "start": start,
        "partition": partition,
        "groups": groups,
    }


def mark(partition: int, watermark: int | None, *, idle: bool = False) -> dict[str, Any]:
    return {"kind": "mark", "dataset": "flow", "partition": partition, "watermark": watermark, "idle": idle}


def feed(target: Merger, *messages: dict[str, Any], begin: int = 0) -> list[Result]:
    return [r for n, m in enumerate(messages, start=begin) for r in target.step(m, n).results]


def test_a_window_waits_for_every_partition_and_an_idle_one_holds_nothing() -> None:
    state = merger(3)
    assert feed(state, part(0, 0), mark(0, 20 * SECOND), mark(1, 20 * SECOND)) == []
    (result,) = feed(state, mark(2, None, idle=True), begin=3)
    assert (result.revision, result.rows) == (0, [Row(("tls", "tcp"), [1, 1, 1], {})])


def test_a_changed_part_of_a_closed_window_is_the_next_revision_and_the_same_part_is_none() -> None:
    state = merger(1)
    first, second = part(0, 0, 5), part(0, 0, 9)
    results = feed(state, first, mark(0, 20 * SECOND), first, second, second)
    assert [(r.revision, r.rows[0].values[2]) for r in results] == [(0, 5), (1, 9)]


def test_a_message_at_or_below_the_cursor_is_skipped() -> None:
    state = merger(1)
    assert len(feed(state, part(0, 0), mark(0, 20 * SECOND))) == 1
    assert feed(state, part(0, 0, 7), mark(0, 20 * SECOND)) == []


def test_a_part_for_a_forgotten_window_is_dropped_and_counted() -> None:
    state = merger(1)
    feed(state, part(0, 0), mark(0, 10_000 * SECOND))
    step = state.step(part(0, 0, 9), 2)
    assert (step.dropped, step.results) == (1, [])
