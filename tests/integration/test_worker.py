"""The worker as a process on a real Kafka: alerts, statistics, dead letters, and SIGKILL in the middle."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from runtime.kafka import consumer, producer
from runtime.settings import KafkaSettings, Settings
from schemas.events import NANOSECONDS, event_id, get, timestamp
from schemas.topics import DEAD_LETTERS, ERROR_MESSAGE, ERROR_OFFSET, ERROR_STAGE, topic
from streams.app import declare_topics
from tests.waiting import PATIENCE

ROOT = Path(__file__).resolve().parents[2]
START = 1_700_000_000 * NANOSECONDS
WINDOW = 10
Document = dict[str, Any]


def envelope(dataset: str, ident: str, time_ns: int, fields: Document) -> Document:
    return {
        "@timestamp": timestamp(time_ns),
        "event": {"id": ident, "dataset": dataset, "kind": "event"},
        "data_stream": {"type": "logs", "dataset": dataset, "namespace": "default"},
        "observer": {"name": "sensor-1"},
        **fields,
    }


def flows(count: int, seed: int, start: int = START) -> list[tuple[int, Document]]:
    """Flows over five minutes from `start`, three seconds out of order, some of them interim records."""
    draw = random.Random(seed)
    found = []
    for number in range(count):
        time_ns = start + int(number / count * 300 * NANOSECONDS) + draw.randrange(3 * NANOSECONDS)
        sent, received = draw.randrange(60, 5000), draw.randrange(60, 90_000)
        fields = {
            "source": {"ip": f"192.0.2.{draw.randrange(1, 30)}", "port": 50_000, "bytes": sent, "packets": 3},
            "destination": {
                "ip": f"198.51.100.{draw.randrange(1, 9)}",
                "port": 443,
                "bytes": received,
                "packets": 4,
            },
            "network": {
                "transport": draw.choice(["tcp", "udp"]),
                "protocol": draw.choice(["tls", "dns", "http"]),
                "direction": draw.choice(["inbound", "outbound"]),
                "bytes": sent + received,
                "packets": 7,
            },
            "flow": {"id": str(number), "final": draw.random() < 0.9},
            "netflight": {"flow": {"state": draw.choice(["SF", "S0"]), "missed_bytes": draw.randrange(100)}},
        }
        if draw.random() < 0.1:
            del fields["network"]["protocol"]
        dataset = "network_traffic.flow"
        found.append(
            (time_ns, envelope(dataset, event_id(dataset, str(seed), time_ns, number), time_ns, fields))
        )
    return found


def expected(events: list[tuple[int, Document]]) -> dict[tuple[str, str], dict[str, tuple[int, ...]]]:
    """What the statistics must say, added up in one go: by dataset and window, then by group."""
    size = WINDOW * NANOSECONDS
    found: dict[tuple[str, str], dict[str, list[int]]] = defaultdict(dict)
    for time_ns, event in events:
        if not event["flow"]["final"]:
            continue
        start = timestamp(time_ns // size * size)
        total, packets = event["network"]["bytes"], event["network"]["packets"]
        ends = (event["source"], event["destination"])
        adds: list[tuple[str, str, list[int]]] = [
            (
                "netflight.traffic_by_protocol",
                f"{event['network'].get('protocol', 'unknown')}/{event['network']['transport']}",
                [1, packets, total],
            ),
            *(
                ("netflight.top_talkers", one["ip"], [1, packets, total, one["bytes"], other["bytes"]])
                for one, other in (ends, ends[::-1])
            ),
        ]
        for dataset, group, amounts in adds:
            groups = found[dataset, start]
            groups[group] = [a + b for a, b in zip(groups.get(group, [0] * 5), amounts, strict=False)]
    best: dict[tuple[str, str], dict[str, tuple[int, ...]]] = {}
    for (dataset, start), groups in found.items():
        rows = sorted(groups.items(), key=lambda item: (-item[1][2], f"('{item[0]}',)"))
        top = rows[:10] if dataset.endswith("talkers") else rows
        best[dataset, start] = {group: tuple(amounts) for group, amounts in top}
    return best


def latest(events: list[Document]) -> dict[tuple[str, str], dict[str, tuple[int, ...]]]:
    """The newest revision of each window, in the form of `expected`."""
    newest: dict[tuple[str, str], int] = defaultdict(int)
    for event in events:
        key = (event["event"]["dataset"], event["netflight"]["window"]["start"])
        newest[key] = max(newest[key], event["netflight"]["window"]["revision"])
    found: dict[tuple[str, str], dict[str, tuple[int, ...]]] = defaultdict(dict)
    for event in events:
        key = (event["event"]["dataset"], event["netflight"]["window"]["start"])
        if event["netflight"]["window"]["revision"] != newest[key]:
            continue
        names = ["netflight.flows", "network.packets", "network.bytes"]
        if key[0].endswith("talkers"):
            group = event["host"]["ip"][0]
            names += ["source.bytes", "destination.bytes"]
        else:
            group = f"{event['network']['protocol']}/{event['network']['transport']}"
        found[key][group] = tuple(get(event, name) for name in names)
    return dict(found)


def publish(kafka: KafkaSettings, name: str, events: list[Document]) -> None:
    client = producer(kafka, "test")
    for event in events:
        client.produce(name, orjson.dumps(event), key=event["source"]["ip"].encode())
        client.poll(0)
    assert client.flush(30) == 0


def evidence(alert: Document) -> Any:
    return get(alert, "netflight.alert.event.id")


class Reader:
    """Everything that comes to a topic, from its beginning."""

    def __init__(self, kafka: KafkaSettings, name: str) -> None:
        self.client = consumer(kafka, f"test-{name}-{time.time_ns()}", "test")
        self.client.subscribe([name])
        self.messages: list[Any] = []
        self.events: list[Document] = []

    def until(self, done: Callable[[], bool]) -> None:
        """Read until `done`, which is asked when something has come, or the time is up."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            new = [message for message in self.client.consume(10_000, 0.5) if message.error() is None]
            self.messages += new
            self.events += [orjson.loads(m.value()) for m in new if m.value()[:1] == b"{"]
            if new and done():
                return


