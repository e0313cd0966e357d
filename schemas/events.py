"""The event envelope: ids that are a function of content, times in ECS form, nested fields by dotted name."""

import tomllib
from datetime import UTC, datetime
from functools import cache, lru_cache
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from struct import Struct
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

if TYPE_CHECKING:
    from schemas.model import Dataset

ECS_VERSION = "8.17.0"
AGENT, PRODUCT = "netflight", "Netflight"
NANOSECONDS = 1_000_000_000

Event = dict[str, Any]


def _version() -> str:
    """The version of the installation, or of the checkout that runs without one."""
    try:
        return version("netflight")
    except PackageNotFoundError:
        project = Path(__file__).resolve().parents[1] / "pyproject.toml"
        return str(tomllib.loads(project.read_text(encoding="utf-8"))["project"]["version"])


VERSION = _version()

# Base 32 (RFC 4648, section 6) in lower case, ten bits at a time: 128 bits and two of padding are 26 letters.
_LETTERS = "abcdefghijklmnopqrstuvwxyz234567"
_PAIRS = [first + second for first in _LETTERS for second in _LETTERS]
_HALVES = Struct(">QQ")


def event_id(dataset: str, scope: str, time_ns: int, ordinal: int | str) -> str:
    """A deterministic id: 26 letters and digits, from the content alone.

    `scope` is the community id (or what stands for it where there is no IP), `ordinal` tells apart events
    of one dataset and scope at the same nanosecond.
    """
    digest = blake2b(f"{dataset}|{scope}|{time_ns}|{ordinal}".encode(), digest_size=16).digest()
    high, low = _HALVES.unpack(digest)
    pairs = _PAIRS  # letter pair by letter pair: shifting one number of 130 bits takes three times as long
    return (
        f"{pairs[high >> 54]}{pairs[high >> 44 & 0x3FF]}{pairs[high >> 34 & 0x3FF]}{pairs[high >> 24 & 0x3FF]}"
        f"{pairs[high >> 14 & 0x3FF]}{pairs[high >> 4 & 0x3FF]}{pairs[high << 6 & 0x3C0 | low >> 58]}"
        f"{pairs[low >> 48 & 0x3FF]}{pairs[low >> 38 & 0x3FF]}{pairs[low >> 28 & 0x3FF]}{pairs[low >> 18 & 0x3FF]}"
        f"{pairs[low >> 8 & 0x3FF]}{pairs[low << 2 & 0x3FC]}"
    )


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
    if fraction and not fraction.isdigit():
        raise ValueError(f"not a UTC timestamp: {text[:40]!r}")
    return _seconds(whole) * NANOSECONDS + int(f"{fraction:0<9.9}" or 0)


@lru_cache(maxsize=4096)
def _seconds(whole: str) -> int:
    """Seconds since 1970: most events share theirs with others, and reading one takes ten times as long."""
    return int(datetime.strptime(whole, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC).timestamp())


class Times(NamedTuple):
    """When an event was, began, ended and was made, in nanoseconds since 1970."""

    at_ns: int
    start_ns: int
    end_ns: int
    created_ns: int


@cache
def sensor_fields(name: str) -> dict[str, dict[str, str]]:
    """What every event says of the sensor or worker that made it: `agent`, `host`, `observer`; not to be changed.

    `agent.id` is a function of the name alone, in the form of a UUID, so a sensor has the same one for ever.
    """
    identity = UUID(bytes=blake2b(name.encode(), digest_size=16, person=b"netflight-agent").digest())
    return {
        "agent": {"id": str(identity), "name": name, "type": AGENT, "version": VERSION},
        "host": {"name": name},
        "observer": {
            "name": name,
            "hostname": name,
            "type": "network-sensor",
            "vendor": PRODUCT,
            "product": PRODUCT,
            "version": VERSION,
        },
    }


def new_event(dataset: "Dataset", identity: str, namespace: str, times: Times) -> Event:
    """The envelope of an event of a dataset: what it is, when it was, where it goes."""
    at_ns, start_ns, end_ns, created_ns = times
    at, name, spec = timestamp(at_ns), dataset.dataset, dataset.event
    return {
        "@timestamp": at,
        "ecs": {"version": ECS_VERSION},
        "event": {
            "id": identity,
            "kind": spec.kind,
            "category": list(spec.category),
            "type": list(spec.type),
            "action": spec.action,
            "module": name.partition(".")[0],
            "dataset": name,
            "start": at if start_ns == at_ns else timestamp(start_ns),
            "end": at if end_ns == at_ns else timestamp(end_ns),
            "duration": min(end_ns - start_ns, 2**63 - 1),  # a long, as far apart as times may be
            "created": timestamp(created_ns),
        },
        "data_stream": {"type": dataset.stream, "dataset": name, "namespace": namespace},
    }


_OF_THE_RUN = ("agent", "host", "observer", "log")


def comparable(event: Event) -> Event:
    """An event without what differs from run to run: when and by whom it was made, and the file's place."""
    kept = {name: value for name, value in event.items() if name not in _OF_THE_RUN}
    host = {name: value for name, value in event.get("host", {}).items() if name != "name"}
    if host:
        kept["host"] = host
    log = {name: value for name, value in event.get("log", {}).items() if name != "file"}
    if log:
        kept["log"] = log
    kept["event"] = {name: value for name, value in event["event"].items() if name != "created"}
    kept["data_stream"] = {name: value for name, value in event["data_stream"].items() if name != "namespace"}
    return kept


def put(event: Event, name: str, value: Any) -> None:
    """Set a field by its dotted name, making the objects on the way."""
    above, leaf = _place(name)
    node = event
    for part in above:
        if part in node:
            node = node[part]
        else:
            node[part] = node = {}
    node[leaf] = value


@lru_cache(maxsize=4096)
def _place(name: str) -> tuple[tuple[str, ...], str]:
    """A dotted name as the objects on the way and the last part."""
    *above, leaf = name.split(".")
    return tuple(above), leaf


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
