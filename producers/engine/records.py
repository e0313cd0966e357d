"""From the table's rows to flows as everybody else knows them."""

import socket
from functools import lru_cache
from struct import Struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from producers.engine.community_id import community_id
from producers.engine.kernel.layout import TUNNELS
from producers.engine.kernel.table_rows import END_REASONS, FLOW, HISTORY
from producers.engine.keys import TCP
from producers.engine.model import Flow, Tunnel
from producers.engine.protocols import transport_name
from producers.engine.states import connection_state

_PORTS_READ = 1
_STATES = ("S0", "SF")  # of what is not TCP: one side sent, or both
_ports = Struct(">HH").pack
# fmt: off
_TOLD = (
    "protocol", "version", "ported", "source_high", "source_low", "destination_high", "destination_low",
    "source_port", "destination_port", "start_ns", "end_ns", "interface", "ordinal", "uid", "source_mac",
    "destination_mac", "vlan", "vlans", "tunnel", "outer_version", "outer_source_high", "outer_source_low",
    "outer_destination_high", "outer_destination_low", "packets", "bytes", "history", "retransmits", "out_of_order",
    "zero_windows", "missed_bytes", "handshake_ns", "ttl", "flags", "end_reason",
)
# fmt: on


def _flat() -> np.dtype[Any]:
    """The fields of a row that are told, those that are arrays one by one: `tolist` makes a plain tuple of it."""
    names: list[str] = []
    formats: list[Any] = []
    offsets: list[int] = []
    fields: Any = FLOW.fields
    for name in _TOLD:
        kind, offset = fields[name][:2]
        items, shape = kind.subdtype or (kind, ())
        if name == "history":
            items, shape = np.dtype(f"S{HISTORY}"), ()
        for at in range(shape[0] if shape else 1):
            names.append(f"{name}{at}")
            formats.append(items)
            offsets.append(offset + at * items.itemsize)
    return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": FLOW.itemsize})


_FLAT = _flat()


def flows_of(rows: NDArray[Any], interfaces: list[str]) -> list[Flow]:
    """A flow for each row of `kernel.table_rows.FLOW`; `interfaces` are the names that its numbers count."""
    return [_flow(row, interfaces) for row in rows.view(_FLAT).tolist()]


def _flow(row: tuple[Any, ...], interfaces: list[str]) -> Flow:
    # fmt: off
    (
        protocol, version, ported, source_high, source_low, destination_high, destination_low, source_port,
        destination_port, start_ns, end_ns, interface, ordinal, uid, source_mac, destination_mac, *vlans, tags, tunnel,
        outer_version, outer_source_high, outer_source_low, outer_destination_high, outer_destination_low,
        source_packets, destination_packets, source_bytes, destination_bytes, history,
        retransmits, out_of_order, zero_windows, missed_bytes, handshake_ns, source_ttl, destination_ttl,
        source_flags, destination_flags, end_reason,
    ) = row
    # fmt: on
    source, source_ip = address(version, source_high, source_low)
    destination, destination_ip = address(version, destination_high, destination_low)
    key = bytes((protocol,)) + source + destination
    if ported:
        key += _ports(source_port, destination_port)
    letters = history.decode("ascii")
    return Flow(
        transport=transport_name(protocol),
        ip_protocol=protocol,
        ip_version=version,
        source_ip=source_ip,
        destination_ip=destination_ip,
        source_port=source_port if ported == _PORTS_READ else None,
        destination_port=destination_port if ported == _PORTS_READ else None,
        community_id=community_id(key),
        start_ns=start_ns,
        end_ns=end_ns,
        interface=interfaces[interface],
        ordinal=ordinal,
        uid=uid,
        source_mac=mac(source_mac),
        destination_mac=mac(destination_mac),
        vlan_ids=tuple(vlans[:tags]) if tags else (),
        tunnel=Tunnel(
            TUNNELS[tunnel],
            address(outer_version, outer_source_high, outer_source_low)[1],
            address(outer_version, outer_destination_high, outer_destination_low)[1],
        )
        if tunnel
        else None,
        source_packets=source_packets,
        destination_packets=destination_packets,
        source_bytes=source_bytes,
        destination_bytes=destination_bytes,
        state=connection_state(letters)
        if protocol == TCP
        else _STATES[destination_packets > 0 < source_packets],
        history=letters,
        retransmits=retransmits,
        out_of_order=out_of_order,
        zero_windows=zero_windows,
        missed_bytes=missed_bytes,
        handshake_ns=handshake_ns if handshake_ns >= 0 else None,
        source_ttl=source_ttl,
        destination_ttl=destination_ttl,
        source_flags=source_flags,
        destination_flags=destination_flags,
        end_reason=END_REASONS[end_reason],
    )


@lru_cache(maxsize=1 << 15)
def address(version: int, high: int, low: int) -> tuple[bytes, str]:
    """An address as bytes and as text: dotted quad, or RFC 5952."""
    if version == 4:
        packed = low.to_bytes(4, "big")
        return packed, socket.inet_ntop(socket.AF_INET, packed)
    packed = (high << 64 | low).to_bytes(16, "big")
    return packed, socket.inet_ntop(socket.AF_INET6, packed)


@lru_cache(maxsize=1 << 12)
def mac(value: int) -> str:
    """A MAC address as ECS writes it; empty for -1."""
    return value.to_bytes(6, "big").hex("-").upper() if value >= 0 else ""
