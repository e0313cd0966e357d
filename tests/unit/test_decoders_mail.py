"""The mail family's decoders on trees written by hand: order, secrets, what is strange."""

import base64
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from producers.decoders.base import Decoder
from producers.decoders.mail import addresses, date, decoded
from producers.decoders.sasl import Sasl
from producers.decoders.tree import Tree
from producers.decoders.unit import Role, Unit
from tests.trees import decoder, event, flow, place

NAMES = {
    "ftp": "ftp",
    "imap": "imap",
    "irc": "irc",
    "pop3": "pop",
    "smtp": "smtp",
    "telnet": "telnet",
    "tftp": "tftp",
}


kept = cache(decoder)


def feed(reader: Decoder, *layers: tuple[bool, Tree], protocol: str = "") -> list[Unit]:
    """The units of layers in their order; each with whether the client sent it."""
    reader.begin()
    on = flow()
    found: list[Unit] = []
    for frame, (forward, layer) in enumerate(layers, 1):
        found += reader.units(layer, protocol or reader.dataset.name, place(on, frame, forward=forward))
    return found


def smtp(line: str) -> tuple[bool, Tree]:
    return True, {"smtp.req": "1", "smtp.command_line": f"{line}\r\n"}


def answer(text: str, *more: str) -> tuple[bool, Tree]:
    code, said = text[:3], text[4:]
    tree = {"smtp.response.code": code, "smtp.rsp.parameter": [said, *more] if more else said}
    return False, {"smtp.rsp": "1", "smtp.response": f"{text}\r\n", "smtp.response_tree": tree}


def test_a_mail_is_one_event_and_a_reply_of_several_lines_one_reply() -> None:
    reader = decoder("smtp")
    units = feed(
        reader,
        answer("220 mail1"),
        smtp("EHLO me"),
        answer("250-mail1"),
        answer("250 HELP"),
        smtp("MAIL FROM:<a@example.com> SIZE=3"),
        smtp("RCPT TO:<b@example.com>"),
        answer("250 ok"),
        answer("550 no"),
        smtp("QUIT"),
        answer("221 bye"),
    )
    kinds = [(unit.role, unit.status, unit.fields.get("netflight.smtp.command", "")) for unit in units]
    assert kinds == [
        (Role.RESPONSE, "OK", ""),
        (Role.REQUEST, "", "EHLO"),
        (Role.RESPONSE, "OK", ""),
        (Role.REQUEST, "", ""),
        (Role.REQUEST, "", "QUIT"),
        (Role.RESPONSE, "Error", ""),
        (Role.RESPONSE, "OK", ""),
    ]
    assert units[2].fields["netflight.smtp.text"] == ["mail1", "HELP"]
    told = event("smtp", request=units[3], response=units[5])
    assert told["netflight"]["smtp"]["rcpt_refused"] == ["b@example.com"]
    assert told["event"]["action"] == "smtp_message"


@pytest.mark.parametrize("said", ["AUTH PLAIN {}", "AUTH\tPLAIN {}", "{}"])
def test_smtp_logins_stay_out_of_events(said: str) -> None:
    secret = base64.b64encode(b"\0alice\0secret-1").decode()
    units = feed(decoder("smtp"), answer("220 mail1"), smtp(said.format(secret)), answer("235 ok"))
    requests = [unit for unit in units if unit.role is Role.REQUEST]
    assert secret not in str(event("smtp", request=requests[0]))


def test_sasl_shows_what_it_can() -> None:
    plain, login, other = Sasl("PLAIN"), Sasl("login"), Sasl("NTLM")
    assert plain.feed(base64.b64encode(b"\0u\0p").decode()) == ("u", "p", "PLAIN", "")
    assert login.feed("dQ==") is None
    assert login.feed("cA==") == ("u", "p", "LOGIN", "")
    assert other.feed("TlRM") is None
    assert plain.feed("no base64") is None


def imap(*lines: str, client: bool = True) -> tuple[bool, Tree]:
    return client, {"imap.isrequest": "1" if client else "0", "imap.line": [f"{line}\r\n" for line in lines]}


def test_imap_literals_are_part_of_their_command() -> None:
    units = feed(
        decoder("imap"),
        imap("* OK ready", client=False),
        imap("a LOGIN {5}"),
        imap("+ go", client=False),
        imap("alice {4}"),
        imap("pass"),
        imap("a OK in", client=False),
        imap("b APPEND INBOX {12}", "c NOOP", "d N", ""),
        imap("b OK done", client=False),
    )
    commands = [unit.fields.get("netflight.imap.command") for unit in units if unit.role is Role.REQUEST]
    assert commands == ["LOGIN", "APPEND"]
    assert units[1].credentials[0][:2] == ("alice", "pass")
    assert "pass" not in str(event("imap", request=units[1])).replace("network_traffic", "")


