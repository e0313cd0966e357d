"""Alerts make their flows' packets outlive the ring: a consumer of the alerts topic beside a recorder.

Each sensor has a consumer group of its own, since each has its own packets. An alert is committed after its
flow was written down; one met twice changes nothing.
"""

import logging
import threading
from collections.abc import Iterator
from typing import Any

import orjson
from confluent_kafka import KafkaException

from producers.recorder.recorder import Recorder
from runtime.errors import UsageError
from runtime.kafka import consumer
from runtime.settings import Settings
from schemas.events import Event, get, parse_timestamp
from schemas.model import datasets
from schemas.topics import topic

_log = logging.getLogger(__name__)

_POLL_SECONDS = 0.5
_BATCH = 500


class AlertKeeper:
    """Calls `recorder.keep` for each alert with a Community ID, in a thread, until closed.

    While Kafka is away it waits; what comes meanwhile is read when Kafka is back.
    """

    def __init__(self, settings: Settings, recorder: Recorder) -> None:
        self._recorder = recorder
        self._margin_ns = int(settings.recorder.margin * 1e9)
        self._stop = threading.Event()
        name = f"netflight-recorder-{settings.namespace}-{settings.sensor}"
        self._consumer = consumer(settings.kafka, name, name)
        self._consumer.subscribe([topic(settings.namespace, datasets()["alerts"].topic)])
        self._thread = threading.Thread(target=self._work, name="alert-keeper", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop reading alerts and leave the group."""
        self._stop.set()
        self._thread.join()
        self._consumer.close()

    def _work(self) -> None:
        while not self._stop.is_set():
            try:
                messages = self._consumer.consume(_BATCH, _POLL_SECONDS)
                good = [message for message in messages if message.error() is None]
                for message in good:
                    self._take(message.value() or b"", message.timestamp()[1] * 1_000_000)
                    self._consumer.store_offsets(message)
                if good:
                    self._consumer.commit(asynchronous=False)
            except KafkaException as error:
                _log.debug(
                    "alerts: %s", error
                )  # librdkafka goes on by itself; what is not committed comes again
                self._stop.wait(_POLL_SECONDS)

    def _take(self, value: bytes, appended_ns: int) -> None:
        if appended_ns < self._recorder.since_ns:
            return  # of packets that had left the ring before this recorder began
        try:
            alert = orjson.loads(value)
            for asked in spans(alert, self._margin_ns) if isinstance(alert, dict) else ():
                self._recorder.keep(*asked)
        except (ValueError, UsageError) as error:
            _log.warning("alerts: a message that is no alert is passed over: %s", error)


def spans(alert: Event, margin_ns: int) -> Iterator[tuple[str, int, int]]:
    """The flows of an alert, each with the span of its event and a margin on both sides; raises ValueError."""
    found: Any = get(alert, "network.community_id")
    at_ns = parse_timestamp(str(alert.get("@timestamp")))
    start_ns = parse_timestamp(str(get(alert, "event.start") or alert["@timestamp"]))
    end_ns = parse_timestamp(str(get(alert, "event.end") or alert["@timestamp"]))
    for community_id in found if isinstance(found, list) else [found]:
        if isinstance(community_id, str):
            yield community_id, min(at_ns, start_ns) - margin_ns, max(at_ns, end_ns) + margin_ns
