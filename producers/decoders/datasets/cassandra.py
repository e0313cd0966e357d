"""Cassandra's native protocol, versions 3 and 4 (Cassandra's doc/native_protocol_v4.spec): messages by stream."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from producers.decoders.convert import number
from producers.decoders.state import MAX_WAITING, Bounded, SessionDecoder
from producers.decoders.statements import Statement, statement
from producers.decoders.tree import Columns, Tree, collect, find_all
from producers.decoders.unit import Place, Role, Unit
from schemas.model import Dataset

_ERROR, _STARTUP, _QUERY, _RESULT, _PREPARE, _EXECUTE, _EVENT, _BATCH = (
    "0",
    "1",
    "7",
    "8",
    "9",
    "10",
    "12",
    "13",
)
_GOES_ON = frozenset({"3", "14", "12"})  # AUTHENTICATE, AUTH_CHALLENGE; EVENT answers nobody
_KINDS = {"1": "void", "2": "rows", "3": "set_keyspace", "4": "prepared", "5": "schema_change"}
_MAX_STATEMENTS = 256  # prepared statements remembered of a connection
_MAX_BATCH = 100
_ROWS = "cql.result.rows"
_META = frozenset({f"{_ROWS}.keyspace_name", f"{_ROWS}.table_name", f"{_ROWS}.column_count"})
_READ = frozenset(
    {"cql.string", "cql.result.kind", f"{_ROWS}.row_count", "cql.error_code", "cql.flags.warning"}
)
# Section 9 of the specification, by Packetbeat's names.
_ERRORS = {
    0x0000: "errServer",
    0x000A: "errProtocol",
    0x0100: "errAuthentication",
    0x1000: "errUnavailable",
    0x1001: "errOverloaded",
    0x1002: "errBootstrapping",
    0x1003: "errTruncate",
    0x1100: "errWriteTimeout",
    0x1200: "errReadTimeout",
    0x1300: "errReadFailure",
    0x1400: "errFunctionFailure",
    0x1500: "errWriteFailure",
    0x2000: "errSyntax",
    0x2100: "errUnauthorized",
    0x2200: "errInvalid",
    0x2300: "errConfig",
    0x2400: "errAlreadyExists",
    0x2500: "errUnprepared",
}


@dataclass(slots=True)
class _Session:
    """Statements being prepared, by stream, and prepared, by their ids."""

    preparing: Bounded[str, Statement] = field(default_factory=lambda: Bounded(MAX_WAITING))
    prepared: Bounded[str, Statement] = field(default_factory=lambda: Bounded(_MAX_STATEMENTS))


class CassandraDecoder(SessionDecoder[_Session]):
    """Units of CQL: one per frame."""

    def __init__(self, dataset: Dataset) -> None:
        super().__init__(dataset, _Session)

    def extra_fields(self) -> frozenset[str]:
        """What a frame's body is read from."""
        return _READ | {"cql.opcode", "cql.direction", "cql.stream", "cql.query_id"}

    def units(self, layer: Tree, protocol: str, place: Place) -> Iterator[Unit]:
        """One unit per frame."""
        session, columns = self.sessions.of(place), self.columns(layer)
        role = self.role(columns, place)
        opcode = columns.get("cql.opcode", [""])[0]
        if role is None:
            return
        unit = Unit(role, self.read(columns, role), place, protocol, self.key(columns))
        if role is Role.REQUEST:
            _ask(opcode, columns, session, unit)
        else:
            unit.status = "Error" if opcode == _ERROR else "" if opcode in _GOES_ON else "OK"
            if opcode == _EVENT:
                unit.fields |= {"cassandra.no_request": True, "method": "EVENT"}
            else:
                _answer(opcode, columns, layer, session, unit)
        yield unit


def _ask(opcode: str, columns: Columns, session: _Session, unit: Unit) -> None:
    fields, strings = unit.fields, columns.get("cql.string", [])
    fields["method"] = fields.get("cassandra.request.headers.op", "")
    said = None
    if opcode in {_QUERY, _PREPARE} and strings:
        said = statement(strings[0])
    elif opcode == _EXECUTE:
        known = session.prepared.get(columns.get("cql.query_id", [""])[0])
        said = known._replace(credentials=()) if known else None
    elif opcode == _BATCH:
        batch = [statement(text) for text in strings[:_MAX_BATCH]]
        fields["netflight.cassandra.batch"] = [each.text for each in batch]
        unit.credentials.extend(shown for each in batch for shown in each.credentials)
    elif opcode == _STARTUP:
        pairs = zip(strings[::2], strings[1::2], strict=False)
        fields["netflight.cassandra.options"] = [f"{name}={value}" for name, value in pairs]
    if opcode == _PREPARE and said:
        session.preparing[unit.key[0]] = said
    if said:
        said.tell(unit, fields, "network_traffic.cassandra.request.query")
        fields["cassandra.request.query"] = said.text


def _answer(opcode: str, columns: Columns, layer: Tree, session: _Session, unit: Unit) -> None:
    base, strings = "cassandra.response", columns.get("cql.string", [])
    told: dict[str, Any] = {}
    preparing = session.preparing.pop(unit.key[0], None)
    if opcode == _ERROR:
        code = number(columns.get("cql.error_code", [""])[0])
        # A syntax error may quote the statement.
        message = statement(strings[0]).text if strings else ""
        told = {
            f"{base}.error.code": code,
            f"{base}.error.msg": message,
            f"{base}.error.type": _ERRORS.get(code if code is not None else -1, "errUnknown"),
            "error.code": None if code is None else str(code),
            "error.message": message,
        }
    elif opcode == _RESULT and columns.get("cql.flags.warning", ["0"])[0] in {"0", "False"}:
        # tshark takes the warnings that come before a result for a part of it.
        kind = _KINDS.get(columns.get("cql.result.kind", [""])[0], "")
        told[f"{base}.result.type"] = kind
        identity = columns.get("cql.query_id", [""])[0]
        if kind == "prepared" and preparing is not None and identity:
            session.prepared[identity] = preparing
        elif kind == "set_keyspace" and strings:
            told |= {f"{base}.result.keyspace": strings[0], "path": strings[0]}
        elif kind == "rows":
            told |= _rows(columns, layer)
    unit.fields.update({name: value for name, value in told.items() if value not in {None, ""}})


def _rows(columns: Columns, layer: Tree) -> dict[str, Any]:
    """What a result of rows says of itself; its table is that of the first column."""
    meta = collect(next(iter(find_all(layer, "Metadata")), {}), _META)
    base = "cassandra.response.result.rows"
    keyspace, table = (meta.get(f"{_ROWS}.{name}_name", [""])[0] for name in ("keyspace", "table"))
    return {
        f"{base}.num_rows": number(columns.get(f"{_ROWS}.row_count", [""])[0]),
        f"{base}.meta.keyspace": keyspace,
        f"{base}.meta.table": table,
        f"{base}.meta.col_count": number(meta.get(f"{_ROWS}.column_count", [""])[0]),
        "path": f"{keyspace}.{table}" if keyspace and table else "",
    }
