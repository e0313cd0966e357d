"""Ids that stay unique whatever the packets' times, and the limits of an event."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from producers.decoders.builder import EventBuilder
from producers.decoders.related import MAX_ITEMS, MAX_TEXT
from producers.decoders.transactions import Transaction
from producers.decoders.unit import Role, Unit
from producers.engine.model import FlowRecord
from schemas.events import Event
from schemas.jsonschema import validator
from tests.trees import decoder, flow, place

LONG = st.integers(-(2**63), 2**63 - 1)


def record(builder: EventBuilder, start_ns: int, end_ns: int) -> Event:
    ended = replace(flow(), start_ns=start_ns, end_ns=end_ns, end_reason="idle", state="OTH")
    event = builder.flow(FlowRecord(ended, final=True), "")
    validator("network_traffic.flow")(event)
    return event


def test_flows_that_begin_and_end_at_the_same_time_again_have_ids_of_their_own() -> None:
    def ids() -> list[str]:
        builder = EventBuilder("default", "test")
        return [record(builder, 5, 5)["event"]["id"] for _ in range(3)]

    assert len(set(ids())) == 3
    assert ids() == ids()


@given(LONG, LONG)
def test_any_times_make_a_valid_event(one: int, other: int) -> None:
    record(EventBuilder("default", "test"), min(one, other), max(one, other))


def http(builder: EventBuilder, fields: dict[str, object], time_ns: int = 0, **more: list[str]) -> Event:
    unit = Unit(Role.REQUEST, fields, place(flow(), time_ns=time_ns), "http", **more)  # type: ignore[arg-type]
    event = builder.transaction(decoder("http"), Transaction(unit, None))
    validator("network_traffic.http")(event)
    return event


def test_messages_of_one_packet_have_ids_of_their_own_and_the_same_each_time() -> None:
    def ids() -> list[str]:
        builder = EventBuilder("default", "test")
        return [http(builder, {}, time_ns)["event"]["id"] for time_ns in (1, 1, 2, 1)]

    assert len(set(ids())) == 4
    assert ids() == ids()


def test_neither_namespace_nor_sensor_is_in_an_id() -> None:
    assert (
        http(EventBuilder("a", "one"), {})["event"]["id"] == http(EventBuilder("b", "two"), {})["event"]["id"]
    )


def test_what_is_too_long_is_cut_and_named() -> None:
    event = http(
        EventBuilder("default", "test"),
        {"url.path": "x" * (MAX_TEXT + 1), "url.query": "x" * MAX_TEXT, "user_agent.original": "y" * 100_000},
        hosts=["h" * (MAX_TEXT + 1)],
    )
    assert event["netflight"]["field"]["truncated"] == ["url.path", "user_agent.original"]
    assert len(event["url"]["path"]) == len(event["related"]["hosts"][0]) == MAX_TEXT


def test_lists_are_cut_and_named_once() -> None:
    answers = [{"name": "n" * 9000, "type": "A", "class": "IN"}] * (MAX_ITEMS + 1)
    unit = Unit(
        Role.RESPONSE,
        {"dns.answers": answers, "dns.header_flags": []},
        place(flow("udp", 53)),
        "dns",
        extra=("", ""),
    )
    event = EventBuilder("default", "test").transaction(decoder("dns"), Transaction(None, unit))
    validator("network_traffic.dns")(event)
    assert len(event["dns"]["answers"]) == MAX_ITEMS
    assert event["netflight"]["field"]["truncated"] == ["dns.answers"]


def test_a_flow_s_direction_needs_local_networks() -> None:
    def direction(*networks: str) -> str:
        told: str = http(EventBuilder("default", "test", networks), {})["network"]["direction"]
        return told

    assert direction() == "external"
    assert direction("192.0.2.1/32") == "outbound"
    assert direction("192.0.2.2/32") == "inbound"
    assert direction("192.0.2.0/24", "2001:db8::/32") == "internal"
