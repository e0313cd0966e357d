"""The flow table: which flow a packet belongs to, what it changes there, and when the flow is over.

The rules are those of docs/flows.md, and of the twin (producers.engine.twin), which says the same in plain Python.
Time is packet time only.
"""
# ruff: noqa: PLR0913, PLR0917 - columns travel one by one

from typing import Any

import numpy as np
from numpy.typing import NDArray

from producers.compiled import bare_entry, bare_inner
from producers.engine.kernel import tcp
from producers.engine.kernel.layout import Fragment, Kind, Part
from producers.engine.kernel.octets import number
from producers.engine.kernel.phases import observe
from producers.engine.kernel.table_index import ONE_WAY, find, insert, key_hash, remove
from producers.engine.kernel.table_rows import (
    ACTIVE,
    COUNT,
    CURSOR,
    DUE,
    END,
    EVICTED,
    EVICTIONS,
    FREE,
    HIGH,
    IDLE,
    INTERIM,
    KINDS,
    LIMBO,
    LIMBO_END,
    LINGER,
    MAX_FLOWS,
    OTHER_IDLE,
    RECORDS,
    SECOND,
    SEED,
    TCP_IDLE,
    UIDS,
    Table,
)
from producers.engine.kernel.table_timers import deadline, schedule, set_cursor, unschedule
from producers.engine.kernel.train import count, pass_train

MAX_ENDS = number(16)
"""So many flows at most are looked at between two packets, so that a leap in time does not stop everything."""
_ROOM = MAX_ENDS + 4

_UNSEEDED = np.uint64(0)
_FLOW, _LATER = int(Kind.FLOW), int(Fragment.LATER)
_NONE, _UNKNOWN = int(Part.NONE), int(Part.UNKNOWN)
_ICMP, _TCP, _ICMPV6, _SCTP = 1, 6, 58, 132


@bare_entry
def track(
    table: Table,
    facts: Any,
    begin: int,
    buffer: NDArray[np.uint8],
    offset: NDArray[np.int64],
    captured: NDArray[np.int64],
    wire: NDArray[np.int64],
    time_ns: NDArray[np.int64],
    interface: NDArray[np.int32],
) -> int:
    """Find the flow of each packet from `begin` on and count it there; write the facts of this stage.

    `interface` is the number to keep with the flow. Returns the packet it stopped at because the records were full
    (they are to be taken out, then called again), or the number of packets.
    """
    if begin == 0:
        _release(table)
    packet = begin
    while packet < len(facts):
        if table.state[RECORDS] + _ROOM > len(table.records):
            return packet
        kind = facts[packet].kind
        table.state[KINDS + kind] += 1
        if kind == _FLOW:
            _add(table, facts, packet, buffer, offset, captured, wire, time_ns, interface)
        else:
            facts[packet].slot = -1
        packet += 1
        if kind == _FLOW and facts[packet - 1].protocol == _TCP:
            slot, until, first = number(facts[packet - 1].slot), table.state[DUE], packet
            packet = pass_train(
                table.flows, slot, facts, first, buffer, offset, captured, wire, time_ns, until
            )
            table.state[KINDS + _FLOW] += packet - first
    return len(facts)


@bare_inner
def _add(
    table: Table,
    facts: Any,
    packet: int,
    buffer: Any,
    offset: Any,
    captured: Any,
    wire: Any,
    time_ns: Any,
    interface: Any,
) -> None:
    """Count a packet in its flow."""
    now = time_ns[packet]
    if now >= table.state[DUE]:
        _expire(table, now, MAX_ENDS, packet)
    key = key_hash(np.uint64(table.state[SEED]), facts, packet)
    found = find(table.cells, table.flows, facts, packet, key)
    if found >= 0 and _is_over(table, found >> 1, facts, packet, found & 1, now):
        found = -1
    if found < 0:
        start = offset[packet]
        found = _start(table, facts, packet, key, now, buffer, start)
        table.flows[found >> 1].interface = interface[packet]
    slot, side = found >> 1, 1 - (found & 1)
    count(table.flows, slot, side, facts, packet, wire[packet], now)
    length = number(facts[packet].length)
    if facts[packet].fragment == _LATER:
        facts[packet].signature = table.flows[slot].signature
        facts[packet].part = _UNKNOWN if length > 0 else _NONE
        facts[packet].content = 0
        tcp.continues(table.flows, slot, side, length)
        return
    payload = number(facts[packet].payload)
    available = max(min(number(captured[packet]) - payload, length), 0)
    observe(table.flows, slot, facts, packet, buffer, number(offset[packet]) + payload, available)
    if table.flows[slot].protocol == _TCP:
        closed = tcp.see(table.flows, slot, side, facts, packet, now)
        if closed != 0 and table.flows[slot].closed == 0:
            _close(table, slot, closed)
    elif length > 0:
        tcp.note(table.flows, slot, side, tcp.DATA)


