"""Sigma rules for single events: pySigma parses them, closures match them against nested ECS events.

A rule becomes one function from event to bool; `RuleSet` hands an event only the rules of its dataset. What
a rule asks for that has no meaning here is a ConfigError with the file and the rule, never ignored.
"""

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sigma.collection import SigmaCollection
from sigma.conditions import (
    ConditionAND,
    ConditionFieldEqualsValueExpression,
    ConditionItem,
    ConditionNOT,
    ConditionOR,
    ConditionValueExpression,
)
from sigma.exceptions import SigmaError
from sigma.rule import SigmaDetections, SigmaRule
from sigma.types import SigmaExists, SigmaFieldReference, SigmaNull
from yaml import YAMLError

from runtime.errors import ConfigError
from schemas.events import Event
from schemas.model import datasets
from streams.core.declarations import read_text
from streams.core.sigma_reach import Reach
from streams.core.sigma_values import UnsupportedError, keyword_test, text, value_test
from streams.core.taxonomy import PRODUCT, Derived, Entry, LogSource, Taxonomy, known_fields

Matcher = Callable[[Event], bool]
Getter = Callable[[Event], list[Any]]

_SIGMA_ERRORS = (SigmaError, ValueError, TypeError, AttributeError, KeyError)
"""What pySigma raises where a rule is wrong."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A compiled rule: what an alert says of it, the datasets (`event.dataset`) it reads, its matcher.

    `unfilled` are the names it asks for that no event has a value of. `possible` is false where it can
    never match because of them.
    """

    id: str
    title: str
    description: str
    author: tuple[str, ...]
    license: str
    references: tuple[str, ...]
    tags: tuple[str, ...]
    falsepositives: tuple[str, ...]
    level: str
    status: str
    category: str
    ruleset: str
    path: str
    datasets: tuple[str, ...]
    fields: tuple[str, ...]
    unfilled: tuple[str, ...]
    possible: bool
    matches: Matcher


class RuleSet:
    """Rules by the dataset they read."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self.rules = tuple(rules)
        index: dict[str, list[Rule]] = {}
        for rule in self.rules:
            for name in rule.datasets:
                index.setdefault(name, []).append(rule)
        self._index = {name: tuple(found) for name, found in index.items()}

    def match(self, event: Event, dataset: str) -> list[Rule]:
        """The rules that an event of a dataset (its `event.dataset`) meets, in their order."""
        return [rule for rule in self._index.get(dataset, ()) if rule.matches(event)]


def load_rules(paths: Iterable[Path], taxonomy: Taxonomy) -> RuleSet:
    """Read rule files and folders of them (`*.yaml`, `*.yml`); raises ConfigError at the first wrong one."""
    rules: list[Rule] = []
    for file in rule_files(paths):
        rules.extend(parse_rules(read_text(file), taxonomy, file))
    require_distinct(rules)
    return RuleSet(rules)


def rule_files(paths: Iterable[Path]) -> list[Path]:
    """The files that paths stand for, sorted within a folder; raises ConfigError for a path that is not there."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found.extend(sorted(p for p in path.rglob("*") if p.suffix in {".yaml", ".yml"} and p.is_file()))
        elif path.is_file():
            found.append(path)
        else:
            raise ConfigError(f"{path}: no such rule file or folder")
    return found


def require_distinct(rules: Sequence[Rule]) -> None:
    """Raise ConfigError where two rules have one id: their alerts could not be told apart."""
    seen: dict[str, Rule] = {}
    for rule in rules:
        if rule.id in seen:
            raise ConfigError(f"{rule.path}: id {rule.id} is also the id of {seen[rule.id].path}")
        seen[rule.id] = rule


def parse_rules(source: str, taxonomy: Taxonomy, path: Path) -> list[Rule]:
    """The rules in a YAML text; `path` names it in errors and in alerts. Raises ConfigError."""
    try:
        collection = SigmaCollection.from_yaml(source)
    except (*_SIGMA_ERRORS, YAMLError) as error:
        raise ConfigError(f"{path}: {' '.join(str(error).split())}", "see docs/rules.md") from error
    if not collection.rules:
        raise ConfigError(f"{path}: holds no rule")
    return [_compile(rule, taxonomy, path) for rule in collection.rules]


