"""Settings of every part, from the environment (`NETFLIGHT_...`) or a YAML file named by NETFLIGHT_CONFIG.

The environment wins over the file, and the command line over both: a command passes what was typed to
`Settings.load(**overrides)`.
"""

import json
import os
import socket
from pathlib import Path
from typing import Any, Literal, Self, get_args, get_origin

import yaml
from pydantic import BaseModel, ByteSize, ConfigDict, Field, ValidationError

from runtime.errors import ConfigError

# Private, shared, link-local and loopback addresses (RFC 1918, 6598, 3927, 4193, 4291).
LOCAL_NETWORKS = (
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
    "169.254.0.0/16",
    "127.0.0.0/8",
    "fc00::/7",
    "fe80::/10",
    "::1/128",
)
_PREFIX = "NETFLIGHT_"
NAMESPACE_PATTERN = r"^[a-z0-9][a-z0-9_]{0,62}$"


def state_dir() -> Path:
    """The folder for what outlives a run: local servers' data, worker tables, the packet ring.

    NETFLIGHT_STATE, else netflight in XDG_STATE_HOME. Root's is in /var/lib: the servers run as an
    unprivileged user, who cannot enter root's home.
    """
    return _folder("NETFLIGHT_STATE", "XDG_STATE_HOME", Path("/var/lib"), ".local/state")


def cache_dir() -> Path:
    """The folder for what can be fetched again: server distributions. NETFLIGHT_CACHE, else as `state_dir`."""
    return _folder("NETFLIGHT_CACHE", "XDG_CACHE_HOME", Path("/var/cache"), ".cache")


def _folder(ours: str, standard: str, of_root: Path, of_user: str) -> Path:
    if os.environ.get(ours):
        return Path(os.environ[ours]).absolute()
    if os.environ.get(standard):
        return Path(os.environ[standard]) / "netflight"
    return (of_root if os.geteuid() == 0 else Path.home() / of_user) / "netflight"


class _Section(BaseModel):
    """A group of settings; an unknown name in it is an error."""

    model_config = ConfigDict(extra="forbid")


class KafkaSettings(_Section):
    """Where Kafka is. `options` goes to librdkafka as it is (security.protocol, sasl.*, ssl.*)."""

    bootstrap: str = "127.0.0.1:9092"
    options: dict[str, str] = Field(default_factory=dict)
    partitions: int = Field(default=4, ge=1)
    replication: int = Field(default=1, ge=1)


class ElasticsearchSettings(_Section):
    """Where Elasticsearch is. `api_key`, or `username` with `password`, or neither."""

    urls: list[str] = Field(default_factory=lambda: ["http://127.0.0.1:9200"])
    api_key: str = ""
    username: str = ""
    password: str = ""
    ca_certs: str = ""
    verify: bool = True
    bulk_bytes: int = Field(default=5_000_000, ge=1_000)
    bulk_seconds: float = Field(default=1.0, gt=0)


class WorkerSettings(_Section):
    """The Faust worker; times are in seconds.

    `lateness` is how far events may come out of order in event time: a flow's record comes when the flow is
    over, so it covers the engine's longest idle timeout. `idle_close` is the time without events after which
    a partition no longer holds windows open. Of the shipped statistics and those in the folders of `more_statistics`
    those named in `statistics` are computed, or all; `detect`: whether rules are matched.
    """

    lateness: float = Field(default=330.0, ge=0)
    idle_close: float = Field(default=15.0, gt=0)
    window: float = Field(default=60.0, gt=0)
    web_host: str = "127.0.0.1"
    web_port: int = 6066
    store: str = "rocksdb"
    rules: list[Path] = Field(default_factory=list)
    detect: bool = True
    statistics: list[str] = Field(default_factory=list)
    more_statistics: list[Path] = Field(default_factory=list)


class CaptureSettings(_Section):
    """Live capture: `buffer` bytes of packets (or `64MiB`) wait in the kernel until they are read, then it drops."""

    buffer: ByteSize = Field(default=ByteSize(32 << 20), ge=1 << 20)


class TsharkSettings(_Section):
    """The children that dissect packets: how many (0: by the cores and the capture's size), bytes each may fill."""

    children: int = Field(default=0, ge=0, le=64)
    memory: int = Field(default=1 << 30, ge=64 << 20)


class RecorderSettings(_Section):
    """The packet ring; sizes are bytes or `20GiB`, times seconds.

    `folder` is `ring` in the state folder unless given. Packets of alerted flows are kept from `margin` before the
    event to `margin` after it.
    """

    folder: Path | None = None
    quota: ByteSize = Field(default=ByteSize(10 << 30), ge=1 << 20)
    kept_quota: ByteSize = Field(default=ByteSize(1 << 30), ge=0)
    max_age: float = Field(default=0.0, ge=0)
    segment: ByteSize = Field(default=ByteSize(128 << 20), ge=1 << 16)
    backlog: ByteSize = Field(default=ByteSize(64 << 20), ge=1 << 20)
    margin: float = Field(default=300.0, ge=0)


Content = Literal["http_bodies", "http_headers", "icmp_payload", "ldap_attributes", "rpc_arguments"]
"""Kinds of content that events show, as fields of datasets name them in `content:`."""


