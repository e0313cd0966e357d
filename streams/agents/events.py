"""The agent over all event topics: rules, and the counting of each partition's windows."""

import asyncio
import time
import zlib
from typing import Any

from schemas.topics import topic
from streams.agents.context import Context
from streams.agents.outbox import delivered
from streams.agents.tables import write
from streams.core.alerts import alert_event
from streams.core.envelope import Decoded, decode
from streams.core.merge import mark_message, part_message
from streams.core.statistics import Counted, Statistic
from streams.core.windows import Part, PartitionWindows

MILLISECOND = 1_000_000


def message_time_ns(message: Any) -> int:
    """When Kafka took a message in, in nanoseconds: what is made from it says so, today and when taken again."""
    return round((message.timestamp or 0) * 1000) * MILLISECOND


class EventsAgent:
    """Reads events, sends alerts, keeps the source partitions' windows in the table `parts`.

    An exception in a Faust agent would acknowledge the message: here it becomes a dead letter.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._by_dataset: dict[str, list[Statistic]] = {}
        for statistic in context.statistics.values():
            self._by_dataset.setdefault(statistic.dataset.name, []).append(statistic)
        self._names = {stats[0].dataset.dataset: name for name, stats in self._by_dataset.items()}
        self._sources = {
            topic(context.settings.namespace, stats[0].dataset.topic): name
            for name, stats in self._by_dataset.items()
        }
        self._sets: dict[tuple[str, int], _Counted] = {}
        self._generation: int | None = None
        self._lock = asyncio.Lock()

    async def run(self, stream: Any) -> None:
        """The agent's loop; it never raises."""
        async for event in self._context.outbox.events(stream):
            await self._context.outbox.put(event, await self._take(event.message))

    async def _take(self, message: Any) -> list[Any]:
        context = self._context
        try:
            decoded = decode(message.value)
            context.telemetry.count("events", decoded.dataset)
            sent = self._detect(decoded, message)
            counted = self._count_event(decoded)
        except Exception as error:  # noqa: BLE001 - whatever an event does to a rule, the message is kept
            return [context.send_dead_letter(message, error)]
        if counted:
            sent += await self._count(decoded, message, counted)
        return sent

    def _detect(self, decoded: Decoded, message: Any) -> list[Any]:
        sent = []
        for rule in self._context.rules.match(decoded.event, decoded.dataset):
            alert = alert_event(rule, decoded.event, message_time_ns(message))
            sent.append(self._context.send_event(alert, message.key))
            self._context.telemetry.count("alerts", rule.level)
        return sent

    def _count_event(self, decoded: Decoded) -> dict[str, Counted]:
        name = self._names.get(decoded.dataset)
        if name is None:
            return {}
        return {stat.name: stat.count(decoded.event) for stat in self._by_dataset[name]}

    async def _count(self, decoded: Decoded, message: Any, counted: dict[str, Counted]) -> list[Any]:
        context = self._context
        async with self._lock:
            found = self._windows(self._names[decoded.dataset], message.partition)
            found.seen = time.monotonic()
            found.last = message.offset
            done = found.windows.absorb(decoded.time_ns, message.offset, counted)
            write(context.parts, done.writes)
            context.telemetry.count("late_events", "corrected", done.late)
            context.telemetry.count("late_events", "dropped", done.dropped)
            if done.moved or found.idle is not False:
                parts = found.windows.due()
                await self._hand_on(found, parts, message.partition, idle=False)
                write(context.parts, found.windows.hand_on(found.handed + parts))
                found.handed = []
                write(context.parts, found.windows.forget())
            return context.parts.collect()

    async def close_idle(self) -> None:
        """Hand on all windows of the partitions that have been silent for settings.worker.idle_close seconds.

        Called by the app's timer; nothing is written to the table here, which takes writes only with an event.
        """
        context = self._context
        if context.app.rebalancing or not context.app.flow_control.is_active():
            return
        async with self._lock:
            for assigned in sorted(context.app.assignor.assigned_actives()):
                dataset = self._sources.get(assigned.topic)
                if dataset is None:
                    continue
                found = self._windows(dataset, assigned.partition)
                silent = time.monotonic() - found.seen >= context.settings.worker.idle_close
                if silent and not found.idle and not self._behind(assigned, found):
                    parts = found.windows.due(everything=True)
                    await self._hand_on(found, parts, assigned.partition, idle=True)
                    found.windows.hand_on(parts)
                    found.handed += parts

    def _behind(self, assigned: Any, found: "_Counted") -> bool:
        """Whether Kafka has messages of the partition that have not been taken yet."""
        end = self._context.app.consumer.highwater(assigned)
        return end is not None and found.last is not None and end > found.last + 1

    async def _hand_on(self, found: "_Counted", parts: list[Part], partition: int, *, idle: bool) -> None:
        """Send parts, then the mark, to the merge, and wait until Kafka has them."""
        context = self._context
        for part in parts:
            key = f"{part.statistic}|{part.start_ns}".encode()
            target = zlib.crc32(key) % context.partitions
            context.telemetry.count("groups_cut", part.statistic, part.cut)
            await self._send(key, part_message(part, partition), [target])
        mark = mark_message(found.dataset, partition, found.windows.watermark.value, idle=idle)
        await self._send(f"{found.dataset}|{partition}".encode(), mark, list(range(context.partitions)))
        found.idle = idle

    async def _send(self, key: bytes, value: bytes, targets: list[int]) -> None:
        sent = [
            self._context.merge_topic.send_soon(key=key, value=value, partition=target) for target in targets
        ]
        for future in sent:
            await delivered(self._context.app, future)

    def _windows(self, dataset: str, partition: int) -> "_Counted":
        """A source partition's windows, from the table after a new assignment."""
        context = self._context
        if context.app.consumer_generation_id != self._generation:
            self._generation = context.app.consumer_generation_id
            self._sets.clear()
        if (dataset, partition) not in self._sets:
            windows = PartitionWindows(
                dataset, partition, self._by_dataset[dataset], context.settings.worker.lateness
            )
            windows.load(context.parts.items())
            self._sets[dataset, partition] = _Counted(dataset, windows)
        return self._sets[dataset, partition]


class _Counted:
    """A source partition at work: when it was last heard (monotonic seconds), its last offset.

    `idle` is what the merge was told last, None before it was told anything.
    `handed` are parts that were handed on by the timer and whose rows are still to be written.
    """

    def __init__(self, dataset: str, windows: PartitionWindows) -> None:
        self.dataset = dataset
        self.windows = windows
        self.seen = time.monotonic()
        self.last: int | None = None
        self.idle: bool | None = None
        self.handed: list[Part] = []
