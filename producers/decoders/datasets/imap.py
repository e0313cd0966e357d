"""IMAP: tagged commands with their tagged responses, several in a packet, literals, logins (RFC 9051)."""

import re
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from producers.decoders.dialogue import Command, Dialogue, DialogueDecoder, aside, request, response
from producers.decoders.sasl import Sasl, is_answer
from producers.decoders.secrets import Credentials, Secret
from producers.decoders.tree import Tree, texts
from producers.decoders.unit import Place, Unit
from schemas.model import Dataset

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


@dataclass(slots=True)
class _Partial:
    """A command up to a literal of so many bytes, of which some are missing."""

    text: str
    size: int
    missing: int
    literal: str = ""

    def take(self, line: str) -> str:
        """Take what belongs to the literal; return the rest of the line."""
        literal, rest = _cut(line, self.missing)
        self.missing -= _size(literal)
        if len(self.literal) <= _MAX_KEPT:
            self.literal += literal
        return rest

    def whole(self) -> str:
        """The command with the literal as a quoted text; only its size where it is long or of several lines: a mail."""
        if len(self.literal) > _MAX_KEPT or "\n" in self.literal:
            return f"{self.text}({self.size} bytes)"
        return f'{self.text}"{_quoted(self.literal)}"'


@dataclass(slots=True)
class _Session:
    """A connection: commands by their tags, a command that is not whole, the login under way."""

    dialogue: Dialogue = field(default_factory=Dialogue)
    open: OrderedDict[str, Command] = field(default_factory=OrderedDict)
    partial: _Partial | None = None
    login: Sasl | None = None
    user: str = ""
    idle: bool = False
    untagged: int = 0


class ImapDecoder(DialogueDecoder):
    """Units of IMAP commands and tagged responses; untagged ones are counted, but for the greeting and a farewell."""

    def __init__(self, dataset: Dataset) -> None:
        super().__init__(dataset)
        self._sessions = self.per_flow(_Session)

    def units(self, layer: Tree, protocol: str, place: Place) -> Iterator[Unit]:
        """One unit per command, one per tagged response, in the order of their lines."""
        session = self._sessions.of(place)
        asked = texts(layer.get("imap.isrequest"))[:1] == ["1"]
        for line in texts(layer.get("imap.line")):
            if asked:
                yield from _client(session, line, place, protocol)
            else:
                yield from _server(session, line.rstrip("\r\n"), place, protocol)


def _client(session: _Session, line: str, place: Place, protocol: str) -> Iterator[Unit]:
    """A line of the client: a command, or a part of a literal, or an answer in a login."""
    begun = ""
    partial, session.partial = session.partial, None
    if partial is not None:
        line = partial.take(line)
        if partial.missing > 0 or not line:
            session.partial = partial
            return
        begun = partial.whole()
    text = begun + line.rstrip("\r\n")
    found = _LITERAL.search(text)
    if found is not None:
        session.partial = _Partial(text[: found.start()][:_MAX_TEXT], int(found[1]), int(found[1]))
        return
    if session.login is not None and is_answer(text):
        yield from _answer(session, session.login, text, place, protocol)
    elif session.idle:
        session.idle = text.strip().upper() != "DONE"
    elif " " in text.strip():  # a word alone may be an answer in a login whose begin was not seen
        yield _command(session, text, place, protocol)


def _command(session: _Session, text: str, place: Place, protocol: str) -> Unit:
    tag, _, rest = text.partition(" ")
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
    unit = request(command, fields, place, protocol)
    unit.credentials = [shown] if shown else []
    return unit


def _answer(session: _Session, login: Sasl, said: str, place: Place, protocol: str) -> Iterator[Unit]:
    shown = login.feed(said)
    session.user = login.user or session.user
    if session.user and session.open:
        next(reversed(session.open.values())).fields["user.name"] = session.user
    if shown is not None:
        yield aside(shown, place, protocol)


def _server(session: _Session, line: str, place: Place, protocol: str) -> Iterator[Unit]:
    """A line of the server: a tagged response, or one that is counted."""
    tag, _, rest = line.partition(" ")
    status, _, text = rest.partition(" ")
    status = status.upper()
    if tag == "+":
        return
    greeting = not session.dialogue.greeted and tag == "*" and status in ("OK", "PREAUTH", "BYE")
    session.dialogue.greeted = True
    if tag == "*" and not greeting:
        session.untagged += 1
        return
    if not greeting and status not in _STATUSES:
        return  # what is left of a literal
    command = None if greeting else session.open.pop(tag, None)
    fields: dict[str, Any] = {
        **(command.fields if command else {}),
        "netflight.imap.tag": tag,
        "netflight.imap.status": status,
    }
    if text:
        fields["netflight.imap.text"] = text
    if not greeting:
        fields["netflight.imap.untagged"] = session.untagged
        session.untagged = 0
        session.login, session.idle = None, False
        if session.partial is not None and session.partial.text.startswith(f"{tag} "):
            session.partial = None  # the server does not want the literal
    if command is None and session.user:
        fields["user.name"] = session.user
    key = command.key if command else session.dialogue.key()
    yield response(key, fields, place, protocol, ok=status in ("OK", "PREAUTH"))


def _size(text: str) -> int:
    """Bytes on the wire; what was no UTF-8 was a byte each."""
    return len(text.encode("utf-8", "replace")) - 2 * text.count("\ufffd")


def _cut(line: str, size: int) -> tuple[str, str]:
    """The first `size` bytes of a line, and the rest."""
    if _size(line) <= size:
        return line, ""
    taken = 0
    for place, letter in enumerate(line):
        taken += _size(letter)
        if taken > size:
            return line[:place], line[place:]
    return line, ""


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)
