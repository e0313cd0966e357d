"""The expressions of `when:`: text to tokens to a tree whose nodes know their place.

either     = both {"or" both}
both       = negated {"and" negated}
negated    = "not" negated | "(" either ")" | test
test       = NAME                                         a yes-or-no field
           | NAME ("==" | "!=" | "<" | "<=" | ">" | ">=") value
           | NAME ["not"] "in" (list | value | value ".." value)
           | NAME "starts" "with" (TEXT | list)
           | NAME "at" NUMBER "is" (TEXT | list)
list       = "[" item {"," item} "]"
value      = NUMBER | NAME | ADDRESS ["/" NUMBER] | TEXT
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import NoReturn

from producers.engine.policy.source import Source

Network = IPv4Network | IPv6Network

_TOKEN = re.compile(
    r"""(?P<space>\s+)
      | (?P<hex>hex(?:'[^'\n]*'|"[^"\n]*"))
      | (?P<text>'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*")
      | (?P<address>\d+\.\d+\.\d+\.\d+(?:/\w+)?
                  | (?:[0-9A-Fa-f]{0,4}:){2,}[0-9A-Fa-f.:]*(?:/\w+)?)
      | (?P<number>0x[0-9A-Fa-f]+|\d+(?![\w]))
      | (?P<name>[A-Za-z_][\w-]*(?:\.[A-Za-z_][\w-]*)*)
      | (?P<sign>==|!=|<=|>=|\.\.|[<>()\[\],])
      | (?P<wrong>.)""",
    re.VERBOSE,
)
_ESCAPE = re.compile(rb"\\(x[0-9A-Fa-f]{2}|.)", re.DOTALL)
_ESCAPES = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"0": b"\0", b"\\": b"\\", b"'": b"'", b'"': b'"'}
_WORDS = frozenset({"and", "or", "not", "in", "starts", "with", "at", "is"})
_MAX_DEPTH = 50
MAX_PREFIX = 64
COMPARISONS = ("==", "!=", "<=", ">=", "<", ">")


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of the text: its kind (a group of _TOKEN, `end`), its text, its index in the file."""

    kind: str
    text: str
    at: int


@dataclass(frozen=True, slots=True)
class Name:
    """A field, one of a field's named values, or a list."""

    text: str
    at: int


@dataclass(frozen=True, slots=True)
class Span:
    """The numbers from `low` to `high`, both included; a single number has both the same."""

    low: int
    high: int
    at: int


@dataclass(frozen=True, slots=True)
class Net:
    """An address or a network; `single` where no prefix length was written."""

    network: Network
    single: bool
    at: int


@dataclass(frozen=True, slots=True)
class Bytes:
    """Bytes that a packet is compared with."""

    value: bytes
    at: int


Item = Name | Span | Net | Bytes


@dataclass(frozen=True, slots=True)
class Test:
    """One question about one field; `offset` is where bytes are compared, `listed` says the value had brackets.

    `operator` is a comparison, `in`, `is`, or empty for a yes-or-no field.
    """

    field: Name
    operator: str
    items: tuple[Item, ...]
    listed: bool
    offset: int
    at: int


@dataclass(frozen=True, slots=True)
class Either:
    """True where one of the parts is."""

    parts: tuple["Tree", ...]


@dataclass(frozen=True, slots=True)
class Both:
    """True where all of the parts are."""

    parts: tuple["Tree", ...]


@dataclass(frozen=True, slots=True)
class Not:
    """True where the part is not."""

    part: "Tree"


Tree = Either | Both | Not | Test


def parse(source: Source, start: int, end: int) -> Tree:
    """The tree of the expression between two indexes of the text; raises PolicyError at the first mistake."""
    parser = _Parser(source, tokens(source, start, end))
    tree = parser.either()
    parser.require_end("and, or, or the end")
    return tree


def parse_item(source: Source, start: int, end: int) -> Item:
    """The one value or range that stands between two indexes: an entry of a named list."""
    parser = _Parser(source, tokens(source, start, end))
    item = parser.item()
    parser.require_end("the end of the value")
    return item


def tokens(source: Source, start: int, end: int) -> list[Token]:
    """The tokens between two indexes of the text, closed by one of kind `end`."""
    found = list(_tokens(source, start, end))
    last = found[-1].at + len(found[-1].text) if found else start
    return [*found, Token("end", "", last)]


def _tokens(source: Source, start: int, end: int) -> Iterator[Token]:
    for match in _TOKEN.finditer(source.text, start, end):
        kind = match.lastgroup or "wrong"
        if kind == "wrong":
            raise source.error(
                match.start(), f"{match.group()!r} has no meaning here", _advice(match.group())
            )
        if kind != "space":
            yield Token(kind, match.group(), match.start())


def _advice(character: str) -> str:
    known = {
        "=": "write == to compare",
        "&": "write and",
        "|": "write or",
        "!": "write not, or !=",
        "'": "a text ends with the quote it began with, on the same line",
        '"': "a text ends with the quote it began with, on the same line",
    }
    return known.get(character, "docs/policy.md has the grammar")


class _Parser:
    """Recursive descent over the tokens."""

    def __init__(self, source: Source, found: list[Token]) -> None:
        self._source, self._tokens, self._next, self._depth = source, found, 0, 0

    @property
    def _token(self) -> Token:
        return self._tokens[self._next]

    def _take(self) -> Token:
        token = self._token
        self._next += token.kind != "end"
        return token

    def _taken(self, *texts: str) -> bool:
        """Step over the next tokens if they are these words or signs."""
        coming = self._tokens[self._next : self._next + len(texts)]
        if [token.text for token in coming] != list(texts) or coming[0].kind not in {"name", "sign"}:
            return False
        self._next += len(texts)
        return True

    def _fail(self, token: Token, wanted: str, hint: str = "") -> NoReturn:
        got = f"{token.text!r} where" if token.kind != "end" else "it ends where"
        raise self._source.error(token.at, f"{got} {wanted} should stand", hint)

    def require_end(self, wanted: str) -> None:
        """Raise PolicyError unless all tokens are taken."""
        if self._token.kind != "end":
            self._fail(self._token, wanted)

    def either(self) -> Tree:
        """An expression up to where it cannot go on."""
        parts = [self._both()]
        while self._taken("or"):
            parts.append(self._both())
        return parts[0] if len(parts) == 1 else Either(tuple(parts))

    def _both(self) -> Tree:
        parts = [self._negated()]
        while self._taken("and"):
            parts.append(self._negated())
        return parts[0] if len(parts) == 1 else Both(tuple(parts))

    def _negated(self) -> Tree:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise self._source.error(self._token.at, f"nested more than {_MAX_DEPTH} deep")
        if self._taken("not"):
            tree: Tree = Not(self._negated())
        elif self._taken("("):
            tree = self.either()
            if not self._taken(")"):
                self._fail(self._token, "')'")
        else:
            tree = self._test()
        self._depth -= 1
        return tree

    def _test(self) -> Tree:
        token = self._take()
        if token.kind != "name" or token.text in _WORDS:
            self._fail(token, "a field's name", "a test begins with a field: dst.port == 53")
        field, sign = Name(token.text, token.at), self._token
        if sign.text in COMPARISONS:
            self._take()
            items, listed = self._values()
            return Test(field, sign.text, items, listed, 0, sign.at)
        if self._taken("not", "in"):
            return Not(Test(field, "in", *self._values(), 0, sign.at))
        if self._taken("in"):
            return Test(field, "in", *self._values(), 0, sign.at)
        if self._taken("starts", "with"):
            return Test(field, "is", *self._values(), 0, sign.at)
        if self._taken("at"):
            offset = self._number()
            if not self._taken("is"):
                self._fail(self._token, "is", "payload at 4 is hex'fe534d42'")
            return Test(field, "is", *self._values(), offset, sign.at)
        return Test(field, "", (), listed=False, offset=0, at=token.at)

    def _values(self) -> tuple[tuple[Item, ...], bool]:
        if not self._taken("["):
            return (self.item(),), False
        items = [self.item()]
        while self._taken(","):
            items.append(self.item())
        if not self._taken("]"):
            self._fail(self._token, "',' or ']'")
        return tuple(items), True

    def _number(self) -> int:
        token = self._take()
        if token.kind != "number":
            self._fail(token, "a number")
        return int(token.text, 0) if token.text.startswith("0x") else int(token.text)

    def item(self) -> Item:
        """One value: a number or range, a name, an address or network, a text."""
        token = self._token
        if token.kind == "number":
            low = self._number()
            high = self._number() if self._taken("..") else low
            if high < low:
                raise self._source.error(
                    token.at, f"{low}..{high} holds nothing", "the lower number comes first"
                )
            return Span(low, high, token.at)
        self._take()
        if token.kind == "name" and token.text not in _WORDS:
            return Name(token.text, token.at)
        if token.kind == "address":
            return self._net(token)
        if token.kind in {"text", "hex"}:
            return Bytes(self._bytes(token), token.at)
        return self._fail(token, "a value")

    def _net(self, token: Token) -> Net:
        try:
            network = ip_network(token.text, strict=False)
        except ValueError:
            hint = "addresses are written 192.0.2.1 or 2001:db8::1, networks with /length"
            raise self._source.error(token.at, f"{token.text} is no address or network", hint) from None
        if _has_host_bits(token.text):
            hint = f"the network is {network}"
            raise self._source.error(token.at, f"{token.text} has bits set beyond its length", hint)
        return Net(network, "/" not in token.text, token.at)

    def _bytes(self, token: Token) -> bytes:
        if token.kind == "hex":
            try:
                value = bytes.fromhex(token.text[4:-1])
            except ValueError:
                hint = "pairs of hexadecimal digits: hex'16 03 01'"
                raise self._source.error(token.at, f"{token.text} is no hexadecimal text", hint) from None
        else:
            value = _ESCAPE.sub(lambda found: self._escape(token, found[1]), token.text[1:-1].encode())
        if not 1 <= len(value) <= MAX_PREFIX:
            raise self._source.error(token.at, f"{len(value)} bytes", f"from 1 to {MAX_PREFIX} bytes")
        return value

    def _escape(self, token: Token, escape: bytes) -> bytes:
        if escape[:1] == b"x" and len(escape) == 3:
            return bytes([int(escape[1:], 16)])
        if escape not in _ESCAPES:
            hint = r"known are \n \r \t \0 \\ \' \" and \xNN"
            raise self._source.error(token.at, f"\\{escape.decode(errors='replace')} is no escape", hint)
        return _ESCAPES[escape]


def _has_host_bits(text: str) -> bool:
    try:
        ip_network(text)
    except ValueError:
        return True
    return False
