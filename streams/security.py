"""Faust's credentials from the options that librdkafka takes, so that one setting serves every part."""

import ssl
from collections.abc import Mapping

import faust
from faust.types.auth import CredentialsT

from runtime.errors import ConfigError


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
