"""The demo as a process of its own: what it shows, and what is left when it is stopped."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from cockpit.stack import process

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def state() -> Iterator[Path]:
    """A state folder that an unprivileged user can enter."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def demo(state: Path, *argv: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "cockpit", "demo", *argv],
        cwd=ROOT,
        env={**os.environ, "NETFLIGHT_STATE": str(state), "COLUMNS": "80"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def left_running(records: list[process.ProcessRecord]) -> list[process.ProcessRecord]:
    return [member for record in records for member in process.members(record)]


@pytest.mark.parametrize(
    ("signum", "moment"),
    [(signal.SIGTERM, "starting kafka"), (signal.SIGINT, "events published")],
)
def test_stopped_at_any_moment_it_leaves_nothing_running(
    state: Path, signum: signal.Signals, moment: str
) -> None:
    with demo(state) as child:
        assert child.stderr is not None
        assert any(moment in line for line in child.stderr)
        found = [process.read_record(path) for path in state.glob("stacks/demo/parts/*.json")]
        records = [record for record in found if record]
        child.send_signal(signum)
        rest = child.stderr.read().splitlines()
    assert rest[-1] == "error: interrupted"
    assert child.returncode == 130
    assert left_running(records) == []
    assert list(state.glob("stacks/demo/parts/*.json")) == []


def test_a_second_run_finds_every_document_there_already(state: Path) -> None:
    counts = []
    for _ in range(2):
        with demo(state, "--summary", str(state / "summary.json")) as child:
            shown, told = child.communicate()
        assert child.returncode == 0, told
        assert max(map(len, shown.splitlines())) <= 80
        counts.append(orjson.loads((state / "summary.json").read_bytes()))
    first, second = counts
    assert first["indexed"] > first["published"] > 0
    assert (first["duplicates"], second["indexed"]) == (0, 0)
    assert second["duplicates"] == first["indexed"]
    assert first["dead_letters"] == second["dead_letters"] == 0
