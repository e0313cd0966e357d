"""Statistics made by hand, and a cluster in memory that counts, merges, crashes and reads again."""

import random
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from schemas.events import NANOSECONDS, Event
from schemas.model import datasets
from streams.core.measures import Measures, MeasureSpec, compile_measures
from streams.core.merge import Merger, Step, mark_message, merge_partition, part_message
from streams.core.shapes import WindowSpec
from streams.core.statistics import Baseline, Counted, Group, Statistic, Top
from streams.core.windows import Part, PartitionWindows, Taken, Write

if TYPE_CHECKING:
    from streams.core.results import Result

SECOND = NANOSECONDS
LONG = 10_000.0
"""A grace that nothing in a test is later than."""
MAX_CRASHES = 6
"""Each may take everything back to the beginning."""


class Seen(NamedTuple):
    """An event: its time, the group it counts for, a number and a name to measure."""

    time_ns: int
    group: str
    size: int = 1
    peer: str | None = None

    def event(self) -> Event:
        return {"group": self.group, "size": self.size, "peer": self.peer}


def measures(**declared: Any) -> Measures:
    return compile_measures({name: MeasureSpec.model_validate(spec) for name, spec in declared.items()})


def statistic(
    window: Any,
    *,
    grace: float = LONG,
    top: Top | None = None,
    forget: float = 0.0,
    baseline: Baseline | None = None,
    **declared: Any,
) -> Statistic:
    """A statistic of `Seen` events by group."""
    compiled = measures(**(declared or {"count": "count", "size": {"sum": "size"}}))

    def count(event: Event) -> Counted:
        values = tuple(None if name is None else event[name] for name in compiled.inputs)
        return (((event["group"],), values),)

    known = datasets()
    return Statistic(
        name="made",
        dataset=known["flow"],
        emits=known["traffic_by_protocol"],
        shape=WindowSpec.model_validate(window).shape(),
        grace_ns=round(grace * SECOND),
        groups=("group",),
        measures=compiled,
        top=top,
        forget_ns=round(forget * SECOND),
        baseline=baseline,
        count=count,
    )


def absorbed(state: PartitionWindows, event: Event, time_ns: int, offset: int) -> Taken:
    done = Taken()
    state.absorb(event, time_ns, offset, done)
    return done


def taken_in(statistic: Statistic, events: Iterable[Seen]) -> tuple[PartitionWindows, list[Write]]:
    """A partition's windows after some events, and the rows that they wrote."""
    state = PartitionWindows("flow", 0, [statistic], 0.0)
    for offset, seen in enumerate(events):
        absorbed(state, seen.event(), seen.time_ns, offset)
    return state, state.flush()[0]


Told = dict[tuple[int, int, Group], tuple[list[Any], dict[str, Any]]]
"""What was told last: by start, end and group of a window the values and what was said beside them."""


@dataclass
class Faults:
    """How often something goes wrong, and how many events are in a batch at most."""

    crashes: float = 0.0
    batch: int = 1


