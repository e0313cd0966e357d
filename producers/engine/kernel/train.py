"""Trains: packets of one TCP connection that follow each other, as bulk does, and change nothing but counters.

They are most of all packets. Here one loop passes over them with the flow's row at hand, and stops at the first that
says more; that one, and what no train carries, goes the long way (`table`), which would count each of these the same.
"""
# ruff: noqa: PLR0913, PLR0917 - columns travel one by one

from typing import Any

import numpy as np
from numpy.typing import NDArray

from producers.compiled import bare_inner, inlined
from producers.engine.kernel import tcp
from producers.engine.kernel.layout import Fragment, Kind, Part
from producers.engine.kernel.octets import Buffer, number, octet
from producers.engine.kernel.phases import is_quiet, quiet_part

_FLOW, _WHOLE, _NONE = int(Kind.FLOW), int(Fragment.NONE), int(Part.NONE)
_CONTROL = tcp.FIN | tcp.SYN | tcp.RST | tcp.ACK


@bare_inner
def pass_train(
    flows: Any,
    slot: int,
    facts: Any,
    begin: int,
    buffer: Buffer,
    offset: NDArray[np.int64],
    captured: NDArray[np.int64],
    wire: NDArray[np.int64],
    time_ns: NDArray[np.int64],
    until: int,
) -> int:
    """Count packets from `begin` on in a TCP flow, before the time `until`; return the first that is no more of it."""
    row = flows[slot]
    for packet in range(begin, len(facts)):
        fact = facts[packet]
        now = time_ns[packet]
        if fact.kind != _FLOW or now >= until or now - row.end_ns > row.idle_ns or now >= row.interim_ns:
            return packet
        side = _side(flows, slot, facts, packet)
        if side < 0 or fact.fragment != _WHOLE or not _is_plain(flows, slot, side, facts, packet):
            return packet
        length = number(fact.length)
        fact.content = 0
        if length > 0:
            payload = number(fact.payload)
            if captured[packet] <= payload:
                return packet
            if not is_quiet(flows, slot, side, facts, packet, octet(buffer, offset[packet] + payload)):
                return packet
            row.next[side] = fact.sequence + length
            row.advanced_ns[side] = now
            fact.part = quiet_part(flows, slot)
        else:
            fact.part = _NONE
        fact.signature = row.signature
        count(flows, slot, side, facts, packet, wire[packet], now)
    return len(facts)


@inlined
def _side(flows: Any, slot: int, facts: Any, packet: int) -> int:
    """Which side of a flow sent a packet; -1 if it is another flow's, or cannot be told by its key."""
    row, fact = flows[slot], facts[packet]
    if row.protocol != fact.protocol or row.version != fact.version or row.ported != fact.ported:
        return -1
    same = (
        row.source_port == fact.source_port
        and row.destination_port == fact.destination_port
        and row.source_low == fact.source_low
        and row.destination_low == fact.destination_low
        and row.source_high == fact.source_high
        and row.destination_high == fact.destination_high
    )
    across = (
        row.source_port == fact.destination_port
        and row.destination_port == fact.source_port
        and row.source_low == fact.destination_low
        and row.destination_low == fact.source_low
        and row.source_high == fact.destination_high
        and row.destination_high == fact.source_high
    )
    return -1 if same == across else number(across)


@inlined
def _is_plain(flows: Any, slot: int, side: int, facts: Any, packet: int) -> bool:
    """Whether `tcp.see` would do no more with a segment than to move the next expected sequence number on."""
    row, fact = flows[slot], facts[packet]
    if fact.tcp_flags & _CONTROL != tcp.ACK or fact.window == 0 or row.handshake == tcp.ACCEPTED:
        return False
    if row.holes[0] or row.holes[1]:
        return False
    other = 1 - side
    if (
        row.known[other] & tcp.NEXT
        and tcp.distance(number(fact.acknowledgement), number(row.next[other])) > 1
    ):
        return False
    letter = tcp.MORE
    if fact.length > 0:
        letter = tcp.DATA
        if row.known[side] & tcp.NEXT == 0 or fact.sequence != row.next[side]:
            return False
    return bool(number(row.seen) >> (letter * 2 + side) & 1)


@inlined
def count(flows: Any, slot: int, side: int, facts: Any, packet: int, wire: int, now: int) -> None:
    """Tell the packet what was before it, then count it."""
    row, fact = flows[slot], facts[packet]
    fact.slot = slot
    fact.uid = row.uid
    fact.forward = 1 - side
    fact.number = row.packets[0] + row.packets[1]
    fact.flow_bytes = row.bytes[0] + row.bytes[1]
    fact.sent_before = row.payload_bytes[side]
    fact.sent_packets = row.payload_packets[side]
    if row.packets[side] == 0:
        row.ttl[side] = fact.ttl
    row.packets[side] += 1
    row.bytes[side] += wire
    row.flags[side] |= fact.tcp_flags
    if fact.length > 0:
        row.payload_packets[side] += 1
        row.payload_bytes[side] += fact.length
    fact.answered = number(row.packets[0] > 0 and row.packets[1] > 0)
    row.end_ns = max(row.end_ns, now)
