"""SMTP: a mail is one event, every other command with its reply another (RFC 5321, RFC 2920, RFC 3030, RFC 4954).

What follows DATA is the message, unless the server refuses it, and so are the bytes that BDAT announces.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from producers.decoders.dialogue import (
    MAX_WAITING,
    NOBODY,
    Command,
    Dialogue,
    DialogueDecoder,
    Reply,
    aside,
    is_verb,
    reply_line,
    request,
    response,
)
from producers.decoders.mail import MessageReader
from producers.decoders.sasl import Sasl, is_answer
from producers.decoders.secrets import Credentials, Secret
from producers.decoders.state import Bounded
from producers.decoders.stream import (
    MAX_LINE,
    REPLY,
    Stream,
    begins_tls,
    begins_with,
    is_text,
    piece,
    text,
)
from producers.decoders.tree import Tree
from producers.decoders.unit import Place, Unit
from schemas.model import Dataset

_MAX_RECIPIENTS = 1000
_PATH = re.compile(r"\w+:\s*(?:<([^>]*)>?|(\S*))")
_ENHANCED = re.compile(r"[245]\.\d{1,3}\.\d{1,3}(?= |$)")
# Commands that are part of a mail.
_OF_A_MAIL = frozenset({"RCPT", "DATA", "BDAT"})
_ENDING = frozenset({"RSET", "QUIT", "EHLO", "HELO", "LHLO"})
_END_OF_DATA = "."
_PROTOCOL = "smtp"
_CHUNK = re.compile(r"(\d{1,18})(?:\s+(LAST))?\s*$", re.IGNORECASE)
_MAX_DOUBTFUL = 64  # lines after DATA that are kept until it is answered
# By these a connection is known of which the beginning was not seen: anything else may be a line of a message.
_KNOWN = frozenset(
    {
        *(
            "HELO",
            "EHLO",
            "LHLO",
            "MAIL",
            "RCPT",
            "DATA",
            "BDAT",
            "RSET",
            "NOOP",
            "QUIT",
            "VRFY",
            "EXPN",
            "HELP",
            "AUTH",
        ),
        *("STARTTLS", "ETRN", "TURN", "XCLIENT", "XFORWARD", "SEND", "SOML", "SAML"),
    }
)
_COMMANDS = begins_with(_KNOWN)


@dataclass(slots=True, eq=False)
class _Mail:
    """A mail on its way: its envelope, what answered each recipient, its headers."""

    key: tuple[str, ...]
    sender: str | None = None
    recipients: list[tuple[str, int | None]] = field(default_factory=list)
    message: MessageReader = field(default_factory=MessageReader)
    size: int = 0
    helo: str = ""
    user: str = ""
    secured: bool = False

    def refusal(self) -> str:
        """Error where the server refused every recipient; else nothing: the client gave the mail up."""
        refused = [code is not None and code >= 400 for _, code in self.recipients]
        return "Error" if refused and all(refused) else ""

    def fields(self) -> dict[str, Any]:
        """What the event of the mail says."""
        told: dict[str, Any] = {"event.action": "smtp_message", **self.message.fields()}
        if self.sender is not None:
            told["netflight.smtp.mail_from"] = self.sender
        accepted = [name for name, code in self.recipients if code is None or code < 400]
        refused = [name for name, code in self.recipients if code is not None and code >= 400]
        recipients = [
            {"address": name} if code is None else {"address": name, "code": code}
            for name, code in self.recipients
        ]
        more = (
            ("netflight.smtp.rcpt_to", accepted),
            ("netflight.smtp.rcpt_refused", refused),
            ("netflight.smtp.recipients", recipients),
            ("netflight.smtp.helo", self.helo),
            ("user.name", self.user),
            ("netflight.smtp.size", self.size),
            ("netflight.smtp.starttls", self.secured),
        )
        return told | {name: value for name, value in more if value}


@dataclass(slots=True)
class _Session:
    """A connection: what each side says, what waits, the mail under way, the message that is sent, the login.

    `data` is the mail whose message the client sends, up to a dot or, with `chunk`, so many bytes, `last` of which end
    it; `doubtful` are its first lines, as long as the server may refuse them. `ended` are mails that a command gave
    up, by its key. `known`: what is said are commands.
    """

    client: Stream = field(default_factory=lambda: Stream(_COMMANDS))
    server: Stream = field(default_factory=lambda: Stream(REPLY))
    dialogue: Dialogue = field(default_factory=Dialogue)
    mail: _Mail | None = None
    data: _Mail | None = None
    asked: Command | None = None
    doubtful: list[bytes] = field(default_factory=list)
    chunk: int = -1
    last: bool = False
    lines: Stream = field(default_factory=Stream)
    ended: Bounded[tuple[str, ...], _Mail] = field(default_factory=lambda: Bounded(MAX_WAITING))
    login: Sasl | None = None
    helo: str = ""
    user: str = ""
    known: bool = False
    secured: bool = False
    unread: bool = False

    def new_mail(self, key: tuple[str, ...], sender: str | None) -> _Mail:
        """A mail that begins now."""
        return _Mail(key, sender, helo=self.helo, user=self.user, secured=self.secured)


class SmtpDecoder(DialogueDecoder):
    """Units of SMTP commands, replies and mails; a mail's unit begins with MAIL and ends with the last reply to it."""

    units_change = True

    def __init__(self, dataset: Dataset) -> None:
        super().__init__(dataset)
        self._sessions = self.per_flow(_Session)

    def units(self, layer: Tree, protocol: str, place: Place) -> Iterator[Unit]:
        """The units of a packet; a line that is split over packets is of the last of them."""
        session, sent = self._sessions.of(place), piece(layer, protocol, place)
        place = sent.place
        session.unread |= session.secured and begins_tls(sent.data)
        if session.unread:
            return
        if sent.client:
            lost = session.client.lost_before(place)
            if lost and session.chunk >= 0:
                yield from _end_of_chunk(session, place)
            session.client.feed(sent.data, hole=lost)
            yield from _client(session, place)
            return
        lost = session.server.lost_before(place)
        session.server.feed(sent.data, hole=lost)
        cut = session.dialogue.cut_short() if lost else None
        if cut is not None:
            yield from _reply(session, cut)
        while (line := session.server.line()) is not None:
            if is_text(line):
                for reply in session.dialogue.hear(iter((reply_line(text(line)),)), place):
                    yield from _reply(session, reply)

    def complete(self, fields: dict[str, Any], request: Unit | None, response: Unit | None) -> None:
        """A mail's event has all that was gathered of it."""
        mail = next(
            (unit.extra for unit in (request, response) if unit and isinstance(unit.extra, _Mail)), None
        )
        if mail is not None:
            fields.update(mail.fields())


