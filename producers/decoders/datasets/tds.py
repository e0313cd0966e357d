"""TDS, of Microsoft SQL Server (MS-TDS) and Sybase (TDS 5.0): messages to the server with their answers, in order.

The layer is one packet; a message that fills several is told with its last. tshark undoes the obfuscation of a password
in TDS 7 (MS-TDS, section 2.2.6.4), and shows a login of TDS 5 only once it is complete: a first packet alone is read
here.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from producers.decoders.convert import MAX_BYTES, number
from producers.decoders.secrets import Credentials
from producers.decoders.state import SessionDecoder
from producers.decoders.statements import statement
from producers.decoders.tree import Columns, Tree, collect, find_all, first
from producers.decoders.unit import Place, Role, Unit
from schemas.model import Dataset

_LOGIN5, _RPC, _RESPONSE, _LOGIN7, _SSPI, _PRELOGIN = "2", "3", "4", "16", "17", "18"
_TYPES = {
    "1": "SQL batch",
    "2": "TDS4/5 login",
    "3": "Remote Procedure Call",
    "4": "Response",
    "6": "Attention",
    "7": "Bulk load data",
    "14": "Transaction Manager Request",
    "15": "TDS5 query",
    "16": "TDS7 login",
    "17": "SSPI message",
    "18": "TDS7 pre-login message",
    "23": "TLS exchange",
}
_METHODS = {
    "1": "BATCH",
    "3": "EXEC",
    "6": "ATTENTION",
    "7": "BULK",
    "14": "TRANSACTION",
    "15": "BATCH",
    "2": "LOGIN",
    "16": "LOGIN",
    "17": "SSPI",
    "18": "PRELOGIN",
    "23": "TLS",
}
_PROCEDURES = (  # MS-TDS, section 2.2.6.6
    *("", "sp_cursor", "sp_cursoropen", "sp_cursorprepare", "sp_cursorexecute", "sp_cursorprepexec"),
    *(
        "sp_cursorunprepare",
        "sp_cursorfetch",
        "sp_cursoroption",
        "sp_cursorclose",
        "sp_executesql",
        "sp_prepare",
    ),
    *("sp_execute", "sp_prepexec", "sp_prepexecrpc", "sp_unprepare"),
)
# Which of a procedure's texts is the statement: others have the parameters' types before it.
_STATEMENT_AT = {
    "sp_executesql": 0,
    "sp_cursoropen": 0,
    "sp_prepare": 1,
    "sp_prepexec": 1,
    "sp_cursorprepare": 1,
    "sp_cursorprepexec": 1,
}
_ENCRYPTION = (
    *("Encryption is available but off", "Encryption is available and on", "Encryption is not available"),
    "Encryption is required",
)
_LOGIN = {
    "user.name": ("tds.7login.username", "tds.login.username"),
    "netflight.tds.client.host": ("tds.7login.clientname", "tds.login.hostname"),
    "netflight.tds.client.application": ("tds.7login.appname", "tds.login.appname"),
    "netflight.tds.client.library": ("tds.7login.libraryname", "tds.login.progname"),
    "netflight.tds.server.name": ("tds.7login.servername", "tds.login.servname"),
    "netflight.tds.database": ("tds.7login.databasename",),
    "netflight.tds.version": ("tds.7login.version",),
    "password": ("tds.7login.password", "tds.login.password"),
    "pid": ("tds.7login.client_pid", "tds.login.pid"),
}
# A TDS 5 login record: 30 bytes and a length for each of these, at their offsets (TDS 5.0 specification, "LOGINREC").
_RECORD = {
    "netflight.tds.client.host": 0,
    "user.name": 31,
    "password": 62,
    "netflight.tds.client.application": 140,
    "netflight.tds.server.name": 171,
}
_DONE = ("tds.done", "tds.doneproc", "tds.doneinproc")
_COUNTED = 0x10  # a DONE's row count is valid
_READ = frozenset(
    {
        *(name for names in _LOGIN.values() for name in names),
        *("tds.query", "tds.lang.language_text", "tds.dbrpc.rpcname", "tds.rpc.name", "tds.rpc.proc_id"),
        *("tds.prelogin.option.encryption", "tds.error.number", "tds.error.msgtext", "tds.eed.number"),
        *("tds.eed.msgtext", "tds.eed.class", "tds.info.msgtext", "tds.loginack.progname"),
        *("tds.colmetadata.columns", "tds.returnstatus.value", "tds.done.status.error"),
    }
)
_MAX_PARAMETERS = 100
_MAX_TEXT = 1024
_ERROR_CLASS = 10  # messages of a higher severity are errors


@dataclass(slots=True)
class _Session:
    """Whether a login was read from its first packet."""

    read: bool = False


class TdsDecoder(SessionDecoder[_Session]):
    """Units of TDS: a message to the server is a request, the server's next one the response."""

    def __init__(self, dataset: Dataset) -> None:
        super().__init__(dataset, _Session)

    def units(self, layer: Tree, protocol: str, place: Place) -> Iterator[Unit]:
        """One unit per message that ends in the packet."""
        kind, session = first(layer, "tds.type"), self.sessions.of(place)
        if kind not in _TYPES:
            return
        ends = next(iter(find_all(layer, "tds.status_tree")), {}).get("tds.status.eom") in {"1", "True"}
        from_server = kind == _RESPONSE or (kind in {_SSPI, _PRELOGIN} and not _from_client(place))
        unit = Unit(Role.RESPONSE if from_server else Role.REQUEST, {}, place, protocol)
        columns = collect(layer, _READ)
        if from_server:
            if ends:
                _answer(columns, layer, unit)
                yield unit
            return
        begins = kind == _LOGIN5 and not ends and first(layer, "tds.packet_number") == "1"
        if not ends and not begins:
            return
        record = _record(layer) if begins else {}
        told, session.read = session.read, begins
        if ends and told and kind == _LOGIN5:
            return
        unit.fields |= {"netflight.tds.type": _TYPES[kind], "method": _METHODS[kind]}
        if kind in {_LOGIN5, _LOGIN7}:
            _login(record or _login_fields(columns), kind, unit)
        elif kind == _PRELOGIN:
            unit.fields |= _encryption(columns)
        else:
            _statement(kind, columns, layer, unit)
        yield unit


