"""The rules of flows: who began, when one ends, what it counted, in which order records come."""

import gc
from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.engine.engine import FlowEngine
from producers.engine.model import Flow, FlowRecord, Timeouts
from producers.engine.twin.engine import Twin
from producers.engine.twin.flows import SECOND
from producers.sources.packet import RawPacket
from tests.engines import Both, as_block, final, records
from tests.packets import ethernet, ip, raw, tcp, udp

FIN, SYN, RST, ACK = 1, 2, 4, 16
CLIENT, SERVER = "10.0.0.1", "10.0.0.2"
Step = tuple[float, str, int, int, bytes]  # seconds, "c" or "s", flags, sequence number, payload


def conversation(steps: list[Step], client: int = 40000, server: int = 443) -> list[RawPacket]:
    packets = []
    for number, (seconds, who, flags, sequence, payload) in enumerate(steps, 1):
        up = who == "c"
        segment = tcp(*((client, server) if up else (server, client)), flags, sequence, payload)
        frame = ethernet(ip(*((CLIENT, SERVER) if up else (SERVER, CLIENT)), 6, segment), swapped=int(not up))
        packets.append(raw(frame, int(seconds * SECOND), number))
    return packets


HANDSHAKE: list[Step] = [(0, "c", SYN, 100, b""), (0.1, "s", SYN | ACK, 500, b""), (0.2, "c", ACK, 101, b"")]
EXCHANGE: list[Step] = [(0.3, "c", ACK, 101, b"hello"), (0.4, "s", ACK, 501, b"world")]
CLOSE: list[Step] = [
    (0.5, "c", FIN | ACK, 106, b""),
    (0.6, "s", FIN | ACK, 506, b""),
    (0.7, "c", ACK, 107, b""),
]


def test_a_whole_connection_is_one_flow_with_all_its_figures() -> None:
    packets = conversation(HANDSHAKE + EXCHANGE + CLOSE)
    (flow,) = final(packets)
    assert (flow.source_ip, flow.source_port) == (CLIENT, 40000)
    assert (flow.destination_ip, flow.destination_port) == (SERVER, 443)
    assert (flow.source_mac, flow.destination_mac) == ("02-00-00-00-00-02", "02-00-00-00-00-01")
    assert (flow.source_packets, flow.destination_packets) == (5, 3)
    assert flow.source_bytes == 5 * 54 + 5
    assert flow.destination_bytes == 3 * 54 + 5
    assert (flow.start_ns, flow.end_ns) == (0, 700_000_000)
    assert (flow.state, flow.history, flow.end_reason) == ("SF", "ShADdFf", "fin")
    assert (flow.transport, flow.ip_protocol, flow.ip_version, flow.retransmits) == ("tcp", 6, 4, 0)


def test_every_packet_is_decided_with_its_direction_and_payload() -> None:
    engine = Both()
    block = as_block(conversation(HANDSHAKE + EXCHANGE))
    assert engine.feed(block) == [(0, True, 0), (1, False, 0), (2, True, 0), (3, True, 5), (4, False, 5)]
    batch = FlowEngine().feed(block)
    assert len({id(batch.flow(number)) for number in range(5)}) == 1


