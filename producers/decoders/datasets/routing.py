"""Routing protocols: BGP (RFC 4271) and OSPF (RFC 2328, RFC 5340)."""

from collections.abc import Iterator
from itertools import islice

from producers.decoders.base import Decoder
from producers.decoders.convert import ip, number
from producers.decoders.related import MAX_ITEMS
from producers.decoders.secrets import Credentials
from producers.decoders.tree import Tree, find_all, holders, texts
from producers.decoders.unit import Place, Unit

_PREFIXES = (
    ("bgp.nlri_prefix", "netflight.bgp.prefixes"),
    ("bgp.mp_reach_nlri_ipv4_prefix", "netflight.bgp.prefixes"),
    ("bgp.mp_reach_nlri_ipv6_prefix", "netflight.bgp.prefixes"),
    ("bgp.withdrawn_prefix", "netflight.bgp.withdrawn"),
    ("bgp.mp_unreach_nlri_ipv4_prefix", "netflight.bgp.withdrawn"),
    ("bgp.mp_unreach_nlri_ipv6_prefix", "netflight.bgp.withdrawn"),
)
_SEGMENT = "bgp.update.path_attribute.as_path_segment"


class BgpDecoder(Decoder):
    """Units of BGP messages; several in one segment are a unit each."""

    def units(self, layer: Tree, protocol: str, place: Place) -> Iterator[Unit]:
        """One unit per message."""
        for unit in super().units(layer, protocol, place):
            if "netflight.bgp.type" not in unit.fields:
                continue  # what cannot be read, as where a connection begins in the middle of a message
            for field, name in _PREFIXES:
                found = [
                    text
                    for tree in islice(holders(layer, field), MAX_ITEMS)
                    for text in _prefixes(tree, field)
                ]
                if found:
                    unit.fields[name] = [*unit.fields.get(name, ()), *found]
            path = [
                text
                for segment in find_all(layer, _SEGMENT)
                for kind in ("as2", "as4")
                for text in texts(segment.get(f"{_SEGMENT}.{kind}"))
            ]
            if path:
                unit.fields["netflight.bgp.as_path"] = [asn for asn in map(number, path) if asn is not None]
            yield unit


def _prefixes(tree: Tree, field: str) -> Iterator[str]:
    """Prefixes with their lengths."""
    lengths = texts(tree.get("bgp.prefix_length"))
    for index, text in enumerate(texts(tree[field])):
        address = ip(text)
        if address:
            yield f"{address}/{lengths[index]}" if index < len(lengths) else address


class OspfDecoder(Decoder):
    """Units of OSPF packets; a simple password is in clear in every one of them (RFC 2328, appendix D.2)."""

    def extra_fields(self) -> frozenset[str]:
        """The password."""
        return frozenset({"ospf.auth.simple"})

    def units(self, layer: Tree, protocol: str, place: Place) -> Iterator[Unit]:
        """One unit per packet."""
        columns = self.columns(layer)
        for unit in super().units(layer, protocol, place):
            password = columns.get("ospf.auth.simple", [""])[0].rstrip("\0")
            if password:
                unit.credentials.append(Credentials("", password, "OSPF simple password"))
            yield unit
