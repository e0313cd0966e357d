"""Names of DNS messages in presentation format (RFC 1035, section 5.1; RFC 4343, section 2.1), whatever they hold.

tshark shows a name as text: bytes that are no UTF-8 are lost, and a dot inside a label looks like one between two.
Where a name is other than plain, it is read from the message itself.
"""

import re
from collections.abc import Iterator
from struct import Struct

from producers.decoders.convert import number
from producers.decoders.tree import Tree, first

MAX_NAMES = 1000
"""How many names of a message are read."""
MAX_NAME = 1024
"""How many bytes of a name are read; four times what RFC 1035 allows."""

_ERRORS = {
    "<Name contains a pointer that loops>": "compression_loop",
    "<Unknown extended label>": "unknown_label",
    "<Name too long>": "name_too_long",
}
_HEADER = Struct(">HHHHHH")
_QUESTION = Struct(">HH")
_RECORD = Struct(">HHIH")
_LENGTH_AND_ID = Struct(">HH")
# Where in a record's data names begin, and how many there are, by type (RFC 1035 and later, by IANA's numbers).
_NAMES_IN = {
    **dict.fromkeys((2, 3, 4, 5, 7, 8, 9, 12, 23, 30, 39, 47), (0, 1)),
    **dict.fromkeys((6, 14, 17), (0, 2)),
    **dict.fromkeys((15, 18, 21, 36, 64, 65), (2, 1)),
    26: (2, 2),
    33: (6, 1),
    **dict.fromkeys((24, 46), (18, 1)),
}
_PLAIN = re.compile(r"[!-;=-\[\]-~][!-\[\]-~]*")
_PLAIN_TEXT = re.compile(r"[^\0- <\\\x7f\ufffd][^\0-\x1f\\\x7f\ufffd]*")
_SHOWN = re.compile(r"\\([0-7]{3}|u[0-9A-F]{4}|U[0-9A-F]{8}|[abfnrtv])")
_SHOWN_AS = {"a": 7, "b": 8, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11}
_SKIPPED = re.compile(r"[^0-9A-Za-z_-]")
_ESCAPED = {byte: f"\\{byte:03d}" for byte in range(256) if not 0x21 <= byte <= 0x7E}
_ESCAPED |= {ord("."): "\\.", ord("\\"): "\\\\"}

_STRINGS_IN = (13, 16, 99)

Labels = list[bytes]


class Names:
    """The names of one message, by what tshark shows of them and by the packet's payload, `raw`, where it is known.

    With `text`, names are UTF-8 as multicast DNS has them (RFC 6763, section 4.3), and only what is no text is escaped.
    `errors` are the faults of names that cannot be read, in the order of the names that were asked for.
    """

    def __init__(self, layer: Tree, raw: bytes = b"", *, text: bool = False) -> None:
        self.errors: list[str] = []
        self._layer, self._raw, self._text = layer, raw, text
        self._plain = (_PLAIN_TEXT if text else _PLAIN).fullmatch
        self._dotted = b"." in raw
        self._read: tuple[dict[str, list[str]], list[bytes]] | None = None

    def of(self, shown: str) -> str:
        """The name that tshark shows so; empty where it is none, whose fault is then among `errors`."""
        if not self._dotted and self._plain(shown):
            return shown
        if shown in ("", "<Root>"):
            return "." if shown else ""
        if shown in _ERRORS:
            if _ERRORS[shown] not in self.errors:
                self.errors.append(_ERRORS[shown])
            return ""
        return self._found(shown) or ".".join(
            "\ufffd".join(_label(piece.encode(), text=self._text) for piece in label.split("\ufffd"))
            for label in _unshown(shown).split(".")
        )

    def text_of(self, shown: str, length: int | None = None) -> str:
        """The character string (RFC 1035, section 3.3), of `length` bytes if known, that tshark shows so."""
        if "\ufffd" not in shown and not _SHOWN.search(shown):
            return shown
        letters = _letters(shown)
        strings = self._all()[1]
        for place, string in enumerate(strings):
            same = length is None or len(string) == length
            if same and _letters(string.decode("latin-1")).startswith(letters):
                return _string(strings.pop(place))
        return "\ufffd".join(_string(piece.encode()) for piece in _unshown(shown).split("\ufffd"))

    def _found(self, shown: str) -> str:
        """The next name of the message of which tshark would show this; empty where there is none."""
        found = self._all()[0].get(_letters(shown))
        if not found:
            return ""
        return found.pop(0) if len(found) > 1 else found[0]

    def _all(self) -> tuple[dict[str, list[str]], list[bytes]]:
        """The names of the message by their letters, which tshark shows of any, and the strings, in their order."""
        if self._read is None:
            names: dict[str, list[str]] = {}
            strings: list[bytes] = []
            for labels, is_name in names_in(message_in(self._raw, self._layer)):
                if is_name:
                    letters = _letters(b".".join(labels).decode("latin-1"))
                    names.setdefault(letters, []).append(presentation(labels, text=self._text))
                else:
                    strings += labels
            self._read = names, strings
        return self._read


