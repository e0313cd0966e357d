"""The flow table: which flow a packet belongs to, what it changes there, and when the flow is over.

Time is packet time only, so the same packets give the same records in the same order. Expiry costs amortised
O(1): a flow sits in the bucket of the second it may end in, and is looked at again only then.
"""

import heapq
from collections.abc import Iterator
from dataclasses import replace

from producers.engine.community_id import community_id
from producers.engine.keys import ICMP, ICMPV6, SCTP, TCP, address_text, is_answer, opposite, split
from producers.engine.model import Flow, FlowRecord, Timeouts, Tunnel
from producers.engine.protocols import transport_name
from producers.engine.states import connection_state
from producers.engine.twin import tcp
from producers.engine.twin.network import Trace
from producers.engine.twin.parse import Parsed, trace
from producers.sources.packet import RawPacket

SECOND = 1_000_000_000
NEVER = 1 << 96
REMEMBERED = 4_096
SPARE_SECONDS = 1_000
MAX_ENDS = 16
"""So many flows at most are looked at between two packets, so that a leap in time does not stop everything."""


class Entry:
    """A flow and what the table must remember of it. `tcp` is None for everything else."""

    __slots__ = ("closed", "flow", "interim_ns", "key", "second", "tcp", "timeout_ns")

    def __init__(self, key: bytes, flow: Flow, timeout_ns: int, interim_ns: int) -> None:
        self.key = key
        self.flow = flow
        self.timeout_ns = timeout_ns
        self.interim_ns = interim_ns
        self.tcp = tcp.Connection() if flow.ip_protocol == TCP else None
        self.closed = ""
        self.second = 0


class FlowTable:
    """Flows by key, both directions. `records` collects what is to be reported; the owner empties it."""

    def __init__(self, timeouts: Timeouts, max_flows: int) -> None:
        self.records: list[FlowRecord] = []
        self._idle_ns = {protocol: int(timeouts.tcp * SECOND) for protocol in (TCP, SCTP)}
        self._other_ns = int(timeouts.other * SECOND)
        self._linger_ns = int(timeouts.linger * SECOND)
        self._active_ns = int(timeouts.active * SECOND)
        self._max_flows = max(max_flows, 1)
        self._count = 0
        self._entries: dict[bytes, tuple[Entry, bool]] = {}
        self._ended: dict[bytes, tuple[int, int]] = {}  # start and ordinal of flows that ended lately
        self._buckets: dict[int, dict[Entry, None]] = {}  # by the second they may end in
        self._seconds: list[int] = []
        self._next_due_ns = NEVER

    def __len__(self) -> int:
        return self._count

    def add(self, packet: RawPacket, parsed: Parsed) -> tuple[Flow, bool]:
        """Count a packet in its flow; return the flow and whether its initiator sent the packet."""
        _, time_ns, _, _, wire_length, _ = packet
        if time_ns >= self._next_due_ns:
            self.expire(time_ns, MAX_ENDS)
        hit = self._entries.get(parsed[0])
        entry, forward = self._start(packet, parsed) if hit is None else self._same(hit, packet, parsed)
        flow = entry.flow
        flow.end_ns = max(flow.end_ns, time_ns)
        if forward:
            flow.source_ttl = flow.source_ttl if flow.source_packets else parsed[7]
            flow.source_packets += 1
            flow.source_bytes += wire_length
            flow.source_flags |= parsed[1]
        else:
            flow.destination_ttl = flow.destination_ttl if flow.destination_packets else parsed[7]
            flow.destination_packets += 1
            flow.destination_bytes += wire_length
            flow.destination_flags |= parsed[1]
        if entry.tcp is not None:
            closed = entry.tcp.see(flow, forward, parsed, time_ns)
            if closed and not entry.closed:
                self._close(entry, closed)
        elif parsed[4] and ("D" if forward else "d") not in flow.history:
            flow.history += "D" if forward else "d"
        return flow, forward

    def _same(self, hit: tuple[Entry, bool], packet: RawPacket, parsed: Parsed) -> tuple[Entry, bool]:
        """The flow of a known key, unless it is over and this packet begins another."""
        entry, forward = hit
        time_ns = packet[1]
        if time_ns - entry.flow.end_ns > entry.timeout_ns:
            self._finish(entry, "idle")
            return self._start(packet, parsed)
        syn = parsed[1] & 0x12 == 0x02  # without ACK
        if syn and entry.tcp and entry.tcp.begins_anew(parsed[2], forward=forward, closed=entry.closed):
            self._finish(entry, "end")
            return self._start(packet, parsed)
        if time_ns >= entry.interim_ns:
            self._interim(entry, time_ns)
        return hit

    def expire(self, now_ns: int, most: int = NEVER) -> None:
        """End the flows whose time is over by `now_ns`; look at `most` of them, the rest is due next time."""
        while self._seconds and self._seconds[0] * SECOND <= now_ns:
            bucket = self._buckets.get(self._seconds[0])
            if bucket is None:
                heapq.heappop(self._seconds)
                continue
            if not most:
                break
            most -= 1
            entry = next(iter(bucket))
            self._unschedule(entry)
            deadline = entry.flow.end_ns + entry.timeout_ns
            if deadline < now_ns:
                self._finish(entry, "idle")
            else:
                self._schedule(entry, deadline)
        self._next_due_ns = self._seconds[0] * SECOND if self._seconds else NEVER

    def finish_all(self) -> Iterator[FlowRecord]:
        """End every flow, in the order they began."""
        for entry, _ in list(self._entries.values()):
            if entry.key in self._entries:
                self._finish(entry, "end")
                yield self.records.pop()
        self._seconds.clear()
        self._next_due_ns = NEVER

    def _start(self, packet: RawPacket, parsed: Parsed) -> tuple[Entry, bool]:
        """A new flow."""
        if self._count >= self._max_flows:
            self._evict()
        key, back = parsed[0], opposite(parsed[0])
        forward = back is None or not _is_reply(parsed)
        start_ns, ordinal = self._ended.get(key) or self._ended.get(back or key) or (None, 0)
        ordinal = ordinal + 1 if start_ns == packet.time_ns else 0
        flow = _new_flow(key if forward or back is None else back, packet, forward=forward, ordinal=ordinal)
        timeout_ns = self._idle_ns.get(key[0], self._other_ns)
        entry = Entry(key, flow, timeout_ns, packet.time_ns + self._active_ns)
        if back is not None:
            self._entries[back] = (entry, not forward)
        self._entries[key] = hit = (entry, forward)
        self._count += 1
        self._schedule(entry, packet.time_ns + timeout_ns)
        return hit

    def _close(self, entry: Entry, reason: str) -> None:
        entry.closed = reason
        entry.timeout_ns = self._linger_ns
        self._unschedule(entry)
        self._schedule(entry, entry.flow.end_ns + self._linger_ns)

    def _finish(self, entry: Entry, reason: str) -> None:
        flow, key, back = entry.flow, entry.key, opposite(entry.key)
        self._unschedule(entry)
        del self._entries[key]
        self._entries.pop(back or key, None)
        self._count -= 1
        self._ended.pop(back or key, None)
        self._ended.pop(key, None)
        self._ended[key] = flow.start_ns, flow.ordinal
        if len(self._ended) > REMEMBERED:
            del self._ended[next(iter(self._ended))]
        flow.end_reason = entry.closed or reason
        flow.state = _state(flow)
        self.records.append(FlowRecord(flow, final=True))

    def _evict(self) -> None:
        """End the flow whose time would be over first, to the second: the one that was idle for longest."""
        while True:
            bucket = self._buckets.get(self._seconds[0])
            if bucket is None:
                heapq.heappop(self._seconds)
                continue
            entry = next(iter(bucket))
            deadline = entry.flow.end_ns + entry.timeout_ns
            if deadline // SECOND + 1 <= entry.second:
                break
            self._unschedule(entry)  # it went on since
            self._schedule(entry, deadline)
        self._finish(entry, "evicted")

    def _interim(self, entry: Entry, time_ns: int) -> None:
        """Report a flow that goes on, as it is before the packet at `time_ns`."""
        periods = (time_ns - entry.interim_ns) // self._active_ns + 1
        entry.interim_ns += periods * self._active_ns
        snapshot = replace(entry.flow, end_reason="active", state=_state(entry.flow))
        self.records.append(FlowRecord(snapshot, final=False))

    def _schedule(self, entry: Entry, deadline_ns: int) -> None:
        entry.second = deadline_ns // SECOND + 1
        bucket = self._buckets.get(entry.second)
        if bucket is not None:
            bucket[entry] = None
            return
        self._buckets[entry.second] = {entry: None}
        heapq.heappush(self._seconds, entry.second)
        if len(self._seconds) > 2 * len(self._buckets) + SPARE_SECONDS:
            self._seconds = sorted(self._buckets)  # seconds whose flows have all gone do not pile up
        self._next_due_ns = self._seconds[0] * SECOND

    def _unschedule(self, entry: Entry) -> None:
        bucket = self._buckets.get(entry.second)
        if bucket is not None:
            bucket.pop(entry, None)
            if not bucket:  # its second stays in the heap until its time comes
                del self._buckets[entry.second]


