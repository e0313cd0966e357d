"""DNP3 (IEEE 1815): functions of the application layer, and frames of the link layer that carry none."""

from collections.abc import Iterator
from typing import Any

from producers.decoders.convert import number
from producers.decoders.ics import OPERATION, IcsDecoder, first, without_nothing
from producers.decoders.tree import Tree, collect, find_all, holders, texts
from producers.decoders.unit import Place, Role, Unit

_RESPONSES = frozenset({129, 131})
# Confirmations and unsolicited responses; requests that ask for no response (IEEE 1815, section 4.4).
_ALONE = frozenset({0, 6, 8, 10, 12, 33, 130})
_USER_DATA = frozenset({3, 4})
_LINK, _SECONDARY = 0x100, 0x80
_IIN = {
    "dnp3.al.iin.bmsg": "broadcast",
    "dnp3.al.iin.cls1d": "class_1_events",
    "dnp3.al.iin.cls2d": "class_2_events",
    "dnp3.al.iin.cls3d": "class_3_events",
    "dnp3.al.iin.tsr": "need_time",
    "dnp3.al.iin.dol": "local_control",
    "dnp3.al.iin.dt": "device_trouble",
    "dnp3.al.iin.rst": "device_restart",
    "dnp3.al.iin.fcni": "no_func_code_support",
    "dnp3.al.iin.obju": "object_unknown",
    "dnp3.al.iin.pioor": "parameter_error",
    "dnp3.al.iin.ebo": "event_buffer_overflow",
    "dnp3.al.iin.oae": "already_executing",
    "dnp3.al.iin.cc": "config_corrupt",
}
_REFUSALS = frozenset({"no_func_code_support", "object_unknown", "parameter_error", "already_executing"})
_VALUES = (
    *(
        "dnp3.al.bocs",
        "dnp3.al.bit",
        "dnp3.al.2bit",
        "dnp3.al.ana.int",
        "dnp3.al.ana.float",
        "dnp3.al.ana.double",
    ),
    *("dnp3.al.anaout.int", "dnp3.al.anaout.float", "dnp3.al.anaout.double", "dnp3.al.cnt", "dnp3.al.biq.b7"),
    *("dnp3.al.boq.b7", "dnp3.al.da.value", "dnp3.al.da.uint8", "dnp3.al.da.uint16", "dnp3.al.da.uint32"),
    *("dnp3.al.da.int8", "dnp3.al.da.int16", "dnp3.al.da.int32", "dnp3.al.da.float", "dnp3.al.da.double"),
    *("dnp3.al.timestamp", "dnp3.al.octet_string", "dnp3.al.file_name"),
)
_RANKS = {name: rank for rank, name in enumerate(_VALUES)}  # the first one that is there is told
_WITHIN = ("dnp3.ctl.op", "dnp3.ctl.trip", *_VALUES)
_HEADER = ("dnp3.src", "dnp3.dst", "dnp3.ctl.prm", "dnp3.ctl.prifunc", "dnp3.ctl.secfunc")
_MESSAGE = ("dnp3.al.seq", "dnp3.al.func", "dnp3.al.file_name")


