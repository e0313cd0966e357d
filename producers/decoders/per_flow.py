"""What a decoder remembers of a flow between its packets, for a bounded number of flows."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from producers.decoders.unit import Place

S = TypeVar("S")

MAX_FLOWS = 16_384


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