@pytest.mark.parametrize(
    ("steps", "state", "history", "reason"),
    [
        (HANDSHAKE[:1], "S0", "S", "end"),
        (HANDSHAKE, "S1", "ShA", "end"),
        ([*HANDSHAKE, (1, "c", FIN | ACK, 101, b"")], "S2", "ShAF", "end"),
        ([*HANDSHAKE, (1, "s", FIN | ACK, 501, b"")], "S3", "ShAf", "end"),
        ([*HANDSHAKE, (1, "c", RST, 101, b"")], "RSTO", "ShAR", "rst"),
        ([*HANDSHAKE, (1, "s", RST | ACK, 501, b"")], "RSTR", "ShAr", "rst"),
        ([*HANDSHAKE[:1], (1, "s", RST | ACK, 0, b"")], "REJ", "Sr", "rst"),
        ([*HANDSHAKE[:1], (1, "c", RST, 101, b"")], "RSTOS0", "SR", "rst"),
        ([*HANDSHAKE[:1], (1, "c", FIN, 101, b"")], "SH", "SF", "end"),
        ([HANDSHAKE[1], (1, "s", RST, 501, b"")], "RSTRH", "^hr", "rst"),
        ([HANDSHAKE[1], (1, "s", FIN, 501, b"")], "SHR", "^hf", "end"),
        (EXCHANGE, "OTH", "Dd", "end"),
        ([*HANDSHAKE, *EXCHANGE, *CLOSE, (1, "s", RST, 507, b"")], "SF", "ShADdFfr", "fin"),
        ([(0, "c", SYN | FIN, 100, b"")], "SH", "SQF", "end"),
        ([*HANDSHAKE, (1, "c", RST | FIN, 101, b"")], "RSTO", "ShAIFR", "rst"),
    ],
)
def test_states_and_histories_are_those_of_conn_log(
    steps: list[Step], state: str, history: str, reason: str
) -> None:
    (flow,) = final(conversation(steps))
    assert (flow.state, flow.history, flow.end_reason) == (state, history, reason)


@pytest.mark.parametrize(
    ("steps", "ports", "initiator"),
    [
        (HANDSHAKE[:1], (40000, 443), CLIENT),
        (HANDSHAKE[1:2], (40000, 443), CLIENT),
        ([(0, "s", SYN, 1, b"")], (40000, 443), SERVER),
        ([(0, "s", ACK, 1, b"x")], (40000, 443), CLIENT),
        ([(0, "s", ACK, 1, b"x")], (40000, 8443), SERVER),
        ([(0, "s", ACK, 1, b"x")], (80, 443), SERVER),
        ([(0, "c", ACK, 1, b"x")], (40000, 443), CLIENT),
    ],
)
def test_the_initiator_is_told_by_flags_then_by_ports_then_by_order(
    steps: list[Step], ports: tuple[int, int], initiator: str
) -> None:
    (flow,) = final(conversation(steps, *ports))
    assert flow.source_ip == initiator
    assert flow.source_mac == ("02-00-00-00-00-02" if initiator == CLIENT else "02-00-00-00-00-01")


def test_segments_seen_again_are_counted_and_keep_alives_are_not() -> None:
    again: list[Step] = [
        (1, "c", ACK, 101, b"hello"),
        (1.1, "c", ACK, 103, b"llo"),
        (1.2, "c", ACK, 105, b"o"),
    ]
    (flow,) = final(conversation(HANDSHAKE + EXCHANGE + again + [(2, "c", ACK, 106, b"more")]))
    assert flow.retransmits == 2
    assert "T" in flow.history
    assert "t" not in flow.history


def test_sequence_numbers_wrap() -> None:
    top = 2**32 - 3
    (flow,) = final(
        conversation([(0, "c", ACK, top, b"hello"), (1, "c", ACK, 2, b"more"), (2, "c", ACK, top, b"he")])
    )
    assert flow.retransmits == 1


REUSE: list[Step] = [(1, "c", SYN, 9_000_000, b""), (1.1, "s", SYN | ACK, 7_000_000, b"")]


@pytest.mark.parametrize(
    ("before", "syn", "flows"),
    [
        (HANDSHAKE + EXCHANGE + CLOSE, 9_000_000, 2),
        (HANDSHAKE + EXCHANGE + CLOSE, 100, 2),
        ([*HANDSHAKE, (0.5, "s", RST, 501, b"")], 300, 2),
        (HANDSHAKE + EXCHANGE, 9_000_000, 2),
        (HANDSHAKE + EXCHANGE, 100, 1),
        (HANDSHAKE[:1], 100, 1),
        (HANDSHAKE[:1], 9_000_000, 2),
        ([HANDSHAKE[0], (0.5, "s", RST | ACK, 0, b"")], 100, 1),
        (EXCHANGE, 100, 1),
    ],
)
def test_a_new_syn_begins_a_new_flow_and_the_same_one_does_not(
    before: list[Step], syn: int, flows: int
) -> None:
    got = final(conversation([*before, (1, "c", SYN, syn, b"")]))
    assert len(got) == flows
    assert sum(flow.source_packets + flow.destination_packets for flow in got) == len(before) + 1


