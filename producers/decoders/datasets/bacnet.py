"""BACnet (ASHRAE 135): the application layer with the network layer it came in, on UDP or on Ethernet itself."""

import re
from collections.abc import Iterator
from typing import Any

from producers.decoders.convert import CONVERTERS, number
from producers.decoders.ics import OPERATION, Framing, IcsDecoder, first, without_nothing
from producers.decoders.secrets import Credentials
from producers.decoders.tree import Columns, Tree, collect, holders, texts_of
from producers.decoders.unit import Place, Role, Unit
from schemas.model import Dataset

_UNCONFIRMED, _NETWORK, _BVLC = 0x100, 0x200, 0x300
_UNCONFIRMED_REQUEST, _REJECTED, _ABORTED = "1", "6", "7"
_FAILURES = frozenset({"5", _REJECTED, _ABORTED})
# Functions of BACnet/IP that carry no message of the network layer (ASHRAE 135, annex J.2).
_OWN = frozenset({0, 1, 2, 3, 5, 6, 7, 8})
_ADDRESSES = {
    "source": ("bacnet.snet", ("bacnet.sadr_eth", "bacnet.sadr_mstp", "bacnet.sadr_tmp")),
    "destination": ("bacnet.dnet", ("bacnet.dadr_eth", "bacnet.dadr_mstp", "bacnet.dadr_tmp")),
}
_OTHER_END = {
    f"netflight.bacnet.{end}.{part}": f"netflight.bacnet.{other}.{part}"
    for end, other in (("source", "destination"), ("destination", "source"))
    for part in ("network", "address")
}
_VALUES = frozenset(
    f"bacapp.present_value.{name}"
    for name in (
        *("null", "boolean", "uint", "int", "real", "double", "octet_string", "char_string", "bit_string"),
        "enum_index",
    )
)
_NETWORK_FIELDS = frozenset(
    {
        "bacnet.mesgtyp",
        *(field for network, addresses in _ADDRESSES.values() for field in (network, *addresses)),
    }
)
_hexadecimal = CONVERTERS["hex"]
_WITH_PASSWORD = frozenset({17, 20})  # DeviceCommunicationControl, ReinitializeDevice
# tshark tells these in its labels alone.
_PASSWORD = re.compile(r"^password: .*?'(.*)'$", re.IGNORECASE | re.DOTALL)
_STATE = re.compile(r"^(?:reinitialized State Of Device|enable-disable): *(.*?)(?: \(\d+\))?$")


