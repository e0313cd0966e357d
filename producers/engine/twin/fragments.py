"""Fragments of IP datagrams: only the first tells the ports, the others follow it into its flow.

A first fragment that comes late is looked for in the rest of the block. One that never comes leaves the
others in a flow of their protocol without ports.
"""

from producers.engine.twin.parse import Parsed, parse
from producers.sources.packet import RawPacket

MAX_DATAGRAMS = 4_096
LIFETIME_NS = 30_000_000_000
"""RFC 8200 gives a datagram a minute to arrive, Linux half of that; identifications are used again after."""


class Fragments:
    """The keys of datagrams whose first fragment was seen, newest last."""

    def __init__(self) -> None:
        self._keys: dict[bytes, tuple[bytes, int]] = {}
        self._block: list[RawPacket] = []
        self._ahead: dict[bytes, tuple[bytes, int]] = {}

    def whole(self, parsed: Parsed, time_ns: int, block: list[RawPacket]) -> Parsed:
        """The same with the key of the datagram's flow, as far as it is known; `block` holds the packet."""
        fragments = parsed[5]
        last = fragments[-1]
        key = parsed[0] if last.first else self._find(last.datagram, time_ns, block) or parsed[0]
        if key != parsed[0] or last.first:
            for fragment in fragments:
                if fragment.first:
                    self._remember(fragment.datagram, key, time_ns)
        return parsed if key == parsed[0] else (key, *parsed[1:])

    def _remember(self, datagram: bytes, key: bytes, time_ns: int) -> None:
        self._keys.pop(datagram, None)
        self._keys[datagram] = (key, time_ns)
        if len(self._keys) > MAX_DATAGRAMS:
            del self._keys[next(iter(self._keys))]

    def _find(self, datagram: bytes, time_ns: int, block: list[RawPacket]) -> bytes | None:
        """The key of a datagram that began lately, or that begins in this block."""
        known = self._keys.get(datagram)
        if known is None or abs(time_ns - known[1]) > LIFETIME_NS:
            known = self._look_ahead(block).get(datagram)
        return known[0] if known is not None and abs(time_ns - known[1]) <= LIFETIME_NS else None

    def _look_ahead(self, block: list[RawPacket]) -> dict[bytes, tuple[bytes, int]]:
        """The datagrams that begin in this block, read once a block: a flood of fragments stays cheap."""
        if self._block is not block:
            self._block, self._ahead = block, {}
            for packet in block:
                parsed = parse(packet.linktype, packet.data, packet.wire_length)
                if not isinstance(parsed, int) and parsed[5] and parsed[5][-1].first:
                    for fragment in parsed[5]:
                        self._ahead.setdefault(fragment.datagram, (parsed[0], packet.time_ns))
        return self._ahead