@pytest.fixture
def settings(kafka: KafkaSettings, namespace: str, tmp_path: Path) -> Settings:
    found = Settings(namespace=namespace, kafka=kafka, state=tmp_path)
    declare_topics(found)
    return found


def start_worker(
    settings: Settings,
    store: str = "rocksdb",
    statistics: Sequence[str] = ("traffic_by_protocol", "top_talkers"),
    told: int | None = None,
) -> subprocess.Popen[bytes]:
    kafka = settings.kafka
    environment = {
        **os.environ,
        "NETFLIGHT_NAMESPACE": settings.namespace,
        "NETFLIGHT_STATE": str(settings.state),
        "NETFLIGHT_KAFKA__BOOTSTRAP": kafka.bootstrap,
        "NETFLIGHT_KAFKA__PARTITIONS": str(kafka.partitions),
        "NETFLIGHT_WORKER__WINDOW": str(WINDOW),
        "NETFLIGHT_WORKER__LATENESS": "5",
        "NETFLIGHT_WORKER__IDLE_CLOSE": "1.5",
        "NETFLIGHT_WORKER__WEB_PORT": "0",
        "NETFLIGHT_WORKER__STORE": store,
        "NETFLIGHT_WORKER__STATISTICS": json.dumps(statistics),
    }
    return subprocess.Popen([sys.executable, "-m", "streams"], cwd=ROOT, env=environment, stderr=told)


