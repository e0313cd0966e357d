"""`message`: an event in one line, by its dataset's template (`message:` in the YAML).

A template is words; one with `{field}` in it is left out where the event has no such field. `{one|other}` is the first
that the event has.
"""

import re
from functools import cache
from typing import Any, NamedTuple

from schemas.events import Event
from schemas.model import Dataset

MAX_MESSAGE = 1024
"""How many characters a message has at most."""

_OF_A_LIST = 5
_FIELD = re.compile(r"\{([^}]+)\}")
_ENDS = "{source.ip} > {destination.ip}"

Path = tuple[str, ...]


class Word(NamedTuple):
    """The texts around the fields of a word, one more than fields, and the ways to each field or what stands for it."""

    texts: tuple[str, ...]
    fields: tuple[tuple[Path, ...], ...]


def message_of(event: Event, dataset: Dataset) -> str:
    """The message of an event of a dataset."""
    said = []
    for texts, fields in words_of(dataset.message or f"{dataset.title} {_ENDS}"):
        parts = [texts[0]]
        for paths, after in zip(fields, texts[1:], strict=True):
            value = _first(event, paths)
            if value is None:
                break
            parts.append(value if type(value) is str else _written(value))
            parts.append(after)
        else:
            said.append("".join(parts) if len(parts) > 1 else texts[0])
    return " ".join(said)[:MAX_MESSAGE]


def _first(event: Event, paths: tuple[Path, ...]) -> Any:
    for path in paths:
        value: Any = event
        for name in path:
            value = value.get(name) if type(value) is dict else None
        if value is not None and value != []:
            return value
    return None


@cache
def words_of(template: str) -> tuple[Word, ...]:
    """The words of a template."""
    words = []
    for word in template.split():
        pieces = _FIELD.split(word)
        fields = tuple(tuple(tuple(name.split(".")) for name in piece.split("|")) for piece in pieces[1::2])
        words.append(Word(tuple(pieces[::2]), fields))
    return tuple(words)


def _written(value: Any) -> str:
    if isinstance(value, list):
        more = ",..." if len(value) > _OF_A_LIST else ""
        return ",".join(str(item) for item in value[:_OF_A_LIST]) + more
    return str(value).lower() if isinstance(value, bool) else str(value)