def _client(session: _Session, place: Place) -> Iterator[Unit]:
    """What the client has sent: commands, answers in a login, messages."""
    while True:
        if session.chunk >= 0:
            taken = session.client.take(session.chunk)
            session.chunk -= len(taken)
            _read(session, taken)
            if session.chunk:
                return
            yield from _end_of_chunk(session, place)
        line = session.client.line()
        if line is None:
            return
        if session.data is not None:
            yield from _data(session, line, place)
        elif session.login is not None and is_answer(text(line)):
            yield from _answer(session, text(line), place)
        elif is_text(line):
            session.login = None
            yield from _command(session, text(line), place)


def _data(session: _Session, line: bytes, place: Place) -> Iterator[Unit]:
    """A line after DATA (RFC 5321, 4.5.2)."""
    mail = session.data
    if mail is None:
        return
    if line == b".":
        session.data = None
        yield from _end_of_data(session, mail, place)
        return
    if session.asked is not None and len(session.doubtful) < _MAX_DOUBTFUL:
        session.doubtful.append(line)
    line = line.removeprefix(b".")
    mail.size += len(line) + 2
    mail.message.line(line)


def _read(session: _Session, data: bytes) -> None:
    """Bytes of a message that were announced by BDAT."""
    if session.data is None:
        return
    session.data.size += len(data)
    session.lines.feed(data)
    while (line := session.lines.line()) is not None:
        session.data.message.line(line)


