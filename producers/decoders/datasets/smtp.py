"""SMTP: a mail is one event, every other command with its reply another (RFC 5321, RFC 2920, RFC 4954)."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from producers.decoders.convert import number
from producers.decoders.dialogue import (
    NOBODY,
    Command,
    Dialogue,
    DialogueDecoder,
    Line,
    Reply,
    aside,
    is_verb,
    reply_line,
    request,
    response,
)
from producers.decoders.mail import headers
from producers.decoders.sasl import Sasl, is_answer
from producers.decoders.secrets import Credentials, Secret
from producers.decoders.tree import Tree, texts
from producers.decoders.unit import Place, Unit
from schemas.model import Dataset

_MAX_RECIPIENTS = 1000
_PATH = re.compile(r"\w+:\s*(?:<([^>]*)>?|(\S*))")
_ENHANCED = re.compile(r"[245]\.\d{1,3}\.\d{1,3}(?= |$)")
# Commands that are part of a mail.
_OF_A_MAIL = frozenset({"RCPT", "DATA", "BDAT"})
_ENDING = frozenset({"RSET", "QUIT", "EHLO", "HELO", "LHLO"})
_END_OF_DATA = "."
# Client's answers in a login, as tshark names them.
_ANSWERS = ("smtp.auth.username", "smtp.auth.password", "smtp.auth.username_password")


@dataclass(slots=True, eq=False)
class _Mail:
    """A mail on its way: its envelope, what answered each recipient, its headers."""

    key: tuple[str, ...]
    sender: str | None = None
    recipients: list[tuple[str, int | None]] = field(default_factory=list)
    headers: dict[str, Any] = field(default_factory=dict)
    size: int | None = None
    helo: str = ""
    user: str = ""
    secured: bool = False

    def refusal(self) -> str:
        """Error where the server refused every recipient; else nothing: the client gave the mail up."""
        refused = [code is not None and code >= 400 for _, code in self.recipients]
        return "Error" if refused and all(refused) else ""

    def fields(self) -> dict[str, Any]:
        """What the event of the mail says."""
        told: dict[str, Any] = {"event.action": "smtp_message", **self.headers}
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
    """A connection: what waits, the mail under way and the one whose end was sent, the login under way."""

    dialogue: Dialogue = field(default_factory=Dialogue)
    mail: _Mail | None = None
    sent: _Mail | None = None
    login: Sasl | None = None
    helo: str = ""
    user: str = ""
    secured: bool = False

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
        """The units of a packet; a message's headers (`imf`) go to the mail that has just been sent."""
        session = self._sessions.of(place)
        if protocol == "imf":
            if session.sent is not None:
                session.sent.headers = headers(layer)
                session.sent = None
            return
        if "smtp.response" in layer:
            yield from _replies(session, layer, place, protocol)
            return
        cut = session.dialogue.cut_short()
        if cut is not None:
            yield from _reply(session, cut, protocol)
        if "smtp.eom" in layer:
            yield from _end_of_data(session, layer, place, protocol)
        for line in texts(layer.get("smtp.command_line")):
            yield from _command(session, line.rstrip("\r\n"), place, protocol)
        for name in _ANSWERS:
            for text in texts(layer.get(name)):
                yield from _answer(session, text, place, protocol)

    def complete(self, fields: dict[str, Any], request: Unit | None, response: Unit | None) -> None:
        """A mail's event has all that was gathered of it."""
        mail = next(
            (unit.extra for unit in (request, response) if unit and isinstance(unit.extra, _Mail)), None
        )
        if mail is not None:
            fields.update(mail.fields())


def _command(session: _Session, text: str, place: Place, protocol: str) -> Iterator[Unit]:
    if session.login is not None and is_answer(text):
        yield from _answer(session, text, place, protocol)
        return
    session.login = None
    verb, _, argument = text.partition(" ")
    if ":" in verb:  # `MAIL FROM:` has its colon in the second word; anything else with one is no command
        verb, _, argument = text.partition(":")
    verb, argument = verb.upper(), argument.strip()
    if verb == "MAIL":
        yield from _begin(session, place, protocol, _path(argument))
        return
    mail = session.mail
    if verb in _OF_A_MAIL:
        if verb == "RCPT" and mail is not None and len(mail.recipients) < _MAX_RECIPIENTS:
            mail.recipients.append((_path(argument), None))
            session.dialogue.ask(verb, place, (mail, len(mail.recipients) - 1))
        else:
            last = verb == "BDAT" and argument.upper().endswith("LAST")
            session.dialogue.ask(_END_OF_DATA if last else verb, place, (mail, None))
            if last:
                session.sent, session.mail = mail, None
        return
    yield _other(session, verb, argument, place, protocol)


