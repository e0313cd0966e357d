"""Modbus over TCP and UDP; a message has its header (MBAP, Messaging on TCP/IP V1.0b, 3.1) in a layer of its own."""

from collections.abc import Iterator
from typing import Any

from producers.decoders.convert import CONVERTERS, number
from producers.decoders.ics import Framing, IcsDecoder, first, to_server
from producers.decoders.tree import Columns, Tree, holders
from producers.decoders.unit import Place, Role, Unit
from schemas.model import Dataset

_PORTS = frozenset({502, 802})
_WRITE_COIL, _WRITE_REGISTER, _WRITE_COILS = "5", "6", "15"
_hexadecimal = CONVERTERS["hex"]


class ModbusDecoder(IcsDecoder):
    """Units of Modbus messages; whether one asks or answers is told by the port alone, as for tshark."""

    def __init__(self, dataset: Dataset) -> None:
        super().__init__(dataset)
        self._headers = Framing()

    def extra_fields(self) -> frozenset[str]:
        """Values, and what has no field of its own."""
        return frozenset({"modbus.regval_uint16", "modbus.bitval", "modbus.data"})

    def units(self, layer: Tree, protocol: str, place: Place) -> Iterator[Unit]:
        """One unit per function; headers wait for theirs."""
        if protocol != "modbus":
            self._headers.put(layer, place)
            return
        columns = self.columns({"": self._headers.take(place), "modbus": layer})
        if "modbus.func_code" not in columns:
            return
        role = Role.REQUEST if to_server(place, _PORTS) else Role.RESPONSE
        fields = self.read(columns, role)
        side = "netflight.modbus." + role.name.lower()
        values = _values(columns, role)
        if values:
            fields[f"{side}.values"] = values
        elif first(columns, "modbus.data"):
            fields[f"{side}.data"] = _hexadecimal(columns["modbus.data"][0])
        objects = self._objects(layer) if role is Role.RESPONSE else []
        if objects:
            fields["netflight.modbus.objects"] = objects
        status = self.status(columns, role, place)
        yield Unit(
            role, fields, place, protocol, self.key(columns), status, extra=columns["modbus.func_code"][0]
        )

    def match(self, request: Unit, response: Unit) -> bool:
        """Whether both are of the same function: many clients leave the transaction's id at 0."""
        return bool(request.extra == response.extra)

    def _objects(self, layer: Tree) -> list[dict[str, Any]]:
        """What Read Device Identification tells (MODBUS Application Protocol V1.1b3, section 6.21)."""
        return [
            {
                "name": self.name("netflight.modbus.objects.name", number(str(item.get("modbus.object_id")))),
                "value": str(item["modbus.object_str_value"]),
            }
            for item in holders(layer, "modbus.object_str_value")
            if number(str(item.get("modbus.object_id"))) is not None
        ]


def _values(columns: Columns, role: Role) -> list[int]:
    """Registers and coils as numbers, where tshark names them or a write has them in its data."""
    told = columns.get("modbus.regval_uint16") or columns.get("modbus.bitval")
    if told:
        return [value for value in map(_bit_or_number, told) if value is not None]
    function = first(columns, "modbus.func_code")
    if role is not Role.REQUEST or function not in (_WRITE_COIL, _WRITE_REGISTER, _WRITE_COILS):
        return []
    try:
        data = bytes.fromhex(first(columns, "modbus.data").replace(":", ""))
    except ValueError:
        return []
    if function == _WRITE_COILS:
        count = number(first(columns, "modbus.bit_cnt")) or 0
        return [data[place // 8] >> place % 8 & 1 for place in range(min(count, 8 * len(data)))]
    if function == _WRITE_REGISTER:
        return [int.from_bytes(data[:2])] if len(data) >= 2 else []
    return [int(data[0] == 0xFF)] if data else []


def _bit_or_number(text: str) -> int | None:
    return 1 if text == "True" else 0 if text == "False" else number(text)