def presentation(labels: Labels, *, text: bool = False) -> str:
    r"""A name as text: `\DDD` for a byte that is no printing character, a backslash before a dot or backslash."""
    return ".".join([_label(label, text=text) for label in labels]) or "."


def message_in(raw: bytes, layer: Tree) -> bytes:
    """The message in a payload that the layer shows; after its length where it came by TCP (RFC 1035, 4.2.2).

    Empty where the payload holds another, or not the beginning of it.
    """
    identity = number(first(layer, "dns.id"))
    if identity is None:
        return b""
    length = number(first(layer, "dns.length"))
    if length is None:
        return raw if raw[:2] == identity.to_bytes(2, "big") else b""
    begin = raw.find(_LENGTH_AND_ID.pack(length, identity))
    return raw[begin + 2 : begin + 2 + length] if begin >= 0 else b""


def names_in(message: bytes) -> Iterator[tuple[Labels, bool]]:
    """The labels of every name of a message in its order, MAX_NAMES records at most: of questions, and of records.

    With the owner of a record come the names in its data, and strings, for which the second value is false. What is no
    name is passed over; it ends where the message does too early.
    """
    if len(message) < _HEADER.size:
        return
    _, _, asked, *told = _HEADER.unpack_from(message)
    place = _HEADER.size
    for count in range(min(asked + sum(told), MAX_NAMES)):
        labels, place = _name_at(message, place)
        head = _QUESTION if count < asked else _RECORD
        if place < 0 or place + head.size > len(message):
            return
        if labels:
            yield labels, True
        values = head.unpack_from(message, place)
        place += head.size
        if count >= asked:
            yield from _data_of(message, place, values[0], values[3])
            place += values[3]


def _data_of(message: bytes, place: int, kind: int, size: int) -> Iterator[tuple[Labels, bool]]:
    """The names, or the strings, in a record's data, which begins at `place`."""
    if kind in _STRINGS_IN:
        data = message[place : place + size]
        begin = 0
        while begin < len(data):
            end = begin + 1 + data[begin]
            yield [data[begin + 1 : end]], False
            begin = end
        return
    skipped, names = _NAMES_IN.get(kind, (0, 0))
    place += skipped
    for _ in range(names):
        labels, place = _name_at(message, place)
        if place < 0:
            return
        if labels:
            yield labels, True


def _name_at(message: bytes, place: int) -> tuple[Labels, int]:
    """The labels of the name at `place`, and where it ends (RFC 1035, section 4.1.4).

    No labels: it is the root, or no name; -1: where it ends is not known.
    """
    labels: Labels = []
    total, end = 0, -1
    while place < len(message):
        size = message[place]
        if not size:
            return labels, place + 1 if end < 0 else end
        if size >= 0xC0 and place + 1 < len(message):
            end = place + 2 if end < 0 else end
            target = (size & 0x3F) << 8 | message[place + 1]
            if target >= place:  # a pointer leads back, so that each way of pointers ends
                break
            place = target
            continue
        if size > 0x3F or total + size > MAX_NAME:
            break
        labels.append(message[place + 1 : place + 1 + size])
        total += size + 1
        place += 1 + size
    return [], end


def _label(label: bytes, *, text: bool) -> str:
    if text:
        try:
            shown = label.decode()
        except UnicodeDecodeError:
            pass
        else:
            return "".join([c if c >= " " and c not in ".\\\x7f" else _ESCAPED[ord(c)] for c in shown])
    return "".join([_ESCAPED.get(byte) or chr(byte) for byte in label])


def _string(data: bytes) -> str:
    r"""A string as it is where it is text, else with what is no printing character as `\DDD`."""
    try:
        shown = data.decode()
    except UnicodeDecodeError:
        shown = ""
    if shown.isprintable() and (shown or not data):
        return shown
    return "".join([chr(byte) if 0x20 <= byte <= 0x7E and byte != 0x5C else _ESCAPED[byte] for byte in data])


def _unshown(shown: str) -> str:
    """A text of tshark's with the characters that do not print, which it writes as escapes in C's notation."""
    return _SHOWN.sub(_meant, shown)


def _meant(found: re.Match[str]) -> str:
    said = found[1]
    code = _SHOWN_AS.get(said) or (int(said[1:], 16) if said[0] in "uU" else int(said, 8))
    return chr(code) if code <= 0x10FFFF and not 0xD800 <= code < 0xE000 else "\ufffd"


def _letters(text: str) -> str:
    """What is the same in a name and in what tshark shows of it: without what it escapes or would seem to escape."""
    return _SKIPPED.sub("", _SHOWN.sub("", text))