def test_last_acknowledgements_stay_with_a_closed_flow_and_later_packets_do_not() -> None:
    steps = HANDSHAKE + EXCHANGE + CLOSE
    assert len(final(conversation([*steps, (9, "s", ACK, 507, b"")]))) == 1
    first, second = final(conversation([*steps, (11, "s", ACK, 507, b"")]))
    assert (first.end_reason, first.state) == ("fin", "SF")
    assert (second.end_reason, second.state, second.destination_packets) == ("end", "OTH", 1)


def datagram(seconds: float, *, up: bool = True, port: int = 5000) -> RawPacket:
    ends, ports = ((CLIENT, SERVER), (port, 53)) if up else ((SERVER, CLIENT), (53, port))
    return raw(ethernet(ip(*ends, 17, udp(*ports, b"x"))), int(seconds * SECOND))


@pytest.mark.parametrize(("gap", "flows"), [(59.9, 1), (60.0, 1), (60.1, 2), (1000, 2)])
def test_idle_flows_end_to_the_moment(gap: float, flows: int) -> None:
    got = final([datagram(5.5), datagram(5.5 + gap, up=False)])
    assert len(got) == flows
    assert got[0].end_reason == ("idle" if flows == 2 else "end")
    assert got[0].state == ("S0" if flows == 2 else "SF")


def test_other_packets_let_idle_flows_end_and_their_records_come_in_time() -> None:
    engine = Both()
    out = list(
        engine.feed([datagram(0, port=1), datagram(1, port=2), datagram(63, port=3), datagram(70, port=4)])
    )
    kinds = [item.flow.source_port if isinstance(item, FlowRecord) else "packet" for item in out]
    assert kinds == ["packet", "packet", 1, 2, "packet", "packet"]
    assert engine.open_flows == 2
    assert [record.flow.source_port for record in engine.advance(124 * SECOND)] == [3]
    assert [record.flow.source_port for record in engine.close()] == [4]


def test_a_flow_that_goes_on_is_reported_in_between() -> None:
    engine = Both(Timeouts(active=30))
    out = list(engine.feed([datagram(seconds, up=seconds % 20 == 0) for seconds in range(0, 100, 10)]))
    records = [item for item in out if isinstance(item, FlowRecord)]
    counts = [record.flow.source_packets + record.flow.destination_packets for record in records]
    assert counts == [3, 6, 9]
    assert {(record.final, record.flow.end_reason) for record in records} == {(False, "active")}
    assert len({(record.flow.community_id, record.flow.start_ns) for record in records}) == 1
    (last,) = engine.close()
    assert (last.final, last.flow.end_reason) == (True, "end")
    assert last.flow.source_packets + last.flow.destination_packets == 10


def test_flows_of_one_tuple_and_one_time_are_numbered() -> None:
    steps: list[Step] = [(1, "c", SYN, number * 10_000_000, b"") for number in range(4)]
    flows = final(conversation(steps))
    assert [(flow.start_ns, flow.ordinal) for flow in flows] == [(SECOND, number) for number in range(4)]


def test_past_the_limit_a_flow_that_is_next_to_end_goes() -> None:
    engine = Both(max_flows=2)
    out = list(engine.feed([datagram(port, port=port) for port in (1, 2, 3)]))
    (record,) = [item for item in out if isinstance(item, FlowRecord)]
    assert (record.flow.source_port, record.flow.end_reason, engine.open_flows) == (1, "evicted", 2)


def test_flows_that_are_over_leave_nothing_behind() -> None:
    engine = Twin(max_flows=100)
    packets = conversation([(0, "c", SYN, number * 10_000_000, b"") for number in range(400)])
    packets += [datagram(number * 3_600, port=number + 1) for number in range(3_000)]

    def leftovers() -> int:
        gc.collect()
        return sum(type(thing) is Flow for thing in gc.get_objects())

    before = leftovers()
    for packet in packets:
        assert all(item is not None for item in engine.feed([packet]))
    assert leftovers() - before <= 100


