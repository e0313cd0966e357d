"""What TCP's flags and sequence numbers tell of a connection: history, state, retransmissions, its end.

The history's letters and the names of the states are those of Zeek's conn.log
(https://docs.zeek.org/en/master/scripts/base/protocols/conn/main.zeek.html).
"""

from producers.engine.model import Flow
from producers.engine.twin.parse import Parsed

FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10
REACH = 1 << 20
"""A SYN whose sequence number is further than this from the expected one belongs to another connection."""

_MASK, _HALF = 0xFFFF_FFFF, 0x8000_0000
_UNKNOWN = -1
_WELL_KNOWN = 1024


class Connection:
    """The sequence numbers of both directions: the first one and the next expected; -1 while unknown."""

    __slots__ = ("first_down", "first_up", "next_down", "next_up")

    def __init__(self) -> None:
        self.first_up = self.first_down = self.next_up = self.next_down = _UNKNOWN

    def see(self, flow: Flow, forward: bool, parsed: Parsed) -> str:  # noqa: FBT001  (on the hot path)
        """Take one segment in; return how the connection is closed by now: `fin`, `rst`, or empty."""
        _, flags, sequence, window, length, _ = parsed
        if length or flags & 0x07:
            self._advance(flow, forward, parsed)
        if flags & 0x07:
            self._control(flow, forward, flags, sequence)
        if length:
            if ("D" if forward else "d") not in flow.history:
                flow.history += "D" if forward else "d"
        elif flags & 0x17 == ACK and ("A" if forward else "a") not in flow.history:
            flow.history += "A" if forward else "a"
        if not window and not flags & 0x06:
            _note(flow, forward, "W")
        return "" if not flags & 0x05 else _closed(flow.history)

    def _advance(self, flow: Flow, forward: bool, parsed: Parsed) -> None:  # noqa: FBT001
        """Move the next expected sequence number on, or count a retransmission: payload wholly below it."""
        _, flags, sequence, _, length, _ = parsed
        end = (sequence + length + (1 if flags & 0x03 else 0)) & _MASK
        expected = self.next_up if forward else self.next_down
        if expected < 0 or 0 < (end - expected) & _MASK < _HALF or flags & SYN:
            if forward:
                self.next_up = end
            else:
                self.next_down = end
        elif length and not (length == 1 and end == expected):  # one byte again is a keep-alive
            flow.retransmits += 1
            _note(flow, forward, "T")

    def begins_anew(self, sequence: int, *, forward: bool, closed: str) -> bool:
        """Whether a SYN on this connection's addresses and ports opens another one.

        It does if this one was closed or the sequence number is out of reach; its own SYN, sent again, does
        not. `closed` is what `see` returned last.
        """
        if sequence == (self.first_up if forward else self.first_down):
            return closed == "fin"
        if closed:
            return True
        expected = self.next_up if forward else self.next_down
        distance = (sequence - expected) & _MASK
        return expected != _UNKNOWN and min(distance, _MASK + 1 - distance) > REACH

    def _control(self, flow: Flow, forward: bool, flags: int, sequence: int) -> None:  # noqa: FBT001
        """A segment with SYN, FIN or RST."""
        if flags & SYN:
            if forward:
                self.first_up = sequence
            else:
                self.first_down = sequence
            _note(flow, forward, "H" if flags & ACK else "S")
            if flags & 0x05:
                _note(flow, forward, "Q")
        if flags & 0x05 == 0x05:
            _note(flow, forward, "I")
        if flags & FIN:
            _note(flow, forward, "F")
        if flags & RST:
            _note(flow, forward, "R")


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


def connection_state(history: str) -> str:
    """Zeek's conn_state for a history."""
    opened, accepted = "S" in history, "h" in history
    if opened and accepted:
        return _established(history)
    if opened:
        return _unanswered(history)
    if accepted:
        return "RSTRH" if "r" in history else "SHR" if "f" in history else "OTH"
    return "OTH"


def _established(history: str) -> str:
    if _closed(history) == "fin":
        return "SF"
    resets = [letter for letter in history if letter in "Rr"]
    if resets:
        return "RSTO" if resets[0] == "R" else "RSTR"
    return "S2" if "F" in history else "S3" if "f" in history else "S1"


def _unanswered(history: str) -> str:
    if "r" in history:
        return "REJ"
    if any(letter in history for letter in "adf"):
        return "OTH"
    return "RSTOS0" if "R" in history else "SH" if "F" in history else "S0"


def _closed(history: str) -> str:
    """How a connection ended first: both sides finished, or one reset it."""
    finished = max(history.find("F"), history.find("f")) if "F" in history and "f" in history else -1
    reset = min((at for at in (history.find("R"), history.find("r")) if at >= 0), default=-1)
    if finished >= 0 and (reset < 0 or finished < reset):
        return "fin"
    return "rst" if reset >= 0 else ""


def _note(flow: Flow, forward: bool, letter: str) -> None:  # noqa: FBT001
    """Put a letter into the history when it happens first: upper case for the initiator."""
    letter = letter if forward else letter.lower()
    if letter not in flow.history:
        flow.history += letter
