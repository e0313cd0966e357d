"""Who logs in over HTTP, and that no secret comes into an event."""

import base64

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.decoders.authorization import Authorization, authorization, user_info
from producers.decoders.secrets import Credentials
from producers.decoders.unit import Unit
from tests.trees import event, flow, place, units

ON = flow()
WORDS = st.text(st.characters(exclude_characters=":", exclude_categories=["Cs"]), max_size=30)


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


def request(target: str = "/", method: str = "GET", **headers: str) -> Unit:
    line = {"http.request.method": method, "http.request.uri": target, "http.request.version": "HTTP/1.1"}
    layer = {"line": line, **{f"http.{name}": value for name, value in headers.items()}}
    (found,) = units("http", layer, place(ON))
    return found


@pytest.mark.parametrize(
    ("text", "scheme", "user", "secret"),
    [
        (basic("amelia:earhart"), "Basic", "amelia", "earhart"),
        ("basic  YTpiOmM", "Basic", "a", "b:c"),  # no padding; a colon in the password
        (basic(":"), "Basic", "", None),
        ("Basic !!!", "Basic", "", None),
        ("Basic /////w==", "Basic", "\ufffd\ufffd\ufffd\ufffd", ""),
        ('Digest username="am\\"elia", realm="x", response="0"', "Digest", 'am"elia', None),
        ("Digest realm=x", "Digest", "", None),
        ("Bearer 2YotnFZFEjr1zCsicMWpAA", "Bearer", "", None),
        ("s3cr3t", "", "", None),
        ("hunter2 hunter3", "", "", None),
        ("", "", "", None),
    ],
)
def test_authorizations(text: str, scheme: str, user: str, secret: str | None) -> None:
    shown = None if secret is None else Credentials(user, secret, "Basic")
    assert authorization(text) == Authorization(scheme, user, shown)


@given(WORDS, st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
def test_any_user_and_password_are_read(user: str, secret: str) -> None:
    said = authorization(basic(f"{user}:{secret}"), proxy=True)
    assert said.user == user
    wanted = Credentials(user, secret, "Proxy Basic") if user or secret else None
    assert said.credentials == wanted


@given(st.text(max_size=80))
def test_any_text_is_an_authorization(text: str) -> None:
    authorization(text)
    user_info(text)


def test_the_server_s_user_is_told_and_both_credentials() -> None:
    unit = request(authorization=basic("amelia:earhart"), proxy_authorization=basic("staff:letmein"))
    assert unit.fields["user.name"] == "amelia"
    assert [item.mechanism for item in unit.credentials] == ["Basic", "Proxy Basic"]
    built = event("http", request=unit)
    assert built["related"]["user"] == ["amelia"]
    assert not {b"earhart", b"letmein"} & set(orjson.dumps(built).split(b'"'))


@pytest.mark.parametrize(
    ("target", "method", "host"),
    [
        ("http://amelia:earh@rt@www.example.com/x?y", "GET", "www.example.com"),
        ("ftp://amelia:earh@rt@www.example.com", "GET", ""),
        ("http://amelia:earh@rt@[::1/x", "GET", "www.example.com"),
        ("amelia:earh@rt@www.example.com:443", "CONNECT", ""),
        ("/", "GET", "amelia:earh@rt@www.example.com"),
    ],
)
def test_passwords_in_targets_and_hosts(target: str, method: str, host: str) -> None:
    unit = request(target, method, **({"host": host} if host else {}))
    assert unit.credentials == [Credentials("amelia", "earh@rt", "URL")]
    built = event("http", request=unit)
    assert b"earh" not in orjson.dumps(built)
    assert built["url"]["username"] == "amelia"
    if "[" not in target:
        assert built["url"]["domain"] == "www.example.com"


def test_passwords_in_referrers_and_redirections() -> None:
    built = event("http", request=request(referer="http://amelia:earhart@a.example/"))
    assert built["http"]["request"]["referrer"] == "[redacted]"
    assert event("http", request=request(referer="http://a.example/x:y@z"))["http"]["request"]["referrer"]
    layer = {"http.response.code": "302", "http.location": "//amelia:earhart@a.example/"}
    (moved,) = units("http", layer, place(ON, forward=False))
    assert b"earhart" not in orjson.dumps(event("http", response=moved))


def test_the_port_of_a_whole_url_is_its_scheme_s() -> None:
    built = event("http", request=request("http://a.example/x", host="a.example"))
    assert (built["url"]["port"], built["url"]["full"]) == (80, "http://a.example/x")
