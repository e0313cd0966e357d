"""NTP (RFC 5905), its control messages (mode 6, RFC 9327) and ntpd's private ones (mode 7)."""

import ipaddress
from collections.abc import Iterator
from typing import Any

from producers.decoders.base import Decoder
from producers.decoders.convert import number
from producers.decoders.tree import Columns, Tree, find_all
from producers.decoders.unit import Place, Role, Unit

_CLIENT, _SERVER, _CONTROL, _PRIVATE = 3, 4, 6, 7
_SHORT = 65_536  # NTP's short format: seconds as 16 bits and 16 bits of fraction (RFC 5905, section 6)
_MAX_VARIABLES = 100
_NEVER = "NULL"
_DELAYS = (("root_delay", "ntp.rootdelay"), ("root_dispersion", "ntp.rootdispersion"))


class NtpDecoder(Decoder):
    """Units of NTP messages. An answer repeats the time at which its request was sent (RFC 5905, section 8)."""

    def extra_fields(self) -> frozenset[str]:
        """What says the message's kind, and what belongs together."""
        return frozenset(
            {
                *("ntp.flags.mode", "ntp.stratum", "ntp.refid", "ntp.rootdelay", "ntp.rootdispersion"),
                *("ntp.org", "ntp.xmt", "ntp.ctrl.flags2.r", "ntp.ctrl.flags2.error", "ntp.ctrl.sequence"),
                *(
                    "ntp.ctrl.flags2.opcode",
                    "ntp.priv.flags.r",
                    "ntp.priv.impl",
                    "ntp.priv.reqcode",
                    "ntp.priv.err",
                ),
            }
        )

    def units(self, layer: Tree, protocol: str, place: Place) -> Iterator[Unit]:
        """One unit per message."""
        columns = self.columns(layer)
        mode = _number(columns, "ntp.flags.mode")
        if mode is None:
            return
        role, key = _part(mode, columns)
        unit = Unit(role, self.read(columns, role), place, protocol, key)
        if mode in (_CONTROL, _PRIVATE):
            _variables(unit.fields, layer)
            wrong = _number(columns, "ntp.ctrl.flags2.error") or _number(columns, "ntp.priv.err")
        else:
            unit.extra = columns.get("ntp.org" if role is Role.RESPONSE else "ntp.xmt", [_NEVER])[0]
            wrong = _reference(unit, columns) if role is not Role.REQUEST else None
        if role is Role.RESPONSE:
            kissed = "netflight.ntp.kiss_code" in unit.fields
            unit.status = "Error" if wrong else "" if kissed else "OK"
        yield unit

    def match(self, request: Unit, response: Unit) -> bool:
        """Whether the times are the same; requests without one are answered in order."""
        return _NEVER in (request.extra, response.extra) or request.extra == response.extra


def _part(mode: int, columns: Columns) -> tuple[Role, tuple[str, ...]]:
    """A message's role, and what it has in common with its answer."""
    if mode == _CONTROL:
        answer = _number(columns, "ntp.ctrl.flags2.r")
        key = ("6", *(columns.get(f"ntp.ctrl.{name}", [""])[0] for name in ("sequence", "flags2.opcode")))
    elif mode == _PRIVATE:
        answer = _number(columns, "ntp.priv.flags.r")
        key = ("7", *(columns.get(f"ntp.priv.{name}", [""])[0] for name in ("impl", "reqcode")))
    elif mode in (_CLIENT, _SERVER):
        answer, key = int(mode == _SERVER), ("",)
    else:
        return Role.SINGLE, ()
    return (Role.RESPONSE if answer else Role.REQUEST), key


_REFUSALS = frozenset({"DENY", "RSTR", "RATE"})  # other kisses say why its clock is not set


def _reference(unit: Unit, columns: Columns) -> bool:
    """Read what a server says of its clock; whether it refuses to serve (RFC 5905, section 7.4)."""
    stratum = _number(columns, "ntp.stratum")
    raw = bytes.fromhex(_hexadecimal(columns.get("ntp.refid", [""])[0]))
    name = raw.rstrip(b"\0").decode("ascii", "replace") if raw.rstrip(b"\0").isalnum() else ""
    if stratum is not None and stratum <= 1 and name:
        unit.fields["netflight.ntp.kiss_code" if stratum == 0 else "netflight.ntp.reference_id"] = name
    elif len(raw) == 4 and any(raw):
        unit.fields["netflight.ntp.reference_id"] = str(ipaddress.IPv4Address(raw))
    for field, column in _DELAYS:
        value = _number(columns, column)
        if value is not None:
            unit.fields[f"netflight.ntp.{field}"] = round(value / _SHORT, 6)
    return stratum == 0 and name in _REFUSALS


def _variables(fields: dict[str, Any], layer: Tree) -> None:
    """Read the variables of a control message: `name=value` texts, which tshark has as labels."""
    said = [str(label) for data in find_all(layer, "ntp.ctrl.data") for label in data if "=" in str(label)]
    if said:
        fields["netflight.ntp.control.variables"] = said[:_MAX_VARIABLES]


def _hexadecimal(text: str) -> str:
    digits = text.replace(":", "")
    return digits if len(digits) == 8 and all(digit in "0123456789abcdef" for digit in digits) else ""


def _number(columns: Columns, name: str) -> int | None:
    return number(columns[name][0]) if name in columns else None
