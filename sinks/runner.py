"""A sink: consumes the topics of a namespace, delivers in batches, commits only what has been delivered."""

import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from runtime.errors import DestinationError
from runtime.kafka import ensure_topics
from runtime.settings import Settings
from runtime.telemetry import Telemetry, peak_rss_bytes, write_summary
from schemas.topics import sink_topics, topic_settings
from sinks.backoff import Backoff
from sinks.base import Destination, Message, RejectedError, Result, RetryLater, Verdict
from sinks.dead_letters import DeadLetterQueue
from sinks.intake import Intake
from sinks.registry import destination

log = logging.getLogger(__name__)

COUNTED = {Verdict.DELIVERED: "indexed", Verdict.DUPLICATE: "duplicates"}


def group_id(name: str, namespace: str) -> str:
    """The consumer group of a sink."""
    return f"netflight.{namespace}.sink.{name}"


def run_sink(  # noqa: PLR0913 - what a command line can ask of a sink
    name: str,
    settings: Settings,
    *,
    stop: threading.Event,
    summary: Path | None = None,
    until_idle: float | None = None,
    telemetry: Telemetry | None = None,
) -> dict[str, Any]:
    """Run the sink `name` until `stop` is set, or until it has had nothing to do for `until_idle` seconds.

    Nothing to do is: the topics are read to their ends, everything is delivered, and no message came since.
    Returns, and writes to `summary`, the counts: consumed = indexed + duplicates + dead_letters.
    `telemetry` can be watched from another thread meanwhile. Raises BrokerError if Kafka does not answer at
    the start, UsageError for an unknown name, DestinationError where somebody has to act first.
    """
    telemetry = telemetry or Telemetry(f"sink {name}")
    target = destination(name, settings)
    try:
        ensure_topics(settings.kafka, topic_settings(settings.namespace))
        if _ready(target, stop, telemetry):
            Sink(name, settings, target, telemetry, stop).run(until_idle)
    finally:
        target.close()
    report = sink_summary(name, telemetry)
    write_summary(summary, report)
    return report


def sink_summary(name: str, telemetry: Telemetry) -> dict[str, Any]:
    """The summary of a sink's counters, as the command line writes it."""
    return {
        "sink": name,
        "consumed": telemetry.total("consumed"),
        "indexed": telemetry.total("indexed"),
        "duplicates": telemetry.total("duplicates"),
        "dead_letters": telemetry.total("dead_letters"),
        "dead_letters_by_reason": telemetry.labels("dead_letters"),
        "retries_by_reason": telemetry.labels("retries"),
        "seconds": round(telemetry.seconds(), 3),
        "peak_rss_bytes": peak_rss_bytes(),
    }


class Sink:
    """One running sink."""

    def __init__(
        self, name: str, settings: Settings, target: Destination, telemetry: Telemetry, stop: threading.Event
    ) -> None:
        self._target = target
        self._telemetry = telemetry
        self._stop = stop
        group = group_id(name, settings.namespace)
        self._letters = DeadLetterQueue(settings, f"sink {name}")
        self._intake = Intake(settings.kafka, sink_topics(settings.namespace), group, target.limits)

    def run(self, until_idle: float | None) -> None:
        """Take, deliver, commit, until told to stop; what was taken is delivered or left uncommitted."""
        try:
            while not self._stop.is_set():
                batch = self._intake.take(self._stop)
                if batch:
                    self._intake.commit(batch, self._deliver(batch))
                elif until_idle is not None and self._intake.idle(until_idle):
                    return
        finally:
            self._intake.close()
            self._letters.close()

    def _deliver(self, batch: Sequence[Message]) -> list[Message]:
        """Deliver until every message has a final verdict, or the sink is told to stop; return those without.

        A message is final once the destination or the dead letter topic has it; only then its offset counts.
        """
        backoff = Backoff()
        pending = list(batch)
        while pending:
            wait, undecided = self._attempt(pending)
            if undecided:
                if self._stop.is_set():
                    log.warning("stopping with %d messages undelivered; they stay in Kafka", len(undecided))
                    return undecided
                if len(undecided) < len(pending):
                    backoff.reset()
                # Partitions that went to another member while waiting are no longer ours to deliver.
                undecided = self._intake.wait(undecided, backoff.next(wait), self._stop)
            pending = undecided
        return []

    def _attempt(self, batch: list[Message]) -> tuple[float, list[Message]]:
        """Try once; the least wait the destination asks for, and the messages without a final verdict."""
        try:
            results = self._target.deliver(batch)
        except RetryLater as later:
            self._retrying(later.reason, str(later), len(batch))
            return later.seconds, batch
        except DestinationError as error:
            self._retrying("destination", str(error), len(batch))
            return 0.0, batch
        final: list[tuple[Message, Result]] = []
        undecided = []
        for message, result in zip(batch, results, strict=True):
            if result.verdict is Verdict.RETRY:
                undecided.append(message)
            else:
                final.append((message, result))
        refused = [(message, result) for message, result in final if result.verdict is Verdict.REJECTED]
        if refused and not self._bury(refused):
            return 0.0, [*undecided, *(message for message, _ in refused)]
        self._count(final)
        if undecided:
            first = next(result for result in results if result.verdict is Verdict.RETRY)
            self._retrying(first.reason, first.error, len(undecided))
        return 0.0, undecided

    def _bury(self, refused: Sequence[tuple[Message, Result]]) -> bool:
        """Give the messages to the dead letter topic; whether Kafka has them all."""
        lost = self._letters.put([(message, RejectedError(result.error)) for message, result in refused])
        if lost:
            self._retrying("dead_letter_topic", lost, len(refused))
        return not lost

    def _count(self, final: Sequence[tuple[Message, Result]]) -> None:
        for message, result in final:
            self._telemetry.count("consumed")
            if result.verdict is Verdict.REJECTED:
                self._telemetry.count("dead_letters", result.reason)
                log.warning("dead letter: %s[%d]@%d: %s", *message.place, result.error)
            else:
                self._telemetry.count(COUNTED[result.verdict])

    def _retrying(self, reason: str, error: str, messages: int) -> None:
        self._telemetry.count("retries", reason)
        log.warning("trying %d messages again: %s", messages, error)


def _ready(target: Destination, stop: threading.Event, telemetry: Telemetry) -> bool:
    """Wait until the destination is ready; whether it is, rather than told to stop."""
    backoff = Backoff()
    while not stop.is_set():
        try:
            target.check()
        except RetryLater as later:
            telemetry.count("retries", later.reason)
            log.warning("waiting: %s", later)
            stop.wait(backoff.next(later.seconds))
        else:
            return True
    return False
