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
    """How a word begins; then the ways to each field, or to what stands for it, with the text after it."""

    begin: str
    fields: tuple[tuple[tuple[Path, ...], str], ...]


def message_of(event: Event, dataset: Dataset) -> str:
    """The message of an event of a dataset."""
    said = []
    for begin, fields in words_of(dataset.message or f"{dataset.title} {_ENDS}"):
        text = begin
        for paths, after in fields:
            for path in paths:
                value: Any = event
                for name in path:
                    value = value.get(name)
                    if value is None:
                        break
                if value is not None and value != []:
                    break
            else:
                break
            text += (value if type(value) is str else _written(value)) + after
        else:
            said.append(text)
    return " ".join(said)[:MAX_MESSAGE]


@cache
def words_of(template: str) -> tuple[Word, ...]:
    """The words of a template."""
    words = []
    for word in template.split():
        begin, *pieces = _FIELD.split(word)
        ways = (tuple(tuple(name.split(".")) for name in piece.split("|")) for piece in pieces[::2])
        words.append(Word(begin, tuple(zip(ways, pieces[1::2], strict=True))))
    return tuple(words)


def _written(value: Any) -> str:
    if isinstance(value, list):
        more = ",..." if len(value) > _OF_A_LIST else ""
        return ",".join(str(item) for item in value[:_OF_A_LIST]) + more
    return str(value).lower() if isinstance(value, bool) else str(value)
