"""What the agents share: settings, rules, statistics, topics, counters, and how messages are sent."""

from dataclasses import dataclass, field
from typing import Any

import orjson

from runtime.settings import Settings
from runtime.telemetry import Telemetry
from schemas.events import Event
from schemas.topics import DEAD_LETTERS, dataset_by_full_name, error_headers, event_headers, topic
from streams.agents.outbox import Outbox
from streams.agents.sending import Sender, Ticket
from streams.agents.tables import PartitionTable
from streams.core.sigma import RuleSet
from streams.core.statistics import Statistic

STAGE = "worker"
# Below the topics' max.message.bytes, so that Kafka never refuses what is sent.
MAX_MESSAGE = 8_000_000
MILLISECOND = 1_000_000


class MessageTooLargeError(ValueError):
    """What would be sent is larger than a topic takes."""


def taken_in_ns(record: Any) -> int:
    """When Kafka took a record in, in nanoseconds: what is made from it says so, today and when taken again."""
    return int(record.timestamp or 0) * MILLISECOND


@dataclass(frozen=True)
class Context:
    """Built once by the app."""

    app: Any
    settings: Settings
    rules: RuleSet
    statistics: dict[str, Statistic]
    partitions: int
    parts: PartitionTable
    merged: PartitionTable
    merge_topic: str
    outbox: Outbox
    sender: Sender
    telemetry: Telemetry
    _topics: dict[str, str] = field(default_factory=dict)

    def send_event(self, ticket: Ticket, event: Event, key: bytes | None) -> None:
        """Send an event to its dataset's topic; raises MessageTooLargeError."""
        value = orjson.dumps(event)
        if len(value) > MAX_MESSAGE:
            raise MessageTooLargeError(f"an event of {len(value)} bytes, and a topic takes {MAX_MESSAGE}")
        name = self._topic_of(event["event"]["dataset"])
        self.sender.send(ticket, name, key, value, headers=event_headers(event, self._source(event)))

    def send_dead_letter(self, ticket: Ticket, record: Any, error: BaseException) -> None:
        """Send a record as it came to the dead letters."""
        self.telemetry.count("dead_letters", type(error).__name__)
        headers = error_headers((record.topic, record.partition, record.offset), STAGE, error)
        name = topic(self.settings.namespace, DEAD_LETTERS)
        self.sender.send(ticket, name, record.key, record.value, headers=headers)

    def _topic_of(self, dataset: str) -> str:
        name = self._topics.get(dataset)
        if name is None:
            short = dataset_by_full_name()[dataset].topic
            name = self._topics[dataset] = topic(self.settings.namespace, short)
        return name

    def _source(self, event: Event) -> str:
        observer = event.get("observer")
        name = observer.get("name") if isinstance(observer, dict) else None
        return str(name or self.settings.sensor)
