"""IEEE 802.11 frames: from the header that a capture's link type puts before them to the LLC inside."""
# ruff: noqa: PLR0913, PLR0917, FBT001 - columns and figures travel one by one

from producers.compiled import bare_inner
from producers.engine.kernel.octets import (
    NO_IP,
    Buffer,
    Facts,
    Place,
    little,
    little_word,
    octet,
    short,
    word,
)

SHORTEST = 24
"""Bytes of the shortest header of a data frame, up to the sequence number."""

_AVS, _PRISM, _RADIOTAP, _PLAIN = 163, 119, 127, 105


@bare_inner
def wireless(linktype: int, buffer: Buffer, start: int, at: int, end: int, facts: Facts, index: int) -> Place:
    """IEEE 802.11 behind the header that its link type puts before it: none, radiotap, Prism or AVS."""
    padded = False
    if linktype != _PLAIN and end < at + 8:
        return NO_IP
    if linktype in (_PRISM, _AVS):  # the length is in host order for Prism, in network order for AVS
        mark = short(buffer, at) << 8 | octet(buffer, at + 2)
        at += word(buffer, at + 4) if mark in (0x802110, 0) else little_word(buffer, at + 4)
    elif linktype == _RADIOTAP:
        after = at + little(buffer, at + 2)
        padded = _is_padded(buffer, at, min(after, end), end)
        at = after
    if end < at + SHORTEST:
        return NO_IP
    kind, flags = octet(buffer, at), octet(buffer, at + 1)
    found = data_frame(kind, flags, buffer, at, end, padded)
    if found[1] >= 0:
        _keep_macs(flags & 3, start, at, end, facts, index)
    return found


@bare_inner
def data_frame(kind: int, flags: int, buffer: Buffer, at: int, end: int, padded: bool) -> Place:
    """The LLC in the frame at `at` whose frame control is `kind` and `flags`; of several (A-MSDU) the first one's.

    Only data frames that are not encrypted have one. The caller has made sure of SHORTEST bytes. `padded`: the header
    is padded to four bytes.
    """
    if kind & 0x0F != 0x08 or kind & 0x40 or flags & 0x40:
        return NO_IP  # no data frame, no data in it, or protected
    header = 30 if flags & 3 == 3 else 24
    aggregated = False
    if kind & 0x80:
        aggregated = end > at + header and octet(buffer, at + header) & 0x80 != 0
        header += 6 if flags & 0x80 else 2
    if padded:
        header = (header + 3) // 4 * 4
    if aggregated:
        header += 14
    return 0, at + header


@bare_inner
def _is_padded(buffer: Buffer, start: int, after: int, end: int) -> bool:
    """Whether radiotap's flags, if they are there, tell that the 802.11 header is padded to four bytes."""
    present = word_of_flags = little_word(buffer, start + 4)
    at = start + 8
    while word_of_flags & 0x8000_0000 and at + 4 <= end:
        word_of_flags = little_word(buffer, at)
        at += 4
    if present & 1:  # a time stamp of eight bytes, aligned, comes before the flags
        at = start + (at - start + 7) // 8 * 8 + 8
    return present & 2 != 0 and at < after and octet(buffer, at) & 0x20 != 0


@bare_inner
def _keep_macs(direction: int, start: int, at: int, end: int, facts: Facts, index: int) -> None:
    """Source and destination by the To-DS and From-DS bits (IEEE 802.11, table 9-26)."""
    first, second, third, fourth = at + 4, at + 10, at + 16, at + 24
    source, destination = second, first
    if direction == 1:
        destination = third
    elif direction == 2:
        source = third
    elif direction == 3:
        source, destination = fourth, third
    if end >= source + 6:
        facts[index].source_mac = source - start
        facts[index].destination_mac = destination - start
