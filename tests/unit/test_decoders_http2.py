"""Streams of HTTP/2 from frames as tshark prints them."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from producers.decoders.base import Decoder
from producers.decoders.tree import Tree
from producers.decoders.unit import Role, Unit
from tests.trees import decoder, event, flow, place

ON = flow()
HEADERS, PUSH_PROMISE, CONTINUATION = "1", "5", "9"
REQUEST = {":method": "GET", ":scheme": "https", ":path": "/x?y=z", ":authority": "a.example"}


def frame(kind: str, stream: int, headers: dict[str, str], *, ends: bool = True, **more: str) -> Tree:
    items = [{"http2.header.name": name, "http2.header.value": value} for name, value in headers.items()]
    fields = {"http2.type": kind, "http2.streamid": str(stream), "http2.flags": "0x05" if ends else "0x01"}
    return {**fields, "http2.header": items, **{f"http2.{name}": value for name, value in more.items()}}


def layer(*frames: Tree) -> Tree:
    return {"http2.stream": list(frames)}


def read(tree: Tree, *, forward: bool = True, by: Decoder | None = None, number: int = 1) -> list[Unit]:
    return list((by or decoder("http")).units(tree, "http2", place(ON, number, forward=forward)))


def test_streams_meet_their_responses() -> None:
    asked = read(layer(frame(HEADERS, 3, REQUEST), frame(HEADERS, 5, REQUEST | {"user-agent": "u/1"})))
    status = {":status": "404", "content-type": "text/html; charset=x", "content-length": "7"}
    answered = read(layer(frame(HEADERS, 5, status)), forward=False)
    assert [unit.key for unit in asked] == [("3",), ("5",)]
    assert [unit.key for unit in answered] == [("5",)]
    built = event("http", request=asked[1], response=answered[0])
    assert built["http"]["version"] == "2"
    assert built["http"]["response"] == {
        "status_code": 404,
        "mime_type": "text/html",
        "body": {"bytes": 7},
        "headers": {"content-type": "text/html; charset=x"},
    }
    assert built["url"]["full"] == "https://a.example:80/x?y=z"
    assert built["user_agent"]["original"] == "u/1"
    assert built["event"]["outcome"] == "failure"


def test_trailers_are_no_message() -> None:
    (end,) = read(layer(frame(HEADERS, 3, {"sum": "5"})))
    assert (end.role, end.key, end.extra[0], end.extra[2]) == (Role.PART, ("3",), b"", (True, False))


def test_a_push_is_a_request_of_the_client_s() -> None:
    promise = frame(PUSH_PROMISE, 1, REQUEST, **{"push_promise.promised_stream_id": "2"})
    (pushed,) = read(layer(promise), forward=False)
    assert (pushed.key, pushed.place.from_initiator) == (("2",), True)
    built = event("http", request=pushed)
    assert built["source"]["ip"] == "192.0.2.1"
    http = built["netflight"]["http"]
    assert (http["stream"], http["pushed"]) == (2, True)


def test_a_head_goes_on_in_other_packets() -> None:
    http = decoder("http")
    assert read(layer(frame(HEADERS, 1, REQUEST, ends=False)), by=http, number=1) == []
    other = read(layer(frame(HEADERS, 1, {":status": "200"})), forward=False, by=http, number=2)
    assert [unit.role for unit in other] == [Role.RESPONSE]
    assert read(layer(frame(CONTINUATION, 1, {"user-agent": "u/1"}, ends=False)), by=http, number=3) == []
    (whole,) = read(layer(frame(CONTINUATION, 1, {"referer": "http://b.example/"})), by=http, number=4)
    assert (whole.place.frame, whole.fields["user_agent.original"]) == (1, "u/1")
    assert whole.fields["http.request.referrer"] == "http://b.example/"


def test_the_rest_of_a_head_that_was_not_seen_is_nothing() -> None:
    assert read(layer(frame(CONTINUATION, 1, {":method": "GET"}))) == []


def test_heads_that_never_end_are_given_up() -> None:
    http = decoder("http")
    for port in range(1200):
        on = flow(port=port)
        on.uid = port
        where = place(on)
        assert list(http.units(layer(frame(HEADERS, 1, REQUEST, ends=False)), "http2", where)) == []
    assert len(http._heads._open) == 1000  # type: ignore[attr-defined]  # noqa: SLF001  # what bounds it


def test_an_upgraded_request_is_answered_on_stream_1() -> None:
    http = decoder("http")
    line = {"http.request.method": "GET", "http.request.uri": "/", "http.request.version": "HTTP/1.1"}
    (asked,) = http.units({"line": line, "http.upgrade": "h2c"}, "http", place(ON))
    switched = {"http.response.code": "101", "http.upgrade": "h2c", "http.response.version": "HTTP/1.1"}
    (switch,) = http.units(switched, "http", place(ON, forward=False))
    (answer,) = read(layer(frame(HEADERS, 1, {":status": "200"})), forward=False, by=http)
    assert http.interim(switch)
    assert asked.key == answer.key
    built = event("http", request=asked, response=answer)
    assert (built["http"]["version"], built["netflight"]["http"]["upgrade"]) == ("2", "h2c")


def test_a_switch_to_websocket_is_final() -> None:
    http = decoder("http")
    (switch,) = http.units(
        {"http.response.code": "101", "http.upgrade": "WebSocket"}, "http", place(ON, forward=False)
    )
    assert not http.interim(switch)
    assert switch.fields["netflight.http.upgrade"] == "websocket"


TEXTS = st.text(max_size=20)
VALUES: Any = st.recursive(
    TEXTS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=5
)
NAMES = st.sampled_from(
    ["http2.type", "http2.streamid", "http2.flags", "http2.header", "http2.push_promise.promised_stream_id"]
)


@given(st.lists(st.dictionaries(NAMES, VALUES), max_size=4))
def test_any_frames_are_read(frames: list[Tree]) -> None:
    read({"http2.stream": frames})


@given(
    st.sampled_from([HEADERS, PUSH_PROMISE, CONTINUATION]),
    st.dictionaries(
        st.sampled_from([*REQUEST, ":status", "authorization", "content-length", ":protocol"]), TEXTS
    ),
)
def test_any_headers_make_valid_events(kind: str, headers: dict[str, str]) -> None:
    for unit in read(layer(frame(kind, 1, headers, **{"push_promise.promised_stream_id": "4"}))):
        if unit.role is not Role.PART:
            event("http", **{"request" if unit.role is Role.REQUEST else "response": unit})
