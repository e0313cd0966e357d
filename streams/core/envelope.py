"""A message's bytes as an event, or why it is none."""

from functools import cache
from typing import NamedTuple

import orjson

from schemas.events import Event, parse_timestamp
from schemas.topics import dataset_by_full_name


class MalformedEventError(ValueError):
    """A message that is no event; the text says what is missing."""


class Decoded(NamedTuple):
    """An event, its dataset (`event.dataset`) and its time in nanoseconds."""

    event: Event
    dataset: str
    time_ns: int


def decode(value: bytes | None) -> Decoded:
    """The event in a message; raises MalformedEventError where it is no JSON object with our envelope."""
    try:
        event = orjson.loads(value or b"")
    except orjson.JSONDecodeError as error:
        raise MalformedEventError(f"not JSON: {error}") from error
    if not isinstance(event, dict):
        raise MalformedEventError(f"a JSON {type(event).__name__}, not an object")
    facts = event.get("event")
    if not isinstance(facts, dict):
        raise MalformedEventError("event: not there, or no object")
    for name in ("id", "dataset"):
        if not isinstance(facts.get(name), str) or not facts[name]:
            raise MalformedEventError(f"event.{name}: not there, or no text")
    if facts["dataset"] not in _known():
        raise MalformedEventError(f"event.dataset: unknown: {facts['dataset'][:100]}")
    try:
        time_ns = parse_timestamp(event["@timestamp"])
    except (KeyError, ValueError, AttributeError) as error:
        raise MalformedEventError(f"@timestamp: {error}") from error
    return Decoded(event, facts["dataset"], time_ns)


@cache
def _known() -> frozenset[str]:
    return frozenset(dataset_by_full_name())
