"""Protocols that are read as streams of bytes: however segments cut them, the events are the same."""

from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from producers.decoders.dialogue import reply_line
from producers.decoders.mail import MessageReader
from producers.decoders.places import Holes
from producers.decoders.resp import RespReader, Value, arguments
from producers.decoders.stream import MAX_LINE, Stream
from producers.decoders.unit import Role
from tests.conversations import CONVERSATIONS, MESSAGE, cut
from tests.packets import Turn
from tests.trees import decoder, flow, place

kept = cache(decoder)


def told(name: str, turns: list[Turn]) -> list[tuple[Any, ...]]:
    """What the units of a conversation say, a packet a turn, but for where they were seen."""
    reader = kept(name)
    reader.begin()
    on, protocol = flow(), f"netflight_stream_{name}"
    found = []
    for frame, (client, data) in enumerate(turns, 1):
        layer = {f"{protocol}.client": str(int(client)), f"{protocol}.bytes": data.hex(":")}
        for unit in reader.units(layer, protocol, place(on, frame, forward=client)):
            fields = dict(unit.fields)
            mail = getattr(unit.extra, "fields", None)
            found.append([unit.role, fields, unit.key, unit.status, list(unit.credentials), mail])
    return [(*each[:5], each[5]() if each[5] else None) for each in found]


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_each_byte_in_a_packet_of_its_own(name: str) -> None:
    turns = CONVERSATIONS[name]
    whole = told(name, turns)
    assert told(name, [(client, bytes([byte])) for client, data in turns for byte in data]) == whole
    assert len([each for each in whole if each[0] is not Role.RESPONSE]) >= 4
    assert "hidden" not in str(
        [(fields, mail) for _, fields, _, _, _, mail in whole if not has_secret(fields)]
    )


def has_secret(fields: dict[str, Any]) -> bool:
    return any(type(value).__name__ == "Secret" for value in fields.values())


@pytest.mark.parametrize("name", CONVERSATIONS)
@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_wherever_segments_are_cut_the_units_are_the_same(name: str, data: st.DataObject) -> None:
    turns = CONVERSATIONS[name]
    size = sum(len(said) for _, said in turns)
    cuts = data.draw(st.lists(st.integers(1, size - 1), max_size=30))
    assert told(name, list(cut(turns, cuts))) == told(name, turns)


def test_a_mail_by_bdat_says_what_one_by_data_says() -> None:
    mails = [
        mail for role, _, _, status, _, mail in told("smtp", CONVERSATIONS["smtp"]) if mail and status == "OK"
    ]
    by_data, by_chunks = mails
    assert by_data["email.subject"] == by_chunks["email.subject"] == "tést"
    assert by_data["email.to.address"] == ["c@d.example", "e@f.example"]
    assert by_data["email.attachments"] == by_chunks["email.attachments"]
    assert by_data["email.attachments"][0]["file"]["name"] == "a.zip"
    assert by_chunks["netflight.smtp.size"] == len(MESSAGE)
    assert by_data["netflight.smtp.size"] == len(MESSAGE) - 1  # a dot was doubled on the way


def test_the_outcome_of_a_refused_mail_is_a_failure() -> None:
    statuses = [
        status for role, _, _, status, _, mail in told("smtp", CONVERSATIONS["smtp"]) if mail and status
    ]
    assert statuses == ["OK", "Error", "OK"]


def test_a_line_is_bounded_and_after_a_hole_its_rest_is_left_out() -> None:
    stream = Stream()
    for _ in range(40):
        stream.feed(b"x" * 10_000)
        assert stream.line() is None
    stream.feed(b"\r\nnext\r\n")
    long = stream.line()
    assert long is not None
    assert len(long) <= MAX_LINE
    assert stream.line() == b"next"
    stream.feed(b"be", hole=False)
    stream.feed(b"fore\r\nafter\r\n", hole=True)
    assert stream.line() == b"after"


