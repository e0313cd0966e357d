"""Classic pcap as a push parser: bytes in, packets out, in either byte order, micro- or nanoseconds.

Format: draft-ietf-opsawg-pcap (magic 0xA1B2C3D4, nanoseconds 0xA1B23C4D) and Alexey Kuznetzov's modified
pcap (0xA1B2CD34), whose packet headers are eight bytes longer.
"""

from struct import Struct

from producers.sources.errors import MAX_PACKET, cut_off, damaged
from producers.sources.packet import Block, RawPacket

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


class PcapParser:
    """Parses one capture from its first byte on. Classic pcap cannot tell of drops."""

    dropped = 0

    def __init__(self, name: str) -> None:
        self._name = name
        self._rest = b""
        self._offset = 0
        self._packets = 0
        self._linktype = -1
        self._unit_ns = 1000
        self._header = Struct("<IiII")

    def push(self, chunk: bytes, out: Block) -> None:
        """Append the packets that `chunk` completes to `out`; CaptureError at a length beyond belief."""
        data = self._rest + chunk if self._rest else chunk
        start = self._begin(data) if self._linktype < 0 else 0
        if self._linktype < 0:
            self._rest = data
            return
        self._packet_loop(data, start, out)

    def end(self) -> None:
        """Raise CaptureError if the capture stopped inside a header or a packet."""
        if self._rest or self._linktype < 0:
            raise cut_off(self._name, self._packets, self._offset)

    def _begin(self, data: bytes) -> int:
        """Read the file header once it is there; return its length."""
        if len(data) < FILE_HEADER:
            return 0
        order, self._unit_ns, header = MAGICS[data[:4]]
        self._header = Struct(f"{order}IiII{header - 16}x")  # a negative fraction is found in the wild
        (link,) = Struct(order + "I").unpack_from(data, 20)
        self._linktype = link & LINKTYPE_MASK
        return FILE_HEADER

    def _packet_loop(self, data: bytes, offset: int, out: Block) -> None:
        unpack, head, size = self._header.unpack_from, self._header.size, len(data)
        linktype, unit, packets = self._linktype, self._unit_ns, self._packets
        append = out.append
        while offset + head <= size:
            seconds, fraction, captured, wire = unpack(data, offset)
            if captured > MAX_PACKET:
                raise damaged(
                    self._name,
                    packets,
                    self._offset + offset,
                    f"a packet of {captured:,} bytes is not possible",
                )
            end = offset + head + captured
            if end > size:
                break
            packets += 1
            append(
                RawPacket(
                    packets,
                    seconds * 1_000_000_000 + fraction * unit,
                    linktype,
                    data[offset + head : end],
                    wire,
                    "",
                )
            )
            offset = end
        self._packets = packets
        self._rest = data[offset:]
        self._offset += offset
