"""Telnet: one event per connection, with what both sides offer, and the login as far as prompts show it (RFC 854)."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from producers.decoders.base import Decoder
from producers.decoders.convert import number
from producers.decoders.secrets import Credentials
from producers.decoders.tables import name_of
from producers.decoders.tree import Tree, holders, texts
from producers.decoders.unit import Place, Role, Unit
from schemas.model import Dataset

_PORT = 23
_WILL, _DO = 251, 253
_VERBS = {_WILL: "will", _DO: "do"}
_USER_PROMPT = re.compile(r"(?:login|log ?in|user ?name|user|account)(?: as)?\s*[:>]\s*$", re.IGNORECASE)
_SECRET_PROMPT = re.compile(r"(?:password|passcode|passwd|passphrase)[^:\n]{0,60}[:>]\s*$", re.IGNORECASE)
_REFUSAL = re.compile(
    r"incorrect|invalid|failed|failure|denied|bad (?:password|user)|not valid", re.IGNORECASE
)
_SHELL_PROMPT = re.compile(r"[$#%>]\s*$")
_CONTROLS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")
_MAX_LINE = 256
"""Characters kept of a line, of either side."""
_MAX_BANNER = 1024
_MAX_OPTIONS = 64
_MAX_LOGINS = 16
_MAX_NEWS = 60
"""Packets that tell something new, of one connection; the tracker takes four more."""


@dataclass(slots=True, eq=False)
class _Session:
    """A connection: options, what the server's last line says, what the client types, who logs in."""

    options: dict[str, dict[str, None]] = field(default_factory=dict)
    terminal: str = ""
    display: str = ""
    width: int | None = None
    height: int | None = None
    banner: str = ""
    prompt: str = ""
    typed: str = ""
    asked: str = ""
    user: str = ""
    users: dict[str, None] = field(default_factory=dict)
    tries: int = 0
    refusals: int = 0
    answered: str = ""
    entered: bool = False
    spoken: bool = False
    news: int = 0


class TelnetDecoder(Decoder):
    """Units of the packets that tell something new of a connection; all share its session, told at its end."""

    units_change = True

    def __init__(self, dataset: Dataset) -> None:
        super().__init__(dataset)
        self._sessions = self.per_flow(_Session)

    def units(self, layer: Tree, protocol: str, place: Place) -> Iterator[Unit]:
        """A unit for the first packet, and for each that tells something new."""
        session = self._sessions.of(place)
        if session.news >= _MAX_NEWS:
            return
        client = place.from_initiator != _reversed(place)
        new = not session.news
        new |= _negotiated(session, layer, "client" if client else "server")
        credentials: list[Credentials] = []
        for text in texts(layer.get("telnet.data")):
            if client:
                credentials += _typed(session, text)
            else:
                new |= _shown(session, text)
        if new or credentials:
            session.news += 1
            unit = Unit(Role.PART, {"netflight.telnet.negotiated": False}, place, protocol, extra=session)
            unit.credentials = credentials
            yield unit

    def client_is_initiator(self, parts: list[Unit]) -> bool:
        """Whether the flow's initiator is the client: not where a capture begins with a packet of the server's port."""
        return not _reversed(parts[0].place)

    def summarise(self, parts: list[Unit], fields: dict[str, Any]) -> str:
        """Tell the session."""
        session: _Session = parts[0].extra
        fields["netflight.telnet.negotiated"] = bool(session.options)
        told = (
            *((f"netflight.telnet.{which}", list(found)) for which, found in session.options.items()),
            ("netflight.telnet.terminal.type", session.terminal),
            ("netflight.telnet.terminal.width", session.width),
            ("netflight.telnet.terminal.height", session.height),
            ("netflight.telnet.display", session.display),
            ("netflight.telnet.banner", _legible(session.banner)),
            ("netflight.telnet.users", list(session.users)),
            ("netflight.telnet.login_attempts", session.tries),
            ("user.name", session.user),
        )
        fields.update({name: value for name, value in told if value})
        if session.entered:
            return "OK"
        return "Error" if session.refusals else ""


