"""The mail family's decoders on trees written by hand: order, secrets, what is strange."""

import base64
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from producers.decoders.base import Decoder
from producers.decoders.mail import addresses, date, decoded
from producers.decoders.sasl import Sasl
from producers.decoders.tree import Tree
from producers.decoders.unit import Role, Unit
from tests.trees import decoder, event, flow, place

STREAMS = ("ftp", "imap", "irc", "pop3", "smtp")


kept = cache(decoder)


def feed(reader: Decoder, *said: tuple[bool, bytes]) -> list[Unit]:
    """The units of what the sides have said, a packet each; each with whether the client sent it."""
    reader.begin()
    on = flow()
    name = f"netflight_stream_{reader.dataset.name}"
    found: list[Unit] = []
    for frame, (forward, data) in enumerate(said, 1):
        layer: Tree = {f"{name}.client": str(int(forward)), f"{name}.bytes": data.hex(":")}
        found += reader.units(layer, name, place(on, frame, forward=forward))
    return found


def client(*lines: str) -> tuple[bool, bytes]:
    return True, "".join(f"{line}\r\n" for line in lines).encode()


def answer(*lines: str) -> tuple[bool, bytes]:
    return False, client(*lines)[1]


def test_a_mail_is_one_event_and_a_reply_of_several_lines_one_reply() -> None:
    reader = decoder("smtp")
    units = feed(
        reader,
        answer("220 mail1"),
        client("EHLO me"),
        answer("250-mail1"),
        answer("250 HELP"),
        client("MAIL FROM:<a@example.com> SIZE=3"),
        client("RCPT TO:<b@example.com>"),
        answer("250 ok"),
        answer("550 no"),
        client("QUIT"),
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
    units = feed(decoder("smtp"), answer("220 mail1"), client(said.format(secret)), answer("235 ok"))
    requests = [unit for unit in units if unit.role is Role.REQUEST]
    assert secret not in str(event("smtp", request=requests[0]))


def test_sasl_shows_what_it_can() -> None:
    plain, login, other = Sasl("PLAIN"), Sasl("login"), Sasl("NTLM")
    assert plain.feed(base64.b64encode(b"\0u\0p").decode()) == ("u", "p", "PLAIN", "")
    assert login.feed("dQ==") is None
    assert login.feed("cA==") == ("u", "p", "LOGIN", "")
    assert other.feed("TlRM") is None
    assert plain.feed("no base64") is None


def test_imap_literals_are_part_of_their_command() -> None:
    units = feed(
        decoder("imap"),
        answer("* OK ready"),
        client("a LOGIN {5}"),
        answer("+ go"),
        client("alice {4}"),
        client("pass"),
        answer("a OK in"),
        client("b APPEND INBOX {13}", "c NOOP", "d N", ""),
        answer("b OK done"),
    )
    commands = [unit.fields.get("netflight.imap.command") for unit in units if unit.role is Role.REQUEST]
    assert commands == ["LOGIN", "APPEND"]
    assert units[1].credentials[0][:2] == ("alice", "pass")
    assert "pass" not in str(event("imap", request=units[1])).replace("network_traffic", "")


def test_ftp_reads_all_commands_of_a_packet() -> None:
    units = feed(decoder("ftp"), client("USER bob", "PASS hidden", "NOOP", "NOOP"))
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
    line = " ".join([*words, f":{trailer}"] if trailer else words)
    (unit,) = feed(decoder("irc"), client(line))
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


TREES = st.recursive(
    st.text(max_size=8) | st.lists(st.text(max_size=4), max_size=3),
    lambda inner: st.dictionaries(
        st.sampled_from(
            [
                "telnet.cmd",
                "telnet.subcmd",
                "telnet.data",
                "telnet.subcmd_tree",
                "tftp.opcode",
                "tftp.source_file",
            ]
        ),
        inner,
        max_size=4,
    ),
    max_leaves=8,
)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.dictionaries(st.sampled_from(["telnet.cmd", "tftp.opcode", "telnet.data"]), TREES), max_size=4
    )
)
def test_no_tree_is_too_strange(layers: list[Tree]) -> None:
    for name in ("telnet", "tftp"):
        kept(name).begin()
        for layer in layers:
            for unit in kept(name).units(layer, name, place(flow())):
                assert unit.protocol == name


WORDS = st.sampled_from(
    [
        *(
            b"220 a\r\n",
            b"250-x\r\n",
            b"250 y\r\n",
            b"354 go\r\n",
            b"AUTH LOGIN\r\n",
            b"334 \r\n",
            b"DATA\r\n",
            b".\r\n",
        ),
        *(
            b"BDAT 9 LAST\r\n",
            b"MAIL FROM:<a>\r\n",
            b"a LOGIN {3}\r\n",
            b"* OK\r\n",
            b"a OK\r\n",
            b"+OK\r\n",
            b"RETR 1\r\n",
        ),
        *(
            b"PASS x\r\n",
            b":a!b@c JOIN :#x\r\n",
            b"PORT 1,2,3,4,999,5\r\n",
            b"229 (|||99999|)\r\n",
            b"\r\n",
            b"\n",
        ),
        *(
            b"Content-Type: multipart/mixed; boundary=b\r\n",
            b"--b\r\n",
            b"From: <\xff\r\n",
            b"\x16\x03",
            b"\xff\xf4\xff\xf2",
        ),
    ]
)


@settings(deadline=None, max_examples=150)
@given(st.lists(st.tuples(st.booleans(), WORDS | st.binary(max_size=12)), max_size=10))
def test_nothing_said_is_too_strange(said: list[tuple[bool, bytes]]) -> None:
    for name in STREAMS:
        for unit in feed(kept(name), *said):
            assert unit.protocol == name
            if unit.role is Role.RESPONSE:
                event(name, response=unit)
            else:
                event(name, request=unit)
