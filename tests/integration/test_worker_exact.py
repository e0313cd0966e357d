"""Exactness: workers killed again and again in the middle of 200,000 events, against a run in which nothing happens."""

import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from confluent_kafka import TopicPartition

from bench.support.group import committed
from runtime.kafka import consumer, producer
from runtime.settings import KafkaSettings, Settings
from schemas.events import NANOSECONDS
from schemas.topics import topic
from streams.app import app_id, declare_topics
from tests.integration.test_worker import Document, Reader, expected, flows, latest, start_worker
from tests.waiting import PATIENCE

EVENTS = 200_000
KILLS = 10
STATISTICS = (
    "traffic_by_protocol",
    "top_talkers",
    "traffic_by_pair",
    "traffic_by_direction",
    "new_services",
    "usage_by_direction",
    "capture_loss",
)
Rows = dict[tuple[str, str, str], dict[str, Any]]


@pytest.fixture(scope="module")
def events() -> list[tuple[int, Document]]:
    return flows(EVENTS, seed=3)


def rows(results: list[Document]) -> Rows:
    """The result of every window and group: its newest revision, without what tells one run from another."""
    newest: dict[tuple[str, str], int] = {}
    for event in results:
        window = event["netflight"]["window"]
        place = (event["netflight"]["statistic"], window["start"])
        newest[place] = max(newest.get(place, 0), window["revision"])
    found: Rows = {}
    for event in results:
        told = orjson.loads(orjson.dumps(event))
        window = told["netflight"]["window"]
        place = (told["netflight"]["statistic"], window["start"])
        if window.pop("revision") != newest[place] or window.get("retracted"):
            continue
        del told["event"]["created"], told["event"]["id"], told["data_stream"]["namespace"]
        statistic = told["netflight"]["statistic"]
        group = orjson.dumps(
            [told.get(name) for name in ("host", "source", "destination", "network", "observer")],
            option=orjson.OPT_SORT_KEYS,
        )
        found[statistic, window["start"], group.decode()] = told
    return found


class Workers:
    """One or more workers of a namespace, that can be killed; a killed one is started again."""

    def __init__(self, settings: Settings, count: int) -> None:
        self._settings = settings
        self._running = [self._start() for _ in range(count)]

    def _start(self) -> subprocess.Popen[bytes]:
        return start_worker(self._settings, statistics=STATISTICS)

    def kill(self, draw: random.Random) -> None:
        """SIGKILL one of them, and start it again."""
        place = draw.randrange(len(self._running))
        process = self._running[place]
        assert process.poll() is None
        process.kill()
        assert process.wait() == -signal.SIGKILL
        self._running[place] = self._start()

    def join(self) -> None:
        """One more comes."""
        self._running.append(self._start())

    def leave(self) -> None:
        """The newest goes, as it is stopped."""
        _stop([self._running.pop()])

    def stop(self) -> None:
        _stop(self._running)

    def end(self) -> None:
        for process in self._running:
            if process.poll() is None:
                process.kill()
                process.wait()


