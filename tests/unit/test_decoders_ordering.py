"""TCP streams are put in order before tshark sees them, and a hole is waited for as long as it may be filled."""

from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from struct import pack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from producers.decoders.ordering import Chosen, Ordering
from producers.decoders.unbroken import GRACE_NS, GRACE_PACKETS, MAX_HELD, MAX_WAIT_NS, Hole
from producers.engine.engine import FlowEngine
from producers.engine.policy.policy import LivePolicy
from producers.sources.packet import RawPacket
from tests.engines import as_block
from tests.packets import ethernet, ip, raw

SYN, RST, PSH, ACK = 2, 4, 8, 16
MILLISECOND = 1_000_000
ENDS = ("10.0.0.1", "10.0.0.2")
ISNS = (0xFFFF_FF00, 5000)  # the client's numbers wrap around


def segment(
    up: bool,  # noqa: FBT001
    begin: int,
    length: int,
    acknowledged: int,
    *,
    flags: int = PSH | ACK,
    time_ms: float = 0,
    port: int = 40_000,
) -> RawPacket:
    """A segment; numbers count from the first byte after the SYN."""
    own, other = ISNS if up else ISNS[::-1]
    ports, ends = ((port, 9999), ENDS) if up else ((9999, port), ENDS[::-1])
    numbers = (own + 1 + begin) % 2**32, (other + 1 + acknowledged) % 2**32
    head = pack(">HHIIBBHHH", *ports, *numbers, 0x50, flags, 999, 0, 0)
    return raw(ethernet(ip(*ends, 6, head + bytes(length)), swapped=int(not up)), int(time_ms * MILLISECOND))


def opened(port: int = 40_000) -> list[RawPacket]:
    """A handshake."""
    return [
        segment(True, -1, 0, -1, flags=SYN, port=port),
        segment(False, -1, 0, 0, flags=SYN | ACK, port=port),
        segment(True, 0, 0, 0, flags=ACK, port=port),
    ]


@cache
def everything() -> LivePolicy:
    """The policy that has all decoded: only with one are streams made for tshark."""
    return LivePolicy("all")


class Given:
    """Packets through an engine and `Ordering`: what tshark is given, by number from 0, and holes before it."""

    def __init__(self, packets: Sequence[RawPacket], sizes: Sequence[int] = ()) -> None:
        self.engine, self.ordering = FlowEngine(policy=everything()), Ordering()
        self.order: list[int] = []
        self.holes: list[int] = []
        self.numbers: list[int] = []
        self.lost: list[Hole] = []
        at = 0
        for size in (*sizes, len(packets)):
            self.feed(packets[at : at + size], at)
            at += size

    def feed(self, packets: Sequence[RawPacket], at: int) -> None:
        """Take packets in, the first of which is number `at`."""
        if packets:
            block = as_block(packets)
            block.first_frame = at
            self.take(self.ordering.arrange(self.engine.feed(block)))

    def take(self, chosen: Chosen | None) -> None:
        """Note what is given to tshark."""
        if chosen is None:
            return
        assert sorted(chosen.after.tolist()) == chosen.after.tolist()
        block = chosen.batch.block
        for index, frame, hole in zip(
            chosen.indexes.tolist(), chosen.frames.tolist(), chosen.holes.tolist(), strict=True
        ):
            self.order.append(frame)
            fact = chosen.batch.facts[index]
            self.numbers.append((int(fact["sequence"]) - int(fact["sequence_shift"])) % 2**32)
            assert chosen.batch.flow(index) is not None
            assert block.captured[index] == 54 + fact["length"]
            data = block.packet(index).data
            assert int.from_bytes(data[38:42], "big") == fact["sequence"]
            if hole:
                self.holes.append(frame)

    def end(self) -> "Given":
        """The capture ends."""
        self.take(self.ordering.rest())
        assert self.ordering.rest() is None
        self.lost = list(self.ordering.holes(1))
        return self