@contextmanager
def worker(settings: Settings) -> Iterator[subprocess.Popen[bytes]]:
    process = start_worker(settings)
    try:
        yield process
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def test_events_become_alerts_and_statistics_and_malformed_ones_dead_letters(settings: Settings) -> None:
    name = settings.namespace
    events = flows(2_000, seed=1)
    publish(settings.kafka, topic(name, "flow"), [event for _, event in events])
    query = envelope(
        "network_traffic.dns",
        "abc",
        START,
        {
            "source": {"ip": "192.0.2.1", "port": 5353},
            "destination": {"ip": "192.0.2.53", "port": 53},
            "dns": {"question": {"name": f"{'a' * 60}.{'b' * 60}.example.com", "type": "A"}},
        },
    )
    publish(settings.kafka, topic(name, "dns"), [query])
    broken = [b"\xff not json", b"[1,2]", b'{"event":{"id":"x","dataset":"network_traffic.dns"}}']
    client = producer(settings.kafka, "test")
    for value in broken:
        client.produce(topic(name, "dns"), value, key=b"192.0.2.9")
    client.flush(10)

    want = expected(events)
    statistics = Reader(settings.kafka, topic(name, "stats"))
    alerts = Reader(settings.kafka, topic(name, "alerts"))
    letters = Reader(settings.kafka, topic(name, DEAD_LETTERS))
    with worker(settings):
        statistics.until(lambda: latest(statistics.events) == want)
        letters.until(lambda: len(letters.messages) >= len(broken))
        alerts.until(lambda: any(evidence(e) == ["abc"] for e in alerts.events))

    assert latest(statistics.events) == want
    assert sorted(m.value() for m in letters.messages) == sorted(broken)
    assert {m.key() for m in letters.messages} == {b"192.0.2.9"}
    headers = [dict(m.headers()) for m in letters.messages]
    assert {h[ERROR_STAGE] for h in headers} == {b"worker"}
    assert all(h[ERROR_OFFSET].isdigit() and h[ERROR_MESSAGE] for h in headers)
    (alert,) = [e for e in alerts.events if evidence(e) == ["abc"]]
    assert alert["dns"] == query["dns"]
    assert alert["@timestamp"] == query["@timestamp"]
    assert {m.key() for m in alerts.messages if orjson.loads(m.value()) == alert} == {b"192.0.2.1"}
    ids = [dict(message.headers())["ce_id"].decode() for message in alerts.messages]
    assert ids == [get(event, "event.id") for event in alerts.events]


def test_a_worker_with_an_empty_disk_goes_on_from_the_changelog_and_says_so(settings: Settings) -> None:
    name = settings.namespace
    events = flows(3_000, seed=5)
    want = expected(events)
    statistics = Reader(settings.kafka, topic(name, "stats"))
    half = len(events) // 2
    publish(settings.kafka, topic(name, "flow"), [event for _, event in events[:half]])
    with worker(settings):
        statistics.until(lambda: len(latest(statistics.events)) > len(want) // 3)
    shutil.rmtree(settings.state / "worker")
    process = start_worker(settings, told=subprocess.PIPE)
    try:
        publish(settings.kafka, topic(name, "flow"), [event for _, event in events[half:]])
        statistics.until(lambda: latest(statistics.events) == want)
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=60)
    finally:
        process.kill()
    assert latest(statistics.events) == want
    said = re.findall(r"([\d,]+) rows of tables read from the changelogs in [\d.]+ s", told.decode())
    assert said
    assert int(said[0].replace(",", "")) > 100


def test_killed_at_any_time_a_worker_without_a_disk_ends_with_the_same_windows(settings: Settings) -> None:
    name = settings.namespace
    draw = random.Random(7)
    events = flows(6_000, seed=2)
    want = expected(events)
    statistics = Reader(settings.kafka, topic(name, "stats"))
    step = len(events) // 4
    process = start_worker(settings, "memory")
    try:
        for begin in range(0, len(events), step):
            publish(settings.kafka, topic(name, "flow"), [event for _, event in events[begin : begin + step]])
            if begin + step < len(events):
                time.sleep(draw.uniform(2.5, 4.5))
                assert process.poll() is None
                process.kill()
                assert process.wait() == -signal.SIGKILL
                process = start_worker(settings, "memory")
        statistics.until(lambda: latest(statistics.events) == want)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
    got = latest(statistics.events)
    assert {key: (got.get(key), want[key]) for key in want if got.get(key) != want[key]} == {}
    by_id: dict[str, Document] = {}
    for event in statistics.events:
        event["event"].pop("created")
        assert by_id.setdefault(event["event"]["id"], event) == event
