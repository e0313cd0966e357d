"""Both engines over the same packets: what the native one says must be what the twin says."""

from collections.abc import Iterable, Iterator
from dataclasses import fields
from typing import Any

from producers.engine.engine import FlowEngine
from producers.engine.kernel.layout import Kind
from producers.engine.model import Accounting, Flow, FlowRecord, Timeouts
from producers.engine.twin.engine import Decided, Twin
from producers.sources.packet import Block, RawPacket, block_of

_NAMES = [field.name for field in fields(Flow) if field.name not in {"uid", "protocols", "vlan_ids"}]
MAX_TAGS = 4  # so many VLAN ids the kernel keeps

Seen = tuple[int, bool, int]
"""A packet decided: its number from 0, whether the initiator sent it, its payload's length (-1: it has no flow)."""


def as_block(packets: Iterable[RawPacket]) -> Block:
    """Packets as a block, whatever frames they say they are."""
    return block_of([packet._replace(frame=number) for number, packet in enumerate(packets, 1)])


def figures(record: FlowRecord) -> tuple[Any, ...]:
    """All that a record says and both engines know."""
    flow = record.flow
    return (record.final, flow.vlan_ids[:MAX_TAGS], *(getattr(flow, name) for name in _NAMES))


class Both:
    """An engine to be fed packets that asks the twin too, and fails where they differ."""

    def __init__(self, timeouts: Timeouts | None = None, max_flows: int = 1_000_000) -> None:
        self.engine = FlowEngine(timeouts, max_flows)
        self.twin = Twin(timeouts, max_flows)

    def feed(self, packets: Iterable[RawPacket]) -> list[Seen | FlowRecord]:
        """Packets decided and records, in order."""
        block = as_block(packets)
        found = list(_native(self.engine, block))
        _same(found, list(_by_twin(self.twin, list(block))))
        assert self.accounting == self.twin.accounting
        assert self.engine.open_flows == self.twin.open_flows
        return found

    def advance(self, now_ns: int) -> list[FlowRecord]:
        """Records of flows that are over."""
        found = list(self.engine.advance(now_ns))
        assert [*map(figures, found)] == [*map(figures, self.twin.advance(now_ns))]
        return found

    def close(self) -> list[FlowRecord]:
        """Records of all flows that are left."""
        found = list(self.engine.close())
        assert [*map(figures, found)] == [*map(figures, self.twin.close())]
        assert self.engine.open_flows == 0
        return found

    @property
    def open_flows(self) -> int:
        """How many flows are in the table."""
        return self.engine.open_flows

    @property
    def accounting(self) -> Accounting:
        """Where every packet went."""
        return self.engine.accounting


def records(packets: Iterable[RawPacket], engine: Both | None = None) -> list[FlowRecord]:
    """All records of packets, to the end."""
    engine = engine or Both()
    told = [item for item in engine.feed(packets) if isinstance(item, FlowRecord)]
    return [*told, *engine.close()]


def final(packets: Iterable[RawPacket], engine: Both | None = None) -> list[Flow]:
    """The flows of packets, in the order they ended."""
    return [record.flow for record in records(packets, engine) if record.final]


def _native(engine: FlowEngine, block: Block) -> Iterator[Seen | FlowRecord]:
    batch = engine.feed(block)
    facts = [(int(row["kind"]), bool(row["forward"]), int(row["length"])) for row in batch.facts]
    told = 0
    for number, (kind, forward, length) in enumerate(facts):
        while told < len(batch.records) and batch.records[told][0] == number:
            yield batch.records[told][1]
            told += 1
        flow = batch.flow(number)
        assert (flow is not None) == (kind == Kind.FLOW)
        yield (number, forward, length) if flow is not None else (number, False, -1)
    assert told == len(batch.records)


def _by_twin(twin: Twin, packets: list[RawPacket]) -> Iterator[Seen | FlowRecord]:
    number = 0
    for item in twin.feed(packets):
        if isinstance(item, Decided):
            length = item.payload_length if item.flow is not None else -1
            yield number, item.from_initiator, length
            number += 1
        else:
            yield item


def _same(found: list[Seen | FlowRecord], wanted: list[Seen | FlowRecord]) -> None:
    plain = [
        [figures(item) if isinstance(item, FlowRecord) else item for item in items]
        for items in (found, wanted)
    ]
    assert plain[0] == plain[1]
