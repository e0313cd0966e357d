"""The scanners: walk a buffer of pcap or pcapng and fill a row of columns for each packet in it.

They stop where the bytes or the columns end, or where something has to be told or read by those who called
(`pcap.PcapReader`, `pcapng.PcapngReader`). Nothing is read beyond `end`, whatever lengths the capture claims.

`columns` has the rows TIME, OFFSET, CAPTURED, WIRE, INTERFACE. `cursor` holds POSITION (where to go on), COUNT (of
packets in the columns), STATUS, DETAIL (the figure that STATUS is about) and LAST (the time of the packet before).
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from producers.compiled import entry, inner
from producers.engine.kernel.octets import prefetch

Int: TypeAlias = int | np.int64

TIME, OFFSET, CAPTURED, WIRE, INTERFACE = range(5)
POSITION, COUNT, STATUS, DETAIL, LAST = range(5)

# STATUS: why a scanner stopped. Beyond SKIP, the capture is damaged at POSITION.
NEEDS, FULL, SECTION, DESCRIPTION, SKIP = range(5)
BLOCK_LENGTH, BLOCK_TOO_LONG, LENGTHS_DIFFER, PACKET_LENGTH, UNDESCRIBED = range(5, 10)

# Columns of pcapng's table of interfaces, one row an interface.
INDEX, LIMIT, SNAPLEN, BASE, EXPONENT, SHIFT, DROPS = range(7)
"""INDEX in Block.interfaces; LIMIT of a packet's length; a unit of time is BASE ** -EXPONENT seconds, SHIFT seconds
are added (all of at most 2 ** 61); DROPS counted by packet blocks."""

MAX_DESCRIPTION = 16 << 20
"""The longest section header, interface description or statistics believed, in bytes."""

OPTIONS = 1 << 17
"""The room for a packet's options: Wireshark's MAX_BLOCK_SIZE has as much."""

_AHEAD = 6  # packets; most have the length of the one before
_SHB, _IDB, _PB, _SPB, _ISB, _EPB = 0x0A0D0D0A, 1, 2, 3, 5, 6
_EPB_DROPCOUNT = 4
_DROPS_UNKNOWN = 0xFFFF
_MAX_DROPS = np.uint64(1 << 48)
_POWERS = np.array([10**exponent for exponent in range(20)], dtype=np.uint64)
_GIGA = np.uint64(10**9)
_LATEST, _EARLIEST = 2**63 - 1, -(2**63)


@inner
def _word(buffer: NDArray[np.uint8], at: Int, swapped: Int) -> Int:
    """The four bytes at `at` as an unsigned number."""
    place = np.uint64(at)
    a, b = np.int64(buffer[place]), np.int64(buffer[place + np.uint64(1)])
    c, d = np.int64(buffer[place + np.uint64(2)]), np.int64(buffer[place + np.uint64(3)])
    if swapped:
        return (a << 24) | (b << 16) | (c << 8) | d
    return (d << 24) | (c << 16) | (b << 8) | a


@entry
def pcap(  # noqa: PLR0913, PLR0917  # native code takes columns, not objects
    buffer: NDArray[np.uint8],
    end: Int,
    swapped: Int,
    head: int,
    unit_ns: int,
    limit: int,
    columns: NDArray[np.int64],
    cursor: NDArray[np.int64],
) -> None:
    """Add packets of a pcap to `columns`, from the cursor's position on.

    `head` is the length of a packet's header, `unit_ns` the nanoseconds in a unit of its fraction, `limit`
    the longest packet believed. Interfaces are left as they are.
    """
    at, count = cursor[POSITION], cursor[COUNT]
    cursor[STATUS] = NEEDS
    while at + head <= end:
        if count == columns.shape[1]:
            cursor[STATUS] = FULL
            break
        captured = _word(buffer, at + 8, swapped)
        if captured > limit:
            cursor[STATUS], cursor[DETAIL] = PACKET_LENGTH, captured
            break
        if at + head + captured > end:
            break
        fraction = _word(buffer, at + 4, swapped)
        if fraction >= 1 << 31:  # a negative fraction is found in the wild
            fraction -= 1 << 32
        columns[TIME, count] = _word(buffer, at, swapped) * 1_000_000_000 + fraction * unit_ns
        columns[OFFSET, count] = at + head
        columns[CAPTURED, count] = captured
        columns[WIRE, count] = _word(buffer, at + 12, swapped)
        count += 1
        at += head + captured
        prefetch(buffer, at + _AHEAD * (head + captured))
    cursor[POSITION], cursor[COUNT] = at, count


@entry
def pcapng(  # noqa: PLR0913, PLR0917  # native code takes columns, not objects
    buffer: NDArray[np.uint8],
    end: Int,
    swapped: Int,
    described: Int,
    interfaces: NDArray[np.int64],
    columns: NDArray[np.int64],
    cursor: NDArray[np.int64],
) -> None:
    """Add packets of a pcapng to `columns`, from the cursor's position on.

    `interfaces` has a row for each of the section's `described` interfaces. A section header stops the scan as soon
    as 12 bytes of it are there; an interface description or statistics once it is there as a whole (DETAIL is its
    type); an unknown block that ends beyond `end` stops it with its length, to be passed over. A simple packet
    block has no time: it gets that of the packet before.
    """
    at, count = cursor[POSITION], cursor[COUNT]
    cursor[STATUS] = NEEDS
    while at + 12 <= end:
        if count == columns.shape[1]:
            cursor[STATUS] = FULL
            break
        kind, length = _word(buffer, at, swapped), _word(buffer, at + 4, swapped)
        status, detail = _block(buffer, at, end, kind, length, swapped, described, interfaces, columns, count)
        if status == SKIP and at + length <= end:
            at += length
            continue
        if status != NEEDS:
            cursor[STATUS], cursor[DETAIL] = status, detail
            break
        if at + length > end:
            break
        _stamp(buffer, at, length, kind, swapped, interfaces, columns, count, cursor)
        count += 1
        at += length
    cursor[POSITION], cursor[COUNT] = at, count


def warm() -> None:
    """Compile the scanners, or load them, by letting them find nothing."""
    nothing, columns, cursor = np.zeros(0, np.uint8), np.zeros((5, 0), np.int64), np.zeros(5, np.int64)
    pcap(nothing, 0, 0, 16, 1, 0, columns, cursor)
    pcapng(nothing, 0, 0, 0, np.zeros((0, 7), np.int64), columns, cursor)


@inner
def _block(  # noqa: PLR0911, PLR0913, PLR0917
    buffer: NDArray[np.uint8],
    at: Int,
    end: Int,
    kind: Int,
    length: Int,
    swapped: Int,
    described: Int,
    interfaces: NDArray[np.int64],
    columns: NDArray[np.int64],
    count: Int,
) -> tuple[Int, Int]:
    """What is to be done with the block at `at`, and the figure for it.

    NEEDS: with a packet, all of whose columns but the time are filled in, if all of the block is there.
    """
    if kind == _SHB:
        return SECTION, length
    if length % 4 or length < _least(kind):
        return BLOCK_LENGTH, length
    packet = kind in (_EPB, _SPB, _PB)
    if packet:
        if at + 28 <= end or at + length <= end:  # enough to see whether it makes sense
            status, detail = _packet(buffer, at, length, kind, swapped, described, interfaces, columns, count)
            if status != NEEDS:
                return status, detail
    elif kind not in (_IDB, _ISB):
        return SKIP, length
    elif length > MAX_DESCRIPTION:
        return BLOCK_TOO_LONG, length
    if at + length > end:
        return NEEDS, length
    if _word(buffer, at + length - 4, swapped) != length:
        return LENGTHS_DIFFER, length
    return (NEEDS, length) if packet else (DESCRIPTION, kind)


@inner
def _least(kind: Int) -> int:
    """The least length of a block of this type."""
    if kind in (_EPB, _PB):
        return 32
    if kind == _ISB:
        return 24
    if kind == _IDB:
        return 20
    return 16 if kind == _SPB else 12


@inner
def _packet(  # noqa: PLR0913, PLR0917
    buffer: NDArray[np.uint8],
    at: Int,
    length: Int,
    kind: Int,
    swapped: Int,
    described: Int,
    interfaces: NDArray[np.int64],
    columns: NDArray[np.int64],
    count: Int,
) -> tuple[Int, Int]:
    """Fill in all but the time from a packet block's header; NEEDS if it makes sense, else what is wrong with it."""
    number: Int = np.int64(0)
    if kind == _EPB:
        number = _word(buffer, at + 8, swapped)
    elif kind == _PB:
        number = _word(buffer, at + 8, swapped)
        number = number >> 16 if swapped else number & 0xFFFF
    if number >= described:
        return UNDESCRIBED, number
    limit = interfaces[number, LIMIT]
    if length > limit + 32 + OPTIONS:
        return BLOCK_TOO_LONG, length
    if kind == _SPB:
        first, wire = at + 12, _word(buffer, at + 8, swapped)
        captured = min(wire, length - 16)
        if interfaces[number, SNAPLEN] > 0:
            captured = min(captured, interfaces[number, SNAPLEN])
    else:
        first, captured, wire = at + 28, _word(buffer, at + 20, swapped), _word(buffer, at + 24, swapped)
    if captured > limit or first + captured > at + length - 4:
        return PACKET_LENGTH, captured
    columns[OFFSET, count] = first
    columns[CAPTURED, count] = captured
    columns[WIRE, count] = wire
    columns[INTERFACE, count] = number
    return NEEDS, length


