"""Events made from a Sigma rule's own conditions: what a rule asks for, put into an event of a dataset that it reads.

The conditions are taken from pySigma's tree, apart from the matcher of ours that the events are then tried on.
"""

import ipaddress
import itertools
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import hypothesis
from hypothesis import strategies as st
from sigma.collection import SigmaCollection
from sigma.conditions import (
    ConditionAND,
    ConditionFieldEqualsValueExpression,
    ConditionNOT,
    ConditionOR,
    ConditionValueExpression,
)
from sigma.types import (
    CompareOperators,
    SigmaBool,
    SigmaCIDRExpression,
    SigmaCompareExpression,
    SigmaExists,
    SigmaExpansion,
    SigmaNull,
    SigmaNumber,
    SigmaRegularExpression,
    SigmaString,
    SpecialChars,
)

from schemas.events import Event
from schemas.model import FieldType, datasets, fields_of
from streams.core.taxonomy import Derived, Entry, LogSource, Taxonomy
from tests.events import sample

_TRIES = 200
_BASE = ("@timestamp", "ecs", "event", "data_stream", "source", "destination")
_KEYWORDS = ("url.original", "user_agent.original")


class Literal(NamedTuple):
    """A part of a condition: a rule's field (empty: a keyword) has a value, or has not."""

    field: str
    value: Any
    holds: bool


def events_for(path: Path, taxonomy: Taxonomy) -> Iterator[Event]:
    """Events that a rule file asks for, one for each way to meet its condition, the first few hundred ways."""
    for rule in SigmaCollection.from_yaml(path.read_text(encoding="utf-8")).rules:
        source = LogSource(
            category=rule.logsource.category, product=rule.logsource.product, service=rule.logsource.service
        )
        entry = taxonomy.resolve(source)
        assert entry is not None
        for condition in rule.detection.parsed_condition:
            for literals in itertools.islice(_ways(condition.parsed, True), _TRIES):
                for name in entry.datasets:
                    event = _event(entry, name, literals)
                    if event is not None:
                        yield event


def _ways(node: Any, holds: bool) -> Iterator[tuple[Literal, ...]]:  # noqa: FBT001  # what is asked of the node
    """The ways for a condition to hold, or not to: of each the parts that must, or must not."""
    match node:
        case ConditionNOT():
            yield from _ways(node.args[0], not holds)
        case ConditionAND() | ConditionOR():
            if isinstance(node, ConditionAND) is holds:
                for parts in _product([list(itertools.islice(_ways(arg, holds), 12)) for arg in node.args]):
                    yield tuple(itertools.chain.from_iterable(parts))
            else:
                for arg in node.args:
                    yield from _ways(arg, holds)
        case ConditionFieldEqualsValueExpression():
            yield (Literal(node.field, node.value, holds),)
        case ConditionValueExpression():
            yield (Literal("", node.value, holds),)


def _product(choices: list[list[tuple[Literal, ...]]]) -> Iterator[tuple[tuple[Literal, ...], ...]]:
    """Every combination; those that differ in one choice from the first come first."""
    if not all(choices):
        return
    for place, options in enumerate(choices):
        for option in options if place == 0 else options[1:]:
            yield tuple(option if at == place else choice[0] for at, choice in enumerate(choices))
    yield from itertools.product(*choices)


def _event(entry: Entry, name: str, literals: tuple[Literal, ...]) -> Event | None:
    """An event of a dataset with what must hold; None where the dataset has no field for a part of it."""
    specs = fields_of(datasets()[name])
    wanted: dict[str, list[str]] = {}
    gone: set[str] = set()
    for literal in sorted(literals, key=lambda literal: _order(literal.value)):
        targets, texts = _meant(entry, literal, specs)
        nothing = isinstance(literal.value, SigmaNull) or (
            isinstance(literal.value, SigmaExists) and not bool(literal.value)
        )
        if nothing and literal.holds:
            gone.update(targets)
        elif nothing:
            wanted.update((target, wanted.get(target, [])) for target in targets[:1])
        elif literal.holds and texts is not None:
            if not targets or not texts:
                return None
            wanted.setdefault(targets[0], []).extend(texts[:1])
    event = {part: value for part, value in sample(name, "firing", 1).items() if part in _BASE}
    for target in gone:
        _put(event, target, None)
    for target, texts in wanted.items():
        _put(event, target, _typed(specs[target], list(dict.fromkeys(texts)) or ["1"]))
    return event


def _meant(entry: Entry, literal: Literal, specs: Mapping[str, Any]) -> tuple[list[str], list[str] | None]:
    """The fields of a dataset that a part reads, and the texts that meet it; no texts (None) for a constant."""
    meaning: Any = entry.fields.get(literal.field, (literal.field,)) if literal.field else _KEYWORDS
    wanted = _text(literal.value)
    if not isinstance(meaning, Derived):
        return [target for target in meaning if target in specs], [wanted]
    texts = [ours for ours, theirs in meaning.values.items() if theirs == wanted]
    if meaning.keep or meaning.otherwise == wanted:
        texts.append(wanted)
    return [meaning.field] if meaning.field in specs else [], None if meaning.constant is not None else texts


def _put(event: Event, name: str, value: Any) -> None:
    """Set a field, in the first object of a list of objects."""
    *above, leaf = name.split(".")
    node: Any = event
    for part in above:
        node = node.setdefault(part, {})
        if isinstance(node, list):
            node = node[0]
    node[leaf] = value


def _typed(spec: Any, texts: list[str]) -> Any:
    if spec.type is FieldType.LONG:
        return int(float(texts[0]))
    if spec.type is FieldType.BOOLEAN:
        return texts[0] == "true"
    if spec.array:
        return texts
    return texts[0] if spec.type is FieldType.IP else "".join(texts)


@cache
def _meeting(pattern: str) -> str:
    """The first text that hypothesis finds for a regular expression; made no shorter, which takes it half a minute."""
    once = hypothesis.settings(phases=[hypothesis.Phase.generate], max_examples=1, database=None)
    return str(hypothesis.find(st.from_regex(pattern), lambda _text: True, settings=once))


def _order(value: Any) -> int:
    """Where in a text a value stands that is joined with others: 0 begins it, 2 ends it."""
    if not isinstance(value, SigmaString) or not value.s:
        return 1
    first, last = (isinstance(part, SpecialChars) for part in (value.s[0], value.s[-1]))
    return 0 if not first else 1 if last else 2


def _text(value: Any) -> str:
    """A text that the value stands for."""
    return next((make(value) for kind, make in _TEXTS if isinstance(value, kind)), "x")


def _of_string(value: SigmaString) -> str:
    one = SpecialChars.WILDCARD_SINGLE
    return "".join(part if isinstance(part, str) else "?" if part is one else "" for part in value.s)


def _of_comparison(value: SigmaCompareExpression) -> str:
    step = {CompareOperators.LT: -1, CompareOperators.GT: 1}.get(value.op, 0)
    return str(int(value.number.number) + step)


_TEXTS: tuple[tuple[type[Any], Callable[[Any], str]], ...] = (
    (SigmaExpansion, lambda value: _text(value.values[0])),
    (SigmaRegularExpression, lambda value: _meeting(str(value.regexp))),
    (SigmaCIDRExpression, lambda value: str(next(iter(ipaddress.ip_network(value.cidr).hosts())))),
    (SigmaCompareExpression, _of_comparison),
    (SigmaNumber, lambda value: str(value.number)),
    (SigmaBool, lambda value: "true" if value.boolean else "false"),
    (SigmaString, _of_string),
)
