"""STUN (RFC 8489, the older RFC 3489) and TURN (RFC 8656): what is asked for, and the addresses in the answers."""

from collections.abc import Iterator
from typing import Any

from producers.decoders.base import Decoder
from producers.decoders.convert import ip, number
from producers.decoders.tables import name_or_number
from producers.decoders.tree import Tree, holders, texts
from producers.decoders.unit import Place, Role, Unit

_ROLES = {0: Role.REQUEST, 1: Role.SINGLE, 2: Role.RESPONSE, 3: Role.RESPONSE}
_CLASSES = ("request", "indication", "success", "error")
# Attributes with addresses (RFC 8489, section 18.3; RFC 8656; RFC 5780), the better ones last.
_ADDRESSES = {
    0x0001: "mapped",
    0x8020: "mapped",
    0x0020: "mapped",
    0x0012: "peer",
    0x0016: "relayed",
    0x0004: "source",
    0x802B: "source",
    0x0005: "other",
    0x802C: "other",
    0x8023: "alternate",
}


class StunDecoder(Decoder):
    """Units of STUN messages, which pair by their transaction id; the older form's fields have another prefix."""

    def units(self, layer: Tree, protocol: str, place: Place) -> Iterator[Unit]:
        """One unit per message."""
        kind = number(str(layer.get(f"{protocol}.type")))
        identity = (texts(layer.get(f"{protocol}.id")) or [""])[0].replace(":", "")
        if kind is None or not identity:
            return
        # Class and method share the type's bits (RFC 8489, section 5).
        about = kind >> 7 & 2 | kind >> 4 & 1
        method = kind & 0xF | kind >> 1 & 0x70 | kind >> 2 & 0xF80
        fields: dict[str, Any] = {
            "netflight.stun.method": name_or_number("stun_method", method),
            "netflight.stun.class": _CLASSES[about],
            "netflight.stun.transaction_id": identity,
        }
        if protocol == "classicstun":
            fields["netflight.stun.classic"] = True
        attributes = list(holders(layer, f"{protocol}.att.type"))
        fields.update(_addresses(attributes, protocol))
        for attribute in attributes:
            _attribute(fields, attribute, protocol, about)
        status = {2: "OK", 3: "Error"}.get(about, "")
        yield Unit(_ROLES[about], fields, place, protocol, (identity, str(method)), status)

    def complete(self, fields: dict[str, Any], request: Unit | None, response: Unit | None) -> None:  # noqa: ARG002
        """The class told is that of the answer, where there is one."""
        if response is not None:
            fields["netflight.stun.class"] = response.fields["netflight.stun.class"]


def _addresses(attributes: list[Tree], protocol: str) -> Iterator[tuple[str, Any]]:
    """Addresses and ports by what they are; of peers, all."""
    found: dict[str, dict[int, list[tuple[str, int | None]]]] = {}
    for attribute in attributes:
        kind = number(str(attribute.get(f"{protocol}.att.type")))
        name = _ADDRESSES.get(kind if kind is not None else -1)
        values = (texts(attribute.get(f"{protocol}.att.ipv{version}")) for version in "46")
        address = next((ip(value[0]) for value in values if value), None)
        if name and kind is not None and address:
            port = number((texts(attribute.get(f"{protocol}.att.port")) or [""])[0])
            found.setdefault(name, {}).setdefault(kind, []).append((address, port))
    for name, by_kind in found.items():
        held = by_kind[max(by_kind, key=list(_ADDRESSES).index)]
        if name == "peer":
            yield "netflight.stun.peer.ip", [address for address, _ in held]
            ports = [port for _, port in held if port is not None]
            if ports:
                yield "netflight.stun.peer.port", ports
            continue
        yield f"netflight.stun.{name}.ip", held[0][0]
        if held[0][1] is not None:
            yield f"netflight.stun.{name}.port", held[0][1]


_TEXTS = {"username": "user.name", "realm": "netflight.stun.realm"}
_NUMBERS = {"lifetime": "netflight.stun.lifetime_sec", "channelnum": "netflight.stun.channel"}


def _attribute(fields: dict[str, Any], attribute: Tree, protocol: str, about: int) -> None:
    for name, field in _TEXTS.items():
        told = texts(attribute.get(f"{protocol}.att.{name}"))
        if told and told[0]:
            fields[field] = told[0]
    for name, field in _NUMBERS.items():
        value = number((texts(attribute.get(f"{protocol}.att.{name}")) or [""])[0])
        if value is not None:
            fields[field] = value
    transport = number((texts(attribute.get(f"{protocol}.att.transp")) or [""])[0])
    if transport is not None:
        fields["netflight.stun.requested_transport"] = {6: "tcp", 17: "udp"}.get(transport, str(transport))
    software = texts(attribute.get(f"{protocol}.att.software")) or texts(
        attribute.get(f"{protocol}.att.server")
    )
    if software and software[0]:
        side = "server" if about > 1 else "client"
        fields[f"netflight.stun.{side}.software"] = software[0].rstrip("\0")
    hundreds = number((texts(attribute.get(f"{protocol}.att.error.class")) or [""])[0])
    rest = number((texts(attribute.get(f"{protocol}.att.error")) or [""])[0])
    if hundreds is not None and rest is not None:
        fields["error.code"] = str(hundreds * 100 + rest)
        reason = texts(attribute.get(f"{protocol}.att.error.reason"))
        if reason and reason[0]:
            fields["error.message"] = reason[0].rstrip("\0")
