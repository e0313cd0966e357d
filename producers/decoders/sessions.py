"""What a decoder keeps of each flow from one packet to the next, bounded."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from producers.decoders.unit import Place

S = TypeVar("S")

MAX_SESSIONS = 16_384
"""Flows of which something is kept; the one heard of longest ago is forgotten first."""


@dataclass(slots=True)
class _Kept(Generic[S]):
    session: S
    path: str
    frame: int


class Sessions(Generic[S]):
    """One `make()` for each flow, for as long as it is among the `limit` heard of last.

    A decoder lives through many captures, whose flows may have the same uid: a session of another capture, or of a
    later frame, is another flow's.
    """

    def __init__(self, make: Callable[[], S], limit: int = MAX_SESSIONS) -> None:
        self._make, self._limit = make, limit
        self._kept: OrderedDict[tuple[int, str], _Kept[S]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def of(self, place: Place) -> S:
        """The session of a packet's flow; a new one that nobody keeps where it has none."""
        flow = place.flow
        if flow is None:
            return self._make()
        key = flow.uid, flow.community_id
        kept = self._kept.get(key)
        if kept is None or kept.path != place.path or place.frame < kept.frame:
            kept = self._kept[key] = _Kept(self._make(), place.path, place.frame)
            if len(self._kept) > self._limit:
                self._kept.popitem(last=False)
        kept.frame = place.frame
        self._kept.move_to_end(key)
        return kept.session
