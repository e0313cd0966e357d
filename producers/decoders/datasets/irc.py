"""IRC: one event per message, however segments cut them; what is a password stays out (RFC 1459, RFC 2812)."""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from producers.decoders.base import Decoder
from producers.decoders.convert import number
from producers.decoders.sasl import Sasl
from producers.decoders.secrets import REDACTED, Credentials, Secret
from producers.decoders.stream import Stream, begins_with, piece, text
from producers.decoders.tables import name_of
from producers.decoders.tree import Tree
from producers.decoders.unit import Place, Role, Unit
from schemas.model import Dataset

_CHANNEL = re.compile(r"[#&+!][^\s,\x07]+$")
# What services are told secrets with, and the number of words after it before the secret where both are given.
_SERVICES = re.compile(r"(nick|chan|user|memo|auth)serv(@|$)|^(q|x)(@|$)|^(ns|cs|as)$", re.IGNORECASE)
_TELLING = re.compile(
    r"(identify|id|login|register|auth|ghost|recover|release|regain|group|set +password|setpass)\s+(.+)$",
    re.IGNORECASE | re.DOTALL,
)
_COMMAND = re.compile(r"(?:[A-Z]+|\d{3})$")
_MESSAGES = begins_with(
    (
        *(
            "PASS",
            "NICK",
            "USER",
            "OPER",
            "MODE",
            "QUIT",
            "SQUIT",
            "JOIN",
            "PART",
            "TOPIC",
            "NAMES",
            "LIST",
            "INVITE",
        ),
        *(
            "KICK",
            "PRIVMSG",
            "NOTICE",
            "MOTD",
            "LUSERS",
            "VERSION",
            "STATS",
            "PING",
            "PONG",
            "ERROR",
            "AWAY",
            "WHO",
        ),
        *("WHOIS", "WHOWAS", "CAP", "AUTHENTICATE", "ISON", "USERHOST", "KILL", "WALLOPS", r"\d{3}"),
    ),
    rb"(?:@\S+ )?(?::\S+ )?",
)
_MECHANISM = re.compile(r"[A-Z0-9_-]{1,20}$")
_SERVICE_COMMANDS = frozenset({"NICKSERV", "NS", "CHANSERV", "CS", "AUTHSERV", "AS", "IDENTIFY", "LOGIN"})
# Where the channels of a message stand among its parameters.
_FIRST = frozenset({"JOIN", "PART", "PRIVMSG", "NOTICE", "TOPIC", "MODE", "KICK", "NAMES", "WHO"})


class _Session:
    """A connection: what each side has said, the nick that the client has taken, and its SASL login."""

    def __init__(self) -> None:
        self.streams = Stream(_MESSAGES), Stream(_MESSAGES)
        self.nick = ""
        self.login: Sasl | None = None


class IrcDecoder(Decoder):
    """Units of IRC messages."""

    def __init__(self, dataset: Dataset) -> None:
        super().__init__(dataset)
        self._sessions = self.per_flow(_Session)

    def units(self, layer: Tree, protocol: str, place: Place) -> Iterator[Unit]:
        """One unit per message."""
        session, sent = self._sessions.of(place), piece(layer, protocol, place)
        place = sent.place
        stream = session.streams[sent.client]
        stream.feed(sent.data, hole=stream.lost_before(place))
        while (line := stream.line()) is not None:
            message = _parsed(text(line)) if b"\0" not in line else None  # other signs format a text
            if message is not None:
                yield _unit(session, message, place, client=sent.client)


class _Message(NamedTuple):
    """A message: who it is from, its command, its parameters, and the last one where it came after a colon."""

    prefix: str
    command: str
    parameters: list[str]
    trailer: list[str]


def _parsed(line: str) -> _Message | None:
    """A line as a message (RFC 2812, 2.3.1), without its tags (IRCv3); nothing where it has no command."""
    if line.startswith("@"):
        line = line.partition(" ")[2].lstrip(" ")
    prefix = ""
    if line.startswith(":"):
        prefix, _, line = line[1:].partition(" ")
    middle, colon, last = f" {line.lstrip(' ')}".partition(" :")
    command, *parameters = middle.split(" ") if not middle.startswith(" ") else middle[1:].split(" ")
    if not _COMMAND.match(command.upper()):
        return None  # what is left of a line whose begin was not seen
    return _Message(prefix, command.upper(), [word for word in parameters if word], [last] if colon else [])


