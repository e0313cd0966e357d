"""The agent that merges the source partitions' windows and publishes the results."""

from typing import Any

import orjson

from streams.agents.context import Context
from streams.agents.events import message_time_ns
from streams.agents.outbox import delivered
from streams.agents.tables import write
from streams.core.merge import Merger
from streams.core.statistics import Result, result_events


class MergeAgent:
    """Reads the merge's log, keeps its state in the table `merged`, sends results to the topic of statistics."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._mergers: dict[int, Merger] = {}
        self._generation: int | None = None

    async def run(self, stream: Any) -> None:
        """The agent's loop; it never raises."""
        async for event in self._context.outbox.events(stream):
            await self._context.outbox.put(event, await self._take(event.message))

    async def _take(self, message: Any) -> list[Any]:
        context = self._context
        try:
            step = self._merger(message.partition).step(orjson.loads(message.value), message.offset)
        except (ValueError, KeyError, TypeError) as error:
            return [context.send_dead_letter(message, error)]
        context.telemetry.count("late_events", "parts_dropped", step.dropped)
        for result in step.results:
            for future in self._publish(result, message):
                await delivered(context.app, future)
        write(context.merged, step.writes)
        return context.merged.collect()

    def _publish(self, result: Result, message: Any) -> list[Any]:
        context = self._context
        statistic = context.statistics[result.statistic]
        events = result_events(
            statistic,
            result,
            namespace=context.settings.namespace,
            observer=context.settings.sensor,
            created_ns=message_time_ns(message),
        )
        context.telemetry.count("windows", "closed" if result.revision == 0 else "corrected")
        return [
            context.send_event(event, "|".join(str(part) for part in group).encode())
            for event, (group, _) in zip(events, result.groups, strict=True)
        ]

    def _merger(self, partition: int) -> Merger:
        context = self._context
        if context.app.consumer_generation_id != self._generation:
            self._generation = context.app.consumer_generation_id
            self._mergers.clear()
        if partition not in self._mergers:
            merger = Merger(partition, context.statistics, context.partitions)
            merger.load(context.merged.items())
            self._mergers[partition] = merger
        return self._mergers[partition]
