"""The Kafka side of a producer: events in, acknowledged messages out; what is not acknowledged is told."""

import threading
import time
from collections.abc import Callable

import orjson
from confluent_kafka import KafkaError, KafkaException, Message

from runtime.errors import BrokerError
from runtime.kafka import ensure_topics, producer
from runtime.settings import Settings
from runtime.telemetry import Telemetry
from schemas.events import Event
from schemas.topics import dataset_by_full_name, event_headers, topic, topic_settings

_SLICE_SECONDS = 0.5


class Publisher:
    """Publishes events, keyed by source.ip; `close` returns when Kafka has acknowledged all of them.

    While the broker is away messages wait and are sent again; when the queue is full, `publish` waits too,
    which holds the source back. `tell` hears once when the broker goes away.
    """

    def __init__(
        self,
        settings: Settings,
        telemetry: Telemetry,
        stop: threading.Event,
        tell: Callable[[str], None] = lambda _text: None,
    ) -> None:
        self._sensor, self._namespace = settings.sensor, settings.namespace
        self._telemetry, self._stop, self._tell = telemetry, stop, tell
        self._bootstrap = settings.kafka.bootstrap
        ensure_topics(settings.kafka, topic_settings(settings.namespace))
        self._topics = {
            name: topic(settings.namespace, dataset.topic) for name, dataset in dataset_by_full_name().items()
        }
        self._away = False
        self._refused: str = ""
        client = settings.kafka.model_copy(
            update={"options": {"message.timeout.ms": "0", **settings.kafka.options}}
        )
        self._producer = producer(client, f"netflight-capture-{settings.sensor}", self._on_error)

    def publish(self, event: Event) -> None:
        """Hand an event to Kafka; raises BrokerError when stopped while the broker is away."""
        dataset = event["event"]["dataset"]
        key = event["source"]["ip"].encode() if "ip" in event.get("source", {}) else None
        value = orjson.dumps(event)
        headers = event_headers(event, self._sensor)
        while True:
            try:
                self._producer.produce(
                    self._topics[dataset], value, key, headers=headers, on_delivery=self._on_delivery
                )
            except BufferError:
                self._producer.poll(_SLICE_SECONDS)
                if self._stop.is_set() and self._away:
                    raise self._not_delivered() from None
            except KafkaException as error:
                raise BrokerError(f"{self._topics[dataset]}: {error.args[0].str()}") from error
            else:
                break
        self._producer.poll(0)

    def close(self, seconds: float = 60.0) -> None:
        """Wait until every event is acknowledged; raises BrokerError with how many are not."""
        deadline = time.monotonic() + seconds
        while len(self._producer) and time.monotonic() < deadline:
            self._producer.flush(_SLICE_SECONDS)
        if len(self._producer) or self._refused:
            raise self._not_delivered()

    def _not_delivered(self) -> BrokerError:
        failed = len(self._producer) + self._telemetry.total("refused")
        self._producer.purge()
        self._producer.flush(_SLICE_SECONDS)
        why = f": {self._refused}" if self._refused else ""
        return BrokerError(
            f"Kafka at {self._bootstrap} has not taken {failed:,} events{why}",
            "run the same command again when it is back: event ids are the same, nothing is doubled",
        )

    def _on_delivery(self, error: KafkaError | None, message: Message) -> None:
        if error is None:
            self._away = False
            self._telemetry.count("published")
            return
        self._refused = f"{message.topic()}: {error.str()}"
        self._telemetry.count("refused", error.name())

    def _on_error(self, error: KafkaError) -> None:
        if error.code() == KafkaError._ALL_BROKERS_DOWN and not self._away:  # noqa: SLF001  # librdkafka's name
            self._away = True
            self._tell(f"Kafka at {self._bootstrap} does not answer; events wait, and the capture with them")
