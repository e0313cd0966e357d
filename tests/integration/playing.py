"""What the tests of the whole way share: the worker and the sink on a namespace, captures published to it."""

import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cockpit.pipeline import SINK, WORKER, start_parts
from cockpit.stack import Stack
from cockpit.stack.machine import choose_port
from producers.publisher import Publisher
from producers.run import Outcome, Runner
from runtime.settings import Settings
from runtime.telemetry import Telemetry
from tests.waiting import PATIENCE

IDLE_CLOSE = 8.0
WORKER_SETTINGS = {"NETFLIGHT_WORKER__IDLE_CLOSE": str(IDLE_CLOSE)}
QUIET = 3.0
LIMIT = PATIENCE


class parts:  # noqa: N801  # reads as what it does: with parts(...)
    """The worker and the sink on a namespace, for as long as the block lasts."""

    def __init__(self, stack: Stack, settings: Settings) -> None:
        self._stack, self._settings = stack, settings

    def __enter__(self) -> None:
        port = choose_port(
            None, None, set(), WORKER
        )  # another at every start, as when a machine's ports are busy
        env = {**WORKER_SETTINGS, "NETFLIGHT_WORKER__WEB_PORT": str(port)}
        start_parts(self._stack, self._settings.namespace, env)

    def __exit__(self, *_error: object) -> None:
        for part in (WORKER, SINK):
            self._stack.stop_part(part)


def play_settings(stack: Stack, namespace: str, **more: Any) -> Settings:
    """Settings of a namespace on the session's servers."""
    return Settings(
        namespace=namespace,
        sensor="test",
        kafka={"bootstrap": stack.kafka_bootstrap},
        elasticsearch={"urls": [stack.elasticsearch_url]},
        **more,
    )


def play(settings: Settings, captures: Iterable[Path]) -> Outcome:
    """Publish captures, one after the other, as `./netflight capture` does."""
    stop, telemetry = threading.Event(), Telemetry("producer")
    publisher = Publisher(settings, telemetry, stop)
    runner = Runner(settings, publisher.publish, stop, telemetry=telemetry)
    outcome = runner.run_paths([str(path) for path in captures])
    publisher.close()
    return outcome
