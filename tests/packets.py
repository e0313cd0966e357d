"""Captures and frames written by hand: pcap and pcapng in every variant, Ethernet frames of all kinds."""

import socket
from struct import pack

from producers.sources.packet import RawPacket
from producers.sources.reading import Reading
from producers.sources.stream import reader_for

Packet = tuple[int, bytes, int]
"""Nanoseconds, bytes, length on the wire."""


def pcap(packets: list[Packet], order: str = "<", magic: int = 0xA1B2C3D4, linktype: int = 1) -> bytes:
    unit = 1 if magic == 0xA1B23C4D else 1000
    extra = bytes(8) if magic == 0xA1B2CD34 else b""
    out = pack(order + "IHHiIII", magic, 2, 4, 0, 0, 65535, linktype)
    for time_ns, data, wire in packets:
        out += pack(order + "IIII", time_ns // 10**9, time_ns % 10**9 // unit, len(data), wire) + extra + data
    return out


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    body += bytes(-len(body) % 4)
    length = len(body) + 12
    return pack(order + "II", kind, length) + body + pack(order + "I", length)


def option(code: int, value: bytes, order: str = "<") -> bytes:
    return pack(order + "HH", code, len(value)) + value + bytes(-len(value) % 4)


def section(order: str = "<") -> bytes:
    return block(0x0A0D0D0A, pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1), order)


def interface(order: str = "<", linktype: int = 1, options: bytes = b"", snaplen: int = 0) -> bytes:
    return block(1, pack(order + "HHI", linktype, 0, snaplen) + options, order)


def enhanced(number: int, stamp: int, data: bytes, wire: int, order: str = "<") -> bytes:
    padded = data + bytes(-len(data) % 4)
    return block(
        6, pack(order + "IIIII", number, stamp >> 32, stamp & 0xFFFFFFFF, len(data), wire) + padded, order
    )


class Pieces:
    """A feed of bytes at hand, in pieces of `step` bytes."""

    def __init__(self, data: bytes, step: int = 1 << 20) -> None:
        self._data, self._step, self._place = data, step, 0

    def read_into(self, room: memoryview, seconds: float) -> int | None:  # noqa: ARG002  # as Feed has it
        piece = self._data[self._place : self._place + min(self._step, len(room))]
        room[: len(piece)] = piece
        self._place += len(piece)
        return len(piece)


def reading(capture: bytes, step: int = 1 << 20, window: int = 1 << 16, *, ahead: bool = False) -> Reading:
    """A capture at hand being read."""
    return Reading(Pieces(capture, step), "capture", reader_for, ahead=ahead, window=window)


def read(
    capture: bytes, step: int = 1 << 20, window: int = 1 << 16, *, ahead: bool = False
) -> list[RawPacket]:
    """All packets, read in pieces of `step` bytes."""
    return [packet for block in reading(capture, step, window, ahead=ahead).blocks() for packet in block]


def address(text: str) -> bytes:
    """An address as bytes."""
    return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)


def ip(
    source: str, destination: str, protocol: int, payload: bytes, *, piece: int = 0, name: int = 1
) -> bytes:
    """An IP packet; `piece` is the field of flags and fragment offset (IPv4)."""
    ends = address(source) + address(destination)
    if ":" in source:
        return pack(">IHBB", 6 << 28, len(payload), protocol, 64) + ends + payload
    return pack(">BBHHHBBH", 0x45, 0, 20 + len(payload), name, piece, 64, protocol, 0) + ends + payload


def udp(source: int, destination: int, payload: bytes = b"") -> bytes:
    """A UDP datagram."""
    return pack(">HHHH", source, destination, 8 + len(payload), 0) + payload


def tcp(
    source: int, destination: int, flags: int, sequence: int = 0, payload: bytes = b"", *, window: int = 999
) -> bytes:
    """A TCP segment."""
    return pack(">HHIIBBHHH", source, destination, sequence, 0, 0x50, flags, window, 0, 0) + payload


def ethernet(payload: bytes, kind: int | None = None, swapped: int = 0) -> bytes:
    """An Ethernet frame; the type is that of the IP packet in it, unless given."""
    macs = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")
    kind = (0x86DD if payload[0] >> 4 == 6 else 0x0800) if kind is None else kind
    return macs[swapped] + macs[1 - swapped] + pack(">H", kind) + payload


def raw(data: bytes, time_ns: int = 0, frame: int = 1, linktype: int = 1) -> RawPacket:
    """A packet as a source gives it."""
    return RawPacket(frame, time_ns, linktype, data, len(data), "")


Turn = tuple[bool, bytes]
"""What one side says at once: whether it is the client, and the bytes."""


def conversation(
    port: int, turns: list[Turn], *, source: int = 40_000, start_ns: int = 10**18, repeat: int = 0
) -> list[Packet]:
    """A TCP connection from 192.0.2.1 to 192.0.2.2, a segment a turn, a millisecond apart, each acknowledged.

    With `repeat`, one segment in so many is sent twice.
    """
    sequences = {True: 1000, False: 5000}
    ends = {True: ("192.0.2.1", "192.0.2.2"), False: ("192.0.2.2", "192.0.2.1")}
    ports = {True: (source, port), False: (port, source)}
    packets: list[Packet] = []

    def send(client: bool, flags: int, payload: bytes = b"") -> None:  # noqa: FBT001
        segment = pack(
            ">HHIIBBHHH", *ports[client], sequences[client], sequences[not client], 0x50, flags, 64_000, 0, 0
        )
        frame = ethernet(ip(*ends[client], 6, segment + payload), swapped=not client)
        packets.append((start_ns + len(packets) * 1_000_000, frame, len(frame)))

    for client, flags in ((True, 0x02), (False, 0x12)):
        send(client, flags)
        sequences[client] += 1
    send(client=True, flags=0x10)
    for number, (client, payload) in enumerate(turns):
        for _ in range(2 if repeat and number % repeat == 0 else 1):
            send(client, 0x18, payload)
        sequences[client] += len(payload)
        send(not client, 0x10)
    for client in (True, False):
        send(client, 0x11)
        sequences[client] += 1
    send(client=True, flags=0x10)
    return packets


def datagrams(port: int, turns: list[Turn], *, source: int = 40_000, start_ns: int = 10**18) -> list[Packet]:
    """UDP datagrams between 192.0.2.1 and 192.0.2.2, a millisecond apart."""
    packets: list[Packet] = []
    for client, payload in turns:
        ports, ends = (source, port), ("192.0.2.1", "192.0.2.2")
        datagram = udp(*(ports if client else ports[::-1]), payload)
        frame = ethernet(ip(*(ends if client else ends[::-1]), 17, datagram), swapped=not client)
        packets.append((start_ns + len(packets) * 1_000_000, frame, len(frame)))
    return packets
