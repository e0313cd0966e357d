"""The Kafka side of Faust: offsets move only by our word, an idempotent producer, security settings."""

import ssl
from collections.abc import Mapping
from typing import Any

import faust
from faust.transport.drivers import aiokafka as driver
from faust.types.auth import CredentialsT

from runtime.errors import ConfigError


class IdempotentProducer(driver.Producer):  # type: ignore[misc]
    """acks=all, without duplicates or disorder when a request is repeated."""

    def _settings_extra(self) -> Mapping[str, Any]:
        return {**super()._settings_extra(), "acks": "all", "enable_idempotence": True}


class ConfirmingConsumer(driver.Consumer):  # type: ignore[misc]
    """A consumer whose offsets move only for messages that were confirmed.

    Faust 0.15.3 acknowledges by itself what its streams skip: messages fetched before a rebalance, or while
    tables recover. Such an acknowledgement can be committed after the seek to the old offset, and the message is lost.
    """

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
