"""Windows and their merge: exact whatever the order, the crashes and the redeliveries."""

import random
from collections import defaultdict
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.events import NANOSECONDS
from streams.core.merge import Merger, mark_message, part_message
from streams.core.statistics import Counted, Result, Statistic, load_statistics
from streams.core.watermark import Watermark
from streams.core.windows import MAX_GROUPS, PartitionWindows
from streams.rules_tools import RULES

STATISTICS = load_statistics([RULES / "statistics"], 10.0)
PROTOCOLS = STATISTICS["traffic_by_protocol"]
SECOND = NANOSECONDS
Counts = tuple[int, str]


def windows(partition: int = 0, lateness: float = 5.0) -> PartitionWindows:
    return PartitionWindows("flow", partition, [PROTOCOLS], lateness)


def one(protocol: str, size: int = 1) -> dict[str, Counted]:
    return {PROTOCOLS.name: [((protocol, "tcp"), (1, 1, size))]}


def test_watermark_is_the_newest_time_less_lateness_and_never_moves_back() -> None:
    mark = Watermark(lateness_ns=5, step_ns=10)
    assert not mark.passed(-100)
    assert mark.observe(104)
    assert (mark.value, mark.observe(104), mark.observe(30)) == (90, False, False)
    assert mark.observe(105)
    assert (mark.passed(100), mark.passed(101)) == (True, False)


def test_an_event_at_or_below_a_rows_offset_is_ignored() -> None:
    state = windows()
    assert state.absorb(SECOND, 7, one("tls")).writes
    for offset in (3, 7):
        again = state.absorb(SECOND, offset, one("tls"))
        assert [key for key, _ in again.writes if b"row" in key] == []
    (part,) = state.due(everything=True)
    assert part.groups == {("tls", "tcp"): (1, 1, 1)}


def test_a_window_is_due_when_the_watermark_passes_and_again_when_a_late_event_changed_it() -> None:
    state = windows()
    state.absorb(SECOND, 0, one("tls"))
    assert state.due() == []
    assert state.absorb(16 * SECOND, 1, one("tls")).moved
    (part,) = state.due()
    assert (part.start_ns, part.offset) == (0, 0)
    state.hand_on([part])
    assert state.due() == []
    late = state.absorb(2 * SECOND, 2, one("dns"))
    assert (late.late, late.dropped) == (1, 0)
    (corrected,) = state.due()
    assert set(corrected.groups) == {("tls", "tcp"), ("dns", "tcp")}


def test_past_its_grace_a_window_is_forgotten_and_an_event_for_it_dropped_and_counted() -> None:
    state = windows()
    state.absorb(SECOND, 0, one("tls"))
    state.hand_on(state.due(everything=True))
    state.absorb(10_000 * SECOND, 1, one("tls"))
    deleted = state.forget()
    assert [value for _, value in deleted] == [None, None]
    late = state.absorb(SECOND, 2, one("tls"))
    assert (late.dropped, late.writes) == (1, [])


def test_a_part_of_very_many_groups_is_cut_to_the_heaviest_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("streams.core.windows.MAX_GROUPS", 3)
    assert MAX_GROUPS > 3
    top = STATISTICS["top_talkers"]
    state = PartitionWindows("flow", 0, [top], 0.0)
    for number in range(5):
        state.absorb(SECOND, number, {top.name: [((f"192.0.2.{number}",), (1, 1, number, 0, 0))]})
    (part,) = state.due(everything=True)
    assert (part.cut, [group for (group,) in part.groups]) == (2, ["192.0.2.4", "192.0.2.3", "192.0.2.2"])


