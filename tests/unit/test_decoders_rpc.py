"""Brokers, calls and remote procedures from hand-made trees, and from trees that no tshark would print."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from producers.decoders.sasl import octets, plain
from producers.decoders.secrets import Credentials, Secret
from producers.decoders.transactions import Transaction, tracker_for
from producers.decoders.unit import Place, Role
from schemas.model import datasets
from tests.trees import decoder, event, flow, place, units

DATASETS = ("kafka", "mqtt", "amqp", "sip", "rtp", "nfs", "radius", "thrift")


def told(name: str, layers: list[tuple[str, dict[str, Any], Place]]) -> list[Transaction]:
    """What comes of layers of one flow, at once."""
    made = decoder(name)
    tracker = tracker_for(made)
    return [
        done
        for protocol, layer, where in layers
        for unit in made.units(layer, protocol, where)
        for done in tracker.add(unit)
    ]


def amqp(number: tuple[int, int], where: Place, **arguments: str) -> tuple[str, dict[str, Any], Place]:
    about = {f"amqp.method.arguments.{name}": value for name, value in arguments.items()}
    frame = {"amqp.type": "1", "amqp.channel": "1", "amqp.method.arguments": about}
    return "amqp", frame | {"amqp.method.class": str(number[0]), "amqp.method.method": str(number[1])}, where


def test_a_return_code_that_is_no_number_gives_no_reason() -> None:
    (unit,) = units("mqtt", {"mqtt.msgtype": "2", "mqtt.conack.val": ""}, place(flow(port=1883)))
    assert unit.status == "Error"
    assert "netflight.mqtt.reason" not in unit.fields


def test_a_message_that_is_fetched_is_one_event_with_its_head() -> None:
    on = flow(port=5672)
    asked, answered = place(on), place(on, 2, forward=False)
    head = {"amqp.type": "2", "amqp.channel": "1", "amqp.header.body-size": "12"}
    done = told(
        "amqp",
        [
            amqp((60, 70), asked, queue="north"),
            amqp((60, 71), answered, routing_key="north.new"),
            ("amqp", head, answered),
        ],
    )
    assert len(done) == 1
    made = event("amqp", request=done[0].request, response=done[0].response)
    assert made["amqp"] == {
        "class-id": 60,
        "method-id": 70,
        "method": "basic.get",
        "queue": "north",
        "routing-key": "north.new",
        "body-size": 12,
    }
    assert made["network_traffic"]["status"] == "OK"


def test_a_close_answers_what_failed_and_is_answered() -> None:
    on = flow(port=5672)
    close = amqp(
        (20, 40),
        place(on, 2, forward=False),
        reply_code="404",
        reply_text="no",
        class_id="60",
        method_id="70",
    )
    done = told("amqp", [amqp((60, 70), place(on), queue="gone"), close, amqp((20, 41), place(on, 3))])
    assert [
        (d.request and d.request.fields["amqp.method"], d.response and d.response.status) for d in done
    ] == [
        ("basic.get", "Error"),
        ("channel.close", "OK"),
    ]
    assert done[0].response is not None
    assert done[0].response.fields["error.code"] == "404"


def test_rpc_waits_for_the_program_s_layer_of_the_same_packet() -> None:
    on = flow(port=2049)
    where = place(on)

    def call(xid: str, program: str) -> dict[str, Any]:
        return {"rpc.xid": xid, "rpc.msgtyp": "0", "rpc.program": program, "rpc.programversion": "3"} | {
            "rpc.procedure": "3"
        }

    made = decoder("nfs")
    layers = [("rpc", call("0x1", "100003")), ("rpc", call("0x2", "100003")), ("rpc", call("0x3", "99"))]
    layers += [("nfs", {"nfs.name": "one"}), ("nfs", {"nfs.name": "two"})]
    found = [unit for name, layer in layers for unit in made.units(layer, name, where)]
    assert [(u.fields["rpc.xid"], u.fields.get("file.name"), u.fields.get("nfs.opcode")) for u in found] == [
        ("3", None, None),
        ("1", "one", "LOOKUP"),
        ("2", "two", "LOOKUP"),
    ]
    assert list(made.units(call("0x4", "100003"), "rpc", where)) == []
    late = list(made.units(call("0x5", "99"), "rpc", place(on, 2)))
    assert [unit.fields["rpc.xid"] for unit in late] == ["4", "5"]


def test_kafka_tells_only_the_head_of_a_layout_that_tshark_does_not_know() -> None:
    head = {
        "kafka.request_key": "3",
        "kafka.api_version": "13",
        "kafka.correlation_id": "7",
        "kafka.len": "9",
    }
    body = {"kafka.topic_name": "readings", "kafka.client_id": "me"}
    unknown = {"_ws.expert": {"kafka.unsupported_api_version": ""}}
    where = place(flow(port=9092))
    known, other = (units("kafka", head | body | more, where)[0].fields for more in ({}, unknown))
    assert known["netflight.kafka.topic"] == ["readings"]
    assert "netflight.kafka.topic" not in other
    assert other["netflight.kafka.client_id"] == "me"
    assert (known["netflight.kafka.layout_known"], other["netflight.kafka.layout_known"]) == (True, False)


def test_a_producer_that_wants_no_answer_waits_for_none() -> None:
    layer = {"kafka.request_key": "0", "kafka.correlation_id": "1", "kafka.required_acks": "0"}
    assert units("kafka", layer, place(flow()))[0].role is Role.SINGLE


def test_kafka_s_plain_login_is_seen() -> None:
    layer = {"kafka.request_key": "36", "kafka.correlation_id": "1"}
    (unit,) = units("kafka", layer | {"kafka.sasl_authentication": "00:61:00:62"}, place(flow()))
    assert unit.credentials == [Credentials("a", "b", "PLAIN")]


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("sip:bob@example.com:5070;lr", ("sip", "bob", "example.com", 5070)),
        ("SIPS:[2001:db8::1]:5061", ("sips", None, "2001:db8::1", 5061)),
        ("tel:+49-89", ("tel", "+49-89", None, None)),
        ("sip:host:99999", ("sip", None, "host", None)),
    ],
)
def test_addresses_have_parts(address: str, parts: tuple[object, ...]) -> None:
    fields = units("sip", {"sip.Method": "OPTIONS", "sip.r-uri": address}, place(flow("udp", 5060)))[0].fields
    assert tuple(fields.get(f"sip.uri.{part}") for part in ("scheme", "username", "host", "port")) == parts


def test_passwords_of_sip_are_secrets() -> None:
    layer = {"sip.Method": "REGISTER", "sip.r-uri": "sip:bob:hunter2@example.com"}
    (unit,) = units("sip", layer | {"sip.Authorization": "Basic Ym9iOnNlY3JldA=="}, place(flow("udp", 5060)))
    assert unit.credentials == [
        Credentials("bob", "hunter2", "SIP URI"),
        Credentials("bob", "secret", "Basic"),
    ]
    assert isinstance(unit.fields["sip.uri.original"], Secret)
    assert "hunter2" not in str(event("sip", request=unit))


def test_streams_are_told_by_their_first_packets() -> None:
    on = flow("udp", 6000)

    def packet(source: str, number: int) -> tuple[str, dict[str, Any], Place]:
        layer = {"rtp.ssrc": source, "rtp.seq": str(number % 65_536), "rtp.p_type": "8", "rtp.timestamp": "1"}
        return "rtp", layer, place(on, number)

    numbers = (65_534, 65_535, 65_538, 65_539, 65_540)
    done = told("rtp", [packet(source, number) for number in numbers for source in ("0x1", "0x2")])
    assert len(done) == 2
    made = event("rtp", parts=done[0].parts)["netflight"]["rtp"]
    assert (made["ssrc"], made["codec"]) == ("00000001", ["PCMA"])
    assert (made["packets_seen"], made["packets_missing"]) == (4, 2)


def test_values_of_thrift_are_texts_in_their_order() -> None:
    header = "Field Header #"
    inner = {f"{header}1": {"thrift.type": "0x08", "thrift.fid": "1"}, "thrift.i32": "5"}
    data = {
        f"{header}1": {"thrift.type": "0x0b", "thrift.fid": "1"},
        f"{header}2": {"thrift.type": "0x0f", "thrift.fid": "2"},
        f"{header}4": {"thrift.type": "0x0b", "thrift.fid": "4"},
        f"{header}7": {"thrift.type": "0x0d", "thrift.fid": "7"},
        "thrift.string": ['a "b"', "c"],
        "thrift.list": {"thrift.type": "0x0c", "thrift.num_list_item": "2", "thrift.struct": [inner, inner]},
        "thrift.map": {"thrift.type": ["0x0b", "0x02"], "thrift.num_map_item": "9"},
    }
    layer = {"thrift.mtype": "0x01", "thrift.method": "S:m", "thrift.seq_id": "1", "Data": data}
    fields = units("thrift", layer, place(flow()))[0].fields
    unknown = ", ".join(["?: ?"] * 9)
    assert fields["thrift.params"] == f'(1: "a \\"b\\"", 2: [(1: 5), (1: 5)], 4: "c", 7: {{{unknown}}})'
    assert fields["thrift.service"] == "S"


def test_a_plain_response_has_three_parts() -> None:
    assert plain(octets("00:61:00:62")) == Credentials("a", "b", "PLAIN")
    for text in ("", "61:00:62", "00:00:62", "00:61:00:62:00", "zz"):
        assert plain(octets(text)) is None


def test_a_datagram_sent_again_is_no_request() -> None:
    layer = {"radius.code": "1", "radius.id": "5"}
    assert len(units("radius", layer, place(flow("udp", 1812)))) == 1
    assert units("radius", layer | {"radius.dup": "5"}, place(flow("udp", 1812))) == []


def names_of(dataset: str) -> list[str]:
    made = decoder(dataset)
    found = made.extra_fields() | {
        name for spec in datasets()[dataset].fields.values() for name in spec.tshark
    }
    return sorted(found | set(datasets()[dataset].transaction.key))  # type: ignore[union-attr]


VALUES = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        ["", "0", "1", "2", "3", "36", "60", "0x01", "-1", "4294967296", "9" * 30, "00:61:00:62"]
    ),
)


@pytest.mark.parametrize("dataset", DATASETS)
@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())  # slow at first: an event compiles its schema
def test_nothing_in_a_tree_makes_a_decoder_fail(dataset: str, data: st.DataObject) -> None:
    names = [
        *names_of(dataset),
        "thrift.mtype",
        "thrift.type",
        "Data",
        "Field Header #1",
        "rtp.seq",
        "rtp.ssrc",
    ]
    trees = st.recursive(
        st.one_of(VALUES, st.lists(VALUES, max_size=3)),
        lambda inner: st.dictionaries(st.sampled_from(names), st.one_of(inner, st.lists(inner, max_size=2))),
        max_leaves=12,
    )
    layer = data.draw(st.dictionaries(st.sampled_from(names), trees, max_size=10))
    spec = datasets()[dataset].tshark
    assert spec is not None
    made, on = decoder(dataset), flow("udp")
    tracker = tracker_for(made)
    done = [
        transaction
        for forward in (True, False)
        for protocol in spec.protocols
        for unit in made.units(layer, protocol, place(on, forward=forward))
        for transaction in tracker.add(unit)
    ]
    for transaction in (*done, *tracker.close()):
        event(dataset, request=transaction.request, response=transaction.response, parts=transaction.parts)
