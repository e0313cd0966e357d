"""What a benchmark tells: figures for machines, a table for people."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Options:
    """What a benchmark is asked for: a capture instead of its own, how often each side runs, the bulk part too.

    `events` is how many events are put through, where that is what is measured; 0: as many as it likes.
    """

    capture: Path | None = None
    runs: int = 3
    bulk: bool = False
    events: int = 0


@dataclass(frozen=True)
class Row:
    """A line of the table: what, and what each side needed or did; `ratio` is ours to theirs."""

    what: str
    ours: str
    theirs: str = ""
    ratio: str = ""


@dataclass(frozen=True)
class Report:
    """The outcome. `figures` becomes one line of JSON, `rows` a table under `title`."""

    title: str
    figures: dict[str, Any]
    rows: list[Row] = field(default_factory=list)
