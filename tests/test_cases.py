"""Every case: a capture and what must come out of it, in samples/*/case.yaml and tests/cases/*/case.yaml.

`capture` is a file beside case.yaml, `public` one of the public captures (the case is skipped without them).
expected.json beside it holds whole events: each must come out as it stands there, but for what differs from run to run.
"""

import json
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from producers.run import Runner
from runtime.settings import Settings
from schemas.events import Event, comparable, get
from schemas.jsonschema import validator
from schemas.model import datasets
from streams.app import load_rule_set
from tests.captures import captures

ROOT = Path(__file__).resolve().parents[1]
CASES = sorted([*ROOT.glob("samples/*/case.yaml"), *ROOT.glob("tests/cases/*/case.yaml")])


@pytest.fixture(scope="module", params=CASES, ids=[path.parent.name for path in CASES])
def played(request: pytest.FixtureRequest) -> tuple[dict[str, Any], list[Event], dict[str, Any]]:
    path: Path = request.param
    case = yaml.safe_load(path.read_text(encoding="utf-8"))
    events: list[Event] = []
    capture = captures() / case["public"] if "public" in case else path.parent / case["capture"]
    outcome = Runner(Settings(), events.append, threading.Event()).run_paths([str(capture)])
    assert outcome.errors == []
    wanted = path.parent / "expected.json"
    case["expected"] = json.loads(wanted.read_text(encoding="utf-8")) if wanted.exists() else []
    return case, events, outcome.summary()


def test_packets_are_accounted_for(played: tuple[dict[str, Any], list[Event], dict[str, Any]]) -> None:
    case, _, summary = played
    packets = summary["packets"]
    told = case.get("packets", {})
    assert {name: packets[name] for name in told} == told
    assert packets["read"] == packets["in_flows"] + packets["not_ip"] + packets["malformed"]
    assert summary["undecoded"] == {}


def test_event_counts(played: tuple[dict[str, Any], list[Event], dict[str, Any]]) -> None:
    case, events, _ = played
    counts = Counter(event["event"]["dataset"] for event in events)
    assert {name: counts[name] for name in case["events"]} == case["events"]


def test_events_are_there(played: tuple[dict[str, Any], list[Event], dict[str, Any]]) -> None:
    case, events, _ = played
    missing = [
        wanted for wanted in case.get("contains", ()) if not any(_holds(event, wanted) for event in events)
    ]
    assert missing == []


def test_whole_events_are_as_expected(played: tuple[dict[str, Any], list[Event], dict[str, Any]]) -> None:
    case, events, _ = played
    compared = [comparable(json.loads(json.dumps(event))) for event in events]
    for wanted in case["expected"]:
        about = [event for event in compared if event["event"]["id"] == wanted["event"]["id"]]
        assert about == [wanted]


def test_every_dataset_that_is_decoded_has_a_case_with_a_whole_event() -> None:
    shown = set()
    for path in CASES:
        wanted = path.parent / "expected.json"
        if wanted.exists():
            events = json.loads(wanted.read_text(encoding="utf-8"))
            shown |= {event["event"]["dataset"] for event in events}
    assert {d.dataset for d in datasets().values() if d.envelope == "packet"} - shown == set()


def test_every_event_is_valid(played: tuple[dict[str, Any], list[Event], dict[str, Any]]) -> None:
    _, events, _ = played
    for event in events:
        validator(event["event"]["dataset"])(event)


def test_event_ids_are_unique(played: tuple[dict[str, Any], list[Event], dict[str, Any]]) -> None:
    _, events, _ = played
    counts = Counter(event["event"]["id"] for event in events)
    assert [identity for identity, count in counts.items() if count > 1] == []


def test_rules_find_what_they_should_and_no_more(
    played: tuple[dict[str, Any], list[Event], dict[str, Any]],
) -> None:
    case, events, _ = played
    if "alerts" not in case:
        pytest.skip("the case is not about rules")
    rules = load_rule_set(Settings())
    found = {rule.title for event in events for rule in rules.match(event, event["event"]["dataset"])}
    assert found == set(case["alerts"])


def _holds(event: Event, wanted: dict[str, Any]) -> bool:
    return all(_matches(get(event, name), value) for name, value in wanted.items())


def _matches(found: object, wanted: object) -> bool:
    if isinstance(wanted, list):
        return isinstance(found, list) and all(item in found for item in wanted)
    if isinstance(found, list):
        return wanted in found
    return str(found) == str(wanted) if isinstance(found, str) else found == wanted
