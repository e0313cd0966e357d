"""One HTTP connection pool to the cluster, without the client's product check.

The `elasticsearch` client's transport is used directly: value bytes go out as they are, nothing is retried
behind our back, and a server without `GET /`, or OpenSearch, is as welcome as the full distribution.
"""

import base64
import logging
from collections.abc import Mapping
from typing import Any, NamedTuple

import elastic_transport
import orjson
from elastic_transport.client_utils import url_to_node_config

from runtime.errors import ConfigError
from runtime.settings import ElasticsearchSettings
from sinks.base import RetryLater

# It logs every request and every failure, which the runner tells of in its own words.
logging.getLogger("elastic_transport").setLevel(logging.ERROR)

REQUEST_SECONDS = 60.0
JSON = "application/json"
NDJSON = "application/x-ndjson"


class Answer(NamedTuple):
    """An HTTP answer; `body` is the JSON, or an empty object."""

    status: int
    body: dict[str, Any]
    retry_after: float

    def error(self) -> str:
        """The server's words for what is wrong."""
        found = self.body.get("error", "")
        if isinstance(found, dict):
            return explain(found)
        return str(found) or f"HTTP {self.status}"


def explain(error: Mapping[str, Any]) -> str:
    """`type: reason`, with the innermost cause, of an error object of Elasticsearch."""
    text = f"{error.get('type', 'error')}: {error.get('reason', '')}"
    cause = error.get("caused_by")
    while isinstance(cause, dict) and isinstance(cause.get("caused_by"), dict):
        cause = cause["caused_by"]
    if isinstance(cause, dict) and cause.get("reason"):
        text = f"{text} ({cause.get('type', 'error')}: {cause['reason']})"
    return text[:1000]


class Client:
    """Requests to the cluster; every failure to reach it is RetryLater."""

    def __init__(self, settings: ElasticsearchSettings) -> None:
        self.urls = ", ".join(settings.urls)
        try:
            self._transport = elastic_transport.Transport(
                [_node(url, settings) for url in settings.urls], max_retries=0, node_class="urllib3"
            )
        except (ValueError, OSError) as error:
            raise ConfigError(f"settings: elasticsearch.urls: {self.urls}: {error}") from error

    def request(self, method: str, path: str, body: object = None, seconds: float = 0.0) -> Answer:
        """Send one request; `body` is sent as JSON, or as it is where it is bytes (then it is NDJSON).

        Returns the answer whatever its status. Raises RetryLater where there is none.
        """
        raw = isinstance(body, bytes)
        headers = {"accept": JSON}
        if body is not None:
            headers["content-type"] = NDJSON if raw else JSON
        try:
            meta, content = self._transport.perform_request(
                method,
                path,
                headers=headers,
                body=body if raw or body is None else orjson.dumps(body),
                request_timeout=seconds or REQUEST_SECONDS,
            )
        except elastic_transport.TransportError as error:
            raise RetryLater("connection", f"Elasticsearch at {self.urls}: {error.message}") from error
        wait = meta.headers.get("retry-after") or ""
        return Answer(
            meta.status,
            content if isinstance(content, dict) else {},
            float(wait) if wait.isdigit() else 0.0,
        )

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()


def _node(url: str, settings: ElasticsearchSettings) -> elastic_transport.NodeConfig:
    config = url_to_node_config(url, use_default_ports_for_scheme=True)
    options: dict[str, Any] = {"connections_per_node": 2, "request_timeout": REQUEST_SECONDS}
    headers = dict(config.headers)
    if settings.api_key:
        headers["authorization"] = f"ApiKey {settings.api_key}"
    elif settings.username:
        pair = f"{settings.username}:{settings.password}".encode()
        headers["authorization"] = f"Basic {base64.b64encode(pair).decode()}"
    if config.scheme == "https":
        options["verify_certs"] = settings.verify
        options["ssl_show_warn"] = settings.verify
        if settings.ca_certs:
            options["ca_certs"] = settings.ca_certs
    return config.replace(headers=elastic_transport.HttpHeaders(headers), **options)
