"""The tsharks that start before they are needed."""

import subprocess
import sys
from pathlib import Path

from producers.ahead import Ahead, default_children
from runtime.settings import TsharkSettings

SETTINGS = TsharkSettings()


def test_what_was_started_first_is_taken_first_and_what_nobody_took_is_ended(tmp_path: Path) -> None:
    small = tmp_path / "small.pcap"
    small.write_bytes(b"\0" * 100)
    with Ahead(SETTINGS) as ahead:
        ahead.begin([str(small)])
        ahead.prepare("-")
        taken = ahead.take(str(small))
        left = ahead.take("-")
        ahead.prepare(str(small))
        (never_taken,) = ahead._waiting[0]  # noqa: SLF001  # it is to be seen ending
        assert never_taken.resident
    assert not never_taken.resident
    assert [len(taken), len(left)] == [1, default_children()]
    for child in (*taken, *left):
        assert child.resident
        child.close()


def test_nothing_starts_for_a_folder_and_what_was_not_started_is_when_taken(tmp_path: Path) -> None:
    with Ahead(TsharkSettings(children=3)) as ahead:
        ahead.begin([str(tmp_path)])
        assert not ahead._waiting  # noqa: SLF001  # nothing else shows that none runs
        taken = ahead.take("")
    assert len(taken) == 3
    for child in taken:
        child.close()


def test_starting_ahead_loads_neither_numpy_nor_numba() -> None:
    code = "import sys, producers.ahead; sys.exit(bool({'numpy', 'numba'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