DIALOGUE = [
    *opened(),
    segment(True, 0, 100, 0),
    segment(True, 100, 50, 0),
    segment(False, 0, 400, 150),
    segment(False, 400, 20, 150),
    segment(True, 150, 10, 420),
    segment(False, 420, 30, 160),
    segment(True, 160, 10, 450),
]


def moved(packets: Sequence[RawPacket], begin: int, to: int) -> list[RawPacket]:
    """The packets with one of them elsewhere."""
    found = list(packets)
    found.insert(to, found.pop(begin))
    return found


def test_what_is_in_order_stays_as_it_is() -> None:
    given = Given(DIALOGUE).end()
    assert given.order == list(range(10))
    assert (given.holes, given.lost) == ([], [])


@pytest.mark.parametrize(("begin", "to"), [(3, 4), (5, 6), (3, 5), (4, 6), (7, 8), (5, 8), (8, 9), (3, 8)])
def test_neighbours_that_come_in_the_wrong_order_are_turned(begin: int, to: int) -> None:
    """Segments of one direction, and a response that comes before its request."""
    packets = moved(DIALOGUE, begin, to)
    given = Given(packets).end()
    assert [packets[number] for number in given.order] == DIALOGUE
    assert given.holes == []


def test_a_hole_that_was_acknowledged_is_lost_after_a_grace() -> None:
    packets = [
        *DIALOGUE[:4],
        DIALOGUE[5],  # acknowledges the second segment, which never came
        *(segment(True, 150, 0, 400, flags=ACK) for _ in range(GRACE_PACKETS - 1)),
    ]
    given = Given(packets)
    assert given.order == [*range(4)]
    given.feed([segment(True, 150, 0, 400, flags=ACK)], len(packets))
    given.feed([segment(True, 150, 10, 400)], len(packets) + 1)
    given.end()
    assert given.order == [*range(len(packets) + 2)]
    assert given.holes == [len(packets) + 1]
    assert given.lost == [Hole(0, (ISNS[0] + 101) % 2**32, (ISNS[0] + 151) % 2**32)]


@pytest.mark.parametrize(
    ("last", "waits"),
    [
        (segment(False, 0, 0, 110, flags=ACK, time_ms=GRACE_NS / MILLISECOND + 1), True),
        (segment(False, 0, 0, 20, flags=ACK, time_ms=MAX_WAIT_NS / MILLISECOND + 1), False),
        (segment(False, 0, 0, 0, flags=RST), False),
    ],
)
def test_a_hole_that_was_not_acknowledged_waits_for_longer(last: RawPacket, waits: bool) -> None:  # noqa: FBT001
    given = Given([*opened(), segment(True, 0, 10, 0), segment(True, 100, 10, 0), last])
    assert given.order == [*range(4 if waits else 6)]
    assert given.end().holes == [4]


def test_what_comes_after_a_hole_was_given_up_is_passed_on_once() -> None:
    late = segment(True, 10, 90, 0, time_ms=9000)
    packets = [
        *opened(),
        segment(True, 0, 10, 0),
        segment(True, 100, 10, 0),
        segment(False, 0, 10, 110, time_ms=1),
        segment(False, 10, 10, 110, time_ms=100),
        late,
        segment(True, 0, 10, 20, time_ms=9001),
        segment(True, 110, 10, 20, time_ms=9002),
    ]
    given = Given(packets).end()
    assert given.order == [0, 1, 2, 3, 4, 5, 6, 7, 9]
    assert given.holes == [4]


def test_after_a_hole_a_message_that_surely_begins_stands_alone() -> None:
    """Its number leaps, so that tshark takes it for no part of one whose beginning was lost."""
    packets = [
        *opened(),
        segment(True, 0, 10, 0),
        segment(False, 0, 10, 10),
        segment(True, 30, 10, 10),  # 20 bytes are lost, acknowledged at once
        segment(False, 10, 10, 40),
        segment(True, 40, 10, 20, time_ms=100),
        segment(False, 20, 10, 50, time_ms=101),
    ]
    given = Given(packets).end()
    assert given.holes == [5]
    up = [given.numbers[place] for place in (3, 5, 7)]
    assert all(after - before > 1 << 26 for before, after in pairwise(up))
    down = [given.numbers[place] for place in (4, 6, 8)]
    assert down == [down[0], down[0] + 10, down[0] + 20]


