"""Responses without numbers of their own: a model of a client and a server says which request each one answers."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import count, pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from producers.decoders.registry import decoder_for
from producers.decoders.transactions import Transaction, tracker_for
from producers.decoders.turns import Turns
from producers.decoders.unit import Place, Role, Unit
from producers.engine.model import Flow
from schemas.model import datasets

MODULUS = 1 << 32
SEGMENT = 1000
UIDS = count(1)


@dataclass
class Packet:
    """A segment as captured; `unit` numbers the exchange whose message ends in it."""

    from_client: bool
    sequence: int
    acknowledgement: int
    length: int
    part_of: int
    unit: int | None = None
    hole: bool = False


@dataclass
class Connection:
    """A connection between a client that asks and a server that answers in order, captured at the client.

    The client sends `burst` requests at once and waits for all their responses; with `rolls` it does not wait, but has
    no more than `burst` outstanding.
    """

    random: Random
    burst: int
    rolls: bool
    whole: bool
    captured: list[Packet] = field(default_factory=list)

    def run(self, exchanges: int) -> list[Packet]:
        """All packets of so many exchanges, in the order in which the client's side sees them."""
        random = self.random
        client, server = random.randrange(MODULUS), random.randrange(MODULUS)
        got_client = client  # what the server has received
        got_server = server  # what the client has received
        to_server, to_client = deque[Packet](), deque[Packet]()
        asked = received = sent = answered = 0
        while answered < exchanges:
            moves = []
            outstanding = asked - answered
            if asked < exchanges and (outstanding < self.burst if self.rolls else outstanding == 0):
                moves.append("ask")
            moves += (
                ["arrive"] * bool(to_server) + ["answer"] * (sent < received) + ["receive"] * bool(to_client)
            )
            move = random.choice(moves)
            if move == "ask":
                for _ in range(1 if self.rolls else min(self.burst, exchanges - asked)):
                    packets = self._message(
                        from_client=True, sequence=client, acknowledgement=got_server, number=asked
                    )
                    client = (client + sum(packet.length for packet in packets)) % MODULUS
                    to_server += packets
                    self.captured += packets
                    asked += 1
            elif move == "arrive":
                packet = to_server.popleft()
                got_client = (packet.sequence + packet.length) % MODULUS
                received += packet.unit is not None
            elif move == "answer":
                packets = self._message(
                    from_client=False, sequence=server, acknowledgement=got_client, number=sent
                )
                server = (server + sum(packet.length for packet in packets)) % MODULUS
                to_client += packets
                sent += 1
            else:
                packet = to_client.popleft()
                got_server = (packet.sequence + packet.length) % MODULUS
                self.captured.append(packet)
                answered += packet.unit is not None
        return self.captured

    def _message(
        self, *, from_client: bool, sequence: int, acknowledgement: int, number: int
    ) -> list[Packet]:
        left = self.random.randint(1, SEGMENT if self.whole else 3 * SEGMENT)
        packets = []
        while left:
            length = min(left, SEGMENT)
            packets.append(Packet(from_client, sequence, acknowledgement, length, number))
            sequence, left = (sequence + length) % MODULUS, left - length
        packets[-1].unit = number
        return packets


def paired(packets: Iterable[Packet], *, begun: bool = True) -> list[tuple[int | None, int | None]]:
    """The exchanges of the requests and responses that the tracker puts together."""
    tracker = tracker_for(decoder_for(datasets()["http"]))
    flow = Flow("tcp", 6, 4, "192.0.2.1", "192.0.2.2", 1, 80, "1:x", 0, 0, uid=next(UIDS))
    flow.history = "ShADad" if begun else "DadA"
    told: list[tuple[int | None, int | None]] = []

    def tell(transactions: Iterable[Transaction]) -> None:
        told.extend((_number(each.request), _number(each.response)) for each in transactions)

    for frame, packet in enumerate(packets, 1):
        if packet.unit is None:
            continue
        place = Place(frame, frame, flow, packet.from_client, packet.length, "", "")
        place = place._replace(
            sequence=packet.sequence, acknowledgement=packet.acknowledgement, hole=packet.hole
        )
        role = Role.REQUEST if packet.from_client else Role.RESPONSE
        tell(tracker.add(Unit(role, {}, place, "http", extra=0, scope=str(packet.unit))))
    tell(tracker.end(flow))
    tell(tracker.close())
    return told


def _number(unit: Unit | None) -> int | None:
    return int(unit.scope) if unit else None


def readable(packets: list[Packet], missing: set[int]) -> list[Packet]:
    """The packets that are left without those at the places in `missing`, and what can be read of them."""
    broken = {(packets[at].from_client, packets[at].part_of) for at in missing}
    left, holes = [], {True: False, False: False}
    for at, packet in enumerate(packets):
        if at in missing:
            holes[packet.from_client] = True
            continue
        if (packet.from_client, packet.part_of) in broken:
            packet.unit = None
        packet.hole, holes[packet.from_client] = (
            holes[packet.from_client],
            packet.unit is None and holes[packet.from_client],
        )
        left.append(packet)
    return left


