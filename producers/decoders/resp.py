"""Redis' serialization protocol, versions 2 and 3, from a stream of bytes (redis.io, "Redis serialization protocol").

A value is read as its bytes come, however segments cut them; of long ones as much is kept as events hold.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from producers.decoders.stream import Continuity, Stream, is_text, text

MAX_TEXT = 8192
"""Bytes that are kept of a text."""
_MAX_TEXTS = 65_536  # bytes that are kept of all texts of a value
_MAX_ITEMS = 1000  # values that are kept of a value
_MAX_DEPTH = 32
_MAX_BLOCK, _MAX_LIST = 1 << 29, 1 << 31  # what Redis itself allows (proto-max-bulk-len)

_SCALARS = {
    "+": "string",
    "-": "error",
    ":": "integer",
    "_": "null",
    "#": "boolean",
    ",": "double",
    "(": "big_number",
}
_BLOCKS = {"$": "bulk", "!": "error", "=": "verbatim"}
_LISTS = {"*": "array", "~": "set", "%": "map", ">": "push", "|": "attribute"}
_PAIRS = frozenset({"map", "attribute"})
_SIZE = re.compile(r"-1|\d{1,10}|\?")
_FORMS = {
    "integer": re.compile(r"[+-]?\d{1,20}"),
    "null": re.compile(""),
    "boolean": re.compile("[tf]"),
    "double": re.compile(r"[+-]?(?:inf|nan|\d+(?:\.\d*)?(?:[eE][+-]?\d+)?)", re.IGNORECASE),
    "big_number": re.compile(r"[+-]?\d+"),
}
_PART = re.compile(rb";(\d{1,10})")
_BEGIN = re.compile(
    rb"[+-][^\r\n]+\r?\n|[$*=!~%>|](?:-1|\d{1,10}|\?)\r?\n|[:,(][^\r\n]+\r?\n|_\r?\n|#[tf]\r?\n"
)
_BEGIN_CUT = re.compile(rb"[-+:,(_#][ -~]*\r?|[$*=!~%>|][-?\d]{0,10}\r?")
_INLINE = re.compile(rb"([A-Za-z]{1,20})(?:[ \r\n]|$)")
_ARGUMENT = re.compile(r"\s*(?:\"((?:[^\"\\]|\\.)*)\"|'((?:[^'\\]|\\.)*)'|(\S+))", re.DOTALL)
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|.)", re.DOTALL)
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "a": "\a"}
_VERBATIM = 4  # `txt:` before the text


@dataclass(slots=True)
class Value:
    """A value: its kind, its text, the values in it, and the attributes that came before it (RESP3).

    `inline` of a command that came as a line. Of a map, keys and values take turns in `items`.
    """

    kind: str
    text: str = ""
    items: list["Value"] = field(default_factory=list)
    attributes: "Value | None" = None
    inline: bool = False

    def texts(self) -> list[str]:
        """The texts of the items, as a command has them."""
        return [item.text for item in self.items]

    def shown(self) -> str:
        """The value as one text: nil for none, lists in brackets, maps in braces."""
        if self.kind in ("array", "set", "push"):
            return f"[{', '.join(item.shown() for item in self.items)}]"
        if self.kind in _PAIRS:
            shown = [item.shown() for item in self.items]
            return "{" + ", ".join(": ".join(shown[at : at + 2]) for at in range(0, len(shown), 2)) + "}"
        return "nil" if self.kind == "null" else self.text


@dataclass(slots=True)
class _List:
    """A list of which `left` values are to come; -1: until its end is marked."""

    value: Value
    left: int


@dataclass(slots=True)
class _Block:
    """A text of which `left` bytes are to come, then `ends` of CRLF; with `parts`, more of them follow."""

    value: Value
    left: int
    ends: int
    parts: bool
    kept: bytearray = field(default_factory=bytearray)


class RespReader(Continuity):
    """Reads the values of one direction; `commands` are those that Redis takes as a line, of its other direction none.

    Where the bytes make no sense, or some are lost, it goes on with the first packet that begins with a value.
    """

    def __init__(self, commands: frozenset[str] = frozenset()) -> None:
        super().__init__()
        self._commands = commands
        self._lose()

    def _lose(self) -> None:
        self._stream = Stream()
        self._lists: list[_List] = []
        self._block: _Block | None = None
        self._attributes: Value | None = None
        self._items = self._size = 0
        self._lost = True

    def read(self, data: bytes, *, hole: bool = False) -> Iterator[Value]:
        """Yield the values that are whole with these bytes; with `hole` some before them are lost."""
        if hole:
            self._lose()
        if self._lost and not self._begins(data):
            return
        self._lost = False
        self._stream.feed(data)
        while True:
            value = self._step()
            if value is None:
                return
            whole = self._join(value)
            if whole is not None:
                yield whole

    def _begins(self, data: bytes) -> bool:
        """Whether a packet begins with a value, or with the name of a command that may come as a line."""
        inline = _INLINE.match(data) if self._commands else None
        if inline is not None:
            name = inline[1].decode("ascii").upper()
            whole = len(data) > len(name)
            return name in self._commands if whole else any(each.startswith(name) for each in self._commands)
        return _BEGIN.match(data) is not None or _BEGIN_CUT.fullmatch(data) is not None

    def _step(self) -> Value | None:
        """The next value that has no others in it, or whose last one is there; None where more bytes are needed."""
        while not self._lost:
            if self._block is not None:
                return self._fill(self._block)
            line = self._stream.line()
            if line is None:
                return None
            value = self._begin(line)
            if value is not None:
                return value
        return None

    def _begin(self, line: bytes) -> Value | None:
        """Read a line that begins a value; the value where the line is all of it."""
        sign, said = chr(line[0]) if line else "", text(line[1:])
        if self._commands and not self._lists and sign != "*":
            return self._inline(line)
        if sign in _SCALARS:
            kind = _SCALARS[sign]
            if is_text(line) and (kind not in _FORMS or _FORMS[kind].fullmatch(said)):
                return Value(
                    kind, {"t": "true", "f": "false"}[said] if kind == "boolean" else said[:MAX_TEXT]
                )
        elif sign in _BLOCKS and _SIZE.fullmatch(said):
            return self._begin_block(_BLOCKS[sign], said)
        elif sign in _LISTS and _SIZE.fullmatch(said) and len(self._lists) < _MAX_DEPTH:
            return self._begin_list(_LISTS[sign], said)
        elif sign == "." and self._lists and self._lists[-1].left < 0:
            return self._lists.pop().value
        self._lose()
        return None

    def _inline(self, line: bytes) -> Value | None:
        if not is_text(line):
            self._lose()
            return None
        words = arguments(text(line))
        return Value("array", items=[Value("bulk", word) for word in words], inline=True) if words else None

    def _begin_block(self, kind: str, size: str) -> Value | None:
        if size == "-1":
            return Value("null")
        left = 0 if size == "?" else int(size)
        if left > _MAX_BLOCK:
            self._lose()
            return None
        self._block = _Block(Value(kind), left, 0 if size == "?" else 2, size == "?")
        return None

    def _begin_list(self, kind: str, size: str) -> Value | None:
        if size == "-1":
            return Value("null")
        left = -1 if size == "?" else int(size) * (2 if kind in _PAIRS else 1)
        if left > _MAX_LIST:
            self._lose()
        elif left == 0:
            return Value(kind) if kind != "attribute" else None
        else:
            self._lists.append(_List(Value(kind), left))
        return None

    def _fill(self, block: _Block) -> Value | None:
        """Take what belongs to a text; the text where it is whole."""
        while True:
            if block.left:
                taken = self._stream.take(block.left)
                block.left -= len(taken)
                block.kept += taken[: max(min(MAX_TEXT - len(block.kept), _MAX_TEXTS - self._size), 0)]
            if block.left:
                return None
            ends = self._stream.take(block.ends)
            if ends != b"\r\n"[2 - block.ends :][: len(ends)]:
                self._lose()
                return None
            block.ends -= len(ends)
            if block.ends:
                return None
            if not block.parts:
                break
            line = self._stream.line()
            if line is None:
                return None
            part = _PART.fullmatch(line)
            if part is None:
                self._lose()
                return None
            block.left = int(part[1])
            if not block.left:
                break
            block.ends = 2
        self._block = None
        self._size += len(block.kept)
        block.value.text = text(bytes(block.kept))[_VERBATIM if block.value.kind == "verbatim" else 0 :]
        return block.value

    def _join(self, value: Value) -> Value | None:
        """Put a value into the list it belongs to; the outermost value where it is whole."""
        while self._lists:
            if value.kind == "attribute":  # of a value within another: not kept
                return None
            into = self._lists[-1]
            if self._items < _MAX_ITEMS:
                into.value.items.append(value)
            self._items += 1
            if into.left > 0:
                into.left -= 1
            if into.left:
                return None
            value = self._lists.pop().value
        self._items = self._size = 0
        if value.kind == "attribute":
            self._attributes = value
            return None
        value.attributes, self._attributes = self._attributes, None
        return value


def arguments(line: str) -> list[str]:
    """The arguments of an inline command: words, or texts in quotes with escapes (sdssplitargs of Redis)."""
    found = []
    for double, single, plain in _ARGUMENT.findall(line):
        if double:
            found.append(_ESCAPE.sub(_unescaped, double))
        else:
            found.append(single.replace("\\'", "'") or plain)
        if len(found) == _MAX_ITEMS:
            break
    return found


def _unescaped(match: re.Match[str]) -> str:
    said = match[1]
    return chr(int(said[1:], 16)) if len(said) == 3 else _ESCAPED.get(said, said)
