"""A policy's meaning, packet by packet in plain Python: slow, and what the compiled code is compared with.

It reads fields from the rows by itself and shares nothing with the code generator but the terms.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, NamedTuple

from producers.engine.kernel.layout import DECODE, RECORD, RECORD_HEADERS, Kind
from producers.engine.policy.check import AllOf, Among, AnyOf, Begins, Compare, Flag, Negation, Term, Within
from producers.engine.policy.fields import TCP_FLAGS, Direction
from producers.engine.policy.file import Limit, Rule, Unit
from producers.engine.policy.syntax import Network

_WORD = (1 << 64) - 1


class Packet(NamedTuple):
    """What is known of one packet: the fields of its row, its captured bytes, its length on the wire."""

    facts: Mapping[str, Any]
    data: bytes
    wire: int


class Decision(NamedTuple):
    """What a policy says of a packet: dropped or not, the verdict's bits, the index of the rule that decided."""

    dropped: bool
    verdict: int
    rule: int


@dataclass(frozen=True)
class Interpreter:
    """Decides packets one by one; `local` are the local networks."""

    rules: Sequence[Rule]
    local: Sequence[Network]

    def decide(self, packet: Packet) -> Decision:
        """What the rules say of a packet."""
        for index, rule in enumerate(self.rules):
            if rule.then.drop and self.holds(rule.when, packet):
                return Decision(dropped=True, verdict=0, rule=index)
        decoded_by = recorded_by = None
        verdict = 0
        for index, rule in enumerate(self.rules):
            then = rule.then
            asks_decode = then.decode is not None and decoded_by is None
            asks_record = then.record is not None and recorded_by is None
            if rule.then.drop or not (asks_decode or asks_record) or not self.holds(rule.when, packet):
                continue
            kept = then.sample == 1 or in_sample(packet, then.sample)
            if then.decode is not None and asks_decode:
                decoded_by = index
                verdict |= DECODE if kept and _within(then.decode, packet) else 0
            if then.record is not None and asks_record:
                recorded_by = index
                bits = RECORD if _within(then.record, packet) else RECORD_HEADERS if then.headers else 0
                verdict |= bits if kept else 0
        return Decision(dropped=False, verdict=verdict, rule=decoded_by if decoded_by is not None else -1)

    def holds(self, term: Term, packet: Packet) -> bool:  # noqa: PLR0911  # one for each kind of term
        """Whether a term is true of a packet."""
        match term:
            case AnyOf(terms):
                return any(self.holds(part, packet) for part in terms)
            case AllOf(terms):
                return all(self.holds(part, packet) for part in terms)
            case Negation(part):
                return not self.holds(part, packet)
            case Flag(field):
                return _flag(field.name, packet.facts)
            case Compare(field, operator, number):
                values = self._numbers(field.name, packet)
                return any(_COMPARED[operator](value, number) for value in values)
            case Among(field, ranges):
                values = self._numbers(field.name, packet)
                return any(low <= value <= high for value in values for low, high in ranges)
            case Within(field, networks):
                return any(_inside(address, networks) for address in _addresses(field.name, packet.facts))
            case Begins(field, offset, prefixes):
                data = packet.data if field.name == "frame" else _payload(packet)
                return any(data[offset : offset + len(prefix)] == prefix for prefix in prefixes)

    def _numbers(self, name: str, packet: Packet) -> list[int]:
        facts = packet.facts
        if name == "direction":
            return [self._direction(facts)] if _is_flow(facts) else []
        if name == "frame.length":
            return [packet.wire]
        if name == "frame.captured":
            return [len(packet.data)]
        return _numbers(name, facts)

    def _direction(self, facts: Mapping[str, Any]) -> int:
        (client,), (server,) = _addresses("client.ip", facts), _addresses("server.ip", facts)
        outward, inward = _inside(client, self.local), _inside(server, self.local)
        if outward:
            return Direction.INTERNAL if inward else Direction.OUTBOUND
        return Direction.INBOUND if inward else Direction.EXTERNAL


_COMPARED = {
    "<": int.__lt__,
    "<=": int.__le__,
    ">": int.__gt__,
    ">=": int.__ge__,
}
_ALWAYS = {
    "fragment": "fragment",
    "vlans": "vlans",
    "tunnel": "tunnel",
    "flow.packets": "number",
    "flow.bytes": "flow_bytes",
    "sent.packets": "sent_packets",
    "sent.bytes": "sent_before",
    "signature": "signature",
    "part": "part",
}
_WITH_IP = {"ip.version": "version", "ip.ttl": "ttl", "proto": "protocol", "payload.length": "length"}
_OF_TCP = {"tcp.flags": "tcp_flags", "tcp.window": "window"}


