"""What the tests of sinks share: publishing as the producer does, running a sink to its end, looking what arrived."""

import threading
import time
from collections.abc import Iterable
from typing import Any

import orjson

from runtime.kafka import ensure_topics, producer
from runtime.settings import ElasticsearchSettings, KafkaSettings, Settings
from runtime.telemetry import Telemetry
from schemas.events import Event
from schemas.topics import event_headers, topic, topic_settings
from sinks.elasticsearch.client import Client
from sinks.runner import run_sink
from tests.waiting import PATIENCE

IDLE = 1.0


def sink_settings(namespace: str, kafka: KafkaSettings, url: str, **bulk: Any) -> Settings:
    """Settings of one test: a namespace of its own, two partitions, short waits."""
    return Settings(
        namespace=namespace,
        kafka=kafka.model_copy(update={"partitions": 2}),
        elasticsearch=ElasticsearchSettings(urls=[url], **{"bulk_seconds": 0.2, **bulk}),
    )


_declared: set[tuple[str, str]] = set()


def _declare(kafka: KafkaSettings, namespace: str) -> None:
    """Create the topics of a namespace, once."""
    if (kafka.bootstrap, namespace) not in _declared:
        ensure_topics(kafka, topic_settings(namespace))
        _declared.add((kafka.bootstrap, namespace))


def publish(settings: Settings, events: Iterable[Event | bytes], name: str = "dns") -> int:
    """Publish events, or bytes that are none, to topic `name`; returns how many Kafka acknowledged."""
    return publish_each(settings, ((name, event) for event in events))


def publish_each(settings: Settings, events: Iterable[tuple[str, Event | bytes]]) -> int:
    """Publish events to the topics named with them; returns how many Kafka acknowledged."""
    _declare(settings.kafka, settings.namespace)
    client = producer(settings.kafka, "test")
    errors: list[object] = []
    count = 0
    for name, event in events:
        raw = isinstance(event, bytes)
        client.produce(
            topic(settings.namespace, name),
            value=event if raw else orjson.dumps(event),
            key=b"192.0.2.%d" % (count % 50),
            headers=[] if raw else event_headers(event, "test"),
            on_delivery=lambda error, _: errors.append(error) if error else None,
        )
        count += 1
        client.poll(0)
    assert client.flush(30) == 0
    assert errors == []
    return count


def run(settings: Settings, telemetry: Telemetry | None = None) -> dict[str, Any]:
    """Run the Elasticsearch sink until it has delivered everything; returns its summary."""
    report = run_sink("elasticsearch", settings, stop=threading.Event(), until_idle=IDLE, telemetry=telemetry)
    assert report["consumed"] == report["indexed"] + report["duplicates"] + report["dead_letters"]
    return report


def documents(settings: Settings, pattern: str = "logs-network_traffic.dns") -> list[str]:
    """The ids of all documents of the namespace in a data stream, sorted."""
    client = Client(settings.elasticsearch)
    index = f"{pattern}-{settings.namespace}"
    try:
        client.request("POST", f"/{index}/_refresh?ignore_unavailable=true")
        body = {"size": 10_000, "_source": False, "sort": ["_doc"]}
        path = f"/{index}/_search?ignore_unavailable=true"
        answer = client.request("POST", path, body)
        deadline = time.monotonic() + PATIENCE
        while answer.status == 503 and time.monotonic() < deadline:  # an index whose shard only just starts
            time.sleep(0.2)
            answer = client.request("POST", path, body)
        assert answer.status == 200, answer
        hits = answer.body["hits"]
        assert hits["total"]["value"] == len(hits["hits"])
        return sorted(hit["_id"] for hit in hits["hits"])
    finally:
        client.close()


def ids(events: Iterable[Event]) -> list[str]:
    """The ids of events, sorted."""
    return sorted(event["event"]["id"] for event in events)