def test_ftp_reads_the_commands_that_tshark_names_by_label_alone() -> None:
    layer = {
        "ftp.request": "1",
        "USER bob\\r\\n": {"ftp.request.command": "USER", "ftp.request.arg": "bob"},
        "PASS hidden\\r\\n": "",
        "NOOP\\r\\n": ["", ""],
    }
    units = feed(decoder("ftp"), (True, layer))
    assert [unit.fields["netflight.ftp.command"] for unit in units] == ["USER", "PASS", "NOOP", "NOOP"]
    assert units[1].credentials[0][:2] == ("bob", "hidden")
    assert "hidden" not in str(event("ftp", request=units[1]))


@pytest.mark.parametrize(
    ("words", "trailer"),
    [
        (["PASS", "hidden"], ""),
        (["OPER", "root", "hidden"], ""),
        (["JOIN", "#a", "hidden"], ""),
        (["PRIVMSG", "NickServ"], "IDENTIFY me hidden"),
        (["NICKSERV", "IDENTIFY", "hidden"], ""),
        (["MODE", "#a", "+k", "hidden"], ""),
    ],
)
def test_irc_secrets_stay_out_of_events(words: list[str], trailer: str) -> None:
    tree: dict[str, Any] = {
        "irc.request.command": words[0],
        "Command parameters": {"irc.request.command_parameter": words[1:]},
    }
    if trailer:
        tree["irc.request.trailer"] = trailer
    (unit,) = feed(decoder("irc"), (True, {"irc.request": "", "irc.request_tree": tree}))
    assert "hidden" not in str(event("irc", request=unit))


def test_headers() -> None:
    assert decoded("=?utf-8?B?w6k=?=\r\n =?utf-8?Q?_b?=  c") == "é b  c"
    assert decoded("=?no-such?Q?x=E9?=") == "xé"
    assert addresses(["A <a@example.com>, b@example.com", "A <a@example.com>"]) == [
        "a@example.com",
        "b@example.com",
    ]
    assert date("Mon, 05 Jan 2026 09:00:00 +0100") == "2026-01-05T08:00:00Z"
    assert date("yesterday") == ""


FIELDS = st.sampled_from(
    [
        *("smtp.response", "smtp.response_tree", "smtp.command_line", "smtp.eom", "smtp.auth.password"),
        *(
            "smtp.data.fragments",
            "imf.from",
            "imf.date",
            "imf.subject",
            "mime_multipart.part_tree",
            "ftp.request",
        ),
        *("mime_multipart.header.content-disposition", "220 a\\r\\n", "imap.line", "imap.isrequest"),
        *(
            "pop.request_tree",
            "pop.response_tree",
            "pop.request.command",
            "irc.request_tree",
            "irc.request.command",
        ),
        *(
            "Command parameters",
            "irc.request.command_parameter",
            "telnet.cmd",
            "telnet.subcmd",
            "telnet.data",
        ),
        *("telnet.subcmd_tree", "tftp.opcode", "tftp.error.code", "tftp.option.name", "tftp.source_file"),
    ]
)
TEXTS = st.sampled_from(
    ["", "1", "-9", "250-x", "334 ", "AUTH LOGIN", "a LOGIN {3}", "PASS", "=?u?B?=?=", "login: "]
)
TREES = st.recursive(
    st.one_of(TEXTS, st.text(max_size=8), st.lists(TEXTS, max_size=3)),
    lambda inner: st.one_of(
        st.dictionaries(FIELDS, inner, max_size=5),
        st.lists(st.dictionaries(FIELDS, inner, max_size=3), max_size=2),
    ),
    max_leaves=12,
)


@settings(deadline=None, max_examples=150)
@given(st.lists(st.tuples(st.booleans(), st.dictionaries(FIELDS, TREES, max_size=6)), max_size=6))
def test_no_tree_is_too_strange(layers: list[tuple[bool, Tree]]) -> None:
    for name, protocol in NAMES.items():
        for unit in feed(kept(name), *layers, protocol=protocol):
            assert unit.protocol == protocol
    feed(kept("smtp"), *layers, protocol="imf")
