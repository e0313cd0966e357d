"""IGMP: queries, reports and leaves of version 1 to 3 (RFC 2236, RFC 3376)."""

from collections.abc import Iterator
from typing import Any

from producers.decoders.base import Decoder
from producers.decoders.convert import choice, ip
from producers.decoders.tree import Tree, holders, texts
from producers.decoders.unit import Place, Unit

_RECORDS = choice(
    {1: "is_include", 2: "is_exclude", 3: "to_include", 4: "to_exclude", 5: "allow", 6: "block"}
)


class IgmpDecoder(Decoder):
    """Units of IGMP messages, with the records of version 3."""

    def units(self, layer: Tree, protocol: str, place: Place) -> Iterator[Unit]:
        """One unit per message."""
        for unit in super().units(layer, protocol, place):
            records = [_record(tree) for tree in holders(layer, "igmp.record_type")]
            if records:
                unit.fields["netflight.igmp.records"] = records
            yield unit


def _record(tree: Tree) -> dict[str, Any]:
    """A group record (RFC 3376, section 4.2.4)."""
    record: dict[str, Any] = {"type": _RECORDS(str(tree["igmp.record_type"]))}
    group = ip((texts(tree.get("igmp.maddr")) or [""])[0])
    if group:
        record["group"] = group
    sources = [address for address in map(ip, texts(tree.get("igmp.saddr"))) if address]
    if sources:
        record["sources"] = sources
    return {name: value for name, value in record.items() if value is not None}
