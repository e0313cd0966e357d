"""Small captures that lack a segment: all else is told, nothing has failed for it, and what lacks a half says so."""

import shutil
from functools import cache
from pathlib import Path

import pytest

from schemas.events import Event, get
from tests.captures import faults
from tests.decoding import FLOW, check, decode

pytestmark = [
    pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed"),
    pytest.mark.timeout(300),
]
NAMES, COMPLETE = (
    ("http_loss", "http_loss_resp", "modbus_loss_req", "dns_tcp_loss", "tls_loss"),
    "modbus_noloss",
)


@cache
def told() -> dict[str, list[Event]]:
    """The events of each capture by its name."""
    found: dict[str, list[Event]] = {name: [] for name in (*NAMES, COMPLETE)}
    for names in (NAMES, [COMPLETE]):  # apart, because most events of it are those of another, ids included
        decoded = decode([faults() / f"{name}.pcap" for name in names])
        check(decoded)
        for event in decoded.events:
            found[Path(event["log"]["file"]["path"]).stem].append(event)
    return found


def of(name: str, dataset: str) -> list[Event]:
    """A capture's events of a dataset."""
    return [event for event in told()[name] if event["event"]["dataset"] == f"network_traffic.{dataset}"]


def outcomes(events: list[Event]) -> set[str | None]:
    return {get(event, "event.outcome") for event in events}


def missed(name: str) -> int:
    (flow,) = [
        event for event in told()[name] if event["event"]["dataset"] == FLOW and event["flow"]["final"]
    ]
    record = flow["netflight"]["flow"]
    sides = [record[side].get("missed_bytes", 0) for side in ("source", "destination")]
    assert sum(sides) == record["missed_bytes"]
    return int(record["missed_bytes"])


def test_a_request_that_lost_its_second_segment_leaves_the_others_alone() -> None:
    events = of("http_loss", "http")
    assert [(get(event, "url.path"), get(event, "http.response.status_code")) for event in events] == [
        *(("/r0", 200), (None, 201), ("/r2", 202), ("/r3", 203), ("/r4", 204)),
    ]
    assert [event.get("tags") for event in events] == [None, ["hole"], None, None, None]
    assert outcomes(events) == {"success"}
    assert missed("http_loss") == 378


def test_every_message_is_there_where_a_response_is_lost() -> None:
    events = of("http_loss_resp", "http")
    asked = [path for event in events if (path := get(event, "url.path")) is not None]
    answered = [code for event in events if (code := get(event, "http.response.status_code")) is not None]
    assert (sorted(asked), sorted(answered)) == ([f"/s{n}" for n in range(6)], [200, 202, 203, 204, 205])
    assert "failure" not in outcomes(events)
    assert any(event.get("tags") == ["hole"] for event in events)
    assert missed("http_loss_resp") > 0


def test_a_lost_request_takes_only_its_own_transaction() -> None:
    complete, events = of(COMPLETE, "modbus"), of("modbus_loss_req", "modbus")
    assert len(complete) == 40
    paired = [event for event in events if event["source"]["packets"] == event["destination"]["packets"] == 1]
    assert len(paired) == 39
    (alone,) = [event for event in events if event not in paired]
    assert (alone["source"]["packets"], alone["destination"]["packets"]) == (0, 1)
    assert alone["tags"] == ["hole"]
    assert "failure" not in outcomes(events)


def test_dns_over_tcp_goes_on_after_a_lost_query() -> None:
    events = of("dns_tcp_loss", "dns")
    names = [get(event, "dns.question.name") for event in events]
    assert names == [f"q{number}.example" for number in range(8)]
    assert [event["source"]["packets"] for event in events] == [1, 1, 0, 1, 1, 1, 1, 1]
    assert [number for number, event in enumerate(events) if event.get("tags") == ["hole"]] == [2]


def test_a_tls_client_is_known_where_the_servers_flight_lost_a_segment() -> None:
    (event,) = of("tls_loss", "tls")
    assert get(event, "tls.client.server_name") == "srv.example"
    assert get(event, "netflight.tls.client.ja4")
    assert event["tags"] == ["hole"]
