"""A pool of tshark children: packets are dealt out by address pair, the answers stay in the packets' order.

Each lane of the pool has its own tshark. Fragments, FTP's data and RTP have their packets' address pair, so they stay
on the lane of what announced them. tshark keeps its state for ever: a lane whose tshark has filled its memory
hands over, new flows go to a new lane, and the old one ends when its flows are over, or after a while.
"""

import select
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from producers.decoders.decoding import Decoding
from producers.decoders.encode import MAX_LENGTH, MAX_LINKTYPE
from producers.decoders.lane import Lane
from producers.decoders.ordering import Chosen
from producers.decoders.places import Places, places_of
from producers.decoders.quarantine import Quarantine
from producers.decoders.tshark import Tshark, TsharkEndedError
from producers.engine.kernel.layout import Kind
from producers.sources.packet import Block
from runtime.errors import DecoderError
from runtime.telemetry import Telemetry

# Decoding is given up after so many deaths of tshark with fewer answers between any two of them.
_MAX_DEATHS = 20
_ANSWERS_BETWEEN = 10_000
# A kind of link is not tried again after tshark has refused so many of its packets.
_MAX_REFUSALS = 3
_FLOW = int(Kind.FLOW)


@dataclass(frozen=True)
class Limits:
    """What a child may fill, in bytes, and how long one that was replaced may go on, in seconds.

    Memory is looked at every `interval` seconds.
    """

    memory: int = 1 << 30
    grace: float = 60.0
    interval: float = 1.0


@dataclass
class _Slot:
    """A share of the address pairs: its lane, and the lane before it, which keeps the flows below `boundary`."""

    lane: Lane
    old: Lane | None = None
    boundary: int = 0
    handed_over: float = 0.0


