"""FTP: commands and replies, of several lines, however segments cut them (RFC 959, RFC 2428)."""

import re
from collections.abc import Iterator
from typing import Any

from producers.decoders.convert import ip
from producers.decoders.dialogue import (
    NOBODY,
    Dialogue,
    DialogueDecoder,
    Line,
    Reply,
    reply_line,
    request,
    response,
)
from producers.decoders.secrets import REDACTED, Credentials, Secret
from producers.decoders.stream import REPLY, Stream, begins_tls, begins_with, is_text, piece, text
from producers.decoders.tree import Tree
from producers.decoders.unit import Place, Unit
from schemas.model import Dataset

# Commands whose argument is a path (RFC 959, RFC 3659).
_PATHS = frozenset(
    {
        *(
            "RETR",
            "STOR",
            "STOU",
            "APPE",
            "DELE",
            "RNFR",
            "RNTO",
            "MKD",
            "RMD",
            "XMKD",
            "XRMD",
            "CWD",
            "XCWD",
        ),
        *("SIZE", "MDTM", "MLST", "MLSD"),
    }
)
_SECRETS = frozenset({"PASS", "ACCT"})
_COMMANDS = begins_with(
    (
        *_PATHS,
        *_SECRETS,
        *(
            "USER",
            "CDUP",
            "XCUP",
            "SMNT",
            "REIN",
            "QUIT",
            "PORT",
            "PASV",
            "EPRT",
            "EPSV",
            "TYPE",
            "STRU",
            "MODE",
        ),
        *(
            "ALLO",
            "REST",
            "ABOR",
            "PWD",
            "XPWD",
            "LIST",
            "NLST",
            "SITE",
            "SYST",
            "STAT",
            "HELP",
            "NOOP",
            "FEAT",
        ),
        *("OPTS", "AUTH", "ADAT", "PROT", "PBSZ", "CCC", "CLNT", "HOST", "LANG"),
    )
)
_ECHOED = (
    4  # a secret of so many characters is looked for in replies; a shorter one would hide what it is not
)
_PROTOCOL = "ftp"
_TELNET = re.compile(
    rb"\xff[\xf0-\xff][\xf2]?"
)  # commands of Telnet among the lines, as before ABOR (RFC 959, 4.1.3)
# Where the data connection goes to: h1,h2,h3,h4,p1,p2 of PORT and 227; |1|address|port| of EPRT, (|||port|) of 229.
_NUMBERS = re.compile(r"(\d{1,3}),(\d{1,3}),(\d{1,3}),(\d{1,3}),(\d{1,3}),(\d{1,3})")
_EXTENDED = re.compile(r"([!-~])([12]?)\1([0-9A-Fa-f.:]*)\1(\d{1,5})\1")


class _Session:
    """A control connection: what each side has said, what waits, and who logged in."""

    def __init__(self) -> None:
        self.dialogue = Dialogue()
        self.streams = Stream(REPLY), Stream(_COMMANDS)
        self.user = ""
        self.secret = ""
        self.secured = False
        self.unread = False


class FtpDecoder(DialogueDecoder):
    """Units of FTP commands and replies; a reply that says that another follows (1yz) is part of that one."""

    def __init__(self, dataset: Dataset) -> None:
        super().__init__(dataset)
        self._sessions = self.per_flow(_Session)

    def units(self, layer: Tree, protocol: str, place: Place) -> Iterator[Unit]:
        """One unit per command, one per whole reply."""
        session, sent = self._sessions.of(place), piece(layer, protocol, place)
        place = sent.place
        session.unread |= session.secured and begins_tls(sent.data)
        stream = session.streams[sent.client]
        lost = stream.lost_before(place)
        stream.feed(sent.data, hole=lost)
        cut = session.dialogue.cut_short() if lost or sent.client else None
        if cut is not None:
            yield from _reply(session, cut)
        while not session.unread and (line := stream.line()) is not None:
            if is_text(line):
                said = text(_TELNET.sub(b"", line))
                if sent.client and said.strip():
                    yield _command(session, said, place)
                elif not sent.client:
                    yield from _heard(session, reply_line(said), place)


def _heard(session: _Session, line: Line, place: Place) -> Iterator[Unit]:
    for reply in session.dialogue.hear(iter((line,)), place):
        yield from _reply(session, reply)


def _command(session: _Session, said: str, place: Place) -> Unit:
    verb, _, argument = said.partition(" ")
    verb = verb.upper()
    command = session.dialogue.ask(verb, place)
    fields: dict[str, Any] = {"netflight.ftp.command": verb}
    credentials = []
    if verb in _SECRETS:
        session.secret = argument
        credentials = [Credentials(session.user, argument, "USER/PASS" if verb == "PASS" else "ACCT")]
        fields["netflight.ftp.argument"] = Secret(argument)
    elif argument:
        fields["netflight.ftp.argument"] = argument
    if verb == "USER":
        session.user = argument
    if session.user:
        fields["user.name"] = session.user
    if verb in _PATHS and argument:
        fields["file.path"] = argument
        name = argument.rstrip("/").rpartition("/")[2]
        if name:
            fields["file.name"] = name
    if verb in ("PORT", "EPRT"):
        _data_address(argument, "active", "", fields)
    unit = request(command, fields, place, _PROTOCOL)
    unit.credentials = [shown for shown in credentials if shown.user or shown.secret]
    return unit


def _reply(session: _Session, reply: Reply) -> Iterator[Unit]:
    dialogue = session.dialogue
    if 100 <= reply.code < 200 and dialogue.waiting:
        asked = dialogue.waiting.hear(reply.place)
        if asked is not None:
            asked.fields["netflight.ftp.preliminary_code"] = reply.code
        return
    greeting = not dialogue.greeted and reply.code in (220, 421)
    dialogue.greeted = True
    taken = NOBODY if greeting else dialogue.answer(reply.place)
    command = taken.item
    lines = [
        line.replace(session.secret, REDACTED) if len(session.secret) >= _ECHOED else line
        for line in reply.lines
    ]
    fields: dict[str, Any] = {**(command.fields if command else {}), "netflight.ftp.code": reply.code}
    if any(lines):
        fields["netflight.ftp.text"] = lines
    if command is None and session.user:
        fields["user.name"] = session.user
    if reply.code in (227, 229):
        _data_address(" ".join(lines), "passive", _sender(reply.place), fields)
    session.secured |= reply.code == 234 and command is not None and command.verb == "AUTH"
    key = command.key if command else dialogue.key()
    unit = response(key, fields, reply.place, _PROTOCOL, ok=reply.code < 400)
    unit.doubtful = taken.doubtful
    yield unit


def _sender(place: Place) -> str:
    """The address that a packet came from."""
    flow = place.flow
    return "" if flow is None else flow.source_ip if place.from_initiator else flow.destination_ip


def _data_address(said: str, mode: str, sender: str, fields: dict[str, Any]) -> None:
    """Read where the data connection will go; `sender` is whose address is meant where none is said."""
    numbers, extended = _NUMBERS.search(said), _EXTENDED.search(said)
    if numbers is not None:
        octets = [int(each) for each in numbers.groups()]
        address, port = ip(".".join(map(str, octets[:4]))), octets[4] * 256 + octets[5]
    elif extended is not None:
        address, port = ip(extended[3] or sender), int(extended[4])
    else:
        return
    if address and 0 <= port <= 65_535:
        fields["netflight.ftp.data.mode"] = mode
        fields["netflight.ftp.data.ip"] = address
        fields["netflight.ftp.data.port"] = port
