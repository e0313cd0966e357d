"""The event envelope: ids that are a function of content, times in ECS form, nested fields by dotted name."""

import hashlib
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

from schemas.model import Dataset

ECS_VERSION = "8.17.0"
NANOSECONDS = 1_000_000_000

Event = dict[str, Any]

# Base 32 (RFC 4648, section 6) in lower case, ten bits at a time: 128 bits and two of padding are 26 letters.
_LETTERS = "abcdefghijklmnopqrstuvwxyz234567"
_PAIRS = [first + second for first in _LETTERS for second in _LETTERS]
_SHIFTS = range(120, -1, -10)


def event_id(dataset: str, scope: str, time_ns: int, ordinal: int | str) -> str:
    """A deterministic id: 26 letters and digits, from the content alone.

    `scope` is the community id (or what stands for it where there is no IP), `ordinal` tells apart events
    of one dataset and scope at the same nanosecond.
    """
    digest = hashlib.blake2b(f"{dataset}|{scope}|{time_ns}|{ordinal}".encode(), digest_size=16).digest()
    number = int.from_bytes(digest, "big") << 2
    return "".join([_PAIRS[number >> shift & 0x3FF] for shift in _SHIFTS])


def timestamp(time_ns: int) -> str:
    """Nanoseconds since 1970 as ISO 8601 in UTC with nine digits: `2013-11-25T14:55:52.123456789Z`.

    Any 64-bit value is told: what lies beyond the years 1 to 9999 is moved to that edge.
    """
    seconds, nanoseconds = divmod(time_ns, NANOSECONDS)
    return f"{_to_the_second(seconds)}.{nanoseconds:09d}Z"


@lru_cache(maxsize=4096)
def _to_the_second(seconds: int) -> str:
    day = datetime.fromtimestamp(min(max(seconds, -62_135_596_800), 253_402_300_799), UTC)
    return day.isoformat()[:19]


def parse_timestamp(text: str) -> int:
    """The inverse of `timestamp`, for any number of fractional digits; raises ValueError."""
    if not text.endswith("Z"):
        raise ValueError(f"not a UTC timestamp: {text[:40]!r}")
    whole, _, fraction = text[:-1].partition(".")
    day = datetime.strptime(whole, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC)
    if fraction and not fraction.isdigit():
        raise ValueError(f"not a UTC timestamp: {text[:40]!r}")
    return int(day.timestamp()) * NANOSECONDS + int(f"{fraction:0<9.9}" or 0)


class Times(NamedTuple):
    """When an event was, began, ended and was made, in nanoseconds since 1970."""

    at_ns: int
    start_ns: int
    end_ns: int
    created_ns: int


def new_event(dataset: Dataset, identity: str, namespace: str, times: Times) -> Event:
    """The envelope of an event of a dataset: what it is, when it was, where it goes."""
    return {
        "@timestamp": timestamp(times.at_ns),
        "ecs": {"version": ECS_VERSION},
        "event": {
            "id": identity,
            "kind": dataset.event.kind,
            "category": list(dataset.event.category),
            "type": list(dataset.event.type),
            "action": dataset.event.action,
            "module": dataset.dataset.partition(".")[0],
            "dataset": dataset.dataset,
            "start": timestamp(times.start_ns),
            "end": timestamp(times.end_ns),
            "duration": min(times.end_ns - times.start_ns, 2**63 - 1),  # a long, as far apart as times may be
            "created": timestamp(times.created_ns),
        },
        "data_stream": {"type": dataset.stream, "dataset": dataset.dataset, "namespace": namespace},
    }


def put(event: Event, name: str, value: Any) -> None:
    """Set a field by its dotted name, making the objects on the way."""
    path = name.split(".")
    node = event
    for part in path[:-1]:
        node = node.setdefault(part, {})
    node[path[-1]] = value


def get(event: Event, name: str) -> Any:
    """A field by its dotted name, through objects and lists of objects; None where it is not there."""
    node: Any = event
    for part in name.split("."):
        if isinstance(node, list):
            node = [item[part] for item in node if isinstance(item, dict) and part in item]
            if not node:
                return None
        elif isinstance(node, dict) and part in node:
            node = node[part]
        else:
            return None
    return node
