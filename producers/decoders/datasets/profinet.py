"""PROFINET: discovery and configuration (DCP, IEC 61158-6-10, section 4.3), and the RPC that sets up connections.

Cyclic data (RT) makes no event. DCP has no IP, and tshark's layer no hardware addresses: its events have no endpoints.
"""

from collections.abc import Iterator
from typing import Any

from producers.decoders.convert import number
from producers.decoders.ics import OPERATION, IcsDecoder, first, without_nothing
from producers.decoders.tree import Columns, Tree, collect, find_all, holders
from producers.decoders.unit import Place, Role, Unit

_SET, _HELLO, _RPC = 4, 6, 0x100
_CONTROL_OF_TRANSACTION = frozenset({"Start Transaction", "End Transaction", "Response"})
_HEADER = frozenset({"pn_dcp.service_type", "pn_dcp.service_id", "pn_dcp.block_error", "pn_io.opnum"})
_ERRORS = frozenset({"pn_io.error_code", "pn_io.error_decode", "pn_io.error_code1", "pn_io.error_code2"})
_RECORD = ("pn_io.slot_nr", "pn_io.subslot_nr", "pn_io.index")
_OPTIONS = {
    ("1", "1"): "MAC address",
    ("1", "2"): "IP parameter",
    ("1", "3"): "Full IP suite",
    ("2", "1"): "Type of Station",
    ("2", "2"): "Name of Station",
    ("2", "3"): "Device ID",
    ("2", "4"): "Device Role",
    ("2", "5"): "Device Options",
    ("2", "6"): "Alias Name",
    ("255", "255"): "All",
}
_SUBOPTIONS = ("ip", "device", "dhcp", "control", "deviceinitiative", "all", "manuf")


class ProfinetDecoder(IcsDecoder):
    """Units of DCP messages, which pair by transaction, and of RPC messages, whose answers come on other flows."""

    def extra_fields(self) -> frozenset[str]:
        """Service, errors and operation."""
        return _HEADER | _ERRORS

    def units(self, layer: Tree, protocol: str, place: Place) -> Iterator[Unit]:
        """One unit per message."""
        columns = self.columns(layer)
        unit = (
            self._of_dcp(layer, columns, place)
            if protocol == "pn_dcp"
            else self._of_rpc(layer, columns, place)
        )
        if unit is not None:
            unit.fields = without_nothing(unit.fields)
            yield unit

    def _of_dcp(self, layer: Tree, columns: Columns, place: Place) -> Unit | None:
        code = number(first(columns, "pn_dcp.service_id"))
        role = Role.SINGLE if code == _HELLO else self.role(columns, place)
        if code is None or role is None:
            return None
        fields = self.read(columns, role) | self._named(code)
        if role is not Role.RESPONSE:
            fields["netflight.profinet.requested"] = _requested(layer)
        control = fields.get("netflight.profinet.control")
        if code == _SET and control and control not in _CONTROL_OF_TRANSACTION:
            fields[OPERATION] = "control"
        status = self.status(columns, role, place)
        refused = [code for code in map(number, columns.get("pn_dcp.block_error", ())) if code]
        if role is Role.RESPONSE and (refused or status == "Error"):
            status = "Error"
            fields["error.code"] = str(refused[0]) if refused else None
            fields["error.message"] = (
                self.name("error.message", refused[0]) if refused else "Request not supported"
            )
        key = self.key(columns)
        return Unit(role, fields, place, "profinet", key, status, scope="|".join(key))

    def _of_rpc(self, layer: Tree, columns: Columns, place: Place) -> Unit | None:
        code = number(first(columns, "pn_io.opnum"))
        if code is None:
            return None
        fields = self.read(columns, Role.SINGLE) | self._named(_RPC + code)
        answers = any(name in columns for name in _ERRORS)
        fields["netflight.profinet.message"] = "response" if answers else "request"
        records = [
            "/".join(first(found, name) for name in _RECORD)
            for found in (collect(item, frozenset(_RECORD)) for item in find_all(layer, "pn_io.block"))
            if "pn_io.index" in found
        ]
        fields["netflight.profinet.records"] = records
        failed = next((columns[name][0] for name in sorted(_ERRORS) if number(first(columns, name))), None)
        fields["error.code"] = failed
        status = ("Error" if failed else "OK") if answers else ""
        return Unit(Role.SINGLE, fields, place, "profinet", (), status)

    def _named(self, code: int) -> dict[str, Any]:
        said = self.name("netflight.profinet.service", code)
        return {OPERATION: self.operation(code), "netflight.profinet.service": said}


def _requested(layer: Tree) -> list[str]:
    """The options of a request's blocks, by name where they have one."""
    told = []
    for block in holders(layer, "pn_dcp.option"):
        option = block["pn_dcp.option"]
        sub = next((block[name] for part in _SUBOPTIONS if (name := f"pn_dcp.suboption_{part}") in block), "")
        if isinstance(option, str) and isinstance(sub, str):
            told.append(_OPTIONS.get((option, sub), f"{option}.{sub}"))
    return list(dict.fromkeys(told))
