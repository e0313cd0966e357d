"""The native flow table against the twin: conversations made at random, growth, eviction, times that leap."""

from struct import pack

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from producers.compiled import is_cached
from producers.engine.engine import FlowEngine
from producers.engine.kernel.layout import DECODE
from producers.engine.model import Flow, Timeouts
from producers.sources.packet import RawPacket
from tests.engines import Both, as_block, final, records
from tests.packets import ethernet, ip, raw, udp

SECOND = 1_000_000_000
MILLISECOND = 1_000_000
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
ENDS = ("10.0.0.1", "10.0.0.2")


def segment(
    time_ns: int,
    flags: int,
    sequence: int,
    acknowledgement: int = 0,
    payload: int = 0,
    *,
    up: bool = True,
    window: int = 999,
    port: int = 40_000,
) -> RawPacket:
    ports = (port, 443) if up else (443, port)
    numbers = sequence & 0xFFFFFFFF, acknowledgement & 0xFFFFFFFF
    head = pack(">HHIIBBHHH", *ports, *numbers, 0x50, flags, window, 0, 0)
    ends = ENDS if up else ENDS[::-1]
    return raw(ethernet(ip(*ends, 6, head + bytes(payload)), swapped=int(not up)), time_ns)


def down(time_ns: int, flags: int, sequence: int, acknowledgement: int = 0, payload: int = 0) -> RawPacket:
    return segment(time_ns, flags, sequence, acknowledgement, payload, up=False)


def datagram(time_ns: int, port: int) -> RawPacket:
    return raw(ethernet(ip(*ENDS, 17, udp(port, 53, b"x"))), time_ns)


OPENED = [
    segment(0, SYN, 100),
    down(20 * MILLISECOND, SYN | ACK, 500, 101),
    segment(21 * MILLISECOND, ACK, 101, 501),
]


def sent(*steps: tuple[int, int, int]) -> list[RawPacket]:
    """A connection, then payload of the initiator: milliseconds, offset in the stream, length."""
    return OPENED + [segment(at * MILLISECOND, ACK, 101 + begin, 501, length) for at, begin, length in steps]


def counts(flow: Flow) -> tuple[int, int, int]:
    return flow.retransmits, flow.out_of_order, flow.missed_bytes


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([(30, 0, 100), (31, 100, 100)], (0, 0, 0)),
        ([(30, 0, 100), (31, 0, 100)], (1, 0, 0)),
        ([(30, 0, 100), (31, 50, 100)], (0, 0, 0)),
        ([(30, 0, 100), (31, 200, 100)], (0, 0, 100)),
        ([(30, 0, 100), (31, 200, 100), (32, 100, 100)], (0, 1, 0)),
        ([(30, 0, 100), (31, 200, 100), (90, 100, 100)], (1, 0, 0)),
        ([(30, 0, 100), (31, 200, 100), (32, 130, 20)], (0, 1, 80)),
        ([(30, 0, 100), (31, 200, 100), (32, 50, 300)], (0, 0, 0)),
        ([(30, 0, 10), *[(31 + n, 20 + 20 * n, 10) for n in range(6)]], (0, 0, 60)),
        ([(30, 0, 10), *[(31, 20 + 20 * n, 10) for n in range(6)], (32, 10, 10), (32, 110, 10)], (1, 1, 50)),
        ([(30, 0, 100), (31, (1 << 30) + 200, 100)], (0, 0, 0)),
        ([(30, 0, 100), (31, 99, 1)], (0, 0, 0)),
    ],
)
def test_lost_late_and_repeated_payload_is_told_apart(
    steps: list[tuple[int, int, int]], expected: tuple[int, int, int]
) -> None:
    (flow,) = final(sent(*steps))
    assert counts(flow) == expected
    assert flow.handshake_ns == 21 * MILLISECOND


def test_what_the_other_side_acknowledged_and_nobody_saw_is_missing() -> None:
    (flow,) = final([*sent((30, 0, 100)), down(40 * MILLISECOND, ACK, 501, 101 + 250)])
    assert (flow.missed_bytes, flow.history) == (150, "ShADaG")
    late = [down(35 * MILLISECOND, ACK, 501, 101 + 250), segment(36 * MILLISECOND, ACK, 201, 501, 150)]
    (flow,) = final([*sent((30, 0, 100)), *late])
    assert (flow.missed_bytes, flow.out_of_order) == (0, 1)


