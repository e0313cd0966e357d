"""Attachments from SMTP streams cut anywhere, FTP's control connection, SMB's messages out of random bytes."""

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.files.body import File, Spot
from producers.files.conversation import Tools
from producers.files.ftp import Channel, FtpControl
from producers.files.mail import MailConversation
from producers.files.multipart import parts_of
from producers.files.smb import SmbConversation

SPOT = Spot(1, 0, "")
INSIDE = b"PK\x03\x04 all quiet" * 40
LETTER = (
    b'Message-ID: <7@mail.example.com>\r\nContent-Type: multipart/mixed;\r\n boundary="b"\r\n\r\npreamble\r\n'
    b"--b\r\nContent-Type: text/plain\r\n\r\nsee below\r\n"
    b"--b\r\nContent-Type: application/zip\r\nContent-Transfer-Encoding: base64\r\n"
    b"Content-Disposition: attachment; filename*=utf-8''a%20b.zip\r\n\r\n"
    + base64.encodebytes(INSIDE).replace(b"\n", b"\r\n")
    + b"\r\n--b\r\nContent-Type: text/csv; name=t.csv\r\n\r\n.begins with a dot\r\n--b--\r\n"
)
STUFFED = LETTER.replace(b"\r\n.", b"\r\n..")
BEFORE = b"EHLO c\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n"


def _conversation() -> tuple[MailConversation, list[File]]:
    told: list[File] = []
    return MailConversation(Tools(told.append, 1 << 20)), told


@given(st.lists(st.integers(1, 300), max_size=20))
def test_attachments_are_found_however_the_mail_is_cut(cuts: list[int]) -> None:
    conversation, told = _conversation()
    conversation.data(True, BEFORE, SPOT)
    conversation.data(False, b"250 ok\r\n250 ok\r\n250 ok\r\n354 go on\r\n", SPOT)
    rest = STUFFED + b".\r\nQUIT\r\n"
    for size in cuts:
        if rest[:size]:
            conversation.data(True, rest[:size], SPOT)
        rest = rest[size:]
    if rest:
        conversation.data(True, rest, SPOT)
    conversation.close(SPOT)
    assert [(file.name, file.complete) for file in told] == [("a b.zip", True), ("t.csv", True)]
    assert told[0].content.sha256 == hashlib.sha256(INSIDE).hexdigest()
    assert told[1].content.size == len(b".begins with a dot")
    assert told[0].fields == {"email.message_id": "<7@mail.example.com>"}


def test_a_refused_mail_is_none_and_a_chunked_one_is() -> None:
    conversation, told = _conversation()
    conversation.data(True, BEFORE, SPOT)
    conversation.data(False, b"503 no\r\n", SPOT)
    conversation.data(True, b"BDAT %d\r\n" % 100 + LETTER[:100], SPOT)
    conversation.data(True, b"BDAT %d LAST\r\n" % len(LETTER[100:]) + LETTER[100:], SPOT)
    assert [file.name for file in told] == ["a b.zip", "t.csv"]


def test_a_hole_is_missing_in_the_part_it_is_in() -> None:
    conversation, told = _conversation()
    conversation.data(True, BEFORE, SPOT)
    conversation.data(False, b"354 go on\r\n", SPOT)
    at = STUFFED.index(b"filename*") + 100
    conversation.data(True, STUFFED[:at], SPOT)
    conversation.gap(True, 30, SPOT)
    conversation.data(True, STUFFED[at + 30 :] + b".\r\n", SPOT)
    assert [(file.complete, file.missing, bool(file.content.md5)) for file in told] == [
        (False, 30, False),
        (True, 0, True),
    ]


def test_after_starttls_nothing_is_looked_for() -> None:
    conversation, _ = _conversation()
    conversation.data(True, b"STARTTLS\r\n", SPOT)
    conversation.data(False, b"220 ready\r\n", SPOT)
    assert conversation.done


@given(st.binary(max_size=400), st.text("ab-\r\n", max_size=5))
def test_parts_never_raise_and_hold_no_more_than_there_is(data: bytes, boundary: str) -> None:
    parts = parts_of(b"--a\r\n" + data + b"\r\n--a--", [(3, 9)], boundary)
    assert sum(part.seen + part.missing for part in parts) <= len(data) + 20


@pytest.mark.parametrize(
    ("forward", "line", "announced"),
    [
        (False, b"227 Entering Passive Mode (192,0,2,60,117,48).", ("192.0.2.60", 30_000)),
        (False, b"229 Entering Extended Passive Mode (|||30001|)", ("", 30_001)),
        (True, b"PORT 192,0,2,101,0,20", ("192.0.2.101", 20)),
        (True, b"EPRT |2|2001:db8::1|4000|", ("2001:db8::1", 4000)),
        (True, b"PORT 1,2,3", None),
        (False, b"229 (|||0|)", None),
    ],
)
def test_data_connections_are_announced(
    forward: bool,  # noqa: FBT001  # which side
    line: bytes,
    announced: tuple[str, int] | None,
) -> None:
    heard: list[tuple[str, int, Channel]] = []
    control = FtpControl("1:x", lambda *what: heard.append(what))
    control.data(forward, line + b"\r\n", SPOT)
    control.data(True, b"REST 5\r\nRETR /pub/a.txt\r\n", SPOT)
    assert [(address, port) for address, port, _ in heard] == ([announced] if announced else [])
    for _, _, channel in heard:
        assert (channel.command, channel.argument, channel.partial) == (b"RETR", "/pub/a.txt", True)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 20), st.binary(max_size=120)), max_size=8))
def test_whatever_smb_messages_hold_nothing_is_raised(messages: list[tuple[bool, int, bytes]]) -> None:
    told: list[File] = []
    conversation = SmbConversation(Tools(told.append, 1 << 20))
    for forward, command, body in messages:
        head = b"\xfeSMB\x40\0\0\0\0\0\0\0" + command.to_bytes(2, "little") + b"\0\0"
        head += (0 if forward else 1).to_bytes(4, "little") + bytes(44)
        message = head + body
        conversation.data(forward, len(message).to_bytes(4, "big") + message, SPOT)
    conversation.close(SPOT)
    assert all(file.seen for file in told)