@inner
def _stamp(  # noqa: PLR0913, PLR0917
    buffer: NDArray[np.uint8],
    at: Int,
    length: Int,
    kind: Int,
    swapped: Int,
    interfaces: NDArray[np.int64],
    columns: NDArray[np.int64],
    count: Int,
    cursor: NDArray[np.int64],
) -> None:
    """Fill in the time, put the interface's index for its number, and count the drops that the block tells of."""
    number = columns[INTERFACE, count]
    if kind != _SPB:
        high, low = _word(buffer, at + 12, swapped), _word(buffer, at + 16, swapped)
        stamp = (np.uint64(high) << np.uint64(32)) | np.uint64(low)
        base, exponent, shift = (
            interfaces[number, BASE],
            interfaces[number, EXPONENT],
            interfaces[number, SHIFT],
        )
        cursor[LAST] = _nanoseconds(stamp, base, exponent, shift)
    if kind == _PB:
        drops = _word(buffer, at + 8, swapped)
        drops = drops & 0xFFFF if swapped else drops >> 16
        if drops != _DROPS_UNKNOWN:
            interfaces[number, DROPS] += drops
    if kind == _EPB:
        options = at + 28 + ((columns[CAPTURED, count] + 3) & ~3)
        interfaces[number, DROPS] += _drop_count(buffer, options, at + length - 4, swapped)
    columns[TIME, count] = cursor[LAST]
    columns[INTERFACE, count] = interfaces[number, INDEX]