@pytest.mark.parametrize("number", [101 + 100 + 1, 101 + 100 + (1 << 24) + 1, 101 - 5])
def test_acknowledgements_of_a_fin_or_out_of_reach_say_nothing(number: int) -> None:
    (flow,) = final([*sent((30, 0, 100)), down(40 * MILLISECOND, ACK, 501, number)])
    assert (flow.missed_bytes, "G" in flow.history) == (0, False)


def test_ttl_flags_and_windows_are_those_of_each_side() -> None:
    closed = segment(30 * MILLISECOND, ACK | PSH, 101, 501, 5, window=0)
    (flow,) = final([*OPENED, closed, down(31 * MILLISECOND, FIN | ACK, 501, 106)])
    assert (flow.source_ttl, flow.destination_ttl, flow.zero_windows) == (64, 64, 1)
    assert (flow.source_flags, flow.destination_flags) == (SYN | ACK | PSH, SYN | FIN | ACK)
    assert "W" in flow.history


def test_a_handshake_is_timed_from_its_last_syn_and_only_if_it_was_seen() -> None:
    again = segment(10 * MILLISECOND, SYN, 100)
    (flow,) = final([OPENED[0], again, *OPENED[1:]])
    assert (flow.handshake_ns, flow.retransmits) == (11 * MILLISECOND, 1)
    (flow,) = final([*OPENED[:2], segment(21 * MILLISECOND, ACK, 101, 700)])
    assert flow.handshake_ns is None
    (flow,) = final(OPENED[1:])
    assert flow.handshake_ns is None


STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            [0, 1, 1, 1, 2_000, 4_000, 100_000, 3_000_000, 12_000_000, 400_000_000, -5_000_000, -1]
        ),
        st.booleans(),
        st.sampled_from(
            [ACK, ACK, ACK, ACK | PSH, SYN, SYN | ACK, FIN | ACK, RST, RST | ACK, SYN | FIN, 0, 0x3F]
        ),
        st.integers(-3, 12),
        st.integers(-2, 14),
        st.sampled_from([0, 0, 10, 10, 10, 1, 25, 1_460]),
        st.sampled_from([999, 999, 999, 0]),
        st.sampled_from([1, 1, 1, 2]),
        st.sampled_from([0, 0, 0, 0, 0, 0, 5_000_000]),
    ),
    max_size=60,
)


def conversation(
    steps: list[tuple[int, bool, int, int, int, int, int, int, int]], base: int
) -> list[RawPacket]:
    """Segments whose numbers lie near each other, so that they overlap, repeat, leave holes and fill them."""
    now, packets = 1_000 * SECOND, []
    for microseconds, up, flags, sequence, acknowledged, length, window, port, leap in steps:
        now += microseconds * 1_000
        numbers = base + 10 * sequence + leap, base + 10 * acknowledged
        packets.append(segment(now, flags, *numbers, length, up=up, window=window, port=port))
    return packets


@settings(max_examples=150, deadline=None)
@given(STEPS, st.sampled_from([1_000, 2**32 - 40, 2**31 - 30]), st.sampled_from([1, 2, 1_000]))
def test_any_conversation_is_told_as_the_twin_tells_it(
    steps: list[tuple[int, bool, int, int, int, int, int, int, int]], base: int, most: int
) -> None:
    packets = conversation(steps, base)
    engine = Both(Timeouts(tcp=300, linger=10, active=7), max_flows=most)
    found = [record.flow for record in records(packets, engine) if record.final]
    assert sum(flow.source_packets + flow.destination_packets for flow in found) == len(packets)
    assert all(flow.missed_bytes >= 0 for flow in found)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(-70, 90), st.integers(1, 12)), max_size=120), st.integers(1, 5))
def test_times_that_leap_and_evictions_are_the_twin_s(steps: list[tuple[int, int]], most: int) -> None:
    now, packets = 10_000, []
    for seconds, port in steps:
        now += seconds
        packets.append(datagram(now * SECOND, port))
    records(packets, Both(max_flows=most))


