"""What `netflight rules` works with: list, check and test rules, without Kafka."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from runtime.errors import ConfigError
from streams.core.declarations import read_text
from streams.core.envelope import decode
from streams.core.sigma import Rule, RuleSet, parse_rules, require_distinct, rule_files
from streams.core.taxonomy import Taxonomy, load_taxonomy

RULES = Path(__file__).resolve().parent.parent / "rules"


class Problem(NamedTuple):
    """What is wrong with a rule file; `what` names the file and the place, `hint` the next step, or empty."""

    path: Path
    what: str
    hint: str


class Checked(NamedTuple):
    """The rules that were accepted, and every problem."""

    rules: list[Rule]
    problems: list[Problem]

    def summary(self) -> dict[str, Any]:
        """Both as JSON has them."""
        return {
            "rules": [
                {
                    "path": rule.path,
                    "id": rule.id,
                    "title": rule.title,
                    "level": rule.level,
                    "datasets": list(rule.datasets),
                    "fields": list(rule.fields),
                    "unfilled": list(rule.unfilled),
                    "can_match": rule.possible,
                }
                for rule in self.rules
            ],
            "problems": [
                {"path": str(problem.path), "what": problem.what, "hint": problem.hint}
                for problem in self.problems
            ],
        }


class Match(NamedTuple):
    """A rule that an event meets; `line` counts from 1."""

    line: int
    event_id: str
    rule: Rule


def shipped() -> Path:
    """The folder of the rules that come with Netflight."""
    return RULES / "sigma"


def shipped_taxonomy() -> Taxonomy:
    """The maps of rules/taxonomy; raises ConfigError."""
    return load_taxonomy(RULES / "taxonomy")


def check(paths: Iterable[Path]) -> Checked:
    """Every rule in files and folders, and every problem; one wrong file does not hide the others.

    Raises ConfigError only for a path that is not there.
    """
    taxonomy = shipped_taxonomy()
    found = Checked([], [])
    for path in rule_files(paths):
        try:
            rules = parse_rules(read_text(path), taxonomy, path)
            require_distinct([*found.rules, *rules])
        except ConfigError as error:
            found.problems.append(Problem(path, error.what, error.hint))
        else:
            found.rules.extend(rules)
    return found


def warnings(rule: Rule) -> Iterator[str]:
    """What an author should know of a rule that was accepted, a line each."""
    if not rule.unfilled:
        return
    names = ", ".join(rule.unfilled)
    if rule.possible:
        yield f"{rule.path}: {rule.title}: no event has {names}: what the rule asks of it never holds"
    else:
        yield f"{rule.path}: {rule.title}: can never match: no event has {names}"


def test(rules: Iterable[Rule], lines: Iterable[bytes]) -> Iterator[Match]:
    """The matches of rules over events as NDJSON lines; empty lines are passed over.

    Raises ConfigError at a line that is no event, with its number.
    """
    rule_set = RuleSet(rules)
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            decoded = decode(line)
        except ValueError as error:
            raise ConfigError(f"line {number}: {error}") from error
        for rule in rule_set.match(decoded.event, decoded.dataset):
            yield Match(number, str(decoded.event["event"]["id"]), rule)
