"""Single keys from the terminal, without Enter; the terminal is left as it was found."""

import os
import select
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_NAMED = {b"\x1b[C": "right", b"\x1b[D": "left", b"\x1bOC": "right", b"\x1bOD": "left", b"\t": "tab"}
_LONGEST = 64


@contextmanager
def keys() -> Iterator[Callable[[], list[str]]]:
    """A function that returns the keys typed since it was last called: letters, `left`, `right`, `tab`.

    Ctrl-C stays Ctrl-C. Where standard input is no terminal, nothing is ever typed.
    """
    if not sys.stdin.isatty():
        yield list
        return
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)
    try:
        yield lambda: _typed(descriptor)
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _typed(descriptor: int) -> list[str]:
    if not select.select([descriptor], [], [], 0)[0]:
        return []
    read = os.read(descriptor, _LONGEST)
    found = []
    while read:
        name = next((name for name in _NAMED if read.startswith(name)), read[:1])
        read = read[len(name) :]
        found.append(_NAMED.get(name, name.decode("ascii", "replace")))
    return found
