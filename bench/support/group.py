"""How fast a consumer group works a topic off, seen from outside: committed offsets, /proc of its one process."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition

from cockpit.stack import Stack
from cockpit.stack.process import tail
from runtime.errors import NetflightError
from runtime.kafka import consumer
from runtime.settings import KafkaSettings

WARM_SHARE = 0.1  # start-up does not count: the clock runs from the first commit after this share
_LOOK_SECONDS = 0.1
_STUCK_SECONDS = 120.0
_ANSWER_SECONDS = 10.0
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Side:
    """A process of a stack (`part`, `argv`, `env`) that reads `events` events of a topic as `group`."""

    part: str
    argv: list[str]
    env: dict[str, str]
    group: str
    topic: str
    partitions: int
    events: int


@dataclass(frozen=True)
class _Sample:
    at: float
    committed: int
    cpu_seconds: float


def measured(
    stack: Stack, kafka: KafkaSettings, side: Side, checked: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """Run a side until it has committed every event; its figures and those of `checked`, called when it has ended.

    `seconds` and `events` are those from the first commit after a tenth of the events to the last. Raises
    NetflightError with the last lines of its log where it ends early or does not get on.
    """
    pid = stack.spawn(side.part, side.argv, side.env)
    try:
        first, last = _watch(stack, kafka, side, pid)
        peak = _status(pid, "VmHWM")
    finally:
        stack.stop_part(side.part)
    seconds, events = last.at - first.at, last.committed - first.committed
    return {
        "seconds": round(seconds, 3),
        "events": events,
        "events_per_second": round(events / seconds),
        "cpu_us_per_event": round((last.cpu_seconds - first.cpu_seconds) / events * 1e6, 2),
        "rss_bytes": peak,
        **checked(),
    }


def best(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The figures of the fastest run, with the seconds and rates of all."""
    fastest = max(runs, key=lambda figures: float(figures["events_per_second"]))
    return {
        **fastest,
        "runs": [{name: run[name] for name in ("seconds", "events_per_second")} for run in runs],
    }


def _watch(stack: Stack, kafka: KafkaSettings, side: Side, pid: int) -> tuple[_Sample, _Sample]:
    client = consumer(kafka, side.group, "bench-watch")
    places = [TopicPartition(side.topic, number) for number in range(side.partitions)]
    first: _Sample | None = None
    before, moved = 0, time.monotonic()
    try:
        while True:
            if not stack.part_alive(side.part):
                raise NetflightError(f"{side.part} has ended early:\n{tail(stack.log(side.part))}")
            sample = _Sample(time.monotonic(), max(before, committed(client, places)), _cpu_seconds(pid))
            if sample.committed != before:
                before, moved = sample.committed, sample.at
                if first is None and sample.committed >= side.events * WARM_SHARE:
                    first = sample
                if first is not None and sample.committed >= side.events:
                    if first is sample:
                        raise NetflightError(
                            f"{side.part}: all {side.events:,} events were in one commit",
                            "measure more: --events",
                        )
                    return first, sample
            if sample.at - moved > _STUCK_SECONDS:
                raise NetflightError(
                    f"{side.part}: {before:,} of {side.events:,} events were committed, and for"
                    f" {_STUCK_SECONDS:.0f} s none more:\n{tail(stack.log(side.part))}"
                )
            time.sleep(_LOOK_SECONDS)
    finally:
        client.close()


def committed(client: Consumer, places: list[TopicPartition]) -> int:
    """How many messages of the partitions a group is done with; 0 while it has no coordinator yet."""
    try:
        return sum(max(place.offset, 0) for place in client.committed(places, timeout=_ANSWER_SECONDS))
    except KafkaException:
        return 0


def _cpu_seconds(pid: int) -> float:
    """User and system time of a process, in seconds (proc(5), /proc/PID/stat fields 14 and 15)."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _status(pid: int, name: str) -> int:
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(fields[name].split()[0]) * 1024
