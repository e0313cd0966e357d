"""MySQL's client/server protocol: commands with their whole answers, greetings, logins.

The protocol has no number that request and response share: a client waits for the answer to one command before it sends
the next. An answer is OK, an error, or result sets of any number of packets ("Text Resultset" and "Binary Protocol
Resultset" in MySQL's internals manual): a column count, that many definitions, EOF, rows, EOF.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from producers.decoders.convert import number
from producers.decoders.secrets import REDACTED, Credentials
from producers.decoders.state import ALONE, SHOWN, Bounded, SessionDecoder
from producers.decoders.statements import Statement, statement
from producers.decoders.tree import Tree, collect, first, texts
from producers.decoders.unit import Place, Role, Unit
from schemas.model import Dataset

_MORE_RESULTS = 0x0008  # SERVER_MORE_RESULTS_EXISTS
_MAX_STATEMENTS = 256  # prepared statements remembered of a connection
_MAX_PARAMETERS = 100
# Commands that the server does not answer, or with a stream that has no end.
_QUIT, _INIT_DB, _QUERY, _STATISTICS, _CHANGE_USER, _DUMP, _DUMP_GTID = "1", "2", "3", "9", "17", "18", "30"
_PREPARE, _EXECUTE, _LONG_DATA, _CLOSE, _RESET, _FETCH = "22", "23", "24", "25", "26", "28"
_UNANSWERED = frozenset({_QUIT, _LONG_DATA, _CLOSE, _DUMP, _DUMP_GTID})
_OF_STATEMENT = frozenset({_EXECUTE, _LONG_DATA, _CLOSE, _RESET, _FETCH})
_OF_QUERY = frozenset({_QUERY, _PREPARE, _EXECUTE})
_IN_CLEAR = "mysql_clear_password"
_PARAMETER = "mysql.exec.field."
_FIELD_LIST = "4"
_SECRET = re.compile(r"pass(?:word|wd|phrase)?$|secret|token|pwd", re.IGNORECASE)  # names of attributes


@dataclass(slots=True)
class _Answer:
    """What has been seen of the answer to a command; `stage` is what comes next in a result set."""

    command: str = ""
    stage: str = ""
    columns: int | None = None
    rows: int = 0
    table: str = ""


@dataclass(slots=True)
class _Session:
    answer: _Answer | None = None
    statements: Bounded[str, Statement] = field(default_factory=lambda: Bounded(_MAX_STATEMENTS))
    preparing: Statement | None = None
    plugin: str = ""
    user: str = ""


class MysqlDecoder(SessionDecoder[_Session]):
    """Units of MySQL: a command or login is a request, its whole answer the response."""

    def __init__(self, dataset: Dataset) -> None:
        super().__init__(dataset, _Session)

    def units(self, layer: Tree, protocol: str, place: Place) -> Iterator[Unit]:
        """One unit per command, login and greeting, and one at the end of each answer."""
        session = self.sessions.of(place)
        request, login = layer.get("mysql.request"), layer.get("mysql.login_request")
        if isinstance(request, dict):
            yield self._command(layer, request, session, protocol, place)
        elif isinstance(login, dict):
            yield self._login(layer, login, session, protocol, place)
        elif isinstance(layer.get("mysql.server_greeting"), dict):
            yield self._greeting(layer, session, protocol, place)
        elif "mysql.auth_switch_response" in layer or "mysql.auth_switch_response.data" in layer:
            yield from _proof(layer, session, protocol, place)
        else:
            yield from self._answer(layer, session, protocol, place)

    def _command(self, layer: Tree, request: Tree, session: _Session, protocol: str, place: Place) -> Unit:
        command = first(request, "mysql.command")
        role = Role.SINGLE if command in _UNANSWERED else Role.REQUEST
        fields = self.read(self.columns(layer), Role.REQUEST)
        unit = Unit(role, fields, place, protocol)
        number_of = first(request, "mysql.stmt_id")
        said = statement(first(request, "mysql.query"))
        session.preparing = said if command == _PREPARE else None
        if command in _OF_STATEMENT:
            said = session.statements.get(number_of, said)._replace(credentials=())
        said.tell(unit, fields, "network_traffic.mysql.query")
        if "query" in fields:
            fields["mysql.query"] = fields["query"]
        if command not in _OF_QUERY or "method" not in fields:
            fields["method"] = (
                str(fields.get("netflight.mysql.command", "")).removeprefix("COM_") or "UNKNOWN"
            )
        attributes = _attributes(request, "mysql.query_attr_name", "mysql.query_attr_value")
        if attributes:
            fields["netflight.mysql.query_attributes"] = attributes
        if command == _EXECUTE:
            values = _parameters(request)
            if values and not said.takes_secrets():
                fields["netflight.mysql.parameters"] = values
        if command == _CHANGE_USER:
            _name(fields, request)
        if role is Role.REQUEST:
            session.answer = _Answer(command, "rows" if command == _FETCH else "")
            session.answer.table = first(request, "mysql.table_name")
        return unit

    def _login(self, layer: Tree, login: Tree, session: _Session, protocol: str, place: Place) -> Unit:
        fields = self.read(self.columns(layer), Role.REQUEST)
        if "mysql.user" not in login and "mysql.passwd" not in login:
            # The first half of a login alone: the rest follows within TLS ("SSLRequest").
            fields |= {"method": "TLS", "netflight.mysql.command": "tls", "netflight.mysql.tls": True}
            return Unit(Role.SINGLE, fields, place, protocol)
        fields |= {"method": "LOGIN", "netflight.mysql.command": "login"}
        _name(fields, login)
        session.user = str(fields.get("user.name", ""))
        session.plugin = first(login, "mysql.client_auth_plugin")
        if session.plugin:
            fields["netflight.mysql.auth_plugin"] = session.plugin
        attributes = _attributes(login, "mysql.connattrs.name", "mysql.connattrs.value")
        if attributes:
            fields["netflight.mysql.client.attributes"] = attributes
        unit = Unit(Role.REQUEST, fields, place, protocol)
        if session.plugin == _IN_CLEAR:
            _show(unit, session, first(login, "mysql.passwd"))
        session.answer = _Answer("login")
        return unit

    def _greeting(self, layer: Tree, session: _Session, protocol: str, place: Place) -> Unit:
        fields = self.read(self.columns(layer), Role.REQUEST)
        fields |= {"method": "GREETING", "netflight.mysql.command": "greeting"}
        plugins = collect(layer, frozenset({"mysql.auth_plugin"})).get("mysql.auth_plugin")
        if plugins:
            fields["netflight.mysql.auth_plugin"] = plugins[0]
        session.answer = None
        # The server speaks first, and answers nobody; the event's source is the client all the same.
        return Unit(Role.RESPONSE, fields, place, protocol, extra=ALONE)

    def _answer(self, layer: Tree, session: _Session, protocol: str, place: Place) -> Iterator[Unit]:
        answer = session.answer
        error, done = "mysql.error_code" in layer, _is_ok(layer)
        if answer is None:
            if not error and not done and not _is_header(layer):
                return  # definitions after the answer to a PREPARE, and what was sent before anything was seen
            answer = session.answer = _Answer()
        over = error or _is_over(answer, layer, session)
        if not over:
            return
        session.answer = None
        fields = self.read(self.columns(layer), Role.RESPONSE)
        _count(fields, answer, layer)
        if error:
            _fail(fields, layer)
        yield Unit(Role.RESPONSE, fields, place, protocol, status="Error" if error else "OK")


def _is_over(answer: _Answer, layer: Tree, session: _Session) -> bool:
    """Take a packet of an answer that is no error; return whether the answer is over with it."""
    if answer.command == "login":
        if "mysql.auth_switch_request" in layer:
            names = collect(layer, frozenset({"mysql.auth_switch_request.name"}))
            session.plugin = names.get("mysql.auth_switch_request.name", [""])[0]
        return _is_ok(layer)
    if "mysql.stmt_id" in layer:
        if session.preparing is not None:
            session.statements[first(layer, "mysql.stmt_id")] = session.preparing
        answer.columns = number(first(layer, "mysql.num_fields"))
        return True
    return answer.command == _STATISTICS or _ends(answer, layer)


def _ends(answer: _Answer, layer: Tree) -> bool:
    """Take a packet of a result; return whether it is the last of the last one."""
    if not answer.stage and _is_header(layer):
        answer.stage = "columns"
        answer.columns = (answer.columns or 0) + (number(first(layer, "mysql.num_fields")) or 0)
        return False
    if answer.command == _FIELD_LIST and ("Original table" in layer or "Table" in layer):
        answer.columns = (answer.columns or 0) + 1
        answer.table = _table(layer) or answer.table
        return False
    if answer.stage == "columns":
        if "mysql.eof" in layer:
            answer.stage = "rows"
        elif "Original table" in layer or "Table" in layer:
            answer.table = answer.table or _table(layer)
        elif "text" in layer:  # no EOF between definitions and rows (CLIENT_DEPRECATE_EOF)
            answer.stage = "rows"
            answer.rows += 1
        return False
    over = _ends_rows(layer)
    if answer.stage == "rows" and not over:
        answer.rows += 1
        return False
    answer.stage = ""
    # Neither are progress reports, and requests for a file.
    return (over or _is_ok(layer)) and not (number(first(layer, "mysql.server_status")) or 0) & _MORE_RESULTS


def _is_ok(layer: Tree) -> bool:
    return first(layer, "mysql.response_code") == "0x00" and "mysql.affected_rows" in layer


def _ends_rows(layer: Tree) -> bool:
    return "mysql.eof" in layer or first(layer, "mysql.response_code") == "0xfe"


def _is_header(layer: Tree) -> bool:
    return "mysql.num_fields" in layer and "mysql.stmt_id" not in layer


def _count(fields: dict[str, Any], answer: _Answer, layer: Tree) -> None:
    """Add what an answer counts."""
    for name in ("affected_rows", "insert_id"):
        value = number(first(layer, f"mysql.{name}"))
        if value is not None:
            fields[f"mysql.{name}"] = value
    if answer.columns is not None:
        fields["mysql.num_fields"] = answer.columns
        fields["mysql.num_rows"] = answer.rows
    if answer.table:
        fields["path"] = answer.table
    fields["mysql.iserror"] = "mysql.error_code" in layer


def _fail(fields: dict[str, Any], layer: Tree) -> None:
    code, message = first(layer, "mysql.error_code"), first(layer, "mysql.error.message")
    fields["error.code"] = code
    value = number(code)
    if value is not None:
        fields["mysql.error_code"] = value
    if message:
        # A syntax error quotes the statement from where it is wrong.
        message = statement(message).text
        fields["error.message"] = fields["mysql.error_message"] = message


def _table(layer: Tree) -> str:
    names = frozenset({"mysql.field.db", "mysql.field.org_table", "mysql.field.table"})
    found = collect(layer, names)
    table = found.get("mysql.field.org_table", [""])[0] or found.get("mysql.field.table", [""])[0]
    return ".".join(part for part in (found.get("mysql.field.db", [""])[0], table) if part) if table else ""


def _name(fields: dict[str, Any], tree: Tree) -> None:
    user = first(tree, "mysql.user")
    if user:
        fields["user.name"] = user


def _attributes(tree: Tree, name: str, value: str) -> list[str]:
    """Attributes of a connection or a query, as name=value; what is a secret by its name is hidden."""
    columns = collect(tree, frozenset({name, value}))
    return [
        f"{key}={REDACTED if _SECRET.search(key) else said}"
        for key, said in zip(columns.get(name, []), columns.get(value, []), strict=False)
    ]


def _parameters(request: Tree) -> list[str]:
    """The values of a prepared statement's parameters, in their order."""
    found = []
    trees = request.get("mysql.exec_param")
    for tree in trees if isinstance(trees, list) else [trees]:
        for name, value in tree.items() if isinstance(tree, dict) else ():
            if name.startswith(_PARAMETER):
                found += texts(value)
    return found[:_MAX_PARAMETERS]


def _proof(layer: Tree, session: _Session, protocol: str, place: Place) -> Iterator[Unit]:
    """The client's answer to a change of the way it proves who it is: a password in clear, or nothing to tell."""
    if session.plugin == _IN_CLEAR:
        name = "mysql.auth_switch_response.data"
        proof = collect(layer, frozenset({name})).get(name, [""])[0]
        unit = Unit(Role.RESPONSE, {}, place, protocol, extra=SHOWN)
        _show(unit, session, proof)
        yield unit


def _show(unit: Unit, session: _Session, proof: str) -> None:
    """Add the credentials of a login in clear; `proof` is the password in hexadecimal digits, with a zero after it."""
    try:
        secret = bytes.fromhex(proof.replace(":", "")).rstrip(b"\0").decode("utf-8", "replace")
    except ValueError:
        secret = proof
    unit.credentials.append(Credentials(session.user, secret, _IN_CLEAR))
