"""memcached's text and binary protocol (memcached's doc/protocol.txt, and its binary protocol's specification).

Binary answers repeat the request's opaque number. tshark shows of the text protocol a packet's first command alone,
and nothing of some commands and answers (touch, the number that incr answers with) and of datagrams: those are units
without content, so that requests and answers stay together.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from producers.decoders.convert import number
from producers.decoders.secrets import Credentials
from producers.decoders.state import SessionDecoder
from producers.decoders.tree import Columns, Tree
from producers.decoders.unit import Place, Role, Unit
from schemas.model import Dataset

_PORT = 11_211
_WANTED = frozenset(
    {
        *("memcache.magic", "memcache.opcode", "memcache.opaque", "memcache.status", "memcache.key"),
        *("memcache.value.length", "memcache.extras.flags", "memcache.extras.expiration", "memcache.value"),
        *("memcache.extras.delta", "memcache.command", "memcache.subcommand", "memcache.flags"),
        *("memcache.expiration", "memcache.noreply", "memcache.response", "memcache.version"),
    }
)
_OPCODES = (
    *("Get", "Set", "Add", "Replace", "Delete", "Increment", "Decrement", "Quit", "Flush", "GetQ", "Noop"),
    *("Version", "GetK", "GetKQ", "Append", "Prepend", "Stat", "SetQ", "AddQ", "ReplaceQ", "DeleteQ"),
    *("IncrementQ", "DecrementQ", "QuitQ", "FlushQ", "AppendQ", "PrependQ", "Verbosity", "Touch", "GAT"),
    *("GATQ", "HELO", "SASLListMechs", "SASLAuth", "SASLStep"),
)
_SASL_AUTH = 33
_STATUSES = {
    0: "No error",
    1: "Key not found",
    2: "Key exists",
    3: "Value too large",
    4: "Invalid arguments",
    5: "Item not stored",
    6: "Incr/Decr on non-numeric value",
    8: "Authentication error",
    9: "Authentication continue",
    0x20: "Authentication error",
    0x21: "Authentication continue",
    0x81: "Unknown command",
    0x82: "Out of memory",
    0x83: "Not supported",
    0x84: "Internal error",
    0x85: "Busy",
    0x86: "Temporary failure",
}
_CONTINUES = frozenset({0, 9, 0x21})  # no errors
_TYPES = {
    **dict.fromkeys(("get", "gets", "getq", "getk", "getkq", "gat", "gats", "gatq"), "Load"),
    **dict.fromkeys(("set", "add", "replace", "append", "prepend", "cas", "touch"), "Store"),
    **dict.fromkeys(("setq", "addq", "replaceq", "appendq", "prependq"), "Store"),
    **dict.fromkeys(("incr", "decr", "increment", "decrement", "incrementq", "decrementq"), "Counter"),
    **dict.fromkeys(("delete", "deleteq", "flush_all", "flush", "flushq"), "Delete"),
    **dict.fromkeys(("stats", "stat"), "Stats"),
    **dict.fromkeys(("version", "verbosity", "noop", "quit", "quitq", "helo"), "Info"),
    **dict.fromkeys(("sasllistmechs", "saslauth", "saslstep"), "Auth"),
    "slabs": "SlabCtrl",
}
_FAILURES = ("NOT_FOUND", "NOT_STORED", "EXISTS", "ERROR", "CLIENT_ERROR", "SERVER_ERROR")


@dataclass(slots=True)
class _Session:
    """How many text commands wait for their answer."""

    waiting: int = 0


class MemcachedDecoder(SessionDecoder[_Session]):
    """Units of memcached: commands are requests, in order in the text protocol, by opaque number in the binary one."""

    def __init__(self, dataset: Dataset) -> None:
        super().__init__(dataset, _Session)

    def extra_fields(self) -> frozenset[str]:
        """All that a message is read from."""
        return _WANTED

    def units(self, layer: Tree, protocol: str, place: Place) -> Iterator[Unit]:
        """One unit per message; the rest of a long answer is none."""
        session, columns = self.sessions.of(place), self.columns(layer)
        unit = Unit(Role.REQUEST if _from_client(place) else Role.RESPONSE, {}, place, protocol)
        if "memcache.magic" in columns:
            yield _binary(columns, unit)
        elif unit.role is Role.REQUEST:
            _ask(columns, unit)
            session.waiting += unit.role is Role.REQUEST
            yield unit
        elif session.waiting or (columns and columns.get("memcache.response") != ["END"]):
            session.waiting = max(session.waiting - 1, 0)
            yield _answer(columns, unit)


def _from_client(place: Place) -> bool:
    """Whether the client sent it: by the port where it is memcached's own, else by who began."""
    flow = place.flow
    if flow is not None and flow.destination_port != _PORT and flow.source_port == _PORT:
        return not place.from_initiator
    return place.from_initiator


