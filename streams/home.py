"""A worker's folder under the state directory: its tables, its identity, whether it stopped well.

Workers never share a folder (a shared one breaks table recovery): each takes the first that is free. A folder keeps
its identity, so that a restarted worker is the same member of the group and gets its partitions back at once.
Local tables hold writes that had not reached the changelog when a worker was killed; after an unclean stop
they are dropped and rebuilt from the changelog, which is the one truth.
"""

import fcntl
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from runtime.errors import ConfigError, NetflightError

MAX_WORKERS = 256
ADDRESS = "address"


@dataclass(frozen=True)
class Home:
    """`instance` is the worker's identity in its group. `mark_clean` says that the tables may be kept."""

    path: Path
    instance: str

    def announce(self, host: str, port: int) -> None:
        """Note where the worker's web pages are."""
        (self.path / ADDRESS).write_text(f"{host}:{port}", encoding="ascii")

    def mark_clean(self) -> None:
        """Note that everything written locally is in the changelogs too."""
        (self.path / "clean").touch()


def worker_addresses(state: Path, namespace: str) -> list[str]:
    """Where the workers of a namespace that use a state folder show their pages, `host:port`; those that died, too."""
    return [
        path.read_text(encoding="ascii")
        for path in sorted((state / "worker" / namespace).glob(f"*/{ADDRESS}"))
    ]


@contextmanager
def worker_home(state: Path, namespace: str) -> Iterator[Home]:
    """Take a free folder for one worker of a namespace and hold it; raises ConfigError if none can be had."""
    base = state / "worker" / namespace
    for number in range(MAX_WORKERS):
        path = base / str(number)
        try:
            path.mkdir(parents=True, exist_ok=True)
            lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise ConfigError(
                f"{path}: {error.strerror}", "NETFLIGHT_STATE names the state folder"
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            continue
        try:
            yield _prepared(path)
        finally:
            (path / ADDRESS).unlink(missing_ok=True)
            os.close(lock)
        return
    raise NetflightError(f"{base}: {MAX_WORKERS} workers are running here already")


def _prepared(path: Path) -> Home:
    clean, identity = path / "clean", path / "instance"
    if not clean.exists():
        shutil.rmtree(path / "faust", ignore_errors=True)
    clean.unlink(missing_ok=True)
    if not identity.exists():
        identity.write_text(uuid.uuid4().hex, encoding="ascii")
    return Home(path, identity.read_text(encoding="ascii").strip())
