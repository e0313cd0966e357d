"""The contract every destination keeps, and the words it is written in.

1. Acknowledgement. `deliver` returns one verdict per message, in the order of the messages, after the
   destination has them for good (on disk, or answered with its success code). Offsets move only after that.
2. Idempotence. The same message delivered twice makes one record wherever the destination can tell by
   `event.id`; the second is DUPLICATE, not an error.
3. What is retried. A destination that is away, overloaded or misconfigured (connection refused, time-out,
   429, 401, 403, 5xx) raises RetryLater for the whole batch, or gives RETRY to the messages it concerns. It
   sleeps and retries nothing itself: the runner does, with back-off, for as long as it takes.
4. What is a dead letter. Only a message that can never be accepted is REJECTED, with a short reason (the
   label of its counter) and the destination's own words. One message never takes its neighbours with it.
5. Names from the wire (datasets, namespaces, ids) are checked before they name anything in the destination.
6. Health. `check` returns when the destination is ready for `deliver`, raises RetryLater while it is not yet,
   and DestinationError when somebody has to do something first. It may prepare (templates, streams).
7. Counting is the runner's: messages read = delivered + duplicates + dead letters.

tests/integration/test_sink_contract.py holds every destination of the registry to this page.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, Protocol

from runtime.settings import Settings


class Message(NamedTuple):
    """One record as it lies in Kafka; `value` is None for a tombstone."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()

    @property
    def place(self) -> tuple[str, int, int]:
        """Topic, partition, offset."""
        return self.topic, self.partition, self.offset


class Verdict(Enum):
    """What became of a message."""

    DELIVERED = "delivered"
    DUPLICATE = "duplicate"
    REJECTED = "rejected"
    RETRY = "retry"


@dataclass(frozen=True, slots=True)
class Result:
    """A verdict; a rejection or retry says why: `reason` in one word or two, `error` in full."""

    verdict: Verdict
    reason: str = ""
    error: str = ""


DELIVERED = Result(Verdict.DELIVERED)
DUPLICATE = Result(Verdict.DUPLICATE)

Outcome = Sequence[Result]


def rejected(reason: str, error: str) -> Result:
    """The message can never be accepted."""
    return Result(Verdict.REJECTED, reason, error)


def retry(reason: str, error: str) -> Result:
    """The message may be accepted later."""
    return Result(Verdict.RETRY, reason, error)


class RetryLater(Exception):  # noqa: N818 - it is a request to wait, not an error
    """Nothing of the batch is decided; try it again, in no less than `seconds`."""

    def __init__(self, reason: str, error: str, seconds: float = 0.0) -> None:
        super().__init__(error)
        self.reason = reason
        self.seconds = seconds


class RejectedError(Exception):
    """A message that can never be accepted, as the error a dead letter names."""


class Limits(NamedTuple):
    """The largest batch a destination wants: messages, bytes of their values, seconds to wait for them."""

    messages: int = 10_000
    bytes: int = 5_000_000
    seconds: float = 1.0


class Destination(Protocol):
    """Where messages go. One thread calls it; see the contract above."""

    limits: Limits

    def check(self) -> None:
        """Return when ready; raise RetryLater or DestinationError."""
        ...

    def deliver(self, batch: Sequence[Message]) -> Outcome:
        """Deliver, and return one result per message in their order; raise RetryLater for all of them."""
        ...

    def close(self) -> None:
        """Let go of connections; may be called twice."""
        ...


Factory = Callable[[Settings], Destination]
