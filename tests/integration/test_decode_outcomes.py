"""No event fails without its evidence: over every public capture, the fields that each dataset says show a failure."""

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from producers.decoders.registry import decoder_for
from schemas.events import Event, get
from schemas.model import Dataset, Evidence, datasets
from tests.decoding import everything

# Events of which one side's packets say how it went: a server's request or notice, a client that rejects a message.
ONE_SIDED = {
    "network_traffic.amqp",
    "network_traffic.mqtt",
    "network_traffic.dhcpv6",
    "network_traffic.profinet",
}

pytestmark = pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")


def _values(event: Event, field: str) -> Iterator[Any]:
    found = get(event, field)
    yield from found if isinstance(found, list) else () if found is None else (found,)


def _as_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _shows(evidence: Evidence, event: Event) -> bool:
    values = list(_values(event, evidence.field))
    if evidence.least is not None:
        return any(value >= evidence.least for value in values)
    if evidence.values:
        return any(_as_text(value) in evidence.values for value in values)
    return any(_as_text(value) not in evidence.but for value in values)


def _decoded() -> list[Dataset]:
    return [dataset for dataset in datasets().values() if dataset.transaction is not None]


@pytest.mark.parametrize("dataset", [dataset.name for dataset in _decoded()])
def test_every_dataset_with_an_outcome_says_what_it_means(dataset: str) -> None:
    of = datasets()[dataset]
    if decoder_for(of).has_outcome:
        assert of.outcome is not None


def test_evidence_is_read_as_it_is_written() -> None:
    event: Event = {"error": {"code": "5"}, "http": {"status": 404}, "codes": [0, 3], "granted": False}
    assert _shows(Evidence.model_validate({"field": "error.code"}), event)
    assert not _shows(Evidence.model_validate({"field": "error.code", "but": ["5"]}), event)
    assert _shows(Evidence.model_validate({"field": "http.status", "from": 400}), event)
    assert not _shows(Evidence.model_validate({"field": "http.status", "from": 500}), event)
    assert _shows(Evidence.model_validate({"field": "codes", "but": ["0"]}), event)
    assert _shows(Evidence.model_validate({"field": "granted", "in": ["false"]}), event)
    assert not _shows(Evidence.model_validate({"field": "error.message"}), event)


@pytest.mark.timeout(1200)
def test_no_failure_without_its_evidence() -> None:
    of = {dataset.dataset: dataset for dataset in _decoded()}
    failures, bare = 0, []
    for path, events in everything().items():
        for event in events:
            if event["event"].get("outcome") != "failure":
                continue
            failures += 1
            outcome = of[event["event"]["dataset"]].outcome
            if outcome is None or not any(_shows(evidence, event) for evidence in outcome.evidence):
                bare.append((path, event["event"]["dataset"], get(event, "netflight.frame.first")))
    assert failures > 1000
    assert bare == []


@pytest.mark.timeout(1200)
def test_where_no_packet_of_the_server_was_seen_the_outcome_is_unknown() -> None:
    known = [
        (path, event["event"]["dataset"], get(event, "netflight.frame.first"))
        for path, events in everything().items()
        for event in events
        if event["event"].get("outcome") in ("success", "failure")
        and get(event, "destination.packets") == 0
        and event["event"]["dataset"] not in ONE_SIDED
    ]
    assert known == []
