"""SOCKS 4, 4a and 5 (RFC 1928, RFC 1929): what a client asks of a proxy, and whether it gets it."""

from collections.abc import Iterator
from typing import Any

from producers.decoders.base import Decoder
from producers.decoders.convert import ip, number
from producers.decoders.secrets import Credentials
from producers.decoders.tree import Columns, Tree
from producers.decoders.unit import Place, Role, Unit

_REFUSED = "255"
_GRANTED = {"4": 90, "5": 0}
_FIELDS = frozenset(
    {
        *(
            "socks.version",
            "socks.dst",
            "socks.dstV6",
            "socks.remote_name",
            "socks.v4a_dns_name",
            "socks.port",
        ),
        *("socks.dstport", "socks.username", "socks.password", "socks.auth_status", "socks.results"),
        *("socks.auth_accepted_method", "socks.command"),
    }
)


class SocksDecoder(Decoder):
    """Parts of a SOCKS connection. What goes through it has a layer of tshark's as well, and is none of them."""

    def extra_fields(self) -> frozenset[str]:
        """Both versions' names of the same things."""
        return _FIELDS

    def units(self, layer: Tree, protocol: str, place: Place) -> Iterator[Unit]:
        """One unit per message of the negotiation."""
        if "tcp.payload" in layer or place.flow is None or place.flow.transport != "tcp":
            return
        columns = self.columns(layer)
        fields = self.read(columns, Role.PART)
        unit = Unit(Role.PART, fields, place, protocol)
        (_from_client if place.from_initiator else _from_proxy)(unit, columns)
        yield unit

    def told_all(self, parts: list[Unit]) -> bool:
        """Whether the proxy has said what becomes of the request."""
        return parts[-1].extra is not None

    def summarise(self, parts: list[Unit], fields: dict[str, Any]) -> str:  # noqa: ARG002  # they say it all
        """The proxy's last word."""
        return next((str(part.extra) for part in reversed(parts) if part.extra is not None), "")


def _from_client(unit: Unit, columns: Columns) -> None:
    fields = unit.fields
    version = _first(columns, "socks.version")
    if version in _GRANTED:
        fields["netflight.socks.version"] = "4a" if _first(columns, "socks.v4a_dns_name") else version
    user, password = _first(columns, "socks.username"), _first(columns, "socks.password")
    if user:
        fields["user.name"] = user
    if password:
        unit.credentials.append(Credentials(user, password, "USERNAME/PASSWORD"))
    if "socks.command" in columns:
        domain = _first(columns, "socks.remote_name") or _first(columns, "socks.v4a_dns_name")
        if domain:
            fields["netflight.socks.destination.domain"] = domain
            unit.hosts = [domain]
        _address(fields, "destination", columns, with_ip=not domain)


def _from_proxy(unit: Unit, columns: Columns) -> None:
    if _first(columns, "socks.auth_accepted_method") == _REFUSED:
        unit.extra = "Error"
    status = _first(columns, "socks.auth_status")
    if status:
        unit.fields["netflight.socks.authenticated"] = status == "0"
        if status != "0":
            unit.extra = "Error"
    result = number(_first(columns, "socks.results"))
    if result is not None:
        unit.extra = "OK" if result in _GRANTED.values() else "Error"
        _address(unit.fields, "bound", columns, with_ip=True)


def _address(fields: dict[str, Any], name: str, columns: Columns, *, with_ip: bool) -> None:
    address = ip(_first(columns, "socks.dst") or _first(columns, "socks.dstV6"))
    if address and with_ip:
        fields[f"netflight.socks.{name}.ip"] = address
    port = number(_first(columns, "socks.port") or _first(columns, "socks.dstport"))
    if port is not None:
        fields[f"netflight.socks.{name}.port"] = port


def _first(columns: Columns, name: str) -> str:
    return columns[name][0] if name in columns else ""
