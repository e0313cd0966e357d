"""What stands in for the index of a segment that is being written: the numbers of its packets' flows, as they come.

A file beside the segment, deleted when the index is there. Of each piece of packets it has a header (how many, where in
the segment the piece ends, in words, and a CRC-32 of all but itself), the numbers (u8) and the positions (u4, in
words). A piece is written here first, so that one whose packets are not whole in the segment does not count.
"""

import zlib
from pathlib import Path
from struct import Struct

import numpy as np
from numpy.typing import NDArray

_HEADER = Struct("<III")
PACKET_BYTES = 8 + 4
PIECE_BYTES = _HEADER.size


def piece(numbers: NDArray[np.uint64], words: NDArray[np.uint32], end: int) -> bytes:
    """A piece as it stands in the file; `end` is where its packets end in the segment, in words."""
    columns = numbers.astype("<u8", copy=False).tobytes() + words.astype("<u4", copy=False).tobytes()
    return _HEADER.pack(len(numbers), end, _crc(len(numbers), end, columns)) + columns


def read(path: Path, length: int) -> tuple[NDArray[np.uint64], NDArray[np.uint32], int]:
    """Numbers and positions of the packets in the first `length` words of the segment, and how far they reach.

    Nothing, and 0, where there is no such file; what follows a damaged piece is not told.
    """
    numbers, words, reach, at = [np.empty(0, np.uint64)], [np.empty(0, np.uint32)], 0, 0
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        data = b""
    while at + PIECE_BYTES <= len(data):
        count, end, crc = _HEADER.unpack_from(data, at)
        columns = data[at + PIECE_BYTES : at + PIECE_BYTES + count * PACKET_BYTES]
        if end > length or crc != _crc(count, end, columns):
            break
        numbers.append(np.frombuffer(columns, dtype="<u8", count=count))
        words.append(np.frombuffer(columns, dtype="<u4", offset=8 * count))
        reach, at = end, at + PIECE_BYTES + len(columns)
    return np.concatenate(numbers), np.concatenate(words), reach


def _crc(count: int, end: int, columns: bytes) -> int:
    return zlib.crc32(columns, zlib.crc32(_HEADER.pack(count, end, 0)))
