"""What a decoder remembers of a flow between its packets, for a bounded number of flows."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from producers.decoders.base import Decoder
from producers.decoders.unit import Place, Unit
from schemas.model import Dataset

S = TypeVar("S")
K = TypeVar("K")
V = TypeVar("V")

MAX_FLOWS = 16_384
MAX_WAITING = 1000
"""How many requests of a flow are remembered until they are answered."""

ALONE = "alone"
"""`extra` of a response that answers nobody: a greeting, a message to a subscriber."""
SHOWN = "shown"
"""`extra` of a response that is no event: it is there for the credentials that it shows."""


class PerFlow(Generic[S]):
    """One state per flow, made at first use; beyond MAX_FLOWS the flow that was silent for longest is forgotten."""

    def __init__(self, make: Callable[[], S]) -> None:
        self._make = make
        self._states: OrderedDict[int, S] = OrderedDict()

    def of(self, place: Place) -> S:
        """The state of a packet's flow; a new one that nobody keeps where it has none."""
        if place.flow is None:
            return self._make()
        uid = place.flow.uid
        state = self._states.get(uid)
        if state is None:
            state = self._states[uid] = self._make()
            if len(self._states) > MAX_FLOWS:
                self._states.popitem(last=False)
        else:
            self._states.move_to_end(uid)
        return state

    def clear(self) -> None:
        """Forget all flows: another capture begins, whose flows are numbered from the start again."""
        self._states.clear()


class SessionDecoder(Decoder, Generic[S]):
    """A decoder that remembers something of each flow, in a session that `make` makes."""

    def __init__(self, dataset: Dataset, make: Callable[[], S]) -> None:
        super().__init__(dataset)
        self.sessions = PerFlow(make)

    def begin(self) -> None:
        """Forget the sessions of another source."""
        self.sessions.clear()

    def match(self, request: Unit, response: Unit) -> bool:  # noqa: ARG002  # whatever the request
        """Whether the response answers anybody."""
        return bool(response.extra != ALONE)

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
