"""A lane of the pool: one tshark after the other on the same packets, and the answers in the packets' order."""

from collections import deque
from collections.abc import Callable
from struct import Struct

import numpy as np
from numpy.typing import NDArray

from producers.decoders.decoding import Answer, Decoding
from producers.decoders.encode import Interfaces, Portion, portion
from producers.decoders.places import Places
from producers.decoders.quarantine import Quarantine
from producers.decoders.tshark import Tshark
from producers.engine.model import Batch

_INTERFACE_AT = 8  # where in an enhanced packet block its interface's number is
_AROUND = 8  # packets kept before and after one that is quarantined
_u32 = Struct("<I").unpack_from


class Lane:
    """Packets go in, and for each comes one answer, in order; None where it was not decoded.

    `flows` are the uids of the open flows that have had packets here; `ended` says that tshark has been ended.
    """

    def __init__(
        self, start: Callable[[], Tshark], decoding: Callable[[], Decoding], tshark: Tshark | None = None
    ) -> None:
        self._start, self._decoding = start, decoding
        self.tshark = tshark or start()
        self.tshark.attend(decoding())
        self.ended = False
        self.answers: deque[Answer | None] = deque()
        self.flows: set[int] = set()
        self.restarts = 0
        self._interfaces = Interfaces()
        self._portions: deque[Portion] = deque()

    def feed(self, batch: Batch, indexes: NDArray[np.int64], places: Places) -> None:
        """Take packets of a batch in, which were seen at `places`; their link types fit in pcapng."""
        numbers, new = self._interfaces.number(batch.block)
        self.tshark.describe(new)
        added = portion(batch, indexes, places, numbers)
        self._portions.append(added)
        self.tshark.write(added.data, places)

    def receive(self) -> int:
        """Take tshark's answers in, return how many; raises TsharkEndedError where it has ended."""
        answers = self.tshark.receive()
        place, total = 0, len(answers)
        while place < total:
            first = self._portions[0]
            room = first.next_skipped() - first.answered
            self.answers.extend(answers[place : place + room])
            done = min(room, total - place)
            first.answered += done
            place += done
            self._pass_over()
        return total

    def culprit(self) -> tuple[int, int] | None:
        """Link type and frame number of the first packet without an answer."""
        if not self._portions:
            return None
        first = self._portions[0]
        return self._linktype(first, first.answered), first.frame(first.answered)

    def condemn(self, reason: str, quarantine: Quarantine | None) -> None:
        """Answer the first packet that waits with None; it is not tried again, and kept in `quarantine` if given."""
        first = self._portions[0]
        if quarantine is not None:
            begin, end = first.answered - _AROUND, first.answered + 1 + _AROUND
            around = first.packets(max(begin, 0), min(end, len(first.starts)))
            quarantine.put(self._interfaces.all(), around, first.frame(first.answered), reason)
        first.answered += 1
        self.answers.append(None)
        self._pass_over()

    def skip(self, linktype: int) -> int:
        """Answer the waiting packets of a link type with None; return how many they are."""
        skipped = 0
        for waiting in self._portions:
            places = range(waiting.answered, len(waiting.starts))
            skipped += waiting.skip(place for place in places if self._linktype(waiting, place) == linktype)
        self._pass_over()
        return skipped

    def restart(self) -> None:
        """Go on with a new tshark, which gets all packets that wait again."""
        self.end()
        self.restarts += 1
        self.tshark = tshark = self._start()
        tshark.attend(self._decoding())
        self.ended = False
        tshark.describe(self._interfaces.all())
        for waiting in self._portions:
            begin = waiting.answered
            while begin < len(waiting.starts):
                end = waiting.next_skipped(begin)
                if end > begin:
                    tshark.write(waiting.packets(begin, end), waiting.places.take(slice(begin, end)))
                begin = end + 1

    def give_up(self) -> int:
        """End tshark; answer all that waits with None; return how many waited."""
        self.end()
        waited = 0
        for waiting in self._portions:
            places = range(waiting.answered, len(waiting.starts))
            waited += waiting.skip(places)
        self._pass_over()
        return waited

    def end(self) -> None:
        """End tshark."""
        if not self.ended:
            self.tshark.close()
            self.ended = True

    def _linktype(self, of: Portion, number: int) -> int:
        interface: int = _u32(of.data, of.starts[number] + _INTERFACE_AT)[0]
        return self._interfaces.linktypes[interface]

    def _pass_over(self) -> None:
        """Answer the packets that are skipped, and forget portions that are answered."""
        while self._portions:
            first = self._portions[0]
            while first.answered < len(first.starts) and first.answered in first.skipped:
                first.answered += 1
                self.answers.append(None)
            if first.answered < len(first.starts):
                return
            self._portions.popleft()
