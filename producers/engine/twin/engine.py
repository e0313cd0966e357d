"""The twin itself: packets in, each with its flow, and flow records out."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from producers.engine.model import Accounting, Flow, FlowRecord, Timeouts
from producers.engine.twin.flows import FlowTable
from producers.engine.twin.fragments import Fragments
from producers.engine.twin.parse import NOT_IP, parse
from producers.sources.packet import RawPacket

MAX_FLOWS = 1_000_000


class Decided(NamedTuple):
    """A packet with its flow (None if it carries no IP) and whether the initiator sent it.

    `payload_length` is the length of the transport's payload on the wire, in bytes.
    """

    packet: RawPacket
    flow: Flow | None
    from_initiator: bool
    payload_length: int


class Twin:
    """Counts every packet in its flow; flows are told apart by the rules of docs/flows.md.

    `max_flows` (1 at least) bounds the memory: past it, one whose time is nearly over ends as `evicted`.
    """

    def __init__(self, timeouts: Timeouts | None = None, max_flows: int = MAX_FLOWS) -> None:
        self.accounting = Accounting()
        self._table = FlowTable(timeouts or Timeouts(), max_flows)
        self._fragments = Fragments()

    @property
    def open_flows(self) -> int:
        """How many flows are in the table."""
        return len(self._table)

    def feed(self, packets: Iterable[RawPacket]) -> Iterator[Decided | FlowRecord]:
        """Yield each packet decided; before it, the records of flows that ended by its time."""
        block = list(packets)
        accounting, add, records = self.accounting, self._table.add, self._table.records
        for packet in block:
            accounting.read += 1
            parsed = parse(packet[2], packet[3], packet[4])
            if isinstance(parsed, int):
                if parsed == NOT_IP:
                    accounting.not_ip += 1
                else:
                    accounting.malformed += 1
                yield Decided(packet, None, False, 0)
                continue
            if parsed[5]:
                parsed = self._fragments.whole(parsed, packet[1], block)
            flow, from_initiator = add(packet, parsed)
            accounting.in_flows += 1
            if records:
                yield from records
                records.clear()
            yield Decided(packet, flow, from_initiator, parsed[4])

    def advance(self, now_ns: int) -> Iterator[FlowRecord]:
        """Yield the records of flows that are over by `now_ns`."""
        self._table.expire(now_ns)
        yield from self._table.records
        self._table.records.clear()

    def close(self) -> Iterator[FlowRecord]:
        """Yield the final records of all flows that are left: end reason `end`, or how TCP closed them."""
        yield from self._table.finish_all()
