"""The Kafka side of a sink: batches in, offsets out, and a group membership that outlives any wait."""

import logging
import threading
import time
from collections.abc import Sequence

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec

from runtime.kafka import admin, consumer
from runtime.settings import KafkaSettings
from sinks.base import Limits, Message

log = logging.getLogger(__name__)

CHUNK = 500
POLL_SECONDS = 0.5
ANSWER_SECONDS = 10.0

Place = tuple[str, int]


class Intake:
    """Takes batches of messages and commits them when told.

    Messages of a partition that another member takes over are dropped from what is held: its new owner reads
    them from the last commit.
    """

    def __init__(self, settings: KafkaSettings, topics: Sequence[str], group: str, limits: Limits) -> None:
        self._limits = limits
        self._consumer: Consumer = consumer(settings, group, group)
        self._consumer.subscribe(
            list(topics), on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._revoked
        )
        self._admin = admin(settings, group)
        self._owned: set[Place] = set()
        # Taken from us since the last batch was begun: what is held of them is no longer ours, even if
        # they come back.
        self._gone: set[Place] = set()
        self._next: dict[Place, int] = {}
        self._held: list[Message] = []
        self._paused = False
        self._last = 0.0

    def take(self, stop: threading.Event) -> list[Message]:
        """A batch within the limits, or what came in its time; empty after a while without messages."""
        batch, self._held = self._held, []
        self._gone.clear()
        size = _size(batch)
        end = time.monotonic() + self._limits.seconds
        while len(batch) < self._limits.messages and size < self._limits.bytes and not stop.is_set():
            left = end - time.monotonic() if batch else POLL_SECONDS
            if left <= 0:
                break
            got = self._poll(min(CHUNK, self._limits.messages - len(batch)), min(left, POLL_SECONDS))
            batch = self._kept(batch)
            self._gone.clear()
            if got and not batch:
                end = time.monotonic() + self._limits.seconds
            batch.extend(got)
            size += _size(got)
            if not batch:
                break
        return batch

    def commit(self, batch: Sequence[Message], undecided: Sequence[Message] = ()) -> None:
        """Commit what of `batch` is delivered: up to the first undecided message of each partition.

        A commit that fails is made up for by the next one, or by duplicates.
        """
        for message in batch:
            place = message.topic, message.partition
            if place not in self._gone:
                self._next[place] = message.offset + 1
        for message in reversed(undecided):
            place = message.topic, message.partition
            if place in self._next:
                self._next[place] = min(self._next[place], message.offset)
        self._commit()

    def _commit(self) -> None:
        offsets = [TopicPartition(*place, offset) for place, offset in self._next.items()]
        if not offsets:
            return
        try:
            self._consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            log.warning("offsets not committed: %s", error.args[0].str())
        else:
            self._next.clear()

    def wait(self, pending: Sequence[Message], seconds: float, stop: threading.Event) -> list[Message]:
        """Wait without taking anything, a living member of the group; return those still ours to deliver."""
        end = time.monotonic() + seconds
        self._pause()
        try:
            while (left := end - time.monotonic()) > 0 and not stop.is_set():
                self._held.extend(self._poll(1, min(left, POLL_SECONDS)))
        finally:
            self._resume()
        return self._kept(pending)

    def idle(self, seconds: float) -> bool:
        """Whether no message came for so long, since an assignment, and all partitions are read to their ends."""
        return bool(self._owned) and time.monotonic() - self._last >= seconds and self._at_end()

    def _at_end(self) -> bool:
        places = [TopicPartition(*place) for place in self._owned]
        try:
            committed = self._consumer.committed(places, timeout=ANSWER_SECONDS)
            first = self._offsets(OffsetSpec.earliest())
            last = self._offsets(OffsetSpec.latest())
        except KafkaException as error:
            log.warning("cannot tell the end of the topics: %s", error.args[0].str())
            return False
        reached = {(item.topic, item.partition): item.offset for item in committed}
        return all(max(reached[place], first[place]) >= last[place] for place in last)

    def _offsets(self, which: OffsetSpec) -> dict[Place, int]:
        """The first or last offset of every partition owned, in one request."""
        wanted = {TopicPartition(*place): which for place in self._owned}
        found = self._admin.list_offsets(wanted, request_timeout=ANSWER_SECONDS)
        return {(item.topic, item.partition): future.result().offset for item, future in found.items()}

    def close(self) -> None:
        """Leave the group, after one more try at a commit that failed."""
        self._commit()
        self._consumer.close()

    def _poll(self, count: int, seconds: float) -> list[Message]:
        messages = []
        for record in self._consumer.consume(count, timeout=seconds):
            error = record.error()
            if error is None:
                messages.append(
                    Message(
                        record.topic(),
                        record.partition(),
                        record.offset(),
                        record.key(),
                        record.value(),
                        tuple(record.headers() or ()),
                    )
                )
            elif error.fatal():
                raise KafkaException(error)
            elif error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 - librdkafka's own codes begin with _
                log.warning("Kafka: %s", error.str())
        if messages:
            self._last = time.monotonic()
        return messages

    def _kept(self, messages: Sequence[Message]) -> list[Message]:
        return [message for message in messages if (message.topic, message.partition) not in self._gone]

    def _assigned(self, client: Consumer, partitions: list[TopicPartition]) -> None:
        client.incremental_assign(partitions)
        if self._paused:
            client.pause(partitions)
        self._owned |= {(item.topic, item.partition) for item in partitions}
        self._last = time.monotonic()

    def _revoked(self, client: Consumer, partitions: list[TopicPartition]) -> None:
        gone = {(item.topic, item.partition) for item in partitions}
        self._owned -= gone
        self._gone |= gone
        self._held = self._kept(self._held)
        for place in gone:
            self._next.pop(place, None)
        client.incremental_unassign(partitions)

    def _pause(self) -> None:
        self._paused = True
        self._consumer.pause(self._consumer.assignment())

    def _resume(self) -> None:
        self._paused = False
        self._consumer.resume(self._consumer.assignment())


def _size(messages: Sequence[Message]) -> int:
    return sum(len(message.value or b"") for message in messages)