def _end_of_chunk(session: _Session, place: Place) -> Iterator[Unit]:
    """The bytes that BDAT announced are there; the message may go on with the next ones (RFC 3030, 2)."""
    mail, session.data, session.chunk = session.data, None, -1
    if session.last and mail is not None:
        rest = session.lines.take(MAX_LINE)
        if rest:
            mail.message.line(rest)
        session.last = False
        yield from _end_of_data(session, mail, place)


def _command(session: _Session, said: str, place: Place) -> Iterator[Unit]:
    verb, _, argument = said.partition(" ")
    if ":" in verb:  # `MAIL FROM:` has its colon in the second word; anything else with one is no command
        verb, _, argument = said.partition(":")
    verb, argument = verb.upper(), argument.strip()
    session.known |= verb in _KNOWN
    if not session.known or not said.strip():
        return
    if verb == "MAIL":
        yield _begin(session, place, _path(argument))
        return
    mail = session.mail
    if verb == "RCPT" and mail is not None and len(mail.recipients) < _MAX_RECIPIENTS:
        mail.recipients.append((_path(argument), None))
        session.dialogue.ask(verb, place, (mail, len(mail.recipients) - 1))
    elif verb == "DATA":
        session.asked = session.dialogue.ask(verb, place, (mail, None))
        session.data, session.doubtful = mail or session.new_mail(session.dialogue.key(), None), []
    elif verb == "BDAT" and (chunk := _CHUNK.match(argument)) is not None:
        session.chunk, session.last = int(chunk[1]), chunk[2] is not None
        session.data = mail or session.new_mail(session.dialogue.key(), None)
        if not session.last:
            session.dialogue.ask(verb, place, (mail, None))
    elif verb in _OF_A_MAIL:
        session.dialogue.ask(verb, place, (mail, None))
    else:
        yield _other(session, verb, argument, place)


def _other(session: _Session, verb: str, argument: str, place: Place) -> Unit:
    """A command that is no part of a mail."""
    command = session.dialogue.ask(verb, place)
    if verb in _ENDING and session.mail is not None:
        session.ended[command.key], session.mail = session.mail, None
    if not is_verb(verb):
        return request(command, {"netflight.smtp.argument": Secret(f"{verb} {argument}")}, place, _PROTOCOL)
    fields: dict[str, Any] = {"netflight.smtp.command": verb}
    shown: Credentials | None = None
    secret = False
    if verb in ("HELO", "EHLO", "LHLO"):
        session.helo = argument
    elif verb == "AUTH":
        mechanism, _, initial = argument.partition(" ")
        session.login = Sasl(mechanism)
        shown = session.login.feed(initial)
        session.user = session.login.user
        secret = bool(initial)
    if argument:
        fields["netflight.smtp.argument"] = Secret(argument) if secret else argument
    if session.user:
        fields["user.name"] = session.user
    unit = request(command, fields, place, _PROTOCOL)
    unit.credentials = [shown] if shown else []
    return unit


def _begin(session: _Session, place: Place, sender: str | None) -> Unit:
    """A mail begins; one that was not finished is over with the reply to this one."""
    command = session.dialogue.ask("MAIL", place)
    mail = session.new_mail(command.key, sender)
    command.extra = (mail, None)
    session.mail = mail
    session.lines = Stream()
    return request(Command("MAIL", command.key, extra=mail), {}, place, _PROTOCOL)


