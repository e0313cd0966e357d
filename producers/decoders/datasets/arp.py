"""ARP: who asks for an address, and who answers; there is no flow, so the endpoints are told here."""

from collections.abc import Iterator
from typing import Any

from producers.decoders.base import Decoder
from producers.decoders.convert import ip, mac
from producers.decoders.tree import Tree
from producers.decoders.unit import Place, Role, Unit


class ArpDecoder(Decoder):
    """Units of ARP for IPv4 over Ethernet (RFC 826)."""

    def extra_fields(self) -> frozenset[str]:
        """The four addresses."""
        return frozenset(
            {
                "arp.src.hw_mac",
                "arp.src.proto_ipv4",
                "arp.dst.hw_mac",
                "arp.dst.proto_ipv4",
                "arp.isgratuitous",
            }
        )

    def units(self, layer: Tree, protocol: str, place: Place) -> Iterator[Unit]:
        """One unit per packet; announcements (a host asks for or answers with its own address) stand alone."""
        columns = self.columns(layer)

        def first(name: str) -> str:
            return columns.get(name, [""])[0]

        sender, target = ip(first("arp.src.proto_ipv4")), ip(first("arp.dst.proto_ipv4"))
        if sender is None or target is None:
            return
        sender_mac, target_mac = mac(first("arp.src.hw_mac")), mac(first("arp.dst.hw_mac"))
        gratuitous = sender == target or "arp.isgratuitous" in columns
        role = Role.SINGLE if gratuitous else self.role(columns, place) or Role.SINGLE
        fields = self.read(columns, role)
        fields["netflight.arp.gratuitous"] = gratuitous
        if role is Role.RESPONSE:
            asker, asked, asker_mac, asked_mac = target, sender, target_mac, sender_mac
            if sender_mac:
                fields["netflight.arp.target.mac"] = sender_mac
        else:
            asker, asked, asker_mac, asked_mac = sender, target, sender_mac, None
        fields["netflight.arp.target.ip"] = asked
        endpoints = {
            "source.ip": asker,
            "source.mac": asker_mac,
            "destination.ip": asked,
            "destination.mac": asked_mac,
        }
        yield Unit(
            role,
            fields,
            place,
            protocol,
            key=(asker, asked, asker_mac or ""),
            status="OK" if role is Role.RESPONSE else "",
            scope=f"{asker_mac}|{asker}|{asked}|{asked_mac}",
            endpoints={name: value for name, value in endpoints.items() if value},
        )

    def complete(self, fields: dict[str, Any], request: Unit | None, response: Unit | None) -> None:
        """Say whether somebody answered, and with which hardware address."""
        fields["netflight.arp.answered"] = response is not None
        if request is not None:
            fields["netflight.arp.opcode"] = request.fields.get("netflight.arp.opcode", "request")
