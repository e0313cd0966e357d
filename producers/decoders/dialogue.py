"""Line protocols: commands of a client and the replies of a server, which come in their order (SMTP, FTP, POP3)."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from producers.decoders.base import Decoder
from producers.decoders.secrets import Credentials
from producers.decoders.turns import Taken, Turns
from producers.decoders.unit import Place, Role, Unit

MAX_WAITING = 256
"""Commands that wait for a reply; the oldest is given up for one more."""
MAX_LINES = 1000
"""Lines that are kept of a reply."""

_ASIDE = "aside"  # `extra` of a unit that is no reply
_REPLY_LINE = re.compile(r"(\d{3})(?:([ -])(.*))?$", re.DOTALL)
_VERB = re.compile(r"[A-Za-z][A-Za-z-]{2,11}$")


class Line(NamedTuple):
    """A line of a reply: its code if it has one, whether the reply ends with it, and what it says."""

    code: int | None
    last: bool
    text: str


@dataclass(slots=True)
class Reply:
    """A whole reply: a code and one or more lines; `place` is that of its last line."""

    code: int
    lines: list[str]
    place: Place


@dataclass(slots=True, eq=False)
class Command:
    """A command that waits for its reply. `fields` go to its event with the reply's; `extra` is the decoder's."""

    verb: str
    key: tuple[str, ...]
    fields: dict[str, Any] = field(default_factory=dict)
    extra: Any = None


NOBODY: Taken[Command] = Taken(None)
"""Whom a greeting answers."""


class Dialogue:
    """The commands of one connection that wait for replies, and the lines of a reply that is not whole yet."""

    def __init__(self) -> None:
        self.waiting: Turns[Command] = Turns(MAX_WAITING)
        self.greeted = False
        self._numbered = 0
        self._open: Reply | None = None

    def ask(self, verb: str, place: Place, extra: Any = None) -> Command:
        """A command was sent: keep it."""
        command = Command(verb, self.key(), extra=extra)
        self.waiting.ask(command, place)
        return command

    def key(self) -> tuple[str, ...]:
        """A key that no other unit of the connection has."""
        self._numbered += 1
        return (str(self._numbered),)

    def answer(self, place: Place) -> Taken[Command]:
        """The command that a reply at `place` is to; it waits no longer, nor do those before it."""
        return self.waiting.answer(place)

    def hear(self, lines: Iterator[Line], place: Place) -> Iterator[Reply]:
        """Put lines of the server together; yield each reply that is whole (RFC 959, 4.2; RFC 5321, 4.2.1)."""
        for line in lines:
            reply = self._open
            if reply is None:
                if line.code is None:
                    continue
                reply = self._open = Reply(line.code, [], place)
            if len(reply.lines) < MAX_LINES:
                reply.lines.append(line.text)
            reply.place = place
            if line.last and line.code == reply.code:
                self._open = None
                yield reply

    def cut_short(self) -> Reply | None:
        """The reply that is not whole, which will not be: what follows is lost."""
        reply, self._open = self._open, None
        return reply


def reply_line(text: str) -> Line:
    """`250-text`, `250 text` or any other line of a reply as a Line."""
    found = _REPLY_LINE.match(text)
    if found is None:
        return Line(None, last=False, text=text)
    code, separator, said = found.groups()
    return Line(int(code), separator != "-", said or "")


def is_verb(text: str) -> bool:
    """Whether a word may be a command; what is none may be an answer in a login whose begin was not seen."""
    return _VERB.match(text) is not None


def request(command: Command, fields: dict[str, Any], place: Place, protocol: str) -> Unit:
    """The unit of a command."""
    return Unit(Role.REQUEST, fields, place, protocol, command.key, extra=command.extra)


def response(key: tuple[str, ...], fields: dict[str, Any], place: Place, protocol: str, *, ok: bool) -> Unit:
    """The unit of a reply to what has the key."""
    return Unit(Role.RESPONSE, fields, place, protocol, key, "OK" if ok else "Error")


def aside(credentials: Credentials, place: Place, protocol: str) -> Unit:
    """A unit that shows credentials and makes no other event: they came outside of a command."""
    return Unit(Role.RESPONSE, {}, place, protocol, credentials=[credentials], extra=_ASIDE)


class DialogueDecoder(Decoder):
    """A decoder of a line protocol, which keeps a session of each connection."""

    def interim(self, response: Unit) -> bool:
        """Whether the unit is no reply at all."""
        return bool(response.extra == _ASIDE)
