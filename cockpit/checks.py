"""What `./netflight test` runs: style, types, layers, then every test."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import IO

from runtime.errors import UsageError
from runtime.lifecycle import uninterrupted

ROOT = Path(__file__).resolve().parents[1]

STATIC: dict[str, list[str]] = {
    "ruff check": ["-m", "ruff", "check", "."],
    "ruff format": ["-m", "ruff", "format", "--check", "."],
    "mypy": ["-m", "mypy"],
    "import layers": [
        "-c",
        "import sys; from importlinter.cli import lint_imports_command as run; run(['--no-logo'])",
    ],
}


# The whole suite: two processes wait for servers, each for its own, and two of a lower priority do the rest meanwhile.
_BY_FILE = ["-n", "2", "--dist", "loadscope", "--no-loadscope-reorder", "--durations=25", "--durations-min=3"]
_SERVERS = ["-m", "servers", *_BY_FILE]
_REST = ["-m", "not servers", *_BY_FILE]
_LOWER = 15


def main(argv: Sequence[str]) -> int:
    """The command `test`: `argv` selects tests, in pytest's own words; returns the exit code."""
    return run(list(argv))


def run(selection: list[str]) -> int:
    """Run the checks in order, then pytest with `selection`; returns 0, or the first failing one's exit code.

    A failing check ends the run, and its name is on stderr. Otherwise pytest's summary is the last line on stdout.
    Raises UsageError where there is no checkout, but an installed package.
    """
    if not (ROOT / "tests").is_dir():
        raise UsageError(
            "netflight test: there are no tests here", "clone the repository, and ./netflight test"
        )
    for name, argv in STATIC.items():
        code = _told(name, argv)
        if code != 0:
            sys.stderr.write(f"the first failing check is {name}; the tests did not run\n")
            return code
    return _whole() if not selection else _told("pytest", ["-m", "pytest", *selection])


def _whole() -> int:
    """Both halves of the suite at once; the second one's output is printed when the first has ended."""
    with tempfile.TemporaryFile() as output, _running(["-m", "pytest", *_REST], output) as rest:
        os.setpriority(os.PRIO_PROCESS, rest.pid, _LOWER)
        began = time.monotonic()
        code = _told("pytest, with servers", ["-m", "pytest", *_SERVERS], rest)
        sys.stderr.write("pytest, the rest: it has run beside, and is printed when it ends\n")
        other, _ = _ended([rest])
        output.seek(0)
        shutil.copyfileobj(output, sys.stdout.buffer)
        sys.stdout.flush()
        _tell("pytest, the rest", other, time.monotonic() - began)
        return code or other


def _told(name: str, argv: list[str], *beside: subprocess.Popen[bytes]) -> int:
    """Run our own Python and say on stderr how it went; its exit code."""
    with _running(argv) as child:
        code, seconds = _ended([child, *beside])
    _tell(name, code, seconds)
    return code


def _tell(name: str, code: int, seconds: float) -> None:
    sys.stderr.write(f"{name}: {'right' if code == 0 else 'FAILED'} ({seconds:.1f} s)\n")


def _running(argv: list[str], output: IO[bytes] | None = None) -> subprocess.Popen[bytes]:
    """Our own Python at the root with `argv`."""
    sys.stdout.flush()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, *argv], cwd=ROOT, env=environment, stdout=output)


def _ended(children: list[subprocess.Popen[bytes]]) -> tuple[int, float]:
    """Wait for the first of the children; its exit code and the time in seconds.

    Whoever stops us waits until it has stopped its servers: Ctrl-C has reached all already, SIGTERM is passed on.
    """
    began = time.monotonic()

    def stop(_signum: int, _frame: FrameType | None) -> None:
        for child in children:
            child.send_signal(signal.SIGINT)

    with uninterrupted():
        signal.signal(signal.SIGTERM, stop)
        code = children[0].wait()
    return code, time.monotonic() - began
