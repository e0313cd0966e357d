"""The local stack on the real servers. One further stack, `second`, is this file's own to stop and kill."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cockpit.stack import Stack, attach, down, elasticsearch, kafka, process, status, up
from cockpit.stack.fetch import distribution
from cockpit.stack.folder import stacks_folder
from runtime.errors import StackError
from runtime.kafka import admin, ensure_topics
from runtime.settings import KafkaSettings, cache_dir
from tests.waiting import wait_until

OWNER = """
import json, signal, sys, time
from cockpit.stack import up
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs are started without
with up("owned", ephemeral=True, quick=True, report=lambda line: print(json.dumps(line), flush=True)) as stack:
    stack.spawn("part", ["sleep", "120"])
    print(json.dumps({"folder": str(stack.folder), "pids": [part.pid for part in stack.status()]}), flush=True)
    time.sleep(120)
"""


@pytest.fixture(scope="module")
def second() -> Iterator[Stack]:
    """A named stack in a state folder of its own, which an unprivileged user can enter."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        Path(folder).chmod(0o755)
        patch.setenv("NETFLIGHT_STATE", folder)
        with up("second", quick=True) as running:
            yield running


def topics(stack: Stack) -> set[str]:
    found = admin(KafkaSettings(bootstrap=stack.kafka_bootstrap), "test").list_topics(timeout=15).topics
    return {name for name in found if not name.startswith("__")}


def owner() -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", OWNER],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )


def owned_by(pid: int) -> list[Path]:
    return list(stacks_folder().glob(f"owned-{pid}-*"))


def test_two_stacks_do_not_disturb_each_other(stack: Stack, second: Stack) -> None:
    ensure_topics(KafkaSettings(bootstrap=second.kafka_bootstrap), {"netflight.only.second": {}})
    assert "netflight.only.second" in topics(second)
    assert "netflight.only.second" not in topics(stack)
    addresses = {
        stack.kafka_bootstrap,
        stack.elasticsearch_url,
        second.kafka_bootstrap,
        second.elasticsearch_url,
    }
    assert len(addresses) == 4


def test_kafka_killed_and_started_again_has_its_topics_at_the_same_address(second: Stack) -> None:
    ensure_topics(KafkaSettings(bootstrap=second.kafka_bootstrap), {"netflight.kept.dns": {}})
    second.stop_server("kafka", kill=True)
    assert not second.part_alive("kafka")
    second.start_server("kafka")
    assert "netflight.kept.dns" in topics(second)


def test_a_stack_that_runs_is_attached_to_and_returned_by_up(second: Stack) -> None:
    attached = attach("second")
    assert attached is not None
    assert attached.environment() == second.environment()
    assert up("second").elasticsearch_url == second.elasticsearch_url
    states = {part.part: (part.state, part.address) for part in status("second")}
    assert states["kafka"] == ("running", second.kafka_bootstrap)
    assert states["elasticsearch"] == ("running", second.elasticsearch_url)
    with pytest.raises(StackError, match="not 20999"):
        up("second", kafka_port=20_999)


def test_servers_do_not_run_as_root_and_listen_on_loopback_only(second: Stack) -> None:
    for part in second.status():
        assert Path(f"/proc/{part.pid}").stat().st_uid != 0
    port = int(second.kafka_bootstrap.rpartition(":")[2])
    listening = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    listening += [line.split() for line in Path("/proc/net/tcp6").read_text().splitlines()[1:]]
    hosts = {
        line[1].partition(":")[0]
        for line in listening
        if line[1].endswith(f":{port:04X}") and line[3] == "0A"
    }
    assert hosts <= {"0100007F", "0000000000000000FFFF00000100007F"}
    assert hosts


def test_parts_are_spawned_with_the_environment_killed_and_restarted(second: Stack) -> None:
    code = "import os, time; print(os.environ['NETFLIGHT_KAFKA__BOOTSTRAP'], flush=True); time.sleep(60)"
    first = second.spawn("part", [sys.executable, "-c", code])
    wait_until(lambda: second.kafka_bootstrap in second.log("part").read_text())
    with pytest.raises(StackError, match="runs already"):
        second.spawn("part", ["true"])
    second.kill_part("part")
    assert not second.part_alive("part")
    assert second.restart_part("part") != first
    assert second.part_alive("part")
    second.stop_part("part")
    assert not second.part_alive("part")