def _is_reply(parsed: Parsed) -> bool:
    """Whether a flow's first packet went to the initiator: SYN-ACK, ICMP answer, or a well-known TCP port."""
    key, flags = parsed[0], parsed[1]
    if key[0] != TCP:
        return is_answer(key)
    return len(key) in {13, 37} and tcp.is_reply(flags, *split(key)[4:])


def _state(flow: Flow) -> str:
    if flow.ip_protocol == TCP:
        return connection_state(flow.history)
    return "SF" if flow.source_packets and flow.destination_packets else "S0"


def _new_flow(key: bytes, packet: RawPacket, *, forward: bool, ordinal: int) -> Flow:
    """A flow without packets, named after its first one; `key` is the initiator's."""
    ends = split(key)
    notes = Trace()
    trace(packet.linktype, packet.data, packet.wire_length, notes)
    macs = [mac.hex("-").upper() for mac in (notes.source_mac, notes.destination_mac)]
    ported = ends.protocol not in {ICMP, ICMPV6}
    return Flow(
        transport=transport_name(ends.protocol),
        ip_protocol=ends.protocol,
        ip_version=ends.version,
        source_ip=address_text(ends.source),
        destination_ip=address_text(ends.destination),
        source_port=ends.source_port if ported else None,
        destination_port=ends.destination_port if ported else None,
        community_id=community_id(key),
        start_ns=packet.time_ns,
        end_ns=packet.time_ns,
        interface=packet.interface,
        ordinal=ordinal,
        source_mac=macs[0 if forward else 1],
        destination_mac=macs[1 if forward else 0],
        vlan_ids=notes.vlan_ids,
        tunnel=_tunnel(notes),
        history="" if forward else "^",
    )


def _tunnel(notes: Trace) -> Tunnel | None:
    """The outermost packet's addresses as they are in the flow's first packet."""
    if notes.outer is None:
        return None
    kind, key = notes.outer
    ends = split(key)
    return Tunnel(kind, address_text(ends.source), address_text(ends.destination))
