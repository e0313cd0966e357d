"""FTP: commands and replies, several in a packet, over several lines (RFC 959, RFC 2428)."""

from collections.abc import Iterator
from typing import Any

from producers.decoders.convert import ip, number
from producers.decoders.dialogue import (
    NOBODY,
    Dialogue,
    DialogueDecoder,
    Line,
    Reply,
    reply_line,
    request,
    response,
    unescaped,
)
from producers.decoders.secrets import REDACTED, Credentials, Secret
from producers.decoders.tree import Tree, holders, texts
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
_ECHOED = (
    4  # a secret of so many characters is looked for in replies; a shorter one would hide what it is not
)
# Where the data connection goes to, by tshark: the fields of the address and the port, who listens.
_DATA = (
    (("ftp.passive.ip",), "ftp.passive.port", "passive"),
    (("ftp.epsv.ip", "ftp.epsv.ipv6"), "ftp.epsv.port", "passive"),
    (("ftp.active.cip",), "ftp.active.port", "active"),
    (("ftp.eprt.ip", "ftp.eprt.ipv6"), "ftp.eprt.port", "active"),
)


class _Session:
    """A control connection: what waits, and who logged in."""

    def __init__(self) -> None:
        self.dialogue = Dialogue()
        self.user = ""
        self.secret = ""


class FtpDecoder(DialogueDecoder):
    """Units of FTP commands and replies; a reply that says that another follows (1yz) is part of that one."""

    def __init__(self, dataset: Dataset) -> None:
        super().__init__(dataset)
        self._sessions = self.per_flow(_Session)

    def units(self, layer: Tree, protocol: str, place: Place) -> Iterator[Unit]:
        """One unit per command, one per whole reply."""
        session = self._sessions.of(place)
        lines = list(_lines(layer))
        if texts(layer.get("ftp.request"))[:1] == ["1"]:
            cut = session.dialogue.cut_short()
            if cut is not None:
                yield from _reply(session, cut, {}, protocol)
            for text, tree in lines:
                yield _command(session, text, tree, place, protocol)
            return
        for text, tree in lines:
            for reply in session.dialogue.hear(iter((_reply_line(text, tree),)), place):
                yield from _reply(session, reply, tree, protocol)


def _lines(layer: Tree) -> Iterator[tuple[str, Tree]]:
    """The lines in a packet, each with its tree; tshark gives a tree to the first, and the others as labels."""
    for label, value in layer.items():
        if label.startswith(("ftp.", "_ws.")):
            continue
        for item in value if isinstance(value, list) else (value,):
            yield unescaped(label), item if isinstance(item, dict) else {}


def _command(session: _Session, text: str, tree: Tree, place: Place, protocol: str) -> Unit:
    verb, _, argument = text.partition(" ")
    told = texts(tree.get("ftp.request.command")), texts(tree.get("ftp.request.arg"))
    if told[0]:  # a label is cut, a field is not
        verb, argument = told[0][0], told[1][0] if told[1] else ""
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
    _data_address(tree, fields)
    unit = request(command, fields, place, protocol)
    unit.credentials = [shown for shown in credentials if shown.user or shown.secret]
    return unit


def _reply_line(text: str, tree: Tree) -> Line:
    line = reply_line(text)
    said = texts(tree.get("ftp.response.arg"))
    return line._replace(text=said[0]) if said else line


def _reply(session: _Session, reply: Reply, tree: Tree, protocol: str) -> Iterator[Unit]:
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
    _data_address(tree, fields)
    key = command.key if command else dialogue.key()
    unit = response(key, fields, reply.place, protocol, ok=reply.code < 400)
    unit.doubtful = taken.doubtful
    yield unit


def _data_address(tree: Tree, fields: dict[str, Any]) -> None:
    """Read where the data connection will go."""
    for addresses, port_field, mode in _DATA:
        for found in holders(tree, port_field):
            address = next((ip(text) for name in addresses for text in texts(found.get(name))), None)
            port = number((texts(found.get(port_field)) or [""])[0])
            fields["netflight.ftp.data.mode"] = mode
            if address:
                fields["netflight.ftp.data.ip"] = address
            if port is not None and 0 <= port <= 65_535:
                fields["netflight.ftp.data.port"] = port
            return
