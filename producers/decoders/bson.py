"""BSON documents (bsonspec.org) out of tshark's tree: the names of a document's elements, and beside them values."""

import math
from collections.abc import Iterator
from typing import Any

from producers.decoders.convert import MAX_BYTES, number
from producers.decoders.secrets import REDACTED
from producers.decoders.tree import Tree, first, texts

_MAX_DEPTH = 32
_MAX_ELEMENTS = 2000
_SECRETS = frozenset({"pwd", "password", "passwd", "secret"})
_VALUE = "mongo.element.value."
_DOCUMENT, _ARRAY, _BINARY, _NULL = 3, 4, 5, 10


def elements(document: Tree) -> Iterator[tuple[str, Tree]]:
    """Name and value tree of every element of a document."""
    inside = document.get("mongo.elements")
    if not isinstance(inside, dict):
        return
    trees = inside.get("mongo.element.name_tree")
    names = texts(inside.get("mongo.element.name"))
    for name, tree in zip(names, trees if isinstance(trees, list) else [trees], strict=False):
        if isinstance(tree, dict):
            yield name, tree


def inner(tree: Tree) -> Tree:
    """The document or array that an element holds; an empty one where it holds none."""
    found = tree.get("mongo.document")
    return found if isinstance(found, dict) else {}


def value_of(tree: Tree) -> Any:
    """The value of an element that is no document."""
    return _scalar(tree, number(first(tree, "mongo.element.type")))


class Documents:
    """Reads documents, at most so many elements of all of them together; what is too much is left out."""

    def __init__(self) -> None:
        self._left = _MAX_ELEMENTS

    def read(self, document: Tree, *, secrets: bool = False) -> dict[str, Any]:
        """A document in MongoDB's extended JSON, without the secrets that its names tell of unless `secrets`."""
        return self._document(document, 0, secrets=secrets)

    def _document(self, document: Tree, depth: int, *, secrets: bool) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, tree in elements(document):
            if self._left <= 0 or depth > _MAX_DEPTH:
                break
            self._left -= 1
            kind = number(first(tree, "mongo.element.type"))
            hidden = (kind not in {_DOCUMENT, _ARRAY} and name.lower() in _SECRETS) or (
                name == "payload" and kind == _BINARY
            )
            found[name] = (
                REDACTED if hidden and not secrets else self._value(tree, kind, depth, secrets=secrets)
            )
        return found

    def _value(self, tree: Tree, kind: int | None, depth: int, *, secrets: bool) -> Any:
        if kind == _DOCUMENT:
            return self._document(inner(tree), depth + 1, secrets=secrets)
        if kind == _ARRAY:
            return list(self._document(inner(tree), depth + 1, secrets=secrets).values())
        return None if kind == _NULL else _scalar(tree, kind)


def _scalar(tree: Tree, kind: int | None) -> Any:  # noqa: PLR0911  # one for each kind
    value = {name.removeprefix(_VALUE): first(tree, name) for name in tree if name.startswith(_VALUE)}
    if "string" in value:
        return value["string"]
    if "bool" in value:
        return value["bool"] in {"1", "True"}
    if "double" in value:
        return _double(value["double"])
    if "objectid" in value:
        return {"$oid": value["objectid"].replace(":", "")}
    if "regex.pattern" in value:
        return {"$regex": value["regex.pattern"], "$options": value.get("regex.options", "")}
    whole = number(value.get("int", value.get("int64", "")))
    if whole is not None:
        return {"$date": whole} if kind == 9 else {"$timestamp": whole} if kind == 17 else whole
    if "bytes" in value:
        return {"$binary": value["bytes"].replace(":", "")[: 2 * MAX_BYTES]}
    return {"$type": kind}


def _double(text: str) -> Any:
    try:
        value = float(text)
    except ValueError:
        return text
    if not math.isfinite(value):
        return text
    return int(value) if value.is_integer() and abs(value) < 2**53 else value