def test_packets_that_come_out_of_order_change_neither_start_nor_end() -> None:
    (flow,) = final([datagram(10), datagram(20), datagram(12)])
    assert (flow.start_ns, flow.end_ns, flow.source_packets) == (10 * SECOND, 20 * SECOND, 3)


def test_an_icmp_error_is_its_own_flow_and_an_echo_has_two_sides() -> None:
    quoted = ip(CLIENT, SERVER, 17, udp(5000, 53, b"x"))
    error = raw(ethernet(ip(SERVER, CLIENT, 1, b"\x03\x03" + bytes(6) + quoted)))
    reply = raw(ethernet(ip(SERVER, CLIENT, 1, b"\x00\x00" + bytes(6))))
    request = raw(ethernet(ip(CLIENT, SERVER, 1, b"\x08\x00" + bytes(6))))
    flows = final([datagram(0), error, reply, request])
    assert [(flow.transport, flow.source_ip, flow.source_port) for flow in flows] == [
        ("udp", CLIENT, 5000),
        ("icmp", SERVER, None),
        ("icmp", CLIENT, None),
    ]
    assert [(flow.source_packets, flow.destination_packets) for flow in flows] == [(1, 0), (1, 0), (1, 1)]


def fragments(version: int = 4, name: int = 7) -> list[RawPacket]:
    whole = udp(5000, 53, bytes(100))
    if version == 4:
        pieces = [(0x2000, whole[:48]), (0x2006, whole[48:96]), (0x000C, whole[96:])]
        packets = [ip(CLIENT, SERVER, 17, part, piece=piece, name=name) for piece, part in pieces]
    else:
        heads = [pack(">BBHI", 17, 0, offset, name) for offset in (0x0001, 0x0031, 0x0060)]
        parts = [whole[:48], whole[48:96], whole[96:]]
        ends = ("2001:db8::1", "2001:db8::2")
        packets = [ip(*ends, 44, head + part) for head, part in zip(heads, parts, strict=True)]
    return [raw(ethernet(packet)) for packet in packets]


@given(st.permutations(range(3)), st.sampled_from([4, 6]))
def test_fragments_belong_to_their_datagram_in_any_order(order: list[int], version: int) -> None:
    pieces = fragments(version)
    (flow,) = final([pieces[number] for number in order])
    assert (flow.source_port, flow.destination_port, flow.source_packets) == (5000, 53, 3)


def test_fragments_without_their_first_are_a_flow_without_ports() -> None:
    (flow,) = final(fragments()[1:])
    assert (flow.transport, flow.source_port, flow.source_packets) == ("udp", None, 2)


def test_fragments_of_a_tunnel_belong_to_the_flow_inside() -> None:
    inner = ip("10.9.9.1", "10.9.9.2", 17, udp(1111, 2222, bytes(100)))
    whole = pack(">HH", 0, 0x0800) + inner
    pieces = [(0x2000, whole[:72]), (0x0009, whole[72:])]
    packets = [raw(ethernet(ip(CLIENT, SERVER, 47, part, piece=piece, name=3))) for piece, part in pieces]
    (flow,) = final(packets)
    assert (flow.source_ip, flow.source_packets) == ("10.9.9.1", 2)


def test_an_identification_used_again_later_is_another_datagram() -> None:
    first, second, _ = fragments()
    late = second._replace(time_ns=31 * SECOND)
    assert len(final([first, late])) == 2


@given(st.lists(st.integers(1, 30), max_size=6))
def test_blocks_of_any_size_give_the_same_records(sizes: list[int]) -> None:
    packets = conversation(HANDSHAKE + EXCHANGE + CLOSE + [(30, "c", SYN, 5, b""), (400, "c", ACK, 6, b"x")])
    packets += [datagram(401 + number * 7, port=number % 3 + 1) for number in range(30)]
    engine, rest, got = Both(), packets, []
    for size in [*sizes, len(packets)]:
        got += [item for item in engine.feed(rest[:size]) if isinstance(item, FlowRecord)]
        rest = rest[size:]
    assert [*map(repr, got), *map(repr, engine.close())] == [*map(repr, records(packets))]
