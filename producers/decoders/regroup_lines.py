"""Noting the lines of tshark's records, natively: whose members they are, and which of these have the same key.

tshark prints one key, bracket or value a line, and no line break within a text.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from producers.compiled import bare_inner, inlined
from producers.engine.kernel.octets import number

# What is noted of a line with a key; lines are numbered from the record's first one. -1: there is none.
KEY, KEY_END, VALUE, VALUE_END, HASH, PARENT, FIRST, LAST, NEXT, SAME, LAST_SAME, TREE, RANK = range(13)
COLUMNS = 13
"""KEY and KEY_END are with the quotes. VALUE_END is -1 where an object begins, whose members are FIRST, its NEXT and
so on to LAST. SAME is the next line of the same key, TREE the one with the tree of this value."""
HEAD, AGAIN, OF_BEFORE = 0, 1, 2
"""RANK: a key's first line in its object, a later one, the tree of the line before."""
DEPTH = 512
"""How deep records are read; tshark's limit is 500 (epan/prefs.c, gui_max_tree_depth)."""

BREAK, SPACE, QUOTE, COMMA, COLON, BACKSLASH = (ord(sign) for sign in '\n ",:\\')
OPEN, CLOSE, LIST, LIST_END, ZERO = (ord(sign) for sign in "{}[]0")
_BASIS, _PRIME, _MASK = 0xCBF29CE484222325, 0x100000001B3, (1 << 63) - 1  # FNV-1a, 63 of 64 bits
_SPREAD = 0x9E3779B1
_LINE = 0xFFFFFFFF
_LAYERS = len('"layers"')
_TREE = "_tree"


class Work(NamedTuple):
    """What the native parts work on: what tshark printed, signs looked for, keys left out, and memory."""

    data: NDArray[np.uint8]
    signs: NDArray[np.int64]
    unread: NDArray[np.int64]
    out: NDArray[np.uint8]
    lines: NDArray[np.int64]
    table: NDArray[np.int64]
    pending: NDArray[np.int64]


def hashed(text: str) -> int:
    """The number that stands for a key or a value (FNV-1a)."""
    value = _BASIS
    for octet in text.encode():
        value = (value ^ octet) * _PRIME & 0xFFFF_FFFF_FFFF_FFFF
    return value & _MASK


def set_of(keys: Sequence[str]) -> NDArray[np.int64]:
    """Keys as a set of their numbers: each at the first place from its number on that is free, which is 0."""
    size = 1 << (4 * len(keys) + 1).bit_length()
    found = np.zeros(size, np.int64)
    for key in keys:
        value = hashed(key)
        at = value % size
        while found[at]:
            at = (at + 1) % size
        found[at] = value
    return found


@bare_inner
def read(work: Any, place: int, record: int) -> Any:
    """Note the lines of the record whose brace is at `place`.

    Returns where it ends, the line of its layers, and its signs; -1 for the line where it is not built as usual.
    """
    data, lines = work.data, work.lines
    count, parent, depth, found, layers = 1, 0, 1, 0, -1
    _begin(lines, 0, -1)
    place += 1
    while count < len(lines):
        place = _next_line(data, place, depth)
        if place < 0:
            break
        if data[place] == CLOSE:
            depth -= 1
            if depth == 0:
                return place + 1, layers, found
            parent = lines[parent, PARENT]
            place += 2 if place + 1 < len(data) and data[place + 1] == COMMA else 1
            continue
        _begin(lines, count, parent)
        place = _note(data, lines, place, count)
        if place < 0:
            break
        found |= _signs_of(work, count)
        if not _is_in(work.unread, lines[count, HASH]):
            _join(work, record, parent, count)
        if lines[count, VALUE_END] < 0:
            if depth == 2 and lines[count, KEY_END] - lines[count, KEY] == _LAYERS:  # the only object there
                layers = count
            parent = count
            depth += 1
            if depth > DEPTH:
                break
        count += 1
    return 0, -1, 0


@inlined
def _next_line(data: Any, place: int, depth: int) -> int:
    """Where the next line begins after its white space; -1 where there is none."""
    if place >= len(data) or data[place] != BREAK:
        return -1
    place += 1
    # Two spaces for each object around; its members have two more.
    indent = place + 2 * depth
    if indent < len(data) and data[indent - 1] == SPACE:
        place = indent
    while place < len(data) and data[place] == SPACE:
        place += 1
    return place if place < len(data) else -1


