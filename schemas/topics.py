"""Kafka: topic names and settings, message headers, dead letters.

Topic `netflight.<namespace>.<topic>`; the key is `source.ip`: all events of a client share a partition.
"""

from collections.abc import Mapping
from urllib.parse import quote

from schemas.model import Dataset, datasets

PREFIX = "netflight"
DEAD_LETTERS = "deadletter"
DAY_MS = 86_400_000

# Kafka Connect's header names, so that tools that know dead letter queues know ours.
ERROR_TOPIC = "__connect.errors.topic"
ERROR_PARTITION = "__connect.errors.partition"
ERROR_OFFSET = "__connect.errors.offset"
ERROR_STAGE = "__connect.errors.stage"
ERROR_CLASS = "__connect.errors.exception.class.name"
ERROR_MESSAGE = "__connect.errors.exception.message"

Headers = list[tuple[str, bytes]]


def topic(namespace: str, name: str) -> str:
    """The full name of a topic: `topic("default", "dns")` is `netflight.default.dns`."""
    return f"{PREFIX}.{namespace}.{name}"


def event_topics(namespace: str) -> list[str]:
    """The topics with events of decoded packets, which the worker reads."""
    return sorted({topic(namespace, d.topic) for d in datasets().values() if d.envelope == "packet"})


def sink_topics(namespace: str) -> list[str]:
    """The topics a sink delivers: all but the dead letters and what the worker keeps for itself."""
    return sorted({topic(namespace, d.topic) for d in datasets().values()})


def topic_settings(namespace: str) -> dict[str, dict[str, str]]:
    """Every topic of a namespace with its settings.

    Message timestamps are append times: with packet times, time retention would delete an old capture at once.
    """
    common = {"message.timestamp.type": "LogAppendTime", "max.message.bytes": "8388608"}
    found = {name: {**common, "retention.ms": str(7 * DAY_MS)} for name in sink_topics(namespace)}
    found[topic(namespace, DEAD_LETTERS)] = {**common, "retention.ms": str(30 * DAY_MS)}
    return found


def dataset_by_full_name() -> dict[str, Dataset]:
    """Datasets by `event.dataset`."""
    return {d.dataset: d for d in datasets().values()}


def event_headers(event: Mapping[str, object], source: str) -> Headers:
    """CloudEvents 1.0 attributes of an event, in Kafka's binary content mode; `source` is the sensor."""
    facts = event["event"]
    if not isinstance(facts, Mapping):
        raise TypeError("event.event is an object")
    dataset = str(facts["dataset"])
    return [
        ("ce_specversion", b"1.0"),
        ("ce_id", str(facts["id"]).encode()),
        ("ce_type", f"netflight.{dataset}".encode()),
        ("ce_source", f"/netflight/{quote(source, safe='')}".encode()),
        ("ce_time", str(event["@timestamp"]).encode()),
        ("ce_dataschema", f"netflight:schemas/{dataset}".encode()),
        ("content-type", b"application/json"),
    ]


def error_headers(place: tuple[str, int, int], stage: str, error: BaseException) -> Headers:
    """Headers of a dead letter: where it came from (topic, partition, offset), and what went wrong."""
    name = type(error)
    return [
        (ERROR_TOPIC, place[0].encode()),
        (ERROR_PARTITION, str(place[1]).encode()),
        (ERROR_OFFSET, str(place[2]).encode()),
        (ERROR_STAGE, stage.encode()),
        (ERROR_CLASS, f"{name.__module__}.{name.__qualname__}".encode()),
        (ERROR_MESSAGE, str(error)[:1000].encode("utf-8", "replace")),
    ]