def _end_of_data(session: _Session, mail: _Mail, place: Place) -> Iterator[Unit]:
    """The message has been sent."""
    if session.mail is not mail:  # its envelope was not seen
        yield request(Command(_END_OF_DATA, mail.key, extra=mail), {}, place, _PROTOCOL)
    session.dialogue.ask(_END_OF_DATA, place, (mail, None))
    session.mail = None


def _answer(session: _Session, said: str, place: Place) -> Iterator[Unit]:
    """What the client says when it is asked in a login."""
    if session.login is None:
        return
    shown = session.login.feed(said)
    session.user = session.login.user or session.user
    asked = session.dialogue.waiting.last
    if session.user and asked is not None:
        asked.fields["user.name"] = session.user
    if shown is not None:
        yield aside(shown, place, _PROTOCOL)


def _reply(session: _Session, reply: Reply) -> Iterator[Unit]:
    """The unit of a reply, if it is the last one to a command that has an event, or to a mail."""
    dialogue, code = session.dialogue, reply.code
    head = dialogue.waiting.first
    greeting = not dialogue.greeted and (head is None or (code == 220 and head.verb != "STARTTLS"))
    dialogue.greeted = session.known = True
    last = dialogue.waiting.last
    if code == 334 and last is not None and last.verb == "AUTH":
        return
    taken = NOBODY if greeting else dialogue.answer(reply.place)
    command = taken.item
    if command is None and code == 354 and session.data is None:  # DATA was not seen
        session.data = session.new_mail(dialogue.key(), None)
    unit = response(
        command.key if command else dialogue.key(), _told(reply), reply.place, _PROTOCOL, ok=code < 400
    )
    unit.doubtful = taken.doubtful
    if command is None:
        yield unit
        return
    mail, recipient = command.extra or (None, None)
    if mail is None:
        yield from _answered(session, command, unit, code)
    elif recipient is not None:
        mail.recipients[recipient] = mail.recipients[recipient][0], code
    elif command.verb == _END_OF_DATA or code >= 400:
        yield _over(session, mail, unit)
    if command is session.asked:
        yield from _data_answered(session, code, reply.place)


def _data_answered(session: _Session, code: int, place: Place) -> Iterator[Unit]:
    """The reply to DATA; where it is refused, what follows are commands."""
    lines, session.doubtful, session.asked = session.doubtful, [], None
    if code >= 400 and session.data is not None:
        session.data = None
        for line in lines:
            if is_text(line):
                yield from _command(session, text(line), place)


def _answered(session: _Session, command: Command, unit: Unit, code: int) -> Iterator[Unit]:
    """The reply to a command that is no part of a mail; it may end one that was begun."""
    if command.verb == "AUTH":
        session.login = None
        session.user = session.user if code < 400 else ""
    session.secured |= command.verb == "STARTTLS" and code < 400
    given_up = session.ended.pop(command.key, None)
    if given_up is not None:
        yield _over(session, given_up, replace(unit, fields={}, status=given_up.refusal()))
    if command.verb in _OF_A_MAIL:  # a recipient, or data, without a mail
        command.fields["netflight.smtp.command"] = command.verb
    unit.fields = {**command.fields, **unit.fields}
    yield unit


def _over(session: _Session, mail: _Mail, last: Unit) -> Unit:
    """The unit that ends a mail, from that of the last reply to it."""
    if session.mail is mail:
        session.mail = None
    return replace(last, key=mail.key, extra=mail)


def _told(reply: Reply) -> dict[str, Any]:
    fields: dict[str, Any] = {"netflight.smtp.code": reply.code}
    if any(reply.lines):
        fields["netflight.smtp.text"] = reply.lines
        enhanced = _ENHANCED.match(reply.lines[-1])
        if enhanced:
            fields["netflight.smtp.enhanced_code"] = enhanced[0]
    return fields


def _path(argument: str) -> str:
    """The address in `FROM:<a@example.com> SIZE=1` (RFC 5321, 4.1.2)."""
    found = _PATH.match(argument)
    return (found[1] or found[2] or "") if found else argument
