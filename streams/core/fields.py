"""Fast readers of an event's fields: `reader("source.ip")(event)` is what `schemas.events.get` says, sooner.

A statistic reads the same few fields of every event: what a name means is worked out once.
"""

from collections.abc import Callable
from typing import Any

from schemas.events import Event, get

Reader = Callable[[Event], Any]


def reader(name: str) -> Reader:
    """What reads a field by its dotted name, through objects and lists of objects; None where it is not there."""
    match name.split("."):
        case [leaf]:
            return lambda event: event.get(leaf)
        case [above, leaf]:
            return _two(name, above, leaf)
        case [top, above, leaf]:
            return _three(name, top, above, leaf)
    return lambda event: get(event, name)


def _two(name: str, above: str, leaf: str) -> Reader:
    def read(event: Event) -> Any:
        node = event.get(above)
        if node.__class__ is dict:
            return node.get(leaf)
        return None if node is None else get(event, name)

    return read


def _three(name: str, top: str, above: str, leaf: str) -> Reader:
    def read(event: Event) -> Any:
        node = event.get(top)
        if node.__class__ is dict:
            node = node.get(above)
            if node.__class__ is dict:
                return node.get(leaf)
        return None if node is None else get(event, name)

    return read