def _unit(session: _Session, message: _Message, place: Place, *, client: bool) -> Unit:
    prefix, command, parameters, trailer = message
    fields: dict[str, Any] = {"netflight.irc.command": command}
    reply = name_of("irc_reply", number(command) or 0)
    if reply:
        fields["netflight.irc.reply"] = reply
    if prefix:
        fields["netflight.irc.prefix"] = prefix
    unit = Unit(Role.SINGLE, fields, place, "irc")
    if client:
        _hide(session, unit, command, parameters, trailer)
        if command == "NICK" and (parameters or trailer):
            session.nick = (parameters or trailer)[0]
    nick = prefix.partition("!")[0] if "!" in prefix else session.nick if client else ""
    if nick:
        fields["netflight.irc.nick"] = nick
    if parameters:
        fields["netflight.irc.parameters"] = parameters
    if trailer:
        fields["netflight.irc.text"] = trailer[0]
    channels = _channels(command, parameters, trailer)
    if channels:
        fields["netflight.irc.channel"] = channels
    return unit


def _channels(command: str, parameters: list[str], trailer: list[str]) -> list[str]:
    """The channels a message is about: where its command has them, or among a numeric reply's parameters."""
    if command in _FIRST:
        said = parameters[:1] or (trailer[:1] if command in ("JOIN", "PART") else [])
    elif command.isdigit():
        said = parameters[1:3]
    else:
        return []
    return [name for text in said for name in text.split(",") if _CHANNEL.match(name)]


def _hide(session: _Session, unit: Unit, command: str, parameters: list[str], trailer: list[str]) -> None:
    """Take secrets out of a client's message, and tell of credentials."""
    words = [*parameters, *trailer[:1]]
    told, shown = _secrets(session, command, words) if words else (0, None)
    for place in range(told, len(parameters)):
        parameters[place] = REDACTED
    if trailer and told < len(words):
        trailer[0] = Secret(trailer[0])
    if shown is not None:
        unit.credentials = [shown]


def _secrets(session: _Session, command: str, words: list[str]) -> tuple[int, Credentials | None]:
    """How many words of a client's message may be told, and the credentials that it shows."""
    if command == "PASS":
        return 0, Credentials(session.nick, words[0], "PASS")
    if command == "OPER":
        return 1, Credentials(words[0], words[1], "OPER") if len(words) > 1 else None
    if command == "JOIN":
        return 1, None
    if command == "MODE" and len(words) > 1 and "k" in words[1]:
        return 2, None
    if command == "AUTHENTICATE":
        return _sasl(session, words[0])
    return _to_a_service(session, command, words)


def _to_a_service(session: _Session, command: str, words: list[str]) -> tuple[int, Credentials | None]:
    """The same of a message to a service."""
    everything = len(words)
    if command in ("IDENTIFY", "LOGIN"):
        return 0, _service(session, " ".join([command, *words]))
    if command in _SERVICE_COMMANDS:
        shown = _service(session, " ".join(words))
        return (0 if shown else everything), shown
    if command in ("PRIVMSG", "NOTICE", "SQUERY") and everything > 1 and _SERVICES.search(words[0]):
        shown = _service(session, words[-1])
        return (everything - 1 if shown else everything), shown
    return everything, None


def _service(session: _Session, said: str) -> Credentials | None:
    """What a client tells a service to log in with: `IDENTIFY [account] password`."""
    found = _TELLING.match(said.strip())
    if found is None:
        return None
    verb, words = found[1].upper(), found[2].split()
    if verb in ("REGISTER", "GROUP") or len(words) == 1:  # REGISTER password e-mail
        return Credentials(session.nick, words[-1] if verb == "GROUP" else words[0], verb)
    return Credentials(words[0], words[1], verb)


def _sasl(session: _Session, word: str) -> tuple[int, Credentials | None]:
    """`AUTHENTICATE mechanism`, then `AUTHENTICATE base64` (IRCv3 SASL): how many words are told, what was shown."""
    if session.login is None:
        if not _MECHANISM.match(word):
            return 0, None  # an answer in a login whose begin was not seen
        session.login = Sasl(word)
        return 1, None
    if word == "*":
        session.login = None
        return 1, None
    shown = session.login.feed(word)
    session.login = None if shown else session.login
    return 0, shown
