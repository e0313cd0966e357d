"""A flow made by hand, through the kernel's phases and splice; what streams of TLS, SSH and HTTP look like."""

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from producers.compiled import entry
from producers.engine.kernel.layout import FACTS, Kind, Part, Signature
from producers.engine.kernel.phases import PHASE_FIELDS, observe
from producers.engine.kernel.splice import SPLICE_FIELDS

TABLE = np.dtype([*PHASE_FIELDS, *SPLICE_FIELDS], align=True)
TCP, UDP = 6, 17


@dataclass(frozen=True)
class Packet:
    """A packet of the flow: `wire` is its payload's length on the wire where less was captured."""

    forward: bool
    payload: bytes
    sequence: int = 0
    wire: int | None = None
    flags: int = 0x18


@entry
def _observe_all(flows: Any, facts: Any, buffer: Any, starts: Any, available: Any) -> None:
    for index in range(len(facts)):
        observe(flows, 0, facts, index, buffer, starts[index], available[index])


def rows(
    packets: Iterable[Packet], protocol: int = TCP, ports: tuple[int, int] = (40000, 4000)
) -> NDArray[Any]:
    """The packets' facts, as parsed and put into one flow, with their phases."""
    listed = list(packets)
    facts = np.zeros(len(listed), FACTS)
    facts["kind"] = Kind.FLOW
    facts["protocol"] = protocol
    for fact, packet in zip(facts, listed, strict=True):
        fact["forward"] = packet.forward
        fact["sequence"] = packet.sequence % (1 << 32)
        fact["length"] = len(packet.payload) if packet.wire is None else packet.wire
        fact["tcp_flags"] = packet.flags
        fact["source_port"], fact["destination_port"] = ports if packet.forward else ports[::-1]
    lengths = np.array([len(packet.payload) for packet in listed], np.int64)
    buffer = np.frombuffer(b"".join(packet.payload for packet in listed) + b"\xff", np.uint8).copy()
    _observe_all(np.zeros(1, TABLE), facts, buffer, np.cumsum(lengths) - lengths, lengths)
    return facts


def parts(
    packets: Iterable[Packet], protocol: int = TCP, ports: tuple[int, int] = (40000, 4000)
) -> list[Part]:
    """The part of each packet."""
    return [Part(part) for part in rows(packets, protocol, ports)["part"]]


def signature(
    packets: Iterable[Packet], protocol: int = TCP, ports: tuple[int, int] = (40000, 4000)
) -> Signature:
    """The flow's signature after the last packet."""
    return Signature(rows(packets, protocol, ports)["signature"][-1])


def segments(forward: bool, stream: bytes, sequence: int = 1000, size: int = 1448) -> list[Packet]:  # noqa: FBT001
    """The stream in segments of `size` bytes."""
    return [Packet(forward, stream[at : at + size], sequence + at) for at in range(0, len(stream), size)]


def record(kind: int, body: bytes) -> bytes:
    """A TLS record."""
    return struct.pack(">BHH", kind, 0x0303, len(body)) + body


def hello(kind: int = 1, length: int = 200) -> bytes:
    """A record with a ClientHello (1) or ServerHello (2)."""
    return record(22, struct.pack(">BBHH", kind, 0, length, 0x0303) + b"h" * (length - 2))


def ssh_packet(message: int, length: int = 64) -> bytes:
    """An unencrypted SSH packet, padded to 8 bytes."""
    length += -(length + 4) % 8
    return struct.pack(">IBB", length, 4, message) + b"k" * (length - 2)


def chunked(body: bytes, size: int) -> bytes:
    """A body in chunks of `size` bytes."""
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
