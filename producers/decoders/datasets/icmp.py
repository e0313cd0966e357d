"""ICMP and ICMPv6: echoes are paired, everything else is a message of its own."""

from collections.abc import Iterator

from producers.decoders.base import Decoder
from producers.decoders.content import escaped
from producers.decoders.convert import ip, number
from producers.decoders.tables import name_of
from producers.decoders.tree import Tree, first, holders, texts
from producers.decoders.unit import Place, Role, Unit

_ECHO = {"icmp": ({8: Role.REQUEST, 0: Role.RESPONSE}), "icmpv6": ({128: Role.REQUEST, 129: Role.RESPONSE})}
_TARGETS = ("icmpv6.nd.ns.target_address", "icmpv6.nd.na.target_address", "icmpv6.nd.rd.target_address")
# Neighbour discovery and multicast listeners (RFC 4861, RFC 3810) quote no packet; all of their tree is their own.
_WHOLE = {130, 131, 132, 133, 134, 135, 136, 137, 143}
_REDIRECT = 137
_SHOWN = 64  # bytes of an echo's payload
_MAX_OPTIONS = 100
_NAME_SERVERS = 25


class IcmpDecoder(Decoder):
    """Units of ICMP messages. Only the message's own fields are read, never those of a packet quoted in it."""

    def units(self, layer: Tree, protocol: str, place: Place) -> Iterator[Unit]:
        """One unit per message."""
        kind = number(str(layer.get(f"{protocol}.type")))
        if kind is None:
            return
        code = number(str(layer.get(f"{protocol}.code"))) or 0
        role = _ECHO[protocol].get(kind, Role.SINGLE)
        side = "response" if role is Role.RESPONSE else "request"
        base = f"network_traffic.icmp.{side}"
        fields: dict[str, object] = {
            "network_traffic.icmp.version": 6 if protocol == "icmpv6" else 4,
            f"{base}.type": kind,
            f"{base}.code": code,
            f"{base}.message": name_of(f"{protocol}_type", kind) or f"Type{kind}",
        }
        echo = "icmp" if protocol == "icmp" else "icmpv6.echo"
        identifier, sequence = layer.get(f"{echo}.ident"), layer.get(f"{echo}.seq")
        identifier = identifier if identifier is not None else layer.get(f"{echo}.identifier")
        sequence = sequence if sequence is not None else layer.get(f"{echo}.sequence_number")
        for name, value in (("identifier", identifier), ("sequence", sequence)):
            told = number(str(value))
            if told is not None:
                fields[f"netflight.icmp.{name}"] = told
        if role is not Role.SINGLE:
            fields.update(_payload(layer, "response." if role is Role.RESPONSE else ""))
        target = next((ip(str(layer[name])) for name in _TARGETS if name in layer), None)
        if target:
            fields["netflight.icmp.target.ip"] = target
        if protocol == "icmpv6" and kind in _WHOLE:
            own = {
                name: value
                for name, value in layer.items()
                if name.startswith(("icmpv6.nd", "icmpv6.rd"))
                or (kind != _REDIRECT and name != "ipv6.routing")
            }
            fields.update(self.read(self.columns(own), Role.SINGLE))
            fields.update(_prefixes(own))
            fields.update(_options(own))
        if "ipv6.routing" in layer:
            fields.update(_routing(layer["ipv6.routing"]))
        yield Unit(
            role,
            fields,
            place,
            protocol,
            key=(str(identifier), str(sequence)),
            status="OK" if role is Role.RESPONSE else "",
        )


def _payload(layer: Tree, side: str) -> dict[str, object]:
    """How many bytes an echo carries, and the first of them; a time that tshark takes for one is of them."""
    data = layer.get("data")
    data = data if isinstance(data, dict) else {}
    octets = bytes.fromhex(first(data, "data.data")[: 3 * _SHOWN - 1].replace(":", ""))
    size = (number(first(data, "data.len")) or 0) + (8 if "icmp.data_time" in layer else 0)
    fields: dict[str, object] = {f"netflight.icmp.{side}payload_bytes": size}
    if octets:
        fields[f"netflight.icmp.{side}payload"] = escaped(octets)
    return fields


def _prefixes(layer: Tree) -> dict[str, object]:
    """The prefixes that a router announces, with their lengths (RFC 4861, section 4.6.2)."""
    found = [
        f"{address}/{(texts(option.get('icmpv6.opt.prefix.length')) or [''])[0]}"
        for option in holders(layer, "icmpv6.opt.prefix")
        for address in map(ip, texts(option["icmpv6.opt.prefix"]))
        if address
    ]
    return {"netflight.icmp.router.prefixes": found} if found else {}


def _options(layer: Tree) -> dict[str, object]:
    """The options of neighbour discovery, with their lengths in units of 8 bytes (RFC 4861, section 4.6).

    The length of one with name servers is odd (RFC 8106, section 5.1); an even one was CVE-2020-16898.
    """
    found: list[dict[str, int]] = []
    for option in holders(layer, "icmpv6.opt.type")[:_MAX_OPTIONS]:
        kinds, lengths = (texts(option.get(f"icmpv6.opt.{name}")) for name in ("type", "length"))
        kind, length = (number(values[0]) if values else None for values in (kinds, lengths))
        if kind is not None and length is not None:
            found.append({"type": kind, "length": length})
    if not found:
        return {}
    fields: dict[str, object] = {"netflight.icmp.options": found}
    servers = [option["length"] for option in found if option["type"] == _NAME_SERVERS]
    if servers:
        fields["netflight.icmp.router.dns_option_lengths"] = servers
    return fields


def _routing(header: object) -> dict[str, object]:
    """The routing headers before the message (RFC 8200, section 4.4); type 0 is not to be used (RFC 5095)."""
    trees = [each for each in (header if isinstance(header, list) else [header]) if isinstance(each, dict)]
    fields: dict[str, object] = {}
    for name, key in (("type", "type"), ("segments_left", "segleft")):
        values = [number(text) for tree in trees for text in texts(tree.get(f"ipv6.routing.{key}"))]
        if values and values[0] is not None:
            fields[f"netflight.icmp.routing.{name}"] = values[0]
    addresses = [
        address for tree in trees for address in map(ip, texts(tree.get("ipv6.routing.src.addr"))) if address
    ]
    if addresses:
        fields["netflight.icmp.routing.addresses"] = addresses[:_MAX_OPTIONS]
    return fields
