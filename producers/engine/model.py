"""The decision engine's contract: packets in, decided packets and flow records out, in order.

Whatever implements `Engine` can stand here; the decoders and the publisher know no more than this page.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple, Protocol

from producers.sources.packet import Block, RawPacket


class Verdict(IntEnum):
    """What is done with a packet beyond counting it in its flow."""

    COUNT = 0
    DECODE = 1


class Tunnel(NamedTuple):
    """The outermost addresses of an encapsulated flow and what carries it (`gre`, `vxlan`, `gtp` ...)."""

    kind: str
    source_ip: str
    destination_ip: str


@dataclass(slots=True, eq=False)
class Flow:
    """One flow, updated with every packet. The source is the initiator. Bytes are whole frames on the wire.

    `ordinal` tells apart flows of one 5-tuple that start in the same nanosecond. `protocols` collects
    what the decoders recognised on it, outermost first. `history` has the letters of Zeek's conn.log.
    """

    transport: str
    ip_protocol: int
    ip_version: int
    source_ip: str
    destination_ip: str
    source_port: int | None
    destination_port: int | None
    community_id: str
    start_ns: int
    end_ns: int
    interface: str = ""
    ordinal: int = 0
    source_mac: str = ""
    destination_mac: str = ""
    vlan_ids: tuple[int, ...] = ()
    tunnel: Tunnel | None = None
    source_packets: int = 0
    destination_packets: int = 0
    source_bytes: int = 0
    destination_bytes: int = 0
    state: str = ""
    history: str = ""
    retransmits: int = 0
    end_reason: str = ""
    protocols: list[str] = field(default_factory=list)


class Decided(NamedTuple):
    """A packet with its verdict, its flow (None if it carries no IP) and whether the initiator sent it.

    `payload_length` is the length of the transport's payload on the wire, in bytes.
    """

    packet: RawPacket
    verdict: Verdict
    flow: Flow | None
    from_initiator: bool
    payload_length: int


class FlowRecord(NamedTuple):
    """A flow has ended (`final`) or is reported in between; counters are cumulative."""

    flow: Flow
    final: bool


@dataclass(slots=True)
class Accounting:
    """Where every packet went: read = in_flows + not_ip + malformed; dropped never reached us."""

    read: int = 0
    in_flows: int = 0
    not_ip: int = 0
    malformed: int = 0
    dropped: int = 0

    def closes(self) -> bool:
        """Whether every packet read is accounted for."""
        return self.read == self.in_flows + self.not_ip + self.malformed


class Engine(Protocol):
    """Parses packets, keeps the flow table, gives each packet one verdict."""

    accounting: Accounting

    def feed(self, block: Block) -> Iterator[Decided | FlowRecord]:
        """Take a block in; yield each packet decided, and the records of flows that end with it or before it.

        A flow's final record comes after the last of its packets.
        """
        ...

    def advance(self, now_ns: int) -> Iterator[FlowRecord]:
        """Yield the records of flows that are over by `now_ns`; a live source calls it when idle."""
        ...

    def close(self) -> Iterator[FlowRecord]:
        """Yield the final records of all flows that are left, with end reason `end`."""
        ...
