"""RFB, the protocol of VNC (RFC 6143): the handshake up to the desktop's name."""

from collections.abc import Iterator
from typing import Any

from producers.decoders.base import Decoder
from producers.decoders.tree import Tree
from producers.decoders.unit import Place, Unit


class RfbDecoder(Decoder):
    """Parts of an RFB handshake; what comes after it (the screen, keys, the pointer) is none."""

    def units(self, layer: Tree, protocol: str, place: Place) -> Iterator[Unit]:
        """A part for each packet of the handshake."""
        yield from (unit for unit in super().units(layer, protocol, place) if unit.fields)

    def told_all(self, parts: list[Unit]) -> bool:
        """Whether the server has named its desktop or refused."""
        last = parts[-1].fields
        return "netflight.rfb.desktop.width" in last or "error.message" in last

    def summarise(self, parts: list[Unit], fields: dict[str, Any]) -> str:  # noqa: ARG002  # the merged fields have it all
        """OK where the client is in, Error where the server refused."""
        refused = (
            fields.get("netflight.rfb.authentication", "success") != "success" or "error.message" in fields
        )
        if refused:
            return "Error"
        return "OK" if {"netflight.rfb.authentication", "netflight.rfb.desktop.width"} & fields.keys() else ""

    def client_is_initiator(self, parts: list[Unit]) -> bool:
        """Whether the initiator is the client; a server that shares its screen with a listening viewer calls it."""
        for part in parts:
            if "netflight.rfb.server.version" in part.fields:
                return not part.place.from_initiator
            if "netflight.rfb.client.version" in part.fields:
                return part.place.from_initiator
        return True
