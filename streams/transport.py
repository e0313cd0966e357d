"""The Kafka side of Faust: offsets move only by our word, an idempotent producer, security settings."""

import asyncio
import ssl
from collections.abc import Iterable, Mapping
from typing import Any

import faust
from faust.transport.drivers import aiokafka as driver
from faust.types.auth import CredentialsT

from runtime.errors import ConfigError

EMPTY_SECONDS = 10.0


class IdempotentProducer(driver.Producer):  # type: ignore[misc]
    """acks=all, without duplicates or disorder when a request is repeated."""

    def _settings_extra(self) -> Mapping[str, Any]:
        return {**super()._settings_extra(), "acks": "all", "enable_idempotence": True}


class ConfirmingConsumer(driver.Consumer):  # type: ignore[misc]
    """A consumer that hands on every message, in order, and whose offsets move only for confirmed ones.

    Faust 0.15.3 loses messages around a rebalance in two ways. It acknowledges by itself what its streams skip
    (fetched before the rebalance, or while tables recover). And after recovery it fetches events before it has sought
    the committed offset and emptied the queues, which drops what was fetched; then it goes on behind the gap.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._held_back: set[Any] = set()
        self._sought = False
        self._taken: dict[Any, tuple[int | None, int]] = {}

    def follows(self, message: Any) -> bool:
        """Whether nothing was left out between this message and the one before it in its partition.

        A message that comes again is fine. Our topics have no gaps: they are neither compacted nor transactional.
        """
        generation, last = self._taken.get(message.tp, (None, -1))
        same = generation == message.generation_id
        if same and message.offset > last + 1:
            return False
        self._taken[message.tp] = (
            message.generation_id,
            max(last, message.offset) if same else message.offset,
        )
        return True

    def resume_partitions(self, tps: Iterable[Any]) -> None:
        """Called for changelogs while tables recover, then for events: these wait for `resume_flow`."""
        changelogs = {tp for tp in tps if tp.topic.endswith("-changelog")}
        self._held_back |= set(tps) - changelogs
        super().resume_partitions(changelogs)

    async def perform_seek(self) -> None:
        """Seek the committed offsets."""
        await super().perform_seek()
        self._sought = True

    def resume_flow(self) -> None:
        """Called when queues are empty; after the seek it is time for events."""
        super().resume_flow()
        if self._sought:
            super().resume_partitions(self._held_back)
            self._held_back = set()
            self._sought = False

    def ack(self, message: Any) -> bool:
        """What Faust calls: forget the message, without moving an offset; it is fetched again."""
        message.acked = True
        self._unacked_messages.discard(message)
        return False

    def confirm(self, message: Any) -> bool:
        """The message was worked on and what came of it is in Kafka: its offset may be committed."""
        if message.generation_id != self.app.consumer_generation_id:
            return self.ack(message)
        return bool(super().ack(message))

    async def wait_empty(self) -> None:
        """Wait for what is at work, but not for ever; what is not confirmed by then comes again."""
        try:
            await asyncio.wait_for(super().wait_empty(), EMPTY_SECONDS)
        except TimeoutError:
            self._unacked_messages.clear()
            await self.commit_and_end_transactions()

    async def _add_gap(self, tp: Any, offset_from: int, offset_to: int) -> None:
        # Faust counts the message after the gap into it, and would acknowledge it before it was worked on
        await super()._add_gap(tp, offset_from, offset_to - 1)


class Transport(driver.Transport):  # type: ignore[misc]
    """Faust's aiokafka transport with our consumer and producer."""

    Consumer = ConfirmingConsumer
    Producer = IdempotentProducer


class App(faust.App):  # type: ignore[misc]
    """A Faust app on our transport."""

    def _new_transport(self) -> Transport:
        return Transport(self.conf.broker_consumer, self)

    def _new_producer_transport(self) -> Transport:
        return Transport(self.conf.broker_producer, self)


def credentials(options: Mapping[str, str]) -> CredentialsT | None:
    """Faust's credentials for librdkafka options (security.protocol, sasl.*, ssl.*); None for a plain broker.

    Raises ConfigError for a security option that has no counterpart. Options that tune librdkafka are not for us.
    """
    protocol = options.get("security.protocol", "plaintext").upper()
    known = {
        "security.protocol",
        "sasl.mechanism",
        "sasl.mechanisms",
        "sasl.username",
        "sasl.password",
        "ssl.ca.location",
        "ssl.certificate.location",
        "ssl.key.location",
        "ssl.key.password",
    }
    for name in options:
        if name.startswith(("sasl.", "ssl.", "security.")) and name not in known:
            raise ConfigError(f"settings: kafka.options.{name}: the worker has no such option")
    context = _ssl_context(options) if protocol.endswith("SSL") else None
    if protocol == "PLAINTEXT":
        return None
    if protocol == "SSL":
        return faust.SSLCredentials(context)
    if protocol in {"SASL_PLAINTEXT", "SASL_SSL"}:
        return faust.SASLCredentials(
            username=options.get("sasl.username"),
            password=options.get("sasl.password"),
            ssl_context=context,
            mechanism=options.get("sasl.mechanism") or options.get("sasl.mechanisms") or "PLAIN",
        )
    raise ConfigError(f"settings: kafka.options.security.protocol: unknown: {protocol}")


def _ssl_context(options: Mapping[str, str]) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=options.get("ssl.ca.location"))
        if certificate := options.get("ssl.certificate.location"):
            context.load_cert_chain(
                certificate, options.get("ssl.key.location"), options.get("ssl.key.password")
            )
    except OSError as error:
        raise ConfigError(f"settings: kafka.options: ssl: {error}") from error
    return context
