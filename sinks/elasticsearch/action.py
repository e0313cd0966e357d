"""One Kafka message -> the lines of a bulk request, or the reason why it can never be one. Pure."""

import re
from functools import cache
from typing import Any, NamedTuple

import orjson

from schemas.model import Dataset
from schemas.topics import dataset_by_full_name
from sinks.base import Result, rejected

NAMESPACE = re.compile(r"[a-z0-9][a-z0-9_]{0,62}")
# A longer _id makes Elasticsearch refuse the whole bulk request.
ID_BYTES = 512
# How our events begin, up to the first field of `event`, so that one more can be put before it.
_BEGINNING = re.compile(rb'\{"@timestamp":"[^"\\]*","ecs":\{"version":"[^"\\]*"\},"event":\{(?=")')


class Action(NamedTuple):
    """The two lines of a create action, each with its newline, and where it goes."""

    lines: bytes
    data_stream: str


def action(value: bytes | None, namespace: str, ingested: str) -> Action | Result:
    """The create action of an event of `namespace`, with `event.ingested`; else the value's bytes go in as they are.

    A value that does not begin as our events do, or has newlines between its tokens (a bulk request is split at
    newlines), is written anew.
    """
    if not value:
        return rejected("empty", "the message has no value")
    try:
        event = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        return rejected("not_json", f"not JSON: {error}")
    found = _target(event, namespace)
    if isinstance(found, Result):
        return found
    data_stream, event_id = found
    document = _ingested(value, event, ingested)
    head = orjson.dumps({"create": {"_index": data_stream, "_id": event_id}})
    return Action(b"%b\n%b\n" % (head, document), data_stream)


def _ingested(value: bytes, event: dict[str, Any], ingested: str) -> bytes:
    """The document, whose event.ingested is when it was sent."""
    begins = _BEGINNING.match(value)
    if begins is None or "ingested" in event["event"] or b"\n" in value or b"\r" in value:
        event["event"]["ingested"] = ingested
        return orjson.dumps(event)
    return b'%b"ingested":"%b",%b' % (begins[0], ingested.encode(), value[begins.end() :])


def _target(event: object, namespace: str) -> tuple[str, str] | Result:
    """The data stream and the id, from names that are known here and never from the wire alone."""
    facts = event.get("event") if isinstance(event, dict) else None
    stream = event.get("data_stream") if isinstance(event, dict) else None
    if not isinstance(facts, dict) or not isinstance(stream, dict):
        return rejected("not_an_event", "not an event: it has no objects `event` and `data_stream`")
    name, event_id = facts.get("dataset"), facts.get("id")
    dataset = _datasets().get(name) if isinstance(name, str) else None
    if dataset is None:
        return rejected("unknown_dataset", f"event.dataset: {_short(name)} is no dataset of ours")
    given = (stream.get("type"), stream.get("dataset"))
    if given != (dataset.stream, dataset.dataset):
        return rejected("wrong_data_stream", f"data_stream: {_short(given)} does not belong to {name}")
    place = stream.get("namespace")
    if not isinstance(place, str) or not NAMESPACE.fullmatch(place) or place != namespace:
        return rejected("wrong_namespace", f"data_stream.namespace: {_short(place)}, not {namespace}")
    if not isinstance(event_id, str) or not 0 < len(event_id.encode()) <= ID_BYTES:
        return rejected("no_id", f"event.id: {_short(event_id)} is no text of 1 to {ID_BYTES} bytes")
    return dataset.data_stream(namespace), event_id


@cache
def _datasets() -> dict[str, Dataset]:
    return dataset_by_full_name()


def _short(value: Any) -> str:
    return repr(value)[:120]
