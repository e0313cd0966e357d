"""POP3: commands with their replies, logins of all kinds (RFC 1939, RFC 5034)."""

from collections.abc import Iterator
from typing import Any

from producers.decoders.dialogue import NOBODY, Dialogue, DialogueDecoder, aside, is_verb, request, response
from producers.decoders.sasl import Sasl, is_answer
from producers.decoders.secrets import Credentials, Secret
from producers.decoders.tree import Tree, find_all, texts
from producers.decoders.unit import Place, Unit
from schemas.model import Dataset

_INDICATORS = ("+OK", "-ERR")


class _Session:
    """A connection: what waits, who logs in, and the login under way."""

    def __init__(self) -> None:
        self.dialogue = Dialogue()
        self.user = ""
        self.login: Sasl | None = None


class Pop3Decoder(DialogueDecoder):
    """Units of POP3 commands and replies. Of lines in one packet tshark tells the first; the others are counted."""

    def __init__(self, dataset: Dataset) -> None:
        super().__init__(dataset)
        self._sessions = self.per_flow(_Session)

    def units(self, layer: Tree, protocol: str, place: Place) -> Iterator[Unit]:
        """A unit for a command, one for a reply; what a client answers in a login is part of it."""
        session = self._sessions.of(place)
        for tree in find_all(layer, "pop.request_tree"):
            verb, argument = _first(tree, "pop.request.command"), _first(tree, "pop.request.parameter")
            if session.login is not None and not argument and is_answer(verb):
                yield from _answer(session, session.login, verb, place, protocol)
            else:
                session.login = None
                yield _command(session, verb.upper(), argument, place, protocol)
        lines = len(texts(layer.get("pop.response.data")))
        for tree in find_all(layer, "pop.response_tree"):
            if _first(tree, "pop.response.indicator") in _INDICATORS:
                yield _reply(session, tree, lines, place, protocol)
            else:  # the server asks on in a login (RFC 5034, section 4)
                session.dialogue.waiting.hear(place)


def _command(session: _Session, verb: str, argument: str, place: Place, protocol: str) -> Unit:
    command = session.dialogue.ask(verb, place)
    if not is_verb(verb):
        return request(command, {"netflight.pop3.argument": Secret(f"{verb} {argument}")}, place, protocol)
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
    unit = request(command, fields, place, protocol)
    unit.credentials = [shown] if shown else []
    return unit


def _answer(session: _Session, login: Sasl, said: str, place: Place, protocol: str) -> Iterator[Unit]:
    shown = login.feed(said)
    session.user = login.user or session.user
    asked = session.dialogue.waiting.last
    if session.user and asked is not None:
        asked.fields["user.name"] = session.user
    if shown is not None:
        yield aside(shown, place, protocol)


def _reply(session: _Session, tree: Tree, lines: int, place: Place, protocol: str) -> Unit:
    dialogue = session.dialogue
    session.login = None
    greeting = not dialogue.greeted and not dialogue.waiting
    dialogue.greeted = True
    taken = NOBODY if greeting else dialogue.answer(place)
    command = taken.item
    indicator, text = _first(tree, "pop.response.indicator"), _first(tree, "pop.response.description")
    fields: dict[str, Any] = {**(command.fields if command else {}), "netflight.pop3.indicator": indicator}
    if text:
        fields["netflight.pop3.text"] = text
    if lines:
        fields["netflight.pop3.lines"] = lines
    if command is None and session.user:
        fields["user.name"] = session.user
    key = command.key if command else dialogue.key()
    unit = response(key, fields, place, protocol, ok=indicator.startswith("+OK"))
    unit.doubtful = taken.doubtful
    return unit


def _first(tree: Tree, name: str) -> str:
    return (texts(tree.get(name)) or [""])[0]
