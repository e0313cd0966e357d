"""What `./netflight test` runs: style, types, layers, then every test."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

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


# The whole suite, two processes at a time: the tests with servers, which wait most of their time, then the rest.
_BY_FILE = ["-n", "2", "--dist", "loadscope", "--no-loadscope-reorder", "--durations=25", "--durations-min=3"]
_WHOLE = (["-m", "servers", *_BY_FILE], ["-m", "not servers", *_BY_FILE])


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
        code, seconds = _python(argv)
        sys.stderr.write(f"{name}: {'passed' if code == 0 else 'FAILED'} ({seconds:.1f} s)\n")
        if code != 0:
            sys.stderr.write(f"the first failing check is {name}; the tests did not run\n")
            return code
    for arguments in [selection] if selection else _WHOLE:
        code, seconds = _python(["-m", "pytest", *arguments])
        sys.stderr.write(f"pytest: {'passed' if code == 0 else 'FAILED'} ({seconds:.1f} s)\n")
        if code != 0:
            return code
    return 0


def _python(argv: list[str]) -> tuple[int, float]:
    """Run our own Python at the root with `argv`; its exit code and its time in seconds.

    Whoever stops us waits until it has stopped its servers: Ctrl-C has reached it already, SIGTERM is passed on.
    """
    began = time.monotonic()
    sys.stdout.flush()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, *argv], cwd=ROOT, env=environment) as child, uninterrupted():
        signal.signal(signal.SIGTERM, lambda _signum, _frame: child.send_signal(signal.SIGINT))
        code = child.wait()
    return code, time.monotonic() - began
