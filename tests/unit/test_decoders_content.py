"""What events show of HTTP's header fields and bodies: the attack stays, the secret does not."""

import re
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.decoders.builder import EventBuilder
from producers.decoders.chunks import Beginning
from producers.decoders.content import CONTENT, body_of, fields_of, redacted_body, redacted_field
from producers.decoders.secrets import Credentials
from producers.decoders.transactions import Transaction
from runtime.settings import Content, Settings
from schemas.model import datasets
from tests.trees import decoder, flow, place, units

FORM = "application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("authorization", "Basic dXNlcjpwYXNz", "Basic [redacted]"),
        ("authorization", "Bearer abc.def", "Bearer [redacted]"),
        ("authorization", "0123456789abcdef", "[redacted]"),
        ("authorization", "${jndi:ldap://192.0.2.1/a}", "${jndi:ldap://192.0.2.1/a}"),
        ("authorization", "Basic ${jndi:ldap://192.0.2.1/a}", "Basic ${jndi:ldap://192.0.2.1/a}"),
        ("proxy-authorization", "NTLM TlRMTVNTUAAB", "NTLM [redacted]"),
        ("cookie", "SID=31d4d96e; lang=en", "SID=[redacted]; lang=[redacted]"),
        ("cookie", "a=${jndi:dns://x}; SID=31d4", "a=${jndi:dns://x}; SID=[redacted]"),
        ("set-cookie", "SID=31d4; Path=/; HttpOnly", "SID=[redacted]; Path=/; HttpOnly"),
        ("x-api-key", "k3y", "[redacted]"),
        ("x-auth-token", "t0ken", "[redacted]"),
        ("x-api-version", "${jndi:ldap://x}", "${jndi:ldap://x}"),
        ("user-agent", "() { :; }; /bin/id", "() { :; }; /bin/id"),
    ],
)
def test_header_fields(name: str, value: str, shown: str) -> None:
    assert redacted_field(name, value) == shown


def test_header_fields_are_bounded() -> None:
    many = list(fields_of([f"X-{n}: {'v' * 3000}\r\n" for n in range(1000)]))
    assert len(many) <= 64
    assert max(len(value) for _, value in many) == 1024
    assert sum(len(name) + len(value) for name, value in many) <= 16_384
    assert many[0][0] == "x-0"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("user=alice&password=s3cr3t&x=1", "user=alice&password=[redacted]&x=1"),
        ("user=alice&passwd=s3cr3t", "user=alice&passwd=[redacted]"),
        ("log=a&pwd=b", "log=a&pwd=[redacted]"),
        ("login%5Bname%5D=a&user[password]=b", "login%5Bname%5D=a&user[password]=[redacted]"),
        ("u=a&password=${jndi:ldap://x}", "u=a&password=${jndi:ldap://x}"),
        ("u=a&password=%24%7Bjndi%3Aldap", "u=a&password=%24%7Bjndi%3Aldap"),
        (
            '{"username": "bob", "password": "a\\"b", "n": 1}',
            '{"username": "bob", "password": "[redacted]", "n": 1}',
        ),
        ('{"password":"cut in the mid', '{"password":"[redacted]"'),
        ('{"access_token":"e30.e30.x"}', '{"access_token":"[redacted]"}'),
        ("<w:Password Type='t'>s3cr3t</w:Password>", "<w:Password Type='t'>[redacted]</w:Password>"),
        (
            '--b\r\nContent-Disposition: form-data; name="password"\r\n\r\ns3cr3t\r\n--b--',
            '--b\r\nContent-Disposition: form-data; name="password"\r\n\r\n[redacted]\r\n--b--',
        ),
        ("compass=north&passage=2", "compass=north&passage=2"),
    ],
)
def test_secrets_in_bodies(text: str, shown: str) -> None:
    assert redacted_body(text) == shown


def test_logins_in_forms_and_json() -> None:
    form = body_of(b"uname=al%20ice&password=s3cr%26t", FORM, sent_by_client=True)
    assert form.credentials == (Credentials("al ice", "s3cr&t", "Form"),)
    told = body_of(b'{"username": "bob", "password": "x"}', "application/json", sent_by_client=True)
    assert told.credentials == (Credentials("bob", "x", "JSON"),)
    assert body_of(b"uname=a&password=b", FORM, sent_by_client=False).credentials == ()
    assert body_of(b"a=1&b=2", FORM, sent_by_client=True).credentials == ()


