"""SNMP: version 1 (RFC 1157), 2c (RFC 3416) and 3 (RFC 3412, 3414), with what is asked for, set and answered."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from producers.decoders.base import Decoder
from producers.decoders.builder import MAX_ITEMS
from producers.decoders.convert import CONVERTERS
from producers.decoders.secrets import Credentials, Secret
from producers.decoders.tree import Columns, Tree, holders
from producers.decoders.unit import Place, Role, Unit

# Of PDU types, as numbered by tshark: who expects an answer and who gives one; traps do neither.
_ROLES = {
    **dict.fromkeys(("0", "1", "3", "5", "6"), Role.REQUEST),
    **dict.fromkeys(("2", "8"), Role.RESPONSE),
    **dict.fromkeys(("4", "7"), Role.SINGLE),
}
_REPORT = "8"
_OF_RESPONSES = ("netflight.snmp.response_type", "netflight.snmp.error_status", "netflight.snmp.error_index")
_TYPES = {
    "snmp.value.int": "Integer",
    "snmp.value.octets": "OctetString",
    "snmp.value.oid": "ObjectIdentifier",
    "snmp.value.null": "Null",
    "snmp.value.ipv4": "IpAddress",
    "snmp.value.ipv6": "IpAddress",
    "snmp.value.addr": "IpAddress",
    "snmp.value.u32": "Unsigned32",
    "snmp.value.g32": "Gauge32",
    "snmp.value.counter": "Counter",
    "snmp.value.timeticks": "TimeTicks",
    "snmp.value.nsap": "NsapAddress",
    "snmp.value.opaque": "Opaque",
    "snmp.value.unk": "Unknown",
    "snmp.noSuchObject": "noSuchObject",
    "snmp.noSuchInstance": "noSuchInstance",
    "snmp.endOfMibView": "endOfMibView",
}
_BYTES = frozenset({"snmp.value.octets", "snmp.value.opaque", "snmp.value.unk", "snmp.value.addr"})
# A report of this counter is how a manager learns the agent's engine id (RFC 3414, section 4), and no failure.
_UNKNOWN_ENGINE = "1.3.6.1.6.3.15.1.1.4"
_hex = CONVERTERS["hex"]


class SnmpDecoder(Decoder):
    """Units of SNMP messages; version 3 pairs by message id, which is in clear where the PDU is encrypted."""

    def extra_fields(self) -> frozenset[str]:
        """What says the kind of message, and the community."""
        return frozenset(
            {
                *("snmp.community", "snmp.data", "snmp.msgID", "snmp.request_id", "snmp.error_status"),
                *("snmp.v3.flags.report", "snmp.v3.flags.auth", "snmp.v3.flags.crypt", "snmp.encryptedPDU"),
            }
        )

    def units(self, layer: Tree, protocol: str, place: Place) -> Iterator[Unit]:
        """One unit per message."""
        columns = self.columns(layer)
        role = _role(columns, place)
        fields = self.read(columns, role)
        if role is Role.SINGLE:
            for name in _OF_RESPONSES:
                fields.pop(name, None)
        unit = Unit(role, fields, place, protocol)
        community = columns.get("snmp.community", [""])[0]
        if community:
            fields["netflight.snmp.community"] = Secret(community)
            unit.credentials.append(Credentials("", community, "community"))
        if "snmp.msgID" in columns:
            unit.key = ("3", columns["snmp.msgID"][0])
            fields["netflight.snmp.security_level"] = _level(columns)
        else:
            unit.key = ("", columns.get("snmp.request_id", [""])[0])
        variables = [_variable(item) for item in islice(holders(layer, "snmp.name"), MAX_ITEMS + 1)]
        if variables:
            fields["netflight.snmp.oids"] = [variable["oid"] for variable in variables]
            if role is not Role.REQUEST or columns.get("snmp.data") == ["3"]:
                fields["netflight.snmp.variables"] = variables
        if role is Role.RESPONSE:
            if "snmp.data" in columns:  # an encrypted answer may be a report of what was wrong
                unit.status = "Error" if _failed(columns, variables) else "OK"
            code = fields.get("netflight.snmp.error_status", "noError")
            if code != "noError":
                fields["error.code"] = code
        yield unit

    def complete(self, fields: dict[str, Any], request: Unit | None, response: Unit | None) -> None:
        """The values are those of the answer; the objects, those asked for."""
        if request is not None and response is not None:
            answered = response.fields.get("netflight.snmp.variables")
            if answered:
                fields["netflight.snmp.variables"] = answered


def _role(columns: Columns, place: Place) -> Role:
    kind = columns.get("snmp.data", [""])[0]
    if kind in _ROLES:
        return _ROLES[kind]
    # Of an encrypted PDU only the reportable flag is seen, which requests have (RFC 3412, section 6.4).
    if columns.get("snmp.v3.flags.report", [""])[0] in ("1", "True"):
        return Role.REQUEST
    return Role.SINGLE if place.from_initiator else Role.RESPONSE


def _level(columns: Columns) -> str:
    """The security level (RFC 3411, section 3.4.3)."""
    auth, crypt = (
        columns.get(f"snmp.v3.flags.{flag}", [""])[0] in ("1", "True") for flag in ("auth", "crypt")
    )
    return "authPriv" if crypt else "authNoPriv" if auth else "noAuthNoPriv"


def _failed(columns: Columns, variables: list[dict[str, Any]]) -> bool:
    if columns.get("snmp.data", [""])[0] == _REPORT:
        return not any(variable["oid"].startswith(_UNKNOWN_ENGINE) for variable in variables)
    return columns.get("snmp.error_status", ["0"])[0] != "0"


def _variable(item: Tree) -> dict[str, Any]:
    """A variable binding: its object identifier, the type and the text of its value."""
    variable: dict[str, Any] = {"oid": str(item["snmp.name"])}
    for field, kind in _TYPES.items():
        if field in item:
            variable["type"] = kind
            text = item[field] if isinstance(item[field], str) else ""
            value = _bytes(text) if field in _BYTES else text
            if value:
                variable["value"] = value
            break
    return variable


def _bytes(text: str) -> str:
    """Bytes (`0a:1b`) as the text they are, or as hexadecimal digits where they are none."""
    try:
        raw = bytes.fromhex(text.replace(":", ""))
        said = raw.decode("utf-8")
    except ValueError:
        return str(_hex(text) or "")
    return (
        said
        if all(character.isprintable() or character in "\r\n\t" for character in said)
        else str(_hex(text) or "")
    )
