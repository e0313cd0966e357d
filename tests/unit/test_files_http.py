"""HTTP bodies from streams cut anywhere."""

import gzip
import hashlib
import zlib

from hypothesis import given
from hypothesis import strategies as st

from producers.files.body import File, Spot
from producers.files.conversation import Tools
from producers.files.http import HttpConversation

SPOT = Spot(1, 0, "")
GET = b"GET /a/page.html HTTP/1.1\r\nHost: www.example.com\r\n\r\n"
BODY = b"<html>" + bytes(range(256)) * 3


def _chunked(body: bytes, size: int = 100) -> bytes:
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x;x=y\r\n%s\r\n" % (len(p), p) for p in pieces) + b"0\r\nX: y\r\n\r\n"


def _response(body: bytes, *fields: bytes, status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 " + status + b"\r\n" + b"".join(f + b"\r\n" for f in fields) + b"\r\n" + body


RESPONSES = {
    "length": _response(BODY, b"Content-Length: %d" % len(BODY)),
    "chunked": _response(_chunked(BODY), b"Transfer-Encoding: chunked"),
    "gzip": _response(
        _chunked(gzip.compress(BODY)), b"Transfer-Encoding: chunked", b"Content-Encoding: gzip"
    ),
    "deflate": _response(zlib.compress(BODY), b"Content-Encoding: deflate"),
    "raw deflate": _response(zlib.compress(BODY)[2:-4], b"Content-Encoding: deflate"),
    "until close": _response(BODY),
}


def _play(pieces: list[tuple[bool, bytes | int]], limit: int = 1 << 20, *, close: bool = True) -> list[File]:
    told: list[File] = []
    conversation = HttpConversation(Tools(told.append, limit), 80)
    for forward, piece in pieces:
        if isinstance(piece, int):
            conversation.gap(forward, piece, SPOT)
        else:
            conversation.data(forward, piece, SPOT)
    if close:
        conversation.end(False, SPOT)
    conversation.close(SPOT)
    return told


@given(st.sampled_from(sorted(RESPONSES)), st.lists(st.integers(1, 200), max_size=20))
def test_a_body_is_the_same_however_it_is_cut(kind: str, cuts: list[int]) -> None:
    response, pieces = RESPONSES[kind], []
    for size in cuts:
        pieces.append(response[:size])
        response = response[size:]
    (file,) = _play([(True, GET), *((False, piece) for piece in [*pieces, response] if piece)])
    assert (file.complete, file.name, file.to_client) == (True, "page.html", True)
    assert file.content.size == len(BODY)
    assert file.content.sha256 == hashlib.sha256(BODY).hexdigest()
    assert file.content.mime == "text/html"
    assert file.fields["url.domain"] == "www.example.com"


@given(st.lists(st.binary(max_size=300), max_size=6), st.lists(st.booleans(), min_size=6, max_size=6))
def test_whatever_comes_nothing_is_raised(pieces: list[bytes], sides: list[bool]) -> None:
    play = [(True, GET), *zip(sides, pieces, strict=False), (False, RESPONSES["chunked"][:90])]
    for file in _play([*play, (False, 7)]):
        assert file.seen


def test_heads_without_bodies_and_bodies_of_nothing() -> None:
    head = GET.replace(b"GET", b"HEAD")
    pieces = [(True, head), (False, _response(b"", b"Content-Length: 99"))]
    pieces += [(True, GET), (False, _response(b"", b"Content-Length: 9", status=b"304 Not Modified"))]
    pieces += [(True, GET), (False, _response(b"", b"Content-Length: 0"))]
    assert _play(pieces) == []


def test_pipelined_requests_meet_their_responses() -> None:
    other = GET.replace(b"page.html", b"other%20one.txt")
    short = _response(b"hello", b"Content-Length: 5")
    told = _play([(True, GET + other), (False, RESPONSES["length"] + short)])
    assert [file.name for file in told] == ["page.html", "other one.txt"]


def test_a_hole_makes_a_file_incomplete_and_the_next_one_is_whole() -> None:
    response = RESPONSES["length"]
    pieces = [(True, GET), (False, response[:200]), (False, 50), (False, response[250:])]
    told = _play([*pieces, (True, GET), (False, response)])
    assert [(file.complete, file.missing, bool(file.content.md5)) for file in told] == [
        (False, 50, False),
        (True, 0, True),
    ]


def test_a_hole_over_a_head_loses_nothing_but_that() -> None:
    response = RESPONSES["length"]
    pieces = [(True, GET), (False, response), (True, GET), (False, 5000), (True, GET), (False, response)]
    assert [file.complete for file in _play(pieces)] == [True, True]


def test_larger_than_the_limit_is_counted_only() -> None:
    (file,) = _play([(True, GET), (False, RESPONSES["length"])], limit=100)
    assert (file.complete, file.content.size, file.content.md5) == (True, len(BODY), "")
    (file,) = _play([(True, GET), (False, RESPONSES["gzip"])], limit=100)
    assert (file.complete, file.content.size, file.content.md5) == (True, None, "")


def test_a_range_is_no_whole_file() -> None:
    part = _response(
        b"abc", b"Content-Length: 3", b"Content-Range: bytes 5-7/10", status=b"206 Partial Content"
    )
    (file,) = _play([(True, GET), (False, part)])
    assert (file.complete, file.seen) == (False, 3)


def test_forms_tell_their_files_and_not_their_fields() -> None:
    form = (
        b"--b\r\nContent-Disposition: form-data; name=password\r\n\r\nsecret\r\n"
        b'--b\r\nContent-Disposition: form-data; name=f; filename="C:\\x\\a.txt"\r\n'
        b"Content-Type: text/x-y\r\n\r\nall quiet\r\n"
        b'--b\r\nContent-Disposition: form-data; name=g; filename=""\r\n\r\n\r\n--b--\r\n'
    )
    head = b"POST /up HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: %d\r\n\r\n"
    (file,) = _play([(True, head % len(form) + form)])
    assert (file.name, file.declared, file.content.size, file.to_client) == ("a.txt", "text/x-y", 9, False)
    plain = b"POST /in HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 5\r\n\r\np=abc"
    assert _play([(True, plain)]) == []


def test_after_a_tunnel_begins_nothing_is_looked_for() -> None:
    connect = b"CONNECT h:443 HTTP/1.1\r\n\r\n"
    pieces = [(True, connect), (False, _response(b"")), (False, RESPONSES["length"])]
    assert _play(pieces) == []
