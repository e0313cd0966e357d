"""What a rule can ask: every field, its type, its values, and whether it is known before the flow table.

A value that a packet does not have (a port of an ICMP packet, an address of an ARP frame) makes every test of
it false; `!=` and `not in` are the opposite of `==` and `in`, so they are true there.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, IntEnum

from producers.engine.kernel.layout import TUNNELS, Fragment, Part, Signature
from producers.engine.protocols import transport_name


class Stage(IntEnum):
    """When a field's value is known: with the packet alone, or with its flow."""

    PACKET = 0
    FLOW = 1


class Type(Enum):
    """What a field's value is; the text is how errors call it."""

    FLAG = "yes or no"
    NUMBER = "a number"
    NAME = "a name"
    ADDRESS = "an address"
    BYTES = "bytes"


class Direction(IntEnum):
    """Where a flow goes by the local networks, as ECS's `network.direction` names it."""

    EXTERNAL = 0
    INBOUND = 1  # only its responder is local
    OUTBOUND = 2  # only its initiator is local
    INTERNAL = 3


@dataclass(frozen=True)
class Field:
    """One field. `low` and `high` bound its numbers; `values` are its names, in lower case."""

    name: str
    type: Type
    about: str
    stage: Stage = Stage.PACKET
    low: int = 0
    high: int = 0
    values: Mapping[str, int] = field(default_factory=dict)


def _names(of: type[IntEnum]) -> dict[str, int]:
    return {member.name.lower(): int(member) for member in of}


# Two of IANA's keywords, 3pc and tp++, are no words of the language; their numbers are.
_KEYWORDS = {transport_name(number): number for number in range(256)} | {"icmpv6": 58}
_PROTOCOLS = {name: number for name, number in _KEYWORDS.items() if name.replace("-", "_").isidentifier()}
_TUNNELS = {name or "none": number for number, name in enumerate(TUNNELS)}
_COUNT = (1 << 62) - 1
TCP_FLAGS = {"fin": 1, "syn": 2, "rst": 4, "psh": 8, "ack": 16, "urg": 32, "ece": 64, "cwr": 128}

_FLAG, _NUMBER, _NAME, _ADDRESS, _BYTES = Type.FLAG, Type.NUMBER, Type.NAME, Type.ADDRESS, Type.BYTES
_FLOW = Stage.FLOW

_ALL = (
    Field("ip", _FLAG, "the packet carries IP"),
    Field("malformed", _FLAG, "the packet's headers are cut off or contradict themselves"),
    Field("ip.version", _NUMBER, "4 or 6", low=4, high=6),
    Field("ip.ttl", _NUMBER, "the TTL or hop limit", high=255),
    Field("proto", _NAME, "the IP protocol: tcp, udp, icmp, icmpv6, sctp ...", high=255, values=_PROTOCOLS),
    Field("fragment", _NAME, "which piece of a datagram", high=2, values=_names(Fragment)),
    Field("src.ip", _ADDRESS, "the packet's sender"),
    Field("dst.ip", _ADDRESS, "the packet's receiver"),
    Field("host", _ADDRESS, "either of both"),
    Field("outer.src.ip", _ADDRESS, "the tunnel's sender; the packet's where there is no tunnel"),
    Field("outer.dst.ip", _ADDRESS, "the tunnel's receiver; likewise"),
    Field("outer.host", _ADDRESS, "either of both"),
    Field("src.port", _NUMBER, "the sender's TCP, UDP or SCTP port", high=65_535),
    Field("dst.port", _NUMBER, "the receiver's", high=65_535),
    Field("port", _NUMBER, "either of both", high=65_535),
    Field("icmp.type", _NUMBER, "the type of an ICMP or ICMPv6 message", high=255),
    *(Field(f"tcp.{name}", _FLAG, f"the TCP flag {name.upper()}") for name in TCP_FLAGS),
    Field("tcp.flags", _NUMBER, "all TCP flags in one byte", high=255),
    Field("tcp.window", _NUMBER, "the TCP window as sent, without scaling", high=65_535),
    Field("vlan", _NUMBER, "one of the packet's VLAN ids", high=4_095),
    Field("vlans", _NUMBER, "how many VLAN tags it has", high=4),
    Field("tunnel", _NAME, "the outermost encapsulation", high=len(TUNNELS) - 1, values=_TUNNELS),
    Field("frame.length", _NUMBER, "bytes on the wire", high=_COUNT),
    Field("frame.captured", _NUMBER, "bytes captured", high=_COUNT),
    Field("payload.length", _NUMBER, "bytes on the wire after the transport header", high=_COUNT),
    Field("frame", _BYTES, "the captured bytes, from the link's first"),
    Field("payload", _BYTES, "the captured bytes after the transport header"),
    Field("client.ip", _ADDRESS, "the flow's initiator", _FLOW),
    Field("server.ip", _ADDRESS, "the flow's responder", _FLOW),
    Field("client.port", _NUMBER, "the initiator's port", _FLOW, high=65_535),
    Field("server.port", _NUMBER, "the responder's port", _FLOW, high=65_535),
    Field("from_initiator", _FLAG, "the flow's initiator sent the packet", _FLOW),
    Field("answered", _FLAG, "both sides of the flow have sent by now", _FLOW),
    Field("direction", _NAME, "where the flow goes", _FLOW, high=3, values=_names(Direction)),
    Field("flow.packets", _NUMBER, "packets of the flow before this one", _FLOW, high=_COUNT),
    Field("flow.bytes", _NUMBER, "bytes on the wire of the flow before this packet", _FLOW, high=_COUNT),
    Field("sent.packets", _NUMBER, "packets with payload that this side sent before", _FLOW, high=_COUNT),
    Field("sent.bytes", _NUMBER, "payload bytes that this side sent before", _FLOW, high=_COUNT),
    Field("signature", _NAME, "the protocol recognised", _FLOW, high=255, values=_names(Signature)),
    Field("part", _NAME, "the part of it that the payload is", _FLOW, high=4, values=_names(Part)),
)

FIELDS: Mapping[str, Field] = {entry.name: entry for entry in _ALL}


def value_name(asked: Field, number: int) -> str:
    """How a policy writes a field's number: a name where it has one."""
    return next((name for name, value in asked.values.items() if value == number), str(number))
