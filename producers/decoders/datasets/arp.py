"""ARP: who asks for an address, and who answers; there is no flow, so the endpoints are told here."""

from collections.abc import Iterator
from typing import Any

from producers.decoders.base import Decoder
from producers.decoders.convert import ip, mac
from producers.decoders.tree import Tree
from producers.decoders.unit import Place, Role, Unit

_UNSPECIFIED = ("0.0.0.0",)  # noqa: S104  # compared, not bound


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
        if role is not Role.RESPONSE and sender in _UNSPECIFIED:
            fields["netflight.arp.probe"] = True
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
        """Say whether somebody answered, and with which hardware address. A reply alone is its sender's event.

        Announcements and probes are those of RFC 5227, section 1.1.
        """
        fields["netflight.arp.answered"] = request is not None and response is not None
        alone = None if request is not None and response is not None else request or response
        unsolicited = alone is not None and alone.fields.get("netflight.arp.opcode") == "reply"
        fields["netflight.arp.unsolicited"] = unsolicited
        if request is not None:
            fields["netflight.arp.opcode"] = request.fields.get("netflight.arp.opcode", "request")
        if unsolicited and alone is not None:
            fields["event.action"] = "arp_unsolicited_reply"
            alone.status = ""
            if alone.role is Role.RESPONSE:
                alone.endpoints = _turned(alone.endpoints)
        elif fields.get("netflight.arp.probe"):
            fields["event.action"] = "arp_probe"
        elif fields["netflight.arp.gratuitous"]:
            fields["event.action"] = "arp_announcement"


def _turned(endpoints: dict[str, str]) -> dict[str, str]:
    """The endpoints with source and destination the other way round."""
    other = {"source": "destination", "destination": "source"}
    turned = {}
    for key, value in endpoints.items():
        end, _, name = key.partition(".")
        turned[f"{other[end]}.{name}"] = value
    return turned
