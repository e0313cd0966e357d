"""Acknowledge what came in only after Kafka has acknowledged what came of it.

Streams run with `noack`; an event and the futures of what was sent for it go into the outbox, in the order
of arrival, and the message is confirmed when they are done. Faust commits confirmed offsets later.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from typing import Any

logger = logging.getLogger(__name__)

HIGH = 2_000
LOW = 1_000


class Outbox:
    """Events in flight. `crash` is called where Kafka refused a message for good: a restart takes it again."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._waiting: deque[tuple[Any, Sequence[Any]]] = deque()
        self._lock = asyncio.Lock()

    async def put(self, event: Any, sent: Sequence[Any]) -> None:
        """Hand over an event with the futures of what was sent for it; waits while too many are in flight."""
        self._waiting.append((event, sent))
        if len(self._waiting) >= HIGH:
            await self._settle(LOW)

    async def settle(self) -> None:
        """Wait until everything that is in flight now has been acknowledged."""
        await self._settle(0)

    async def _settle(self, leave: int) -> None:
        async with self._lock:
            count = len(self._waiting) - leave
            while count > 0 and self._waiting:
                event, sent = self._waiting[0]
                for future in sent:
                    await delivered(self._app, future)
                self._waiting.popleft()
                self._app.consumer.confirm(event.message)
                count -= 1


async def delivered(app: Any, future: Any) -> None:
    """Wait until Kafka has a message; a refusal for good stops the worker, which loses nothing."""
    try:
        await future
    except Exception as error:
        logger.critical(
            "Kafka refused a message: %s; the worker stops and takes it again when restarted", error
        )
        await app.crash(error)
        raise
