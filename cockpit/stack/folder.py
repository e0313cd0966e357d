"""A stack on disk: `stacks/NAME` with its ports and owner, a record per process, their logs."""

import json
import re
import secrets
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from cockpit.stack.keeper import end
from cockpit.stack.machine import open_folder
from cockpit.stack.process import ProcessRecord, alive, identify
from runtime.errors import StackError, UsageError
from runtime.settings import state_dir

NAME_PATTERN = r"[a-z0-9][a-z0-9_-]{0,40}"
SERVERS: tuple[Literal["kafka", "elasticsearch"], ...] = ("kafka", "elasticsearch")


@dataclass(frozen=True)
class Plan:
    """What a stack keeps between starts: its ports, and the process it must not outlive, if there is one.

    `quick` servers start in two thirds of the time, and do less a second: the JVM's optimising compiler is off.
    """

    kafka_port: int
    controller_port: int
    elasticsearch_port: int
    owner: ProcessRecord | None = None
    quick: bool = False

    def write(self, folder: Path) -> None:
        """Write to the stack's folder."""
        (folder / "stack.json").write_text(json.dumps(asdict(self)), encoding="utf-8")


def read_plan(folder: Path) -> Plan | None:
    """The plan in a stack's folder, or None where there is none."""
    try:
        values = json.loads((folder / "stack.json").read_text(encoding="utf-8"))
        owner = values.pop("owner")
        return Plan(**values, owner=ProcessRecord(**owner) if owner else None)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StackError(f"{folder / 'stack.json'}: unreadable: {error}", f"remove {folder}") from error


def stacks_folder() -> Path:
    """The folder of all stacks."""
    return state_dir() / "stacks"


def stack_folder(name: str) -> Path:
    """The folder of the stack `name`; raises UsageError for a name that is none."""
    if not re.fullmatch(NAME_PATTERN, name):
        raise UsageError(f"stack {name!r}: not a name", "lower-case letters, digits, - and _, 41 at most")
    return stacks_folder() / name


def ephemeral_name(name: str, owner: ProcessRecord) -> str:
    """A name no other stack has."""
    return f"{name[:20]}-{owner.pid}-{secrets.token_hex(3)}"


def new_owner(pid: int) -> ProcessRecord:
    """The record of a running process that a stack is bound to."""
    owner = identify(pid)
    if owner is None:
        raise StackError(f"process {pid}: does not run")
    return owner


def open_stack(folder: Path) -> None:
    """Make the stack's folder."""
    for part in ("parts", "logs", "state"):
        open_folder(folder / part)


def part_names(folder: Path) -> list[str]:
    """The parts that were started and not stopped, without the servers, sorted."""
    return sorted(path.stem for path in folder.glob("parts/*.json") if path.stem not in SERVERS)


def remove_stack(folder: Path) -> None:
    """Remove a stopped stack with its data and logs."""
    shutil.rmtree(folder, ignore_errors=True)


def sweep() -> None:
    """End and remove ephemeral stacks whose owner and keeper are both gone (after a reboot, for example)."""
    for path in stacks_folder().glob("*/stack.json"):
        plan = read_plan(path.parent)
        if plan is not None and plan.owner is not None and not alive(plan.owner):
            end(path.parent)
