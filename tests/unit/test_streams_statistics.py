"""Statistics: declarations, what they count from an event, and the events of their results."""

from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import ConfigError
from runtime.telemetry import Telemetry
from schemas.events import NANOSECONDS, Event, get
from schemas.jsonschema import validator
from streams.core.envelope import MalformedEventError, decode
from streams.core.results import Result, Row, result_events, rows_of
from streams.core.statistics import Statistic, load_statistics
from streams.home import worker_home
from streams.rules_tools import RULES
from streams.web import prometheus
from tests.events import sample

FOLDER = RULES / "statistics"
STATISTICS = load_statistics([FOLDER], 60.0)
TALKERS, PROTOCOLS = STATISTICS["top_talkers"], STATISTICS["traffic_by_protocol"]
FLOW: dict[str, Any] = {
    "flow.final": True,
    "source.ip": "192.0.2.1",
    "destination.ip": "192.0.2.2",
    "source.bytes": 10,
    "destination.bytes": 90,
    "network.bytes": 100,
    "network.packets": 4,
}


def test_a_host_is_counted_on_both_sides_of_a_flow() -> None:
    counted = TALKERS.count(sample("flow", **FLOW))
    assert counted == [(("192.0.2.1",), (1, 4, 100, 10, 90)), (("192.0.2.2",), (1, 4, 100, 90, 10))]


def test_a_host_that_talks_to_itself_is_counted_once() -> None:
    own = sample("flow", **{**FLOW, "destination.ip": "192.0.2.1"})
    assert TALKERS.count(own) == [(("192.0.2.1",), (1, 4, 100, 10, 90))]


@pytest.mark.parametrize("change", [{"flow.final": False}, {"flow.final": None}])
def test_interim_records_are_not_counted(change: dict[str, Any]) -> None:
    event = sample("flow", **{**FLOW, **change})
    assert list(TALKERS.count(event)) == []
    assert list(PROTOCOLS.count(event)) == []


def test_a_flow_without_protocol_is_in_the_group_unknown_and_without_address_in_none() -> None:
    event = sample("flow", **{**FLOW, "network.protocol": None, "source.ip": None, "destination.ip": None})
    assert list(PROTOCOLS.count(event)) == [(("unknown", "tcp"), (1, 4, 100))]
    assert list(TALKERS.count(event)) == []


@pytest.mark.parametrize("value", [[["a"]], [{}], [], {}, None])
def test_what_is_no_scalar_is_no_group_of_its_own(value: Any) -> None:
    event = {"flow": {"final": True}, "network": {"protocol": value, "transport": "tcp"}}
    assert [group for group, _ in PROTOCOLS.count(event)] == [("unknown", "tcp")]


def events_of(statistic: Statistic, result: Result) -> list[Event]:
    found = result_events(statistic, result, namespace="default", observer="w", created_ns=0)
    assert [group for group, _ in found] == [row.group for row in result.rows]
    return [event for _, event in found]


def test_results_are_valid_events_with_rank_and_ids_of_their_own() -> None:
    groups = {(f"192.0.2.{n}",): [1, 2, n * 10, n, n] for n in range(1, 15)}
    rows = rows_of(TALKERS, 60.0, groups)
    result = Result("top_talkers", 120 * NANOSECONDS, 180 * NANOSECONDS, 1, rows, [])
    events = events_of(TALKERS, result)
    for event in events:
        validator("netflight.top_talkers")(orjson.loads(orjson.dumps(event)))
    assert [get(e, "netflight.rank") for e in events] == list(range(1, 11))
    assert get(events[0], "host.ip") == ["192.0.2.14"]
    assert len({get(e, "event.id") for e in events}) == 10
    assert get(events[0], "netflight.window.end") == "1970-01-01T00:03:00.000000000Z"
    assert events_of(TALKERS, result) == events
    corrected = events_of(TALKERS, result._replace(revision=2))
    assert not {get(e, "event.id") for e in corrected} & {get(e, "event.id") for e in events}


