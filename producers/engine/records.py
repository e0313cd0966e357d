"""From the table's rows to flows as everybody else knows them."""

import socket
from functools import lru_cache
from struct import Struct
from typing import Any

from numpy.typing import NDArray

from producers.engine.community_id import of_ends
from producers.engine.kernel.layout import TUNNELS
from producers.engine.kernel.table_index import ONE_WAY
from producers.engine.kernel.table_rows import END_REASONS, FLOW, HISTORY
from producers.engine.keys import TCP
from producers.engine.model import Flow, Tunnel
from producers.engine.protocols import transport_name
from producers.engine.states import connection_state

_PORTS_READ = 1
_STATES = ("S0", "SF")  # of what is not TCP: one side sent, or both
# in the order of the row
# fmt: off
_TOLD = (
    "source_high", "source_low", "destination_high", "destination_low", "source_port", "destination_port", "protocol",
    "version", "ported", "uid", "end_ns", "packets", "bytes", "flags", "ttl", "handshake_ns", "missed_bytes",
    "retransmits", "out_of_order", "zero_windows", "ordinal", "start_ns", "history", "source_mac", "destination_mac",
    "outer_source_high", "outer_source_low", "outer_destination_high", "outer_destination_low", "vlan", "vlans",
    "tunnel", "outer_version", "end_reason", "interface",
)
# fmt: on
_FORMATS = {"u1": "B", "u2": "H", "u4": "I", "u8": "Q", "i4": "i", "i8": "q"}


def _layout() -> Struct:
    """Where in a row the fields are that are told, those that are arrays one by one."""
    fields: Any = FLOW.fields
    form, end = "=", 0
    for name in _TOLD:
        kind, offset = fields[name][:2]
        items, shape = kind.subdtype or (kind, (1,))
        told = f"{HISTORY}s" if name == "history" else _FORMATS[items.str[1:]] * shape[0]
        form += f"{offset - end}x{told}"
        end = offset + kind.itemsize
    return Struct(f"{form}{FLOW.itemsize - end}x")


_LAYOUT = _layout()


def flows_of(rows: NDArray[Any], interfaces: list[str]) -> list[Flow]:
    """A flow for each row of `kernel.table_rows.FLOW`; `interfaces` are the names that its numbers count."""
    return [_flow(row, interfaces) for row in _LAYOUT.iter_unpack(rows.tobytes())]


def _flow(row: tuple[Any, ...], interfaces: list[str]) -> Flow:
    # fmt: off
    (
        source_high, source_low, destination_high, destination_low, source_port, destination_port, protocol,
        version, ported, uid, end_ns, source_packets, destination_packets, source_bytes, destination_bytes,
        source_flags, destination_flags, source_ttl, destination_ttl, handshake_ns, source_missed,
        destination_missed, retransmits, out_of_order, zero_windows, ordinal, start_ns, history, source_mac,
        destination_mac, outer_source_high, outer_source_low, outer_destination_high, outer_destination_low,
        *vlans, tags, tunnel, outer_version, end_reason, interface,
    ) = row
    # fmt: on
    source, source_ip = address(version, source_high, source_low)
    destination, destination_ip = address(version, destination_high, destination_low)
    ports = (source_port, destination_port) if ported else None
    letters = history.rstrip(b"\0").decode("ascii")
    return Flow(
        transport=transport_name(protocol),
        ip_protocol=protocol,
        ip_version=version,
        source_ip=source_ip,
        destination_ip=destination_ip,
        source_port=source_port if ported == _PORTS_READ else None,
        destination_port=destination_port if ported == _PORTS_READ else None,
        community_id=of_ends(protocol, source, destination, ports, one_way=ported == ONE_WAY),
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
        source_missed_bytes=source_missed,
        destination_missed_bytes=destination_missed,
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
