"""pcapng: sections and interfaces of any number, either byte order, any time resolution.

Format: draft-ietf-opsawg-pcapng. Blocks that carry no packets are skipped as they stream by, whatever length
they claim; interface statistics and packet blocks give the packets that the capturing kernel dropped. A simple
packet block, which has no time, gets that of the packet before it.
"""

from collections.abc import Iterator
from struct import Struct

import numpy as np
from numpy.typing import NDArray

from producers.sources import scan
from producers.sources.errors import max_packet
from producers.sources.packet import Interface
from producers.sources.reading import Scanned

MAGIC = b"\x0a\x0d\x0d\x0a"
MAX_INTERFACES = 1 << 16
_MIN_SECTION = 28
_INTERFACE = 1
_IF_NAME, _IF_TSRESOL, _IF_TSOFFSET = 2, 9, 14
_ISB_IFDROP, _ISB_OSDROP = 5, 7
_MAX_SHIFT = 1 << 61


class _Order:
    """The structs of one byte order."""

    def __init__(self, order: str) -> None:
        self.swapped = int(order == ">")
        self.word = Struct(order + "I")
        self.option = Struct(order + "HH")
        self.counter = Struct(order + "Q")
        self.offset = Struct(order + "q")
        self.interface = Struct(order + "HHI")


_ORDERS = {Struct(order + "I").pack(0x1A2B3C4D): _Order(order) for order in "<>"}
_DAMAGE = {
    scan.BLOCK_LENGTH: "a block of {:,} bytes is not possible",
    scan.BLOCK_TOO_LONG: "a block of {:,} bytes is too long for a packet",
    scan.LENGTHS_DIFFER: "a block's two lengths differ",
    scan.PACKET_LENGTH: "a packet of {:,} bytes is not possible",
    scan.UNDESCRIBED: "a packet of interface {}, which was not described",
}