def test_results_by_protocol_are_valid_events() -> None:
    rows = [Row(("tls", "tcp"), [1, 2, 3], {})]
    result = Result("traffic_by_protocol", 0, 60 * NANOSECONDS, 0, rows, [])
    (event,) = events_of(PROTOCOLS, result)
    validator("netflight.traffic_by_protocol")(orjson.loads(orjson.dumps(event)))
    assert (get(event, "network.protocol"), get(event, "network.bytes")) == ("tls", 3)


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"dataset": "nope"}, "dataset"),
        ({"emits": "nope"}, "emits"),
        ({"window": 0}, "window"),
        ({"colour": 1}, "colour"),
        ({"measures": {"network.bytes": "mean"}}, "measures.network.bytes"),
        ({"measures": {"network.bytes": {"count": True, "sum": "network.bytes"}}}, "measures.network.bytes"),
        ({"measures": {"network.bytes": {"sum": "network.bites"}}}, "network.bites"),
        ({"group_by": {"dns.nope": "network.protocol"}}, "dns.nope"),
        ({"group_by": {}}, "group_by"),
        ({"views": [{"source.ip": "destination.ip"}]}, "views.0"),
        (
            {
                "measures": {"network.bytes": {"top": "source.ip"}},
                "baseline": {"of": "network.bytes"},
            },
            "baseline.of: network.bytes is a list",
        ),
        ({"baseline": {"of": "x"}}, "baseline.of: x is no measure"),
        ({"top": {"by": "x", "limit": 3, "rank": "netflight.rank"}}, "top.by"),
    ],
)
def test_a_wrong_declaration_names_file_and_place(tmp_path: Path, change: dict[str, Any], place: str) -> None:
    declared = yaml.safe_load((FOLDER / "traffic_by_protocol.yaml").read_text())
    (tmp_path / "odd.yaml").write_text(yaml.safe_dump({**declared, **change}))
    with pytest.raises(ConfigError) as caught:
        load_statistics([tmp_path], 60.0)
    assert "odd.yaml" in str(caught.value)
    assert place in str(caught.value)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "not JSON"),
        (b"\xff", "not JSON"),
        (b"[]", "list"),
        (b"{}", "event"),
        (b'{"event":{"id":1,"dataset":"network_traffic.dns"}}', "event.id"),
        (b'{"event":{"id":"a"}}', "event.dataset"),
        (b'{"event":{"id":"a","dataset":"x"}}', "unknown"),
        (b'{"event":{"id":"a","dataset":"network_traffic.dns"},"@timestamp":3}', "@timestamp"),
        (b'{"event":{"id":"a","dataset":"network_traffic.dns"},"@timestamp":"yesterday"}', "@timestamp"),
    ],
)
def test_a_message_that_is_no_event_says_why(value: bytes | None, words: str) -> None:
    with pytest.raises(MalformedEventError, match=words):
        decode(value)


@given(st.binary(max_size=60))
def test_any_bytes_are_an_event_or_malformed(value: bytes) -> None:
    with pytest.raises(MalformedEventError):
        decode(value)


def test_workers_take_folders_of_their_own_and_keep_their_identity(tmp_path: Path) -> None:
    with worker_home(tmp_path, "default") as first, worker_home(tmp_path, "default") as second:
        assert first.path != second.path
        assert first.instance != second.instance
    with worker_home(tmp_path, "default") as again:
        assert again.instance == first.instance


@pytest.mark.parametrize("clean", [True, False])
def test_tables_are_kept_after_a_clean_stop_only(tmp_path: Path, *, clean: bool) -> None:
    with worker_home(tmp_path, "default") as home:
        table = home.path / "faust" / "table.db"
        table.parent.mkdir()
        table.touch()
        if clean:
            home.mark_clean()
    with worker_home(tmp_path, "default"):
        assert table.exists() is clean


def test_metrics_are_prometheus_text() -> None:
    telemetry = Telemetry("worker")
    telemetry.count("events", 'a"b', 2)
    assert prometheus(telemetry) == (
        '# TYPE netflight_worker_events_total counter\nnetflight_worker_events_total{label="a\\"b"} 2\n'
    )
