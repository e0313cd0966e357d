"""What TCP's flags and sequence numbers tell of a connection: history, its end, what was lost.

The history's letters are those of Zeek's conn.log
(https://docs.zeek.org/en/master/scripts/base/protocols/conn/main.zeek.html). What is counted is
defined in docs/flows.md.
"""

from producers.engine.model import Flow
from producers.engine.states import closed_by
from producers.engine.twin.parse import Parsed

FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10
REACH = 1 << 20
"""A SYN whose sequence number is further than this from the expected one belongs to another connection."""
MAX_GAP = 1 << 30
"""The largest window (RFC 7323): payload further ahead than this is no continuation."""
MAX_UNSEEN = 1 << 24
"""An acknowledgement of more than this beyond what was seen is not believed."""
MAX_HOLES = 4
REORDERED_NS = 3_000_000
"""Payload that comes late is out of order within this time or the handshake's; later it was sent again."""

_MASK, _HALF = 0xFFFF_FFFF, 0x8000_0000
_WELL_KNOWN = 1024


def distance(number: int, other: int) -> int:
    """How far a sequence number is ahead of another, modulo 2**32: negative if it is behind."""
    return ((number - other + _HALF) & _MASK) - _HALF


class Side:
    """One direction's sequence numbers: the first, the next expected (None while unknown), and the holes.

    `advanced_ns` is when the next expected one moved last; a hole is a pair of its first byte and its end.
    """

    __slots__ = ("advanced_ns", "first", "holes", "next")

    def __init__(self) -> None:
        self.first: int | None = None
        self.next: int | None = None
        self.advanced_ns = 0
        self.holes: list[tuple[int, int]] = []

    def fill(self, start: int, end: int) -> int:
        """Take a range out of the holes; return how many bytes of it were missing."""
        filled, left = 0, []
        for low, high in self.holes:
            begin = low if distance(start, low) < 0 else start
            stop = high if distance(end, high) > 0 else end
            if distance(stop, begin) <= 0:
                left.append((low, high))
                continue
            filled += distance(stop, begin)
            left += [pair for pair in ((low, begin), (stop, high)) if pair[0] != pair[1]]
        self.holes = left[-MAX_HOLES:]
        return filled


