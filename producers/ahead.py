"""The tsharks of a run, started ahead: they take as long to start as Python takes to load the rest of the producer.

So this module, and what it imports, loads neither numpy nor numba.
"""

import os
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from types import TracebackType

from producers.decoders.tshark import Tshark, asked
from runtime.settings import TsharkSettings

MAX_CHILDREN = 4
# A capture of less, in bytes, is decoded sooner by one tshark than two can be started.
_SMALL = 4 << 20


class Ahead(AbstractContextManager["Ahead"]):
    """Starts the tsharks of captures; those that nobody took are ended at the end of the block."""

    def __init__(self, settings: TsharkSettings) -> None:
        self._children = settings.children
        self._waiting: deque[list[Tshark]] = deque()
        self.start: Callable[[], Tshark] = partial(Tshark, asked(), settings.memory)

    def begin(self, paths: Sequence[str]) -> None:
        """Start those of the first capture typed, or of an interface where none is; a folder is looked into first."""
        if not paths or not Path(paths[0]).is_dir():
            self.prepare(paths[0] if paths else "")

    def prepare(self, path: str) -> None:
        """Start as many as a capture takes: what the settings say, one for a small file, else one a core."""
        file = Path(path)
        small = bool(path) and file.is_file() and file.stat().st_size < _SMALL
        self._waiting.append(started(self.start, self._children or (1 if small else default_children())))

    def take(self, path: str) -> list[Tshark]:
        """The tsharks for a capture: those that were started first, or new ones."""
        if not self._waiting:
            self.prepare(path)
        return self._waiting.popleft()

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        for children in self._waiting:
            for child in children:
                child.close()
        self._waiting.clear()


def default_children() -> int:
    """How many children a pool has where nothing else is said: one per core, 1 to MAX_CHILDREN."""
    return max(1, min(len(os.sched_getaffinity(0)), MAX_CHILDREN))


def started(start: Callable[[], Tshark], count: int) -> list[Tshark]:
    """Start the children of a pool ahead."""
    children: list[Tshark] = []
    try:
        children.extend(start() for _ in range(count))
    except BaseException:
        for child in children:
            child.close()
        raise
    return children
