"""IMAP: tagged commands with their tagged responses, literals, logins, however segments cut them (RFC 9051)."""

import re
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from producers.decoders.dialogue import Command, Dialogue, DialogueDecoder, aside, request, response
from producers.decoders.sasl import Sasl, is_answer
from producers.decoders.secrets import Credentials, Secret
from producers.decoders.stream import Stream, begins_tls, begins_with, is_text, piece, text
from producers.decoders.tree import Tree
from producers.decoders.unit import Place, Unit
from schemas.model import Dataset

_PROTOCOL = "imap"
_LITERAL = re.compile(r"~?\{(\d{1,10})\+?\}$")
_TOKEN = re.compile(r'"((?:[^"\\]|\\.)*)"|(\S+)')
_STATUSES = ("OK", "NO", "BAD")
_MAX_OPEN = 256
"""Tags that wait for their response on a connection."""
_MAX_KEPT = 1024
"""How much of a literal is kept, in characters: a login's is, a mail's is not."""
_MAX_TEXT = 16_384
"""How long a command gets, with its literals."""
# Commands whose first argument is a mailbox.
_MAILBOX = frozenset(
    {"SELECT", "EXAMINE", "CREATE", "DELETE", "RENAME", "SUBSCRIBE", "UNSUBSCRIBE", "STATUS", "APPEND"}
)
_COMMANDS = begins_with(
    (
        *(
            *_MAILBOX,
            "LOGIN",
            "AUTHENTICATE",
            "STARTTLS",
            "CAPABILITY",
            "NOOP",
            "LOGOUT",
            "LIST",
            "LSUB",
            "NAMESPACE",
        ),
        *(
            "ENABLE",
            "IDLE",
            "CLOSE",
            "UNSELECT",
            "EXPUNGE",
            "SEARCH",
            "FETCH",
            "STORE",
            "COPY",
            "MOVE",
            "UID",
            "ID",
        ),
        *("CHECK", "COMPRESS", "GETQUOTA", "GETQUOTAROOT", "SORT", "THREAD", "GETACL", "MYRIGHTS"),
    ),
    rb"[!-~]+ ",
)
_RESPONSES = re.compile(rb"(?:[*+]|[!-~]+ (?:OK|NO|BAD))(?=\s|$)")


@dataclass(slots=True)
class _Side:
    """What one side has said: its bytes, and a line up to a literal of `size` bytes, of which `missing` are to come."""

    stream: Stream
    begun: str | None = None
    size: int = 0
    missing: int = 0
    literal: bytearray = field(default_factory=bytearray)

    def line(self) -> str | None:
        """The next line with its literals as quoted texts, of a mail only the size; None until it is whole."""
        while True:
            if self.missing:
                taken = self.stream.take(self.missing)
                self.missing -= len(taken)
                self.literal += taken[: max(_MAX_KEPT + 1 - len(self.literal), 0)]
                if self.missing:
                    return None
            line = self.stream.line()
            if line is None:
                return None
            if not is_text(line):
                self.give_up()
                continue
            said = self._literal_shown() + text(line)
            found = _LITERAL.search(said)
            if found is None:
                self.begun = None
                return said
            self.begun = said[: found.start()][:_MAX_TEXT]
            self.size = self.missing = int(found[1])
            self.literal.clear()

    def give_up(self) -> None:
        """The rest of the line will not come."""
        self.begun, self.size, self.missing = None, 0, 0
        self.literal.clear()

    def _literal_shown(self) -> str:
        """The line so far, with its literal; of a mail, long or of several lines, only the size."""
        if self.begun is None:
            return ""
        if len(self.literal) > _MAX_KEPT or b"\n" in self.literal:
            return f"{self.begun}({self.size} bytes)"
        return f'{self.begun}"{_quoted(text(bytes(self.literal)))}"'


@dataclass(slots=True)
class _Session:
    """A connection: what each side says, commands by their tags, the login under way.

    `unread`: the connection has gone on to TLS, for which `secured` is asked, or to compression.
    """

    client: _Side = field(default_factory=lambda: _Side(Stream(_COMMANDS)))
    server: _Side = field(default_factory=lambda: _Side(Stream(_RESPONSES)))
    dialogue: Dialogue = field(default_factory=Dialogue)
    open: OrderedDict[str, Command] = field(default_factory=OrderedDict)
    login: Sasl | None = None
    user: str = ""
    idle: bool = False
    untagged: int = 0
    secured: bool = False
    unread: bool = False


