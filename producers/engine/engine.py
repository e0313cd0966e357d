"""The decision engine in pure Python: every packet counted in its flow, every packet to be decoded."""

from collections.abc import Iterator

from producers.engine.flows import FlowTable, Timeouts
from producers.engine.fragments import Fragments
from producers.engine.model import Accounting, Decided, FlowRecord, Verdict
from producers.engine.parse import NOT_IP, parse
from producers.sources.packet import Block

MAX_FLOWS = 500_000


class FlowEngine:
    """An Engine whose verdict is always DECODE; flows are told apart by the rules of docs/flows.md.

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

    def feed(self, block: Block) -> Iterator[Decided | FlowRecord]:
        """Yield each packet decided; before it, the records of flows that ended by its time."""
        accounting, add, records = self.accounting, self._table.add, self._table.records
        for packet in block:
            accounting.read += 1
            parsed = parse(packet[2], packet[3], packet[4])
            if isinstance(parsed, int):
                if parsed == NOT_IP:
                    accounting.not_ip += 1
                else:
                    accounting.malformed += 1
                yield Decided(packet, Verdict.DECODE, None, False, 0)
                continue
            if parsed[5]:
                parsed = self._fragments.whole(parsed, packet[1], block)
            flow, from_initiator = add(packet, parsed)
            accounting.in_flows += 1
            if records:
                yield from records
                records.clear()
            yield Decided(packet, Verdict.DECODE, flow, from_initiator, parsed[4])

    def advance(self, now_ns: int) -> Iterator[FlowRecord]:
        """Yield the records of flows that are over by `now_ns`."""
        self._table.expire(now_ns)
        yield from self._table.records
        self._table.records.clear()

    def close(self) -> Iterator[FlowRecord]:
        """Yield the final records of all flows that are left: end reason `end`, or how TCP closed them."""
        yield from self._table.finish_all()
