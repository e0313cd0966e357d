"""Kafka clients made one way: idempotent producer, consumer that commits when told, declared topics."""

import time
from collections.abc import Callable, Iterable, Mapping

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec

from runtime.errors import BrokerError
from runtime.settings import KafkaSettings

ANSWER_SECONDS = 15.0
LEADERS_SECONDS = 30.0
GREETING_SECONDS = 6.0


def producer(
    settings: KafkaSettings, client_id: str, on_error: Callable[[KafkaError], None] | None = None
) -> Producer:
    """An idempotent producer, acks=all, zstd; delivery reports tell of every message.

    `on_error` hears of brokers that go away; the client itself reconnects.

    One request at a time for each broker: where a leader is not ready yet, it can refuse a partition's first batch and
    take the second one. Kafka takes any sequence number from a producer that it does not know there (KIP-360), calls
    the first batch a duplicate when it comes again, and the client takes that for delivered: the messages are lost.
    """
    return Producer(
        {
            **({"error_cb": on_error} if on_error else {}),
            "bootstrap.servers": settings.bootstrap,
            "client.id": client_id,
            "enable.idempotence": True,
            "acks": "all",
            "max.in.flight.requests.per.connection": 1,
            "compression.type": "zstd",
            "message.max.bytes": 8_388_608,
            "linger.ms": 20,
            "queue.buffering.max.messages": 200_000,
            "queue.buffering.max.kbytes": 262_144,
            "log_level": 2,
            **settings.options,
        }
    )


def consumer(settings: KafkaSettings, group: str, client_id: str, **options: object) -> Consumer:
    """A consumer that starts at the earliest offset and commits only when told to."""
    return Consumer(
        {
            "bootstrap.servers": settings.bootstrap,
            "client.id": client_id,
            "group.id": group,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "earliest",
            "partition.assignment.strategy": "cooperative-sticky",
            "session.timeout.ms": 10_000,
            "topic.metadata.refresh.interval.ms": 10_000,
            "log_level": 2,
            **settings.options,
            **options,
        }
    )


def admin(settings: KafkaSettings, client_id: str) -> AdminClient:
    """An admin client; check the broker with `require_broker` first."""
    return AdminClient(
        {"bootstrap.servers": settings.bootstrap, "client.id": client_id, "log_level": 2, **settings.options}
    )


def require_broker(settings: KafkaSettings, seconds: float = GREETING_SECONDS) -> None:
    """Raise BrokerError unless a broker answers within `seconds`."""
    try:
        admin(settings, "netflight-check").list_topics(timeout=seconds)
    except KafkaException as error:
        raise BrokerError(
            f"Kafka at {settings.bootstrap} does not answer: {error.args[0].str()}",
            "start one with ./netflight up, or name yours in NETFLIGHT_KAFKA__BOOTSTRAP",
        ) from error


def ensure_topics(settings: KafkaSettings, topics: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Create the topics (name -> topic settings) that are not there; return the names created.

    Waits until each of their partitions answers: metadata names a leader before it takes anything.
    """
    require_broker(settings)
    client = admin(settings, "netflight-topics")
    wanted = [
        NewTopic(
            name,
            num_partitions=settings.partitions,
            replication_factor=settings.replication,
            config=dict(config),
        )
        for name, config in topics.items()
    ]
    created = []
    for name, future in client.create_topics(wanted, request_timeout=ANSWER_SECONDS).items():
        try:
            future.result()
        except KafkaException as error:
            if error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:
                continue
            raise BrokerError(f"topic {name}: {error.args[0].str()}") from error
        created.append(name)
    _await_leaders(client, set(topics))
    return created


def _await_leaders(client: AdminClient, names: set[str]) -> None:
    deadline = time.monotonic() + LEADERS_SECONDS
    while silent := _silent(client, names):
        if time.monotonic() > deadline:
            place, why = silent[0]
            raise BrokerError(
                f"{place} is not ready after {LEADERS_SECONDS:.0f} s: {why}", "see the broker's log"
            )
        time.sleep(0.1)


def _silent(client: AdminClient, names: set[str]) -> list[tuple[str, str]]:
    """The topics and partitions whose leader does not answer yet, each with the reason."""
    try:
        known = client.list_topics(timeout=ANSWER_SECONDS).topics
    except KafkaException as error:
        raise BrokerError(f"topics: {error.args[0].str()}") from error
    missing = [name for name in sorted(names) if name not in known or not known[name].partitions]
    if missing:
        return [(f"topic {name}", "not known to the broker yet") for name in missing]
    places = [TopicPartition(name, number) for name in names for number in known[name].partitions]
    answers = client.list_offsets(dict.fromkeys(places, OffsetSpec.latest()), request_timeout=ANSWER_SECONDS)
    return [
        (f"topic {place.topic}, partition {place.partition}", str(refusal))
        for place, answer in answers.items()
        if (refusal := answer.exception()) is not None
    ]


def delete_topics(settings: KafkaSettings, names: Iterable[str]) -> None:
    """Delete topics; one that is not there is fine."""
    wanted = list(names)
    if not wanted:
        return
    client = admin(settings, "netflight-topics")
    for name, future in client.delete_topics(wanted, request_timeout=ANSWER_SECONDS).items():
        try:
            future.result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise BrokerError(f"topic {name}: {error.args[0].str()}") from error
