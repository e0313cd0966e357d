"""Packets of QUIC as tshark prints them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.decoders.tree import Tree
from producers.decoders.unit import Unit
from tests.trees import decoder, event, flow, place, units

ON = flow("udp", 443)


def packet(kind: str = "0", version: str = "0x00000001", **more: Any) -> Tree:
    ids = {"quic.dcid": "2f:AD", "quic.scid": "c1:05"}
    named = {f"quic.{name}": value for name, value in more.items()}
    return {"quic.version": version, "quic.long.packet_type": kind, **ids, **named}


def hello(kind: str = "1") -> Tree:
    said = {"tls.handshake.type": kind, "tls.handshake.extensions_server_name": "a.example"}
    return packet(frame={"tls": {"tls.handshake": said}})


def parts(*layers: tuple[Tree, bool], protocol: str = "quic") -> tuple[Unit, ...]:
    return tuple(
        unit
        for number, (layer, forward) in enumerate(layers, start=1)
        for unit in units("quic", layer, place(ON, number, forward=forward), protocol)
    )


def test_a_connection() -> None:
    short: Tree = {"quic.short": {"quic.fixed_bit": "1"}}
    server = packet("2", dcid="c1:05", scid="ef:01")
    assert parts((short, True)) == ()
    connection = parts((hello(), True), (packet("1"), True), (server, False), (packet("2"), True))
    assert decoder("quic").told_all(list(connection))
    built = event("quic", parts=connection)
    assert built["netflight"]["quic"] == {
        "version": "1",
        "original_destination_connection_id": "2fad",
        "client": {"connection_id": "c105"},
        "server": {"connection_id": "ef01"},
        "retry": False,
        "early_data": True,
        "established": True,
    }
    assert built["tls"]["client"]["server_name"] == "a.example"
    assert built["event"]["outcome"] == "success"


def test_a_retry_and_an_unknown_version() -> None:
    retry, choice = (
        packet("3", scid="99"),
        packet("", "0x00000000", supported_version=["0x6b3343cf", "0x1a2a3a4a"]),
    )
    built = event("quic", parts=parts((hello(), True), (retry, False), (choice, False)))
    told = built["netflight"]["quic"]
    assert (told["retry"], told["supported_versions"], "server" in told) == (True, ["2"], False)


def test_who_said_hello_is_the_client() -> None:
    built = event("quic", parts=parts((hello(), False)))
    assert built["source"]["ip"] == "192.0.2.2"


def test_a_closed_connection_failed() -> None:
    closing = packet(frame={"quic.cc.error_code": "10", "quic.cc.reason_phrase": "no"})
    built = event("quic", parts=parts((hello(), True), (closing, False)))
    assert (built["error"], built["event"]["outcome"]) == ({"code": "10", "message": "no"}, "failure")


@pytest.mark.parametrize(
    ("number", "name"),
    [
        ("0x00000001", "1"),
        ("0x6b3343cf", "2"),
        ("0xff00001d", "draft-29"),
        ("0x51303530", "Q050"),
        ("0xfaceb002", "0xfaceb002"),
    ],
)
def test_versions(number: str, name: str) -> None:
    assert parts((packet(version=number), True))[0].fields["netflight.quic.version"] == name


def test_google_s_and_facebook_s() -> None:
    asked = {
        "gquic.version": "Q043",
        "gquic.tag": "CHLO",
        "tag": {"gquic.tag.sni": "a.example", "gquic.tag.uaid": "u"},
    }
    built = event("quic", parts=parts((asked, True), ({"gquic.tag": "REJ"}, False), protocol="gquic"))
    assert built["netflight"]["quic"] == {"version": "Q043", "messages": ["CHLO", "REJ"]}
    assert (built["user_agent"]["original"], built["network"]["protocol"]) == ("u", "quic")
    assert parts(({"gquic.payload": "00"}, True), protocol="gquic") == ()
    zero = parts(({"fb_zero.tag": "CHLO", "fb_zero.tag.version": "QTV1"}, True), protocol="fb_zero")
    assert event("quic", parts=zero)["network"]["protocol"] == "fbzero"


NAMES = (
    *("quic.version", "quic.long.packet_type", "quic.long.packet_type_v2", "quic.supported_version"),
    *("quic.dcid", "quic.scid", "quic.short", "gquic.version", "tls.handshake.type"),
    *("tls.quic.parameter.initial_max_data", "quic.cc.error_code"),
)
TEXTS = st.text(max_size=12) | st.sampled_from(
    ["1", "0x00000001", "0xff00001d", "-1", "99999999999999999999"]
)


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(NAMES),
            TEXTS | st.lists(TEXTS, max_size=40) | st.dictionaries(TEXTS, TEXTS, max_size=2),
        ),
        max_size=4,
    )
)
def test_any_packets_make_a_valid_event(layers: list[Tree]) -> None:
    found = parts(*((layer, index % 2 == 0) for index, layer in enumerate(layers)))
    if found:
        event("quic", parts=found)
