"""A TCP connection's segments in the order of its streams: what waits for a hole to be filled, and which are lost.

tshark takes segments as they come and knows a message's pieces by their place in the stream. So what comes too early
is held back, and with it what both sides send after it, until the hole before it is filled or known to be lost:
acknowledged by the other side, or waited for too long. Numbers are TCP's modulo 2**32 less what was taken out of the
stream (`kernel.splice`), but for `raw` ones. Side 0 is the initiator's.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

MAX_WAIT_NS = 5_000_000_000
"""So long a hole that nobody acknowledges is waited for, in packet time."""
GRACE_NS, GRACE_PACKETS = 20_000_000, 64
"""So long one that was acknowledged: packets of two directions may reach the capture in the wrong order."""
MAX_HELD, MAX_HELD_BYTES = 256, 1 << 20
"""What is held back of one connection at most."""
_MAX_HOLES = 64
_MAX_LOST = 1 << 24  # a hole of more than this is no hole but another stream
_JUMP, _JUMPS, _REGIONS = 0x1000_0000, 4, 7
_FULL = (1460, 1448, 1440, 1428, 1380, 1360)  # payload of segments that are as long as may be
_LEAST_FULL = 500
_DOUBTED = 64
_MASK, _HALF = 0xFFFF_FFFF, 0x8000_0000
_PUSH, _RESET = 8, 4


def ahead(number: int, other: int) -> int:
    """How far a sequence number is ahead of another, modulo 2**32: negative if it is behind."""
    return ((number - other + _HALF) & _MASK) - _HALF


class Hole(NamedTuple):
    """Bytes of a side's stream that are lost: from `begin` up to and without `end`, both raw."""

    side: int
    begin: int
    end: int


class _Gap(NamedTuple):
    """Bytes that are waited for; `shift` makes its numbers raw."""

    side: int
    begin: int
    end: int
    shift: int


class Segment:
    """A segment that is to be decoded.

    `begin` and `end` are those of its payload (a SYN is one byte of it), `acknowledgement` is None where it has none;
    `missing` and `unseen` are those of FACTS. `what` is the packet, for whoever holds it back.
    """

    __slots__ = (
        *("acknowledgement", "acknowledgement_shift", "begin", "busy", "end", "flags", "missing", "shift"),
        *("side", "size", "time_ns", "unseen", "what"),
    )

    def __init__(  # noqa: PLR0913  # a row of facts
        self,
        side: int,
        sequence: int,
        length: int,
        flags: int,
        acknowledgement: int | None,
        *,
        shifts: tuple[int, int] = (0, 0),
        missing: int = 0,
        unseen: int = 0,
        time_ns: int = 0,
        size: int = 0,
        what: Any = None,
    ) -> None:
        self.side, self.flags, self.time_ns, self.size = side, flags, time_ns, size
        self.shift, self.acknowledgement_shift = shifts
        self.begin = (sequence - self.shift) & _MASK
        self.end = (self.begin + length) & _MASK
        self.acknowledgement = acknowledgement
        if acknowledgement is not None:
            self.acknowledgement = (acknowledgement - self.acknowledgement_shift) & _MASK
        self.missing, self.unseen = missing, unseen
        self.busy = False
        self.what = what


class Ready(NamedTuple):
    """A segment whose turn it is: `hole` where bytes just before it are lost, `jump` to be added to its number."""

    segment: Segment
    hole: bool
    jump: int


