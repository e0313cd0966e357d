"""Attacks: docs/detections.md says for each of them which fields show it, and they do."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.captures import captures
from tests.decoding import everything

DOCS = Path(__file__).resolve().parents[2] / "docs" / "detections.md"
ROW = re.compile(r"^\| (`.*?) \| .*? \| (.*) \|$", re.MULTILINE)
SHOWN = re.compile(r"(\w+) `([^`]+)` `([^`]+)`")


class Shown(NamedTuple):
    """A field of a dataset, and a text that is in a value of it."""

    dataset: str
    field: str
    text: str


def table() -> dict[str, list[Shown]]:
    """What the page says of each capture."""
    return {
        name: [Shown(*parts) for parts in SHOWN.findall(shown)]
        for files, shown in ROW.findall(DOCS.read_text(encoding="utf-8"))
        for name in re.findall(r"`([^`]+)`", files)
    }


def values(node: Any, path: list[str]) -> Iterator[Any]:
    """Every value of a dotted name, through lists."""
    if isinstance(node, list):
        for item in node:
            yield from values(item, path)
    elif not path:
        yield node
    elif isinstance(node, dict) and path[0] in node:
        yield from values(node[path[0]], path[1:])


def test_every_attack_is_in_the_table() -> None:
    truth = (captures() / "attacks" / "truth.tsv").read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t") for line in truth if not line.startswith("#")]
    assert {name for name, _, _, verdict in rows if verdict == "attack"} == set(table())


@pytest.mark.parametrize("name", sorted(table()))
def test_the_fields_show_it(name: str) -> None:
    found = everything()[str(captures() / "attacks" / name)]
    assert table()[name]
    for shown in table()[name]:
        events = [event for event in found if event["event"]["dataset"] == f"network_traffic.{shown.dataset}"]
        said = [str(value) for event in events for value in values(event, shown.field.split("."))]
        assert any(shown.text in value for value in said), shown
