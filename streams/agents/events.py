"""The agent over all event topics: rules, and the counting of each partition's panes."""

import asyncio
import time
import zlib
from typing import TYPE_CHECKING, Any

from schemas.topics import topic
from streams.agents.context import Context, taken_in_ns
from streams.agents.sending import Ticket
from streams.core.alerts import alert_event
from streams.core.envelope import Decoded, decode
from streams.core.merge import mark_message, merge_partition, part_message
from streams.core.windows import PartitionWindows, Taken
from streams.transport import Batch

if TYPE_CHECKING:
    from streams.core.statistics import Statistic

CHUNK = 500
"""Records after which others get their turn: heartbeats, timers, the web pages."""


class EventsAgent:
    """Reads batches of events, sends alerts, keeps the source partitions' panes in the table `parts`.

    An exception in a Faust agent would acknowledge the batch: here a record that raises one becomes a dead letter, and
    the rest of its batch goes on.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._by_dataset: dict[str, list[Statistic]] = {}
        for statistic in context.statistics.values():
            self._by_dataset.setdefault(statistic.dataset.name, []).append(statistic)
        self._sources = {
            topic(context.settings.namespace, stats[0].dataset.topic): name
            for name, stats in self._by_dataset.items()
        }
        self._sets: dict[tuple[str, int], _Counted] = {}
        self._generation: int | None = None
        self._lock = asyncio.Lock()

    async def run(self, stream: Any) -> None:
        """The agent's loop; it never raises."""
        async for batch in self._context.outbox.batches(stream):
            await self._context.sender.room()
            ticket = Ticket()
            async with self._lock:
                await self._take(batch, ticket)
            await self._context.outbox.put(batch, ticket)

    async def close_idle(self) -> None:
        """Hand on all panes of the partitions that have been silent for settings.worker.idle_close seconds.

        Called by the app's timer.
        """
        context = self._context
        if context.app.rebalancing or not context.app.flow_control.is_active():
            return
        async with self._lock:
            for dataset, assigned in self._assigned():
                found = self._windows(dataset, assigned.partition)
                silent = time.monotonic() - found.seen >= context.settings.worker.idle_close
                if silent and not found.idle and not self._behind(assigned):
                    ticket = Ticket()
                    self._hand_on(found, ticket, idle=True)
                    ticket.seal()

    def waiting(self) -> int:
        """How many panes of events that came hold something that the merge has not got yet.

        A partition that was assigned and is not loaded yet may have one.
        """
        loaded = self._sets if self._generation == self._context.app.consumer_generation_id else {}
        unknown = sum((dataset, each.partition) not in loaded for dataset, each in self._assigned())
        return unknown + sum(found.windows.open_panes() for found in loaded.values())

    def _assigned(self) -> list[tuple[str, Any]]:
        """The source partitions that are ours, with their datasets."""
        actives = sorted(self._context.app.assignor.assigned_actives())
        return [(self._sources[each.topic], each) for each in actives if each.topic in self._sources]

    async def _take(self, batch: Batch, ticket: Ticket) -> None:
        """Everything that a batch of one partition does, under its ticket."""
        context = self._context
        dataset = self._sources.get(batch.topic)
        found = self._windows(dataset, batch.partition) if dataset else None
        done = Taken()
        for place, record in enumerate(batch.records):
            try:
                decoded = decode(record.value)
                self._detect(ticket, decoded, record)
                if found is not None:
                    found.windows.absorb(decoded.event, decoded.time_ns, record.offset, done)
            except Exception as error:  # noqa: BLE001 - whatever an event does to a rule, the record is kept
                context.send_dead_letter(ticket, record, error)
            if place % CHUNK == CHUNK - 1:
                await asyncio.sleep(0)
        context.telemetry.count("events", batch.topic, len(batch.records))
        if found is not None:
            context.telemetry.count("late_events", "corrected", done.late)
            context.telemetry.count("late_events", "dropped", done.dropped)
            found.seen = time.monotonic()
            self._keep(found, ticket)

    def _detect(self, ticket: Ticket, decoded: Decoded, record: Any) -> None:
        for rule in self._context.rules.match(decoded.event, decoded.dataset):
            alert = alert_event(rule, decoded.event, taken_in_ns(record))
            self._context.send_event(ticket, alert, record.key)
            self._context.telemetry.count("alerts", rule.level)

    def _keep(self, found: "_Counted", ticket: Ticket) -> None:
        """Write the rows that changed; where the watermark moved, hand on what is over by it."""
        writes, moved = found.windows.flush()
        parts = self._context.parts
        parts.write(self._context.sender, ticket, found.partition, writes)
        ticket.then(lambda: parts.persisted(ticket))
        if moved or found.idle is not False:
            self._hand_on(found, ticket, idle=False)

    def _hand_on(self, found: "_Counted", ticket: Ticket, *, idle: bool) -> None:
        """Send parts, then the mark, to the merge.

        Rows that say so, and the end of rows that are not needed any more, wait until Kafka has the parts.
        """
        context = self._context
        due = found.windows.due(everything=idle)
        for part in due:
            statistic = context.statistics[part.statistic]
            key = merge_partition(statistic, part.start_ns).encode()
            context.telemetry.count("groups_cut", part.statistic, part.cut)
            self._send(
                ticket, key, part_message(part, found.partition), [zlib.crc32(key) % context.partitions]
            )
        mark = mark_message(found.dataset, found.partition, found.windows.watermark.value, idle=idle)
        self._send(
            ticket, f"{found.dataset}|{found.partition}".encode(), mark, list(range(context.partitions))
        )
        found.idle = idle
        writes = found.windows.hand_on(due) + found.windows.forget()
        generation = self._generation

        def delivered() -> None:
            if writes and ticket.error is None and generation == context.app.consumer_generation_id:
                told = Ticket()
                context.parts.write(context.sender, told, found.partition, writes)
                told.then(lambda: context.parts.persisted(told))
                told.seal()

        ticket.then(delivered)

    def _send(self, ticket: Ticket, key: bytes, value: bytes, targets: list[int]) -> None:
        for target in targets:
            self._context.sender.send(ticket, self._context.merge_topic, key, value, partition=target)

    def _behind(self, assigned: Any) -> bool:
        """Whether Kafka has messages of the partition that have not been taken yet."""
        consumer = self._context.app.consumer
        end, taken = consumer.highwater(assigned), consumer.next_offset(assigned)
        return end is None or taken is None or end > taken

    def _windows(self, dataset: str, partition: int) -> "_Counted":
        """A source partition's panes, from the table after a new assignment."""
        context = self._context
        if context.app.consumer_generation_id != self._generation:
            self._generation = context.app.consumer_generation_id
            self._sets.clear()
        known = self._sets.get((dataset, partition))
        if known is None:
            windows = PartitionWindows(
                dataset, partition, self._by_dataset[dataset], context.settings.worker.lateness
            )
            context.telemetry.count("rows_loaded", "parts", windows.load(context.parts.rows(partition)))
            known = self._sets[dataset, partition] = _Counted(dataset, partition, windows)
        return known


class _Counted:
    """A source partition at work: when it was last heard (monotonic seconds).

    `idle` is what the merge was told last, None before it was told anything.
    """

    def __init__(self, dataset: str, partition: int, windows: PartitionWindows) -> None:
        self.dataset = dataset
        self.partition = partition
        self.windows = windows
        self.seen = time.monotonic()
        self.idle: bool | None = None
