"""Decoders with a session per flow, and what they keep in it."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from producers.decoders.base import Decoder
from producers.decoders.unit import Unit
from schemas.model import Dataset

S = TypeVar("S")
K = TypeVar("K")
V = TypeVar("V")

MAX_WAITING = 1000
"""How many requests of a flow are remembered until they are answered."""

ALONE = "alone"
"""`extra` of a response that answers nobody: a greeting, a message to a subscriber."""
SHOWN = "shown"
"""`extra` of a response that is no event: it is there for the credentials that it shows."""


class SessionDecoder(Decoder, Generic[S]):
    """A decoder that remembers something of each flow, in a session that `make` makes."""

    def __init__(self, dataset: Dataset, make: Callable[[], S]) -> None:
        super().__init__(dataset)
        self.sessions = self.per_flow(make)

    def match(self, request: Unit, response: Unit) -> bool:  # noqa: ARG002  # whatever the request
        """Whether the response answers anybody."""
        return bool(response.extra != ALONE)

    def speaks_alone(self, response: Unit) -> bool:
        """Whether the response answers nobody by its nature."""
        return bool(response.extra == ALONE)

    def interim(self, response: Unit) -> bool:
        """Whether the response makes no event."""
        return bool(response.extra == SHOWN)


class Bounded(OrderedDict[K, V]):
    """A dictionary of at most `size` entries: the oldest makes room."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size = size

    def __setitem__(self, key: K, value: V) -> None:
        """Set an entry, which is then the newest."""
        super().__setitem__(key, value)
        self.move_to_end(key)
        if len(self) > self._size:
            self.popitem(last=False)
