"""PostgreSQL's frontend/backend protocol 3.0 (PostgreSQL's manual, "Frontend/Backend Protocol").

The answer to a simple query, and to a login, ends with ReadyForQuery or an error. A prepared statement is asked for
with Parse, Bind and Execute, and each Execute has an answer of its own; after an error the server leaves out what comes
before the next Sync, which ReadyForQuery answers.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from producers.decoders.convert import MAX_BYTES, number
from producers.decoders.secrets import Credentials
from producers.decoders.state import ALONE, MAX_WAITING, SHOWN, Bounded, SessionDecoder
from producers.decoders.statements import Statement, statement
from producers.decoders.tree import Tree, collect, first, texts
from producers.decoders.unit import Place, Role, Unit
from schemas.model import Dataset

_MAX_STATEMENTS = 256  # prepared statements, and portals, remembered of a connection
_MAX_TAGS = 1000
_MAX_PARAMETERS = 100
_AUTH_METHODS = {
    2: "KerberosV5",
    3: "cleartext",
    4: "crypt",
    5: "md5",
    6: "SCMCredential",
    7: "GSS",
    8: "GSSContinue",
    9: "SSPI",
    10: "SASL",
}
_STATES = {"73": "idle", "84": "active", "69": "failed"}  # I, T, E
_VALUES = frozenset({"pgsql.val.length", "pgsql.val.data"})
_NONE = Statement("", "", ())


@dataclass(slots=True)
class _Answer:
    """What has been seen of an answer."""

    fields: dict[str, Any] = field(default_factory=dict)
    tags: list[str] = field(default_factory=list)
    columns: int | None = None
    rows: int = 0

    def told(self) -> dict[str, Any]:
        """Its fields."""
        fields = dict(self.fields)
        if self.columns is not None:
            fields |= {"pgsql.num_fields": self.columns, "pgsql.num_rows": self.rows}
        if self.tags:
            fields["netflight.pgsql.tags"] = self.tags
        return fields


@dataclass(slots=True)
class _Bound:
    """A statement with values: what Bind makes a portal of."""

    statement: Statement = _NONE
    name: str = ""
    values: tuple[str, ...] = ()


@dataclass(slots=True)
class _Session:
    """`waiting` has what the server owes an answer: startup, query, execute, parse; and sync, which has no event.

    `failed`: an error was seen, and what comes before the next Sync is left out.
    """

    waiting: deque[str] = field(default_factory=lambda: deque(maxlen=MAX_WAITING))
    answer: _Answer = field(default_factory=_Answer)
    statements: Bounded[str, Statement] = field(default_factory=lambda: Bounded(_MAX_STATEMENTS))
    portals: Bounded[str, _Bound] = field(default_factory=lambda: Bounded(_MAX_STATEMENTS))
    parsed: Statement | None = None
    failed: bool = False
    in_clear: bool = False
    user: str = ""

    def over(self) -> _Answer:
        """The answer that is over; the next one begins."""
        told, self.answer = self.answer, _Answer()
        return told


class PgsqlDecoder(SessionDecoder[_Session]):
    """Units of PostgreSQL: a statement is a request, its whole answer the response."""

    def __init__(self, dataset: Dataset) -> None:
        super().__init__(dataset, _Session)

    def units(self, layer: Tree, protocol: str, place: Place) -> Iterator[Unit]:
        """Units of one message; most messages are a part of an answer and none."""
        kind, session = first(layer, "pgsql.type"), self.sessions.of(place)
        if first(layer, "pgsql.frontend") == "1":
            ask = _ASKS.get(kind)
            unit = ask(layer, session, Unit(Role.REQUEST, {}, place, protocol)) if ask else None
            if unit is not None:
                if unit.role is not Role.RESPONSE:
                    unit.fields["netflight.pgsql.message"] = kind
                yield unit
            return
        for fields, status in _answers(kind, layer, session):
            yield Unit(Role.RESPONSE, fields, place, protocol, status=status, extra="" if status else ALONE)


def _startup(layer: Tree, session: _Session, unit: Unit) -> Unit:
    names, values = (texts(layer.get(f"pgsql.parameter_{part}")) for part in ("name", "value"))
    said = dict(zip(names, values, strict=False))
    unit.fields["method"] = "LOGIN"
    wanted = {
        "user.name": said.get("user", ""),
        "netflight.pgsql.database": said.get("database", ""),
        "netflight.pgsql.application": said.get("application_name", ""),
        "netflight.pgsql.version": ".".join(
            first(layer, f"pgsql.version_{part}") for part in ("major", "minor")
        ),
    }
    unit.fields.update({name: value for name, value in wanted.items() if value})
    session.user = said.get("user", "")
    session.waiting.append("startup")
    return unit


def _password(layer: Tree, session: _Session, unit: Unit) -> Unit | None:
    """A password in clear; tshark calls a hash, too, a password."""
    secret = first(layer, "pgsql.password")
    if not session.in_clear or not secret:
        return None
    unit.role, unit.extra = Role.RESPONSE, SHOWN
    unit.credentials.append(Credentials(session.user, secret, "cleartext"))
    return unit


def _query(layer: Tree, session: _Session, unit: Unit) -> Unit:
    _tell(unit, statement(first(layer, "pgsql.query")))
    session.waiting.append("query")
    return unit


def _call(_layer: Tree, session: _Session, unit: Unit) -> Unit:
    unit.fields["method"] = "CALL"
    session.waiting.append("query")
    return unit


def _parse(layer: Tree, session: _Session, _unit: Unit) -> None:
    session.parsed = statement(first(layer, "pgsql.query"))
    session.statements[first(layer, "pgsql.statement")] = session.parsed


def _bind(layer: Tree, session: _Session, _unit: Unit) -> None:
    name = first(layer, "pgsql.statement")
    said = session.statements.get(name, _NONE)
    values = () if said.takes_secrets() else _values(layer)
    session.portals[first(layer, "pgsql.portal")] = _Bound(said, name, values)


def _execute(layer: Tree, session: _Session, unit: Unit) -> Unit:
    portal = first(layer, "pgsql.portal")
    bound = session.portals.get(portal, _Bound())
    _tell(unit, bound.statement)
    if session.parsed is not bound.statement:  # told when it was prepared
        unit.credentials.clear()
    unit.fields.setdefault("method", "EXECUTE")
    wanted = {"netflight.pgsql.portal": portal, "netflight.pgsql.statement": bound.name}
    unit.fields.update({name: value for name, value in wanted.items() if value})
    if bound.values:
        unit.fields["netflight.pgsql.parameters"] = list(bound.values)
    session.parsed = None
    session.waiting.append("execute")
    return unit


def _sync(_layer: Tree, session: _Session, unit: Unit) -> Unit | None:
    parsed, session.parsed = session.parsed, None
    if parsed is not None:  # prepared, and not executed yet
        session.waiting.append("parse")
    session.waiting.append("sync")
    if parsed is None:
        return None
    _tell(unit, parsed)
    return unit


def _notice(method: str) -> Callable[[Tree, _Session, Unit], Unit]:
    """Of a message that has no answer in this protocol."""

    def ask(_layer: Tree, _session: _Session, unit: Unit) -> Unit:
        unit.role = Role.SINGLE
        unit.fields["method"] = method
        return unit

    return ask


_ASKS: dict[str, Callable[[Tree, _Session, Unit], Unit | None]] = {
    "Startup message": _startup,
    "Password message": _password,
    "Simple query": _query,
    "Function call": _call,
    "Parse": _parse,
    "Bind": _bind,
    "Execute": _execute,
    "Sync": _sync,
    "SSL request": _notice("SSL"),
    "GSS encrypt request": _notice("GSS"),
    "Cancel request": _notice("CANCEL"),
    "Termination": _notice("TERMINATE"),
}


def _answers(  # noqa: C901  # one branch for each message
    kind: str, layer: Tree, session: _Session
) -> Iterator[tuple[dict[str, Any], str]]:
    """Take a message of the server; yield fields and status of the answers that are over with it."""
    answer, waiting = session.answer, session.waiting
    if kind == "Row description":
        answer.columns = (answer.columns or 0) + (number(first(layer, "pgsql.field.count")) or 0)
    elif kind == "Data row":
        answer.rows += 1
        answer.columns = answer.columns or number(first(layer, "pgsql.field.count"))
    elif kind in {"Command completion", "Portal suspended", "Empty query"}:
        tag = first(layer, "pgsql.tag")
        if tag and len(answer.tags) < _MAX_TAGS:
            answer.tags.append(tag)
        if waiting and waiting[0] == "execute":
            waiting.popleft()
            yield session.over().told(), "OK"
    elif kind == "Error":
        yield from _failed(layer, session)
    elif kind == "Ready for query":
        yield from _ready(layer, session)
    elif kind == "Authentication request":
        _authentication(layer, session)
    elif kind == "Parameter status":
        if first(layer, "pgsql.parameter_name") == "server_version":
            answer.fields["netflight.pgsql.server.version"] = first(layer, "pgsql.parameter_value")
    elif kind in {"Notification", "Notification response"}:
        wanted = {
            "method": "NOTIFY",
            "netflight.pgsql.channel": first(layer, "pgsql.condition"),
            "netflight.pgsql.payload": first(layer, "pgsql.text"),
        }
        yield {name: value for name, value in wanted.items() if value}, ""


def _authentication(layer: Tree, session: _Session) -> None:
    asked = number(first(layer, "pgsql.authtype"))
    session.in_clear = asked == 3
    if asked in _AUTH_METHODS:
        session.answer.fields.setdefault("netflight.pgsql.auth_method", _AUTH_METHODS[asked])
    mechanism = first(layer, "pgsql.auth.sasl.mech")
    if mechanism:
        session.answer.fields["netflight.pgsql.auth_mechanism"] = mechanism


def _failed(layer: Tree, session: _Session) -> Iterator[tuple[dict[str, Any], str]]:
    """An error ends the answer to what the server is at; what is left out until Sync is told with ReadyForQuery."""
    # The message may quote the statement, or a part of it.
    code, message = first(layer, "pgsql.code"), statement(first(layer, "pgsql.message")).text
    wanted = {
        "pgsql.error_severity": first(layer, "pgsql.severity"),
        "pgsql.error_code": code,
        "pgsql.error_message": message,
        "error.code": code,
        "error.message": message,
    }
    fields = session.over().told() | {name: value for name, value in wanted.items() if value}
    waiting, session.failed = session.waiting, True
    if waiting and waiting[0] in {"query", "startup"}:
        waiting[0] = "told"
    elif waiting and waiting[0] in {"execute", "parse"}:
        waiting.popleft()
    yield fields, "Error"


def _ready(layer: Tree, session: _Session) -> Iterator[tuple[dict[str, Any], str]]:
    """ReadyForQuery answers a simple query, a login, or a Sync with all before it that has had no answer."""
    state = {"netflight.pgsql.transaction": _STATES.get(first(layer, "pgsql.status"), "unknown")}
    waiting = session.waiting
    failed, session.failed = session.failed, False
    if not waiting:  # its question was not seen
        told = session.over().told()
        if told:
            yield told | state, "OK"
        return
    while waiting:
        what = waiting.popleft()
        if what == "parse":
            yield session.over().told() | state, "OK"
        elif what == "execute":
            if failed:
                yield {"netflight.pgsql.skipped": True} | state, "Error"
        elif what in {"query", "startup"}:
            yield session.over().told() | state, "OK"
            return
        else:
            session.over()
            return


def _tell(unit: Unit, said: Statement) -> None:
    said.tell(unit, unit.fields, "network_traffic.pgsql.query")
    if "query" in unit.fields:
        unit.fields["pgsql.query"] = unit.fields["query"]


def _values(layer: Tree) -> tuple[str, ...]:
    """The values of a Bind: those that are printable text as text, others as hexadecimal digits, NULL as such."""
    found: list[str] = []
    for label, tree in layer.items():
        if label.startswith("Parameter values") and isinstance(tree, dict):
            columns = collect(tree, _VALUES)
            data = iter(columns.get("pgsql.val.data", []))
            lengths = columns.get("pgsql.val.length", [])[:_MAX_PARAMETERS]
            found += [
                "NULL" if length == "-1" else "" if length == "0" else _value(next(data, ""))
                for length in lengths
            ]
    return tuple(found)


def _value(digits: str) -> str:
    plain = digits.replace(":", "")
    try:
        text = bytes.fromhex(plain).decode()
    except ValueError:
        return plain[: 2 * MAX_BYTES]
    return text if text.isprintable() else plain[: 2 * MAX_BYTES]