class ImapDecoder(DialogueDecoder):
    """Units of IMAP commands and tagged responses; untagged ones are counted, but for the greeting and a farewell."""

    def __init__(self, dataset: Dataset) -> None:
        super().__init__(dataset)
        self._sessions = self.per_flow(_Session)

    def units(self, layer: Tree, protocol: str, place: Place) -> Iterator[Unit]:
        """One unit per command, one per tagged response, in the order of their lines."""
        session, sent = self._sessions.of(place), piece(layer, protocol, place)
        place = sent.place
        session.unread |= session.secured and begins_tls(sent.data)
        side = session.client if sent.client else session.server
        lost = side.stream.lost_before(place)
        side.stream.feed(sent.data, hole=lost)
        if lost:
            side.give_up()
        while not session.unread and (line := side.line()) is not None:
            if sent.client:
                yield from _client(session, line, place)
            else:
                yield from _server(session, line, place)


def _client(session: _Session, line: str, place: Place) -> Iterator[Unit]:
    """A line of the client: a command, or an answer in a login."""
    if session.login is not None and is_answer(line):
        yield from _answer(session, session.login, line, place)
    elif session.idle:
        session.idle = line.strip().upper() != "DONE"
    elif " " in line.strip():  # a word alone may be an answer in a login whose begin was not seen
        yield _command(session, line, place)


def _command(session: _Session, said: str, place: Place) -> Unit:
    tag, _, rest = said.partition(" ")
    verb, _, argument = rest.partition(" ")
    verb = verb.upper()
    if verb == "UID":
        second, _, argument = argument.partition(" ")
        verb = f"UID {second.upper()}"
    command = Command(verb, session.dialogue.key())  # tags, not their order, say what a response is to
    session.open.pop(tag, None)
    session.open[tag] = command
    if len(session.open) > _MAX_OPEN:
        session.open.popitem(last=False)
    fields: dict[str, Any] = {"netflight.imap.tag": tag, "netflight.imap.command": verb}
    words = [quoted or plain for quoted, plain in _TOKEN.findall(argument[:_MAX_TEXT])] if argument else []
    shown: Credentials | None = None
    secret = verb == "LOGIN"
    if verb == "LOGIN" and words:
        session.user = _unquoted(words[0])
        if len(words) > 1:
            shown = Credentials(session.user, _unquoted(words[1]), "LOGIN")
    elif verb == "AUTHENTICATE" and words:
        session.login = Sasl(words[0])
        shown = session.login.feed(words[1]) if len(words) > 1 else None
        session.user = session.login.user
        secret = len(words) > 1
    elif verb in _MAILBOX and words:
        fields["netflight.imap.mailbox"] = _unquoted(words[0])
    session.idle = verb == "IDLE"
    if argument:
        fields["netflight.imap.argument"] = Secret(argument) if secret else argument
    if session.user:
        fields["user.name"] = session.user
    unit = request(command, fields, place, _PROTOCOL)
    unit.credentials = [shown] if shown else []
    return unit


def _answer(session: _Session, login: Sasl, said: str, place: Place) -> Iterator[Unit]:
    shown = login.feed(said)
    session.user = login.user or session.user
    if session.user and session.open:
        next(reversed(session.open.values())).fields["user.name"] = session.user
    if shown is not None:
        yield aside(shown, place, _PROTOCOL)


def _server(session: _Session, line: str, place: Place) -> Iterator[Unit]:
    """A line of the server: a tagged response, or one that is counted."""
    tag, _, rest = line.partition(" ")
    status, _, said = rest.partition(" ")
    status = status.upper()
    if tag == "+":
        return
    greeting = not session.dialogue.greeted and tag == "*" and status in ("OK", "PREAUTH", "BYE")
    session.dialogue.greeted = True
    if tag == "*" and not greeting:
        session.untagged += 1
        return
    if not greeting and status not in _STATUSES:
        return
    command = None if greeting else session.open.pop(tag, None)
    fields: dict[str, Any] = {
        **(command.fields if command else {}),
        "netflight.imap.tag": tag,
        "netflight.imap.status": status,
    }
    if said:
        fields["netflight.imap.text"] = said
    if not greeting:
        fields["netflight.imap.untagged"] = session.untagged
        session.untagged = 0
        session.login, session.idle = None, False
        client = session.client
        if client.missing == client.size and (client.begun or "").startswith(f"{tag} "):
            client.give_up()  # the server does not want the literal
        if status == "OK" and command is not None:
            session.secured |= command.verb == "STARTTLS"
            session.unread |= command.verb == "COMPRESS"  # RFC 4978
    if command is None and session.user:
        fields["user.name"] = session.user
    key = command.key if command else session.dialogue.key()
    yield response(key, fields, place, _PROTOCOL, ok=status in ("OK", "PREAUTH"))


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)
