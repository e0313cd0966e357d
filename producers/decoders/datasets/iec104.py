"""IEC 60870-5-104: commands and what confirms them, process data, the control of the link."""

from collections.abc import Iterator
from typing import Any

from producers.decoders.convert import number
from producers.decoders.ics import OPERATION, IcsDecoder, first, without_nothing
from producers.decoders.tree import Columns, Tree, collect, holders
from producers.decoders.unit import Place, Role, Unit

_UNNUMBERED = 3
_LINK_OPERATION = 256
_LINK_ROLES = {
    1: (Role.REQUEST, 1),
    2: (Role.RESPONSE, 1),
    4: (Role.REQUEST, 4),
    8: (Role.RESPONSE, 4),
    16: (Role.REQUEST, 16),
    32: (Role.RESPONSE, 16),
}
_FIRST_COMMAND, _READ = 45, 102
# Causes of transmission (IEC 60870-5-101, section 7.2.3): asked for, activation, confirmations, what is unknown.
_REQUESTED, _ACTIVATIONS, _CONFIRMATIONS, _UNKNOWN = 5, (6, 8), (7, 9), range(44, 48)
_IOA = "iec60870_asdu.ioa"
_VALUES = tuple(
    f"iec60870_asdu.{name}"
    for name in (
        *(
            "siq.spi",
            "diq.dpi",
            "vti.v",
            "float",
            "normval",
            "scalval",
            "bcr.count",
            "bitstring",
            "sco.on",
            "dco.on",
        ),
        *("rco.up", "qoi", "rqt", "coi_r", "qrp", "qpm.kpa", "cp56time", "rawdata"),
    )
)
_DOUBLE = frozenset({"iec60870_asdu.diq.dpi", "iec60870_asdu.dco.on"})
_DOUBLE_STATES = {"0": "intermediate", "1": "off", "2": "on", "3": "indeterminate"}
_SELECT = tuple(f"iec60870_asdu.{name}.se" for name in ("sco", "dco", "rco", "qos"))
_QUALITY = {"iv": "invalid", "nt": "not_topical", "sb": "substituted", "bl": "blocked", "ov": "overflow"}
_QUALITIES = {
    f"iec60870_asdu.{kind}.{flag}": said
    for kind in ("siq", "diq", "qds", "bcr")
    for flag, said in _QUALITY.items()
}
_OBJECT = frozenset({_IOA, *_VALUES, *_SELECT, *_QUALITIES})
_LINK_FIELDS = frozenset({"iec60870_104.type", "iec60870_104.utype"})


class Iec104Decoder(IcsDecoder):
    """Units of APDUs: numbered ones with their ASDU, unnumbered ones; supervisory ones only count, and make none."""

    def extra_fields(self) -> frozenset[str]:
        """What decides of confirmations."""
        return frozenset({"iec60870_asdu.nega", _IOA})

    def units(self, layer: Tree, protocol: str, place: Place) -> Iterator[Unit]:
        """One unit per APDU but for supervisory ones."""
        if protocol == "iec60870_104":
            found = collect(layer, _LINK_FIELDS)
            kind = number(first(found, "iec60870_104.type"))
            if kind == _UNNUMBERED:
                yield from self._link(number(first(found, "iec60870_104.utype")), protocol, place)
            return
        columns = self.columns(layer)
        kind, cause = (number(first(columns, f"iec60870_asdu.{name}")) for name in ("typeid", "causetx"))
        if kind is None or cause is None:
            return
        role = _role(kind, cause)
        fields = self.read(columns, role)
        objects = [_object(item) for item in holders(layer, _IOA)]
        fields["netflight.iec104.objects"] = [item for item in objects if item]
        status = self._status(columns, role, cause, fields)
        asked = _READ if cause == _REQUESTED else kind
        key = (str(asked), first(columns, "iec60870_asdu.addr"), first(columns, _IOA))
        yield Unit(role, without_nothing(fields), place, "iec104", key, status)

    def _link(self, function: int | None, protocol: str, place: Place) -> Iterator[Unit]:
        role, key = _LINK_ROLES.get(function or 0, (None, 0))
        if role is not None:
            fields = {
                OPERATION: self.operation(_LINK_OPERATION),
                "netflight.iec104.link": self.name("netflight.iec104.link", function),
            }
            yield Unit(
                role, fields, place, "iec104", (protocol, str(key)), "OK" if role is Role.RESPONSE else ""
            )

    def _status(self, columns: Columns, role: Role, cause: int, fields: dict[str, Any]) -> str:
        """What an answer says of its command."""
        if role is not Role.RESPONSE:
            return ""
        said = self.name("netflight.iec104.cause", cause)
        fields["netflight.iec104.response.cause"] = said
        negative = columns.get("iec60870_asdu.nega") in (["1"], ["True"])
        if negative or cause in _UNKNOWN:
            fields["error.message"] = said if cause in _UNKNOWN else "negative confirmation"
            return "Error"
        return "OK"


def _role(kind: int, cause: int) -> Role:
    command = kind >= _FIRST_COMMAND
    if (command and cause in _ACTIVATIONS) or (kind == _READ and cause == _REQUESTED):
        return Role.REQUEST
    if (command and (cause in _CONFIRMATIONS or cause in _UNKNOWN)) or cause == _REQUESTED:
        return Role.RESPONSE
    return Role.SINGLE


def _object(item: Tree) -> dict[str, Any]:
    """An information object: its address, and as far as it has them value, quality and time."""
    found = collect(item, _OBJECT)
    name = next((name for name in _VALUES if name in found), "")
    value = first(found, name)
    told = {
        "address": number(first(found, _IOA)),
        "value": _DOUBLE_STATES.get(value, value) if name in _DOUBLE else value,
        "quality": [said for flag, said in _QUALITIES.items() if found.get(flag) in (["1"], ["True"])],
        "time": first(found, "iec60870_asdu.cp56time"),
    }
    select = next((found[flag][0] for flag in _SELECT if flag in found), None)
    if select is not None:
        told["select"] = select in ("1", "True")
    return without_nothing(told)
