"""The decision engine's contract: blocks of packets in, rows of facts with a verdict and flow records out, in order.

Whatever implements `Engine` can stand here; the decoders, the recorder and the publisher know no more than this
page and `kernel.layout.FACTS`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from numpy.typing import NDArray

from producers.sources.packet import Block


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long a flow lives, in seconds of packet time.

    `tcp` (SCTP too) and `other` are idle times, `linger` the idle time of a connection that was closed, so
    that its last acknowledgements stay with it; `active` is the time between records of a flow that goes on.
    """

    tcp: float = 300.0
    other: float = 60.0
    linger: float = 10.0
    active: float = 1800.0


class Tunnel(NamedTuple):
    """The outermost addresses of an encapsulated flow and what carries it (`gre`, `vxlan`, `gtp` ...)."""

    kind: str
    source_ip: str
    destination_ip: str


_BEGINS = frozenset("SsHh")  # letters of a history


@dataclass(slots=True, eq=False)
class Flow:
    """One flow. The source is the initiator. Bytes are whole frames on the wire.

    `uid` numbers the flows of a run; two objects with one uid are the same flow. `ordinal` tells apart flows of
    one 5-tuple that start in the same nanosecond. `protocols` is what the decoders recognised on it, outermost
    first. `history` has the letters of Zeek's conn.log. What is seen of one flow's packet before it is over
    (`Batch.flow`) has its identity (all up to `tunnel`) and may lack the rest.

    `retransmits`, `out_of_order`, `zero_windows` count TCP segments of both sides, `source_missed_bytes` and
    `destination_missed_bytes` payload of each side that was never seen though what follows it was;
    `handshake_ns` is the time from SYN to the ACK of the SYN-ACK, None
    where it was not seen; `source_ttl` and `destination_ttl` are the first TTL or hop limit of each side, 0 where it
    sent nothing, and `source_flags` and `destination_flags` all TCP flags of each side together.
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
    uid: int = 0
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
    out_of_order: int = 0
    zero_windows: int = 0
    source_missed_bytes: int = 0
    destination_missed_bytes: int = 0
    handshake_ns: int | None = None
    source_ttl: int = 0
    destination_ttl: int = 0
    source_flags: int = 0
    destination_flags: int = 0
    end_reason: str = ""
    protocols: list[str] = field(default_factory=list)

    @property
    def begun(self) -> bool:
        """Whether the connection was seen from its begin: its first packet is a SYN or a SYN-ACK."""
        return self.history.lstrip("^")[:1] in _BEGINS

    @property
    def missed_bytes(self) -> int:
        """Payload of both sides that was never seen though what follows it was."""
        return self.source_missed_bytes + self.destination_missed_bytes


class FlowRecord(NamedTuple):
    """A flow has ended (`final`) or is reported in between; counters are cumulative."""

    flow: Flow
    final: bool


class Batch(Protocol):
    """A block, decided. Good until the engine is fed again.

    `facts` has one row of `kernel.layout.FACTS` a packet; `records` the records to be told, each with the
    index of the packet it comes before (the block's length: after the last one). A flow's final record
    comes after the last of its packets.
    """

    @property
    def block(self) -> Block:
        """The block that was decided."""
        ...

    @property
    def facts(self) -> NDArray[Any]:
        """A row of FACTS a packet."""
        ...

    @property
    def records(self) -> list[tuple[int, FlowRecord]]:
        """The records to be told, each with the index of the packet it comes before."""
        ...

    def flow(self, index: int) -> Flow | None:
        """The flow of the packet at `index`, None where it carries no IP."""
        ...


@dataclass(slots=True)
class Accounting:
    """Where every packet went: read = in_flows + not_ip + malformed + ignored; dropped never reached us.

    `ignored` were taken out by a drop rule of the policy.
    """

    read: int = 0
    in_flows: int = 0
    not_ip: int = 0
    malformed: int = 0
    ignored: int = 0
    dropped: int = 0

    def closes(self) -> bool:
        """Whether every packet read is accounted for."""
        return self.read == self.in_flows + self.not_ip + self.malformed + self.ignored


class Engine(Protocol):
    """Parses packets, keeps the flow table, gives each packet one verdict."""

    accounting: Accounting

    def feed(self, block: Block) -> Batch:
        """Take a block in; return its packets decided and the records of flows that ended on the way."""
        ...

    def advance(self, now_ns: int) -> Iterator[FlowRecord]:
        """Yield the records of flows that are over by `now_ns`; a live source calls it when idle."""
        ...

    def close(self) -> Iterator[FlowRecord]:
        """Yield the final records of all flows that are left, with end reason `end`."""
        ...
