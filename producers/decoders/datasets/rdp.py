"""RDP ([MS-RDPBCGR]): the negotiation, the basic settings, and the client's information where it is in clear."""

from collections.abc import Iterator
from typing import Any

from producers.decoders.base import Decoder
from producers.decoders.convert import number
from producers.decoders.secrets import Credentials
from producers.decoders.tree import Columns, Tree
from producers.decoders.unit import Place, Unit

# [MS-RDPBCGR] section 2.2.1.1.1
_PROTOCOLS = {1: "tls", 2: "credssp", 4: "rdstls", 8: "credssp_ex", 16: "aad"}
_USER = "mstshash="
_LAST = ("error.code", "netflight.rdp.client.address")  # after these nothing is told


class RdpDecoder(Decoder):
    """Parts of an RDP connection: every packet that tells something."""

    def extra_fields(self) -> frozenset[str]:
        """What both sides negotiate, their versions, and the client's user name and password."""
        return frozenset(
            {
                *("rdp.neg_type", "rdp.negReq.requestedProtocols", "rdp.version.major", "rdp.version.minor"),
                *("rdp.userName", "rdp.password"),
            }
        )

    def units(self, layer: Tree, protocol: str, place: Place) -> Iterator[Unit]:
        """A part for each packet that tells something."""
        columns = self.columns(layer)
        unit = next(super().units(layer, protocol, place))
        requested = number(_first(columns, "rdp.negReq.requestedProtocols"))
        if requested is not None:
            named = [name for bit, name in _PROTOCOLS.items() if requested & bit]
            unit.fields["netflight.rdp.requested_protocols"] = named or ["rdp"]
        version = [_first(columns, f"rdp.version.{part}") for part in ("major", "minor")]
        if all(version):
            side = "client" if "netflight.rdp.client.build" in unit.fields else "server"
            unit.fields[f"netflight.rdp.{side}.version"] = ".".join(version)
        _user(unit, columns)
        if unit.fields:
            yield unit

    def told_all(self, parts: list[Unit]) -> bool:
        """Whether the negotiation failed or the client has told its information."""
        return any(name in parts[-1].fields for name in _LAST)

    def summarise(self, parts: list[Unit], fields: dict[str, Any]) -> str:  # noqa: ARG002  # the merged fields have it all
        """Error where the server refused; OK where it said anything else."""
        if "error.code" in fields:
            return "Error"
        told = ("netflight.rdp.selected_protocol", "netflight.rdp.server.version")
        return "OK" if any(name in fields for name in told) else ""


def _user(unit: Unit, columns: Columns) -> None:
    """The user by name: the client's information tells all of it, the cookie its first nine characters at times."""
    name, secret = _first(columns, "rdp.userName"), _first(columns, "rdp.password")
    if secret:
        domain = str(unit.fields.get("user.domain", ""))
        unit.credentials.append(Credentials(name, secret, "RDP", domain))
    cookie = str(unit.fields.get("netflight.rdp.cookie", ""))
    if _USER in cookie:
        name = name or cookie.partition(_USER)[2].strip()
    if name:
        unit.fields["user.name"] = name


def _first(columns: Columns, name: str) -> str:
    return columns[name][0] if name in columns else ""
