import json

import orjson
import pytest

from sinks.base import Result, Verdict
from sinks.elasticsearch.action import Action, action
from tests.events import sample

NOW = "2026-01-02T03:04:07.000Z"


def made(event: object) -> Action | Result:
    value = event if event is None or isinstance(event, bytes) else orjson.dumps(event)
    return action(value, "default", NOW)


def reason(event: object) -> str:
    result = made(event)
    assert isinstance(result, Result)
    assert result.verdict is Verdict.REJECTED
    assert result.error
    return result.reason


def test_value_goes_into_the_bulk_body_as_it_is_but_for_when_it_was_sent() -> None:
    begins, rest = (
        b'{"@timestamp":"2026","ecs":{"version":"8"},"event":{',
        (
            b'"id":"a","dataset":"network_traffic.dns"} , "x": 1.50e1,'
            b'  "data_stream":{"type":"logs","dataset":"network_traffic.dns","namespace":"default"}}'
        ),
    )
    result = action(begins + rest, "default", NOW)
    assert isinstance(result, Action)
    head, document = result.lines.split(b"\n", 1)
    assert document == begins + b'"ingested":"' + NOW.encode() + b'",' + rest + b"\n"
    assert json.loads(head) == {"create": {"_index": "logs-network_traffic.dns-default", "_id": "a"}}


@pytest.mark.parametrize("changed", [{}, {"event.ingested": "2020-01-01T00:00:00Z"}, {"@timestamp": 'a"b'}])
def test_every_document_says_once_when_it_was_sent(changed: dict[str, str]) -> None:
    event = sample("dns", **changed)
    reordered = dict(reversed(event.items()))
    for each in (event, reordered):
        result = made(each)
        assert isinstance(result, Action)
        document = result.lines.split(b"\n")[1]
        assert document.count(b'"ingested"') == 1
        assert orjson.loads(document) == {**event, "event": {**event["event"], "ingested": NOW}}


def test_newlines_between_tokens_do_not_split_the_bulk_body() -> None:
    event = sample("dns")
    result = made(json.dumps(event, indent=2).encode())
    assert isinstance(result, Action)
    assert result.lines.count(b"\n") == 2
    assert orjson.loads(result.lines.split(b"\n")[1]) == {
        **event,
        "event": {**event["event"], "ingested": NOW},
    }


@pytest.mark.parametrize(
    "value",
    [b"{nope", b"\xff\xfe", b'{"a": NaN}', b'{"a": "\n"}', b"\xef\xbb\xbf{}", b"[" * 100_000, b'"\\ud800"'],
)
def test_what_is_no_json_is_rejected(value: bytes | None) -> None:
    assert reason(value) == "not_json"


@pytest.mark.parametrize("value", [None, b""])
def test_message_without_a_value_is_rejected(value: bytes | None) -> None:
    assert reason(value) == "empty"


@pytest.mark.parametrize(
    "value", [b"[]", b"1", b'"text"', b"{}", b'{"event": [], "data_stream": {}}', b'{"event": {}}']
)
def test_json_that_is_no_event_is_rejected(value: bytes | None) -> None:
    assert reason(value) == "not_an_event"


@pytest.mark.parametrize(
    "name", ["nobody.knows", "../../_all", "", ["network_traffic.dns"], {"a": 1}, None, 7]
)
def test_dataset_nobody_knows_is_rejected(name: str) -> None:
    assert reason(sample("dns", **{"event.dataset": name})) == "unknown_dataset"


def test_data_stream_of_another_dataset_is_rejected() -> None:
    assert reason(sample("dns", **{"data_stream.dataset": "network_traffic.http"})) == "wrong_data_stream"
    assert reason(sample("dns", **{"data_stream.type": "metrics"})) == "wrong_data_stream"


@pytest.mark.parametrize(
    "namespace", ["other", "*", "default,other", "../default", "DEFAULT", "", None, ["default"], "default\n"]
)
def test_namespace_of_another_sink_is_rejected(namespace: object) -> None:
    assert reason(sample("dns", **{"data_stream.namespace": namespace})) == "wrong_namespace"


@pytest.mark.parametrize("event_id", [None, "", 7, ["a"], "x" * 513, "é" * 257])
def test_id_that_would_break_the_whole_bulk_request_is_rejected(event_id: object) -> None:
    assert reason(sample("dns", **{"event.id": event_id})) == "no_id"
