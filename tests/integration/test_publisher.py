"""Events on Kafka: keys and headers, and a broker that goes away in the middle."""

import json
import threading
import time

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import NewTopic

from cockpit.stack import Stack
from producers.publisher import Publisher
from runtime.errors import BrokerError
from runtime.kafka import admin, consumer, ensure_topics, producer
from runtime.settings import KafkaSettings, Settings
from runtime.telemetry import Telemetry
from schemas.topics import topic, topic_settings
from tests.events import sample
from tests.waiting import PATIENCE


@pytest.fixture
def settings(kafka: KafkaSettings, namespace: str) -> Settings:
    return Settings(namespace=namespace, sensor="sensor 1", kafka=kafka)


def _end(client: Consumer, place: TopicPartition) -> int:
    """The partition's end, as soon as it has a leader: a topic that was just made may have none yet."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return int(client.get_watermark_offsets(place, timeout=10)[1])
        except KafkaException as error:
            if error.args[0].code() != KafkaError.NOT_LEADER_FOR_PARTITION or time.monotonic() > deadline:
                raise
        time.sleep(0.1)


def _messages(settings: Settings, name: str) -> list[Message]:
    """Every message of a topic now, oldest first in each partition."""
    client: Consumer = consumer(settings.kafka, f"test-{settings.namespace}", "test-reader")
    full, found = topic(settings.namespace, name), []
    for partition in client.list_topics(full, timeout=10).topics[full].partitions:
        end = _end(client, TopicPartition(full, partition))
        client.assign([TopicPartition(full, partition, 0)])
        while end and (not found or found[-1].partition() != partition or found[-1].offset() < end - 1):
            message = client.poll(10)
            assert message is not None, "the topic's end is not reached in 10 s"
            assert message.error() is None
            found.append(message)
    client.close()
    return found


def test_a_message_is_the_event_with_its_key_and_cloudevents_headers(settings: Settings) -> None:
    telemetry = Telemetry("producer")
    publisher = Publisher(settings, telemetry, threading.Event())
    event = sample("dns", settings.namespace, 1)
    publisher.publish(event)
    publisher.close()
    (message,) = _messages(settings, "dns")
    assert json.loads(message.value()) == event
    assert message.key() == event["source"]["ip"].encode()
    headers = dict(message.headers())
    assert headers["ce_id"] == event["event"]["id"].encode()
    assert headers["ce_source"] == b"/netflight/sensor%201"
    assert headers["ce_type"] == b"netflight.network_traffic.dns"
    assert headers["content-type"] == b"application/json"
    assert message.timestamp()[1] > 1_700_000_000_000, "append time, not packet time"
    assert telemetry.total("published") == 1


def test_events_of_one_client_keep_their_order(settings: Settings) -> None:
    publisher = Publisher(settings, Telemetry("producer"), threading.Event())
    for number in range(500):
        publisher.publish(
            sample("flow", settings.namespace, number, **{"source.ip": f"192.0.2.{number % 5}"})
        )
    publisher.close()
    by_client: dict[bytes, list[tuple[int, str]]] = {}
    for message in _messages(settings, "flow"):
        event = json.loads(message.value())
        by_client.setdefault(message.key(), []).append((message.partition(), event["event"]["id"]))
    assert len(by_client) == 5
    for number, (_, told) in enumerate(sorted(by_client.items())):
        wanted = [sample("flow", settings.namespace, n)["event"]["id"] for n in range(number, 500, 5)]
        assert [identity for _, identity in told] == wanted
        assert len({partition for partition, _ in told}) == 1


def test_a_broker_that_dies_and_comes_back_loses_nothing_and_doubles_nothing(
    stack: Stack, settings: Settings
) -> None:
    telemetry, told = Telemetry("producer"), []
    publisher = Publisher(settings, telemetry, threading.Event(), told.append)
    events = [sample("flow", settings.namespace, number) for number in range(3_000)]

    def publish() -> None:
        for number, event in enumerate(events):
            publisher.publish(event)
            if number % 100 == 0:
                time.sleep(0.05)

    publishing = threading.Thread(target=publish, daemon=True)
    publishing.start()
    time.sleep(0.5)
    stack.stop_server("kafka", kill=True)
    time.sleep(2)
    stack.start_server("kafka")
    publishing.join()
    publisher.close(120)
    ids = [json.loads(message.value())["event"]["id"] for message in _messages(settings, "flow")]
    assert sorted(ids) == sorted(event["event"]["id"] for event in events)
    assert telemetry.total("published") == len(events)


def test_what_a_dead_broker_has_not_taken_is_told(stack: Stack, settings: Settings) -> None:
    ensure_topics(settings.kafka, topic_settings(settings.namespace))
    publisher = Publisher(settings, Telemetry("producer"), threading.Event())
    stack.stop_server("kafka", kill=True)
    try:
        for number in range(7):
            publisher.publish(sample("flow", settings.namespace, number))
        with pytest.raises(BrokerError, match="has not taken 7 events"):
            publisher.close(1)
    finally:
        stack.start_server("kafka")


def test_no_broker_at_all_is_told_with_its_address(settings: Settings) -> None:
    nowhere = settings.model_copy(update={"kafka": KafkaSettings(bootstrap="127.0.0.1:1")})
    with pytest.raises(BrokerError, match=r"127\.0\.0\.1:1 does not answer"):
        Publisher(nowhere, Telemetry("producer"), threading.Event())


def test_messages_for_partitions_whose_leaders_are_not_ready_yet_all_arrive(
    kafka: KafkaSettings, namespace: str
) -> None:
    names = [f"netflight.{namespace}.early{number}" for number in range(60)]
    client = producer(kafka, "test-early")
    creating = admin(kafka, "test-early")
    wanted = [NewTopic(name, num_partitions=4, replication_factor=1) for name in names]
    for future in creating.create_topics(wanted).values():
        future.result()
    for burst in range(6):
        for name in names:
            for partition in range(4):
                client.produce(name, b"%d" % burst, partition=partition)
        client.flush(0.03)
    assert client.flush(60) == 0
    reader = consumer(kafka, "test-early", "test-early")
    ends = {
        (name, partition): _end(reader, TopicPartition(name, partition))
        for name in names
        for partition in range(4)
    }
    reader.close()
    assert {place: end for place, end in ends.items() if end != 6} == {}