class Stream:
    """Both directions of a connection that has, or had, a hole.

    `pushed` says of each side whether its last segment before had PSH. `holes` are those that are lost. `over` says
    that nothing is held back and nothing was lost.

    What follows a lost hole may be the middle of a message. tshark knows where it ends if it saw its beginning, which
    ended with a segment without PSH. Else, where as much is lost as full segments hold, nothing is passed on until
    a message surely begins: after a short segment with PSH, or as the answer to what acknowledged all before it.
    There the numbers leap, so that tshark expects nothing of a message before it any more.
    """

    def __init__(self, pushed: tuple[bool, bool] = (True, True)) -> None:
        self.holes: list[Hole] = []
        self.held: list[Segment] = []  # as they came
        self.held_bytes = 0
        self.due = 0  # for whoever looks at deadlines
        self._next: list[int | None] = [None, None]  # what each side's stream goes on with
        self._acknowledged: list[int | None] = [None, None]  # of each side, by the other; raw
        self._lost: list[tuple[int, int, int]] = []  # holes, not raw
        self._marked = [False, False]
        self._jump, self._jumps = [0, 0], [0, 0]
        self._pushed, self._short = list(pushed), [False, False]
        self._full = 0  # the longest payload
        self._doubted = [0, 0]  # how many segments may still be left out
        self._answered: list[tuple[int, int] | None] = [
            None,
            None,
        ]  # where the other side answered, and its end
        self._gap: _Gap | None = None
        self._since = 0  # when what is held back first met the gap
        self._acknowledged_at: tuple[int, int] | None = None
        self._packets = 0
        self._reset = False

    @property
    def over(self) -> bool:
        """Whether nothing is to be remembered."""
        return not self.held and not self.holes

    @property
    def deadline(self) -> int:
        """The packet time after which what is held back is not held back any longer."""
        if self._acknowledged_at is not None:
            return min(self._acknowledged_at[0] + GRACE_NS, self._since + MAX_WAIT_NS)
        return self._since + MAX_WAIT_NS

    def see(self, side: int, flags: int, acknowledgement: int | None) -> None:
        """Note what any packet of the connection, decoded or not, says of it; `acknowledgement` is raw."""
        self._packets += 1
        if flags & _RESET:
            self._reset = True
        elif acknowledgement is not None:
            known = self._acknowledged[1 - side]
            if known is None or ahead(acknowledgement, known) > 0:
                self._acknowledged[1 - side] = acknowledgement

    def add(self, segment: Segment) -> None:
        """Take a segment in."""
        side, other = segment.side, 1 - segment.side
        if (
            self._next[side] is None and segment.begin != segment.end
        ):  # one without payload may come before its time
            self._next[side] = (segment.begin - segment.missing) & _MASK
        if self._next[other] is None and segment.unseen and segment.acknowledgement is not None:
            self._next[other] = (segment.acknowledgement - segment.unseen) & _MASK
        self._full = max(self._full, ahead(segment.end, segment.begin))
        self.held.append(segment)
        self.held_bytes += segment.size

    def ready(self, now_ns: int, *, force: bool = False) -> Iterator[Ready]:
        """Yield the segments whose turn it is at a packet time; all of them with `force`."""
        while self.held:
            out: list[Ready] = []
            gap = self._pass_on(self.held[0], out)
            yield from out
            if gap is None:
                continue
            self._meet(gap, now_ns)
            if not (force or self._is_lost(gap, now_ns)):
                return
            self._lose(gap)
        self._gap = self._acknowledged_at = None

    def _meet(self, gap: _Gap, now_ns: int) -> None:
        """Note since when a gap is waited for, and since when it is known to have been acknowledged."""
        if self._gap is None or self._gap[:2] != gap[:2]:
            self._acknowledged_at = None
            self._since = max(now_ns, self.held[0].time_ns) if self._gap is None else now_ns
        self._gap = gap
        reached = self._acknowledged[gap.side]
        if (
            self._acknowledged_at is None
            and reached is not None
            and ahead(reached, (gap.end + gap.shift) & _MASK) >= 0
        ):
            self._acknowledged_at = now_ns, self._packets

    def _is_lost(self, gap: _Gap, now_ns: int) -> bool:
        """Whether a gap is not waited for any longer."""
        known = self._acknowledged_at
        return (
            self._reset
            or now_ns > self.deadline
            or (known is not None and self._packets - known[1] >= GRACE_PACKETS)
            or ahead(gap.end, gap.begin) > _MAX_LOST
            or len(self.held) >= MAX_HELD
            or self.held_bytes >= MAX_HELD_BYTES
        )

    def _lose(self, gap: _Gap) -> None:
        side, begin, end, shift = gap
        self._next[side] = end
        full = self._is_full(ahead(end, begin))
        self._marked[side] = True
        self._jumps[side] = _JUMPS
        self._doubted[side] = _DOUBTED if full and self._pushed[side] else 0
        if not full:
            self._pushed[side] = self._short[side] = True
        else:
            self._short[side] = False
        if len(self.holes) < _MAX_HOLES:
            self.holes.append(Hole(side, (begin + shift) & _MASK, (end + shift) & _MASK))
            self._lost.append((side, begin, end))
        self._gap = self._acknowledged_at = None

    def _pass_on(self, segment: Segment, out: list[Ready]) -> _Gap | None:
        """Let a segment go after what it must follow; the gap that it waits for where there is one."""
        segment.busy = True
        gap = self._answer_to(segment, out) or self._before(segment, out)
        segment.busy = False
        if gap is None:
            self._emit(segment, out)
        return gap

    def _answer_to(self, segment: Segment, out: list[Ready]) -> _Gap | None:
        """Let what a segment acknowledges go before it."""
        reached, other = segment.acknowledgement, 1 - segment.side
        if reached is None:
            return None
        while True:
            before = self._lowest(other, reached)
            if before is None:
                break
            gap = self._pass_on(before, out)
            if gap is not None:
                return gap
        expected = self._next[other]
        if segment.unseen and expected is not None and ahead(reached, expected) > 0:
            return _Gap(other, expected, reached, segment.acknowledgement_shift)
        return None

    def _before(self, segment: Segment, out: list[Ready]) -> _Gap | None:
        """Let what a segment follows in its own stream go before it."""
        side = segment.side
        while True:
            expected = self._next[side]
            if expected is None or ahead(segment.begin, expected) <= 0:
                return None
            before = self._lowest(side)
            if before is None or ahead(before.begin, expected) > 0:
                nearest = segment if before is None or ahead(before.begin, segment.begin) > 0 else before
                return _Gap(side, expected, nearest.begin, nearest.shift)
            gap = self._pass_on(before, out)
            if gap is not None:
                return gap

    def _lowest(self, side: int, end: int | None = None) -> Segment | None:
        """The first segment of a side with payload, by number, that is held back; only of those that end by `end`."""
        found: Segment | None = None
        for segment in self.held:
            if segment.side != side or segment.busy or segment.begin == segment.end:
                continue
            if end is not None and ahead(segment.end, end) > 0:
                continue
            if found is None or ahead(segment.begin, found.begin) < 0:
                found = segment
        return found

    def _emit(self, segment: Segment, out: list[Ready]) -> None:
        self.held.remove(segment)
        self.held_bytes -= segment.size
        side = segment.side
        expected = self._next[side]
        if segment.begin == segment.end:
            out.append(Ready(segment, False, self._jump[side]))  # a field of a tuple
            return
        if expected is not None and ahead(segment.end, expected) <= 0 and not self._fills(segment):
            return  # it has all come before
        if expected is None or ahead(segment.end, expected) > 0:
            self._next[side] = segment.end
        follows = expected is not None and ahead(segment.begin, expected) >= 0
        begins = follows and self._begins(segment)
        self._pushed[side] = bool(segment.flags & _PUSH)
        self._short[side] = ahead(segment.end, segment.begin) < (
            self._full if self._full >= _LEAST_FULL else _HALF
        )
        if segment.acknowledgement is not None and segment.acknowledgement == self._next[1 - side]:
            self._answered[1 - side] = segment.acknowledgement, segment.end
        if self._doubted[side] and follows and not begins:
            self._doubted[side] -= 1
            return
        if begins and self._jumps[side]:
            self._jumps[side] -= 1
            self._jump[side] = (self._jump[side] + _JUMP) % (_REGIONS * _JUMP)
        self._doubted[side] = 0
        hole = self._marked[side] and follows
        self._marked[side] = self._marked[side] and not hole
        out.append(Ready(segment, hole, self._jump[side]))

    def _begins(self, segment: Segment) -> bool:
        """Whether a message surely begins with a segment that follows what came before."""
        side = segment.side
        if self._pushed[side] and self._short[side]:
            return True
        answered = self._answered[side]
        return (
            answered is not None
            and answered[0] == segment.begin
            and segment.acknowledgement is not None
            and ahead(segment.acknowledgement, answered[1]) >= 0
        )

    def _is_full(self, length: int) -> bool:
        """Whether lost bytes were full segments, so that their message is likely to go on after them."""
        sizes = (*_FULL, self._full) if self._full >= _LEAST_FULL else _FULL
        return any(length % size == 0 for size in sizes)

    def _fills(self, segment: Segment) -> bool:
        """Whether a late segment has bytes of a hole that was given up, or of the time before the first hole."""
        return not self._lost or any(
            side == segment.side and ahead(segment.end, begin) > 0 and ahead(end, segment.begin) > 0
            for side, begin, end in self._lost
        )
