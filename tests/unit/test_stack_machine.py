import os
import socket
import tempfile
from pathlib import Path

import pytest

from cockpit.stack import machine
from cockpit.stack.server import heap
from runtime.errors import ConfigError, StackError


def fake_java(home: Path, version: str) -> Path:
    (home / "bin").mkdir(parents=True)
    (home / "bin" / "java").write_text("#!/bin/sh\n")
    (home / "bin" / "java").chmod(0o755)
    (home / "release").write_text(f'IMPLEMENTOR="Test"\nJAVA_VERSION="{version}"\n')
    return home


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with no Java on it."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    (tmp_path / "jvm").mkdir()
    return tmp_path


def test_a_missing_jdk_is_told_with_the_command_that_installs_it(bare: Path) -> None:
    with pytest.raises(StackError) as error:
        machine.find_java(bare / "jvm")
    assert "no Java 17 to 25" in error.value.what
    assert "apt-get install -y openjdk-17-jre-headless" in error.value.hint


def test_javas_that_do_not_fit_are_named(bare: Path) -> None:
    fake_java(bare / "jvm" / "eight", "1.8.0_402")
    fake_java(bare / "jvm" / "new", "27")
    with pytest.raises(StackError, match=r"eight is Java 8.*new is Java 27"):
        machine.find_java(bare / "jvm")


def test_the_lowest_version_that_fits_is_taken_from_the_folder(bare: Path) -> None:
    fake_java(bare / "jvm" / "a", "25.0.1")
    wanted = fake_java(bare / "jvm" / "b", "17.0.15")
    fake_java(bare / "jvm" / "c", "11.0.2")
    assert machine.find_java(bare / "jvm") == wanted


def test_java_home_goes_first_and_an_old_one_is_passed_over(
    bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_java(bare / "jvm" / "b", "17.0.15")
    named = fake_java(bare / "named", "21.0.2")
    monkeypatch.setenv("JAVA_HOME", str(named))
    assert machine.find_java(bare / "jvm") == named
    (named / "release").write_text('JAVA_VERSION="11.0.2"')
    assert machine.find_java(bare / "jvm") == bare / "jvm" / "b"


@pytest.mark.usefixtures("bare")
def test_a_missing_mvn_is_told_with_the_command_that_installs_it() -> None:
    with pytest.raises(StackError, match=r"no mvn on PATH.*apt-get install -y maven"):
        machine.find_maven()


def test_a_wanted_port_in_use_is_named() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(StackError, match=f"Kafka: port {port} is in use"):
            machine.choose_port(port, None, set(), "Kafka")


def test_a_liked_port_in_use_is_passed_over() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        assert machine.choose_port(None, port, set(), "Kafka") in machine.PORTS


def test_a_port_is_given_once() -> None:
    taken: set[int] = set()
    ports = [machine.choose_port(None, 31_999, taken, "Kafka") for _ in range(5)]
    assert len(set(ports)) == 5
    assert taken == set(ports)


def test_a_full_disk_is_told_before_the_start(tmp_path: Path) -> None:
    with pytest.raises(StackError, match=r"MiB free on this disk, 1,048,576,000 MiB needed"):
        machine.require_space(tmp_path, 1_024_000)
    machine.require_space(tmp_path, 0.001)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's servers run as another user")
def test_a_folder_the_servers_cannot_enter_is_told() -> None:
    with tempfile.TemporaryDirectory() as closed:  # made with mode 0700
        with pytest.raises(StackError, match=r"unprivileged user, who cannot read it.*NETFLIGHT_STATE"):
            machine.require_reachable(Path(closed), machine.unprivileged(), "NETFLIGHT_STATE")
        Path(closed).chmod(0o755)
        machine.require_reachable(Path(closed), machine.unprivileged(), "NETFLIGHT_STATE")


def test_new_folders_are_open_whatever_the_umask_is(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        machine.open_folder(tmp_path / "a" / "b")
    finally:
        os.umask(before)
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o755


def test_heaps_are_settable_and_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NETFLIGHT_KAFKA_HEAP", raising=False)
    assert heap("kafka") == "512m"
    monkeypatch.setenv("NETFLIGHT_KAFKA_HEAP", "2g")
    assert heap("kafka") == "2g"
    monkeypatch.setenv("NETFLIGHT_KAFKA_HEAP", "much")
    with pytest.raises(ConfigError, match="NETFLIGHT_KAFKA_HEAP: 'much'"):
        heap("kafka")
