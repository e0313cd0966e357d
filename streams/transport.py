"""The Kafka side of Faust: a partition's fetch comes as one event, and offsets move only by our word.

Faust 0.15.3 hands an agent one message at a time, at about 100 us each. Here a `Batch` of records is one event of the
stream: rebalancing, flow control, commits, tables, changelogs and recovery stay Faust's.

The transport's name is `netflight`, as the entry point `faust.transports` tells Faust where this package is installed.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from typing import Any

import faust
from faust.transport.drivers import TRANSPORTS
from faust.transport.drivers import aiokafka as driver
from faust.types import Message
from faust.types.tuples import TP, ConsumerMessage

NAME = "netflight"
# From a clone nothing is installed that could tell Faust of the entry point.
TRANSPORTS.aliases.setdefault(NAME, f"{__name__}:Transport")

EMPTY_SECONDS = 10.0
CHANGELOG = "-changelog"


class Batch(ConsumerMessage):  # type: ignore[misc]
    """The records of one partition that were fetched together, as one message of Faust's: its offset is the last one's.

    A record has `offset`, `key`, `value`, `timestamp` (milliseconds, when Kafka took it in) and `headers`.
    """

    records: list[Any]

    @classmethod
    def of(cls, tp: TP, records: list[Any], generation: int) -> "Batch":
        """The message for at least one record."""
        last = records[-1]
        seconds = None if last.timestamp is None else last.timestamp / 1000.0
        batch: Batch = cls(
            tp.topic,
            tp.partition,
            last.offset,
            seconds,
            last.timestamp_type,
            None,
            None,
            None,
            None,
            tp=tp,
            generation_id=generation,
        )
        batch.records = records
        return batch

    @property
    def first_offset(self) -> int:
        """The first record's offset."""
        return int(self.records[0].offset)