def _from_client(place: Place) -> bool:
    """Whether the client sent it: by the port where it is SQL Server's own, else by who began."""
    flow = place.flow
    if flow is not None and flow.destination_port != 1433 and flow.source_port == 1433:
        return not place.from_initiator
    return place.from_initiator


def _login_fields(columns: Columns) -> dict[str, str]:
    found = {}
    for name, sources in _LOGIN.items():
        values = [columns[source][0] for source in sources if source in columns]
        if values and values[0]:
            found[name] = values[0]
    return found


def _record(layer: Tree) -> dict[str, str]:
    """The fields of a TDS 5 login's first packet, from its bytes."""
    holder = layer.get("data")
    try:
        data = bytes.fromhex(first(holder, "data.data").replace(":", "")) if isinstance(holder, dict) else b""
    except ValueError:
        return {}
    found = {}
    for name, at in _RECORD.items():
        if len(data) > at + 30 and data[at + 30] <= 30:
            text = data[at : at + data[at + 30]].decode("utf-8", "replace")
            if text:
                found[name] = text
    return found


def _login(said: dict[str, str], kind: str, unit: Unit) -> None:
    pid = number(said.get("pid", ""))
    if pid is not None:
        unit.fields["netflight.tds.client.pid"] = pid
    unit.fields.update({name: value for name, value in said.items() if name not in {"password", "pid"}})
    user, password = said.get("user.name", ""), said.get("password", "")
    if password:
        # Not encrypted in either: TDS 7 swaps the halves of each byte and flips bits, which anybody can undo.
        unit.credentials.append(
            Credentials(user, password[:MAX_BYTES], "TDS7" if kind == _LOGIN7 else "TDS5")
        )


def _encryption(columns: Columns) -> dict[str, str]:
    said = number(columns.get("tds.prelogin.option.encryption", [""])[0])
    known = said is not None and 0 <= said < len(_ENCRYPTION)
    return {"netflight.tds.encryption": _ENCRYPTION[said]} if known and said is not None else {}


