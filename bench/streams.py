"""Flow records a second through a windowed statistic: our worker against the same in plain Faust.

Both read the same stream from a local Kafka, made for the purpose: a process each, tables in RocksDB, offsets
committed every second. They are watched from outside, by the offsets they have committed. Then ours with ten and a
hundred times as many groups, and how long it takes to have its tables back from Kafka.
"""

import shutil
import sys
import time
import urllib.request
from functools import partial
from pathlib import Path
from typing import Any

import orjson
from confluent_kafka import KafkaError, KafkaException

from bench.support import plain_faust
from bench.support.flow_stream import Filled, Sums, fill
from bench.support.group import Side, best, measured
from bench.support.report import Options, Report, Row
from cockpit.changelog import Changelog
from cockpit.stack import Stack, up
from cockpit.stack.machine import choose_port
from cockpit.terminal import tell
from runtime.errors import NetflightError
from runtime.kafka import admin, delete_topics, ensure_topics
from runtime.settings import KafkaSettings, Settings
from schemas.events import NANOSECONDS
from schemas.topics import topic, topic_settings
from streams.app import app_id, declare_topics, internal_topics, parts_changelog
from streams.core.live import LiveWindows
from streams.core.statistics import load_statistics
from streams.rules_tools import RULES

EVENTS = 400_000
THEIR_SHARE = 5
"""Plain Faust is given the stream of one event in so many, over the same ten minutes: it takes as long for them."""
KEYS = (1, 10, 100)
STATISTIC = "traffic_by_protocol"
PARTITIONS = 4
_FREE_LATER = {
    KafkaError.NON_EMPTY_GROUP,
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
}
_FREE_SECONDS = _READY_SECONDS = 600.0