class BatchConsumer(driver.Consumer):  # type: ignore[misc]
    """A consumer that hands on every record, in order, and whose offsets move only for confirmed batches.

    Faust 0.15.3 loses messages around a rebalance in three ways. It acknowledges by itself what its streams skip
    (fetched before the rebalance, or while tables recover). And after recovery it fetches events before it has sought
    the committed offset and emptied the queues, which drops what was fetched; then it goes on behind the gap. The seek
    moves no partition of which nothing, or offset 0, was committed: what was fetched of it and dropped is gone, too.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._held_back: set[Any] = set()
        self._sought = False
        self._taken: dict[Any, tuple[int | None, int]] = {}
        self._confirmed: dict[TP, int] = {}

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Message]]:  # noqa: ASYNC109 - Faust asks so
        """Fetch; one batch for each partition, of events and of changelogs."""
        fetched, active = await self._wait_next_records(timeout)
        generation = self.app.consumer_generation_id
        if fetched is None or self.should_stop:
            return
        if not self.flow_active:
            await self._seek_again()
            return
        for tp, records in fetched.items():
            if not records or not (active is None or tp in active or tp in self._buffered_partitions):
                continue
            self.app.monitor.track_tp_end_offset(tp, self.highwater(tp))
            if not self.flow_active or self.app.consumer_generation_id != generation:
                return
            yield tp, Batch.of(tp, records, generation)

    async def _seek_again(self) -> None:
        """What was fetched while the flow stood still is dropped: it has to come again."""
        try:
            await self.perform_seek()
        except Exception as error:  # noqa: BLE001 - as Faust does; a rebalance at work seeks for itself
            self.log.warning("seeking the committed offsets: %s", error)

    def follows(self, batch: Batch) -> bool:
        """Whether nothing was left out between this batch and the one before it in its partition.

        A record that comes again is fine. Our topics have no gaps: they are neither compacted nor transactional.
        """
        generation, last = self._taken.get(batch.tp, (None, -1))
        same = generation == batch.generation_id
        if same and batch.first_offset > last + 1:
            return False
        reached = max(last, batch.offset) if same else batch.offset
        self._taken[batch.tp] = (batch.generation_id, reached)
        return True

    def resume_partitions(self, tps: Iterable[Any]) -> None:
        """Called for changelogs while tables recover, then for events: these wait for `resume_flow`."""
        changelogs = {tp for tp in tps if tp.topic.endswith(CHANGELOG)}
        self._held_back |= set(tps) - changelogs
        super().resume_partitions(changelogs)

    async def perform_seek(self) -> None:
        """Seek the committed offsets; where there is none, or what it points at was deleted, the first one there is."""
        await super().perform_seek()
        await self._seek_beginnings()
        self._sought = True

    async def _seek_beginnings(self) -> None:
        generation = self.app.consumer_generation_id
        events = [tp for tp in self.assignment() if not tp.topic.endswith(CHANGELOG)]
        earliest = await self.earliest_offsets(*events)
        begin: dict[TP, int] = {}
        for tp in events:
            committed = self._read_offset[tp]
            begin[tp] = start = earliest[tp] if committed is None else max(committed, earliest[tp])
            if committed is not None and start > committed:
                lost = start - committed
                self.log.error("%s %d: Kafka deleted %d records before they were read", *tp, lost)
            known, last = self._taken.get(tp, (None, -1))
            self._taken[tp] = (generation, max(last, start - 1) if known == generation else start - 1)
        await self.seek_wait(begin)

    def next_offset(self, tp: TP) -> int | None:
        """The offset that is taken next; None before the first seek."""
        generation, last = self._taken.get(tp, (None, -1))
        return last + 1 if generation == self.app.consumer_generation_id else None

    async def _getmany(self, active_partitions: Any, timeout: float) -> Any:  # noqa: ASYNC109 - Faust asks so
        # a copy: the fetcher's thread takes a set that Faust has emptied meanwhile for all partitions
        return await super()._getmany(active_partitions and set(active_partitions), timeout)

    def resume_flow(self) -> None:
        """Called when queues are empty; after the seek it is time for events."""
        super().resume_flow()
        if self._sought:
            super().resume_partitions(self._held_back)
            self._held_back = set()
            self._sought = False

    def ack(self, message: Message) -> bool:
        """What Faust calls: forget the message, without moving an offset; it is fetched again."""
        message.acked = True
        self._unacked_messages.discard(message)
        return False

    def confirm(self, batch: Batch) -> None:
        """All records of the batch were worked on and what came of them is in Kafka: its range may be committed.

        Batches of a partition are confirmed in their order.
        """
        self.ack(batch)
        if batch.generation_id == self.app.consumer_generation_id:
            self._confirmed[batch.tp] = batch.offset + 1
        if self._waiting_for_ack is not None and not self._waiting_for_ack.done():
            self._waiting_for_ack.set_result(None)

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Commit what is confirmed, then forget it."""
        await super().on_partitions_revoked(revoked)
        for tp in revoked:
            self._confirmed.pop(tp, None)

    async def wait_empty(self) -> None:
        """Wait for what is at work, but not for ever; what is not confirmed by then comes again."""
        try:
            await asyncio.wait_for(super().wait_empty(), EMPTY_SECONDS)
        except TimeoutError:
            self._unacked_messages.clear()
            await self.commit_and_end_transactions()

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[TP]:
        return (tp for tp in list(self._confirmed) if topics is None or tp in topics or tp.topic in topics)

    def _new_offset(self, tp: TP) -> int | None:
        # the range of the batches that were confirmed, not Faust's list of single offsets
        return self._confirmed.get(tp)

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Faust takes the records of a batch for a gap, and would acknowledge them before they were worked on."""


class Transport(driver.Transport):  # type: ignore[misc]
    """Faust's aiokafka transport with our consumer."""

    Consumer = BatchConsumer


class BatchSchema(faust.Schema):  # type: ignore[misc]
    """Hands messages on as they are: a decode error inside Faust would be acknowledged, so we decode ourselves."""

    def compile(self, app: Any, **_options: Any) -> Callable[..., Awaitable[Any]]:
        """What Faust calls for each message of a topic."""

        async def decode(message: Message, *, propagate: bool = False) -> Any:  # noqa: ARG001 - Faust's signature
            return app.create_event(None, message, message.headers, message)

        return decode


def brokers(addresses: str) -> list[str]:
    """Addresses as URLs that name this transport."""
    return [f"{NAME}://{address.strip()}" for address in addresses.split(",")]
