"""The table of samples in samples/README.md, from the case.yaml files beside the captures."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

HEAD = "| sample | what is in it | packets | bytes | events |\n|---|---|---:|---:|---|\n"
TABLE = re.compile(r"\| sample \|.*\n(?:\|.*\n)+")


def table(samples: Path) -> str:
    """A Markdown table with a row for each sample folder, in order of name."""
    rows = []
    for case in sorted(samples.glob("*/case.yaml")):
        text = case.read_text()
        title = json.loads(_only(r"^title: (.*)$", text))
        packets = _only(r"^  read: (\d+)", text)
        capture = case.parent / _only(r"^capture: (.*)$", text)
        counted = re.findall(r"^  network_traffic\.(\w+): (\d+)", text, re.MULTILINE)
        events = ", ".join(f"{number} {dataset}" for dataset, number in counted)
        name = case.parent.name
        rows.append(
            f"| [{name}]({name}/case.yaml) | {title} | {packets} | {capture.stat().st_size} | {events} |\n"
        )
    return HEAD + "".join(rows)


def refresh(samples: Path) -> None:
    """Put the table of today into README.md."""
    readme = samples / "README.md"
    readme.write_text(TABLE.sub(lambda _: table(samples), readme.read_text(), count=1))


def _only(pattern: str, text: str) -> str:
    found = re.search(pattern, text, re.MULTILINE)
    if found is None:
        raise ValueError(f"no line like {pattern}")
    return found[1]