seeds, styles = st.integers(0, 2**32), st.sampled_from([1, 1, 2, 3, 5])


def wrong(told: list[tuple[int | None, int | None]]) -> list[tuple[int, int]]:
    return [(q, r) for q, r in told if q is not None and r is not None and q != r]


@given(seed=seeds, burst=st.integers(1, 6), exchanges=st.integers(1, 20), rolls=st.booleans())
@settings(deadline=None, max_examples=300)
def test_of_an_undamaged_stream_all_pair(seed: int, burst: int, exchanges: int, *, rolls: bool) -> None:
    packets = Connection(Random(seed), burst, rolls, whole=rolls).run(exchanges)
    assert paired(packets) == [(number, number) for number in range(exchanges)]


@given(seed=seeds, exchanges=st.integers(1, 20), begun=st.booleans())
@settings(deadline=None, max_examples=300)
def test_a_client_that_waits_loses_only_what_was_not_read(seed: int, exchanges: int, *, begun: bool) -> None:
    random = Random(seed)
    packets = Connection(random, 1, rolls=False, whole=False).run(exchanges)
    unread = {packet.part_of for packet in packets if packet.unit is not None and random.random() < 0.2}
    for packet in packets:
        if packet.part_of in unread and not packet.from_client:
            packet.unit = None
    told = paired(packets, begun=begun)
    right = {(number, None if number in unread else number) for number in range(exchanges)}
    assert set(told) == right
    assert len(told) == len(right)


@given(seeds, styles, st.integers(1, 20), st.integers(0, 100))
@settings(deadline=None, max_examples=500)
def test_a_capture_that_begins_anywhere_gives_no_wrong_pair(
    seed: int, burst: int, exchanges: int, at: int
) -> None:
    packets = Connection(Random(seed), burst, rolls=False, whole=False).run(exchanges)
    at = min(at, len(packets))
    told = paired(readable(packets, set(range(at)))[0:], begun=at == 0)
    assert wrong(told) == []
    if burst == 1:  # one exchange may be cut in two; all after it is there
        first = max((packet.part_of for packet in packets[:at]), default=-1) + 1
        assert {(number, number) for number in range(first, exchanges)} <= set(told)


@given(seed=seeds, burst=styles, exchanges=st.integers(1, 20), at=st.integers(0, 100), begun=st.booleans())
@settings(deadline=None, max_examples=500)
def test_a_lost_segment_gives_no_wrong_pair(
    seed: int, burst: int, exchanges: int, at: int, *, begun: bool
) -> None:
    packets = Connection(Random(seed), burst, rolls=False, whole=False).run(exchanges)
    at = min(at, len(packets) - 1)
    lost = packets[at].part_of
    told = paired(readable(packets, {at}), begun=begun)
    assert wrong(told) == []
    if burst == 1:
        assert {(number, number) for number in range(exchanges) if number != lost} <= set(told)
    elif begun:  # what is in doubt ends with the next burst
        others = {
            number for number in range(exchanges) if number // burst not in (lost // burst, lost // burst + 1)
        }
        assert {(number, number) for number in others} <= set(told)


def test_a_response_that_is_captured_before_its_request_shifts_none() -> None:
    packets = Connection(Random(1), 1, rolls=False, whole=True).run(8)
    for at, (one, other) in enumerate(pairwise(packets)):
        if one.from_client and one.part_of == 3:
            packets[at], packets[at + 1] = other, one
            break
    told = paired(packets)
    assert wrong(told) == []
    assert {(number, number) for number in range(8) if number != 3} <= set(told)


@pytest.mark.parametrize("side", [True, False])
def test_a_capture_of_one_direction_pairs_nothing(*, side: bool) -> None:
    packets = Connection(Random(2), 2, rolls=False, whole=True).run(6)
    told = paired(packet for packet in packets if packet.from_client == side)
    assert set(told) == {(n, None) if side else (None, n) for n in range(6)}


def test_without_numbers_the_order_is_all_there_is() -> None:
    turns: Turns[str] = Turns()
    place = Place(1, 1, None, True, 10, "", "")
    for item in "abc":
        assert turns.ask(item, place) == []
    assert [turns.answer(place).item for _ in range(4)] == ["a", "b", "c", None]


def test_what_waits_is_bounded() -> None:
    turns: Turns[int] = Turns(limit=3)
    place = Place(1, 1, None, True, 10, "", "", sequence=100, acknowledgement=100)
    given_up = [item for number in range(10) for item in turns.ask(number, place)]
    assert (given_up, list(turns)) == (list(range(7)), [7, 8, 9])