def test_the_rest_of_a_message_whose_beginning_is_lost_is_left_out() -> None:
    lost = segment(False, 0, 1460, 10, flags=ACK)
    packets = [
        *opened(),
        segment(True, 0, 10, 0),
        segment(False, 1460, 1460, 10, flags=ACK),  # 3: what is before it never came
        segment(False, 2920, 700, 10),  # its end
        segment(False, 3620, 30, 10),  # another message
        segment(True, 10, 10, 3650),
        segment(False, 3650, 1460, 20, flags=ACK),
    ]
    given = Given(packets).end()
    assert given.order == [0, 1, 2, 3, 6, 7, 8]
    assert given.holes == [6]
    whole = Given([*packets[:4], lost, *packets[4:]]).end()
    assert whole.order == [*range(10)]
    begun = Given([*packets[:4], segment(False, 0, 1460, 10, flags=ACK), *packets[5:]]).end()
    assert begun.order == [*range(9)]  # tshark has seen its beginning
    assert begun.holes == [5]


def test_a_stream_of_holes_is_bounded() -> None:
    packets = [segment(True, 20 * number, 10, 0) for number in range(4 * MAX_HELD)]
    given = Given([*opened(), *packets])
    assert len(packets) - MAX_HELD <= len(given.order) < len(packets)
    assert len(given.end().order) == len(packets) + 3
    flows = [
        each
        for port in range(300)
        for each in (*opened(port), *(segment(True, 20 * number, 1000, 0, port=port) for number in range(60)))
    ]
    given = Given(flows, [1000] * 18)
    assert len(given.order) >= len(flows) - (1 << 14)
    assert sorted(given.end().order) == list(range(len(flows)))


@st.composite
def damaged(draw: st.DrawFn) -> tuple[list[RawPacket], list[int]]:
    """Two conversations, their packets mixed, moved, doubled and lost; and the sizes of blocks."""
    packets: list[RawPacket] = []
    ends = {port: [0, 0] for port in (40_000, 40_001)}
    for port in ends:
        packets += opened(port)
    for number in range(draw(st.integers(5, 50))):
        port, up = draw(st.sampled_from([*ends])), draw(st.booleans())
        length = draw(st.sampled_from([0, 1, 10, 100]))
        own, other = ends[port] if up else ends[port][::-1]
        packets.append(
            segment(
                up, own, length, other, time_ms=number, flags=ACK | draw(st.sampled_from([0, PSH])), port=port
            )
        )
        ends[port][not up] += length
    for _ in range(draw(st.integers(0, 8))):
        at = draw(st.integers(6, len(packets) - 1))
        what = draw(st.sampled_from(["move", "lose", "double"]))
        if what == "lose" and len(packets) > 8:
            packets.pop(at)
        else:
            packet = packets.pop(at) if what == "move" else packets[at]
            packets.insert(min(at + draw(st.integers(1, 6)), len(packets)), packet)
    return packets, draw(st.lists(st.integers(1, 9), max_size=12))


@settings(max_examples=300, deadline=None)
@given(damaged())
def test_blocks_make_no_difference_and_nothing_new_is_lost(case: tuple[list[RawPacket], list[int]]) -> None:
    packets, sizes = case
    whole, parts = Given(packets).end(), Given(packets, sizes).end()
    assert (whole.order, whole.holes, whole.numbers) == (parts.order, parts.holes, parts.numbers)
    assert len(set(whole.order)) == len(whole.order)
    reached: dict[tuple[bytes, bytes], set[int]] = {}
    for given_order in (range(len(packets)), whole.order):
        bytes_of: dict[tuple[bytes, bytes], set[int]] = {}
        for number in given_order:
            data = packets[number].data
            begin = int.from_bytes(data[38:42], "big")
            bytes_of.setdefault((data[34:36], data[36:38]), set()).update(
                range(begin, begin + len(data) - 54)
            )
        reached = reached or bytes_of
    assert bytes_of == reached