def _other(session: _Session, verb: str, argument: str, place: Place, protocol: str) -> Unit:
    """A command that is no part of a mail."""
    command = session.dialogue.ask(verb, place)
    if not is_verb(verb):
        return request(command, {"netflight.smtp.argument": Secret(f"{verb} {argument}")}, place, protocol)
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
    unit = request(command, fields, place, protocol)
    unit.credentials = [shown] if shown else []
    return unit


def _begin(session: _Session, place: Place, protocol: str, sender: str | None) -> Iterator[Unit]:
    """A mail begins; one that was not finished is over with the reply to this one."""
    command = session.dialogue.ask("MAIL", place)
    mail = session.new_mail(command.key, sender)
    command.extra = (mail, None)
    session.mail = mail
    yield request(Command("MAIL", command.key, extra=mail), {}, place, protocol)


def _end_of_data(session: _Session, layer: Tree, place: Place, protocol: str) -> Iterator[Unit]:
    """The message has been sent."""
    mail = session.mail
    if mail is None:  # its envelope was not seen
        mail = session.new_mail(session.dialogue.key(), None)
        yield request(Command(_END_OF_DATA, mail.key, extra=mail), {}, place, protocol)
    fragments = layer.get("smtp.data.fragments")
    if isinstance(fragments, dict):
        mail.size = number((texts(fragments.get("smtp.data.reassembled.length")) or [""])[0])
    session.dialogue.ask(_END_OF_DATA, place, (mail, None))
    session.sent, session.mail = mail, None


def _answer(session: _Session, text: str, place: Place, protocol: str) -> Iterator[Unit]:
    """What the client says when it is asked in a login."""
    if session.login is None:
        return
    shown = session.login.feed(text)
    session.user = session.login.user or session.user
    asked = session.dialogue.waiting.last
    if session.user and asked is not None:
        asked.fields["user.name"] = session.user
    if shown is not None:
        yield aside(shown, place, protocol)


def _replies(session: _Session, layer: Tree, place: Place, protocol: str) -> Iterator[Unit]:
    trees = layer.get("smtp.response_tree")
    for text, tree in zip(
        texts(layer.get("smtp.response")), trees if isinstance(trees, list) else [trees], strict=False
    ):
        lines = _lines(text.rstrip("\r\n"), tree if isinstance(tree, dict) else {})
        for reply in session.dialogue.hear(lines, place):
            yield from _reply(session, reply, protocol)


def _lines(text: str, tree: Tree) -> Iterator[Line]:
    """The lines of a reply: tshark puts those that came in one packet together, and writes the first."""
    first = reply_line(text)
    said = texts(tree.get("smtp.rsp.parameter"))
    if len(said) < 2:
        yield first
        return
    for line in said[:-1]:
        yield Line(first.code, last=False, text=line)
    yield Line(first.code, last=True, text=said[-1])


def _reply(session: _Session, reply: Reply, protocol: str) -> Iterator[Unit]:
    """The unit of a reply, if it is the last one to a command that has an event, or to a mail."""
    dialogue, code = session.dialogue, reply.code
    head = dialogue.waiting.first
    greeting = not dialogue.greeted and (head is None or (code == 220 and head.verb != "STARTTLS"))
    dialogue.greeted = True
    last = dialogue.waiting.last
    if code == 334 and last is not None and last.verb == "AUTH":
        return
    taken = NOBODY if greeting else dialogue.answer(reply.place)
    command = taken.item
    unit = response(
        command.key if command else dialogue.key(), _told(reply), reply.place, protocol, ok=code < 400
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


def _answered(session: _Session, command: Command, unit: Unit, code: int) -> Iterator[Unit]:
    """The reply to a command that is no part of a mail; it may end one that was begun."""
    if command.verb == "AUTH":
        session.login = None
        session.user = session.user if code < 400 else ""
    session.secured |= command.verb == "STARTTLS" and code < 400
    if command.verb in _ENDING and session.mail is not None:
        yield _over(session, session.mail, replace(unit, fields={}, status=session.mail.refusal()))
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
