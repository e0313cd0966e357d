"""The agent that merges the source partitions' windows and publishes the results."""

from typing import Any

import orjson

from streams.agents.context import Context, MessageTooLargeError, taken_in_ns
from streams.agents.outbox import refused
from streams.agents.sending import SendError, Ticket
from streams.core.merge import Merger
from streams.core.results import Result, result_events
from streams.core.windows import Write
from streams.transport import Batch


class MergeAgent:
    """Reads the merge's log, keeps its state in the table `merged`, sends results to the topic of statistics."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._mergers: dict[int, Merger] = {}
        self._generation: int | None = None

    async def run(self, stream: Any) -> None:
        """The agent's loop; it never raises."""
        async for batch in self._context.outbox.batches(stream):
            await self._context.sender.room()
            try:
                ticket = await self._take(batch)
            except SendError as error:
                await refused(self._context.app, error)
                return
            await self._context.outbox.put(batch, ticket)

    async def load(self) -> None:
        """Load what was assigned, so that `waiting` knows of it before a message comes; called by the app's timer."""
        app = self._context.app
        if not app.rebalancing and app.flow_control.is_active():
            for partition in self._assigned():
                self._merger(partition)

    def waiting(self) -> int:
        """How many windows hold something and are not published yet; of a partition not loaded yet, one."""
        loaded = self._mergers if self._generation == self._context.app.consumer_generation_id else {}
        unknown = sum(partition not in loaded for partition in self._assigned())
        return unknown + sum(merger.waiting() for merger in loaded.values())

    def _assigned(self) -> list[int]:
        actives = self._context.app.assignor.assigned_actives()
        return [each.partition for each in actives if each.topic == self._context.merge_topic]

    async def _take(self, batch: Batch) -> Ticket:
        """Publish a batch's results; when Kafka has them, write the rows, under the ticket that is returned."""
        context = self._context
        merger = self._merger(batch.partition)
        results, writes = Ticket(), list[Write]()
        for record in batch.records:
            try:
                step = merger.step(orjson.loads(record.value), record.offset)
            except (ValueError, KeyError, TypeError) as error:
                context.send_dead_letter(results, record, error)
                continue
            context.telemetry.count("late_events", "parts_dropped", step.dropped)
            for result in step.results:
                self._publish(results, result, record)
            if len(step.writes) == 1 and writes and writes[-1][0] == step.writes[0][0]:
                writes.pop()  # a mark that did nothing: one cursor stands for both
            writes += step.writes
        results.seal()
        await results.wait()
        ticket = Ticket()
        context.merged.write(context.sender, ticket, batch.partition, writes)
        ticket.then(lambda: context.merged.persisted(ticket))
        return ticket

    def _publish(self, ticket: Ticket, result: Result, record: Any) -> None:
        context = self._context
        events = result_events(
            context.statistics[result.statistic],
            result,
            namespace=context.settings.namespace,
            observer=context.settings.sensor,
            created_ns=taken_in_ns(record),
        )
        context.telemetry.count("windows", "closed" if result.revision == 0 else "corrected")
        for group, event in events:
            try:
                context.send_event(ticket, event, "|".join(str(part) for part in group).encode())
            except MessageTooLargeError as error:
                context.send_dead_letter(ticket, record, error)

    def _merger(self, partition: int) -> Merger:
        context = self._context
        if context.app.consumer_generation_id != self._generation:
            self._generation = context.app.consumer_generation_id
            self._mergers.clear()
        merger = self._mergers.get(partition)
        if merger is None:
            merger = self._mergers[partition] = Merger(partition, context.statistics, context.partitions)
            context.telemetry.count("rows_loaded", "merged", merger.load(context.merged.rows(partition)))
        return merger
