"""What is handed over of a stream has no holes but those that the capture has."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from producers.engine.kernel.layout import DECODE, FACTS, Kind
from producers.engine.kernel.splice import new_streams, splice
from tests.streams import TABLE

FIN, SYN, ACK = 1, 2, 16
WRAP = 2**32


@dataclass(frozen=True)
class Segment:
    """A segment of the flow; sequence numbers count from the direction's first byte."""

    forward: bool
    sequence: int
    length: int
    decode: bool
    acknowledgement: int = 0
    flags: int = 0
    uid: int = 1
    turned: bool = False  # whether the flow takes the server for the initiator


def spliced(segments: list[Segment], bases: tuple[int, int] = (0, 0), block: int = 10**9) -> NDArray[Any]:
    """The segments' facts after `splice`, in blocks of so many."""
    facts = np.zeros(len(segments), FACTS)
    for fact, segment in zip(facts, segments, strict=True):
        own, other = bases if segment.forward else bases[::-1]
        fact["kind"], fact["protocol"], fact["uid"] = Kind.FLOW, 6, segment.uid
        fact["forward"], fact["length"], fact["tcp_flags"] = segment.forward, segment.length, segment.flags
        fact["sequence"] = (own + segment.sequence) % WRAP
        fact["acknowledgement"] = (other + segment.acknowledgement) % WRAP
        fact["verdict"] = DECODE if segment.decode else 0
        ends = ((7, 40_000), (9, 80)) if segment.forward != segment.turned else ((9, 80), (7, 40_000))
        (fact["source_low"], fact["source_port"]), (fact["destination_low"], fact["destination_port"]) = ends
    table, streams = np.zeros(1, TABLE), new_streams()
    for at in range(0, len(facts), block):
        splice(table, facts[at : at + block], streams)
    return facts


def shifts(segments: list[Segment]) -> list[tuple[int, int]]:
    """The shift of sequence and acknowledgement of each segment that is handed over."""
    told: list[tuple[int, int]] = []
    lowered: dict[bool, int] = {}
    for segment, fact in zip(segments, spliced(segments), strict=True):
        own, other = segment.forward != segment.turned, segment.forward == segment.turned
        if segment.flags & SYN:
            lowered = {}
        lowered.setdefault(
            own, first_shift(segment.sequence - (0 if segment.flags & SYN else 1), segment.uid)
        )
        if segment.flags & ACK:
            lowered.setdefault(other, first_shift(segment.acknowledgement - 1, segment.uid))
        if fact["verdict"] & DECODE:
            acknowledgement = int(fact["acknowledgement_shift"])
            told.append(
                (
                    (int(fact["sequence_shift"]) - lowered[own]) % WRAP,
                    (acknowledgement - lowered[other]) % WRAP if acknowledgement else 0,
                )
            )
    return told


def first_shift(sequence: int, uid: int = 1) -> int:
    """How far a stream is moved that begins at a number."""
    return (sequence - (uid << 16)) % WRAP


def test_nothing_is_shifted_where_nothing_is_skipped() -> None:
    assert shifts([Segment(True, 0, 100, True), Segment(True, 100, 50, True)]) == [(0, 0), (0, 0)]


def test_skipped_payload_is_taken_out_of_both_directions() -> None:
    assert shifts(
        [
            Segment(True, 0, 100, True),
            Segment(True, 100, 1000, False),
            Segment(True, 1100, 50, True),
            Segment(False, 0, 10, True, acknowledgement=1150),
        ]
    ) == [(0, 0), (1000, 0), (0, 1000)]


def test_a_hole_in_the_capture_stays() -> None:
    assert shifts([Segment(True, 0, 100, True), Segment(True, 300, 50, True)]) == [(0, 0), (0, 0)]


def test_of_a_hole_only_what_was_skipped_is_taken_out() -> None:
    segments = [Segment(True, 0, 100, True), Segment(True, 100, 1000, False), Segment(True, 1300, 50, True)]
    assert shifts(segments)[-1] == (1000, 0)


def test_what_fills_a_hole_is_handed_over() -> None:
    segments = [Segment(True, 0, 100, True), Segment(True, 300, 50, True), Segment(True, 100, 200, False)]
    assert shifts(segments) == [(0, 0)] * 3


def test_acknowledgements_of_skipped_payload_stand_where_it_was_taken_out() -> None:
    segments = [
        Segment(True, 0, 100, True),
        Segment(True, 100, 1000, False),
        Segment(False, 0, 0, True, acknowledgement=600),
        Segment(False, 0, 0, True, acknowledgement=1100),
        Segment(True, 1100, 10, True),
        Segment(False, 0, 0, True, acknowledgement=600),
        Segment(False, 0, 0, True, acknowledgement=50),
    ]
    facts = spliced(segments)
    begin = (1 << 16) + 1
    stand = [(int(fact["acknowledgement"]) - int(fact["acknowledgement_shift"])) % WRAP for fact in facts]
    assert [stand[place] - begin for place in (2, 3, 5, 6)] == [100, 100, 100, 50]


def test_fin_follows_what_was_handed_over() -> None:
    segments = [
        Segment(True, -1, 0, True, flags=SYN),
        Segment(True, 0, 100, False),
        Segment(True, 100, 0, True, flags=FIN),
    ]
    assert shifts(segments) == [(0, 0), (100, 0)]


def test_a_row_that_another_flow_got_begins_anew() -> None:
    segments = [
        Segment(True, 0, 100, True),
        Segment(True, 100, 1000, False),
        Segment(True, 1100, 10, True),
        Segment(True, 7000, 0, True, flags=SYN, uid=2),
        Segment(True, 7001, 10, True, uid=2),
    ]
    assert shifts(segments)[-2:] == [(0, 0), (0, 0)]


