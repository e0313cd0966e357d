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


def setup_logging(level: str = "INFO") -> None:
    """Log to stderr: time, level, part, message."""
    logging.basicConfig(
        stream=sys.stderr,
        level=level,
        format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
        force=True,
    )
