"""pcapng as a push parser: sections and interfaces of any number, either byte order, any time resolution.

Format: draft-ietf-opsawg-pcapng. Blocks that carry no packets are skipped as they stream by, whatever length
they claim; interface statistics give the packets that the capturing kernel dropped.
"""

from collections.abc import Iterator
from struct import Struct
from typing import NamedTuple

from producers.sources.errors import MAX_PACKET, cut_off, damaged
from producers.sources.packet import Block, RawPacket

MAGIC = b"\x0a\x0d\x0d\x0a"
_SECTION, _INTERFACE, _OLD_PACKET, _SIMPLE, _STATISTICS, _PACKET = 0x0A0D0D0A, 1, 2, 3, 5, 6
_KEPT = frozenset({_SECTION, _INTERFACE, _OLD_PACKET, _SIMPLE, _STATISTICS, _PACKET})
_MIN_LENGTH = {_SECTION: 28, _INTERFACE: 20, _OLD_PACKET: 32, _SIMPLE: 16, _STATISTICS: 24, _PACKET: 32}
_MAX_BLOCK = 2 * MAX_PACKET  # a kept block: a packet and its options
_IF_NAME, _IF_TSRESOL, _IF_TSOFFSET = 2, 9, 14
_ISB_IFDROP, _ISB_OSDROP = 5, 7
_DROPS_UNKNOWN = 0xFFFF
_NS = 1_000_000_000


class _Interface(NamedTuple):
    linktype: int
    snaplen: int
    name: str
    units: int  # per second, so that any resolution is exact in integers
    offset_ns: int

    def time_ns(self, stamp: int) -> int:
        return stamp * _NS // self.units + self.offset_ns


class _Order:
    """The structs of one byte order."""

    def __init__(self, order: str) -> None:
        self.order = order
        self.head = Struct(order + "II")
        self.word = Struct(order + "I")
        self.option = Struct(order + "HH")
        self.counter = Struct(order + "Q")
        self.offset = Struct(order + "q")
        self.interface = Struct(order + "HHI")
        self.packet = Struct(order + "IIIII")
        self.old_packet = Struct(order + "HHIIII")


_ORDERS = {Struct(order + "I").pack(0x1A2B3C4D): _Order(order) for order in "<>"}