def _binary(columns: Columns, unit: Unit) -> Unit:
    value = {name: number(texts[0]) for name, texts in columns.items()}
    unit.role = Role.REQUEST if value["memcache.magic"] == 0x80 else Role.RESPONSE
    side = "request" if unit.role is Role.REQUEST else "response"
    opcode = value.get("memcache.opcode")
    known = opcode is not None and 0 <= opcode < len(_OPCODES)
    name = _OPCODES[opcode] if known and opcode is not None else str(opcode)
    unit.key = (str(value.get("memcache.opaque")), str(opcode))
    base = f"memcache.{side}"
    keys = columns.get("memcache.key", [])
    fields: dict[str, Any] = {
        "memcache.protocol_type": "binary",
        f"{base}.opcode": name,
        f"{base}.opcode_value": opcode,
        f"{base}.opaque": value.get("memcache.opaque"),
        f"{base}.keys": keys or None,
        f"{base}.bytes": value.get("memcache.value.length"),
    }
    if unit.role is Role.REQUEST:
        quiet = name.endswith("Q")
        if quiet:
            unit.role = Role.SINGLE
        fields |= {
            f"{base}.quiet": quiet,
            f"{base}.flags": value.get("memcache.extras.flags"),
            f"{base}.exptime": value.get("memcache.extras.expiration"),
            f"{base}.delta": value.get("memcache.extras.delta"),
        }
        _name(fields, name.lower(), keys)
        if opcode == _SASL_AUTH:
            _show(unit, fields, keys, columns)
    else:
        status = value.get("memcache.status")
        unit.status = "OK" if status in _CONTINUES else "Error"
        said = _STATUSES.get(status if status is not None else -1, str(status))
        fields |= {
            f"{base}.status": said,
            f"{base}.status_code": status,
            f"{base}.type": "Success" if unit.status == "OK" else "Fail",
            "error.message": said if unit.status == "Error" else None,
        }
    _keep(unit, fields)
    return unit


def _ask(columns: Columns, unit: Unit) -> None:
    """Read a command of the text protocol."""
    base = "memcache.request"
    command = columns.get("memcache.command", [""])[0].strip()
    fields: dict[str, Any] = {"memcache.protocol_type": "text" if command else "unknown"}
    if command:
        keys = columns.get("memcache.key", [])
        numbers = {
            "flags": _number(columns, "memcache.flags"),
            "exptime": _number(columns, "memcache.expiration"),
            "bytes": _number(columns, "memcache.value.length"),
        }
        _name(fields, command, keys)
        # Of commands that bring no value, tshark calls the number that comes with them the value.
        if fields[f"{base}.type"] == "Counter":
            numbers["delta"] = _number(columns, "memcache.value")
        noreply = "memcache.noreply" in columns
        words = [command, *columns.get("memcache.subcommand", []), *keys]
        words += [str(value) for value in numbers.values() if value is not None]
        line = " ".join([*words, "noreply"] if noreply else words)
        fields |= {f"{base}.{name}": value for name, value in numbers.items()}
        fields |= {
            f"{base}.keys": keys or None,
            f"{base}.line": line,
            f"{base}.noreply": noreply,
            "query": line,
        }
        if noreply or command == "quit":
            unit.role = Role.SINGLE
    _keep(unit, fields)


def _answer(columns: Columns, unit: Unit) -> Unit:
    """Read an answer of the text protocol."""
    base = "memcache.response"
    said = columns.get("memcache.response", [""])[0].strip()
    keys = columns.get("memcache.key", [])
    sizes = [size for size in map(number, columns.get("memcache.value.length", [])) if size is not None]
    failed = said.startswith(_FAILURES)
    if columns:
        unit.status = "Error" if failed else "OK"
    fields: dict[str, Any] = {
        "memcache.protocol_type": "text" if columns else "unknown",
        f"{base}.command": said or None,
        f"{base}.keys": keys or None,
        f"{base}.count_values": len(keys) or None,
        f"{base}.bytes": sum(sizes) if sizes else None,
        f"{base}.version": columns.get("memcache.version", [""])[0] or None,
        f"{base}.type": ("Fail" if failed else "Success") if columns else None,
        "error.message": said if failed else None,
    }
    _keep(unit, fields)
    return unit


def _name(fields: dict[str, Any], command: str, keys: list[str]) -> None:
    fields["method"] = fields["memcache.request.command"] = command
    fields["memcache.request.type"] = _TYPES.get(command.lower(), "UNKNOWN")
    if keys:
        fields["resource"] = keys[0]


def _show(unit: Unit, fields: dict[str, Any], keys: list[str], columns: Columns) -> None:
    """The credentials of a login by PLAIN (RFC 4616), as far as tshark shows them."""
    if keys[:1] == ["PLAIN"]:
        parts = columns.get("memcache.value", [""])[0].split("\0")
        if len(parts) == 3:
            fields["user.name"] = parts[1]
            unit.credentials.append(Credentials(parts[1], parts[2], "PLAIN"))


def _keep(unit: Unit, fields: dict[str, Any]) -> None:
    """Give the unit the fields that have a value, and the copies of some."""
    unit.fields.update({name: value for name, value in fields.items() if value is not None})
    for name in ("request.command", "request.noreply", "response.status_code", "response.type"):
        if f"memcache.{name}" in unit.fields:
            unit.fields[f"network_traffic.memcached.{name}"] = unit.fields[f"memcache.{name}"]


def _number(columns: Columns, name: str) -> int | None:
    return number(columns[name][0]) if name in columns else None
