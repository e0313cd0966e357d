"""The YAML around the rules: named lists, rules in their order, another policy included behind them.

Expressions keep their place in the file: they are read from the file's own text, where YAML says they stand.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import NamedTuple

import yaml
from yaml import MappingNode, Node, ScalarNode, SequenceNode

from producers.engine.policy.check import AllOf, Lists, Term, check
from producers.engine.policy.fields import Stage
from producers.engine.policy.source import PolicyError, Problem, Source, did_you_mean
from producers.engine.policy.syntax import Item, parse, parse_item
from runtime.errors import UsageError
from schemas.model import LOADER

FOLDER = Path(__file__).resolve().parents[3] / "rules" / "policies"
MAX_RULES = 200
MAX_LIMIT = 1 << 40
OTHERWISE = "otherwise"
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_LIMIT = re.compile(r"first\s+(\d[\d_]*)\s+(packet|byte)s?")
_ACTIONS = ("decode", "record", "sample")
ANYTHING = AllOf(())


class Unit(Enum):
    """What a limit counts, on the packet's side of its flow."""

    PACKETS = "packets"
    BYTES = "bytes"


@dataclass(frozen=True, slots=True)
class Limit:
    """While fewer than `count` packets with payload, or payload bytes, were sent before; None: without end."""

    count: int | None
    unit: Unit = Unit.PACKETS


ALL, NONE = Limit(None), Limit(0)


@dataclass(frozen=True, slots=True)
class Action:
    """What a rule says; None where it leaves the question to later rules.

    `record` limits what is recorded in full; beyond it headers are recorded if `headers`. Of the flows a rule
    takes, one in `sample` is treated so; the others are only counted.
    """

    decode: Limit | None = None
    record: Limit | None = None
    headers: bool = False
    sample: int = 1
    drop: bool = False


COUNT = Action(NONE, NONE)
_DECODE = {"all": ALL, "none": NONE}
_RECORD = {"full": ALL, "headers": NONE, "none": NONE}


@dataclass(frozen=True, slots=True)
class Rule:
    """A named rule; `where` is its place, `file:line:column`."""

    name: str
    when: Term
    then: Action
    where: str = ""


class Reading(NamedTuple):
    """A policy as read: its rules and those it includes, of which one takes all; its files; its `about`."""

    rules: list[Rule]
    files: list[Path]
    about: str


def read_policy(named: str | Path, builtin: Lists) -> Reading:
    """Read a policy and those it includes.

    `named` is the name of a shipped policy or a file's path. Raises PolicyError with every mistake found,
    UsageError where there is no such policy.
    """
    reader = _Reader(builtin)
    rules = list(reader.read(find(named)))
    if not reader.problems and len(rules) > MAX_RULES:
        reader.problems.append(
            Problem(str(named), f"{len(rules)} rules", f"a policy has at most {MAX_RULES}")
        )
    if reader.problems:
        raise PolicyError(reader.problems)
    if not any(takes_all(rule) for rule in rules):
        rules.append(Rule(OTHERWISE, ANYTHING, COUNT))
    return Reading(rules, reader.files, reader.about)


def takes_all(rule: Rule) -> bool:
    """Whether a rule takes every packet and answers both questions, so that none behind it is asked."""
    return rule.when == ANYTHING and None not in {rule.then.decode, rule.then.record}


def never_reached(rules: Sequence[Rule]) -> list[Rule]:
    """The rules behind one that takes all."""
    deciding = [rule for rule in rules if not rule.then.drop]
    ends = [at for at, rule in enumerate(deciding) if takes_all(rule)]
    return deciding[ends[0] + 1 :] if ends else []