def _compile(rule: Any, taxonomy: Taxonomy, path: Path) -> Rule:
    place = f"{path}: {getattr(rule, 'title', '') or 'a rule without title'}"
    if not isinstance(rule, SigmaRule):
        raise ConfigError(
            f"{place}: {type(rule).__name__} is not a rule for single events", "see docs/rules.md"
        )
    if rule.id is None:
        raise ConfigError(f"{place}: id: a rule needs a UUID, from which its alerts' ids are made")
    for name, texts in (("falsepositives", rule.falsepositives), ("references", rule.references)):
        if not all(isinstance(item, str) for item in texts):
            raise ConfigError(f"{place}: {name}: a list of texts; quote one that holds a colon")
    source = LogSource(
        category=rule.logsource.category, product=rule.logsource.product, service=rule.logsource.service
    )
    entry = taxonomy.resolve(source)
    if entry is None:
        raise ConfigError(
            f"{place}: logsource: no dataset stands for {source}", "the known ones are in rules/taxonomy"
        )
    compiler = _Compiler(entry, place)
    conditions = _conditions(rule.detection, place)
    matchers = [compiler.condition(condition) for condition in conditions]
    known = datasets()
    reach = Reach(entry)
    reached = tuple(name for name in entry.datasets if any(reach.possible(node, name) for node in conditions))
    read = reached or entry.datasets
    return Rule(
        id=str(rule.id),
        title=rule.title,
        description=rule.description or "",
        author=tuple(part.strip() for part in (rule.author or "").split(",") if part.strip()),
        license=rule.license or "",
        references=tuple(rule.references),
        tags=tuple(str(tag) for tag in rule.tags),
        falsepositives=tuple(rule.falsepositives),
        level=rule.level.name.lower() if rule.level else "informational",
        status=rule.status.name.lower() if rule.status else "",
        category=known[read[0]].dataset if len(read) == 1 else str(source),
        ruleset="netflight" if source.product == "netflight" else "sigma",
        path=str(path),
        datasets=tuple(known[name].dataset for name in read),
        fields=tuple(sorted(compiler.used)),
        unfilled=tuple(sorted(compiler.unfilled)),
        possible=bool(reached),
        matches=_any(matchers),
    )


def compile_detection(detection: Mapping[str, Any], names: Iterable[str], place: str) -> Matcher:
    """A Sigma detection outside of a rule as a function over the events of datasets: the one language of filters.

    Either a selection (field or field|modifier: a value or a list of them), or named selections with a `condition`.
    `place` begins each error. Raises ConfigError.
    """
    named = detection if "condition" in detection else {"selection": detection, "condition": "selection"}
    try:
        parsed = SigmaDetections.from_dict(dict(named))
    except _SIGMA_ERRORS as error:
        raise ConfigError(f"{place}: {' '.join(str(error).split())}", "see docs/rules.md") from error
    entry = Entry(logsource=LogSource(product=PRODUCT), datasets=tuple(names))
    compiler = _Compiler(entry, place)
    return _any([compiler.condition(condition) for condition in _conditions(parsed, place)])


def _conditions(detections: SigmaDetections, place: str) -> list[Any]:
    try:
        return [condition.parsed for condition in detections.parsed_condition]
    except _SIGMA_ERRORS as error:
        raise ConfigError(f"{place}: condition: {' '.join(str(error).split())}") from error