def test_what_is_no_text_is_escaped_if_the_client_sent_it() -> None:
    stream = b"\xac\xed\x00\x05sr\x00" + bytes(range(128, 256))
    assert body_of(stream, "", sent_by_client=True).text.startswith(r"\xac\xed\x00\x05sr\x00\x80")
    assert body_of(stream, "", sent_by_client=False).text == ""
    assert body_of(stream, "image/png", sent_by_client=True).text == ""
    assert body_of("né".encode() + b"\xc3", "", sent_by_client=False).text == "né"
    assert body_of(b"caf\xe9 is open", "", sent_by_client=False).text == r"caf\xe9 is open"


@given(st.binary(max_size=200), st.booleans())
def test_bodies_of_any_bytes_are_texts(data: bytes, sent_by_client: bool) -> None:  # noqa: FBT001  # hypothesis gives it
    text = body_of(data, FORM, sent_by_client=sent_by_client).text
    assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f]", text)


@given(st.text(alphabet="abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=40))
def test_no_password_of_a_form_is_shown(secret: str) -> None:
    shown = redacted_body(f"user=x&password={secret}")
    assert shown == "user=x&password=[redacted]"


@given(
    st.binary(max_size=3000),
    st.lists(st.integers(1, 700), max_size=8),
    st.lists(st.integers(1, 900), max_size=8),
)
def test_chunks_make_the_body_however_they_are_cut(data: bytes, sizes: list[int], cuts: list[int]) -> None:
    coded, at = b"", 0
    for size in [*sizes, len(data)]:
        piece = data[at : at + size]
        if piece:
            coded += f"{len(piece):x};x=y\r\n".encode() + piece + b"\r\n"
        at += size
    coded += b"0\r\nX: 1\r\n\r\n"
    beginning, at = Beginning(chunked=True), 0
    for cut in [*cuts, len(coded)]:
        beginning.take(coded[at : at + cut])
        at += cut
    assert bytes(beginning.data) == data[:CONTENT]
    assert not beginning.awaited


def test_what_tshark_shows_stands_until_the_bytes_are_there() -> None:
    beginning = Beginning(4, shown=b"\xef\xbf\xbd\xef\xbf\xbd")
    beginning.take("né".encode())
    assert (bytes(beginning.data), beginning.awaited, beginning.truncated) == ("né".encode(), True, True)
    beginning.take(b"!")
    assert (bytes(beginning.data), beginning.awaited, beginning.truncated) == ("né!".encode(), False, False)


@pytest.mark.parametrize("kinds", [None, (), ("http_bodies",), ("http_headers",), ("icmp_payload",)])
def test_each_kind_of_content_can_be_left_out(kinds: tuple[str, ...] | None) -> None:
    layer = {
        "http.request.method": "POST",
        "http.request.uri": "/",
        "http.request.line": ["Host: h\r\n", "X-Api-Version: 2\r\n"],
        "http.host": "h",
        "http.content_length_header": "2",
        "http.file_data": "hi",
    }
    (unit,) = units("http", layer, place(flow()))
    builder = EventBuilder("default", "test", content=kinds)
    event = builder.transaction(decoder("http"), Transaction(unit, None))
    request = event["http"]["request"]
    bodies, headers = (kinds is None or kind in kinds for kind in ("http_bodies", "http_headers"))
    assert (request["body"].get("content"), request["body"]["bytes"]) == ("hi" if bodies else None, 2)
    assert ("headers" in request, "client_header_names" in event["http"]) == (headers, headers)
    assert (builder.shows("http_bodies"), event["url"]["domain"]) == (bodies, "h")


def test_settings_name_the_kinds_that_datasets_have() -> None:
    kinds = {spec.content for dataset in datasets().values() for spec in dataset.fields.values()} - {""}
    assert kinds == {*get_args(Content)} == {*Settings().decode.content}
