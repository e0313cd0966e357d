"""Dead letters: messages a part could not use, kept as they came, listed, inspected and sent again."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka import Message as KafkaMessage

from runtime.errors import BrokerError
from runtime.kafka import consumer, producer, require_broker
from runtime.settings import Settings
from schemas.topics import (
    DEAD_LETTERS,
    ERROR_CLASS,
    ERROR_MESSAGE,
    ERROR_OFFSET,
    ERROR_PARTITION,
    ERROR_STAGE,
    ERROR_TOPIC,
    error_headers,
    sink_topics,
    topic,
)
from sinks.base import Message

CHUNK = 500
ANSWER_SECONDS = 15.0
ACKNOWLEDGE_SECONDS = 60.0
READER = "netflight-deadletter"
OURS = (ERROR_TOPIC, ERROR_PARTITION, ERROR_OFFSET, ERROR_STAGE, ERROR_CLASS, ERROR_MESSAGE)
CameWith = tuple[tuple[str, bytes | None], ...]
NUMBER = re.compile(r"\d{1,19}")


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message in the dead letter topic, at `partition` and `offset`, and what its headers say of it.

    `origin` is the topic, partition and offset it came from; `headers` are those it came with.
    """

    partition: int
    offset: int
    time_ms: int
    origin: tuple[str, int, int]
    stage: str
    error_class: str
    error: str
    key: bytes | None
    value: bytes | None
    headers: CameWith = ()


class DeadLetterQueue:
    """Puts messages into the dead letter topic of a namespace."""

    def __init__(self, settings: Settings, stage: str) -> None:
        self._topic = topic(settings.namespace, DEAD_LETTERS)
        self._stage = stage
        self._producer: Producer = producer(settings.kafka, f"netflight-{stage.replace(' ', '-')}-deadletter")

    def put(self, letters: Sequence[tuple[Message, BaseException]]) -> str:
        """Send the messages with what was wrong with them, and wait until Kafka has them all.

        Returns why, if it has not; then any of them may be there, and all have to be put again.
        """
        errors: list[str] = []
        for message, error in letters:
            headers = [*message.headers, *error_headers(message.place, self._stage, error)]
            record = {"key": message.key, "value": message.value, "headers": headers}
            _send(self._producer, self._topic, record, errors)
        waiting = self._producer.flush(ACKNOWLEDGE_SECONDS)
        if waiting:
            self._producer.purge()
            self._producer.flush(ACKNOWLEDGE_SECONDS)
            errors.append(f"{waiting} messages not acknowledged within {ACKNOWLEDGE_SECONDS:.0f} s")
        return f"{self._topic}: {errors[0]}" if errors else ""

    def close(self) -> None:
        """Wait for what is under way."""
        self._producer.flush(ACKNOWLEDGE_SECONDS)


def dead_letters(settings: Settings) -> Iterator[DeadLetter]:
    """Every dead letter there is now, partition by partition, oldest first in each.

    Raises BrokerError if Kafka does not answer.
    """
    name, client = _reader(settings)
    try:
        for partition in sorted(client.list_topics(name, timeout=ANSWER_SECONDS).topics[name].partitions):
            low, high = client.get_watermark_offsets(TopicPartition(name, partition), timeout=ANSWER_SECONDS)
            yield from _read(client, TopicPartition(name, partition, low), high)
    except KafkaException as error:
        raise BrokerError(f"{name}: {error.args[0].str()}") from error
    finally:
        client.close()


def dead_letter(settings: Settings, partition: int, offset: int) -> DeadLetter | None:
    """The dead letter at a place, or None if it is not there (any more); raises BrokerError."""
    name, client = _reader(settings)
    try:
        if partition not in client.list_topics(name, timeout=ANSWER_SECONDS).topics[name].partitions:
            return None
        low, high = client.get_watermark_offsets(TopicPartition(name, partition), timeout=ANSWER_SECONDS)
        if not low <= offset < high:
            return None
        return next(_read(client, TopicPartition(name, partition, offset), offset + 1), None)
    except KafkaException as error:
        raise BrokerError(f"{name}: {error.args[0].str()}") from error
    finally:
        client.close()


def redrive(settings: Settings, letters: Iterable[DeadLetter]) -> tuple[int, list[DeadLetter]]:
    """Send the letters to the topics they came from, as they came, and wait until Kafka has them.

    Returns how many, and those whose origin is none of the namespace's topics, which are not sent. The
    letters stay where they are; sent twice, they are duplicates and no more. Raises BrokerError.
    """
    known = set(sink_topics(settings.namespace))
    client: Producer = producer(settings.kafka, "netflight-redrive")
    errors: list[str] = []
    sent, strange = 0, []
    for letter in letters:
        if letter.origin[0] not in known:
            strange.append(letter)
            continue
        record = {"key": letter.key, "value": letter.value, "headers": list(letter.headers)}
        _send(client, letter.origin[0], record, errors)
        sent += 1
    waiting = client.flush(ACKNOWLEDGE_SECONDS)
    if errors or waiting:
        raise BrokerError(
            f"re-drive: {errors[0] if errors else f'{waiting} messages not acknowledged'}",
            "nothing is lost: the dead letters stay where they are; run it again",
        )
    return sent, strange


def _send(client: Producer, name: str, record: dict[str, Any], errors: list[str]) -> None:
    def report(error: KafkaError | None, _message: object) -> None:
        if error is not None:
            errors.append(error.str())

    while True:
        try:
            client.produce(name, on_delivery=report, **record)
        except BufferError:
            client.poll(1.0)
        except KafkaException as error:
            errors.append(error.args[0].str())
            return
        else:
            client.poll(0)
            return


def _reader(settings: Settings) -> tuple[str, Consumer]:
    require_broker(settings.kafka)
    group = f"netflight.{settings.namespace}.deadletter.reader"
    return topic(settings.namespace, DEAD_LETTERS), consumer(settings.kafka, group, READER)


def _read(client: Consumer, start: TopicPartition, end: int) -> Iterator[DeadLetter]:
    """The letters of one partition from `start` to before `end`."""
    if start.offset >= end:
        return
    client.assign([start])
    following = start.offset
    while following < end:
        records = client.consume(min(CHUNK, end - following), timeout=ANSWER_SECONDS)
        if not records:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))  # noqa: SLF001 - librdkafka's own codes
        for record in records:
            if record.error() is not None:
                raise KafkaException(record.error())
            following = record.offset() + 1
            if following <= end:
                yield _letter(record)


def _letter(record: KafkaMessage) -> DeadLetter:
    headers: CameWith = tuple(record.headers() or ())
    facts = {name: (value or b"").decode("utf-8", "replace") for name, value in headers if name in OURS}
    return DeadLetter(
        partition=record.partition(),
        offset=record.offset(),
        time_ms=record.timestamp()[1],
        origin=(
            facts.get(ERROR_TOPIC, ""),
            _number(facts.get(ERROR_PARTITION, "")),
            _number(facts.get(ERROR_OFFSET, "")),
        ),
        stage=facts.get(ERROR_STAGE, ""),
        error_class=facts.get(ERROR_CLASS, ""),
        error=facts.get(ERROR_MESSAGE, ""),
        key=record.key(),
        value=record.value(),
        headers=tuple((name, value) for name, value in headers if name not in OURS),
    )


def _number(text: str) -> int:
    return int(text) if NUMBER.fullmatch(text) else -1