class Cluster:
    """Source partitions, the merge's log and tables, with crashes: what was written survives, memory does not.

    A changelog is a prefix of what was written; a crash keeps a random part of the last batch's writes, and another
    random part of what that batch sent to the log. Rows that say what was handed on, and the end of rows, are written
    when all of a batch's rows and messages are safe, which may be some batches later.
    """

    def __init__(self, statistic: Statistic, partitions: int, draw: random.Random, mergers: int = 1) -> None:
        self.statistic, self.draw = statistic, draw
        self.tables: list[dict[bytes, bytes]] = [{} for _ in range(partitions)]
        self.merged: list[dict[bytes, bytes]] = [{} for _ in range(mergers)]
        self.logs: list[list[bytes]] = [[] for _ in range(mergers)]
        self.results: dict[tuple[int, Group | None, int], Result] = {}
        self.late = self.dropped = 0
        self.start()
        self.start_mergers()

    def start(self) -> None:
        self.sources = [
            PartitionWindows("flow", number, [self.statistic], 5.0) for number in range(len(self.tables))
        ]
        self.deferred: list[list[list[Write]]] = [[] for _ in self.tables]
        for source, table in zip(self.sources, self.tables, strict=True):
            source.load(shuffled(self.draw, table))

    def start_mergers(self) -> None:
        self.mergers = [
            Merger(number, {self.statistic.name: self.statistic}, len(self.tables))
            for number in range(len(self.merged))
        ]
        for merger, table in zip(self.mergers, self.merged, strict=True):
            merger.load(shuffled(self.draw, table))

    def prefix(self, items: list[Any]) -> list[Any]:
        return items[: self.draw.randrange(len(items) + 1)]

    def take(self, partition: int, offset: int, events: list[Seen], *, crash: bool = False) -> None:
        """A batch of one partition; with `crash` it is the last thing that happens."""
        source, table = self.sources[partition], self.tables[partition]
        done = Taken()
        for place, seen in enumerate(events):
            source.absorb(seen.event(), seen.time_ns, offset + place, done)
        self.late, self.dropped = self.late + done.late, self.dropped + done.dropped
        rows, moved = source.flush()
        due = source.due() if moved else []
        messages = self.messages(partition, due, idle=False) if moved else []
        after = source.hand_on(due) + source.forget() if moved else []
        if crash and self.draw.random() < 0.6:
            write(table, self.prefix(rows))
            self.send(self.prefix(messages))
            return
        write(table, rows)
        self.send(messages)
        self.deferred[partition].append(after)
        waits = self.draw.randrange(3) if self.draw.random() < 0.3 else 0
        while len(self.deferred[partition]) > waits:
            after = self.deferred[partition].pop(0)
            write(table, self.prefix(after) if crash else after)
            if crash:
                return

    def hand_on(self, partition: int, *, idle: bool) -> None:
        source, table = self.sources[partition], self.tables[partition]
        for after in self.deferred[partition]:
            write(table, after)
        self.deferred[partition].clear()
        due = source.due(everything=idle)
        self.send(self.messages(partition, due, idle=idle))
        write(table, source.hand_on(due) + source.forget())

    def messages(self, partition: int, due: list[Part], *, idle: bool) -> list[tuple[int, bytes]]:
        found = [
            (
                zlib.crc32(merge_partition(self.statistic, part.start_ns).encode()) % len(self.logs),
                part_message(part, partition),
            )
            for part in due
        ]
        mark = mark_message("flow", partition, self.sources[partition].watermark.value, idle=idle)
        return found + [(number, mark) for number in range(len(self.logs))]

    def send(self, messages: list[tuple[int, bytes]]) -> None:
        for number, message in messages:
            self.logs[number].append(message)

    def merge(self, number: int, begin: int, *, crash: bool = False) -> int:
        """Read a log from an offset in batches; with `crash` the last batch's rows are lost in part.

        Returns the offset up to which rows are written.
        """
        log = self.logs[number]
        safe = begin
        while begin < len(log):
            end = min(begin + self.draw.randrange(1, 6), len(log))
            writes: list[Write] = []
            for offset in range(begin, end):
                step = self.mergers[number].step(orjson.loads(log[offset]), offset)
                self.publish(step)
                writes += step.writes
            lost = crash and end == len(log)
            write(self.merged[number], self.prefix(writes) if lost else writes)
            safe, begin = safe if lost else end, end
        return safe

    def publish(self, step: Step) -> None:
        self.dropped += step.dropped
        for result in step.results:
            told = [row.group for row in result.rows] + result.retracted
            group = None if self.statistic.shape.aligned else told[0]
            known = self.results.setdefault((result.start_ns, group, result.revision), result)
            assert known == result, "a revision says the same whenever it is told"

    def told(self) -> Told:
        """The last revision of each window."""
        last: dict[tuple[int, Group | None], Result] = {}
        for (start, group, _), result in sorted(self.results.items(), key=lambda item: item[0][2]):
            last[start, group] = result
        return {
            (result.start_ns, result.end_ns, row.group): (row.values, row.beside)
            for result in last.values()
            for row in result.rows
        }


def run(cluster: Cluster, streams: list[list[Seen]], faults: Faults) -> Told:
    """All events of all partitions, in a random interleaving; after a crash from a random earlier offset."""
    draw = cluster.draw
    position = [0] * len(streams)
    merged = [0] * len(cluster.logs)
    crashed = 0
    while any(position[p] < len(events) for p, events in enumerate(streams)):
        partition = draw.choice([p for p, events in enumerate(streams) if position[p] < len(events)])
        offset = position[partition]
        batch = streams[partition][offset : offset + draw.randrange(faults.batch) + 1]
        crash = crashed < MAX_CRASHES and draw.random() < faults.crashes
        cluster.take(partition, offset, batch, crash=crash)
        position[partition] += len(batch)
        if crash:
            crashed += 1
            cluster.start()
            position[partition] = offset
            position = [draw.randrange(place + 1) for place in position]
        elif draw.random() < 0.1:
            cluster.hand_on(partition, idle=True)
        for number in range(len(merged)):
            if draw.random() < 0.3:
                crash = draw.random() < faults.crashes
                merged[number] = cluster.merge(number, merged[number], crash=crash)
                if crash:
                    cluster.start_mergers()
                    merged = [draw.randrange(place + 1) for place in merged]
    for partition in range(len(streams)):
        cluster.hand_on(partition, idle=True)
    if faults.crashes:
        cluster.start_mergers()
        merged = [0] * len(merged)
    for number, begin in enumerate(merged):
        cluster.merge(number, begin)
    return cluster.told()


def shuffled(draw: random.Random, table: Mapping[bytes, bytes]) -> list[tuple[bytes, bytes]]:
    rows = list(table.items())
    draw.shuffle(rows)
    return rows


def write(table: dict[bytes, bytes], writes: Iterable[Write]) -> None:
    for key, value in writes:
        if value is None:
            table.pop(key, None)
        else:
            table[key] = value


def drive(cluster: Cluster, streams: list[list[Seen]]) -> None:
    """All events of all partitions into the log, in a random interleaving without crashes; then time goes far on."""
    draw = cluster.draw
    position = [0] * len(streams)
    while any(position[p] < len(events) for p, events in enumerate(streams)):
        partition = draw.choice([p for p, events in enumerate(streams) if position[p] < len(events)])
        begin = position[partition]
        batch = streams[partition][begin : begin + draw.randrange(1, 5)]
        cluster.take(partition, begin, batch)
        position[partition] += len(batch)
        if draw.random() < 0.05:
            cluster.hand_on(partition, idle=True)
    for partition in range(len(streams)):
        cluster.hand_on(partition, idle=True)
    far = round(2 * LONG) * SECOND
    for time_ns in (far, 2 * far):
        for partition in range(len(streams)):
            cluster.send([(0, mark_message("flow", partition, time_ns, idle=False))])
