"""From tree to typed terms: every field known, every value of its type and within its bounds, every list found."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from producers.engine.policy import syntax
from producers.engine.policy.fields import FIELDS, Field, Stage, Type
from producers.engine.policy.source import PolicyError, Source, did_you_mean
from producers.engine.policy.syntax import Bytes, Item, Name, Net, Network, Span, Tree


@dataclass(frozen=True, slots=True)
class AnyOf:
    """True where one of the terms is."""

    terms: tuple["Term", ...]


@dataclass(frozen=True, slots=True)
class AllOf:
    """True where all of the terms are."""

    terms: tuple["Term", ...]


@dataclass(frozen=True, slots=True)
class Negation:
    """True where the term is not."""

    term: "Term"


@dataclass(frozen=True, slots=True)
class Flag:
    """A yes-or-no field."""

    field: Field


@dataclass(frozen=True, slots=True)
class Compare:
    """A number on the right side of `<`, `<=`, `>` or `>=`."""

    field: Field
    operator: str
    number: int


@dataclass(frozen=True, slots=True)
class Among:
    """A number in one of the ranges, both ends included. `listed` is the name of the list they come from."""

    field: Field
    ranges: tuple[tuple[int, int], ...]
    listed: str = ""


@dataclass(frozen=True, slots=True)
class Within:
    """An address in one of the networks."""

    field: Field
    networks: tuple[Network, ...]
    listed: str = ""


@dataclass(frozen=True, slots=True)
class Begins:
    """Bytes at an offset are one of the prefixes."""

    field: Field
    offset: int
    prefixes: tuple[bytes, ...]


Term = AnyOf | AllOf | Negation | Flag | Compare | Among | Within | Begins
Lists = Mapping[str, tuple[Item, ...]]


def check(source: Source, tree: Tree, lists: Lists, stage: Stage = Stage.FLOW) -> Term:
    """The typed term of a tree, with fields of up to `stage`; raises PolicyError at the first mistake."""
    return _Checker(source, lists, stage).term(tree)


def leaves(term: Term) -> Iterator[Flag | Compare | Among | Within | Begins]:
    """Every test in a term, from left to right."""
    if isinstance(term, AnyOf | AllOf):
        for part in term.terms:
            yield from leaves(part)
    elif isinstance(term, Negation):
        yield from leaves(term.term)
    else:
        yield term


_OPERATORS = {
    Type.FLAG: "it is yes or no: write it alone, or after not",
    Type.NUMBER: "a number is tested with == != < <= > >= in",
    Type.NAME: "a name is tested with == != in",
    Type.ADDRESS: "an address is tested with == != in",
    Type.BYTES: "bytes are tested with starts with TEXT, or at OFFSET is TEXT",
}
_ALLOWED = {
    Type.FLAG: ("",),
    Type.NUMBER: (*syntax.COMPARISONS, "in"),
    Type.NAME: ("==", "!=", "in"),
    Type.ADDRESS: ("==", "!=", "in"),
    Type.BYTES: ("is",),
}
_MAX_OFFSET = 65_535


@dataclass(frozen=True)
class _Checker:
    source: Source
    lists: Lists
    stage: Stage

    def term(self, tree: Tree) -> Term:
        match tree:
            case syntax.Either(parts):
                return AnyOf(tuple(self.term(part) for part in parts))
            case syntax.Both(parts):
                return AllOf(tuple(self.term(part) for part in parts))
            case syntax.Not(part):
                return Negation(self.term(part))
            case syntax.Test():
                return self._test(tree)

    def _test(self, test: syntax.Test) -> Term:
        asked = self._field(test.field)
        if test.operator not in _ALLOWED[asked.type]:
            what = f"{asked.name}: {_told(test.operator)} does not fit {asked.type.value}"
            raise self.source.error(test.at, what, _OPERATORS[asked.type])
        if test.listed and test.operator not in {"in", "is"}:
            raise self.source.error(
                test.items[0].at, f"{asked.name}: a list after {test.operator}", "write in"
            )
        if asked.type is Type.FLAG:
            return Flag(asked)
        if asked.type is Type.BYTES:
            return self._begins(asked, test)
        if test.operator in {"<", "<=", ">", ">="}:
            return Compare(asked, test.operator, self._bound(asked, test))
        term = self._members(asked, test)
        return Negation(term) if test.operator == "!=" else term

    def _field(self, name: Name) -> Field:
        asked = FIELDS.get(name.text)
        if asked is None:
            raise self.source.error(
                name.at, f"there is no field {name.text}", did_you_mean(name.text, FIELDS)
            )
        if asked.stage > self.stage:
            hint = "drop runs before the flow table; use count instead, or ask for the packet alone"
            raise self.source.error(name.at, f"{asked.name} is not known yet where packets are dropped", hint)
        return asked

    def _bound(self, asked: Field, test: syntax.Test) -> int:
        span = self._span(asked, test.items[0], test.items[0].at)
        if span.low != span.high:
            raise self.source.error(span.at, f"{asked.name}: a range after {test.operator}", "write in")
        return span.low

    def _members(self, asked: Field, test: syntax.Test) -> Term:
        """The numbers or networks that `==` or `in` names, one by one, by list or both."""
        exact, first = test.operator != "in", test.items[0]
        listed = ""
        if not exact and not test.listed and isinstance(first, Name) and first.text not in asked.values:
            listed = first.text
        entries = self._entries(asked, test.items, exact=exact)
        if asked.type is Type.ADDRESS:
            return Within(
                asked, tuple(self._network(asked, *entry, exact=exact) for entry in entries), listed
            )
        spans = [self._span(asked, *entry) for entry in entries]
        if exact and spans[0].low != spans[0].high:
            raise self.source.error(spans[0].at, f"{asked.name}: a range after {test.operator}", "write in")
        return Among(asked, tuple((span.low, span.high) for span in spans), listed)

    def _entries(self, asked: Field, items: Iterable[Item], *, exact: bool) -> Iterator[tuple[Item, int]]:
        """The items, with names of lists replaced by what the lists hold, each with where it was written."""
        for item in items:
            if not isinstance(item, Name) or item.text in asked.values:
                yield item, item.at
            elif item.text not in self.lists:
                raise self._unknown(item, asked, with_lists=not exact)
            elif exact:
                raise self.source.error(
                    item.at, f"{item.text} is a list", f"write {asked.name} in {item.text}"
                )
            else:
                for entry in self.lists[item.text]:
                    yield entry, item.at

    def _unknown(self, item: Name, asked: Field, *, with_lists: bool) -> PolicyError:
        if item.text in FIELDS:
            hint = "a test compares a field with a value, not with a field"
            return self.source.error(item.at, f"{item.text} is a field", hint)
        known = [*asked.values, *(self.lists if with_lists else ())]
        what = f"{asked.name}: there is no {'value or list' if with_lists else 'value'} {item.text}"
        hint = did_you_mean(item.text, known) if known else f"{asked.name} is {asked.type.value}"
        return self.source.error(item.at, what, hint)

    def _span(self, asked: Field, item: Item, at: int) -> Span:
        if isinstance(item, Name):
            if item.text not in asked.values:
                raise self._unknown(Name(item.text, at), asked, with_lists=False)
            return Span(asked.values[item.text], asked.values[item.text], at)
        if not isinstance(item, Span):
            what = f"{asked.name} is {asked.type.value}, and this is {_kind(item)}"
            raise self.source.error(at, what, did_you_mean("", asked.values) if asked.values else "")
        if item.low < asked.low or item.high > asked.high:
            number = item.high if item.high > asked.high else item.low
            what = f"{asked.name} is never {number:,}"
            raise self.source.error(at, what, f"it is from {asked.low} to {asked.high:,}")
        return Span(item.low, item.high, at)

    def _network(self, asked: Field, item: Item, at: int, *, exact: bool) -> Network:
        if not isinstance(item, Net):
            what = f"{asked.name} is an address, and this is {_kind(item)}"
            raise self.source.error(at, what, "write 192.0.2.1, 192.0.2.0/24 or 2001:db8::/32")
        if exact and not item.single:
            raise self.source.error(
                at, f"{item.network} is a network", f"write {asked.name} in {item.network}"
            )
        return item.network

    def _begins(self, asked: Field, test: syntax.Test) -> Begins:
        if test.offset > _MAX_OFFSET:
            raise self.source.error(
                test.at, f"offset {test.offset:,} is beyond any packet", f"up to {_MAX_OFFSET:,}"
            )
        for item in test.items:
            if not isinstance(item, Bytes):
                what = f"{asked.name} is bytes, and this is {_kind(item)}"
                raise self.source.error(item.at, what, "write 'GET ' or hex'160301'")
        return Begins(asked, test.offset, tuple(item.value for item in test.items if isinstance(item, Bytes)))


def _told(operator: str) -> str:
    return {"": "nothing", "is": "starts with, or at ... is,"}.get(operator, operator)


def _kind(item: Item) -> str:
    match item:
        case Span(low, high):
            return "a number" if low == high else "a range of numbers"
        case Net(network, single):
            return (
                f"the {'address' if single else 'network'} {network.network_address if single else network}"
            )
        case Bytes():
            return "a text"
        case Name(text):
            return f"the name {text}"