def in_sample(packet: Packet, share: int) -> bool:
    """Whether the packet's flow is the one in `share` that is kept, by the hash of both its ends."""
    facts = packet.facts
    if not _is_flow(facts):
        return True
    total = sum(
        _mixed(
            int(facts[f"{end}_high"]),
            int(facts[f"{end}_low"]),
            int(facts[f"{end}_port"]) if facts["ported"] == 1 else 0,
        )
        for end in ("source", "destination")
    )
    total &= _WORD
    return (total ^ (total >> 32)) % share == 0


def _mixed(high: int, low: int, port: int) -> int:
    step = 0x9E3779B97F4A7C15
    state = port + step & _WORD
    for word in (high, low, step):
        state = (state ^ word) + step & _WORD
        state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 & _WORD
        state = (state ^ (state >> 27)) * 0x94D049BB133111EB & _WORD
        state ^= state >> 31
    return state


def _is_flow(facts: Mapping[str, Any]) -> bool:
    return bool(facts["kind"] == Kind.FLOW)


def _within(limit: Limit, packet: Packet) -> bool:
    sent = packet.facts["sent_packets" if limit.unit is Unit.PACKETS else "sent_before"]
    return limit.count is None or int(sent) < limit.count


def _flag(name: str, facts: Mapping[str, Any]) -> bool:
    if name == "malformed":
        return bool(facts["kind"] == Kind.MALFORMED)
    if not _is_flow(facts):
        return False
    if name.startswith("tcp."):
        return bool(_numbers("tcp.flags", facts)) and bool(facts["tcp_flags"] & TCP_FLAGS[name[4:]])
    return bool(
        {"ip": True, "from_initiator": facts["forward"] == 1, "answered": facts["answered"] == 1}[name]
    )


def _numbers(name: str, facts: Mapping[str, Any]) -> list[int]:
    """The values that a packet has of a field, none where it has none."""
    if name in _ALWAYS:
        return [int(facts[_ALWAYS[name]])]
    if name == "vlan":
        return [int(tag) for tag in facts["vlan"][: facts["vlans"]]]
    if not _is_flow(facts):
        return []
    if name in _WITH_IP:
        return [int(facts[_WITH_IP[name]])]
    if name in _OF_TCP:
        is_tcp = facts["protocol"] == 6 and facts["transport"] >= 0
        return [int(facts[_OF_TCP[name]])] if is_tcp else []
    return _ports(name, facts)


def _ports(name: str, facts: Mapping[str, Any]) -> list[int]:
    source, destination = int(facts["source_port"]), int(facts["destination_port"])
    if name == "icmp.type":
        return [source] if facts["ported"] in {2, 3} else []
    if facts["ported"] != 1:
        return []
    client, server = (source, destination) if facts["forward"] else (destination, source)
    ends = {"src.port": source, "dst.port": destination, "client.port": client, "server.port": server}
    return [source, destination] if name == "port" else [ends[name]]


def _addresses(name: str, facts: Mapping[str, Any]) -> list[IPv4Address | IPv6Address]:
    if not _is_flow(facts):
        return []
    outer = "outer_" if name.startswith("outer.") else ""
    source, destination = (
        _address(facts, f"{outer}{end}", int(facts[f"{outer}version"])) for end in ("source", "destination")
    )
    client, server = (source, destination) if facts["forward"] else (destination, source)
    ends = {"src.ip": source, "dst.ip": destination, "client.ip": client, "server.ip": server}
    name = name.removeprefix("outer.")
    return [source, destination] if name == "host" else [ends[name]]


def _address(facts: Mapping[str, Any], column: str, version: int) -> IPv4Address | IPv6Address:
    number = int(facts[f"{column}_high"]) << 64 | int(facts[f"{column}_low"])
    return ip_address(number.to_bytes(4 if version == 4 else 16, "big"))


def _inside(address: IPv4Address | IPv6Address, networks: Sequence[Network]) -> bool:
    return any(address.version == network.version and address in network for network in networks)


def _payload(packet: Packet) -> bytes:
    start = int(packet.facts["payload"])
    if not _is_flow(packet.facts) or start < 0:
        return b""
    return packet.data[start : start + max(int(packet.facts["length"]), 0)]
