"""What the agents share: settings, rules, statistics, topics, counters, and how messages are sent."""

from dataclasses import dataclass
from typing import Any

import orjson

from runtime.settings import Settings
from runtime.telemetry import Telemetry
from schemas.events import Event
from schemas.topics import DEAD_LETTERS, Headers, dataset_by_full_name, error_headers, event_headers, topic
from streams.agents.outbox import Outbox
from streams.agents.tables import TrackedTable
from streams.core.sigma import RuleSet
from streams.core.statistics import Statistic

STAGE = "worker"
# Below the topics' max.message.bytes, so that Kafka never refuses what is sent.
MAX_MESSAGE = 8_000_000


class MessageTooLargeError(ValueError):
    """What would be sent is larger than a topic takes."""


@dataclass(frozen=True)
class Context:
    """Built once by the app."""

    app: Any
    settings: Settings
    rules: RuleSet
    statistics: dict[str, Statistic]
    partitions: int
    parts: TrackedTable
    merged: TrackedTable
    merge_topic: Any
    outbox: Outbox
    telemetry: Telemetry

    def send_event(self, event: Event, key: bytes | None) -> Any:
        """Send an event to its dataset's topic; returns the future of Kafka's acknowledgement."""
        name = topic(self.settings.namespace, dataset_by_full_name()[event["event"]["dataset"]].topic)
        return self.send(name, key, orjson.dumps(event), event_headers(event, self._source(event)))

    def send_dead_letter(self, message: Any, error: BaseException) -> Any:
        """Send a message as it came to the dead letters."""
        self.telemetry.count("dead_letters", type(error).__name__)
        headers = error_headers((message.topic, message.partition, message.offset), STAGE, error)
        name = topic(self.settings.namespace, DEAD_LETTERS)
        return self.send(name, message.key, message.value, headers)

    def send(self, name: str, key: bytes | None, value: bytes | None, headers: Headers) -> Any:
        """Send bytes to a topic; raises MessageTooLargeError."""
        if len(value or b"") > MAX_MESSAGE:
            raise MessageTooLargeError(f"{len(value or b'')} bytes for {name}, which takes {MAX_MESSAGE}")
        target = self.app.topic(name, key_type=bytes, value_type=bytes, allow_empty=True)
        return target.send_soon(
            key=key, value=value, headers=headers, key_serializer="raw", value_serializer="raw"
        )

    def _source(self, event: Event) -> str:
        observer = event.get("observer")
        name = observer.get("name") if isinstance(observer, dict) else None
        return str(name or self.settings.sensor)
