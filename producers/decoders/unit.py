"""What the decoders speak of: the place of a packet, and the units (messages) that were in it."""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple

from producers.decoders.secrets import Credentials
from producers.engine.model import Flow


class Place(NamedTuple):
    """Where a unit was seen: its packet's frame number, time, flow and direction.

    `flow` is None where the packet carries no IP. `length` is the transport's payload in bytes. `sequence` and
    `acknowledgement` are TCP's numbers as on the wire, modulo 2**32 (RFC 9293, section 3.4); -1 where there is no TCP.
    `hole`: bytes of this direction just before this packet are lost. `message` is the payload of what DNS or its
    relatives may be in, as captured; empty elsewhere, and outside of the process that decodes. `depth` is how many IP
    headers stand in each other up to the flow's own; 0 where there is no flow, -1 where nobody asks.
    """

    frame: int
    time_ns: int
    flow: Flow | None
    from_initiator: bool
    length: int
    interface: str
    path: str
    sequence: int = -1
    acknowledgement: int = -1
    hole: bool = False
    message: bytes = b""
    depth: int = -1


class Role(Enum):
    """What part a unit plays in its transaction."""

    SINGLE = 1
    REQUEST = 2
    RESPONSE = 3
    PART = 4


@dataclass(slots=True)
class Unit:
    """One message of a protocol, in ECS fields by dotted name.

    `key` meets the request with its response. `status` is OK, Error or empty. `scope` stands for the community
    id where there is no flow. `hosts` and `hashes` go to related.*. `endpoints` replaces source and destination
    (ip, mac) where there is no flow. `protocol` is tshark's name of the layer. `credentials` are those that it
    shows in clear: each makes an event of its own, once per flow. `doubtful`: the key was chosen for a response by what
    is probable, and the flow's next unit decides. `extra` is for the decoder.
    """

    role: Role
    fields: dict[str, Any]
    place: Place
    protocol: str
    key: tuple[str, ...] = ()
    status: str = ""
    scope: str = ""
    hosts: list[str] = field(default_factory=list)
    hashes: list[str] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)
    endpoints: dict[str, str] = field(default_factory=dict)
    credentials: list[Credentials] = field(default_factory=list)
    extra: Any = None
    doubtful: bool = False
