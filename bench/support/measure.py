"""How both sides of a ratio are run: in turn, each in a process of its own, best of several."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from runtime.errors import NetflightError

ROOT = Path(__file__).resolve().parents[2]
_LIMIT_SECONDS = 1_800

Side = Callable[[], dict[str, Any]]
"""Runs one side once and returns its figures; `seconds` is among them."""


def in_turn(ours: Side, theirs: Side, runs: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run both sides in turn `runs` times; what `best` says of each."""
    done: tuple[list[dict[str, Any]], list[dict[str, Any]]] = [], []
    for _ in range(max(runs, 1)):
        for side, figures in zip((ours, theirs), done, strict=True):
            figures.append(side())
    return best(done[0]), best(done[1])


def best(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The figures of the fastest run, with the seconds of all as `runs`."""
    fastest = min(runs, key=lambda figures: float(figures["seconds"]))
    return {**fastest, "runs": [figures["seconds"] for figures in runs]}


def in_child(module: str, *arguments: str, cores: int = 0) -> dict[str, Any]:
    """Run `python -m MODULE ARGUMENTS` to its end; what it prints last is one line of JSON with its figures.

    It and its children have so many cores, the last ones, as the first has more of others' work; 0: all there are.
    Raises NetflightError with what it said where it fails.
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"}
    held = sorted(os.sched_getaffinity(0))[-cores:]
    argv = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(
        argv,
        capture_output=True,
        text=True,
        env=environment,
        check=False,
        timeout=_LIMIT_SECONDS,
        preexec_fn=partial(os.sched_setaffinity, 0, held),
    )
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        said = (done.stderr.strip().splitlines() or ["nothing was printed"])[-1]
        raise NetflightError(f"{module} {arguments[0]}: exit {done.returncode}: {said}")
    figures: dict[str, Any] = orjson.loads(lines[-1])
    return figures


def tell(figures: dict[str, Any]) -> None:
    """Print a child's figures for `in_child`."""
    sys.stdout.write(orjson.dumps(figures).decode() + "\n")


def wall_time(argv: Sequence[str | Path]) -> dict[str, Any]:
    """Run a command with its output thrown away; its wall time in seconds. NetflightError where it fails."""
    begin = time.perf_counter()
    done = subprocess.run(
        argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False, timeout=_LIMIT_SECONDS
    )
    seconds = time.perf_counter() - begin
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise NetflightError(
            f"{Path(argv[0]).name}: exit {done.returncode}: {said[-1] if said else 'no word'}"
        )
    return {"seconds": round(seconds, 3)}


def resident_bytes() -> int:
    """Resident memory of this process, in bytes (proc(5), /proc/self/status)."""
    return _memory("VmRSS")


def peak_bytes() -> int:
    """The most resident memory this process ever had, in bytes."""
    return _memory("VmHWM")


def _memory(name: str) -> int:
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields[name].split()[0]) * 1024