def _statement(kind: str, columns: Columns, layer: Tree, unit: Unit) -> None:
    """Read a batch or a call."""
    texts = columns.get("tds.query", columns.get("tds.lang.language_text", []))
    names = [*columns.get("tds.rpc.name", []), *columns.get("tds.dbrpc.rpcname", [])]
    names += [_procedure(text) for text in columns.get("tds.rpc.proc_id", [])]
    parameters = _parameters(layer) if kind == _RPC else []
    text = texts[0].strip() if texts else ""
    if names:
        unit.fields["netflight.tds.procedures"] = names
        unit.fields["resource"] = names[0]
        strings = [value for _, value, is_text in parameters if is_text]
        at = _STATEMENT_AT.get(names[0].rpartition(".")[2].lower())
        if at is not None and strings:
            text = strings[min(at, len(strings) - 1)]
    said = statement(text)
    said.tell(unit, unit.fields, "netflight.tds.query")
    takes_secrets = any(
        statement(word).takes_secrets() for word in (text, *names, *(name for name, _, _ in parameters))
    )
    shown = [f"{name}={value}" if name else value for name, value, _ in parameters if value != text]
    if shown and not takes_secrets:
        unit.fields["netflight.tds.parameters"] = shown


def _procedure(text: str) -> str:
    known = number(text)
    return _PROCEDURES[known] if known is not None and 0 < known < len(_PROCEDURES) else text


def _parameters(layer: Tree) -> list[tuple[str, str, bool]]:
    """Name and value of each parameter, and whether it is a text."""
    found = []
    for tree in find_all(layer, "tds.rpc.parameter"):
        value = next(iter(find_all(tree, "tds.rpc.parameter.value")), {})
        for name, data in value.items():
            if name.startswith("tds.type_varbyte.data.") and isinstance(data, str):
                found.append(
                    (first(tree, "tds.rpc.parameter.name"), data[:_MAX_TEXT], name.endswith("string"))
                )
        if len(found) >= _MAX_PARAMETERS:
            break
    return found


def _answer(columns: Columns, layer: Tree, unit: Unit) -> None:
    errors = list(
        zip(columns.get("tds.error.number", []), columns.get("tds.error.msgtext", []), strict=False)
    )
    messages = columns.get("tds.info.msgtext", [])
    severities = map(number, columns.get("tds.eed.class", []))
    said = zip(
        columns.get("tds.eed.number", []), columns.get("tds.eed.msgtext", []), severities, strict=False
    )
    for code, text, severity in said:
        if severity is not None and severity > _ERROR_CLASS:
            errors.append((code, text))
        else:
            messages = [*messages, text]
    failed = bool(errors) or any(value in {"1", "True"} for value in columns.get("tds.done.status.error", []))
    unit.status = "Error" if failed else "OK"
    fields: dict[str, Any] = _encryption(columns)
    if errors:
        # A syntax error may quote the statement.
        fields |= {"error.code": errors[0][0], "error.message": statement(errors[0][1]).text}
    if messages:
        fields["netflight.tds.messages"] = messages
    software = columns.get("tds.loginack.progname", [""])[0]
    if software:
        fields["netflight.tds.server.software"] = software
    wide = [count for count in map(number, columns.get("tds.colmetadata.columns", [])) if count is not None]
    if wide:
        fields["netflight.tds.num_fields"] = sum(wide)
    status = number(columns.get("tds.returnstatus.value", [""])[0])
    if status is not None:
        fields["netflight.tds.return_status"] = status
    fields |= _counted(layer) | _database(layer)
    unit.fields.update(fields)


def _counted(layer: Tree) -> dict[str, Any]:
    """The rows of all statements, where the server counts them."""
    counts = []
    for token in _DONE:
        for tree in find_all(layer, token):
            flags = number(first(tree, f"{token}.status")) or 0
            text = first(tree, f"{token}.donerowcount64") or first(tree, f"{token}.donerowcount")
            count = number(text)
            if flags & _COUNTED and count is not None:
                counts.append(count)
    return {"netflight.tds.num_rows": sum(counts)} if counts else {}


def _database(layer: Tree) -> dict[str, Any]:
    """The database that is used from now on (ENVCHANGE of type 1)."""
    for tree in find_all(layer, "tds.envchange"):
        if first(tree, "tds.envchange.type") == "1":
            name = first(tree, "tds.envchange.newvalue_string")
            return {"netflight.tds.database": name} if name else {}
    return {}
