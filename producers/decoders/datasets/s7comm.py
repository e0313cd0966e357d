"""S7 communication: jobs and user data by the number of their PDU. It is not published; the names are tshark's."""

from collections.abc import Iterator
from typing import Any

from producers.decoders.convert import CONVERTERS, number
from producers.decoders.ics import OPERATION, IcsDecoder, first, without_nothing
from producers.decoders.tree import Columns, Tree, collect, find_all
from producers.decoders.unit import Place, Role, Unit

_USER_DATA = "7"
_USER_DATA_ROLES = {"4": Role.REQUEST, "8": Role.RESPONSE, "7": Role.REQUEST, "11": Role.RESPONSE}
_USER_DATA_CODE = 0x1000
_SUCCESS = 0xFF
_PROGRAM_SERVICES = frozenset({"_INSE", "_DELE", "_MODU", "_GARB"})
_HEADER = frozenset(
    {
        *("s7comm.header.rosctr", "s7comm.header.errcls", "s7comm.header.errcod", "s7comm.param.errcod"),
        *("s7comm.param.func", "s7comm.param.userdata.type", "s7comm.param.userdata.funcgroup"),
        *("s7comm.param.userdata.subfunc", "s7comm.param.modetrans.subfunc", "s7comm.resp.data"),
    }
)
_ITEM = frozenset(
    {
        *("s7comm.param.item.area", "s7comm.param.item.db", "s7comm.param.item.address.byte"),
        *("s7comm.param.item.address.bit", "s7comm.param.item.address.number"),
        *("s7comm.param.item.transp_size", "s7comm.param.item.length", "s7comm.data.returncode"),
    }
)
_hexadecimal = CONVERTERS["hex"]


class S7commDecoder(IcsDecoder):
    """Units of S7 messages."""

    def extra_fields(self) -> frozenset[str]:
        """Header, function and values."""
        return _HEADER

    def units(self, layer: Tree, protocol: str, place: Place) -> Iterator[Unit]:
        """One unit per message; what a PLC pushes stands alone."""
        columns = self.columns(layer)
        user_data = first(columns, "s7comm.header.rosctr") == _USER_DATA
        role = (
            _USER_DATA_ROLES.get(first(columns, "s7comm.param.userdata.type"), Role.SINGLE)
            if user_data
            else self.role(columns, place)
        )
        if role is None:
            return
        fields = self.read(columns, role)
        code = _code(columns, user_data=user_data)
        if code is not None:
            fields[OPERATION] = self.operation(code)
            fields["netflight.s7comm.function"] = self.name("netflight.s7comm.function", code)
            if fields.get("netflight.s7comm.service") in _PROGRAM_SERVICES:
                fields[OPERATION] = "program"
        values = [_hexadecimal(text) for text in columns.get("s7comm.resp.data", ())]
        status = ""
        if role is Role.RESPONSE:
            fields["netflight.s7comm.response.values"] = values
            status = "Error" if self._failed(layer, columns, fields) else "OK"
        else:
            fields["netflight.s7comm.items"] = self._items(layer)
            fields["netflight.s7comm.request.values"] = values
        yield Unit(role, without_nothing(fields), place, protocol, self.key(columns), status)

    def _items(self, layer: Tree) -> list[dict[str, Any]]:
        """The variables of a job, as S7ANY tells them; others by what they have of it."""
        items = []
        for item in find_all(layer, "s7comm.param.item"):
            found = collect(item, _ITEM)
            byte, bit = (first(found, f"s7comm.param.item.address.{part}") for part in ("byte", "bit"))
            address = f"{byte}.{bit}" if byte else first(found, "s7comm.param.item.address.number")
            area = number(first(found, "s7comm.param.item.area"))
            kind = number(first(found, "s7comm.param.item.transp_size"))
            items.append(
                without_nothing(
                    {
                        "area": self.name("netflight.s7comm.items.area", area),
                        "db": number(first(found, "s7comm.param.item.db")),
                        "address": address,
                        "type": self.name("netflight.s7comm.items.type", kind),
                        "length": number(first(found, "s7comm.param.item.length")),
                    }
                )
            )
        return [item for item in items if item]

    def _failed(self, layer: Tree, columns: Columns, fields: dict[str, Any]) -> bool:
        """Read return codes and errors; whether there is one."""
        codes = [number(text) for text in collect(layer, _ITEM).get("s7comm.data.returncode", ())]
        told = [self.name("netflight.s7comm.return_codes", code) for code in codes]
        fields["netflight.s7comm.return_codes"] = told
        error = number(first(columns, "s7comm.param.errcod"))
        if error is None:
            header = (number(first(columns, f"s7comm.header.{name}")) or 0 for name in ("errcls", "errcod"))
            error = next(header) << 8 | next(header)
        if error:
            fields["error.code"] = f"0x{error:04x}"
            fields["error.message"] = self.name("error.message", error)
            return True
        wrong = [place for place, code in enumerate(codes) if code not in (_SUCCESS, None)]
        if wrong:
            fields["error.code"] = f"0x{codes[wrong[0]]:02x}"
            fields["error.message"] = told[wrong[0]]
        return bool(wrong)


def _code(columns: Columns, *, user_data: bool) -> int | None:
    """The number by which the dataset names a function."""
    if not user_data:
        return number(first(columns, "s7comm.param.func"))
    group = number(first(columns, "s7comm.param.userdata.funcgroup"))
    sub = first(columns, "s7comm.param.userdata.subfunc") or first(columns, "s7comm.param.modetrans.subfunc")
    return None if group is None else _USER_DATA_CODE + (group << 8) + (number(sub) or 0)
