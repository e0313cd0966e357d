"""Reading the ring: what it holds, and one flow's packets out of it. A recorder may be writing meanwhile."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from producers.recorder import index
from producers.recorder.index import Found, IndexDamagedError, IndexFile, Totals, flow_number
from producers.recorder.rebuilt import rebuilt
from producers.recorder.segment import (
    KEPT,
    SEGMENTS,
    Place,
    Words,
    copies,
    head_words,
    linktypes,
    loaded,
    mapped,
    pick,
    places,
)
from runtime.errors import UsageError

_NO_WORDS = np.empty(0, np.uint32)
BEGINNING, END = -(2**63), 2**63 - 1


class Holding(NamedTuple):
    """A segment and what it holds; `finished`: with an index, else it is being written, or a crash left it."""

    place: Place
    totals: Totals
    kept: bool
    finished: bool


@dataclass
class Carved:
    """What was found of a flow: packets, their captured bytes, first and last time, in how many segments.

    `damaged` counts packets that the index knows and the segment does not show whole; `first` is the first
    packet: its link type, bytes and length on the wire.
    """

    packets: int = 0
    captured_bytes: int = 0
    first_ns: int = END
    last_ns: int = BEGINNING
    segments: int = 0
    kept_segments: int = 0
    damaged: int = 0
    first: tuple[int, bytes, int] | None = field(default=None, repr=False)


class Ring:
    """The ring in a folder; raises UsageError if there is none."""

    def __init__(self, folder: Path) -> None:
        if not (folder / SEGMENTS).is_dir():
            raise UsageError(
                f"{folder}: no packet ring",
                "./netflight capture --record makes one; --ring or NETFLIGHT_RECORDER__FOLDER names it",
            )
        self.folder = folder

    def holdings(self) -> list[Holding]:
        """What each segment holds, in the order of their recording; of one without an index it is read out."""
        found = []
        for place, kept in self._places():
            try:
                found.append(_holding(place, kept=kept))
            except FileNotFoundError:
                continue  # the ring moved on
        return found

    def carve(
        self, community_id: str, write: Callable[[bytes], object], from_ns: int = BEGINNING, to_ns: int = END
    ) -> Carved:
        """Hand the flow's packets between two times (both included) to `write`, as one pcapng file in pieces.

        Packets come in the order of their recording. Nothing is written where nothing is found. Raises
        UsageError for what is no Community ID.
        """
        number, carved, head = flow_number(community_id), Carved(), b""
        for place, kept in self._places():
            words, found = self._find(place, number)
            if found is None or found.first_ns > to_ns or found.last_ns < from_ns:
                continue
            picked = pick(words, found.words, from_ns, to_ns)
            carved.damaged += picked.damaged
            if not len(picked.starts):
                continue
            head = _begin(words, head, write)
            for data, _ in copies(words, picked):
                write(data.tobytes())
            _account(carved, words, picked.starts, picked.time_ns)
            carved.segments += 1
            carved.kept_segments += kept
        return carved

    def _places(self) -> Iterator[tuple[Place, bool]]:
        """Every segment once, by number; one that is still in the ring is not looked for among the kept."""
        ring = places(self.folder / SEGMENTS)
        numbers = {place.number for place in ring}
        kept = [place for place in places(self.folder / KEPT) if place.number not in numbers]
        yield from sorted([(place, False) for place in ring] + [(place, True) for place in kept])

    def _find(self, place: Place, number: int) -> tuple[Words, Found | None]:
        """As `_find`; in a segment that was deleted meanwhile, among what was kept of it."""
        for where in (place, place.within(self.folder / KEPT)):
            try:
                return _find(where, number)
            except FileNotFoundError:
                continue
        return _NO_WORDS, None


def _find(place: Place, number: int) -> tuple[Words, Found | None]:
    """A segment's words and where a flow's packets are in it."""
    try:
        with IndexFile(place.index) as file:
            found = file.find(number)
        return mapped(place.path, found.words if found else _NO_WORDS), found
    except (FileNotFoundError, IndexDamagedError):
        table, _ = rebuilt(place)
        return loaded(place.path), table.find(number)


def _holding(place: Place, *, kept: bool) -> Holding:
    try:
        return Holding(place, index.totals(place.index), kept, finished=True)
    except (FileNotFoundError, IndexDamagedError):
        table, whole = rebuilt(place)
        first_ns, last_ns = table.span()
        counted = Totals(len(table.words), len(table.numbers), first_ns, last_ns, whole, 0)
        return Holding(place, counted, kept, finished=False)


def _begin(words: Words, head: bytes, write: Callable[[bytes], object]) -> bytes:
    """Write the section header and interfaces that a segment's packets need after `head`; the head then written."""
    own = words[: head_words(words)].tobytes()
    if head.startswith(own):
        return head
    write(own[len(head) :] if head and own.startswith(head) else own)
    return own


def _account(carved: Carved, words: Words, starts: NDArray[np.int64], time_ns: NDArray[np.int64]) -> None:
    carved.packets += len(starts)
    carved.captured_bytes += int(words[starts + 5].sum(dtype=np.int64))
    carved.first_ns = min(carved.first_ns, int(time_ns.min()))
    carved.last_ns = max(carved.last_ns, int(time_ns.max()))
    if carved.first is None:
        at = int(starts[0])
        data = words[at + 7 : at + int(words[at + 1]) // index.WORD].tobytes()[: int(words[at + 5])]
        carved.first = (linktypes(words)[int(words[at + 2])], data, int(words[at + 6]))