SIMPLE = {
    "ftp": (
        "USER u|331 go on",
        "PASS hidden|230 in",
        "PWD|257 /",
        "TYPE I|200 yes",
        "SIZE f|213 9",
        "QUIT|221 bye",
    ),
    "imap": ("a LOGIN u hidden|a OK in", "b NOOP|b OK", "c SELECT x|c OK", "d CLOSE|d OK", "e LOGOUT|e OK"),
    "irc": (
        "NICK n|:s 001 n :hi",
        "JOIN #a|:n!u@h JOIN #a",
        "PRIVMSG #a :b c|:s NOTICE n :d",
        "QUIT|ERROR :bye",
    ),
    "memcached": (
        "delete a|DELETED",
        "touch b 1|TOUCHED",
        "delete c|NOT_FOUND",
        "version|VERSION 1",
        "delete d|DELETED",
    ),
    "pop3": ("USER u|+OK", "PASS hidden|+OK", "STAT|+OK 1 2", "NOOP|+OK", "DELE 1|-ERR no", "QUIT|+OK"),
    "redis": ("PING|+PONG", "SET a b|+OK", "GET a|$1\r\nb", "DEL a|:1", "PING|+PONG"),
    "smtp": (
        "EHLO c|250 s",
        "NOOP|250 yes",
        "VRFY u|252 perhaps",
        "RSET|250 yes",
        "NOOP|250 yes",
        "QUIT|221 bye",
    ),
}


@pytest.mark.parametrize(
    ("name", "lost"), [(name, lost) for name, pairs in SIMPLE.items() for lost in range(2 * len(pairs))]
)
def test_a_lost_segment_takes_only_its_own_line(name: str, lost: int) -> None:
    """The hole stays open until a message is read, as it does where packets are decoded."""
    lines = [
        (not turn, said.encode() + b"\r\n")
        for pair in SIMPLE[name]
        for turn, said in enumerate(pair.split("|"))
    ]
    complete, with_loss = (_by_line(name, lines, gone) for gone in (-1, lost))
    assert all(complete)
    assert [frame for frame in range(len(lines)) if not with_loss[frame]] == [lost]


def _by_line(name: str, lines: list[Turn], lost: int) -> list[list[tuple[Any, ...]]]:
    """The units of each line, one packet each, where one is lost."""
    reader = kept(name)
    reader.begin()
    on, protocol, holes = flow(), f"netflight_stream_{name}", Holes()
    found: list[list[tuple[Any, ...]]] = []
    at, broken = [1000, 5000], [False, False]
    for number, (client, data) in enumerate(lines):
        begin = at[client]
        at[client] += len(data)
        found.append([])
        if number == lost:
            broken[client] = True
            continue
        hole = holes.lies_before(on, client, hole=broken[client], read=True)
        broken[client] = False
        where = place(on, number + 1, forward=client)._replace(
            length=len(data), sequence=begin, acknowledgement=at[not client], hole=hole
        )
        layer = {f"{protocol}.client": str(int(client)), f"{protocol}.bytes": data.hex(":")}
        found[number] = [(unit.role, unit.fields) for unit in reader.units(layer, protocol, where)]
        if hole and not found[number]:
            holes.lies_before(on, client, hole=True, read=False)
    return found


def test_a_reader_of_values_is_bounded() -> None:
    reader = RespReader()
    for _ in range(50):
        assert list(reader.read(b"*1000000\r\n" + b"$5000\r\n" + b"y" * 5000 + b"\r\n")) == []
    deep = RespReader()
    assert list(deep.read(b"*1\r\n" * 5000)) == []
    assert list(deep.read(b"+OK\r\n")) == [Value("string", "OK")]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("set a 'b c'", ["set", "a", "b c"]),
        ('get "\\x41\\n"', ["get", "A\n"]),
        ("  a   b ", ["a", "b"]),
        ("", []),
    ],
)
def test_arguments_of_inline_commands(line: str, words: list[str]) -> None:
    assert arguments(line) == words


def test_parts_of_parts_and_boundaries_that_never_end() -> None:
    reader = MessageReader()
    for line in (
        *(
            b"Content-Type: multipart/mixed; boundary=o",
            b"",
            b"--o",
            b"Content-Type: multipart/mixed; boundary=i",
            b"",
        ),
        *(
            b"--i",
            b"Content-Disposition: attachment; filename=x.exe",
            b"",
            b"--o",
            b"Content-Type: message/rfc822",
            b"",
        ),
        *(
            b"Subject: inner",
            b"Content-Type: multipart/mixed; boundary=j",
            b"",
            b"--j",
            b"Content-Type: a/b; name=y.pdf",
        ),
        *(b"", b"data", b"--j--", b"--o--", b"--i", b"Content-Type: c/d; name=z.zip", b""),
    ):
        reader.line(line)
    names = [each["file"]["name"] for each in reader.fields()["email.attachments"]]
    assert names == ["x.exe", "y.pdf"]
    assert "email.subject" not in reader.fields()


@pytest.mark.parametrize("text", ["250-a", "250 a", "250", "25", "", "hello", "250x"])
def test_reply_lines_keep_what_they_say(text: str) -> None:
    line = reply_line(text)
    assert (line.code is None) == (text in ("25", "", "hello", "250x"))