class PcapngParser:
    """Parses one capture from its first byte on."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._rest = b""
        self._skip = 0
        self._offset = 0
        self._packets = 0
        self._order = _ORDERS[b"\x4d\x3c\x2b\x1a"]
        self._interfaces: list[_Interface] = []
        self._drops: dict[int, int] = {}
        self._earlier_drops = 0

    @property
    def dropped(self) -> int:
        """Packets dropped by kernel and interface, by the newest statistics of every interface."""
        return self._earlier_drops + sum(self._drops.values())

    def push(self, chunk: bytes, out: Block) -> None:
        """Append the packets that `chunk` completes to `out`; CaptureError where the blocks make no sense."""
        data = self._rest + chunk if self._rest else chunk
        offset, size = self._skipped(0, len(data)), len(data)
        while offset + 12 <= size:
            start = data[offset : offset + 12]
            if start[:4] == MAGIC:
                self._open_section(start, offset)
            kind, length = self._order.head.unpack_from(start)
            self._check_length(kind, length, offset)
            if kind not in _KEPT:
                self._skip = length
                offset = self._skipped(offset, size)
                continue
            end = offset + length
            if end > size:
                break
            if data[end - 4 : end] != start[4:8]:
                raise self._damaged(offset, "a block's two lengths differ")
            self._block(kind, data, offset, end, out)
            offset = end
        self._rest = data[offset:]
        self._offset += offset

    def end(self) -> None:
        """Raise CaptureError if the capture stopped inside a block."""
        if self._rest or self._skip or not self._offset:
            raise cut_off(self._name, self._packets, self._offset)

    def _skipped(self, offset: int, size: int) -> int:
        """Pass over as much of an unwanted block as has come; return where to go on."""
        step = min(self._skip, size - offset)
        self._skip -= step
        return offset + step

    def _open_section(self, start: bytes, offset: int) -> None:
        order = _ORDERS.get(start[8:12])
        if order is None:
            raise self._damaged(offset, "a section without its byte-order magic")
        self._order = order
        self._interfaces = []
        self._earlier_drops = self.dropped
        self._drops = {}

    def _check_length(self, kind: int, length: int, offset: int) -> None:
        if length % 4 or length < _MIN_LENGTH.get(kind, 12):
            raise self._damaged(offset, f"a block of {length:,} bytes is not possible")
        if kind in _KEPT and length > _MAX_BLOCK:
            raise self._damaged(offset, f"a block of {length:,} bytes is too long for a packet")

    def _block(self, kind: int, data: bytes, start: int, end: int, out: Block) -> None:
        if kind == _PACKET:
            number, high, low, captured, wire = self._order.packet.unpack_from(data, start + 8)
            frame = self._frame(data, start + 28, captured, end)
            out.append(self._packet(self._described(number, start), (high << 32) | low, frame, wire))
        elif kind == _INTERFACE:
            self._interfaces.append(self._interface(data, start, end))
        elif kind == _STATISTICS:
            (number,) = self._order.word.unpack_from(data, start + 8)
            self._statistics(number, data, start + 20, end - 4)
        elif kind == _SIMPLE:
            interface = self._described(0, start)
            (wire,) = self._order.word.unpack_from(data, start + 8)
            captured = min(wire, interface.snaplen or wire, end - start - 16)
            out.append(self._packet(interface, None, self._frame(data, start + 12, captured, end), wire))
        elif kind == _OLD_PACKET:
            number, drops, high, low, captured, wire = self._order.old_packet.unpack_from(data, start + 8)
            if drops != _DROPS_UNKNOWN:
                self._drops[number] = self._drops.get(number, 0) + drops
            frame = self._frame(data, start + 28, captured, end)
            out.append(self._packet(self._described(number, start), (high << 32) | low, frame, wire))

    def _described(self, number: int, offset: int) -> _Interface:
        if number >= len(self._interfaces):
            raise self._damaged(offset, f"a packet of interface {number}, which was not described")
        return self._interfaces[number]

    def _frame(self, data: bytes, start: int, captured: int, block_end: int) -> bytes:
        if captured > MAX_PACKET or start + captured > block_end - 4:
            raise self._damaged(start, f"a packet of {captured:,} bytes is not possible")
        return data[start : start + captured]

    def _packet(self, interface: _Interface, stamp: int | None, frame: bytes, wire: int) -> RawPacket:
        """The next packet. A simple packet block has no time: it gets 0."""
        self._packets += 1
        time_ns = 0 if stamp is None else interface.time_ns(stamp)
        return RawPacket(self._packets, time_ns, interface.linktype, frame, wire, interface.name)

    def _interface(self, data: bytes, start: int, end: int) -> _Interface:
        linktype, _reserved, snaplen = self._order.interface.unpack_from(data, start + 8)
        name, units, offset_ns = "", 1_000_000, 0
        for code, value in self._options(data, start + 16, end - 4):
            if code == _IF_NAME:
                name = value.rstrip(b"\x00").decode("utf-8", "replace")
            elif code == _IF_TSRESOL and len(value) == 1:
                exponent = value[0] & 0x7F
                units = 2**exponent if value[0] & 0x80 else 10**exponent
            elif code == _IF_TSOFFSET and len(value) == 8:
                offset_ns = self._order.offset.unpack(value)[0] * _NS
        return _Interface(linktype, snaplen, name, units, offset_ns)

    def _statistics(self, number: int, data: bytes, start: int, end: int) -> None:
        drops = [
            self._order.counter.unpack(value)[0]
            for code, value in self._options(data, start, end)
            if code in {_ISB_IFDROP, _ISB_OSDROP} and len(value) == 8
        ]
        if drops:
            self._drops[number] = sum(drops)

    def _options(self, data: bytes, start: int, end: int) -> Iterator[tuple[int, bytes]]:
        """The options between two offsets: code, value. A cut-off option ends them."""
        while start + 4 <= end:
            code, length = self._order.option.unpack_from(data, start)
            if code == 0 or start + 4 + length > end:
                return
            yield code, data[start + 4 : start + 4 + length]
            start += 4 + (length + 3) // 4 * 4

    def _damaged(self, offset: int, why: str) -> Exception:
        return damaged(self._name, self._packets, self._offset + offset, why)
