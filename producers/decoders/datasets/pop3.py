"""POP3: commands with their replies, logins of all kinds (RFC 1939, RFC 5034)."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from producers.decoders.dialogue import NOBODY, Dialogue, DialogueDecoder, aside, is_verb, request, response
from producers.decoders.sasl import Sasl, is_answer
from producers.decoders.secrets import Credentials, Secret
from producers.decoders.stream import Stream, begins_tls, begins_with, is_text, piece, text
from producers.decoders.tree import Tree
from producers.decoders.unit import Place, Unit
from schemas.model import Dataset

_PROTOCOL = "pop3"
# Commands whose replies go on to a line with a dot (RFC 1939, 3), and those that do so without an argument only.
_LONG = frozenset({"RETR", "TOP", "CAPA"})
_LONG_ALONE = frozenset({"LIST", "UIDL", "AUTH"})
_COMMANDS = begins_with(
    (
        *_LONG,
        *_LONG_ALONE,
        *("USER", "PASS", "APOP", "STAT", "DELE", "NOOP", "RSET", "QUIT", "STLS", "UTF8", "LANG"),
    )
)
_REPLIES = re.compile(rb"\+OK|-ERR")


@dataclass(slots=True)
class _Session:
    """A connection: what each side has said, what waits, who logs in, the login and the long reply under way."""

    dialogue: Dialogue = field(default_factory=Dialogue)
    streams: tuple[Stream, Stream] = field(default_factory=lambda: (Stream(_REPLIES), Stream(_COMMANDS)))
    user: str = ""
    login: Sasl | None = None
    reply: Unit | None = None
    lines: int = 0
    secured: bool = False
    unread: bool = False


class Pop3Decoder(DialogueDecoder):
    """Units of POP3 commands and replies, however segments cut them; a long reply is one."""

    def __init__(self, dataset: Dataset) -> None:
        super().__init__(dataset)
        self._sessions = self.per_flow(_Session)

    def units(self, layer: Tree, protocol: str, place: Place) -> Iterator[Unit]:
        """A unit for a command, one for a reply; what a client answers in a login is part of it."""
        session, sent = self._sessions.of(place), piece(layer, protocol, place)
        place = sent.place
        session.unread |= session.secured and begins_tls(sent.data)
        stream = session.streams[sent.client]
        lost = stream.lost_before(place)
        stream.feed(sent.data, hole=lost)
        if lost and not sent.client and session.reply is not None:
            yield _whole(session, place)
        while not session.unread and (line := stream.line()) is not None:
            if sent.client:
                yield from _client(session, line, place)
            else:
                yield from _server(session, line, place)


def _client(session: _Session, line: bytes, place: Place) -> Iterator[Unit]:
    said = text(line)
    if session.login is not None and is_answer(said):
        yield from _answer(session, session.login, said, place)
    elif said.strip() and is_text(line):
        session.login = None
        verb, _, argument = said.partition(" ")
        yield _command(session, verb.upper(), argument, place)


def _server(session: _Session, line: bytes, place: Place) -> Iterator[Unit]:
    if session.reply is not None:
        if line != b".":
            session.lines += 1
            return
        yield _whole(session, place)
        return
    said = text(line)
    indicator, _, rest = said.partition(" ")
    if indicator in ("+OK", "-ERR"):
        unit = _reply(session, indicator, rest, place)
        if unit is not None:
            yield unit
    else:  # the server asks on in a login (RFC 5034, section 4)
        session.dialogue.waiting.hear(place)


def _whole(session: _Session, place: Place) -> Unit:
    """A long reply has ended."""
    unit, session.reply = session.reply, None
    if unit is None:
        raise ValueError("no reply is open")
    if session.lines:
        unit.fields["netflight.pop3.lines"] = session.lines
    session.lines = 0
    unit.place = place
    return unit


def _command(session: _Session, verb: str, argument: str, place: Place) -> Unit:
    command = session.dialogue.ask(verb, place, verb in _LONG or (verb in _LONG_ALONE and not argument))
    if not is_verb(verb):
        return request(command, {"netflight.pop3.argument": Secret(f"{verb} {argument}")}, place, _PROTOCOL)
    fields: dict[str, Any] = {"netflight.pop3.command": verb}
    shown: Credentials | None = None
    secret = verb == "PASS"
    if verb == "USER":
        session.user = argument
    elif verb == "PASS":
        shown = Credentials(session.user, argument, "USER/PASS")
    elif verb == "APOP":  # its argument is a digest, not the secret
        session.user = argument.partition(" ")[0]
    elif verb == "AUTH" and argument:
        mechanism, _, initial = argument.partition(" ")
        session.login = Sasl(mechanism)
        shown = session.login.feed(initial)
        session.user = session.login.user
        secret = bool(initial)
    if argument:
        fields["netflight.pop3.argument"] = Secret(argument) if secret else argument
    if session.user:
        fields["user.name"] = session.user
    unit = request(command, fields, place, _PROTOCOL)
    unit.credentials = [shown] if shown else []
    return unit


def _answer(session: _Session, login: Sasl, said: str, place: Place) -> Iterator[Unit]:
    shown = login.feed(said)
    session.user = login.user or session.user
    asked = session.dialogue.waiting.last
    if session.user and asked is not None:
        asked.fields["user.name"] = session.user
    if shown is not None:
        yield aside(shown, place, _PROTOCOL)


def _reply(session: _Session, indicator: str, said: str, place: Place) -> Unit | None:
    """The unit of a reply; None where lines of it are to come."""
    dialogue = session.dialogue
    session.login = None
    greeting = not dialogue.greeted and not dialogue.waiting
    dialogue.greeted = True
    taken = NOBODY if greeting else dialogue.answer(place)
    command = taken.item
    fields: dict[str, Any] = {**(command.fields if command else {}), "netflight.pop3.indicator": indicator}
    if said:
        fields["netflight.pop3.text"] = said
    if command is None and session.user:
        fields["user.name"] = session.user
    key = command.key if command else dialogue.key()
    well = indicator == "+OK"
    unit = response(key, fields, place, _PROTOCOL, ok=well)
    unit.doubtful = taken.doubtful
    session.secured |= well and command is not None and command.verb == "STLS"
    if well and command is not None and command.extra:
        session.reply = unit
        return None
    return unit
