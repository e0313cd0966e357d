"""What Kafka and Elasticsearch have in common: where they live, as whom they run, how they are started."""

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cockpit.stack.fetch import Distribution, Report, distribution
from cockpit.stack.machine import find_java, open_folder, require_reachable, require_space, unprivileged
from cockpit.stack.process import Identity, tail
from runtime.errors import ConfigError, StackError

START_GIGABYTES = 1.0
FORMAT_SECONDS = 60
# A JVM that starts in less time, and does less in more.
QUICK = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
HEAPS = {"kafka": "512m", "elasticsearch": "1g"}


@dataclass(frozen=True)
class Place:
    """Where a stack's servers run, and with what."""

    name: str
    folder: Path
    java: Path
    programs: Distribution
    identity: Identity | None
    heaps: Mapping[str, str]


@dataclass(frozen=True)
class Command:
    """A server's command line, its working folder, and what its environment has beside the common part."""

    argv: list[str]
    cwd: Path
    environment: Mapping[str, str] = field(default_factory=dict)


def find_place(name: str, folder: Path, report: Report) -> Place:
    """All that the servers need of this machine; fetches the programs if need be.

    Raises StackError naming what is missing and the command that brings it.
    """
    java = find_java()
    identity = unprivileged()
    programs = distribution(report)
    open_folder(folder)
    require_space(folder, START_GIGABYTES)
    require_reachable(folder, identity, "NETFLIGHT_STATE")
    require_reachable(programs.elasticsearch, identity, "NETFLIGHT_CACHE")
    require_reachable(java / "bin", identity, "JAVA_HOME")
    return Place(name, folder, java, programs, identity, {server: heap(server) for server in HEAPS})


def heap(server: str) -> str:
    """The largest Java heap of a server: NETFLIGHT_KAFKA_HEAP or NETFLIGHT_ELASTICSEARCH_HEAP (`512m`, `2g`)."""
    name = f"NETFLIGHT_{server.upper()}_HEAP"
    size = os.environ.get(name) or HEAPS[server]
    if not re.fullmatch(r"[1-9][0-9]*[mMgG]", size):
        raise ConfigError(f"{name}: {size!r} is no heap size", "write it as 512m or 2g")
    return size


def server_folder(place: Place, server: str, *parts: str) -> Path:
    """The server's own folder with `parts` in it; the server may write in the parts only."""
    home = place.folder / server
    for part in parts:
        folder = home / part
        open_folder(folder)
        if place.identity is not None:
            os.chown(folder, place.identity.uid, place.identity.gid)
    return home


def server_environment(command: Command) -> dict[str, str]:
    """A clean environment: no JAVA_TOOL_OPTIONS, CLASSPATH or ES_* of the caller's gets in."""
    return {
        "PATH": os.defpath,
        "HOME": str(command.cwd),
        "LANG": "C.UTF-8",
        **command.environment,
    }


def run_once(place: Place, command: Command, what: str) -> None:
    """Run a server's tool to its end; raises StackError with what it printed if it fails."""
    log = place.folder / "logs" / f"{what}.log"
    user = place.identity
    with log.open("wb") as output:
        ended = subprocess.run(
            command.argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=command.cwd,
            env=server_environment(command),
            timeout=FORMAT_SECONDS,
            check=False,
            user=user.uid if user else None,
            group=user.gid if user else None,
            extra_groups=[] if user else None,
        )
    if ended.returncode != 0:
        raise StackError(f"{what}: failed\n{tail(log)}", f"its whole output is in {log}")