def test_a_table_grows_and_forgets_nothing() -> None:
    ports = [*range(1, 30_001), *range(1, 30_001)]
    engine = FlowEngine()
    rows = engine.feed_rows(as_block(datagram(number, port) for number, port in enumerate(ports)))
    assert (len(rows.records), engine.open_flows, engine.evicted) == (0, 30_000, 0)
    assert rows.facts["verdict"].tolist() == [DECODE] * len(ports)
    assert rows.facts["uid"].tolist() == [*range(1, 30_001)] * 2
    flows = [record.flow for record in engine.close()]
    assert [flow.source_port for flow in flows] == ports[:30_000]
    assert {flow.source_packets for flow in flows} == {2}


def test_packets_of_flows_that_ended_in_the_block_still_have_their_flow() -> None:
    ports = [number % 900 + 1 for number in range(10_000)]
    engine = FlowEngine(max_flows=10)
    batch = engine.feed(as_block(datagram(number, port) for number, port in enumerate(ports)))
    flows = [batch.flow(number) for number in range(len(ports))]
    assert [flow.source_port if flow else None for flow in flows] == ports
    assert engine.evicted == len(batch.records) == len(ports) - 10
    assert [record.flow.source_port for _, record in batch.records] == ports[:-10]
    assert [place for place, _ in batch.records] == list(range(10, len(ports)))


def test_a_leap_in_time_ends_all_flows_but_not_all_at_once() -> None:
    packets = [datagram(number, number + 1) for number in range(1_000)]
    late = [datagram(1_000 * SECOND + number, 50_000) for number in range(100)]
    batch = FlowEngine().feed(as_block([*packets, *late]))
    places = np.array([place for place, _ in batch.records])
    assert len(places) == 1_000
    assert np.bincount(places - 1_000).max() <= 16
    assert [record.flow.source_port for _, record in batch.records] == list(range(1, 1_001))


def test_facts_tell_what_was_before_a_packet() -> None:
    steps = [segment(n, ACK, 100 + 10 * n, 500, 10) for n in range(3)]
    facts = FlowEngine().feed(as_block([*steps, down(4, ACK, 500, 130, 7), segment(5, ACK, 130, 507)])).facts
    assert facts["forward"].tolist() == [1, 1, 1, 0, 1]
    assert facts["number"].tolist() == [0, 1, 2, 3, 4]
    assert facts["sent_before"].tolist() == [0, 10, 20, 0, 30]
    assert facts["sent_packets"].tolist() == [0, 1, 2, 0, 3]
    assert facts["answered"].tolist() == [0, 0, 0, 1, 1]
    assert facts["flow_bytes"].tolist() == [0, 64, 128, 192, 253]


LATEST = 2**63 - 1


@pytest.mark.parametrize("now_ns", [LATEST, LATEST - SECOND, LATEST // SECOND * SECOND])
def test_the_end_of_time_ends_all_flows(now_ns: int) -> None:
    both = Both()
    both.feed([datagram(0, port) for port in range(5_000)])
    assert len(both.advance(now_ns)) == 5_000
    assert both.advance(now_ns) == []


def test_warming_changes_nothing() -> None:
    engine = FlowEngine()
    engine.feed(as_block([datagram(0, 1)]))
    before = engine.accounting
    engine.warm()
    assert (engine.accounting, engine.open_flows) == (before, 1)
    assert is_cached()


def test_what_is_forgotten_of_ended_flows_is_no_matter_of_chance() -> None:
    flows = [datagram(0, port) for port in range(1, 12_001)]

    def ordinals() -> list[tuple[int | None, int]]:
        engine = FlowEngine()
        engine.feed(as_block(flows))
        assert len(list(engine.advance(1_000 * SECOND))) == len(flows)
        engine.feed(as_block(flows))
        return [(record.flow.source_port, record.flow.ordinal) for record in engine.close()]

    once = ordinals()
    assert sum(ordinal for _, ordinal in once) > 6_000  # most are remembered, not all
    assert ordinals() == once