class Cluster:
    """Source partitions, the merge's log and tables, with crashes: what was written survives, memory does not.

    A changelog is a prefix of what was written; `crash` keeps a random part of the last message's writes.
    """

    def __init__(self, partitions: int, draw: random.Random) -> None:
        self.draw = draw
        self.partitions = partitions
        self.tables: list[dict[bytes, bytes]] = [{} for _ in range(partitions)]
        self.merged: dict[bytes, bytes] = {}
        self.log: list[bytes] = []
        self.results: dict[tuple[int, int], Any] = {}
        self.start()

    def start(self) -> None:
        self.sources = [windows(p) for p in range(self.partitions)]
        for source, table in zip(self.sources, self.tables, strict=True):
            source.load(table.items())
        self.merger = Merger(0, {PROTOCOLS.name: PROTOCOLS}, self.partitions)
        self.merger.load(self.merged.items())

    def write(
        self, table: dict[bytes, bytes], writes: list[tuple[bytes, bytes | None]], *, crash: bool
    ) -> bool:
        kept = writes[: self.draw.randrange(len(writes) + 1)] if crash else writes
        for key, value in kept:
            if value is None:
                table.pop(key, None)
            else:
                table[key] = value
        return crash

    def take(self, partition: int, offset: int, event: Counts, *, crash: bool) -> bool:
        """One event; returns whether the worker crashed on it."""
        source, table = self.sources[partition], self.tables[partition]
        done = source.absorb(event[0], offset, one(event[1]))
        if self.write(table, done.writes, crash=crash and self.draw.random() < 0.5):
            return True
        if done.moved:
            self.hand_on(partition, idle=False)
            parts = source.due()
            if self.write(table, source.hand_on(parts), crash=crash):
                return True
            self.write(table, source.forget(), crash=False)
        return crash

    def hand_on(self, partition: int, *, idle: bool) -> None:
        source = self.sources[partition]
        self.log += [part_message(part, partition) for part in source.due(everything=idle)]
        self.log.append(mark_message("flow", partition, source.watermark.value, idle=idle))

    def merge(self, begin: int, *, crash: bool = False) -> None:
        """Read the log from an offset; with `crash` the last message's rows are lost in part."""
        for offset in range(begin, len(self.log)):
            step = self.merger.step(orjson.loads(self.log[offset]), offset)
            for result in step.results:
                key = (result.start_ns, result.revision)
                assert self.results.setdefault(key, result.groups) == result.groups
            self.write(self.merged, step.writes, crash=crash and offset == len(self.log) - 1)

    def final(self) -> dict[int, Any]:
        return {start: groups for (start, _), groups in sorted(self.results.items())}


MAX_CRASHES = 6  # each may take everything back to the beginning


def run(streams: list[list[Counts]], seed: int, crashes: float) -> dict[int, Any]:
    """All events of all partitions, in a random interleaving; after a crash from a random earlier offset."""
    draw = random.Random(seed)
    cluster = Cluster(len(streams), draw)
    position = [0] * len(streams)
    merged = crashed = 0
    while any(position[p] < len(events) for p, events in enumerate(streams)):
        partition = draw.choice([p for p, events in enumerate(streams) if position[p] < len(events)])
        offset = position[partition]
        position[partition] += 1
        crash = crashed < MAX_CRASHES and draw.random() < crashes
        if cluster.take(partition, offset, streams[partition][offset], crash=crash):
            crashed += 1
            cluster.start()
            position[partition] = offset
            position = [draw.randrange(place + 1) for place in position]
        if draw.random() < 0.3:
            cluster.merge(merged, crash=draw.random() < crashes)
            merged = len(cluster.log)
            if draw.random() < crashes:
                cluster.start()
                merged = draw.randrange(merged + 1)
    for partition in range(len(streams)):
        cluster.hand_on(partition, idle=True)
    cluster.start()
    cluster.merge(0)
    return cluster.final()


def expected(streams: list[list[Counts]]) -> dict[int, Any]:
    found: dict[int, dict[tuple[str, str], list[int]]] = defaultdict(dict)
    for time_ns, protocol in (event for events in streams for event in events):
        groups = found[time_ns // (10 * SECOND) * 10 * SECOND]
        groups[protocol, "tcp"] = [a + 1 for a in groups.get((protocol, "tcp"), [0, 0, 0])]
    return {
        start: sorted(
            ((group, tuple(amounts)) for group, amounts in groups.items()), key=lambda row: str(row[0])
        )
        for start, groups in sorted(found.items())
    }


events = st.lists(
    st.tuples(st.integers(0, 120 * SECOND), st.sampled_from(["tls", "dns", "http"])), max_size=25
)


@settings(max_examples=60, deadline=None)
@given(st.lists(events, min_size=1, max_size=4), st.integers(0, 2**32), st.sampled_from([0.0, 0.1, 0.4]))
def test_whatever_the_order_and_the_crashes_the_last_revisions_add_up(
    streams: list[list[Counts]], seed: int, crashes: float
) -> None:
    assert run(streams, seed, crashes) == expected(streams)


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
    assert (result.revision, result.groups) == (0, [(("tls", "tcp"), (1, 1, 1))])


def test_a_changed_part_of_a_closed_window_is_the_next_revision_and_the_same_part_is_none() -> None:
    state = merger(1)
    first, second = part(0, 0, 5), part(0, 0, 9)
    results = feed(state, first, mark(0, 20 * SECOND), first, second, second)
    assert [(r.revision, r.groups[0][1][2]) for r in results] == [(0, 5), (1, 9)]


def test_a_message_at_or_below_the_cursor_is_skipped() -> None:
    state = merger(1)
    assert len(feed(state, part(0, 0), mark(0, 20 * SECOND))) == 1
    assert feed(state, part(0, 0, 7), mark(0, 20 * SECOND)) == []


def test_a_part_for_a_forgotten_window_is_dropped_and_counted() -> None:
    state = merger(1)
    feed(state, part(0, 0), mark(0, 10_000 * SECOND))
    step = state.step(part(0, 0, 9), 2)
    assert (step.dropped, step.results) == (1, [])
