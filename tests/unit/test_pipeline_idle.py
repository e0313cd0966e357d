"""While nothing comes, time goes on from the latest packet's time, whatever the clock of this machine says."""

import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from producers import pipeline
from producers.decoders.builder import EventBuilder
from producers.engine.model import Accounting
from producers.pipeline import Pipeline
from producers.sources.packet import Block, RawPacket, block_of
from runtime.telemetry import Telemetry

SECOND = 10**9


class Parts:
    """An engine and a pool that decode nothing; the engine notes what time it is asked to advance to."""

    def __init__(self) -> None:
        self.accounting = Accounting()
        self.advanced: list[int] = []
        self.pending = self.backlog = 0
        self.error = None

    def advance(self, now_ns: int) -> Iterator[Any]:
        self.advanced.append(now_ns)
        return iter(())

    def close(self) -> Iterator[Any]:
        return iter(())

    def nudge(self) -> None: ...

    def exchange(self, seconds: float) -> None: ...

    def finish(self) -> Iterator[None]:
        return iter(())


@pytest.mark.parametrize("start_ns", [0, 10**18, 4 * 10**18])
def test_idle_time_is_packet_time_plus_what_has_passed(
    monkeypatch: pytest.MonkeyPatch, start_ns: int
) -> None:
    clock, parts = [5 * SECOND], Parts()
    monkeypatch.setattr(pipeline.time, "monotonic_ns", lambda: clock[0])
    monkeypatch.setattr(Pipeline, "_queue_up", lambda *_: None)
    parts_any: Any = parts
    parts_any.feed = lambda _block: None

    def blocks() -> Iterator[Block]:
        nothing = block_of([])
        yield nothing  # before the first packet there is no time to advance
        for seconds in (7, 3):  # the second is late
            yield block_of([RawPacket(1, start_ns + seconds * SECOND, 1, b"", 0, "")])
            for _ in range(2):
                clock[0] += 10 * SECOND
                yield nothing

    source: Any = SimpleNamespace(blocks=blocks, dropped=0, progress=None, path="")
    plan: Any = SimpleNamespace(decoders=())
    nothing: Any = None
    running = Pipeline(
        *(source, parts_any, plan, parts_any),
        builder=EventBuilder("default", "test"),
        emit=nothing,
        telemetry=Telemetry("producer"),
    )
    running.run(threading.Event())
    passed = [moment - start_ns for moment in parts.advanced]
    assert passed == [seconds * SECOND for seconds in (17, 27, 17, 27)]