def _stop(processes: list[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.send_signal(signal.SIGTERM)
    assert {process.wait(60) for process in processes} <= {
        0,
        -signal.SIGTERM,
    }  # the latter: it had just begun


@contextmanager
def publishing(
    kafka: KafkaSettings, name: str, events: list[tuple[int, Document]], rate: float
) -> Iterator[None]:
    """Events go to a topic in a thread of their own, at so many a second."""

    def publish() -> None:
        client, began = producer(kafka, "test"), time.monotonic()
        for number, (_, event) in enumerate(events):
            client.produce(name, orjson.dumps(event), key=event["source"]["ip"].encode())
            if number % 500 == 0:
                client.poll(0)
                time.sleep(max(0.0, began + number / rate - time.monotonic()))
        assert client.flush(60) == 0

    thread = threading.Thread(target=publish, daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def play(
    kafka: KafkaSettings,
    state: Path,
    namespace: str,
    events: list[tuple[int, Document]],
    disturb: Callable[[Workers], None],
    *,
    workers: int = 1,
    rate: float = 1e9,
    until: Callable[[Rows], bool],
) -> list[Document]:
    """Everything that comes out of workers for the events, read until it is what is wanted, or for two minutes."""
    settings = Settings(namespace=namespace, kafka=kafka, state=state)
    declare_topics(settings)
    statistics = Reader(kafka, topic(namespace, "stats"))
    running = Workers(settings, workers)
    try:
        with publishing(kafka, topic(namespace, "flow"), events, rate):
            disturb(running)
        statistics.until(lambda: until(rows(statistics.events)))
        running.stop()
    finally:
        running.end()
    statistics.client.close()
    return statistics.events


@pytest.fixture(scope="module")
def undisturbed(
    stack: Any, events: list[tuple[int, Document]], tmp_path_factory: pytest.TempPathFactory
) -> Rows:
    """What comes out of one worker that nothing happens to; what can be added up by hand is."""
    want = expected(events)
    results = play(
        KafkaSettings(bootstrap=stack.kafka_bootstrap),
        tmp_path_factory.mktemp("undisturbed"),
        "exact_undisturbed",
        events,
        lambda _workers: None,
        until=lambda found: by_hand(found) == want and len({name for name, _, _ in found}) == len(STATISTICS),
    )
    assert by_hand(rows(results)) == want
    return rows(results)


def by_hand(found: Rows) -> Any:
    """The rows of the statistics that `expected` adds up, in its form."""
    told = [event for (name, _, _), event in found.items() if name in {"traffic_by_protocol", "top_talkers"}]
    for event in told:
        event["netflight"]["window"]["revision"] = 0
    result = latest(told)
    for event in told:
        del event["netflight"]["window"]["revision"]
    return result


def test_a_capture_of_2010_gives_the_same_rows_at_once_as_on_its_day(
    kafka: KafkaSettings, namespace: str, tmp_path: Path
) -> None:
    events = flows(4_000, seed=4, start=1_262_304_000 * NANOSECONDS)
    want = expected(events)
    found = [
        rows(
            play(
                kafka,
                tmp_path / name,
                f"{namespace[:50]}_{name}",
                events,
                lambda _workers: None,
                rate=rate,
                until=lambda found: by_hand(found) == want,
            )
        )
        for name, rate in (("day", 200.0), ("replay", 1e9))
    ]
    assert by_hand(found[0]) == want
    assert found[0] == found[1]


@pytest.mark.parametrize("workers", [1, 2])
def test_killed_ten_times_and_joined_for_a_while_workers_end_with_every_row_of_an_undisturbed_run(  # noqa: PLR0917  # fixtures
    kafka: KafkaSettings,
    namespace: str,
    tmp_path: Path,
    events: list[tuple[int, Document]],
    undisturbed: Rows,
    workers: int,
) -> None:
    draw = random.Random(workers)

    def disturb(running: Workers) -> None:
        group = consumer(kafka, app_id(namespace), "test")
        flow = topic(namespace, "flow")
        places = [TopicPartition(flow, number) for number in range(kafka.partitions)]
        done = committed(group, places)
        for number in range(KILLS):
            if number == KILLS // 2:
                running.join()
            if number == KILLS // 2 + 3:
                running.leave()
            deadline = time.monotonic() + PATIENCE
            while (now := committed(group, places)) == done:  # it would be killed before it has begun
                assert time.monotonic() < deadline, "no event was worked on"
                time.sleep(0.1)
            done = now
            time.sleep(draw.uniform(0.0, 1.5))
            running.kill(draw)
        group.close()

    results = play(
        kafka,
        tmp_path,
        namespace,
        events,
        disturb,
        workers=workers,
        rate=EVENTS / 60,
        until=lambda found: found == undisturbed,
    )
    found = rows(results)
    differing = {
        place: (found.get(place), row) for place, row in undisturbed.items() if found.get(place) != row
    }
    assert differing == {}
    assert found.keys() == undisturbed.keys()