class DecodeSettings(_Section):
    """What events tell. `secrets`: passwords and the like that packets show in clear, which are redacted otherwise.

    `maxmind`: databases of the MaxMind DB format, for geo.* and as.* of both sides. `content`: which kinds of content
    events show, of those that a dataset's fields name in `content:`.
    """

    secrets: bool = False
    content: list[Content] = Field(default_factory=lambda: [*get_args(Content)])
    maxmind: list[Path] = Field(default_factory=list)


class FilesSettings(_Section):
    """Files that are carried in clear: whether they are looked for, up to which size one is hashed (bytes or `1MiB`).

    `memory` bounds what is held of all of them together.
    """

    enabled: bool = True
    max_size: ByteSize = Field(default=ByteSize(1 << 20), ge=0)
    memory: ByteSize = Field(default=ByteSize(64 << 20), ge=1 << 20)


class Settings(BaseModel):
    """All settings: what is given, then the environment, then the file, by name within each group.

    Nested names take two underscores: NETFLIGHT_KAFKA__BOOTSTRAP.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    namespace: str = Field(default="default", pattern=NAMESPACE_PATTERN)
    sensor: str = Field(default_factory=socket.gethostname)
    local_networks: list[str] = Field(default_factory=lambda: list(LOCAL_NETWORKS))
    policy: str = "default"
    state: Path = Field(default_factory=state_dir)
    kafka: KafkaSettings = Field(default_factory=KafkaSettings)
    elasticsearch: ElasticsearchSettings = Field(default_factory=ElasticsearchSettings)
    capture: CaptureSettings = Field(default_factory=CaptureSettings)
    worker: WorkerSettings = Field(default_factory=WorkerSettings)
    decode: DecodeSettings = Field(default_factory=DecodeSettings)
    tshark: TsharkSettings = Field(default_factory=TsharkSettings)
    files: FilesSettings = Field(default_factory=FilesSettings)
    recorder: RecorderSettings = Field(default_factory=RecorderSettings)

    def __init__(self, **given: Any) -> None:
        super().__init__(**_joined(_joined(_of_file(), _of_environment(type(self))), given))

    @classmethod
    def load(cls, **overrides: Any) -> Self:
        """Read the file and the environment, then apply `overrides` that are not None.

        Raises ConfigError with the name and the place of every wrong setting.
        """
        given = {name: value for name, value in overrides.items() if value is not None}
        file = os.environ.get("NETFLIGHT_CONFIG")
        if file and not Path(file).is_file():
            raise ConfigError(f"{file}: no such file", "NETFLIGHT_CONFIG names it")
        try:
            return cls(**given)
        except ValidationError as error:
            places = "; ".join(
                f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}" for item in error.errors()
            )
            raise ConfigError(f"settings: {places}", "see docs/settings.md") from error
        except yaml.YAMLError as error:
            raise ConfigError(f"settings: {error}", "see docs/settings.md") from error


def _joined(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Both together, group by group; `above` wins."""
    joined = dict(below)
    for name, value in above.items():
        known = joined.get(name)
        joined[name] = _joined(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
    return joined


def _of_file() -> dict[str, Any]:
    """What the file says that NETFLIGHT_CONFIG names."""
    file = os.environ.get("NETFLIGHT_CONFIG")
    if not file or not Path(file).is_file():
        return {}
    told = yaml.safe_load(Path(file).read_text(encoding="utf-8")) or {}
    if not isinstance(told, dict):
        raise ConfigError(f"{file}: no names with values", "see docs/settings.md")
    return told


def _of_environment(model: type[BaseModel]) -> dict[str, Any]:
    """What the environment says of a model's fields, a group as a whole before single names in it.

    Upper and lower case are the same. Lists and objects are JSON; ConfigError where they are not.
    """
    told: dict[str, Any] = {}
    places = [
        (name[len(_PREFIX) :].lower().split("__"), text)
        for name, text in os.environ.items()
        if name.upper().startswith(_PREFIX)
    ]
    for place, text in sorted(places, key=lambda item: len(item[0])):
        if place[0] not in model.model_fields:
            continue  # another's: NETFLIGHT_DEBUG, for one
        *groups, leaf = place
        node = told
        for group in groups:
            node = node.setdefault(group, {})
            if not isinstance(node, dict):
                raise ConfigError(f"settings: {'.'.join(groups)}: not an object", "see docs/settings.md")
        value = _value(model, place, text)
        known = node.get(leaf)
        node[leaf] = _joined(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
    return told


def _value(model: type[BaseModel], place: list[str], text: str) -> Any:
    """A variable's text as the field's type wants it: read as JSON where that is a group, a list or an object."""
    kind: Any = model
    for name in place:
        if not (isinstance(kind, type) and issubclass(kind, BaseModel)) or name not in kind.model_fields:
            return text  # one key of an object, or a name that is not known: validation tells
        kind = kind.model_fields[name].annotation
    if get_origin(kind) not in {list, dict} and not (isinstance(kind, type) and issubclass(kind, BaseModel)):
        return text
    try:
        return json.loads(text)
    except ValueError as error:
        raise ConfigError(
            f"settings: {'.'.join(place)}: not JSON: {error}", "see docs/settings.md"
        ) from error
