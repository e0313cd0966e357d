"""memcached's text and binary protocol (memcached's doc/protocol.txt, and its binary protocol's specification).

Binary messages are tshark's, and their answers repeat the request's opaque number. Text is read from the bytes of the
connection; of UDP, from datagrams that begin with a request's number (protocol.txt, "UDP protocol").
"""

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from producers.decoders.convert import number
from producers.decoders.secrets import Credentials
from producers.decoders.state import ALONE, MAX_WAITING, SessionDecoder
from producers.decoders.stream import Piece, Stream, begins_with, is_text, piece, text
from producers.decoders.tree import Columns, Tree
from producers.decoders.unit import Place, Role, Unit
from schemas.model import Dataset

_PROTOCOL = "memcached"
_STREAM = "netflight_stream_memcached"
_MAX_KEYS = 1000
_HEADER = (
    8  # bytes before the text in a datagram: the request's number, the datagram's, how many there are, 0
)
_STORE = frozenset({"set", "add", "replace", "append", "prepend", "cas"})
_KEYS = frozenset({"get", "gets"})
_TOUCH = frozenset({"gat", "gats"})
_META = frozenset({"mg", "ms", "md", "ma", "mn", "me"})
_ONE_KEY = frozenset({"delete", "incr", "decr", "touch"})
# What follows the key of a command.
_NUMBERS_OF: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(_STORE, ("flags", "exptime", "bytes")),
    **dict.fromkeys(("incr", "decr"), ("delta",)),
    "touch": ("exptime",),
}
_COMMAND = re.compile(r"[A-Za-z_]{2,32}")
_ITEM = re.compile(r"VALUE (\S+) \d+ (\d{1,10})(?: \d+)?$")
_META_ITEM = re.compile(r"VA (\d{1,10})(?: |$)")
_WANTED = frozenset(
    {
        *("memcache.magic", "memcache.opcode", "memcache.opaque", "memcache.status", "memcache.key"),
        *("memcache.value.length", "memcache.extras.flags", "memcache.extras.expiration", "memcache.value"),
        "memcache.extras.delta",
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
    **dict.fromkeys(("slabs", "lru", "lru_crawler"), "SlabCtrl"),
    "mg": "Load",
    "ms": "Store",
    "md": "Delete",
    "ma": "Counter",
    "mn": "Info",
    "me": "Info",
}
_COMMANDS = begins_with(
    (
        *(*_STORE, *_KEYS, *_TOUCH, *_META, *_ONE_KEY),
        *("stats", "flush_all", "version", "verbosity", "quit", "slabs", "lru"),
    )
)
_ANSWERS = begins_with(
    (
        *(
            "VALUE",
            "END",
            "STORED",
            "NOT_STORED",
            "EXISTS",
            "NOT_FOUND",
            "DELETED",
            "TOUCHED",
            "STAT",
            "ERROR",
            "OK",
        ),
        *("CLIENT_ERROR", "SERVER_ERROR", "VERSION", "VA", "HD", "EN", "NS", "EX", "NF", "MN", "ME"),
    )
)
_FAILURES = ("NOT_FOUND", "NOT_STORED", "EXISTS", "ERROR", "CLIENT_ERROR", "SERVER_ERROR")


@dataclass(slots=True)
class _Answer:
    """An answer under way: the keys and sizes of its items, and its lines' first words."""

    keys: list[str] = field(default_factory=list)
    items: int = 0
    bytes: int = 0


@dataclass(slots=True)
class _Session:
    """A connection: what each side says, how much of it is a value, which commands wait, the answer under way.

    `quiet`: commands were sent that are answered only if they fail, or only if they find something.
    """

    streams: tuple[Stream, Stream] = field(default_factory=lambda: (Stream(_ANSWERS), Stream(_COMMANDS)))
    missing: list[int] = field(default_factory=lambda: [0, 0])
    waiting: deque[str] = field(default_factory=lambda: deque(maxlen=MAX_WAITING))
    answer: _Answer = field(default_factory=_Answer)
    quiet: bool = False


class MemcachedDecoder(SessionDecoder[_Session]):
    """Units of memcached: commands are requests, in order in the text protocol, by opaque number in the binary one."""

    def __init__(self, dataset: Dataset) -> None:
        super().__init__(dataset, _Session)

    def extra_fields(self) -> frozenset[str]:
        """All that a binary message is read from."""
        return _WANTED

    def units(self, layer: Tree, protocol: str, place: Place) -> Iterator[Unit]:
        """One unit per message; the rest of a long answer is none."""
        if protocol != _STREAM:
            columns = self.columns(layer)
            if "memcache.magic" in columns:
                yield _binary(columns, Unit(Role.REQUEST, {}, place, _PROTOCOL))
            return
        sent = piece(layer, protocol, place)
        place = sent.place
        if place.flow is not None and place.flow.transport == "udp":
            yield from _datagram(sent, place)
            return
        session = self.sessions.of(place)
        side = int(sent.client)
        stream = session.streams[side]
        lost = stream.lost_before(place)
        if lost:
            session.missing[side] = 0
        stream.feed(sent.data, hole=lost)
        while (line := _line(session, side)) is not None:
            unit = _ask(session, line, place) if sent.client else _hear(session, line, place)
            if unit is not None:
                yield unit


def _line(session: _Session, side: int) -> str | None:
    """The next line of a side, after the value that may be before it."""
    while True:
        session.missing[side] -= len(session.streams[side].take(session.missing[side]))
        line = None if session.missing[side] else session.streams[side].line()
        if line is None or is_text(line):
            return None if line is None else text(line)


def _datagram(sent: Piece, place: Place) -> Iterator[Unit]:
    """A command or the first part of an answer over UDP; the number of the request goes before it."""
    header, said = sent.data[:_HEADER], sent.data[_HEADER:]
    lines = [text(line) for line in said.splitlines() if is_text(line)]
    if len(header) < _HEADER or not lines:
        return
    session = _Session()
    if sent.client:
        unit = _ask(session, lines[0], place)
    elif int.from_bytes(header[2:4], "big"):  # a later part
        return
    else:
        item = _ITEM.match(lines[0])
        answer = _Answer([item[1]], 1, int(item[2])) if item else _Answer()
        unit = _answer(answer, lines[0].partition(" ")[0] if item else lines[0], place)
    if unit is not None:
        unit.key = (header[:2].hex(),)
        yield unit


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


def _ask(session: _Session, line: str, place: Place) -> Unit | None:
    """Read a command of the text protocol; nothing where it is none."""
    command, *words = line.split()[: _MAX_KEYS + 8] or [""]
    if command not in _META and not _COMMAND.fullmatch(command):
        return None
    base = "memcache.request"
    noreply = bool(words) and words[-1] == "noreply"
    arguments = words[:-1] if noreply else words
    keys, numbers = _parts(command, arguments)
    if command in _STORE and "bytes" in numbers:
        session.missing[1] = numbers["bytes"] + 2
    elif command == "ms" and len(arguments) > 1 and arguments[1].isdigit():
        session.missing[1] = numbers["bytes"] = int(arguments[1][:10])
        session.missing[1] += 2
    quiet = command in _META and "q" in words[1:]
    fields: dict[str, Any] = {"memcache.protocol_type": "text"}
    _name(fields, command, keys)
    fields |= {f"{base}.{name}": value for name, value in numbers.items()}
    fields |= {
        f"{base}.keys": keys or None,
        f"{base}.line": " ".join([command, *words]),
        f"{base}.noreply": noreply,
        "query": " ".join([command, *words]),
    }
    unit = Unit(Role.REQUEST, {}, place, _PROTOCOL)
    _keep(unit, fields)
    session.quiet |= quiet
    if noreply or quiet or command == "quit":
        unit.role = Role.SINGLE
    else:
        session.waiting.append(command)
    return unit


def _parts(command: str, words: list[str]) -> tuple[list[str], dict[str, int]]:
    """The keys of a command, and the numbers that it comes with."""
    if command in _KEYS:
        return words, {}
    if command in _TOUCH:
        return words[1:], _numbers(words, ("exptime",))
    if command == "flush_all":
        return [], _numbers(words, ("exptime",))
    keys = words[:1] if command in _STORE | _META or command in _ONE_KEY else []
    return keys, _numbers(words[1:], _NUMBERS_OF.get(command, ()))


def _numbers(words: list[str], names: tuple[str, ...]) -> dict[str, int]:
    found = {name: number(word) for name, word in zip(names, words, strict=False)}
    return {name: value for name, value in found.items() if value is not None and value < 1 << 63}


def _hear(session: _Session, line: str, place: Place) -> Unit | None:
    """Read a line of the server; the unit of an answer where it ends with it."""
    answer = session.answer
    item, found = _ITEM.match(line), _META_ITEM.match(line)
    sized = item[2] if item is not None else found[1] if found is not None else ""
    if sized:
        size = int(sized)
        session.missing[0] = size + 2
        answer.items += 1
        answer.bytes += size
        if item is not None:
            if len(answer.keys) < _MAX_KEYS:
                answer.keys.append(item[1])
            return None
    elif line.startswith(("STAT ", "ITEM ")) or not line:
        answer.items += bool(line)
        return None
    session.answer = _Answer()
    said = "VALUE" if line == "END" and answer.keys else "STAT" if line == "END" and answer.items else line
    unit = _answer(answer, said, place)
    if session.quiet and line != "MN" and not (session.waiting and session.waiting[0] not in _META):
        unit.extra = ALONE
        return unit
    session.quiet &= line != "MN"
    if session.waiting:
        session.waiting.popleft()
    return unit


def _answer(answer: _Answer, said: str, place: Place) -> Unit:
    """The unit of an answer of the text protocol."""
    base = "memcache.response"
    failed = said.startswith(_FAILURES)
    unit = Unit(Role.RESPONSE, {}, place, _PROTOCOL, status="Error" if failed else "OK")
    version = said.removeprefix("VERSION ") if said.startswith("VERSION ") else None
    fields: dict[str, Any] = {
        "memcache.protocol_type": "text",
        f"{base}.command": said,
        f"{base}.keys": answer.keys or None,
        f"{base}.count_values": answer.items or None,
        f"{base}.bytes": answer.bytes or None,
        f"{base}.version": version,
        f"{base}.type": "Fail" if failed else "Success",
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
