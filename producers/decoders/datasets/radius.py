"""RADIUS (RFC 2865, 2866, 5176): requests that were sent again are one."""

from collections.abc import Iterator

from producers.decoders.base import Decoder
from producers.decoders.tree import Tree
from producers.decoders.unit import Place, Unit


class RadiusDecoder(Decoder):
    """Units of packets, as the YAML says; one that tshark knows to be a duplicate is none."""

    def units(self, layer: Tree, protocol: str, place: Place) -> Iterator[Unit]:
        """One unit per packet; messages in pieces (RFC 2865, section 5.18) stay in pieces."""
        duplicate = any(name in layer for name in ("radius.dup", "radius.req.dup", "radius.rsp.dup"))
        if not duplicate:
            yield from super().units(layer, protocol, place)
