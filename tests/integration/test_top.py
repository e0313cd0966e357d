"""`netflight top` beside a real worker: what it counts is what is shown, as JSON, as text and on a screen."""

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from bench.support.flow_stream import Filled, fill
from runtime.settings import KafkaSettings, Settings
from schemas.topics import topic
from streams.app import declare_topics
from tests.waiting import PATIENCE

ROOT = Path(__file__).resolve().parents[2]
TOP = [sys.executable, "-m", "cockpit", "top"]
EVENTS = 3_000
LEAVE_SCREEN = b"\x1b[?1049l"


@pytest.fixture
def settings(kafka: KafkaSettings, namespace: str, tmp_path: Path) -> Settings:
    found = Settings(namespace=namespace, kafka=kafka, state=tmp_path)
    declare_topics(found)
    return found


@pytest.fixture
def environment(settings: Settings) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "TERM": "xterm-256color",
        "NETFLIGHT_NAMESPACE": settings.namespace,
        "NETFLIGHT_STATE": str(settings.state),
        "NETFLIGHT_KAFKA__BOOTSTRAP": settings.kafka.bootstrap,
        "NETFLIGHT_WORKER__LATENESS": "60",
        "NETFLIGHT_WORKER__WEB_PORT": "0",
    }


@pytest.fixture
def filled(settings: Settings, environment: dict[str, str]) -> Iterator[Filled]:
    """The topic of flows with events in it, and a worker that reads them."""
    worker = subprocess.Popen([sys.executable, "-m", "streams"], cwd=ROOT, env=environment)
    try:
        yield fill(settings.kafka, topic(settings.namespace, "flow"), EVENTS)
    finally:
        worker.terminate()
        worker.wait(30)


def top(environment: dict[str, str], *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*TOP, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


def current(environment: dict[str, str], filled: Filled) -> dict[str, Any]:
    """The windows of traffic by protocol, when the worker has read everything."""
    deadline = time.monotonic() + PATIENCE
    wanted = max(start for start, _, _ in filled.sums)
    while time.monotonic() < deadline:
        done = top(environment, "--json", "--statistic", "traffic_by_protocol")
        assert done.returncode == 0, done.stderr
        (told,) = orjson.loads(done.stdout)["statistics"]
        if told["to_read"] == 0 and told["windows"] and told["windows"][-1]["start_ns"] >= wanted:
            return dict(told)
        time.sleep(1)
    raise AssertionError("the worker did not get on")


def test_the_windows_are_what_the_worker_has_counted(environment: dict[str, str], filled: Filled) -> None:
    told = current(environment, filled)
    assert 1 <= len(told["windows"]) < len({start for start, _, _ in filled.sums})
    assert told["windows"][0]["closed"]
    assert not told["windows"][-1]["closed"]
    for window in told["windows"]:
        got = {
            (window["start_ns"], group["network.protocol"], group["network.transport"]): (
                group["netflight.flows"],
                group["network.packets"],
                group["network.bytes"],
            )
            for group in window["groups"]
        }
        assert got == {place: sums for place, sums in filled.sums.items() if place[0] == window["start_ns"]}
    once = top(environment, "--statistic", "traffic_by_protocol")
    assert (once.returncode, once.stderr) == (0, "")
    assert "Traffic by protocol" in once.stdout
    assert "tls" in once.stdout
    every = top(environment, "--once").stdout
    assert "Traffic by protocol" in every
    assert "Top talkers" in every


def test_on_a_terminal_it_is_a_screen_that_ctrl_c_takes_away(
    environment: dict[str, str], filled: Filled
) -> None:
    current(environment, filled)
    pid, descriptor = pty.fork()
    if pid == 0:
        os.chdir(ROOT)
        os.execve(  # noqa: S606
            sys.executable, [*TOP, "--statistic", "traffic_by_protocol", "--interval", "0.3"], environment
        )
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    before = termios.tcgetattr(descriptor)
    shown = read_until(descriptor, b"q: quit")
    assert b"Traffic by protocol" in shown
    assert termios.tcgetattr(descriptor) != before
    assert not termios.tcgetattr(descriptor)[3] & termios.ICANON
    os.write(descriptor, b"\x03")
    assert LEAVE_SCREEN in read_until(descriptor, LEAVE_SCREEN)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert termios.tcgetattr(descriptor) == before
    os.close(descriptor)


def test_what_cannot_be_shown_is_one_line_with_the_next_step(
    environment: dict[str, str], namespace: str
) -> None:
    unknown = top(environment, "--statistic", "nosuch")
    assert unknown.returncode == 2
    assert unknown.stderr.startswith("error: statistic nosuch: there is none (one of capture_loss, ")
    elsewhere = top(environment, "--namespace", "nobody_was_here")
    assert elsewhere.returncode == 2
    assert elsewhere.stderr.startswith("error: namespace nobody_was_here: no worker has run there")
    assert namespace in elsewhere.stderr
    alone = top({**environment, "NETFLIGHT_KAFKA__BOOTSTRAP": "127.0.0.1:1"})
    assert alone.returncode == 1
    assert "error: Kafka at 127.0.0.1:1 does not answer" in alone.stderr
    nothing = top(environment)
    assert nothing.returncode == 0
    assert "nothing is counted yet" in nothing.stdout


def read_until(descriptor: int, wanted: bytes) -> bytes:
    """What a terminal shows until `wanted` is there."""
    seen = b""
    deadline = time.monotonic() + PATIENCE
    while wanted not in seen and time.monotonic() < deadline:
        if select.select([descriptor], [], [], 1)[0]:
            try:
                seen += os.read(descriptor, 65_536)
            except OSError:
                break  # the other side is gone
    return seen