def test_a_wanted_port_in_use_is_an_error_that_names_it() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(StackError, match=f"port {port} is in use"):
            up("taken", ephemeral=True, elasticsearch_port=port)


def test_a_server_that_dies_at_its_start_is_told_with_its_last_lines(
    monkeypatch: pytest.MonkeyPatch, second: Stack
) -> None:
    second.stop_server("kafka")
    monkeypatch.setenv("NETFLIGHT_KAFKA_HEAP", "1m")
    again = attach("second")
    assert again is not None
    with pytest.raises(StackError, match=r"(?s)kafka: died at its start.*heap.*log") as error:
        again.start_server("kafka")
    assert str(again.log("kafka")) in error.value.hint
    second.start_server("kafka")


def test_down_ends_every_process_and_keeps_the_data(second: Stack) -> None:
    second.spawn("part", ["sleep", "60"])
    records = [process.read_record(path) for path in second.folder.glob("parts/*.json")]
    assert len(records) == 3
    assert sorted(down("second")) == ["elasticsearch", "kafka", "part"]
    assert not any(process.alive(record) or process.members(record) for record in records if record)
    assert {part.state for part in status("second")} == {"stopped"}
    assert attach("second") is None
    assert (second.folder / "kafka" / "data" / "meta.properties").exists()
    assert down("second") == []
    down("second", remove=True)
    assert not second.folder.exists()


def test_sigkill_of_the_owner_leaves_nothing() -> None:
    with owner() as child:
        assert child.stdout is not None
        told = next(item for item in map(json.loads, child.stdout) if isinstance(item, dict))
        records = [process.identify(pid) for pid in told["pids"]]
        assert len(records) == 3
        assert all(process.alive(record) for record in records)
        child.kill()
    wait_until(lambda: not Path(told["folder"]).exists())
    assert not any(process.alive(record) or process.members(record) for record in records if record)


def test_ctrl_c_during_the_start_leaves_nothing() -> None:
    with owner() as child:
        assert child.stdout is not None
        assert any("starting" in line for line in child.stdout)
        wait_until(lambda: any(any(folder.glob("parts/*.json")) for folder in owned_by(child.pid)))
        records = [
            process.read_record(path) for path in stacks_folder().glob(f"owned-{child.pid}-*/parts/*.json")
        ]
        child.send_signal(signal.SIGINT)
        child.stdout.read()
    assert child.returncode != 0
    assert owned_by(child.pid) == []
    assert records
    assert not any(process.members(record) for record in records if record)


def test_a_damaged_and_a_half_downloaded_file_are_fetched_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stack: Stack
) -> None:
    assert stack.part_alive("elasticsearch")  # the cache is filled
    shutil.copytree(cache_dir(), tmp_path / "cache")
    monkeypatch.setenv("NETFLIGHT_CACHE", str(tmp_path / "cache"))
    programs = distribution(pytest.fail)
    jar = programs.kafka / "kafka_2.13-4.2.0.jar"
    whole = jar.read_bytes()
    jar.write_bytes(whole[: len(whole) // 2])
    # A download that an earlier run left in Maven's own folder: Maven takes it for whole.
    half = tmp_path / "cache/servers/maven/org/apache/kafka/kafka_2.13/4.2.0/kafka_2.13-4.2.0.jar"
    half.parent.mkdir(parents=True)
    half.write_bytes(jar.read_bytes())
    (tmp_path / "cache/servers/fetch-left").mkdir()
    told: list[str] = []
    distribution(told.append)
    assert jar.read_bytes() == whole
    assert any("damaged" in line for line in told)
    assert any("fetching once more" in line for line in told)
    assert sorted(path.name for path in (tmp_path / "cache/servers").iterdir() if path.is_dir()) == [
        programs.kafka.parent.name
    ]


def test_another_stacks_servers_are_not_taken_for_ours(stack: Stack, tmp_path: Path) -> None:
    data = tmp_path / "kafka" / "data"
    data.mkdir(parents=True)
    (data / "meta.properties").write_text("cluster.id=xEZ65uwOSHO45_TtCiC_AQ\n")
    assert kafka.ready(stack.kafka_bootstrap, stack.folder)
    assert not kafka.ready(stack.kafka_bootstrap, tmp_path)
    port, drawn = stack.plan.elasticsearch_port, stack.plan.controller_port
    assert elasticsearch.ready(port, f"netflight-{stack.name}-{drawn}")
    assert not elasticsearch.ready(port, f"netflight-{stack.name}-{drawn + 1}")