def shipped() -> list[str]:
    """The names of the policies in rules/policies."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def find(named: str | Path, beside: Path | None = None) -> Path:
    """The file of a policy: a shipped one by its name, any other by its path, relative to `beside`."""
    if isinstance(named, str) and named in shipped():
        return FOLDER / f"{named}.yaml"
    path = (beside or Path()) / named
    if not path.is_file():
        hint = did_you_mean(str(named), shipped())
        raise UsageError(f"{named}: no such policy", f"name a file, or {hint}")
    return path


class _Reader:
    """Reads files; collects what is wrong instead of stopping at the first mistake of the first rule."""

    def __init__(self, builtin: Lists) -> None:
        self._builtin = builtin
        self.problems: list[Problem] = []
        self.files: list[Path] = []
        self.about = ""
        self._rules: dict[str, str] = {OTHERWISE: "every policy's last rule"}

    def read(self, path: Path) -> Iterator[Rule]:
        self.files.append(path)
        try:
            source = Source(path.name, path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not UTF-8"
            raise UsageError(f"{path}: {reason}", "a policy is a YAML file") from error
        try:
            top = _entries(source, _composed(source), ("about", "lists", "rules", "include"))
            if "about" in top and self.files == [path]:
                self.about = _text(source, top["about"])
            lists = {**self._builtin, **self._lists(source, top.get("lists"))}
            rules = _items(source, top["rules"]) if "rules" in top else []
            included = self._included(source, path, top.get("include"))
        except PolicyError as error:
            self.problems.extend(error.problems)
            return
        for node in rules:
            try:
                yield self._rule(source, node, lists)
            except PolicyError as error:
                self.problems.extend(error.problems)
        for file in included:
            yield from self.read(file)

    def _included(self, source: Source, path: Path, node: Node | None) -> list[Path]:
        if node is None:
            return []
        found = []
        for name in _items(source, node) if isinstance(node, SequenceNode) else [node]:
            try:
                file = find(_text(source, name), path.parent)
            except UsageError as error:
                raise source.error(_at(source, name), error.what, error.hint) from error
            if file in self.files:
                raise source.error(_at(source, name), f"{file.name} is included already", "")
            found.append(file)
        return found

    def _lists(self, source: Source, node: Node | None) -> dict[str, tuple[Item, ...]]:
        lists: dict[str, tuple[Item, ...]] = {}
        for name, value in _entries(source, node).items() if node is not None else ():
            if not _NAME.fullmatch(name):
                raise source.error(
                    _at(source, value), f"{name!r} cannot name a list", "letters, digits, - and _"
                )
            lists[name] = tuple(parse_item(source, *_span(source, item)) for item in _items(source, value))
        return lists

    def _rule(self, source: Source, node: Node, lists: Lists) -> Rule:
        at = _at(source, node)
        parts = _entries(source, node, ("name", "when", "then"))
        for key in ("name", "then"):
            if key not in parts:
                raise source.error(at, f"a rule without {key}", "a rule has name, when and then")
        name = _text(source, parts["name"])
        if not _NAME.fullmatch(name):
            what = f"{name!r} cannot name a rule"
            raise source.error(_at(source, parts["name"]), what, "lower-case letters, digits, - and _")
        if name in self._rules:
            raise source.error(
                _at(source, parts["name"]), f"there is a rule {name} already", self._rules[name]
            )
        then = _action(source, parts["then"])
        stage = Stage.PACKET if then.drop else Stage.FLOW
        when: Term = ANYTHING
        if "when" in parts:
            when_at = _span(source, parts["when"])
            when = check(source, parse(source, *when_at), lists, stage)
        elif then.drop:
            raise source.error(at, "a rule that drops every packet", "say with when: which packets")
        self._rules[name] = source.where(at)
        return Rule(name, when, then, source.where(at))


def _composed(source: Source) -> Node:
    try:
        node: Node | None = yaml.compose(source.text, Loader=LOADER)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = source.index(mark.line, mark.column) if mark else 0
        hint = "put an expression that has ': ' or ' #' in a block, after |"
        raise source.error(at, f"not YAML: {error.problem or error.context}", hint) from error
    except yaml.YAMLError as error:
        raise source.error(0, f"not YAML: {error}") from error
    if node is None:
        raise source.error(0, "the file is empty", "a policy has rules:")
    return node


def _action(source: Source, node: Node) -> Action:
    if isinstance(node, ScalarNode):
        return _word(source, node)
    parts = _entries(source, node, _ACTIONS)
    decode = _limit(source, parts["decode"], _DECODE) if "decode" in parts else None
    record = _limit(source, parts["record"], _RECORD) if "record" in parts else None
    if decode is None and record is None:
        raise source.error(_at(source, node), "it says neither decode nor record", "or write count, or drop")
    headers = record is not None and _text(source, parts["record"]) != "none"
    return Action(decode, record, headers, _sample(source, parts.get("sample")))


def _word(source: Source, node: ScalarNode) -> Action:
    """An action in words: `count`, `drop`, or one of a mapping's, as in `decode first 16 packets`."""
    word, _, how = node.value.partition(" ")
    if word == "decode":
        return Action(_limit(source, node, _DECODE, how or "all"), None, headers=False)
    if word == "record":
        return Action(None, _limit(source, node, _RECORD, how or "full"), headers=how != "none")
    actions = {"count": COUNT, "count only": COUNT, "drop": Action(drop=True)}
    if node.value not in actions:
        hint = did_you_mean(word, ["count", "drop", "decode", "record"])
        hint = hint or "write count, drop, or {decode: ..., record: ..., sample: ...}"
        raise source.error(_at(source, node), f"there is no action {node.value!r}", hint)
    return actions[node.value]