class PcapngReader:
    """Reads one capture from its first byte on."""

    def __init__(self) -> None:
        self._order = _ORDERS[b"\x4d\x3c\x2b\x1a"]
        self._indexes: dict[Interface, int] = {}
        self._interfaces: tuple[Interface, ...] = ()
        self._described = 0
        self._table = np.zeros((8, 7), dtype=np.int64)
        self._told: dict[int, int] = {}
        self._earlier_drops = 0
        self._skip = 0
        self._cursor = np.zeros(5, dtype=np.int64)
        self._begun = False

    @property
    def interfaces(self) -> tuple[Interface, ...]:
        """The interfaces of all sections so far, each once."""
        if len(self._interfaces) != len(self._indexes):
            self._interfaces = tuple(self._indexes)
        return self._interfaces

    @property
    def dropped(self) -> int:
        """Packets dropped by kernel and interface, of all interfaces.

        An interface's newest statistics count, or what its packet blocks told, where that is more.
        """
        counted: list[int] = self._table[: self._described, scan.DROPS].tolist()
        beyond = sum(drops for number, drops in self._told.items() if number >= len(counted))
        return (
            self._earlier_drops
            + beyond
            + sum(max(drops, self._told.get(number, 0)) for number, drops in enumerate(counted))
        )

    def scan(self, buffer: NDArray[np.uint8], start: int, end: int, columns: NDArray[np.int64]) -> Scanned:
        """Fill `columns` with the packets between two places of the buffer."""
        cursor = self._cursor
        cursor[scan.POSITION], cursor[scan.COUNT] = start, 0
        while True:
            cursor[scan.POSITION] += self._passed_over(end - int(cursor[scan.POSITION]))
            scan.pcapng(buffer, end, self._order.swapped, self._described, self._table, columns, cursor)
            position, count, status, detail, _last = map(int, cursor)
            if status in _DAMAGE:
                return Scanned(count, position, damage=_DAMAGE[status].format(detail))
            if status == scan.SKIP:
                self._skip = detail
                continue
            if status in {scan.NEEDS, scan.FULL}:
                return Scanned(count, position, again=status == scan.FULL)
            if status == scan.SECTION:
                if count and len(self._indexes) > MAX_INTERFACES:  # they are forgotten before the next block
                    return Scanned(count, position, again=True)
                length, why = self._section(buffer[position:end])
            else:
                length, why = self._describe(detail, buffer[position:end])
            cursor[scan.POSITION] += length
            if not length or why:
                return Scanned(count, position, damage=why)

    def unfinished(self) -> bool:
        """Whether the capture cannot end here though no byte is left over."""
        return self._skip > 0 or not self._begun

    def _passed_over(self, there: int) -> int:
        """How many of the bytes that are there belong to an unwanted block."""
        step = min(self._skip, there)
        self._skip -= step
        return step

    def _section(self, data: NDArray[np.uint8]) -> tuple[int, str]:
        """Begin a section; return its header's length (0: it is not there yet) and what is wrong with it."""
        order = _ORDERS.get(data[8:12].tobytes())
        if order is None:
            return 0, "a section without its byte-order magic"
        (length,) = order.word.unpack(data[4:8].tobytes())
        if length % 4 or length < _MIN_SECTION or length > scan.MAX_DESCRIPTION:
            return 0, f"a block of {length:,} bytes is not possible"
        if length > len(data):
            return 0, ""
        if data[length - 4 : length].tobytes() != data[4:8].tobytes():
            return 0, "a block's two lengths differ"
        self._earlier_drops = self.dropped
        self._told = {}
        self._table[:, scan.DROPS] = 0
        self._order, self._described, self._begun = order, 0, True
        if len(self._indexes) > MAX_INTERFACES:
            self._indexes, self._interfaces = {}, ()
        return length, ""

    def _describe(self, kind: int, data: NDArray[np.uint8]) -> tuple[int, str]:
        """Take in an interface description or statistics; return its length and what is wrong with it."""
        (length,) = self._order.word.unpack(data[4:8].tobytes())
        body = data[8 : length - 4].tobytes()
        if kind != _INTERFACE:
            self._statistics(body)
        elif self._described == MAX_INTERFACES:
            return length, f"more than {MAX_INTERFACES:,} interfaces"
        else:
            self._interface(body)
        return length, ""

    def _interface(self, body: bytes) -> None:
        linktype, _reserved, snaplen = self._order.interface.unpack_from(body)
        name, base, exponent, shift = "", 10, 6, 0
        for code, value in self._options(body, 8):
            if code == _IF_NAME:
                name = value.rstrip(b"\x00").decode("utf-8", "replace")
            elif code == _IF_TSRESOL and len(value) == 1:
                base, exponent = 2 if value[0] & 0x80 else 10, value[0] & 0x7F
            elif code == _IF_TSOFFSET and len(value) == 8:
                shift = max(-_MAX_SHIFT, min(self._order.offset.unpack(value)[0], _MAX_SHIFT))
        index = self._indexes.setdefault(Interface(name, linktype), len(self._indexes))
        if self._described == len(self._table):
            self._table = np.concatenate((self._table, np.zeros_like(self._table)))
        self._table[self._described] = (index, max_packet(linktype), snaplen, base, exponent, shift, 0)
        self._described += 1

    def _statistics(self, body: bytes) -> None:
        (number,) = self._order.word.unpack_from(body)
        drops = [
            self._order.counter.unpack(value)[0]
            for code, value in self._options(body, 12)
            if code in {_ISB_IFDROP, _ISB_OSDROP} and len(value) == 8
        ]
        if drops:
            self._told[number] = sum(drops)

    def _options(self, body: bytes, start: int) -> Iterator[tuple[int, bytes]]:
        """The options from an offset on: code, value. A cut-off option ends them."""
        while start + 4 <= len(body):
            code, length = self._order.option.unpack_from(body, start)
            if code == 0 or start + 4 + length > len(body):
                return
            yield code, body[start + 4 : start + 4 + length]
            start += 4 + (length + 3) // 4 * 4