def _legible(text: str) -> str:
    """A banner; nothing where what stands there is no text."""
    return text.strip() if 8 * text.count("\ufffd") <= len(text) else ""


def _reversed(place: Place) -> bool:
    flow = place.flow
    return flow is not None and flow.source_port == _PORT and flow.destination_port != _PORT


def _negotiated(session: _Session, layer: Tree, side: str) -> bool:
    """Read offers and suboptions; whether one of them is new."""
    new = False
    for tree in holders(layer, "telnet.cmd"):
        verb = _VERBS.get(number((texts(tree.get("telnet.cmd")) or [""])[0]) or 0)
        code = number((texts(tree.get("telnet.subcmd")) or [""])[0])
        option = name_of("telnet_option", code) if code is not None else None
        if verb and option:
            known = session.options.setdefault(f"{side}.{verb}", {})
            if option not in known and len(known) < _MAX_OPTIONS:
                known[option] = None
                new = True
        below = tree.get("telnet.subcmd_tree")
        if isinstance(below, dict) and side == "client":
            new |= _suboption(session, option or "", below)
    return new


def _suboption(session: _Session, option: str, tree: Tree) -> bool:
    width, height = (
        number((texts(tree.get(f"telnet.naws_subopt.{what}")) or [""])[0]) for what in ("width", "height")
    )
    if width is not None and height is not None and session.width is None:
        session.width, session.height = width, height
        return True
    said = (texts(tree.get("telnet.string_subopt.value")) or [""])[0][:_MAX_LINE]
    if said and option == "Terminal Type" and not session.terminal:
        session.terminal = said
        return True
    if said and option == "X Display Location" and not session.display:
        session.display = said
        return True
    return False


def _shown(session: _Session, text: str) -> bool:
    """Take text of the server in: its banner, its prompts, its refusals; whether it tells something new."""
    before, said = session.asked, _CONTROLS.sub("", text.replace("\r", "\n"))
    session.prompt = (session.prompt + said)[-_MAX_LINE:].rpartition("\n")[2]
    if not session.spoken:
        session.banner = (session.banner + said)[:_MAX_BANNER]
    if _SECRET_PROMPT.search(session.prompt):
        session.asked = "secret"
    elif _USER_PROMPT.search(session.prompt):
        session.asked = "user"
    else:
        return session.tries > 0 and _outcome(session, said)
    if session.asked != before:
        session.typed = ""
    return False


def _outcome(session: _Session, said: str) -> bool:
    """After a password: a refusal, or the prompt of a shell."""
    session.answered = (session.answered + said)[-_MAX_LINE:]
    if session.entered or session.refusals >= session.tries:
        return False
    if _REFUSAL.search(session.answered):
        session.refusals += 1
        session.answered = ""
        return True
    session.entered = bool(_SHELL_PROMPT.search(session.prompt))
    return session.entered


def _typed(session: _Session, text: str) -> list[Credentials]:
    """Take text of the client in; the credentials that are whole with it."""
    session.spoken = True
    found = []
    for letter in text if session.asked else "":
        if letter in "\r\n":
            if session.typed or session.asked == "secret":
                found += _line(session)
        elif letter in "\b\x7f":
            session.typed = session.typed[:-1]
        elif letter == "\x15":  # ^U
            session.typed = ""
        elif letter.isprintable() and len(session.typed) < _MAX_LINE:
            session.typed += letter
        if not session.asked:
            break
    return found


def _line(session: _Session) -> list[Credentials]:
    """The client has ended its line."""
    asked, session.asked = session.asked, ""
    said, session.typed, session.prompt = session.typed, "", ""
    if asked == "user":
        session.user = said
        if len(session.users) < _MAX_LOGINS:
            session.users[said] = None
        return []
    if session.tries >= _MAX_LOGINS:
        return []
    session.tries += 1
    session.answered = ""
    return [Credentials(session.user, said, "login")] if session.user or said else []