def _limit(source: Source, node: Node, words: dict[str, Limit], text: str = "") -> Limit:
    """What a limit says: `text`, or else the node's."""
    text = text or _text(source, node)
    if text in words:
        return words[text]
    match = _LIMIT.fullmatch(text)
    if match is None:
        hint = did_you_mean(text, [*words, "first 16 packets", "first 4096 bytes"])
        raise source.error(_at(source, node), f"there is no {text!r} here", hint)
    count = int(match[1])
    if not 1 <= count <= MAX_LIMIT:
        raise source.error(_at(source, node), f"first {count:,} {match[2]}s", f"from 1 to {MAX_LIMIT:,}")
    return Limit(count, Unit(f"{match[2]}s"))


def _sample(source: Source, node: Node | None) -> int:
    if node is None:
        return 1
    text = _text(source, node).removeprefix("1/")
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 1_000_000:
        what = f"sample: {text!r} is no number of flows of which one is kept"
        raise source.error(_at(source, node), what, "from 1 to 1,000,000")
    return int(text)


def _entries(source: Source, node: Node, known: tuple[str, ...] = ()) -> dict[str, Node]:
    """A mapping's values by key; raises PolicyError for another node, a key twice, or one that is not `known`."""
    if not isinstance(node, MappingNode):
        hint = f"a mapping with {', '.join(known)}" if known else "a mapping of names to lists"
        raise source.error(
            _at(source, node), f"there is {_shape(node)} where names and values should stand", hint
        )
    found: dict[str, Node] = {}
    for key, value in node.value:
        name = _text(source, key)
        if name in found:
            raise source.error(_at(source, key), f"{name} stands here twice")
        if known and name not in known:
            raise source.error(_at(source, key), f"there is no key {name}", did_you_mean(name, known))
        found[name] = value
    return found


def _items(source: Source, node: Node) -> list[Node]:
    if not isinstance(node, SequenceNode):
        raise source.error(
            _at(source, node), f"there is {_shape(node)} where a list should stand", "- item, or [item]"
        )
    return list(node.value)


def _text(source: Source, node: Node) -> str:
    return str(_scalar(source, node).value).strip()


def _scalar(source: Source, node: Node) -> ScalarNode:
    if not isinstance(node, ScalarNode):
        raise source.error(_at(source, node), f"there is {_shape(node)} where a word should stand")
    return node


def _shape(node: Node) -> str:
    if isinstance(node, MappingNode):
        return "a mapping"
    return "a list" if isinstance(node, SequenceNode) else "a word"


def _at(source: Source, node: Node) -> int:
    return source.index(node.start_mark.line, node.start_mark.column)


def _span(source: Source, node: Node) -> tuple[int, int]:
    """Where a scalar's own text begins and ends in the file."""
    style = _scalar(source, node).style
    start = _at(source, node)
    end = source.index(node.end_mark.line, node.end_mark.column)
    if style in {"|", ">"}:
        return source.text.index("\n", start) + 1, end
    if style in {"'", '"'}:
        start, end = start + 1, end - 1
        escape = "''" if style == "'" else "\\"
        if escape in source.text[start:end]:
            hint = "write it without YAML's quotes around it, or in a block, after |"
            raise source.error(start, "an expression with YAML's escapes in it", hint)
    return start, end
