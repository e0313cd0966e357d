"""Classic pcap, in either byte order, micro- or nanoseconds.

Format: draft-ietf-opsawg-pcap (magic 0xA1B2C3D4, nanoseconds 0xA1B23C4D) and Alexey Kuznetzov's modified
pcap (0xA1B2CD34), whose packet headers are eight bytes longer.
"""

from struct import Struct

import numpy as np
from numpy.typing import NDArray

from producers.sources import scan
from producers.sources.errors import max_packet
from producers.sources.packet import Interface
from producers.sources.reading import Scanned

FILE_HEADER = 24
LINKTYPE_MASK = 0x03FF_FFFF  # the upper bits tell of a frame check sequence
_MICRO, _NANO, _MODIFIED = 0xA1B2C3D4, 0xA1B23C4D, 0xA1B2CD34


def _magics() -> dict[bytes, tuple[str, int, int]]:
    """The first four bytes -> byte order, nanoseconds per unit of fraction, length of a packet's header."""
    kinds = {_MICRO: (1000, 16), _NANO: (1, 16), _MODIFIED: (1000, 24)}
    return {
        Struct(order + "I").pack(magic): (order, *kind) for magic, kind in kinds.items() for order in "<>"
    }


MAGICS = _magics()


class PcapReader:
    """Reads one capture from its first byte on. Classic pcap cannot tell of drops."""

    dropped = 0

    def __init__(self) -> None:
        self.interfaces: tuple[Interface, ...] = ()
        self._swapped = self._head = 0
        self._unit_ns = 1000
        self._cursor = np.zeros(5, dtype=np.int64)

    def scan(self, buffer: NDArray[np.uint8], start: int, end: int, columns: NDArray[np.int64]) -> Scanned:
        """Fill `columns` with the packets between two places of the buffer."""
        if not self.interfaces:
            if start + FILE_HEADER > end:
                return Scanned(0, start)
            self._begin(buffer[start : start + FILE_HEADER].tobytes())
            start += FILE_HEADER
        cursor = self._cursor
        cursor[scan.POSITION], cursor[scan.COUNT] = start, 0
        limit = max_packet(self.interfaces[0].linktype)
        scan.pcap(buffer, end, self._swapped, self._head, self._unit_ns, limit, columns, cursor)
        position, count, status, detail, _last = cursor.tolist()
        columns[scan.INTERFACE, :count] = 0
        why = f"a packet of {detail:,} bytes is not possible" if status == scan.PACKET_LENGTH else ""
        return Scanned(count, position, again=status == scan.FULL, damage=why)

    def unfinished(self) -> bool:
        """Whether the capture cannot end here though no byte is left over."""
        return not self.interfaces

    def _begin(self, header: bytes) -> None:
        order, self._unit_ns, self._head = MAGICS[header[:4]]
        self._swapped = int(order == ">")
        (link,) = Struct(order + "I").unpack_from(header, 20)
        self.interfaces = (Interface("", link & LINKTYPE_MASK),)
