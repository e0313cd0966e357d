"""Settings of every part, from the environment (`NETFLIGHT_...`) or a YAML file named by NETFLIGHT_CONFIG.

The environment wins over the file, and the command line over both: a command passes what was typed to
`Settings.load(**overrides)`.
"""

import os
import socket
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import BaseModel, ByteSize, ConfigDict, Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    YamlConfigSettingsSource,
)

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
    a partition no longer holds windows open.
    """

    lateness: float = Field(default=330.0, ge=0)
    idle_close: float = Field(default=15.0, gt=0)
    window: float = Field(default=60.0, gt=0)
    web_host: str = "127.0.0.1"
    web_port: int = 6066
    store: str = "rocksdb"
    rules: list[Path] = Field(default_factory=list)


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


class Settings(BaseSettings):
    """All settings. Nested names take two underscores: NETFLIGHT_KAFKA__BOOTSTRAP."""

    model_config = SettingsConfigDict(
        env_prefix="NETFLIGHT_", env_nested_delimiter="__", extra="forbid", frozen=True
    )

    namespace: str = Field(default="default", pattern=NAMESPACE_PATTERN)
    sensor: str = Field(default_factory=socket.gethostname)
    local_networks: list[str] = Field(default_factory=lambda: list(LOCAL_NETWORKS))
    policy: str = "default"
    state: Path = Field(default_factory=state_dir)
    kafka: KafkaSettings = Field(default_factory=KafkaSettings)
    elasticsearch: ElasticsearchSettings = Field(default_factory=ElasticsearchSettings)
    capture: CaptureSettings = Field(default_factory=CaptureSettings)
    worker: WorkerSettings = Field(default_factory=WorkerSettings)
    tshark: TsharkSettings = Field(default_factory=TsharkSettings)
    recorder: RecorderSettings = Field(default_factory=RecorderSettings)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # part of the signature
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # part of the signature
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What was typed, then the environment, then the file."""
        file = os.environ.get("NETFLIGHT_CONFIG")
        sources = (init_settings, env_settings)
        return (*sources, YamlConfigSettingsSource(settings_cls, file)) if file else sources

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
        except (SettingsError, yaml.YAMLError) as error:
            raise ConfigError(f"settings: {error}", "see docs/settings.md") from error
