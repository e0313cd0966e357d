"""Acknowledge what came in only after Kafka has acknowledged what came of it.

Streams run with `noack`; a batch and the ticket of what was sent for it go into the outbox, in the order of arrival,
and the batch is confirmed when it is done. Faust commits confirmed offsets later.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

from runtime.errors import BrokerError
from streams.agents.sending import Ticket
from streams.transport import Batch

logger = logging.getLogger(__name__)

HIGH = 16


class Outbox:
    """Batches in flight; the worker stops where Kafka refuses a message for good, and takes it again when restarted."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._waiting: deque[tuple[Batch, Ticket]] = deque()
        self._room = asyncio.Event()
        self._room.set()

    @property
    def waiting(self) -> int:
        """How many batches are in flight."""
        return len(self._waiting)

    async def put(self, batch: Batch, ticket: Ticket) -> None:
        """Hand over a batch with the ticket of what was sent for it; waits while too many are in flight."""
        self._waiting.append((batch, ticket))
        ticket.seal()
        if len(self._waiting) >= HIGH:
            self._room.clear()
        ticket.then(self._advance)
        await self._room.wait()

    async def batches(self, stream: Any) -> AsyncIterator[Batch]:
        """The batches of an agent's stream; stops the worker rather than go on behind a gap."""
        async for event in stream.noack().events():
            batch: Batch = event.message
            if batch.generation_id != self._app.consumer_generation_id:
                self._app.consumer.ack(
                    batch
                )  # fetched before partitions were handed out anew: it comes again
                continue
            if not self._app.consumer.follows(batch):
                place = f"{batch.topic} {batch.partition}: offsets before {batch.first_offset} did not come"
                await refused(self._app, BrokerError(place, "a restarted worker reads them again"))
                return
            yield batch

    def _advance(self) -> None:
        """Confirm from the oldest on: Faust's commits could pass one that is still in flight."""
        while self._waiting and self._waiting[0][1].done:
            batch, ticket = self._waiting.popleft()
            if ticket.error is not None:
                self._waiting.clear()
                self._app.add_future(refused(self._app, ticket.error))
                return
            self._app.consumer.confirm(batch)
        if len(self._waiting) < HIGH:
            self._room.set()


async def refused(app: Any, error: BaseException) -> None:
    """Stop the worker: nothing is lost, what was not confirmed comes again after a restart."""
    logger.critical("%s; the worker stops and takes up from the committed offsets when restarted", error)
    await app.crash(error)