def test_a_connection_that_goes_on_as_another_flow_goes_on_where_it_was() -> None:
    before = [
        Segment(True, 0, 100, True),
        Segment(False, 0, 50, True, acknowledgement=100),
        Segment(False, 50, 1000, False, acknowledgement=100),
    ]
    asked = Segment(True, 100, 80, True, acknowledgement=1050, flags=ACK, uid=2)
    answered = Segment(False, 1050, 50, True, acknowledgement=180, flags=ACK, uid=2)
    assert shifts([*before, asked, answered])[-2:] == [(0, 1000), (1000, 0)]
    more = [
        replace(asked, sequence=180, acknowledgement=1100, uid=3),
        replace(answered, sequence=1100, uid=3),
    ]
    turned = [replace(segment, forward=not segment.forward, turned=True) for segment in more]
    told = shifts([*before, asked, answered, *turned])
    assert [sequence for sequence, _ in told[-2:]] == [0, 1000]


def test_the_late_packet_of_a_stretch_before_goes_back_to_it() -> None:
    segments = [
        Segment(True, 0, 100, True),
        Segment(True, 100, 1000, False),
        Segment(True, 1200, 10, True),
        Segment(True, 1100, 100, False),
        Segment(True, 0, 2000, True),
    ]
    assert shifts(segments)[1:] == [(1000, 0), (1000, 0), (0, 0)]


def found(segments: list[Segment]) -> list[tuple[int, int]]:
    """What is missing before each segment that is handed over, and what it acknowledges and did not come."""
    facts = spliced(segments)
    return [(int(fact["missing"]), int(fact["unseen"])) for fact in facts if fact["verdict"] & DECODE]


def test_what_came_before_is_not_handed_over_again() -> None:
    segments = [
        Segment(True, 0, 100, True),
        Segment(True, 100, 100, True),
        Segment(True, 0, 100, True),
        Segment(True, 50, 150, True),
        Segment(True, 199, 1, True),
        Segment(True, -100, 50, True),
        Segment(True, 150, 100, True),
    ]
    assert [bool(fact["verdict"] & DECODE) for fact in spliced(segments)] == [
        *(True, True, False, False, False),
        *(True, True),  # of before the first, and what is new in part
    ]


def test_holes_are_said_where_they_are_found() -> None:
    segments = [
        Segment(True, 0, 100, True),
        Segment(True, 100, 1000, False),
        Segment(True, 1300, 50, True),  # 200 of these were not skipped
        Segment(True, 1100, 200, True),
        Segment(False, 0, 10, True, acknowledgement=1450, flags=ACK),  # 100 more must have been sent
        Segment(False, 10, 10, True, acknowledgement=1450, flags=ACK),
        Segment(True, 1350, 100, True),
        Segment(True, 1450, 10, True),
        Segment(False, 20, 10, True, acknowledgement=1461, flags=ACK),  # a FIN
    ]
    assert found(segments) == [
        *((0, 0), (200, 0), (-250, 0), (0, 100), (0, 0), (-100, 0), (0, 0), (0, 0)),
    ]


@st.composite
def streams(draw: st.DrawFn) -> list[Segment]:
    """Both directions' segments, in order, each direction's beginning with one that is handed over."""
    ends = [0, 0]
    segments = []
    for _ in range(draw(st.integers(2, 60))):
        forward = draw(st.booleans())
        side = 0 if forward else 1
        length = draw(st.sampled_from([0, 1, 100, 1448]))
        decode = draw(st.booleans()) or ends[side] == 0
        segments.append(Segment(forward, ends[side], length, decode, ends[1 - side]))
        ends[side] += length
    return segments


BASES = st.tuples(st.integers(WRAP - 5000, WRAP - 1), st.integers(0, WRAP - 1))


@settings(max_examples=300, deadline=None)
@given(segments=streams(), bases=BASES, block=st.sampled_from([1, 7, 1000]))
def test_what_is_handed_over_in_order_is_one_stream(
    segments: list[Segment], bases: tuple[int, int], block: int
) -> None:
    handed, lowered = [0, 0], [(1 << 16) + 1, (1 << 16) + 1]
    for segment, fact in zip(segments, spliced(segments, bases, block), strict=True):
        side = 0 if segment.forward else 1
        if segment.decode:
            assert (int(fact["sequence"]) - int(fact["sequence_shift"]) - lowered[side]) % WRAP == handed[
                side
            ]
            acknowledged = int(fact["acknowledgement"]) - int(fact["acknowledgement_shift"])
            if handed[1 - side]:
                assert (acknowledged - lowered[1 - side]) % WRAP == handed[1 - side]
            handed[side] += segment.length


@settings(max_examples=300, deadline=None)
@given(segments=streams(), bases=BASES, data=st.data())
def test_segments_that_come_late_leave_no_hole(
    segments: list[Segment], bases: tuple[int, int], data: st.DataObject
) -> None:
    """Whatever is in the capture: after all, what was handed over lies together without a hole."""
    first = {
        side: next((s for s in segments if s.forward is side and s.length), None) for side in (True, False)
    }
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(segments) - 1))
        if segments[at] not in first.values():
            segments.insert(min(at + data.draw(st.integers(1, 5)), len(segments)), segments.pop(at))
    facts = spliced(segments, bases)
    for forward in (True, False):
        base = (1 << 16) + 1
        stretches = sorted(
            ((int(fact["sequence"]) - int(fact["sequence_shift"]) - base) % WRAP, int(fact["length"]))
            for fact in facts
            if fact["forward"] == forward and fact["verdict"] & DECODE and fact["length"]
        )
        end = 0
        for begin, length in stretches:
            assert begin <= end
            end = max(end, begin + length)
