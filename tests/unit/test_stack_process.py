import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from cockpit.stack import process
from runtime.errors import StackError
from tests.waiting import PATIENCE

FAMILY = (
    "import subprocess, sys, time; subprocess.Popen(['sleep', '60']); print('up', flush=True); time.sleep(60)"
)
STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print('up', flush=True)
time.sleep(60)
"""


def run(code: str, log: Path) -> process.ProcessRecord:
    record = process.start([sys.executable, "-c", code], log=log, env=os.environ)
    deadline = time.monotonic() + PATIENCE
    while "up" not in log.read_text() and time.monotonic() < deadline:
        time.sleep(0.01)
    return record


def test_a_record_survives_the_disk(tmp_path: Path) -> None:
    record = process.identify(os.getpid())
    assert record is not None
    record.write(tmp_path / "me.json")
    assert process.read_record(tmp_path / "me.json") == record
    assert process.alive(record)


def test_a_damaged_record_is_no_record(tmp_path: Path) -> None:
    (tmp_path / "half.json").write_text('{"pid": 12')
    assert process.read_record(tmp_path / "half.json") is None
    assert process.read_record(tmp_path / "missing.json") is None


def test_a_recycled_pid_is_not_ours_and_not_killed() -> None:
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as other:
        try:
            now = process.identify(other.pid)
            former = replace(now, start=now.start - 1)
            assert not process.alive(former)
            assert process.members(former) == []
            process.stop(former, 0.1)
            assert other.poll() is None
        finally:
            other.kill()


def test_a_process_of_an_earlier_boot_is_not_ours() -> None:
    assert not process.alive(replace(process.identify(os.getpid()), boot="another"))


def test_stopping_ends_what_the_process_started_too(tmp_path: Path) -> None:
    record = run(FAMILY, tmp_path / "log")
    family = process.members(record)
    assert len(family) == 2
    process.stop(record, 0.2)
    assert not any(process.alive(member) for member in family)


def test_members_are_found_after_the_leader_has_died(tmp_path: Path) -> None:
    record = run(FAMILY, tmp_path / "log")
    process.send(record, signal.SIGKILL)
    while process.alive(record):
        time.sleep(0.01)
    assert len(process.members(record)) == 1
    process.kill(record)
    assert process.members(record) == []


def test_what_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    record = run(STUBBORN, tmp_path / "log")
    assert process.stop(record, 0.2) is False
    assert not process.alive(record)


def test_a_zombie_is_not_alive() -> None:
    with subprocess.Popen(["sleep", "60"]) as child:
        record = process.identify(child.pid)
        assert process.alive(record)
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert Path(f"/proc/{child.pid}").exists()
        assert not process.alive(record)


def test_a_program_that_cannot_start_is_named(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="no-such-program"):
        process.start(["./no-such-program"], log=tmp_path / "log", env={})


def test_the_tail_is_the_last_lines(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("\n".join(str(number) for number in range(100)))
    assert process.tail(tmp_path / "log", 2) == "98\n99"
    assert process.tail(tmp_path / "none") == ""