@bare_inner
def _close(table: Table, slot: int, how: int) -> None:
    """A connection is closed: it is over as soon as its last acknowledgements have had the time to come."""
    row = table.flows[slot]
    row.closed = how
    row.idle_ns = table.state[LINGER]
    unschedule(table, slot)
    schedule(table, slot, deadline(table, slot))


@bare_inner
def _is_over(table: Table, slot: int, facts: Any, packet: int, forward: int, now: int) -> bool:
    """Whether a packet of a known key begins another flow; then the known one is ended, else told if it is time."""
    row, fact = table.flows[slot], facts[packet]
    if now - row.end_ns > row.idle_ns:
        _finish(table, slot, IDLE, packet)
        return True
    if (
        row.protocol == _TCP
        and fact.tcp_flags & (tcp.SYN | tcp.ACK) == tcp.SYN
        and tcp.begins_anew(table.flows, slot, 1 - forward, number(fact.sequence))
    ):
        _finish(table, slot, END, packet)
        return True
    if now >= row.interim_ns:
        active = table.state[INTERIM]
        row.interim_ns += ((now - row.interim_ns) // active + 1) * active
        _record(table, slot, packet, ACTIVE)
    return False


@bare_inner
def _start(table: Table, facts: Any, packet: int, key: Any, now: int, buffer: Any, frame: int) -> int:
    """Begin a flow; return what `find` would."""
    if table.state[COUNT] >= table.state[MAX_FLOWS]:
        _evict(table, packet)
    slot = _take(table)
    table.flows[slot] = table.blank[0]
    row, fact = table.flows[slot], facts[packet]
    backward = _is_reply(facts, packet)
    row.backward = backward
    if backward:
        row.source_high, row.source_low = fact.destination_high, fact.destination_low
        row.destination_high, row.destination_low = fact.source_high, fact.source_low
        row.source_port, row.destination_port = fact.destination_port, fact.source_port
        row.source_mac = _mac(buffer, frame, fact.destination_mac)
        row.destination_mac = _mac(buffer, frame, fact.source_mac)
        row.history[0] = tcp.BACKWARD
        row.letters = 1
    else:
        row.source_high, row.source_low = fact.source_high, fact.source_low
        row.destination_high, row.destination_low = fact.destination_high, fact.destination_low
        row.source_port, row.destination_port = fact.source_port, fact.destination_port
        row.source_mac = _mac(buffer, frame, fact.source_mac)
        row.destination_mac = _mac(buffer, frame, fact.destination_mac)
    row.protocol, row.version, row.ported = fact.protocol, fact.version, fact.ported
    _name(table, slot, facts, packet, key, now)
    row.start_ns = row.end_ns = now
    row.idle_ns = table.state[TCP_IDLE if row.protocol in (_TCP, _SCTP) else OTHER_IDLE]
    row.interim_ns = now + table.state[INTERIM]
    row.live = 1
    insert(table.cells, key, slot)
    schedule(table, slot, deadline(table, slot))
    return slot * 2 + 1 - backward


@bare_inner
def _name(table: Table, slot: int, facts: Any, packet: int, key: Any, now: int) -> None:
    """Give a flow its numbers, tunnel and VLANs."""
    row, fact = table.flows[slot], facts[packet]
    table.state[UIDS] += 1
    row.uid = table.state[UIDS]
    row.hash = key
    # The place does not depend on the seed, or what is forgotten, and with it an ordinal, would be a matter of chance.
    row.remembered = number(key_hash(_UNSEEDED, facts, packet)) & (len(table.ended) - 1)
    ended = table.ended[row.remembered]
    if ended.hash == key and ended.start_ns == now:
        row.ordinal = ended.ordinal + 1
    row.tunnel = fact.tunnel
    if fact.tunnel != 0:
        row.outer_version = fact.outer_version
        row.outer_source_high, row.outer_source_low = fact.outer_source_high, fact.outer_source_low
        row.outer_destination_high = fact.outer_destination_high
        row.outer_destination_low = fact.outer_destination_low
    row.vlans = fact.vlans
    for tag in range(fact.vlans):
        row.vlan[tag] = fact.vlan[tag]


@bare_inner
def _mac(buffer: Any, frame: int, place: int) -> int:
    """A MAC address as a number, -1 if there is none. `parse` has made sure that it was captured."""
    if place < 0:
        return -1
    value = 0
    for at in range(frame + place, frame + place + 6):
        value = value << 8 | number(buffer[at])
    return value


@bare_inner
def _is_reply(facts: Any, packet: int) -> int:
    """1 if a flow's first packet went to the initiator: SYN-ACK, ICMP answer, or a well-known TCP port."""
    fact = facts[packet]
    if fact.ported in (0, ONE_WAY):
        return 0
    if fact.protocol == _TCP:
        return tcp.is_reply(facts, packet)
    kind = fact.source_port
    if fact.protocol == _ICMP:
        return number(kind == 0 or kind == 14 or kind == 16 or kind == 18)  # noqa: PLR1714
    return number(fact.protocol == _ICMPV6 and (kind == 129 or kind == 145))  # noqa: PLR1714


@bare_inner
def _take(table: Table) -> int:
    """A free row: the one freed last, so that memory stays warm, else one never used."""
    state = table.state
    state[COUNT] += 1
    slot = number(state[FREE])
    if slot >= 0:
        state[FREE] = table.flows[slot].after
        return slot
    state[HIGH] += 1
    return number(state[HIGH]) - 1


@bare_inner
def _release(table: Table) -> None:
    """Rows that were freed may be used again: nobody points at them any more."""
    state = table.state
    if state[LIMBO] >= 0:
        table.flows[state[LIMBO_END]].after = state[FREE]
        state[FREE] = state[LIMBO]
        state[LIMBO] = state[LIMBO_END] = -1


@bare_inner
def _finish(table: Table, slot: int, reason: int, packet: int) -> None:
    """End a flow: its final record, and its row into limbo."""
    row, state = table.flows[slot], table.state
    _record(table, slot, packet, number(row.closed) if row.closed else reason)
    ended = table.ended[row.remembered]
    ended.hash = row.hash
    ended.start_ns = row.start_ns
    ended.ordinal = row.ordinal
    remove(table.cells, row.hash, slot)
    unschedule(table, slot)
    row.live = 0
    row.after = state[LIMBO]
    if state[LIMBO] < 0:
        state[LIMBO_END] = slot
    state[LIMBO] = slot
    state[COUNT] -= 1


@bare_inner
def _record(table: Table, slot: int, packet: int, reason: int) -> None:
    """Copy a flow to the records, as it is before `packet`."""
    at = table.state[RECORDS]
    table.state[RECORDS] += 1
    table.records[at] = table.flows[slot]
    table.records[at].end_reason = reason
    table.records[at].final = reason != ACTIVE
    table.record_at[at] = packet


@bare_inner
def _expire(table: Table, now: int, most: int, packet: int) -> bool:
    """End the flows whose time is over by `now`; false if more than `most` would have to be looked at for that."""
    until = now // SECOND
    second = table.state[CURSOR]
    last = min(until, second + len(table.wheel) - 1)
    while second <= last:
        slot = number(table.wheel[second & (len(table.wheel) - 1), 0])
        while slot >= 0:
            row = table.flows[slot]
            following = number(row.after)
            if row.second <= until:
                if most == 0:
                    set_cursor(table, second)
                    return False
                most -= 1
                over = deadline(table, slot)
                if over < now:
                    _finish(table, slot, IDLE, packet)
                else:
                    unschedule(table, slot)
                    schedule(table, slot, over)
            slot = following
        second += 1
    set_cursor(table, until + 1)
    return True


@bare_inner
def _evict(table: Table, packet: int) -> None:
    """End the flow whose time would be over first, to the second: the one that was idle for longest."""
    table.state[EVICTIONS] += 1
    buckets = len(table.wheel)
    second = table.state[CURSOR]
    for _ in range(buckets):
        slot = number(table.wheel[second & (buckets - 1), 0])
        while slot >= 0:
            row = table.flows[slot]
            following = number(row.after)
            if row.second == second:
                over = deadline(table, slot)
                if over // SECOND + 1 <= second:
                    set_cursor(table, second)
                    _finish(table, slot, EVICTED, packet)
                    return
                unschedule(table, slot)  # it went on since
                schedule(table, slot, over)
            slot = following
        second += 1
    for bucket in range(buckets):  # times that leapt: any will do
        if table.wheel[bucket, 0] >= 0:
            _finish(table, number(table.wheel[bucket, 0]), EVICTED, packet)
            return


@bare_entry
def expire(table: Table, now: int, packet: int) -> bool:
    """End the flows that are over by `now`; false if the records are full before that is done."""
    if now < table.state[DUE]:
        return True
    return _expire(table, now, len(table.records) - table.state[RECORDS], packet)


@bare_entry
def finish(table: Table, slots: NDArray[np.int64], packet: int) -> None:
    """End these flows because there is nothing more to come; there must be room for their records."""
    for slot in slots:
        _finish(table, slot, END, packet)
