"""Counters, the summary file, logging, memory: what a part tells about itself."""

import logging
import resource
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson


@dataclass
class Telemetry:
    """Counters of one part, by name and label: `count("dead_letters", "mapping")`."""

    part: str
    started: float = field(default_factory=time.monotonic)
    counters: dict[str, Counter[str]] = field(default_factory=dict)

    def count(self, name: str, label: str = "", amount: int = 1) -> None:
        """Add to a counter."""
        counter = self.counters.get(name)
        if counter is None:
            counter = self.counters[name] = Counter()
        counter[label] += amount

    def total(self, name: str) -> int:
        """A counter's sum over its labels."""
        return self.counters[name].total() if name in self.counters else 0

    def labels(self, name: str) -> dict[str, int]:
        """A counter's values by label, sorted by label."""
        return dict(sorted(self.counters.get(name, Counter()).items()))

    def seconds(self) -> float:
        """Seconds since the part started."""
        return time.monotonic() - self.started


def peak_rss_bytes() -> int:
    """The largest resident size of this process and of its largest ended child, in bytes."""
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return (own + child) * 1024


def write_summary(path: Path | None, summary: dict[str, Any]) -> None:
    """Write a command's summary as JSON to `path`, if one is wanted; whole or not at all."""
    if path is None:
        return
    draft = path.with_name(path.name + ".part")
    draft.write_bytes(orjson.dumps(summary, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    draft.replace(path)


_WORDINGS = 1_000


class Seldom(logging.Filter):
    """Lets messages of one wording through once in so many seconds, and says how many there were in between.

    A broker that is away is complained about at each attempt to reach it.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds
        self._seen: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is told."""
        wording = (record.name, str(record.msg))
        told, more = self._seen.get(wording, (-self._seconds, 0))
        if record.created - told < self._seconds:
            self._seen[wording] = told, more + 1
            return False
        if len(self._seen) >= _WORDINGS:
            self._seen.clear()
        self._seen[wording] = record.created, 0
        if more:
            record.msg = f"{record.msg} ({more} more of these since it was last told)"
        return True


def setup_logging(level: str = "INFO") -> None:
    """Log to stderr: time, level, part, message."""
    logging.basicConfig(
        stream=sys.stderr,
        level=level,
        format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
        force=True,
    )