class _Compiler:
    """Compiles the conditions of one rule.

    `used` collects the fields of ours that it reads, `unfilled` its names that none of them stands for.
    """

    def __init__(self, entry: Entry, place: str) -> None:
        self._entry = entry
        self._place = place
        self._known = known_fields(entry.datasets)
        self.used: set[str] = set()
        self.unfilled: set[str] = set()

    def condition(self, node: Any) -> Matcher:
        """The matcher of a node of pySigma's condition tree."""
        match node:
            case ConditionAND():
                return _all(self._arguments(node))
            case ConditionOR():
                return _any(self._arguments(node))
            case ConditionNOT():
                (inner,) = self._arguments(node)
                return lambda event: not inner(event)
            case ConditionFieldEqualsValueExpression():
                return self._field(node)
            case ConditionValueExpression():
                return self._keyword(node)
        raise ConfigError(f"{self._place}: condition: {type(node).__name__} is not supported")

    def _arguments(self, node: ConditionItem) -> list[Matcher]:
        return [self.condition(argument) for argument in node.args]

    def _field(self, node: ConditionFieldEqualsValueExpression) -> Matcher:
        get = self._getter(node.field)
        match node.value:
            case SigmaNull():
                return lambda event: not get(event)
            case SigmaExists():
                wanted = bool(node.value)
                return lambda event: bool(get(event)) is wanted
            case SigmaFieldReference():
                return self._reference(get, node.value)
        try:
            test = value_test(node.value)
        except UnsupportedError as error:
            raise ConfigError(f"{self._place}: {node.field}: {error}") from error

        def matches(event: Event) -> bool:
            for value in get(event):  # noqa: SIM110 - a plain loop is half the time of any() over a generator
                if test(value):
                    return True
            return False

        return matches

    def _reference(self, get: Getter, reference: SigmaFieldReference) -> Matcher:
        other = self._getter(reference.field)
        holds: Callable[[str, str], bool] = str.__eq__
        if reference.starts_with and reference.ends_with:
            holds = str.__contains__
        elif reference.starts_with:
            holds = str.startswith
        elif reference.ends_with:
            holds = str.endswith

        def matches(event: Event) -> bool:
            theirs = [text(value).lower() for value in other(event)]
            return any(holds(text(value).lower(), their) for value in get(event) for their in theirs)

        return matches

    def _keyword(self, node: ConditionValueExpression) -> Matcher:
        try:
            test = keyword_test(node.value)
        except UnsupportedError as error:
            raise ConfigError(f"{self._place}: keyword: {error}") from error
        return lambda event: any(test(value) for value in leaves(event))

    def _getter(self, name: str) -> Getter:
        """What reads a rule's field from an event: its values in a flat list, empty where it is not there."""
        meaning = self._entry.fields.get(name)
        targets = self._entry.targets(name)
        if meaning is None and name not in self._known:
            self._no_such_field(name)
            return lambda _event: []
        self.used.update(targets)
        if isinstance(meaning, Derived):
            return _derived(meaning)
        getters = [path_getter(target) for target in targets]
        if len(getters) == 1:
            return getters[0]
        return lambda event: [value for get in getters for value in get(event)]

    def _no_such_field(self, name: str) -> None:
        """Note a name of another product's events that ours have no value of; raises ConfigError for one of our own."""
        if not self._entry.own:
            self.unfilled.add(name)
            return
        near = difflib.get_close_matches(name, [*self._known, *self._entry.fields], n=1)
        raise ConfigError(
            f"{self._place}: detection: {', '.join(self._entry.datasets)} has no field {name}",
            f"did you mean {near[0]}?" if near else "docs/fields.md lists the fields",
        )


def _derived(meaning: Derived) -> Getter:
    """Reads a value that is made from a field of ours, or is the same for every event."""
    if meaning.constant is not None:
        fixed = [meaning.constant]
        return lambda _event: fixed
    get, values, keep, otherwise = path_getter(meaning.field), meaning.values, meaning.keep, meaning.otherwise

    def read(event: Event) -> list[Any]:
        found = (values.get(text(value), value if keep else otherwise) for value in get(event))
        return [value for value in found if value is not None]

    return read


def path_getter(name: str) -> Getter:
    """Reads a dotted name through objects and lists of objects; values come in a flat list."""
    path = tuple(name.split("."))

    def get(event: Event) -> list[Any]:
        node: Any = event
        for depth, part in enumerate(path):
            if isinstance(node, dict):
                node = node.get(part)
                if node is None:
                    return []
            elif isinstance(node, list):
                rest = path_getter(".".join(path[depth:]))
                return [value for item in node if isinstance(item, dict) for value in rest(item)]
            else:
                return []
        if isinstance(node, list):
            return [value for value in node if value is not None and not isinstance(value, dict)]
        return [] if isinstance(node, dict) else [node]

    return get


def leaves(node: Any) -> Iterable[Any]:
    """Every scalar in an event."""
    if isinstance(node, dict):
        for value in node.values():
            yield from leaves(value)
    elif isinstance(node, list):
        for value in node:
            yield from leaves(value)
    elif node is not None:
        yield node


def _all(matchers: Sequence[Matcher]) -> Matcher:
    if len(matchers) == 1:
        return matchers[0]
    fixed = tuple(matchers)

    def every(event: Event) -> bool:
        for matches in fixed:  # noqa: SIM110 - a plain loop is half the time of all() over a generator
            if not matches(event):
                return False
        return True

    return every


def _any(matchers: Sequence[Matcher]) -> Matcher:
    if len(matchers) == 1:
        return matchers[0]
    fixed = tuple(matchers)

    def some(event: Event) -> bool:
        for matches in fixed:  # noqa: SIM110 - as above
            if matches(event):
                return True
        return False

    return some