class BacnetDecoder(IcsDecoder):
    """Units of BACnet; a request and its answer share invoke id and stations, whatever routers are between."""

    def __init__(self, dataset: Dataset) -> None:
        super().__init__(dataset)
        self._headers = Framing()

    def extra_fields(self) -> frozenset[str]:
        """Services, the kind of message, its segments."""
        return frozenset(
            {
                *(
                    "bacapp.type",
                    "bacapp.confirmed_service",
                    "bacapp.unconfirmed_service",
                    "bacapp.more_segments",
                ),
                *("bacapp.error_code", "bacapp.reject_reason", "bacapp.abort_reason"),
            }
        )

    def units(self, layer: Tree, protocol: str, place: Place) -> Iterator[Unit]:
        """One unit per message; the segments of one are none but for the last."""
        if protocol == "bvlc":
            function = number(str(layer.get("bvlc.function")))
            if function in _OWN:
                yield self._plain(_BVLC + function, {}, protocol, place)
        elif protocol == "bacnet":
            found = collect(layer, _NETWORK_FIELDS)
            kind = number(first(found, "bacnet.mesgtyp"))
            if kind is None:
                self._headers.put(found, place)
            else:
                yield self._plain(_NETWORK + kind, _stations(found), protocol, place)
        else:
            yield from self._message(layer, self._headers.take(place), place)

    def _plain(self, code: int, stations: dict[str, Any], protocol: str, place: Place) -> Unit:
        fields = {
            OPERATION: self.operation(code),
            "netflight.bacnet.service": self.name("netflight.bacnet.service", code),
            **stations,
        }
        return Unit(Role.SINGLE, fields, place, protocol, scope=_scope(stations))

    def _message(self, layer: Tree, network: Columns, place: Place) -> Iterator[Unit]:
        columns = self.columns(layer)
        kind = first(columns, "bacapp.type")
        role = Role.SINGLE if kind == _UNCONFIRMED_REQUEST else self.role(columns, place)
        if role is None or first(columns, "bacapp.more_segments") in ("1", "True"):
            return
        fields, stations = self.read(columns, role), _stations(network)
        # An event tells the stations from the side that asks, as it does source and destination.
        fields |= _turned(stations) if role is Role.RESPONSE else stations
        if role is Role.SINGLE:
            fields.pop("netflight.bacnet.answer", None)
        code = number(first(columns, "bacapp.confirmed_service"))
        if role is Role.SINGLE:
            code = _UNCONFIRMED + (number(first(columns, "bacapp.unconfirmed_service")) or 0)
        if code is not None:
            fields[OPERATION] = self.operation(code)
            fields["netflight.bacnet.service"] = self.name("netflight.bacnet.service", code)
        self._read_objects(layer, fields)
        side = "response" if role is Role.RESPONSE else "request"
        fields[f"netflight.bacnet.{side}.values"] = texts_of(layer, _VALUES)
        unit = Unit(role, fields, place, "bacapp", scope=_scope(stations))
        unit.key = _key(columns, stations, role)
        if role is Role.RESPONSE:
            unit.status = "Error" if kind in _FAILURES else "OK"
            fields["error.message"] = self._reason(columns)
        else:
            told = code in _WITH_PASSWORD
            fields["netflight.bacnet.state"] = _labelled(layer, _STATE) if told else None
            password = _labelled(layer, _PASSWORD) if told else None
            if password:
                unit.credentials.append(
                    Credentials("", password, str(fields.get("netflight.bacnet.service", "")))
                )
        unit.protocol = "bacnet"
        unit.fields = without_nothing(fields)
        yield unit

    def _read_objects(self, layer: Tree, fields: dict[str, Any]) -> None:
        told = []
        for item in holders(layer, "bacapp.objectType"):
            kind, instance = (
                number(str(item.get(f"bacapp.{name}"))) for name in ("objectType", "instance_number")
            )
            told.append((self.name("netflight.bacnet.object_type", kind), instance))
        if told:
            fields["netflight.bacnet.objects"] = list(
                dict.fromkeys(f"{kind},{instance}" for kind, instance in told)
            )
            fields["netflight.bacnet.object_type"], fields["netflight.bacnet.object_instance"] = told[0]

    def _reason(self, columns: Columns) -> str | None:
        for name in ("reject_reason", "abort_reason"):
            if f"bacapp.{name}" in columns:
                return self.name(f"netflight.bacnet.{name}", number(columns[f"bacapp.{name}"][0]))
        return self.name("error.message", number(first(columns, "bacapp.error_code")))


def _key(columns: Columns, stations: dict[str, Any], role: Role) -> tuple[str, ...]:
    """Invoke id, the station that asks and the one that answers."""
    seen = _turned(stations) if role is Role.RESPONSE else stations
    return (first(columns, "bacapp.invoke_id"), *[str(seen.get(name, "")) for name in _OTHER_END])


def _turned(stations: dict[str, Any]) -> dict[str, Any]:
    """The stations from the other side."""
    return {_OTHER_END[name]: value for name, value in stations.items()}


def _stations(network: Columns) -> dict[str, Any]:
    """Networks and addresses that a message of the network layer names (ASHRAE 135, section 6.2)."""
    told: dict[str, Any] = {}
    for end, (net, addresses) in _ADDRESSES.items():
        told[f"netflight.bacnet.{end}.network"] = number(first(network, net))
        address = next((network[name][0] for name in addresses if name in network), "")
        told[f"netflight.bacnet.{end}.address"] = _address(address)
    return without_nothing(told)


def _address(text: str) -> object:
    """An address in hexadecimal: those of MS/TP are a decimal byte."""
    value = number(text) if text.isdigit() else None
    return f"{value:02x}" if value is not None else _hexadecimal(text)


def _scope(stations: dict[str, Any]) -> str:
    return "|".join(str(stations[name]) for name in sorted(stations))


def _labelled(tree: Tree, pattern: re.Pattern[str]) -> str | None:
    """What the first label that matches says."""
    for key, value in tree.items():
        found = pattern.match(key)
        if found is not None:
            return found[1]
        for item in value if isinstance(value, list) else (value,):
            said = _labelled(item, pattern) if isinstance(item, dict) else None
            if said is not None:
                return said
    return None