def run(options: Options) -> Report:
    """The ratio of events a second, ours to theirs, with both sides; ours by number of groups; its recovery."""
    events = options.events or EVENTS
    keys = {}
    with up("bench", ephemeral=True, servers=("kafka",), report=tell) as stack:
        kafka = KafkaSettings(bootstrap=stack.kafka_bootstrap, partitions=PARTITIONS)
        stream = _filled(kafka, _namespace(1), events, 1)
        part = _filled(kafka, "part", max(events // THEIR_SHARE, 1), 1)
        runs: tuple[list[dict[str, Any]], list[dict[str, Any]]] = [], []
        for number in range(options.runs):
            runs[0].append(_ours(stack, kafka, _namespace(1), stream))
            runs[1].append(_theirs(stack, kafka, part, number))
        ours, theirs = best(runs[0]), best(runs[1])
        keys["1"] = _of_keys(ours, stream)
        for factor in KEYS[1:]:
            stream = _filled(kafka, _namespace(factor), events, factor)
            more = [_ours(stack, kafka, _namespace(factor), stream) for _ in range(options.runs)]
            keys[str(factor)] = _of_keys(best(more), stream)
        recovery = _recovery(stack, _namespace(KEYS[-1]), more[-1]["changelog_rows"])
    figures = {
        "bench": "streams",
        "event_bytes": stream.event_bytes,
        "ratio": round(ours["events_per_second"] / theirs["events_per_second"], 2),
        "cpu_ratio": round(theirs["cpu_us_per_event"] / ours["cpu_us_per_event"], 2),
        "events_per_second": ours["events_per_second"],
        "ours": ours,
        "theirs": theirs,
        "keys": keys,
        "recovery": recovery,
    }
    return Report(f"streams: {STATISTIC} in windows of a minute", figures, _table(figures))


def _ours(stack: Stack, kafka: KafkaSettings, namespace: str, stream: Filled) -> dict[str, Any]:
    """One run of the worker from nothing: no offsets, no tables."""
    _forget(stack, kafka, namespace)
    tell(f"the worker, {stream.events:,} events, {stream.groups:,} rows to keep")
    side = Side(
        part="worker",
        argv=[sys.executable, "-m", "streams"],
        env=_worker_environment(namespace),
        group=app_id(namespace),
        topic=topic(namespace, "flow"),
        partitions=PARTITIONS,
        events=stream.events,
    )
    return measured(stack, kafka, side, partial(_our_rows, kafka, namespace, stream))


def _theirs(stack: Stack, kafka: KafkaSettings, stream: Filled, number: int) -> dict[str, Any]:
    """One run of plain Faust, with a group, a table and a folder of its own."""
    tell(f"plain Faust, {stream.events:,} events")
    ident = f"plain-{number}"
    folder = Path(stack.environment()["NETFLIGHT_STATE"]) / ident
    arguments = [ident, kafka.bootstrap, topic("part", "flow"), str(PARTITIONS), str(folder)]
    side = Side(
        part=ident,
        argv=[sys.executable, "-m", plain_faust.__name__, *arguments],
        env={},
        group=ident,
        topic=topic("part", "flow"),
        partitions=PARTITIONS,
        events=stream.events,
    )
    return measured(stack, kafka, side, partial(_their_rows, kafka, ident, stream))


def _our_rows(kafka: KafkaSettings, namespace: str, stream: Filled) -> dict[str, Any]:
    """The size of the changelog; raises NetflightError where its rows are not the sums."""
    windows = LiveWindows(load_statistics([RULES / "statistics"], 60, [STATISTIC]))
    changelog = Changelog(kafka, parts_changelog(namespace), "bench")
    for rows in changelog.until_now():
        for row in rows:
            windows.take(row.key, row.value)
    changelog.close()
    sums: Sums = {
        (window.start_ns, *group): tuple(values)
        for window in windows.windows(STATISTIC)
        for group, values in windows.ranking(window).groups
    }
    _compare("the worker", sums, stream.sums)
    return {"changelog_rows": changelog.rows, "changelog_bytes": changelog.bytes}


def _their_rows(kafka: KafkaSettings, ident: str, stream: Filled) -> dict[str, Any]:
    """As `_our_rows`: keys are `[[protocol, transport], [start, end]]`, each partition has its own."""
    changelog = Changelog(kafka, f"{ident}-{plain_faust.TABLE}-changelog", "bench")
    latest = {(row.partition, row.key): row.value for rows in changelog.until_now() for row in rows}
    changelog.close()
    sums: dict[tuple[int, str, str], tuple[int, ...]] = {}
    for (_, key), value in latest.items():
        (protocol, transport), (start, _) = orjson.loads(key)
        place = (round(start) * NANOSECONDS, protocol, transport)
        amounts = orjson.loads(value or b"[0, 0, 0]")
        sums[place] = tuple(a + b for a, b in zip(sums.get(place, (0, 0, 0)), amounts, strict=True))
    _compare("plain Faust", sums, stream.sums)
    return {"changelog_rows": changelog.rows, "changelog_bytes": changelog.bytes}


def _compare(who: str, got: Sums, wanted: Sums) -> None:
    if got != wanted:
        place = next(place for place in sorted({*got, *wanted}) if got.get(place) != wanted.get(place))
        raise NetflightError(
            f"{who} counted wrong: window {place[0] // NANOSECONDS}, {place[1]}/{place[2]}:"
            f" {got.get(place)} flows, packets and bytes, not {wanted.get(place)}"
        )


def _recovery(stack: Stack, namespace: str, rows: int) -> dict[str, Any]:
    """Start the worker without its tables; `seconds` from its start until it says that it is ready."""
    tell(f"the worker has its tables back from {rows:,} changelog rows")
    shutil.rmtree(_home(stack, namespace) / "0" / "faust", ignore_errors=True)
    port = choose_port(None, None, set(), "worker")
    began = time.monotonic()
    stack.spawn(
        "worker",
        [sys.executable, "-m", "streams"],
        {**_worker_environment(namespace), "NETFLIGHT_WORKER__WEB_PORT": str(port)},
    )
    try:
        while not _healthy(port):
            if time.monotonic() - began > _READY_SECONDS or not stack.part_alive("worker"):
                raise NetflightError("the worker is not ready", f"its log: {stack.log('worker')}")
            time.sleep(0.05)
        return {"rows": rows, "seconds": round(time.monotonic() - began, 3)}
    finally:
        stack.stop_part("worker")


def _healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _worker_environment(namespace: str) -> dict[str, str]:
    return {
        "NETFLIGHT_NAMESPACE": namespace,
        "NETFLIGHT_KAFKA__PARTITIONS": str(PARTITIONS),
        "NETFLIGHT_WORKER__LATENESS": "5",
        "NETFLIGHT_WORKER__WEB_PORT": "0",
        "NETFLIGHT_WORKER__STORE": "rocksdb",
        "NETFLIGHT_WORKER__STATISTICS": f'["{STATISTIC}"]',
        "NETFLIGHT_WORKER__DETECT": "false",
    }


def _filled(kafka: KafkaSettings, namespace: str, events: int, keys: int) -> Filled:
    """The topic of flows of a namespace with so many events in it."""
    name = topic(namespace, "flow")
    tell(f"publishing {events:,} events to {name}")
    ensure_topics(kafka, {name: topic_settings(namespace)[name]})
    return fill(kafka, name, events, keys=keys, namespace=namespace)


def _forget(stack: Stack, kafka: KafkaSettings, namespace: str) -> None:
    """Take away what a run before has left: the group's offsets, the worker's topics and its folder."""
    client, deadline = admin(kafka, "bench"), time.monotonic() + _FREE_SECONDS
    while True:
        (future,) = client.delete_consumer_groups([app_id(namespace)]).values()
        try:
            future.result()
            break
        except KafkaException as error:
            code = error.args[0].code()
            if code == KafkaError.GROUP_ID_NOT_FOUND:
                break
            if code not in _FREE_LATER or time.monotonic() > deadline:
                raise
            time.sleep(0.5)  # a member that keeps its place is gone when its session has ended
    delete_topics(kafka, internal_topics(namespace))
    shutil.rmtree(_home(stack, namespace), ignore_errors=True)
    declare_topics(Settings.load(namespace=namespace, kafka=kafka.model_dump()))


def _home(stack: Stack, namespace: str) -> Path:
    return Path(stack.environment()["NETFLIGHT_STATE"]) / "worker" / namespace


def _namespace(factor: int) -> str:
    return f"keys{factor}"


def _of_keys(figures: dict[str, Any], stream: Filled) -> dict[str, Any]:
    names = ("events_per_second", "cpu_us_per_event", "rss_bytes", "changelog_rows", "changelog_bytes")
    return {"rows": stream.groups, **{name: figures[name] for name in names}}


def _table(figures: dict[str, Any]) -> list[Row]:
    ours, theirs, recovery = figures["ours"], figures["theirs"], figures["recovery"]
    rows = [
        Row(
            "events/s",
            f"{ours['events_per_second']:,}",
            f"{theirs['events_per_second']:,}",
            f"{figures['ratio']:.1f}",
        ),
        Row(
            "processor time per event, µs",
            f"{ours['cpu_us_per_event']:.1f}",
            f"{theirs['cpu_us_per_event']:.1f}",
            f"{figures['cpu_ratio']:.1f}",
        ),
        Row(
            "most resident memory, MiB", *(f"{side['rss_bytes'] / (1 << 20):.0f}" for side in (ours, theirs))
        ),
    ]
    for factor, found in figures["keys"].items():
        told = f"{found['rows']:,} rows ({factor} times the groups), events/s"
        rows.append(Row(told, f"{found['events_per_second']:,}"))
    rows.append(Row(f"tables back from {recovery['rows']:,} rows, seconds", f"{recovery['seconds']:.1f}"))
    return rows
