"""Faust's Kafka side on a real broker: what was fetched and dropped before the seek comes again."""

import asyncio
from pathlib import Path
from typing import Any

import faust
import pytest
from faust.transport.drivers import TRANSPORTS

from runtime.kafka import ensure_topics, producer
from runtime.settings import KafkaSettings
from streams.transport import NAME, Batch, BatchSchema, Transport, brokers

RECORDS = 2_000
PARTITIONS = 2


def published(kafka: KafkaSettings, name: str) -> None:
    ensure_topics(kafka.model_copy(update={"partitions": PARTITIONS}), {name: {}})
    client = producer(kafka, "test")
    for number in range(RECORDS):
        client.produce(name, b"%d" % number, partition=number % PARTITIONS)
    assert client.flush(30) == 0


async def taken(kafka: KafkaSettings, name: str, folder: Path, begin: int | None) -> dict[int, list[int]]:
    """The offsets that an agent gets, by partition, where records are fetched and dropped before Faust seeks.

    `begin` is committed before, None: nothing is.
    """
    app = faust.App(
        name,
        broker=brokers(kafka.bootstrap),
        store="memory://",
        datadir=str(folder),
        topic_allow_declare=False,
        topic_disable_leader=True,
        consumer_auto_offset_reset="earliest",
        web_enabled=False,
        autodiscover=False,
    )
    found: dict[int, list[int]] = {number: [] for number in range(PARTITIONS)}
    dropped: list[Any] = []
    whole = asyncio.Event()

    async def take(stream: Any) -> None:
        async for event in stream.noack().events():
            batch: Batch = event.message
            assert app.consumer.follows(batch)
            found[batch.partition] += [record.offset for record in batch.records]
            app.consumer.confirm(batch)
            if sum(map(len, found.values())) >= RECORDS - (begin or 0) * PARTITIONS:
                whole.set()

    app.agent(app.topic(name, schema=BatchSchema()), name="take")(take)

    @app.on_rebalance_complete.connect  # type: ignore[untyped-decorator]
    async def _complete(*_args: Any, **_named: Any) -> None:
        thread = app.consumer._thread  # noqa: SLF001 - where Faust fetches
        client = thread._consumer  # noqa: SLF001
        if begin is not None:
            await thread.commit(dict.fromkeys(app.consumer.assignment(), begin))
        dropped.append(await thread.call_thread(client.getmany, timeout_ms=10_000))

    await app.start()
    try:
        await asyncio.wait_for(whole.wait(), 60)
    finally:
        await app.stop()
    assert any(dropped)
    return found


@pytest.mark.parametrize("begin", [None, 0, 300])
def test_what_was_fetched_and_dropped_before_the_seek_comes_again(
    kafka: KafkaSettings, namespace: str, tmp_path: Path, begin: int | None
) -> None:
    published(kafka, namespace)
    found = asyncio.run(taken(kafka, namespace, tmp_path, begin))
    whole = list(range(begin or 0, RECORDS // PARTITIONS))
    assert [found[number] for number in range(PARTITIONS)] == [whole] * PARTITIONS


def test_faust_finds_the_transport_by_its_name() -> None:
    assert TRANSPORTS.by_name(NAME) is Transport
