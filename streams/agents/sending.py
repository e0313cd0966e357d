"""How the worker sends: one producer of librdkafka's for results, the merge's log and changelogs.

Faust's producer takes each message through a buffer, an event loop of another thread and a future of its own; a
window's rows are as many messages. Here messages that belong together share a `Ticket`, done when Kafka has all.
"""

import asyncio
import logging
from collections.abc import Callable

from confluent_kafka import KafkaError, Message

from runtime.kafka import producer
from runtime.settings import KafkaSettings
from schemas.topics import Headers

log = logging.getLogger(__name__)

POLL_SECONDS = 0.004
ROOM = 100_000
"""Messages in the producer's queue, at most, when a batch is begun."""
CLOSE_SECONDS = 10.0


class SendError(RuntimeError):
    """Kafka refused a message for good."""


class Ticket:
    """Messages on their way that belong together: done when it is sealed and Kafka has every one, or refused one."""

    def __init__(self) -> None:
        self.error: SendError | None = None
        self.offsets: dict[tuple[str, int], int] = {}
        self._pending = 0
        self._sealed = False
        self._then: list[Callable[[], None]] = []

    @property
    def done(self) -> bool:
        """Whether nothing of it is on its way any more."""
        return self._sealed and not self._pending

    def seal(self) -> None:
        """Nothing more belongs to it."""
        self._sealed = True
        self._finish()

    def then(self, call: Callable[[], None]) -> None:
        """Call when it is done, at once if it is."""
        if self.done:
            call()
        else:
            self._then.append(call)

    async def wait(self) -> None:
        """Wait until it is done; raises SendError."""
        if not self.done:
            reached = asyncio.Event()
            self.then(reached.set)
            await reached.wait()
        if self.error is not None:
            raise self.error

    def added(self) -> None:
        """One more message is on its way."""
        self._pending += 1

    def delivered(self, error: KafkaError | None, message: Message) -> None:
        """The producer's report of a message."""
        self._pending -= 1
        if error is not None:
            self.error = self.error or SendError(f"{message.topic()}: {error.str()}")
        self._finish()

    def row_delivered(self, error: KafkaError | None, message: Message) -> None:
        """The report of a row, whose place in the changelog is remembered; offsets of a partition only grow."""
        if error is None:
            self.offsets[message.topic(), message.partition()] = message.offset()
        self.delivered(error, message)

    def _finish(self) -> None:
        if self.done:
            calls, self._then = self._then, []
            for call in calls:
                call()


class Sender:
    """The producer; its reports are heard on the event loop, so that nothing here needs a lock."""

    def __init__(self, settings: KafkaSettings) -> None:
        # what a broker that is away has not taken waits as long as it takes
        patient = settings.model_copy(update={"options": {"message.timeout.ms": "0", **settings.options}})
        self._producer = producer(patient, "netflight-worker", self._heard)

    def send(  # noqa: PLR0913  # a message's parts
        self,
        ticket: Ticket,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        *,
        headers: Headers | None = None,
        partition: int = -1,
        row: bool = False,
    ) -> None:
        """Send a message under a ticket; `row`: its offset is kept on the ticket. Partition -1 goes by the key."""
        report = ticket.row_delivered if row else ticket.delivered
        while True:
            try:
                self._producer.produce(
                    topic, value, key, partition, on_delivery=report, headers=headers or []
                )
            except BufferError:
                self._producer.poll(0.1)
            else:
                ticket.added()
                return

    async def room(self) -> None:
        """Wait while too much is on its way: Kafka is slower than we are, or away."""
        while len(self._producer) > ROOM:  # noqa: ASYNC110 - librdkafka sets no event
            await asyncio.sleep(POLL_SECONDS)  # `run` empties the queue meanwhile

    async def run(self) -> None:
        """Hear the reports, until cancelled."""
        while True:
            self._producer.poll(0)
            await asyncio.sleep(POLL_SECONDS)

    def close(self) -> None:
        """Send what is on its way, for a while; what is left comes again after a restart, its offsets stay."""
        self._producer.flush(CLOSE_SECONDS)
        self._producer.purge()

    def _heard(self, error: KafkaError) -> None:
        log.warning("Kafka: %s", error.str())
