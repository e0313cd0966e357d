"""tshark's pretty-printed records, made compact natively: equal keys of an object put together, white space left out.

tshark does the first itself when it is asked to (`--no-duplicate-keys`), which takes a fifth of its time. What comes
out is what it would print then: a key that is there often has a list of its values, and where a field has a tree, too
(`KEY_tree`), a second list, with an empty text for the values that have none.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from producers.compiled import bare_entry, bare_inner, inlined
from producers.decoders.regroup_lines import (
    BREAK,
    CLOSE,
    COLON,
    COLUMNS,
    COMMA,
    DEPTH,
    FIRST,
    HASH,
    HEAD,
    KEY,
    KEY_END,
    LIST,
    LIST_END,
    NEXT,
    OPEN,
    QUOTE,
    RANK,
    SAME,
    SPACE,
    TREE,
    VALUE,
    VALUE_END,
    ZERO,
    Work,
    hashed,
    read,
    set_of,
)

# What is still to be written: a brace, the members from a line on, the trees of its key, their values or trees.
_BRACE, _MEMBERS, _BESIDE, _VALUES, _TREES = range(5)
_PENDING = 8 * DEPTH
_MOST = 8  # so many entries one step adds at most
_FILTERED = len('"filtered"')
_IP, _IPV6 = hashed("ip"), hashed("ipv6")


class Regrouper:
    """Makes records compact.

    `signs` are keys, each with a value or nothing for any, whose presence a record says; `unread` are left out.
    """

    def __init__(self, signs: Sequence[tuple[str, str]], unread: Sequence[str] = ()) -> None:
        hashes = [(hashed(key), hashed(value) if value else 0) for key, value in signs]
        self._signs = np.array(hashes, np.int64).reshape(-1, 2)
        self._unread = set_of(unread)
        self._pending = np.zeros(_PENDING, np.int64)
        self._lines = np.zeros((0, COLUMNS), np.int64)
        self._table = np.zeros(0, np.int64)

    def records(self, data: bytes) -> list[bytes]:
        """The records of `data`, which are whole, each as `[SIGNS,{LAYERS}]`; one that is not as usual as it is.

        If a packet has more than one IP header, `[SIGNS,{LAYERS},[NAMES]]` with the names of its layers in their order.
        """
        lines = data.count(b"\n") + 1
        if lines > len(self._lines):
            self._lines = np.zeros((lines, COLUMNS), np.int64)
            self._table = np.zeros(1 << (2 * lines).bit_length(), np.int64)
        out, ends = np.empty(2 * len(data) + lines, np.uint8), np.empty(lines, np.int64)
        octets = np.frombuffer(data, np.uint8)
        work = Work(octets, self._signs, self._unread, out, self._lines, self._table, self._pending)
        places = [0, *ends[: _regroup(work, ends)].tolist()]
        compact = out[: places[-1]].tobytes()
        return [compact[begin:end] for begin, end in pairwise(places)]


def warm() -> None:
    """Compile the native code, or load it."""
    Regrouper([]).records(b"")


@bare_entry
def _regroup(work: Work, ends: NDArray[np.int64]) -> int:
    """Write the records of `data` to `out`, and where each ends to `ends`; return how many they are.

    A layer that tshark filters is 0. Each row of `signs` is the hash of a key and that of a value or 0 for any: bit n
    of SIGNS says whether the record has such a line. `out` takes twice as many bytes as `data`, for the
    names, and one for each record.
    """
    data, out = work.data, work.out
    place, written, records = 0, 0, 0
    work.table[:] = -1
    while True:
        while place < len(data) and data[place] != OPEN:
            place += 1
        if place >= len(data):
            return records
        end, layers, found = read(work, place, records)
        stop = _write(work, written, layers, found) if layers >= 0 else -1
        if stop < 0:
            end = _whole(data, place)
            stop = _copy(data, out, written, place, end)
        place, written = end, stop
        ends[records] = written
        records += 1


@bare_inner
def _whole(data: Any, begin: int) -> int:
    """Where the record that begins at `begin` ends: after a brace at two spaces."""
    for at in range(begin, len(data) - 3):
        if data[at] == BREAK and data[at + 1] == SPACE and data[at + 2] == SPACE and data[at + 3] == CLOSE:
            return at + 4
    return len(data)


@bare_inner
def _write(work: Any, to: int, layers: int, found: int) -> int:
    """Write `[FOUND,{LAYERS}]`, or with names; return where it ends, -1 where there is no room for what is pending."""
    out, pending = work.out, work.pending
    to = _put(out, to, LIST)
    if found >= 10:
        to = _put(out, to, ZERO + found // 10)
    to = _put(out, to, ZERO + found % 10)
    to = _put(out, to, COMMA)
    to, top = _write_value(work, to, 0, layers)
    while top > 0:
        if top + _MOST > len(pending):
            return -1
        top -= 2
        what, line = pending[top], pending[top + 1]
        if what == _BRACE:
            to = _put(out, to, CLOSE)
        elif what == _MEMBERS:
            to, top = _write_member(work, to, top, line)
        elif what == _BESIDE:
            to, top = _write_trees(work, to, top, line)
        else:
            to, top = _write_item(work, to, top, what, line)
    return _put(out, _write_names(work, to, layers), LIST_END)


@bare_inner
def _write_names(work: Any, to: int, layers: int) -> int:
    """Write the keys of all layers in their order, each as often as it is there, if more than one is an IP header."""
    lines, out, headers = work.lines, work.out, 0
    line = lines[layers, FIRST]
    while line >= 0:
        if lines[line, HASH] == _IP or lines[line, HASH] == _IPV6:
            headers += 1
        line = lines[line, NEXT]
    if headers < 2:
        return to
    to = _put(out, _put(out, to, COMMA), LIST)
    line = lines[layers, FIRST]
    while line >= 0:
        if out[to - 1] != LIST:
            to = _put(out, to, COMMA)
        to = _copy(work.data, out, to, lines[line, KEY], lines[line, KEY_END])
        line = lines[line, NEXT]
    return _put(out, to, LIST_END)


@inlined
def _put(out: Any, to: int, sign: int) -> int:
    out[to] = sign
    return to + 1


@inlined
def _push(pending: Any, top: int, what: int, line: int) -> int:
    pending[top] = what
    pending[top + 1] = line
    return top + 2


@inlined
def _copy(data: Any, out: Any, to: int, begin: int, end: int) -> int:
    for at in range(end - begin):
        out[to + at] = data[begin + at]
    return to + end - begin


@bare_inner
def _write_value(work: Any, to: int, top: int, line: int) -> Any:
    """Write a line's value, of an object its brace; its members are pending then."""
    lines = work.lines
    if lines[line, VALUE_END] >= 0:
        return _copy(work.data, work.out, to, lines[line, VALUE], lines[line, VALUE_END]), top
    if _is_filtered(work.data, lines, line):
        return _put(work.out, to, ZERO), top
    top = _push(work.pending, top, _BRACE, 0)
    return _put(work.out, to, OPEN), _push(work.pending, top, _MEMBERS, lines[line, FIRST])


