"""Makes the mixed capture: every protocol there is a public capture of, again and again with other addresses.

In each round all captures begin at the same time and are merged by time. A round's IPv4 and IPv6 addresses are
those of the capture with a number added to one 16-bit word and taken from another: sums in one's complement stay
the same, so all checksums do (RFC 1624), and the flows are new ones. Multicast and broadcast stay what they are.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from struct import Struct

from producers.sources.opening import open_path
from producers.sources.packet import RawPacket
from runtime.errors import UsageError

_ROOT = Path(__file__).resolve().parents[2]
_ETHERNET = 1
_START_NS = 1_700_000_000 * 10**9
_SECOND = 10**9
_PAUSE_NS = 600 * _SECOND  # between rounds: no flow lives so long without packets
_FILE_HEADER = Struct("<IHHiIII").pack(0xA1B23C4D, 2, 4, 0, 0, 1 << 18, _ETHERNET)
_PACKET_HEADER = Struct("<IIII")
_WORD = Struct(">H")

Stamped = tuple[int, RawPacket]
"""When a packet is to come, in nanoseconds from its round's beginning, and the packet."""


def sources() -> list[Path]:
    """The captures that are mixed: our samples, and the public ones of protocols where they are there."""
    named = os.environ.get("NETFLIGHT_CAPTURES")
    public = Path(named) if named else _ROOT.parent / "shared" / "captures"
    found = [*_ROOT.glob("samples/*/capture.pcap*"), *public.glob("protocols/*.pcap*")]
    return sorted(found, key=lambda path: (path.parent.name, path.name))


def make_mixed(path: Path, packets: int) -> None:
    """Write a capture of at least `packets` packets to `path`; UsageError where there is nothing to mix."""
    merged = sorted(
        (stamped for source in sources() for stamped in _from_zero(_ethernet(source))),
        key=lambda stamped: stamped[0],
    )
    if not merged:
        raise UsageError("there are no captures to mix", "name one with --capture")
    length_ns = merged[-1][0] + _PAUSE_NS
    draft = path.with_suffix(".part")
    with draft.open("wb") as out:
        out.write(_FILE_HEADER)
        for number in range(-(-packets // len(merged))):
            start_ns = _START_NS + number * length_ns
            for after_ns, packet in merged:
                seconds, nanoseconds = divmod(start_ns + after_ns, _SECOND)
                head = _PACKET_HEADER.pack(seconds, nanoseconds, len(packet.data), packet.wire_length)
                out.write(head + readdressed(packet.data, number))
    draft.replace(path)


def readdressed(frame: bytes, number: int) -> bytes:
    """An Ethernet frame whose IP packet has other addresses, the same ones for the same `number`; for 0 its own."""
    if number == 0:
        return frame
    data = bytearray(frame)
    start, kind = 14, frame[12:14]
    while kind in {b"\x81\x00", b"\x88\xa8"}:
        start, kind = start + 4, frame[start + 2 : start + 4]
    if kind == b"\x08\x00" and len(data) >= start + 20:
        for address in (start + 12, start + 16):
            if data[address] not in range(224, 256):
                _shift(data, address, address + 2, number)
    elif kind == b"\x86\xdd" and len(data) >= start + 40:
        for address in (start + 8, start + 24):
            if data[address] != 0xFF:
                _shift(data, address + 8, address + 14, number)
    return bytes(data)


def _shift(data: bytearray, first: int, second: int, number: int) -> None:
    """Add `number` to one word and take it from the other, in one's complement."""
    for place, change in ((first, number), (second, -number)):
        (word,) = _WORD.unpack_from(data, place)
        _WORD.pack_into(data, place, (word + change) % 0xFFFF)


def _ethernet(path: Path) -> list[RawPacket]:
    """A capture's packets, if its link type is Ethernet: a pcap file has one link type."""
    packets = [packet for block in open_path(str(path)).blocks() for packet in block]
    return packets if all(packet.linktype == _ETHERNET for packet in packets) else []


def _from_zero(packets: Iterable[RawPacket]) -> Iterator[Stamped]:
    """Packets with their times from the capture's beginning; time never goes back."""
    begin_ns = latest_ns = None
    for packet in packets:
        begin_ns = packet.time_ns if begin_ns is None else begin_ns
        latest_ns = max(latest_ns or 0, packet.time_ns)
        yield latest_ns - begin_ns, packet
