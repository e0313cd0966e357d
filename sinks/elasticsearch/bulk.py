"""The Elasticsearch destination: bulk create into data streams, one verdict per message."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from runtime.errors import DestinationError
from runtime.settings import Settings
from schemas.elasticsearch import Dialect
from sinks.base import (
    DELIVERED,
    DUPLICATE,
    Destination,
    Limits,
    Message,
    Outcome,
    Result,
    RetryLater,
    rejected,
    retry,
)
from sinks.elasticsearch.action import Action, action
from sinks.elasticsearch.client import Client, explain
from sinks.elasticsearch.templates import detect_dialect, install, outdated

log = logging.getLogger(__name__)

# What of the answer is read; the rest is not even sent.
FILTER = "filter_path=errors,error,items.*.status,items.*.error,items.*.failure_store"


def destination(settings: Settings) -> Destination:
    """The Elasticsearch destination of these settings, not connected yet."""
    return ElasticsearchDestination(settings)


class ElasticsearchDestination:
    """Bulk create into data streams. `install_templates` lets `check` install what is missing."""

    def __init__(self, settings: Settings, *, install_templates: bool = True) -> None:
        bulk = settings.elasticsearch
        self.limits = Limits(bytes=bulk.bulk_bytes, seconds=bulk.bulk_seconds)
        self._namespace = settings.namespace
        self._install = install_templates
        self._client = Client(bulk)
        self._dialect: Dialect | None = None
        self._ready = False

    def check(self) -> None:
        """Return when the server answers and has our templates; without them it would make wrong indices."""
        self._dialect = detect_dialect(self._client)
        if self._install:
            names = install(self._client, self._dialect, self._namespace)
            if names:
                log.info("%s: %d templates installed (%s)", self._client.urls, len(names), self._dialect)
        else:
            missing = outdated(self._client, self._dialect, self._namespace)
            if missing:
                raise DestinationError(
                    f"Elasticsearch at {self._client.urls}: missing or old templates: {', '.join(missing)}",
                    "install them with ./netflight schemas install",
                )
        self._ready = True

    def deliver(self, batch: Sequence[Message]) -> Outcome:
        """Create every event of the batch that is not there yet."""
        if not batch:
            return []
        if not self._ready:
            self.check()
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        made = [action(message.value, self._namespace, now) for message in batch]
        actions = [item for item in made if isinstance(item, Action)]
        results = self._create(actions) if actions else iter(())
        return [next(results) if isinstance(item, Action) else item for item in made]

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _create(self, actions: Sequence[Action]) -> Iterator[Result]:
        answer = self._client.request("POST", self._path(), b"".join(item.lines for item in actions))
        if answer.status == 200:
            return self._results(answer.body, len(actions))
        if answer.status in (400, 413):
            return self._halves(actions, answer.status, answer.error())
        raise RetryLater(f"http {answer.status}", self._told(answer.error()), answer.retry_after)

    def _told(self, error: str) -> str:
        return f"Elasticsearch at {self._client.urls}: {error}"

    def _path(self) -> str:
        # OpenSearch does not know this guard against indices made without our templates.
        guard = "" if self._dialect is Dialect.OPENSEARCH else "&require_data_stream=true"
        return f"/_bulk?{FILTER}{guard}"

    def _halves(self, actions: Sequence[Action], status: int, error: str) -> Iterator[Result]:
        """The request as a whole was refused: find the message it is about, or the size that fits."""
        if len(actions) == 1:
            reason = "too_large" if status == 413 else "refused"
            return iter([rejected(reason, error)])
        middle = len(actions) // 2
        # Both halves are sent before anything is decided, in order.
        return iter([*self._create(actions[:middle]), *self._create(actions[middle:])])

    def _results(self, body: Mapping[str, Any], count: int) -> Iterator[Result]:
        items = body.get("items", [])
        if len(items) != count:
            # Not a bulk answer: something between us and the server speaks for it.
            raise RetryLater("answer", self._told(f"{len(items)} results for {count} documents"))
        results = [_result(item["create"]) for item in items]
        if any(result.reason == "no_data_stream" for result in results):
            self._ready = False
        return iter(results)


def _result(item: Mapping[str, Any]) -> Result:
    """The verdict on one item of a bulk answer: only what is the document's own fault is rejected."""
    status = item["status"]
    if status in (200, 201):
        if item.get("failure_store") == "used":
            return rejected("failure_store", "the cluster moved it to the data stream's failure store")
        return DELIVERED
    if status == 409:
        return DUPLICATE
    error = item.get("error", {})
    kind = str(error.get("type", f"http {status}"))
    if status == 404:
        return retry("no_data_stream", explain(error))
    if status in (400, 413):
        return rejected(kind, explain(error))
    return retry(kind, explain(error))