class Dnp3Decoder(IcsDecoder):
    """Units of DNP3; a response has the sequence number of its request and the same stations."""

    def extra_fields(self) -> frozenset[str]:
        """Header and application control."""
        return frozenset({*_HEADER, *_MESSAGE, *_IIN})

    def units(self, layer: Tree, protocol: str, place: Place) -> Iterator[Unit]:
        """One unit per message; a frame that carries a part of one is none until the last came."""
        columns = self.columns(layer)
        function = number(first(columns, "dnp3.al.func"))
        link = number(first(columns, "dnp3.ctl.prifunc")), number(first(columns, "dnp3.ctl.secfunc"))
        sender, receiver = first(columns, "dnp3.src"), first(columns, "dnp3.dst")
        fields: dict[str, Any] = {
            "netflight.dnp3.source": number(sender),
            "netflight.dnp3.destination": number(receiver),
        }
        sequence = ""
        if function is None:
            code, role = _link_function(*link)
            if code is None or role is None:
                return
        else:
            code = function
            role = _role(function)
            sequence = first(columns, "dnp3.al.seq")
            fields["netflight.dnp3.sequence"] = number(sequence)
            self._read_objects(
                layer, fields, "request" if role is Role.REQUEST or function in _ALONE - {130} else "response"
            )
        fields[OPERATION] = self.operation(code)
        fields["netflight.dnp3.function"] = self.name("netflight.dnp3.function", code)
        if first(columns, "dnp3.al.file_name"):
            fields["file.name"] = columns["dnp3.al.file_name"][0]
        status = "" if role is Role.REQUEST or function in _ALONE else "OK"
        indications = [said for name, said in _IIN.items() if columns.get(name) in (["1"], ["True"])]
        if indications:
            fields["netflight.dnp3.iin"] = indications
        refused = [said for said in indications if said in _REFUSALS] or self._refused_points(fields)
        if role is Role.RESPONSE and (refused or code in (_LINK + _SECONDARY + 1, *_NO_SERVICE)):
            status = "Error"
            fields["error.message"] = refused[0] if refused else fields["netflight.dnp3.function"]
        stations = (sender, receiver) if role is Role.REQUEST else (receiver, sender)
        yield Unit(role, without_nothing(fields), place, protocol, (*stations, sequence), status)

    def _refused_points(self, fields: dict[str, Any]) -> list[str]:
        points = fields.get("netflight.dnp3.response.points", ())
        success = self.name("netflight.dnp3.response.points.status", 0)
        return [point["status"] for point in points if point.get("status", success) != success]

    def _read_objects(self, layer: Tree, fields: dict[str, Any], side: str) -> None:
        """Read object headers and points; tshark has the n-th header's content in the n-th tree."""
        objects, points = [], []
        for section in holders(layer, "dnp3.al.obj"):
            trees = list(find_all({"": section}, "dnp3.al.obj_tree"))
            for code, tree in zip(map(number, texts(section["dnp3.al.obj"])), trees, strict=False):
                if code is not None:
                    said = f"g{code >> 8}v{code & 0xFF}"
                    objects.append(self._object(code, said, tree))
                    points += [self._point(said, point, side) for point in _points(tree)]
        if objects:
            fields[f"netflight.dnp3.{side}.objects"] = objects
        if points:
            fields[f"netflight.dnp3.{side}.points"] = points

    def _object(self, code: int, said: str, tree: Tree) -> dict[str, Any]:
        found = collect(tree, _RANGE)
        return without_nothing(
            {
                "object": said,
                "name": self.name("netflight.dnp3.request.objects.name", code),
                "start": number(first(found, "dnp3.al.range.start")),
                "stop": number(first(found, "dnp3.al.range.stop")),
                "quantity": number(first(found, "dnp3.al.range.quantity")),
            }
        )

    def _point(self, said: str, point: Tree, side: str) -> dict[str, Any]:
        found = collect(point, _POINT)
        index = found.get("dnp3.al.index") or found.get("dnp3.al.point_index")
        values = [name for name in found if name in _RANKS]
        if index is not None and len(values) == 1 and len(found) == 2:  # as nearly all of thousands are
            place, value = number(index[0]), found[values[0]][0]
            if place is not None and value:
                return {"object": said, "index": place, "value": value}
        told: dict[str, Any] = {"object": said}
        for name, field in _NUMBERS.items():
            if field in found:
                told[name] = number(found[field][0])
        if "index" not in told and index is not None:
            told["index"] = number(index[0])
        told["value"] = found[min(values, key=_RANKS.__getitem__)][0] if values else None
        for name, field in _NAMED.items():
            if field in found:
                told[name] = self.name(f"netflight.dnp3.request.points.{name}", number(found[field][0]))
        if side == "response" and "dnp3.al.ctrlstatus" in found:
            code = number(found["dnp3.al.ctrlstatus"][0])
            told["status"] = self.name("netflight.dnp3.response.points.status", code)
        return without_nothing(told)


def _points(tree: Tree) -> Iterator[Tree]:
    """The points of an object header; a time stands beside its only point."""
    indexed: list[Tree] = []
    numbered: list[Tree] = []
    _find_points(tree, indexed, numbered)
    found = indexed + numbered
    alone = tree.get("dnp3.al.timestamp") if len(found) == 1 else None
    for point in found:
        yield {**point, "dnp3.al.timestamp": alone} if isinstance(alone, str) else point


def _find_points(tree: Tree, indexed: list[Tree], numbered: list[Tree]) -> None:
    """Find the points by an index in front of them, and those by their place in a range."""
    if "dnp3.al.index" in tree:
        indexed.append(tree)
    if "dnp3.al.point_index" in tree:
        numbered.append(tree)
    for value in tree.values():
        kind = type(value)
        if kind is dict:
            _find_points(value, indexed, numbered)
        elif kind is list:
            for item in value:
                if type(item) is dict:
                    _find_points(item, indexed, numbered)


_NUMBERS = {
    "index": "dnp3.al.index",
    "count": "dnp3.al.count",
    "on_time": "dnp3.al.on_time",
    "off_time": "dnp3.al.off_time",
}
_NAMED = {"control": "dnp3.ctl.op", "trip_close": "dnp3.ctl.trip"}
_RANGE = frozenset({"dnp3.al.range.start", "dnp3.al.range.stop", "dnp3.al.range.quantity"})
_POINT = frozenset(
    {
        *("dnp3.al.index", "dnp3.al.point_index", "dnp3.al.count", "dnp3.al.on_time", "dnp3.al.off_time"),
        *("dnp3.al.ctrlstatus", *_WITHIN),
    }
)
_NO_SERVICE = (_LINK + _SECONDARY + 14, _LINK + _SECONDARY + 15)


def _role(function: int) -> Role:
    if function in _RESPONSES:
        return Role.RESPONSE
    return Role.SINGLE if function in _ALONE else Role.REQUEST


def _link_function(primary: int | None, secondary: int | None) -> tuple[int | None, Role | None]:
    """Code and role of a frame without user data; nothing of others."""
    if primary is not None:
        return (None, None) if primary in _USER_DATA else (_LINK + primary, Role.REQUEST)
    return (None, None) if secondary is None else (_LINK + _SECONDARY + secondary, Role.RESPONSE)
