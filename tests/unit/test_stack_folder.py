import threading
from pathlib import Path

import pytest

from cockpit.stack import attach, down, status
from cockpit.stack.fetch import CHECKSUMS, POM, damaged_files, exclusive
from cockpit.stack.folder import Plan, read_plan, stack_folder
from runtime.errors import StackError, UsageError


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NETFLIGHT_STATE", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("name", ["", "..", "a/b", "UP", "-x", "a" * 60])
def test_a_stack_name_cannot_leave_the_folder(name: str) -> None:
    with pytest.raises(UsageError, match="not a name"):
        stack_folder(name)


def test_a_stack_that_never_was_has_no_status_and_nothing_to_stop() -> None:
    assert status("never") == []
    assert down("never") == []
    assert attach("never") is None


def test_a_plan_survives_the_disk(state: Path) -> None:
    plan = Plan(1, 2, 3)
    plan.write(state)
    assert read_plan(state) == plan


def test_a_damaged_plan_is_named(state: Path) -> None:
    (state / "stack.json").write_text("{")
    with pytest.raises(StackError, match=r"stack\.json: unreadable"):
        read_plan(state)


def test_every_fetched_file_has_a_checksum_and_the_pinned_versions() -> None:
    names = [line.split("  ")[1] for line in CHECKSUMS.read_text().splitlines()]
    assert "kafka/kafka_2.13-4.2.0.jar" in names
    assert "elasticsearch-8.19.21.zip" in names
    assert len(names) == len(set(names)) > 40
    assert "4.2.0" in POM.read_text()


def test_a_changed_a_missing_and_an_unlisted_state_are_damage(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("abc")
    sums = tmp_path / "sums"
    assert damaged_files(tmp_path, sums) == ["sums"]
    sums.write_text("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  file\n")
    assert damaged_files(tmp_path, sums) == []
    (tmp_path / "file").write_text("ab")
    assert damaged_files(tmp_path, sums) == ["file"]
    (tmp_path / "file").unlink()
    assert damaged_files(tmp_path, sums) == ["file"]


def test_the_second_at_a_lock_waits_for_the_first(tmp_path: Path) -> None:
    told = threading.Event()
    order = []

    def second() -> None:
        with exclusive(tmp_path / "lock", told.set):
            order.append("second")

    with exclusive(tmp_path / "lock", lambda: None):
        thread = threading.Thread(target=second, daemon=True)
        thread.start()
        assert told.wait(10)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]
