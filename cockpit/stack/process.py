"""Processes that outlive the command that started them: a record on disk, never a bare PID.

A record holds the PID, the process' start time and the boot it belongs to, so that a recycled PID is never
taken for ours, and never killed. Signals go through a pidfd: between the check and the signal nothing can
change. Every process leads its own session, so what it started itself can be found after its death.
"""

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from runtime.errors import StackError

POLL_SECONDS = 0.05
LOG_TAIL_LINES = 12

# What this process started itself, by PID: the only ones it must reap, or they stay zombies.
_children: dict[int, subprocess.Popen[bytes]] = {}


@dataclass(frozen=True)
class Identity:
    """What makes a user id on this machine: its groups go with it."""

    uid: int
    gid: int


@dataclass(frozen=True)
class ProcessRecord:
    """A process as written to disk. `start` is in clock ticks since boot (proc(5), stat field 22)."""

    pid: int
    start: int
    boot: str
    address: str = ""

    def write(self, path: Path) -> None:
        """Write to `path`, whole or not at all."""
        draft = path.with_name(path.name + ".part")
        draft.write_text(json.dumps(asdict(self)), encoding="utf-8")
        draft.replace(path)


@dataclass(frozen=True)
class _Stat:
    state: str
    session: int
    start: int


def read_record(path: Path) -> ProcessRecord | None:
    """The record at `path`, or None where there is none or it is not one of ours."""
    try:
        return ProcessRecord(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def identify(pid: int) -> ProcessRecord | None:
    """The record of a running process, or None where it does not run."""
    stat = _stat(pid)
    return None if stat is None else ProcessRecord(pid, stat.start, _boot())


def start(
    argv: Sequence[str],
    *,
    log: Path,
    env: Mapping[str, str],
    cwd: Path | None = None,
    identity: Identity | None = None,
) -> ProcessRecord:
    """Start `argv` in a session of its own, its output appended to `log`; as `identity`, if one is given.

    Raises StackError where the program cannot be started.
    """
    try:
        with log.open("ab") as output:
            child = subprocess.Popen(
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env=dict(env),
                start_new_session=True,
                user=identity.uid if identity else None,
                group=identity.gid if identity else None,
                extra_groups=[] if identity else None,
            )
    except OSError as error:
        raise StackError(f"{argv[0]}: cannot be started: {error.strerror}", f"its log is {log}") from error
    _children[child.pid] = child
    stat = _stat(child.pid)
    return ProcessRecord(child.pid, stat.start if stat else 0, _boot())


def alive(record: ProcessRecord | None) -> bool:
    """Whether the recorded process, and not another with its PID, still runs."""
    if record is None or record.boot != _boot():
        return False
    child = _children.get(record.pid)
    if child is not None and child.poll() is not None:
        del _children[record.pid]
    stat = _stat(record.pid)
    return stat is not None and stat.start == record.start


def exit_code(record: ProcessRecord) -> int | None:
    """The exit code of a child of this process that has ended; None if it runs or is not our child."""
    child = _children.get(record.pid)
    return None if child is None else child.poll()


def stop(record: ProcessRecord, seconds: float) -> bool:
    """End the process with SIGTERM, after `seconds` with SIGKILL; then whatever it left running.

    Returns whether SIGTERM was enough.
    """
    send(record, signal.SIGTERM)
    clean = _await_end(record, seconds)
    kill(record)
    return clean


def kill(record: ProcessRecord) -> None:
    """SIGKILL the process and everything in its session, and wait until all of it is gone."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        rest = members(record)
        if not rest:
            return
        for member in rest:
            send(member, signal.SIGKILL)
        time.sleep(POLL_SECONDS / 5)
    raise StackError(f"process {record.pid}: does not end after SIGKILL", "it waits for a disk or the kernel")


def send(record: ProcessRecord, signum: signal.Signals) -> None:
    """Send a signal to exactly the recorded process; one that has ended is fine."""
    try:
        handle = os.pidfd_open(record.pid)
    except ProcessLookupError:
        return
    try:
        if alive(record):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, signum)
    except PermissionError as error:
        raise StackError(f"process {record.pid}: belongs to another user", "stop it as that user") from error
    finally:
        os.close(handle)


def members(record: ProcessRecord) -> list[ProcessRecord]:
    """The running processes of the session that the recorded process leads or led.

    A session's id is its leader's PID, and the kernel does not give that PID away while the session has
    members: a process with this PID and another start time means that the session is gone.
    """
    if record.boot != _boot():
        return []
    alive(record)
    leader = _stat(record.pid, zombies=True)
    if leader is not None and leader.start != record.start:
        return []
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            stat = _stat(int(entry.name))
            if stat is not None and stat.session == record.pid:
                found.append(ProcessRecord(int(entry.name), stat.start, record.boot))
    return found


def tail(log: Path, lines: int = LOG_TAIL_LINES) -> str:
    """The last lines of a log file, for an error message; empty where there is no such file."""
    try:
        text = log.read_bytes()[-65_536:].decode("utf-8", "replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])


def _await_end(record: ProcessRecord, seconds: float) -> bool:
    """Whether the whole session ended in time: a launcher may go before the server it launched."""
    deadline = time.monotonic() + seconds
    while members(record):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def _stat(pid: int, *, zombies: bool = False) -> _Stat | None:
    """The fields of /proc/PID/stat that are needed here; None for a process that is gone or a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command's name is in parentheses and may hold spaces and parentheses itself.
    fields = text.rpartition(")")[2].split()
    if fields[0] in "ZX" and not zombies:
        return None
    return _Stat(state=fields[0], session=int(fields[3]), start=int(fields[19]))
