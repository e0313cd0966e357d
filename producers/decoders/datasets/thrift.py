"""Thrift: calls with their arguments, replies with what they return or throw, as texts of the values.

As Packetbeat writes them: structures `(1: 5, 2: "x")` by field number, lists `[1, 2]`, sets and maps in braces.
"""

import json
from collections import deque
from collections.abc import Iterator
from typing import Any

from producers.decoders.base import Decoder
from producers.decoders.convert import CONVERTERS, number
from producers.decoders.tree import Tree, find_all
from producers.decoders.unit import Place, Role, Unit

_ONEWAY, _REPLY, _EXCEPTION = 4, 2, 3
_KINDS = {1: "CALL", _REPLY: "REPLY", _EXCEPTION: "EXCEPTION", _ONEWAY: "ONEWAY"}
# tshark's field of a value by its type (Thrift's binary protocol).
_VALUES = {
    2: ("thrift.bool",),
    3: ("thrift.i8",),
    4: ("thrift.double",),
    6: ("thrift.i16",),
    8: ("thrift.i32",),
    10: ("thrift.i64",),
    11: ("thrift.string", "thrift.binary"),
    12: ("thrift.struct",),
    13: ("thrift.map",),
    14: ("thrift.set",),
    15: ("thrift.list",),
    16: ("thrift.uuid",),
}
_BOOL, _TEXT, _STRUCT, _MAP, _SET = 2, 11, 12, 13, 14
_MAX_DEPTH, _MAX_ITEMS = 25, 100
_HEADER = "Field Header #"


class ThriftDecoder(Decoder):
    """Units of calls and replies."""

    def extra_fields(self) -> frozenset[str]:
        """The kind of message."""
        return frozenset({"thrift.mtype"})

    def units(self, layer: Tree, protocol: str, place: Place) -> Iterator[Unit]:
        """One unit per message."""
        columns = self.columns(layer)
        kind = number(columns.get("thrift.mtype", [""])[0])
        if kind not in _KINDS or "thrift.method" not in columns:
            return
        reply = kind in (_REPLY, _EXCEPTION)
        role = Role.RESPONSE if reply else Role.SINGLE if kind == _ONEWAY else Role.REQUEST
        fields = self.read(columns, role)
        fields["netflight.thrift.type"] = _KINDS[kind]
        service, colon, _ = str(fields.get("thrift.method", "")).partition(":")
        if colon:  # TMultiplexedProtocol
            fields["thrift.service"] = service
        unit = Unit(role, fields, place, protocol, self.key(columns))
        if not reply:
            fields["thrift.params"] = _structure(_body(layer, "Data"))
        else:
            self._add_outcome(unit, layer, kind)
        yield unit

    @staticmethod
    def _add_outcome(unit: Unit, layer: Tree, kind: int) -> None:
        fields = unit.fields
        thrown = next((name for name in layer if name.startswith("Exception")), "")
        if kind == _EXCEPTION:  # the server could not make the call; what it says is in the YAML's fields
            unit.status = "Error"
        elif thrown:
            unit.status = "Error"
            fields["thrift.exceptions"] = _structure(_body(layer, thrown))
        else:
            unit.status = "OK"
            returned = _structure(_body(layer, "Data"))
            fields["thrift.return_value"] = (
                returned.removeprefix("(0: ").removesuffix(")") if returned != "()" else ""
            )


def _body(layer: Tree, name: str) -> Tree:
    return next(iter(find_all(layer, name)), {}) if name else {}


class _Values:
    """The values in an object of tshark's, to be taken in their order by type."""

    def __init__(self, tree: Tree) -> None:
        self._left = {
            name: deque(value if isinstance(value, list) else [value])
            for names in _VALUES.values()
            for name in names
            if (value := tree.get(name)) is not None
        }

    def take(self, kind: int | None, depth: int) -> str:
        """The next value of a type, as text; a question mark where there is none."""
        for name in _VALUES.get(kind or 0, ()):
            left = self._left.get(name)
            if left:
                value = left.popleft()
                return _octets(value) if name == "thrift.binary" else _shown(value, kind or 0, depth)
        return "?"


def _shown(value: Any, kind: int, depth: int) -> str:
    if isinstance(value, dict):
        if depth >= _MAX_DEPTH:
            return "..."
        return _structure(value, depth + 1) if kind == _STRUCT else _collection(value, kind, depth + 1)
    text = str(value)
    if kind == _TEXT:
        return json.dumps(text, ensure_ascii=False)
    if kind == _BOOL:
        return "true" if text in ("1", "True") else "false"
    return text


def _octets(value: object) -> str:
    """Bytes that are no text, in hexadecimal."""
    return str(CONVERTERS["hex"](str(value)) or "")


def _structure(tree: Tree, depth: int = 0) -> str:
    """The fields of a structure by number, in the order of the packet."""
    values = _Values(tree)
    shown: list[str] = []
    for name, header in tree.items():
        if name.startswith(_HEADER):
            for one in header if isinstance(header, list) else [header]:
                if isinstance(one, dict) and len(shown) < _MAX_ITEMS:
                    kind = number(str(one.get("thrift.type")))
                    shown.append(f"{one.get('thrift.fid', '?')}: {values.take(kind, depth)}")
    return f"({', '.join(shown)})"


def _collection(tree: Tree, kind: int, depth: int) -> str:
    """The items of a list, a set or a map, which all have the types that are named first."""
    named = tree.get("thrift.type")
    kinds = [number(str(text)) for text in (named if isinstance(named, list) else [named])]
    values, shown = _Values(tree), list[str]()
    count = next((number(str(tree[name])) for name in tree if name.startswith("thrift.num_")), 0) or 0
    for _ in range(min(count, _MAX_ITEMS)):
        item = [values.take(one, depth) for one in kinds[: 2 if kind == _MAP else 1]]
        shown.append(": ".join(item))
    return f"{{{', '.join(shown)}}}" if kind in (_MAP, _SET) else f"[{', '.join(shown)}]"