class Pool:
    """Hands packets to its lanes and moves data; `given_up` says why no packet is decoded any more.

    `restarts` has how often each lane's tshark had to be started again, `error` what it was given up with.
    """

    def __init__(  # noqa: PLR0913  # its parts, each named
        self,
        start: Callable[[], Tshark],
        decoding: Callable[[], Decoding],
        telemetry: Telemetry,
        *,
        children: list[Tshark],
        quarantine: Quarantine | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.given_up = ""
        self.error: DecoderError | None = None
        self._start, self._decoding = start, decoding
        self._telemetry, self._quarantine = telemetry, quarantine
        self._limits = limits or Limits()
        self._slots = [_Slot(Lane(start, decoding, child)) for child in children]
        self._refusals: Counter[int] = Counter()
        self._refused: frozenset[int] = frozenset()
        self._deaths = 0
        self._answers = 0
        self._next_uid = 0
        self._looked_at = time.monotonic()

    @property
    def restarts(self) -> list[int]:
        """How often each lane's tshark has been started again."""
        return [slot.lane.restarts for slot in self._slots]

    @property
    def backlog(self) -> int:
        """Bytes that wait to be written to any child."""
        return sum(tshark.backlog for _, tshark in self._running())

    @property
    def pending(self) -> int:
        """Packets that wait for an answer."""
        return sum(tshark.pending for _, tshark in self._running())

    def feed(self, chosen: Chosen) -> tuple[NDArray[np.int64], Places | None, list[Lane]]:
        """Deal packets out.

        Returns those that a tshark will answer, by what they are given `after`, where they were seen, None where there
        are none, and the lane of each. The others are counted as undecoded, with the reason.
        """
        chosen = chosen.take(self._acceptable(chosen.batch.block, chosen.indexes))
        batch, indexes = chosen.batch, chosen.indexes
        if not len(indexes):
            return chosen.after, None, []
        if time.monotonic() - self._looked_at > self._limits.interval:
            self._look_at_memory()
        facts, places = batch.facts, places_of(chosen)
        uids = np.where(facts["kind"][indexes] == _FLOW, facts["uid"][indexes], -1)
        self._next_uid = max(self._next_uid, int(uids.max()) + 1)
        numbers, lanes = self._deal(facts["shard"][indexes], uids)
        for number, lane in enumerate(lanes):
            mine = numbers == number
            if mine.any():
                lane.feed(batch, indexes[mine], places.take(mine))
                lane.flows.update(uids[mine].tolist())
        return chosen.after, places, [lanes[number] for number in numbers.tolist()]

    def over(self, uid: int) -> None:
        """Told that a flow has ended: no packet of it follows."""
        for slot in self._slots:
            slot.lane.flows.discard(uid)
            if slot.old is not None:
                slot.old.flows.discard(uid)

    def exchange(self, seconds: float, *, last: bool = False) -> None:
        """Move data both ways, waiting for at most `seconds`; `last`: no packet follows for any child."""
        running = list(self._running())
        if last:
            for _, tshark in running:
                tshark.end_input()
        readers = {tshark.output: lane for lane, tshark in running}
        writers = {outlet.pipe: outlet for _, tshark in running for outlet in tshark.outlets}
        began = time.monotonic()
        readable, writable, _ = select.select(list(readers), list(writers), [], seconds)
        waited = time.monotonic() - began
        for number in writable:
            writers[number].send()
        for number, lane in readers.items():
            self._take(lane, None if number in readable else waited)
        if seconds and not readable and not writable:
            self.nudge()
        self._drain()

    def nudge(self) -> None:
        """Have every child answer what it has been given."""
        for _, tshark in self._running():
            tshark.nudge()

    def finish(self) -> Iterator[None]:
        """Move data until every packet is answered, coming back after each step."""
        while self.pending:
            self.exchange(0.2, last=True)
            yield

    def close(self) -> None:
        """End all children."""
        for slot in self._slots:
            slot.lane.end()
            if slot.old is not None:
                slot.old.end()

    def _running(self) -> Iterator[tuple[Lane, Tshark]]:
        for slot in self._slots:
            for lane in (slot.lane, slot.old):
                if lane is not None and not (lane.ended or lane.tshark.finished):
                    yield lane, lane.tshark

    def _acceptable(self, block: Block, indexes: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of the packets tshark may be given."""
        if self.given_up:
            self._undecoded(self.given_up, len(indexes))
            return np.zeros(len(indexes), np.bool_)
        taken = np.ones(len(indexes), np.bool_)
        wrong = {
            number: why for number, (_, link) in enumerate(block.interfaces) if (why := self._why_not(link))
        }
        for number, why in wrong.items():
            refused = taken & (block.interface[indexes] == number)
            self._undecoded(why, int(refused.sum()))
            taken &= ~refused
        long = taken & (block.captured[indexes] > MAX_LENGTH)
        self._undecoded(f"longer than tshark takes ({MAX_LENGTH:,} bytes)", int(long.sum()))
        return taken & ~long

    def _why_not(self, linktype: int) -> str:
        if linktype > MAX_LINKTYPE:
            return "tshark has no link types beyond 65,535"
        return f"tshark refused link type {linktype}" if linktype in self._refused else ""

    def _deal(
        self, shards: NDArray[np.uint32], uids: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], list[Lane]]:
        """Which lane takes each packet, as its number in the list."""
        slots = self._slots
        numbers = (shards % np.uint32(len(slots))).astype(np.int64)
        lanes = [slot.lane for slot in slots]
        for number, slot in enumerate(slots):
            if slot.old is not None:
                numbers[(numbers == number) & (uids >= 0) & (uids < slot.boundary)] = len(lanes)
                lanes.append(slot.old)
        return numbers, lanes

    def _take(self, lane: Lane, waited: float | None) -> None:
        """Take a lane's answers, or count the seconds for which there were none."""
        try:
            if waited is None:
                self._answers += lane.receive()
            else:
                lane.tshark.waited(waited)
        except TsharkEndedError as error:
            self._replace(lane, error)

    def _replace(self, lane: Lane, error: TsharkEndedError) -> None:
        """Go on with a new tshark after the packet that the old one ended on, which is not decoded."""
        culprit = lane.culprit()
        if culprit is None and self._is_old(lane):
            lane.end()
            lane.flows.clear()
            return
        if culprit is not None:
            self._undecoded(error.reason, 1)
            lane.condemn(error.reason, None if error.refused else self._quarantine)
            self._judge(error, culprit[0])
        if lane.flows:
            self._telemetry.count("lost", f"flows cut off: {error.reason}", len(lane.flows - {-1}))
        lane.flows.clear()
        if self.given_up:
            for slot in self._slots:
                for other in filter(None, (slot.lane, slot.old)):
                    self._undecoded(self.given_up, other.give_up())
            return
        for linktype in self._refused:
            self._undecoded(self._why_not(linktype), lane.skip(linktype))
        lane.restart()

    def _judge(self, error: TsharkEndedError, linktype: int) -> None:
        """Decide what is not tried again: a kind of link that tshark refuses, all where it dies again and again."""
        if error.refused:
            self._refusals[linktype] += 1
            if self._refusals[linktype] >= _MAX_REFUSALS:
                self._refused |= {linktype}
            return
        self._deaths = self._deaths + 1 if self._answers < _ANSWERS_BETWEEN else 1
        self._answers = 0
        if self._deaths >= _MAX_DEATHS:
            self.given_up = f"{error.reason} {self._deaths} times"
            self.error = DecoderError(f"{error.what}, {self._deaths} times", error.hint)

    def _undecoded(self, reason: str, amount: int) -> None:
        if amount:
            self._telemetry.count("undecoded", reason, amount)

    def _is_old(self, lane: Lane) -> bool:
        return any(slot.old is lane for slot in self._slots)

    def _look_at_memory(self) -> None:
        self._looked_at = now = time.monotonic()
        for slot in self._slots:
            if slot.lane.tshark.resident > self._limits.memory:
                if slot.old is not None:
                    slot.handed_over = (
                        0.0  # two of one slot are enough: what the oldest still has goes to the new one
                    )
                    continue
                self._telemetry.count("hand_overs")
                slot.old, slot.lane = slot.lane, Lane(self._start, self._decoding)
                slot.boundary, slot.handed_over = self._next_uid, now

    def _drain(self) -> None:
        """End the lanes that were handed over and have no more to do."""
        for slot in self._slots:
            old = slot.old
            if old is None or (old.flows and time.monotonic() - slot.handed_over < self._limits.grace):
                continue
            slot.boundary = 0  # no packet goes there any more
            if not old.ended and old.tshark.pending:
                old.tshark.end_input()
                continue
            old.end()
            slot.old = None
