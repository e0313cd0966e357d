"""DHCPv6 (RFC 8415): messages with their options, also those that relays carry."""

from collections.abc import Iterator
from typing import Any

from producers.decoders.base import Decoder
from producers.decoders.convert import CONVERTERS, ip, number
from producers.decoders.tree import Tree, find_all, layers_of, texts
from producers.decoders.unit import Place, Unit

_OPTIONS = "dhcpv6.option.type_str_tree"
_STATUS = 13
# Identity associations (RFC 8415, section 21.4): addresses, temporary addresses, prefixes.
_ASSOCIATIONS = {3: "IA_NA", 4: "IA_TA", 25: "IA_PD"}
_ADDRESS, _PREFIX = 5, 26
_hex = CONVERTERS["hex"]


class Dhcpv6Decoder(Decoder):
    """Units of DHCPv6 messages. A relay's message is one unit: what it carries, and which way it came."""

    def units(self, layer: Tree, protocol: str, place: Place) -> Iterator[Unit]:
        """One unit per message."""
        carried = [layer, *find_all(layer, "dhcpv6")]
        message = carried[-1]
        for unit in super().units(_own(message), protocol, place):
            fields = unit.fields
            if len(carried) > 1:
                fields["netflight.dhcpv6.relays"] = [_relay(relay) for relay in carried[:-1]]
            options = list(_options(message))
            for kind, name in ((1, "client"), (2, "server")):
                _identifier(fields, name, next((tree for code, tree in options if code == kind), {}))
            leases = [
                lease for code, tree in options if code in _ASSOCIATIONS for lease in _leases(code, tree)
            ]
            if leases:
                fields["netflight.dhcpv6.leases"] = leases
                addresses = [lease["ip"] for lease in leases if "ip" in lease]
                if addresses:
                    fields["netflight.dhcpv6.assigned_ip"] = list(dict.fromkeys(addresses))
            fields["netflight.dhcpv6.options"] = [code for code, _ in options]
            if "netflight.dhcpv6.status.code" in fields:
                unit.status = "OK" if fields["netflight.dhcpv6.status.code"] == "Success" else "Error"
            host = fields.get("netflight.dhcpv6.client_fqdn")
            unit.hosts = [host] if host else []
            yield unit


def _own(message: Tree) -> Tree:
    """The message with what belongs to itself: not the options inside of its identity associations."""
    kept: Tree = {name: value for name, value in message.items() if name != _OPTIONS}
    kept[_OPTIONS] = [_shallow(tree) for _, tree in _options(message)]
    return kept


def _shallow(tree: Tree) -> Tree:
    return {name: value for name, value in tree.items() if name not in (_OPTIONS, "dhcpv6")}


def _options(tree: Tree) -> Iterator[tuple[int, Tree]]:
    for option in layers_of(tree.get(_OPTIONS, ())):
        code = number(str(option.get("dhcpv6.option.type")))
        if code is not None:
            yield code, option


def _relay(message: Tree) -> dict[str, Any]:
    """What a relay says of itself (RFC 8415, section 9); `interface` is its name, or hexadecimal digits."""
    relay: dict[str, Any] = {}
    hops = number(str(message.get("dhcpv6.hopcount")))
    if hops is not None:
        relay["hops"] = hops
    for name, field in (("link_ip", "dhcpv6.linkaddr"), ("peer_ip", "dhcpv6.peeraddr")):
        address = ip(str(message.get(field)))
        if address:
            relay[name] = address
    for _, option in _options(message):
        identity = texts(option.get("dhcpv6.interface_id"))
        if identity:
            relay["interface"] = _hex(identity[0])
    return relay


def _identifier(fields: dict[str, Any], name: str, option: Tree) -> None:
    """Read the DHCP unique identifier of a client or a server (RFC 8415, section 11)."""
    identifier = texts(option.get("dhcpv6.duid.bytes"))
    if identifier:
        fields[f"netflight.dhcpv6.{name}.duid"] = _hex(identifier[0])
    for field in ("dhcpv6.duidllt.link_layer_addr", "dhcpv6.duidll.link_layer_addr"):
        address = CONVERTERS["mac"]((texts(option.get(field)) or [""])[0])
        if address:
            fields[f"netflight.dhcpv6.{name}.mac"] = address


def _leases(association: int, tree: Tree) -> Iterator[dict[str, Any]]:
    """What an identity association holds: an entry for each address or prefix, or one without any."""
    base: dict[str, Any] = {"type": _ASSOCIATIONS[association]}
    identity = (texts(tree.get("dhcpv6.iaid")) or texts(tree.get("dhcpv6.iata")) or [""])[0]
    if identity:
        base["iaid"] = identity
    inner = list(_options(tree))
    base.update(next((_status(option) for code, option in inner if code == _STATUS), {}))
    held = [(code, option) for code, option in inner if code in (_ADDRESS, _PREFIX)]
    for code, option in held:
        yield {**base, **_held(code, option)}
    if not held:
        yield base


def _held(code: int, option: Tree) -> dict[str, Any]:
    kind = "iaaddr" if code == _ADDRESS else "iaprefix"
    held: dict[str, Any] = {}
    address = ip((texts(option.get(f"dhcpv6.{kind}.{'ip' if code == _ADDRESS else 'pref_addr'}")) or [""])[0])
    if address and code == _ADDRESS:
        held["ip"] = address
    elif address:
        held["prefix"] = f"{address}/{(texts(option.get('dhcpv6.iaprefix.pref_len')) or [''])[0]}"
    for name, field in (("preferred_sec", "pref_lifetime"), ("valid_sec", "valid_lifetime")):
        seconds = number((texts(option.get(f"dhcpv6.{kind}.{field}")) or [""])[0])
        if seconds is not None:
            held[name] = seconds
    held.update(next((_status(inner) for kind, inner in _options(option) if kind == _STATUS), {}))
    return held


def _status(option: Tree) -> dict[str, Any]:
    code = number((texts(option.get("dhcpv6.status_code")) or [""])[0])
    return {} if code is None else {"status": code}
