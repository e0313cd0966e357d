"""SigmaHQ's rules for network log sources: which are accepted, which can match, and that those fire.

The rules lie beside the public captures and are no part of the project.
"""

import re
from collections import Counter
from pathlib import Path

import pytest

from schemas.events import get
from schemas.model import datasets
from streams.rules_tools import Checked, check, shipped, shipped_taxonomy
from tests.captures import sigma_rules
from tests.firing import events_for

DOCS = Path(__file__).resolve().parents[2] / "docs" / "rules.md"


@pytest.fixture(scope="module")
def checked() -> Checked:
    return check([sigma_rules()])


def source_of(path: str) -> str:
    """The logsource of a rule as docs/rules.md counts them."""
    text = Path(path).read_text(encoding="utf-8").partition("\nlogsource:")[2].partition("\ndetection:")[0]
    found = dict(re.findall(r"^\s+(category|product|service): *([\w]+)", text, re.MULTILINE))
    return " ".join(found[name] for name in ("product", "category", "service") if name in found)


def test_every_rule_that_can_match_fires_on_an_event_made_from_its_conditions(checked: Checked) -> None:
    taxonomy, silent = shipped_taxonomy(), []
    for rule in checked.rules:
        if not rule.possible:
            continue
        made = events_for(Path(rule.path), taxonomy)
        if not any(get(event, "event.dataset") in rule.datasets and rule.matches(event) for event in made):
            silent.append(Path(rule.path).name)
    assert silent == []


def test_no_rule_that_can_never_match_fires(checked: Checked) -> None:
    taxonomy = shipped_taxonomy()
    for rule in checked.rules:
        if not rule.possible:
            assert not any(map(rule.matches, events_for(Path(rule.path), taxonomy))), rule.path


def test_the_counts_are_those_of_the_documentation(checked: Checked) -> None:
    accepted = Counter(source_of(rule.path) for rule in checked.rules)
    able = Counter(source_of(rule.path) for rule in checked.rules if rule.possible)
    refused = Counter(source_of(str(problem.path)) for problem in checked.problems)
    rows = re.findall(r"^\| ([\w ]+) \| (\d+) \| (\d+) \| (\d+) \|", DOCS.read_text(), re.MULTILINE)
    assert {name: tuple(map(int, counts)) for name, *counts in rows} == {
        name: (accepted[name], able[name], refused[name]) for name in {*accepted, *refused}
    }


def test_a_rule_reads_only_datasets_that_it_can_match_in(checked: Checked) -> None:
    reads = {Path(rule.path).stem: set(rule.datasets) for rule in checked.rules}
    assert {"network_traffic.http", "network_traffic.tls"} in reads.values()
    assert {"network_traffic.http"} in reads.values()
    assert all(names <= {dataset.dataset for dataset in datasets().values()} for names in reads.values())


def test_shipped_rules_ask_for_nothing_that_no_event_has() -> None:
    assert [rule.path for rule in check([shipped()]).rules if rule.unfilled or not rule.possible] == []