@inlined
def _begin(lines: Any, line: int, parent: int) -> None:
    lines[line, PARENT] = parent
    lines[line, FIRST] = -1
    lines[line, LAST] = -1
    lines[line, NEXT] = -1
    lines[line, SAME] = -1
    lines[line, LAST_SAME] = line
    lines[line, TREE] = -1
    lines[line, RANK] = HEAD


@inlined
def _note(data: Any, lines: Any, place: int, line: int) -> int:
    """Note a line's key and value; return where it ends, -1 where it is neither text, number nor object."""
    end = len(data)
    if data[place] != QUOTE:
        return -1
    value = np.uint64(_BASIS)
    at = place + 1
    while at < end and data[at] != QUOTE:
        at += 1 if data[at] == BACKSLASH else 0
        if at < end:
            value = (value ^ np.uint64(data[at])) * np.uint64(_PRIME)
        at += 1
    if at + 3 >= end or data[at + 1] != COLON or data[at + 2] != SPACE or data[at + 3] == LIST:
        return -1
    lines[line, KEY] = place
    lines[line, KEY_END] = at + 1
    lines[line, HASH] = np.int64(value & np.uint64(_MASK))
    begin = at = at + 3
    while at < end and data[at] != BREAK:
        at += 1
    stop = at - 1 if data[at - 1] == COMMA else at
    lines[line, VALUE] = begin
    lines[line, VALUE_END] = -1 if data[begin] == OPEN and at == begin + 1 else stop
    return at


@inlined
def _is_in(numbers: Any, value: Any) -> Any:
    """Whether a number is in a set."""
    mask = len(numbers) - 1
    at = value & mask
    while numbers[at] != 0 and numbers[at] != value:
        at = (at + 1) & mask
    return numbers[at] == value


@inlined
def _signs_of(work: Any, line: int) -> int:
    """A bit for each sign that the line is."""
    found = 0
    for place in range(len(work.signs)):
        if work.lines[line, HASH] == work.signs[place, 0]:
            wanted = work.signs[place, 1]
            if (
                wanted == 0
                or _hash(work.data, work.lines[line, VALUE], work.lines[line, VALUE_END]) == wanted
            ):
                found |= 1 << place
    return found


@inlined
def _hash(data: Any, begin: int, end: int) -> Any:
    value = np.uint64(_BASIS)
    for at in range(begin, end):
        value = (value ^ np.uint64(data[at])) * np.uint64(_PRIME)
    return np.int64(value & np.uint64(_MASK))


@inlined
def _join(work: Any, record: int, parent: int, line: int) -> None:
    """Put a line among the members of its object, to others of the same key."""
    lines = work.lines
    before = lines[parent, LAST]
    lines[parent, LAST] = line
    if before < 0:
        lines[parent, FIRST] = line
    else:
        lines[before, NEXT] = line
        if lines[before, VALUE_END] >= 0 and _is_tree_of(work.data, lines, line, before):
            lines[line, RANK] = OF_BEFORE
            lines[before, TREE] = line
            return
    _find_same(work, record, parent, line)


@inlined
def _is_tree_of(data: Any, lines: Any, line: int, before: int) -> Any:
    """Whether a line is the tree of the one before it: an object, and its key has `_tree` in addition."""
    length = lines[before, KEY_END] - lines[before, KEY] - 1
    if lines[line, KEY_END] - lines[line, KEY] - 1 != length + len(_TREE) or lines[line, VALUE_END] >= 0:
        return False
    underscore = lines[line, KEY] + length
    return data[underscore] == ord("_") and _equal(data, lines[before, KEY], lines[line, KEY], length)


@inlined
def _find_same(work: Any, record: int, parent: int, line: int) -> None:
    """Look for the first line of the same key in the object and follow it, or be it."""
    lines, table = work.lines, work.table
    mask = len(table) - 1
    at = (lines[line, HASH] ^ parent * _SPREAD) & mask
    while table[at] >= 0 and table[at] >> 32 == record:
        head = table[at] & _LINE
        length = lines[head, KEY_END] - lines[head, KEY]
        if (
            lines[head, PARENT] == parent
            and lines[head, HASH] == lines[line, HASH]
            and length == lines[line, KEY_END] - lines[line, KEY]
            and _equal(work.data, lines[head, KEY], lines[line, KEY], length)
        ):
            lines[lines[head, LAST_SAME], SAME] = line
            lines[head, LAST_SAME] = line
            lines[line, RANK] = AGAIN
            return
        at = (at + 1) & mask
    table[at] = record << 32 | line


@inlined
def _equal(data: Any, first: int, second: int, length: int) -> bool:
    for at in range(length):  # noqa: SIM110  # numba knows no generators
        if data[number(first + at)] != data[number(second + at)]:
            return False
    return True
