"""The server distributions: fetched once by Maven, checked against committed checksums, kept in the cache.

What is in place is whole: a download grows in a folder beside it and is renamed at the end. Every use
checks every file again (a quarter of a second), and what is damaged is fetched once more.
`python -m cockpit.stack.fetch` prints the checksums of what pom.xml fetches now.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cockpit.stack.machine import find_java, find_maven, open_folder, require_space
from cockpit.stack.process import tail
from runtime.errors import StackError
from runtime.settings import cache_dir

HERE = Path(__file__).parent
POM = HERE / "pom.xml"
CHECKSUMS = HERE / "checksums.sha256"
MANIFEST = "manifest.sha256"
FETCH_GIGABYTES = 1.0
REPORT_MEGABYTES, REPORT_SECONDS = 40, 20.0

Report = Callable[[str], None]


@dataclass(frozen=True)
class Distribution:
    """Where the programs are: Kafka's folder of jars, Elasticsearch's home."""

    kafka: Path
    elasticsearch: Path


def distribution(report: Report) -> Distribution:
    """The servers' programs, fetched or repaired if need be.

    Raises StackError: no Maven, no JDK, a full disk, a file whose checksum is wrong twice.
    """
    root = cache_dir() / "servers"
    home = root / _version()
    open_folder(root)
    with exclusive(
        root / "lock", lambda: report("another netflight is fetching the servers: waiting for it")
    ):
        if home.is_dir():
            damaged = damaged_files(home, home / MANIFEST)
            if not damaged:
                return _located(home)
            report(f"{home / damaged[0]}: damaged; fetching the servers again")
            shutil.rmtree(home)
        _fetch_into(home, report)
    return _located(home)


def damaged_files(folder: Path, checksums: Path) -> list[str]:
    """The files that are missing in `folder` or differ from their line in `checksums` (sha256sum's format)."""
    try:
        lines = checksums.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    if not lines:
        return [checksums.name]
    damaged = []
    for line in lines:
        expected, _, name = line.partition("  ")
        try:
            if _sha256(folder / name) != expected:
                damaged.append(name)
        except OSError:
            damaged.append(name)
    return damaged


@contextmanager
def exclusive(path: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the lock file `path`; call `waiting` once if another process has it."""
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def maven(target: Path, repository: Path, log: Path, report: Report) -> None:
    """Run pom.xml into `target` through `repository`; Maven itself checks each download's checksum (-C)."""
    argv = [find_maven(), "--strict-checksums", "--batch-mode", "--no-transfer-progress", "--file", str(POM)]
    argv += [f"-Dnetflight.target={target}", f"-Dmaven.repo.local={repository}", "package"]
    environment = {**os.environ, "JAVA_HOME": str(find_java())}
    with (
        log.open("wb") as output,
        subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=environment
        ) as child,
    ):
        try:
            told, when = 0, time.monotonic()
            while child.poll() is None:
                time.sleep(0.2)
                now, here = time.monotonic(), _megabytes(repository)
                if here >= told + REPORT_MEGABYTES or now > when + REPORT_SECONDS:
                    told, when = here, now
                    report(f"fetched {here} MB of about 170")
        finally:
            child.terminate()
    if child.returncode != 0:
        raise StackError(
            f"mvn could not fetch the servers (exit code {child.returncode}):\n{tail(log)}",
            f"its whole output is in {log}; what it has fetched is kept for the next try",
        )


def _fetch_into(home: Path, report: Report) -> None:
    """Fetch, check, unpack, rename into place; what has a wrong checksum is fetched a second time."""
    require_space(home.parent, FETCH_GIGABYTES)
    repository = home.parent / "maven"
    for leftover in home.parent.glob("fetch-*"):
        shutil.rmtree(leftover)
    report("fetching Kafka and Elasticsearch (once; about 170 MB)")
    damaged: list[str] = []
    for _attempt in range(2):
        target = Path(tempfile.mkdtemp(prefix="fetch-", dir=home.parent))
        try:
            maven(target, repository, home.parent / "maven.log", report)
            damaged = damaged_files(target, CHECKSUMS)
            if not damaged:
                _install(target, home)
                shutil.rmtree(repository)
                report("Kafka and Elasticsearch are fetched, their checksums are right")
                return
        finally:
            shutil.rmtree(target, ignore_errors=True)
        report(f"{', '.join(damaged)}: not as {CHECKSUMS.name} says; fetching once more")
        for name in damaged:
            for copy in list(repository.rglob(Path(name).name)):
                shutil.rmtree(copy.parent)
    raise StackError(
        f"{', '.join(damaged)}: fetched twice, and the SHA-256 is not the one in {CHECKSUMS}",
        "is a mirror configured for Maven that changes files?",
    )


def _install(target: Path, home: Path) -> None:
    """Make what was fetched ready for use, then put it in place at once."""
    _unpack(target)
    _write_manifest(target)
    _open_to_all(target)
    target.rename(home)


def _unpack(target: Path) -> None:
    """Replace Elasticsearch's zip by its content, with its execute bits (zipfile does not set them)."""
    (archive,) = target.glob("elasticsearch-*.zip")
    with zipfile.ZipFile(archive) as content:
        for item in content.infolist():
            path = Path(content.extract(item, target))
            if not item.is_dir():
                path.chmod(0o755 if item.external_attr >> 16 & 0o100 else 0o644)
    (target / archive.stem).rename(target / "elasticsearch")
    archive.unlink()


def _write_manifest(target: Path) -> None:
    files = sorted(path for path in target.rglob("*") if path.is_file())
    lines = [f"{_sha256(path)}  {path.relative_to(target)}\n" for path in files]
    (target / MANIFEST).write_text("".join(lines), encoding="utf-8")


def _open_to_all(folder: Path) -> None:
    """Let every user read and enter, whatever our umask is: the servers run as another user."""
    for path in (folder, *folder.rglob("*")):
        mode = path.stat().st_mode
        path.chmod(0o755 if path.is_dir() or mode & 0o100 else 0o644)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _located(home: Path) -> Distribution:
    return Distribution(kafka=home / "kafka", elasticsearch=home / "elasticsearch")


def _version() -> str:
    """A name that changes with the pom and with the checksums."""
    return hashlib.sha256(POM.read_bytes() + CHECKSUMS.read_bytes()).hexdigest()[:16]


def _megabytes(folder: Path) -> int:
    size = 0
    for path in folder.rglob("*"):
        try:
            size += path.stat().st_size
        except FileNotFoundError:
            continue  # Maven renames a download when it is whole
    return size // 1_000_000


def main() -> int:
    """Fetch what pom.xml names into a temporary folder and print its checksums, sorted by name."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "target"
        maven(target, Path(folder) / "maven", Path(folder) / "log", lambda _: None)
        for path in sorted(path for path in target.rglob("*") if path.is_file()):
            sys.stdout.write(f"{_sha256(path)}  {path.relative_to(target)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
