"""A policy file's text, places in it, and what is wrong there."""

import difflib
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from runtime.errors import ConfigError


class Problem(NamedTuple):
    """One mistake: where (`file:line:column`), what is wrong, and what to do."""

    where: str
    what: str
    hint: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" + (f" ({self.hint})" if self.hint else "")


class PolicyError(ConfigError):
    """A policy that cannot be used; `problems` has every mistake found, `what` and `hint` tell the first."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        first, more = problems[0], len(problems) - 1
        also = f", and {more} more mistake{'s' if more > 1 else ''}" if more else ""
        super().__init__(f"{first.where}: {first.what}{also}", first.hint)
        self.problems = tuple(problems)


@dataclass(frozen=True)
class Source:
    """A file's name as it is told, and its text."""

    name: str
    text: str
    _starts: list[int] = field(init=False, repr=False, compare=False, default_factory=list)

    def __post_init__(self) -> None:
        self._starts.append(0)
        self._starts.extend(at + 1 for at, character in enumerate(self.text) if character == "\n")

    def index(self, line: int, column: int) -> int:
        """The index in the text of a line and column that both count from 0, as YAML's marks do."""
        return self._starts[min(line, len(self._starts) - 1)] + column

    def where(self, index: int) -> str:
        """`file:line:column`, counting from 1."""
        line = bisect_right(self._starts, index) - 1
        return f"{self.name}:{line + 1}:{index - self._starts[line] + 1}"

    def error(self, index: int, what: str, hint: str = "") -> PolicyError:
        """The error of one mistake at an index of the text."""
        return PolicyError([Problem(self.where(index), what, hint)])


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint with the known words that look like `word`, or with all of them where they are few."""
    names = sorted(set(known))
    close = difflib.get_close_matches(word, names, n=3, cutoff=0.6)
    if close:
        return f"did you mean {' or '.join(close)}?"
    return f"one of: {', '.join(names)}" if 0 < len(names) <= 16 else "docs/policy.md lists them"
