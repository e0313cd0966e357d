"""Acknowledge what came in only after Kafka has acknowledged what came of it.

Streams run with `noack`; an event and the futures of what was sent for it go into the outbox, in the order
of arrival, and the message is confirmed when they are done. Faust commits confirmed offsets later.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Sequence
from typing import Any

from runtime.errors import BrokerError

logger = logging.getLogger(__name__)

HIGH = 2_000
LOW = 1_000


class Outbox:
    """Messages in flight; the worker stops where Kafka refuses one for good, and takes it again when restarted."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._waiting: deque[tuple[Any, Sequence[Any]]] = deque()
        self._room = asyncio.Event()
        self._room.set()

    async def put(self, event: Any, sent: Sequence[Any]) -> None:
        """Hand over an event with the futures of what was sent for it; waits while too many are in flight."""
        self._waiting.append((event, sent))
        if sent:
            sent[-1].add_done_callback(self._advance)
        if len(self._waiting) >= HIGH:
            self._room.clear()
        self._advance(None)
        await self._room.wait()

    async def events(self, stream: Any) -> AsyncIterator[Any]:
        """The events of an agent's stream; stops the worker rather than go on behind a gap."""
        async for event in stream.noack().events():
            if not self._app.consumer.follows(event.message):
                message = event.message
                place = f"{message.topic} {message.partition}: offsets before {message.offset} did not come"
                await refused(self._app, BrokerError(place, "a restarted worker reads them again"))
                return
            yield event

    def _advance(self, _future: Any) -> None:
        """Confirm from the oldest on: Faust's commits could pass one that is still in flight."""
        while self._waiting:
            event, sent = self._waiting[0]
            pending = next((future for future in sent if not future.done()), None)
            if pending is not None:
                if pending is not sent[-1]:
                    pending.add_done_callback(self._advance)
                return
            failed = next((error for future in sent if (error := _failure(future))), None)
            if failed is not None:
                self._crash(failed)
                return
            self._waiting.popleft()
            self._app.consumer.confirm(event.message)
            if len(self._waiting) <= LOW:
                self._room.set()

    def _crash(self, error: BaseException) -> None:
        self._waiting.clear()
        self._app.add_future(refused(self._app, error))


def _failure(future: Any) -> BaseException | None:
    if future.cancelled():
        return asyncio.CancelledError()
    error: BaseException | None = future.exception()
    return error


async def refused(app: Any, error: BaseException) -> None:
    """Stop the worker: nothing is lost, what was not confirmed comes again after a restart."""
    logger.critical("%s; the worker stops and takes up from the committed offsets when restarted", error)
    await app.crash(error)


async def delivered(app: Any, future: Any) -> None:
    """Wait until Kafka has a message."""
    try:
        await future
    except Exception as error:
        await refused(app, error)
        raise
