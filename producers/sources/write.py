"""Packets of blocks as pcapng, natively: for the dissectors' pipes and the packet ring.

Format: draft-ietf-opsawg-pcapng, little endian. `preamble` begins a section, `interface_block` adds an interface to
one that goes on, `encode` turns chosen packets of a block into enhanced packet blocks with times in nanoseconds.
"""

from collections.abc import Iterable
from struct import pack
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from producers.compiled import entry
from producers.sources.packet import Block, Interface
from runtime.errors import CaptureError

PACKET_HEAD = 28
"""Where in an enhanced packet block the packet's bytes begin."""

_PACKET_FRAME = 32  # an enhanced packet block without its packet
_SECTION, _INTERFACE = 0x0A0D0D0A, 1
_IF_NAME, _IF_TSRESOL = 2, 9
_NANOSECONDS = b"\x09"
_MAX_LINKTYPE = 0xFFFF
_UNLIMITED = (1 << 62) - 1


class Encoded(NamedTuple):
    """Enhanced packet blocks one after the other, and where in `data` each of them begins."""

    data: NDArray[np.uint8]
    positions: NDArray[np.int64]


def preamble(interfaces: Iterable[Interface] = ()) -> bytes:
    """A section header of unknown length and the section's first interfaces, which are numbered from 0."""
    header = _block(_SECTION, pack("<IHHq", 0x1A2B3C4D, 1, 0, -1))
    return header + b"".join(map(interface_block, interfaces))


def interface_block(interface: Interface) -> bytes:
    """An interface description with its name, times in nanoseconds and no snap length.

    The interface gets the section's next number. Raises CaptureError for a link type beyond the 16 bits that
    pcapng has for it.
    """
    if not 0 <= interface.linktype <= _MAX_LINKTYPE:
        raise CaptureError(f"link type {interface.linktype:,} does not fit in pcapng")
    name = interface.name.encode()[:0xFFFF]
    options = (_option(_IF_NAME, name) if name else b"") + _option(_IF_TSRESOL, _NANOSECONDS) + bytes(4)
    return _block(_INTERFACE, pack("<HHI", interface.linktype, 0, 0) + options)


def encode(
    block: Block,
    indexes: NDArray[np.int64],
    interface_ids: NDArray[np.int64],
    *,
    keep: NDArray[np.int64] | None = None,
    limit: int = _UNLIMITED,
) -> Encoded:
    """The packets at `indexes` as enhanced packet blocks, in that order.

    `interface_ids` has the number in the output for each of `block.interfaces`. `keep` has for each of
    `indexes` how many bytes of the packet at most are written (all, where it is None); the length on the wire
    stays. Packets are written as long as the whole is at most `limit` bytes, the first in any case: `positions`
    has one entry for each that was. A packet's bytes begin PACKET_HEAD behind its position. Times before 1970,
    which pcapng cannot express, become 0.
    """
    kept = block.captured[indexes]
    if keep is not None:
        kept = np.minimum(kept, np.maximum(keep, 0))
    ends = np.cumsum(((kept + 3) & ~3) + _PACKET_FRAME, dtype=np.int64)
    count = max(int(np.searchsorted(ends, limit, side="right")), min(len(ends), 1))
    ends = ends[:count]
    data = np.zeros(int(ends[-1]) if count else 0, dtype=np.uint8)
    columns = (block.time_ns, block.offset, block.wire, block.interface)
    _encode(block.buffer, *columns, indexes, interface_ids, kept, ends, data)
    starts = np.zeros(count, dtype=np.int64)
    starts[1:] = ends[:-1]
    return Encoded(data, starts)


@entry
def _encode(  # noqa: PLR0913, PLR0917  # native code takes columns, not objects
    buffer: NDArray[np.uint8],
    time_ns: NDArray[np.int64],
    offset: NDArray[np.int64],
    wire: NDArray[np.int64],
    interface: NDArray[np.int32],
    indexes: NDArray[np.int64],
    interface_ids: NDArray[np.int64],
    kept: NDArray[np.int64],
    ends: NDArray[np.int64],
    out: NDArray[np.uint8],
) -> None:
    """Write a block for each entry of `ends` into `out`, which is all zeros and as long as the last of them."""
    words = out.view(np.uint32)  # every length is a multiple of four
    start = np.int64(0)
    for number in range(len(ends)):
        index, length, end = indexes[number], kept[number], ends[number]
        word, stamp, source = start >> 2, max(time_ns[index], np.int64(0)), offset[index]
        words[word] = 6
        words[word + 1] = end - start
        words[word + 2] = interface_ids[interface[index]]
        words[word + 3] = stamp >> 32
        words[word + 4] = stamp & 0xFFFFFFFF
        words[word + 5] = length
        words[word + 6] = min(wire[index], 0xFFFFFFFF)
        into, first = np.uint64(start + PACKET_HEAD), np.uint64(source)  # unsigned: no index from the end
        for byte in range(np.uint64(length)):
            out[into + byte] = buffer[first + byte]
        words[(end >> 2) - 1] = end - start
        start = end


def _block(kind: int, body: bytes) -> bytes:
    length = len(body) + 12
    return pack("<II", kind, length) + body + pack("<I", length)


def _option(code: int, value: bytes) -> bytes:
    return pack("<HH", code, len(value)) + value + bytes(-len(value) % 4)