@inner
def _drop_count(buffer: NDArray[np.uint8], at: Int, end: Int, swapped: Int) -> Int:
    """What the options from `at` to `end` say of packets lost since the one before, at most 2 ** 48."""
    while at + 4 <= end:
        word = _word(buffer, at, swapped)
        code, length = (word >> 16, word & 0xFFFF) if swapped else (word & 0xFFFF, word >> 16)
        if code == 0 or at + 4 + length > end:
            return 0
        if code == _EPB_DROPCOUNT and length == 8:
            first, second = (
                np.uint64(_word(buffer, at + 4, swapped)),
                np.uint64(_word(buffer, at + 8, swapped)),
            )
            high, low = (first, second) if swapped else (second, first)
            return np.int64(min((high << np.uint64(32)) | low, _MAX_DROPS))
        at += 4 + ((length + 3) & ~3)
    return 0


@inner
def _nanoseconds(stamp: np.uint64, base: Int, exponent: Int, shift: Int) -> Int:
    """`stamp` units of base ** -exponent seconds, and `shift` seconds, in whole nanoseconds; clamped to 64 bits."""
    if base == 10 and shift == 0:
        if exponent == 9 and stamp <= np.uint64(_LATEST):
            return np.int64(stamp)
        if exponent == 6 and stamp <= np.uint64(_LATEST // 1000):
            return np.int64(stamp) * 1000
    whole, rest = _decimal(stamp, exponent) if base == 10 else _binary(stamp, exponent)
    seconds = np.int64(min(whole, np.uint64(1 << 61))) + shift
    if seconds > 9_223_372_036 or (seconds == 9_223_372_036 and rest > 854_775_807):
        return _LATEST
    if seconds < -9_223_372_037 or (seconds == -9_223_372_037 and rest < 145_224_192):
        return _EARLIEST
    if seconds < 0:
        return (seconds + 1) * 1_000_000_000 + (rest - 1_000_000_000)
    return seconds * 1_000_000_000 + rest


@inner
def _decimal(stamp: np.uint64, exponent: Int) -> tuple[np.uint64, Int]:
    """Seconds and nanoseconds of `stamp` units of 10 ** -exponent seconds."""
    if exponent <= 9:
        units = _POWERS[exponent]
        return stamp // units, np.int64((stamp % units) * _POWERS[9 - exponent])
    if exponent <= 19:
        units = _POWERS[exponent]
        return stamp // units, np.int64((stamp % units) // _POWERS[exponent - 9])
    if exponent <= 28:
        return np.uint64(0), np.int64(stamp // _POWERS[exponent - 9])
    return np.uint64(0), np.int64(0)


@inner
def _binary(stamp: np.uint64, exponent: Int) -> tuple[np.uint64, Int]:
    """Seconds and nanoseconds of `stamp` units of 2 ** -exponent seconds."""
    whole, part = np.uint64(0), stamp
    if exponent < 64:
        whole = stamp >> np.uint64(exponent)
        part = stamp - (whole << np.uint64(exponent))
    # part * 10 ** 9 has up to 94 bits: `upper` is all from bit 32 on, `lower` the 32 below
    lower = (part & np.uint64(0xFFFFFFFF)) * _GIGA
    upper = (part >> np.uint64(32)) * _GIGA + (lower >> np.uint64(32))
    lower &= np.uint64(0xFFFFFFFF)
    if exponent < 32:
        return whole, np.int64((upper << np.uint64(32 - exponent)) | (lower >> np.uint64(exponent)))
    if exponent < 96:
        return whole, np.int64(upper >> np.uint64(exponent - 32))
    return whole, np.int64(0)
