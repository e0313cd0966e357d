"""The pool of tsharks: the same events from any number of children, policies compared, children killed and replaced."""

import random
import shutil
import signal
import subprocess
import threading
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pytest

from producers.decoders.pool import Limits
from producers.run import Outcome, Runner
from producers.sources.opening import expand
from runtime.settings import Settings, TsharkSettings
from schemas.events import Event
from tests.captures import captures
from tests.decoding import FLOW, check
from tests.decoding import Decoded as Told
from tests.integration.test_decode_hostile import flow_facts, strike

pytestmark = [
    pytest.mark.skipif(shutil.which("mergecap") is None, reason="tshark and mergecap are not installed"),
]
SAMPLES = Path(__file__).resolve().parents[2] / "samples"
DAY = SAMPLES / "office_day" / "capture.pcap"

# Connections in which tshark, given every byte, takes a head for the rest of a body (see docs/decoding.md).
BETTER_WITHOUT_BULK = {
    ("http", "1:C741cjL+vodhYEUM7lVPbZ1ykf4="),  # LDAP_KRB5
    ("http", "1:CqB79EoGjEcL7vCfSrxjtQi4CL8="),  # Modbus
    ("http", "1:sR+PF+XuOMwlnB/Q5J8eQ10fHWo="),
}
# tshark's words about a packet that no dataset needs: the 17th of an unknown protocol (ROCPlus.pcap, frame 299).
NOT_DECODED = {("anomaly", "1:t7yiM93FOHgtJ0mLCf65SSfvgyA=")}


class Decoded(NamedTuple):
    """Events by id, in their order, without the time they were made; and the outcome."""

    events: dict[str, Event]
    outcome: Outcome


def decode(
    path: Path, state: Path, *, children: int = 1, policy: str = "default", seen: Any = None
) -> Decoded:
    events: dict[str, Event] = {}

    def emit(event: Event) -> None:
        told = orjson.loads(orjson.dumps(event))
        del told["event"]["created"]
        assert told["event"]["id"] not in events
        events[told["event"]["id"]] = told
        if seen is not None:
            seen()

    settings = Settings(sensor="test", state=state, tshark=TsharkSettings(children=children))
    runner = Runner(settings, emit, threading.Event(), policy=policy)
    return Decoded(events, runner.run_paths([str(path)]))


def flows(decoded: Decoded) -> list[Event]:
    """Flow records without what tshark adds to them."""
    records = [event for event in decoded.events.values() if event["event"]["dataset"] == FLOW]
    return [
        flow_facts({**event, "event": {**event["event"], "created": ""}})
        for event in orjson.loads(orjson.dumps(records))
    ]


def merged(folder: Path, *paths: Path) -> Path:
    """All captures below the paths in one, one after the other."""
    found = expand([str(path) for path in paths]).captures
    command = ["mergecap", "-a", "-F", "pcapng", "-w", folder / "merged.pcapng"]
    subprocess.run([*command, *found], check=True, capture_output=True)
    return folder / "merged.pcapng"


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folders = (captures() / name for name in ("arkime", "ja4", "protocols"))
    return merged(tmp_path_factory.mktemp("merged"), *folders, SAMPLES)


@pytest.fixture(scope="module")
def alone(everything: Path, tmp_path_factory: pytest.TempPathFactory) -> Decoded:
    return decode(everything, tmp_path_factory.mktemp("state"))


def test_any_number_of_children_tells_the_same_in_the_same_order(tmp_path: Path) -> None:
    capture = merged(tmp_path, captures() / "protocols")
    one = decode(capture, tmp_path)
    for children in (2, 3):
        several = decode(capture, tmp_path, children=children)
        assert several.events == one.events
        assert list(several.events) == list(one.events)
        assert several.outcome.restarts == [0] * children


def test_the_default_policy_tells_what_decoding_everything_tells(
    everything: Path, alone: Decoded, tmp_path: Path
) -> None:
    whole = decode(everything, tmp_path, policy="all")
    decoded, possible = (d.outcome.telemetry.total("decoded") for d in (alone, whole))
    assert decoded < possible / 2
    different = {
        (event["event"]["dataset"].rpartition(".")[2], event["network"].get("community_id"))
        for mine, theirs in ((alone.events, whole.events), (whole.events, alone.events))
        for name, event in mine.items()
        if theirs.get(name) != event
    }
    assert different == BETTER_WITHOUT_BULK | NOT_DECODED


def days(folder: Path, count: int) -> Path:
    """The same day so many times, one after the other: the children are still at work when the first events come."""
    copies = [folder / f"day{number}.pcap" for number in range(count)]
    for number, copy in enumerate(copies):
        subprocess.run(["editcap", "-t", str(number * 86_400), DAY, copy], check=True, capture_output=True)
    whole = folder / "days.pcap"
    subprocess.run(["mergecap", "-a", "-F", "pcap", "-w", whole, *copies], check=True, capture_output=True)
    return whole


def test_killed_children_cost_no_flow_and_no_more_than_what_was_in_flight(tmp_path: Path) -> None:
    capture = days(tmp_path, 8)
    whole = decode(capture, tmp_path / "whole", children=2)
    chance = random.Random(7)
    strikes = {chance.randrange(5, 400) for _ in range(4)}
    heard = 0

    def kill() -> None:
        nonlocal heard
        heard += 1
        if heard in strikes:
            strike(signal.SIGKILL)

    killed = decode(capture, tmp_path / "killed", children=2, seen=kill)
    outcome = killed.outcome
    check(
        Told(
            [{**e, "event": {**e["event"], "created": e["@timestamp"]}} for e in killed.events.values()],
            outcome,
        )
    )
    assert flows(killed) == flows(whole)
    assert outcome.errors == []
    assert sum(outcome.restarts) >= 1
    summary = outcome.summary()
    missing = [
        e
        for e in whole.events.values()
        if e["event"]["dataset"] != FLOW and e["event"]["id"] not in killed.events
    ]
    assert len(missing) <= sum(summary["lost"].values()) + sum(summary["undecoded"].values())
    assert 1 <= len(summary["quarantined"]) <= sum(outcome.restarts)
    for file in summary["quarantined"]:
        told = subprocess.run(["capinfos", "-k", file], check=True, capture_output=True, text=True).stdout
        assert "tshark ended (SIGKILL)" in told


def test_a_child_that_has_filled_its_memory_hands_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = decode(DAY, tmp_path)
    monkeypatch.setattr(
        "producers.run.Limits", lambda memory: Limits(memory // 1024, grace=0.05, interval=0.0)
    )
    replaced = decode(DAY, tmp_path)
    assert replaced.outcome.telemetry.total("hand_overs") >= 1
    assert replaced.outcome.telemetry.labels("undecoded") == {}
    assert flows(replaced) == flows(whole)
    kinds = [Counter(e["event"]["dataset"] for e in d.events.values()) for d in (whole, replaced)]
    assert kinds[0] == kinds[1]
