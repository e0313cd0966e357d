"""Decoding captures in tests: what `netflight decode` does, with the events in hand."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import NamedTuple

import orjson

from producers.run import Outcome, Runner
from producers.sources.opening import expand
from runtime.settings import Settings
from schemas.events import Event
from schemas.jsonschema import validator
from tests.captures import captures

SAMPLES = Path(__file__).resolve().parents[1] / "samples"
FLOW = "network_traffic.flow"


class Decoded(NamedTuple):
    """What came of a run: the events as they were written, and the outcome."""

    events: list[Event]
    outcome: Outcome


def decode(paths: Sequence[Path | str], seen: Callable[[Event], None] | None = None) -> Decoded:
    """Decode captures in their order; every event has been JSON on its way. `seen` hears of each at once."""
    events: list[Event] = []

    def emit(event: Event) -> None:
        events.append(orjson.loads(orjson.dumps(event)))
        if seen is not None:
            seen(event)

    settings = Settings(sensor="test")
    return Decoded(events, Runner(settings, emit, threading.Event()).run_paths([str(path) for path in paths]))


@cache
def everything() -> dict[str, list[Event]]:
    """The events of every public capture and sample by its path, without the time they were made; not to be changed.

    It takes a while, so the tests that need it run in one process (tests/conftest.py).
    """
    paths = expand([str(captures()), str(SAMPLES)]).captures
    found: dict[str, list[Event]] = {path: [] for path in paths}
    with ThreadPoolExecutor(2) as pool:
        for events, outcome in pool.map(decode, (paths[::2], paths[1::2])):
            assert outcome.errors == []
            assert outcome.telemetry.labels("undecoded") == {}
            for event in events:
                del event["event"]["created"]
                found[event["log"]["file"]["path"]].append(event)
    return found


def check(decoded: Decoded) -> None:
    """What holds of any run, whatever the captures hold: the books close, every event is valid and unique."""
    accounting = decoded.outcome.accounting
    assert accounting.closes()
    for event in decoded.events:
        validator(event["event"]["dataset"])(event)
    ids = [event["event"]["id"] for event in decoded.events]
    assert len(set(ids)) == len(ids)
    final = [e for e in decoded.events if e["event"]["dataset"] == FLOW and e["flow"]["final"]]
    counted = sum(event["source"]["packets"] + event["destination"]["packets"] for event in final)
    assert counted == accounting.in_flows
    assert all("\n" not in str(error) for error in decoded.outcome.errors)
