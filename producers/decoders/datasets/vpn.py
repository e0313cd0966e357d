"""The handshakes of OpenVPN and WireGuard; what they carry is encrypted and makes no event."""

from collections.abc import Iterator
from typing import Any

from producers.decoders.base import Decoder
from producers.decoders.convert import choice, number
from producers.decoders.tree import Columns, Tree
from producers.decoders.unit import Place, Role, Unit

# Hard resets begin a session (OpenVPN's protocol, section 3.1): of the client, of the server.
_RESETS = {1: "client", 7: "client", 10: "client", 2: "server", 8: "server"}
_OPCODES = choice(
    {
        1: "P_CONTROL_HARD_RESET_CLIENT_V1",
        2: "P_CONTROL_HARD_RESET_SERVER_V1",
        7: "P_CONTROL_HARD_RESET_CLIENT_V2",
        8: "P_CONTROL_HARD_RESET_SERVER_V2",
        10: "P_CONTROL_HARD_RESET_CLIENT_V3",
    }
)
_HANDSHAKE = {"1": Role.REQUEST, "2": Role.RESPONSE, "3": Role.RESPONSE}


class OpenvpnDecoder(Decoder):
    """Parts of an OpenVPN connection: the resets of both sides."""

    def extra_fields(self) -> frozenset[str]:
        """What a reset says."""
        return frozenset({"openvpn.opcode", "openvpn.sessionid", "openvpn.hmac"})

    def units(self, layer: Tree, protocol: str, place: Place) -> Iterator[Unit]:
        """One unit per hard reset."""
        columns = self.columns(layer)
        opcode = number(_first(columns, "openvpn.opcode"))
        side = _RESETS.get(opcode if opcode is not None else 0)
        if side is None:
            return
        fields = self.read(columns, Role.PART)
        fields[f"netflight.openvpn.{side}.opcode"] = _OPCODES(_first(columns, "openvpn.opcode"))
        session = _first(columns, "openvpn.sessionid")
        if session.isdecimal():
            fields[f"netflight.openvpn.{side}.session_id"] = f"{int(session[:20]):016x}"
        fields["netflight.openvpn.tls_auth"] = "openvpn.hmac" in columns
        yield Unit(Role.PART, fields, place, protocol, extra=side)

    def told_all(self, parts: list[Unit]) -> bool:
        """Whether both sides have begun."""
        return {part.extra for part in parts} == {"client", "server"}

    def summarise(self, parts: list[Unit], fields: dict[str, Any]) -> str:  # noqa: ARG002  # they say it all
        """OK where the server answered."""
        return "OK" if any(part.extra == "server" for part in parts) else ""

    def client_is_initiator(self, parts: list[Unit]) -> bool:
        """Whether the client's reset, or not the server's, came from the flow's initiator."""
        return bool((parts[0].extra == "client") == parts[0].place.from_initiator)


class WireguardDecoder(Decoder):
    """Units of WireGuard's handshake: an answer names the index of the initiation (section 5.4 of its paper)."""

    def extra_fields(self) -> frozenset[str]:
        """The kind of message, and the indexes."""
        return frozenset({"wg.type", "wg.sender", "wg.receiver"})

    def units(self, layer: Tree, protocol: str, place: Place) -> Iterator[Unit]:
        """One unit per handshake message."""
        columns = self.columns(layer)
        kind = _first(columns, "wg.type")
        role = _HANDSHAKE.get(kind)
        if role is None:
            return
        fields = self.read(columns, role)
        key = _first(columns, "wg.sender" if role is Role.REQUEST else "wg.receiver")
        status = (
            "OK" if kind == "2" else ""
        )  # a cookie: the server is busy, and the client tries again (section 5.3)
        for name, index in (("client", key), ("server", _first(columns, "wg.sender") if kind == "2" else "")):
            if index:
                fields[f"netflight.wireguard.{name}.index"] = index
        yield Unit(role, fields, place, protocol, (key,), status)


def _first(columns: Columns, name: str) -> str:
    return columns[name][0] if name in columns else ""
