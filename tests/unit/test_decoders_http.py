"""HTTP heads with targets, hosts and sizes of every kind."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.decoders.tree import Tree
from producers.decoders.unit import Unit
from schemas.events import Event, get
from tests.trees import decoder, event, flow, place, units

ON = flow()


def request(target: str = "/", *, method: str = "GET", **headers: str) -> Tree:
    line = {"http.request.method": method, "http.request.uri": target, "http.request.version": "HTTP/1.1"}
    return {
        f"{method} {target} HTTP/1.1\\r\\n": line,
        **{f"http.{name}": value for name, value in headers.items()},
    }


def response(code: int, **headers: str | list[str]) -> Tree:
    line = {"http.response.version": "HTTP/1.0", "http.response.code": str(code)}
    return {"HTTP/1.0": line, **{f"http.{name}": value for name, value in headers.items()}}


def one(layer: Tree, *, forward: bool = True) -> Unit:
    (found,) = units("http", layer, place(ON, 1 if forward else 2, forward=forward))
    return found


def told(target: str, host: str, method: str = "GET") -> Event:
    return event("http", request=one(request(target, method=method, host=host)))


@pytest.mark.parametrize(
    ("target", "host", "domain", "port", "path"),
    [
        ("/a/b?c=d?e#f", "a.example", "a.example", 80, "/a/b"),
        ("/", "a.example:8080", "a.example", 8080, "/"),
        ("/", "[2001:db8::1]:8443", "2001:db8::1", 8443, "/"),
        ("/", "2001:db8::1", "2001:db8::1", 80, "/"),
        ("http://b.example:81/x", "", "b.example", 81, "/x"),
        ("HTTP://user:secret@b.example/x", "", "b.example", 80, "/x"),
        ("/", "a.example:99999", "a.example", 80, "/"),
        ("/", "[2001:db8::1]:99999", "2001:db8::1", 80, "/"),
        ("/", "a.example:-1", "a.example", 80, "/"),
        ("/", "[fe80::1%25eth0]:80", "fe80::1%25eth0", 80, "/"),
        ("/", "[", None, 80, "/"),
        ("/", ":", None, 80, "/"),
        ("http://[::1/x", "", None, 80, "http://[::1/x"),
        ("*", "a.example", "a.example", 80, "*"),
    ],
)
def test_targets_and_hosts(target: str, host: str, domain: str | None, port: int, path: str) -> None:
    url = told(target, host)["url"]
    assert (url.get("domain"), url["port"], url["path"]) == (domain, port, path)
    assert url["original"] == ("[redacted]" if "secret@" in target else target)


def test_connect_names_its_authority() -> None:
    url = told("c.example:443", "", method="CONNECT")["url"]
    assert (url["domain"], url["port"], "path" in url) == ("c.example", 443, False)


def test_the_query_is_what_follows_the_first_question_mark() -> None:
    url = told("/a.PHP?b=c?d", "h")["url"]
    assert (url["query"], url["extension"], url["full"]) == ("b=c?d", "PHP", "http://h/a.PHP?b=c?d")


def test_addresses_with_a_zone_are_hosts_but_no_addresses() -> None:
    built = event(
        "http", request=one(request(host="[fe80::1%25eth0]", x_forwarded_for="fe80::1%1, 192.0.2.7"))
    )
    assert "fe80::1%25eth0" in built["related"]["hosts"]
    assert built["related"]["ip"] == ["192.0.2.1", "192.0.2.2", "192.0.2.7"]
    assert "forwarded_ip" not in built["network"]
    behind = event("http", request=one(request(host="h", x_forwarded_for=" 192.0.2.7 , x")))
    assert get(behind, "network.forwarded_ip") == "192.0.2.7"


@given(st.text(max_size=60), st.text(max_size=40))
def test_any_target_and_host_make_a_valid_event(target: str, host: str) -> None:
    told(target, host)


@pytest.mark.parametrize(
    ("headers", "size"),
    [
        ({"content_length_header": "12"}, 12),
        ({"content_length_header": "-1"}, None),
        ({"content_length_header": "99999999999999999999"}, None),
        ({"chunk_size": ["5", "7", "0"]}, 12),
        ({"chunk_size": ["5", "7"]}, None),
        ({}, None),
    ],
)
def test_body_sizes(headers: dict[str, str | list[str]], size: int | None) -> None:
    assert one(response(200, **headers), forward=False).fields.get("http.response.body.bytes") == size


def test_a_response_to_head_has_no_body() -> None:
    asked = one(request(method="HEAD", host="h"))
    answered = one(response(200, content_length_header="512"), forward=False)
    built = event("http", request=asked, response=answered)
    assert built["http"]["response"]["body"]["bytes"] == 0
    assert (built["source"]["packets"], built["destination"]["packets"]) == (1, 1)


def test_interim_responses() -> None:
    http = decoder("http")
    interim = [
        code for code in (100, 101, 103, 199, 200, 304) if http.interim(one(response(code), forward=False))
    ]
    assert interim == [100, 103, 199]


def test_continuation_data_is_no_unit() -> None:
    assert units("http", {"http.file_data": "x", "data": {"data.data": "78"}}, place(ON)) == []


@pytest.mark.parametrize(
    ("version", "method"),
    [
        ("HTTP/1.1 PURGE", "PURGE"),
        ("HTTP/1.1 BAR-BAZ", "BAR-BAZ"),
        ("HTTP/1.0 HTTP/1.0", "GET"),
        ("HTTP/1.1 x", "GET"),
    ],
)
def test_a_method_that_tshark_does_not_know_stands_behind_the_version(version: str, method: str) -> None:
    layer = {"http.request.method": "GET", "http.request.uri": "/", "http.request.version": version}
    assert one(layer).fields["http.request.method"] == method