@inlined
def _is_filtered(data: Any, lines: Any, line: int) -> Any:
    """Whether an object says only that tshark filtered it: `{"filtered": NAME}`."""
    only = lines[line, FIRST]
    if only < 0 or lines[only, NEXT] >= 0 or lines[only, KEY_END] - lines[only, KEY] != _FILTERED:
        return False
    first = lines[only, KEY] + 1
    return data[first] == ord("f") and data[first + 1] == ord("i") and data[first + 7] == ord("d")


@inlined
def _write_member(work: Any, to: int, top: int, line: int) -> Any:
    """Write the next key with its values; its trees and the members after it are pending."""
    lines, pending = work.lines, work.pending
    while line >= 0 and lines[line, RANK] != HEAD:
        line = lines[line, NEXT]
    if line < 0:
        return to, top
    top = _push(pending, top, _MEMBERS, lines[line, NEXT])
    if _first_tree(lines, line) >= 0:
        top = _push(pending, top, _BESIDE, line)
    to = _write_key(work, to, line)
    if lines[line, SAME] < 0:
        return _write_value(work, to, top, line)
    return _put(work.out, to, LIST), _push(pending, top, _VALUES, line)


@inlined
def _write_trees(work: Any, to: int, top: int, line: int) -> Any:
    """Write the key of the trees that the values of a key have, and them."""
    to = _write_key(work, to, _first_tree(work.lines, line))
    if work.lines[line, SAME] < 0:
        return _write_value(work, to, top, work.lines[line, TREE])
    return _put(work.out, to, LIST), _push(work.pending, top, _TREES, line)


@inlined
def _write_item(work: Any, to: int, top: int, what: int, line: int) -> Any:
    """Write the next value or tree of a list, or its end."""
    out, lines = work.out, work.lines
    if line < 0:
        return _put(out, to, LIST_END), top
    if out[to - 1] != LIST:
        to = _put(out, to, COMMA)
    top = _push(work.pending, top, what, lines[line, SAME])
    value = line if what == _VALUES else lines[line, TREE]
    if value >= 0:
        return _write_value(work, to, top, value)
    return _put(out, _put(out, to, QUOTE), QUOTE), top  # a value without a tree among those that have one


@inlined
def _write_key(work: Any, to: int, line: int) -> int:
    if work.out[to - 1] != OPEN:
        to = _put(work.out, to, COMMA)
    to = _copy(work.data, work.out, to, work.lines[line, KEY], work.lines[line, KEY_END])
    return _put(work.out, to, COLON)


@inlined
def _first_tree(lines: Any, line: int) -> Any:
    """The first tree of any value of a key; -1 where none has one."""
    while line >= 0 and lines[line, TREE] < 0:
        line = lines[line, SAME]
    return lines[line, TREE] if line >= 0 else -1
