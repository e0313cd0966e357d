"""Packets' flows as numbers (producers.recorder.index), from what the parser found.

The digest is made once a flow and direction, native (FIPS 180-4, section 6.1: one block, since what Community ID
hashes is 40 bytes at most), and kept in a table that later packets of the flow look into.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from producers.compiled import entry, inner
from producers.engine.kernel.layout import Kind
from producers.recorder.index import UNKNOWN

_FLOW = int(Kind.FLOW)
_ONE_WAY = 3  # FACTS["ported"]: an ICMP type that nothing answers keeps its direction
_KNOWN_BITS = 15
_MASK = np.uint64(0xFFFFFFFF)
_MIX = np.uint64(0x9E3779B97F4A7C15)


class FlowNumbers:
    """Numbers the flows of packets; keeps those it met last."""

    def __init__(self) -> None:
        # source, destination (two words each), ports with protocol and version, the number
        self._known = np.zeros((1 << _KNOWN_BITS, 6), dtype=np.uint64)
        self._scratch = np.zeros(80, dtype=np.uint64)

    def of(self, facts: NDArray[Any], chosen: NDArray[np.int64]) -> NDArray[np.uint64]:
        """The numbers of the packets whose rows of FACTS stand at `chosen`, UNKNOWN for those in no flow."""
        numbers = np.empty(len(chosen), dtype=np.uint64)
        _number(facts, chosen, self._known, self._scratch, numbers)
        return numbers


@entry
def _number(
    facts: NDArray[Any],
    chosen: NDArray[np.int64],
    known: NDArray[np.uint64],
    scratch: NDArray[np.uint64],
    numbers: NDArray[np.uint64],
) -> None:
    for place in range(len(chosen)):
        row = facts[chosen[place]]
        if row["kind"] != _FLOW:
            numbers[place] = np.uint64(UNKNOWN)
            continue
        first, second = np.uint64(row["source_high"]), np.uint64(row["source_low"])
        third, fourth = np.uint64(row["destination_high"]), np.uint64(row["destination_low"])
        rest = (
            (np.uint64(row["source_port"]) << np.uint64(40))
            | (np.uint64(row["destination_port"]) << np.uint64(24))
            | (np.uint64(row["protocol"]) << np.uint64(16))
            | (np.uint64(row["version"]) << np.uint64(8))  # never 0, so that an unused row is nobody's
            | np.uint64(row["ported"])
        )
        mixed = (first ^ rest) * _MIX
        mixed = (mixed ^ (mixed >> np.uint64(32)) ^ second) * _MIX
        mixed = (mixed ^ (mixed >> np.uint64(32)) ^ third) * _MIX
        mixed = (mixed ^ (mixed >> np.uint64(32)) ^ fourth) * _MIX
        slot = np.int64(mixed >> np.uint64(64 - _KNOWN_BITS))
        if (
            known[slot, 4] != rest
            or known[slot, 1] != second
            or known[slot, 3] != fourth
            or known[slot, 0] != first
            or known[slot, 2] != third
        ):
            known[slot, 0], known[slot, 1], known[slot, 2], known[slot, 3] = first, second, third, fourth
            known[slot, 4] = rest
            known[slot, 5] = _digest(first, second, third, fourth, rest, scratch)
        numbers[place] = known[slot, 5]


@inner
def _digest(  # noqa: PLR0913, PLR0917  # an endpoint is two words
    first: np.uint64,
    second: np.uint64,
    third: np.uint64,
    fourth: np.uint64,
    rest: np.uint64,
    words: NDArray[np.uint64],
) -> np.uint64:
    """The first 64 bits of the SHA-1 of: seed 0, the lower endpoint, the higher one, protocol, 0, their ports."""
    source_port, destination_port = (
        (rest >> np.uint64(40)) & np.uint64(0xFFFF),
        (rest >> np.uint64(24)) & np.uint64(0xFFFF),
    )
    protocol, version, ported = (
        (rest >> np.uint64(16)) & np.uint64(0xFF),
        (rest >> np.uint64(8)) & np.uint64(0xFF),
        rest & np.uint64(0xFF),
    )
    swapped = first > third or (first == third and second > fourth)
    if first == third and second == fourth:
        swapped = ported != 0 and source_port > destination_port
    if swapped and ported != _ONE_WAY:
        first, second, third, fourth = third, fourth, first, second
        source_port, destination_port = destination_port, source_port
    for index in range(16):
        words[index] = np.uint64(0)
    bit = 16  # behind the seed
    if version == np.uint64(6):
        _put(words, bit, first)
        _put(words, bit + 64, second)
        _put(words, bit + 128, third)
        _put(words, bit + 192, fourth)
        bit += 256
    else:
        _put(words, bit, (second << np.uint64(32)) | (fourth & _MASK))
        bit += 64
    tail = protocol << np.uint64(56)
    length = 16
    if ported != 0:
        tail |= (source_port << np.uint64(32)) | (destination_port << np.uint64(16))
        length = 48
    tail |= np.uint64(1) << np.uint64(63 - length)  # the padding's first bit
    _put(words, bit, tail)
    words[15] = np.uint64(bit + length)
    return _sha1(words)


@inner
def _put(words: NDArray[np.uint64], bit: int, value: np.uint64) -> None:
    """Put 64 bits at a multiple of 16 bits into words of 32 bits."""
    index = bit >> 5
    if bit & 31:
        words[index] |= value >> np.uint64(48)
        words[index + 1] |= (value >> np.uint64(16)) & _MASK
        words[index + 2] |= (value << np.uint64(16)) & _MASK
    else:
        words[index] |= value >> np.uint64(32)
        words[index + 1] |= value & _MASK


@inner
def _turn(value: np.uint64, bits: int) -> np.uint64:
    return ((value << np.uint64(bits)) | (value >> np.uint64(32 - bits))) & _MASK


@inner
def _sha1(words: NDArray[np.uint64]) -> np.uint64:
    """The first two words of the SHA-1 of one block; words 16 to 79 are worked on."""
    for index in range(16, 80):
        words[index] = _turn(words[index - 3] ^ words[index - 8] ^ words[index - 14] ^ words[index - 16], 1)
    start_a, start_b = np.uint64(0x67452301), np.uint64(0xEFCDAB89)
    a, b, c = start_a, start_b, np.uint64(0x98BADCFE)
    d, e = np.uint64(0x10325476), np.uint64(0xC3D2E1F0)
    for index in range(80):
        if index < 20:
            mixed, constant = (b & c) | (~b & d), np.uint64(0x5A827999)
        elif index < 40:
            mixed, constant = b ^ c ^ d, np.uint64(0x6ED9EBA1)
        elif index < 60:
            mixed, constant = (b & c) | (b & d) | (c & d), np.uint64(0x8F1BBCDC)
        else:
            mixed, constant = b ^ c ^ d, np.uint64(0xCA62C1D6)
        sum_ = (_turn(a, 5) + (mixed & _MASK) + e + constant + words[index]) & _MASK
        e, d, c, b, a = d, c, _turn(b, 30), a, sum_
    return (((start_a + a) & _MASK) << np.uint64(32)) | ((start_b + b) & _MASK)