class Connection:
    """Both directions of a connection, and how far its handshake has come."""

    __slots__ = ("accepted", "down", "established", "syn_ns", "up")

    def __init__(self) -> None:
        self.up, self.down = Side(), Side()
        self.syn_ns: int | None = None
        self.accepted = self.established = False

    def see(self, flow: Flow, forward: bool, parsed: Parsed, time_ns: int) -> str:  # noqa: FBT001
        """Take one segment in; return how the connection is closed by now: `fin`, `rst`, or empty."""
        _, flags, sequence, window, length, fragments, _, _ = parsed
        if fragments and not fragments[-1].first:
            self._continue(flow, forward, length)
            return ""
        if not flags & RST and (length or flags & 0x03):
            self._advance(flow, forward, parsed, time_ns)
        if flags & 0x07:
            self._control(flow, forward, flags, sequence)
        if length:
            _note(flow, forward, "D")
        elif flags & 0x17 == ACK:
            _note(flow, forward, "A")
        if not window and not flags & 0x07:
            flow.zero_windows += 1
            _note(flow, forward, "W")
        if not flags & RST:
            self._handshake(flow, forward, parsed, time_ns)
            if flags & ACK:
                self._acknowledged(flow, forward, parsed[6])
        return "" if not flags & 0x05 else closed_by(flow.history)

    def _continue(self, flow: Flow, forward: bool, length: int) -> None:  # noqa: FBT001
        """A later fragment of a segment: payload that follows on what came before."""
        side = self.up if forward else self.down
        if length:
            _note(flow, forward, "D")
            if side.next is not None:
                side.next = (side.next + length) & _MASK

    def _advance(self, flow: Flow, forward: bool, parsed: Parsed, time_ns: int) -> None:  # noqa: FBT001
        """Move the next expected sequence number on, or tell what comes late from what comes again."""
        _, flags, sequence, _, length, _, _, _ = parsed
        side = self.up if forward else self.down
        end = (sequence + length + (flags >> 1 & 1) + (flags & 1)) & _MASK
        if side.next is None or flags & SYN:
            if flags & SYN and side.first == sequence:
                flow.retransmits += 1
                return
            side.next, side.advanced_ns, side.holes = end, time_ns, []
            return
        gap, ahead = distance(sequence, side.next), distance(end, side.next)
        if ahead > 0:
            if gap > MAX_GAP:
                side.holes = []
            elif gap > 0:
                _hole(flow, forward, side, sequence)
            elif side.holes:
                _miss(flow, forward, -side.fill(sequence, end))
            side.next, side.advanced_ns = end, time_ns
        elif not (length == 1 and not ahead and not flags & FIN):  # one byte again is a keep-alive
            filled = side.fill(sequence, end)
            _miss(flow, forward, -filled)
            if filled and time_ns - side.advanced_ns <= max(REORDERED_NS, flow.handshake_ns or 0):
                flow.out_of_order += 1
                return
            flow.retransmits += 1
            if length:
                _note(flow, forward, "T")

    def _handshake(self, flow: Flow, forward: bool, parsed: Parsed, time_ns: int) -> None:  # noqa: FBT001
        """From the last SYN before the SYN-ACK to the initiator's first answer to it."""
        flags = parsed[1]
        if flags & SYN:
            if forward and not flags & ACK and not self.accepted:
                self.syn_ns = time_ns
            elif not forward and flags & ACK and self.syn_ns is not None:
                self.accepted = True
        elif forward and flags & ACK and self.accepted and not self.established and self.syn_ns is not None:
            self.established = True
            first = self.down.first
            if first is not None and parsed[6] == (first + 1) & _MASK and time_ns >= self.syn_ns:
                flow.handshake_ns = time_ns - self.syn_ns

    def _acknowledged(self, flow: Flow, forward: bool, number: int) -> None:  # noqa: FBT001
        """What the other side sent by then has arrived there, whether it was seen or not."""
        side = self.down if forward else self.up
        if side.next is None:
            return
        if 1 < distance(number, side.next) <= MAX_UNSEEN:  # 1: a FIN that was not seen
            _hole(flow, not forward, side, number)
            side.next = number
        if side.holes and distance(number, side.holes[0][0]) > 0:
            _note(flow, not forward, "G")

    def begins_anew(self, sequence: int, *, forward: bool, closed: str) -> bool:
        """Whether a SYN on this connection's addresses and ports opens another one.

        It does if this one was closed or the sequence number is out of reach; its own SYN, sent again, does
        not. `closed` is what `see` returned last.
        """
        side = self.up if forward else self.down
        if sequence == side.first:
            return closed == "fin"
        if closed:
            return True
        return side.next is not None and abs(distance(sequence, side.next)) > REACH

    def _control(self, flow: Flow, forward: bool, flags: int, sequence: int) -> None:  # noqa: FBT001
        """A segment with SYN, FIN or RST."""
        if flags & SYN:
            (self.up if forward else self.down).first = sequence
            _note(flow, forward, "H" if flags & ACK else "S")
            if flags & 0x05:
                _note(flow, forward, "Q")
        if flags & 0x05 == 0x05:
            _note(flow, forward, "I")
        if flags & FIN:
            _note(flow, forward, "F")
        if flags & RST:
            _note(flow, forward, "R")


def _hole(flow: Flow, forward: bool, side: Side, end: int) -> None:  # noqa: FBT001
    """What lies between the next expected sequence number and `end` is missing until it comes."""
    if side.next is not None:
        _miss(flow, forward, distance(end, side.next))
        side.holes = [*side.holes, (side.next, end)][-MAX_HOLES:]


def _miss(flow: Flow, forward: bool, amount: int) -> None:  # noqa: FBT001
    """Count bytes of a side that did not come; less than none for those that came late."""
    if forward:
        flow.source_missed_bytes += amount
    else:
        flow.destination_missed_bytes += amount


def is_reply(flags: int, source_port: int | None, destination_port: int | None) -> bool:
    """Whether the first segment seen went to the initiator.

    A SYN comes from the initiator, a SYN-ACK goes to it. In the middle of a connection the side with a
    well-known port answers, if the other has none; else whoever is seen first began.
    """
    if flags & SYN:
        return bool(flags & ACK)
    if source_port is None or destination_port is None:
        return False
    return source_port < _WELL_KNOWN <= destination_port


def _note(flow: Flow, forward: bool, letter: str) -> None:  # noqa: FBT001
    """Put a letter into the history when it happens first: upper case for the initiator."""
    letter = letter if forward else letter.lower()
    if letter not in flow.history:
        flow.history += letter
