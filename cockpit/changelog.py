"""A changelog topic read from outside, without being a member of any group: all of it, then what comes."""

from collections.abc import Iterator
from typing import NamedTuple

from confluent_kafka import OFFSET_BEGINNING, KafkaException, TopicPartition

from runtime.errors import BrokerError, UsageError
from runtime.kafka import ANSWER_SECONDS, consumer, require_broker
from runtime.settings import KafkaSettings

_BATCH = 20_000
_LOOK_SECONDS = 0.2


class Row(NamedTuple):
    """A row that was written; `value` is None where it was deleted. `time_ms` is when Kafka took it in."""

    partition: int
    key: bytes
    value: bytes | None
    time_ms: int


class Changelog:
    """A reader of one topic. `rows`, `bytes`: how many were read, their keys and values together."""

    def __init__(self, settings: KafkaSettings, topic: str, client_id: str) -> None:
        """Begin at the beginning; raises BrokerError without a broker, UsageError where the topic is not there."""
        require_broker(settings)
        self._topic = topic
        self._client = consumer(settings, client_id, client_id, **{"enable.partition.eof": False})
        known = self._client.list_topics(timeout=ANSWER_SECONDS).topics
        if topic not in known or not known[topic].partitions:
            self._client.close()
            raise UsageError(f"topic {topic}: there is none")
        self._places = [
            TopicPartition(topic, part, OFFSET_BEGINNING) for part in sorted(known[topic].partitions)
        ]
        self._client.assign(self._places)
        self.rows = self.bytes = 0

    def read(self, seconds: float) -> list[Row]:
        """What has come, waiting for it no longer than `seconds`; raises BrokerError."""
        try:
            messages = self._client.consume(_BATCH, seconds)
        except KafkaException as error:
            raise BrokerError(f"topic {self._topic}: {error.args[0].str()}") from error
        rows = []
        for message in messages:
            if message.error() is not None:
                continue  # librdkafka goes on by itself: a broker that restarts, a leader that moves
            key, value = message.key() or b"", message.value()
            rows.append(Row(message.partition(), key, value, message.timestamp()[1]))
            self.bytes += len(key) + len(value or b"")
        self.rows += len(rows)
        return rows

    def until_now(self) -> Iterator[list[Row]]:
        """Everything up to what is the end now, a batch at a time, in each partition's order; raises BrokerError."""
        try:
            ends = {
                place.partition: self._client.get_watermark_offsets(
                    TopicPartition(place.topic, place.partition), ANSWER_SECONDS
                )
                for place in self._places
            }
            while any(
                max(place.offset, ends[place.partition][0]) < ends[place.partition][1]
                for place in self._client.position(self._places)
            ):
                yield self.read(_LOOK_SECONDS)
        except KafkaException as error:
            raise BrokerError(f"topic {self._topic}: {error.args[0].str()}") from error

    def close(self) -> None:
        """Leave."""
        self._client.close()
