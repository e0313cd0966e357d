"""Reading tshark's JSON tree: objects keyed by field name or by label, equal keys merged into a list."""

from collections.abc import Iterator
from typing import Any

Tree = dict[str, Any]
Columns = dict[str, list[str]]


def layers_of(value: Any, *, bare: bool = False) -> list[Tree]:
    """A layer as the list of its occurrences in the packet; a filtered layer has none.

    An occurrence in which tshark shows nothing (it is a text then) is left out, or, with `bare`, an empty tree.
    """
    if type(value) is dict:  # as most are
        return [value] if len(value) != 1 or "filtered" not in value else []
    many = value if isinstance(value, list) else [value]
    if bare:
        many = [{} if isinstance(item, str) else item for item in many]
    return [item for item in many if isinstance(item, dict) and list(item) != ["filtered"]]


def collect(tree: Tree, wanted: frozenset[str]) -> Columns:
    """The values of the wanted fields anywhere in the tree, in the order of the packet."""
    found: Columns = {}
    _collect(tree, wanted, found)
    return found


def _collect(tree: Tree, wanted: frozenset[str], found: Columns) -> None:
    # Half of decoding is here: a type is compared in half of the time that isinstance takes.
    for key, value in tree.items():
        kind = type(value)
        if kind is str:
            if key in wanted:
                if key in found:
                    found[key].append(value)
                else:
                    found[key] = [value]
        elif kind is dict:
            _collect(value, wanted, found)
        elif kind is list:
            for item in value:
                if type(item) is dict:
                    _collect(item, wanted, found)
                elif key in wanted and type(item) is str:
                    found.setdefault(key, []).append(item)


def texts_of(tree: Tree, wanted: frozenset[str]) -> list[str]:
    """The values of all wanted fields anywhere in the tree together, in the order of the packet."""
    found: list[str] = []
    _texts_of(tree, wanted, found)
    return found


def _texts_of(tree: Tree, wanted: frozenset[str], found: list[str]) -> None:
    for key, value in tree.items():
        kind = type(value)
        if kind is str:
            if key in wanted:
                found.append(value)
        elif kind is dict:
            _texts_of(value, wanted, found)
        elif kind is list:
            for item in value:
                if type(item) is dict:
                    _texts_of(item, wanted, found)
                elif key in wanted and type(item) is str:
                    found.append(item)


def find_all(tree: Tree, key: str) -> list[Tree]:
    """Every object under `key` anywhere in the tree, in the order of the packet, the outer before the inner."""
    found: list[Tree] = []
    _find_all(tree, key, found)
    return found


def _find_all(tree: Tree, key: str, found: list[Tree]) -> None:
    for name, value in tree.items():
        kind = type(value)
        if kind is dict:
            if name == key:
                found.append(value)
            _find_all(value, key, found)
        elif kind is list:
            for item in value:
                if type(item) is dict:
                    if name == key:
                        found.append(item)
                    _find_all(item, key, found)


def find_within(tree: Tree, key: str, path: tuple[str, ...] = ()) -> Iterator[tuple[Tree, tuple[str, ...]]]:
    """Every object under `key` anywhere in the tree, each with the keys of those it stands in, the outermost first."""
    for name, value in tree.items():
        for item in value if isinstance(value, list) else (value,):
            if isinstance(item, dict):
                if name == key:
                    yield item, path
                yield from find_within(item, key, (*path, name))


def split(tree: Tree, key: str) -> Iterator[Tree]:
    """Every object under `key` anywhere in the tree, each with what the tree says outside of them; or the tree."""
    each = find_all(tree, key)
    if not each:
        yield tree
        return
    rest = _without(tree, key)
    for item in each:
        yield {"": rest, key: item}


def _without(tree: Tree, key: str) -> Tree:
    """The tree without the objects under `key`."""
    kept: Tree = {}
    for name, value in tree.items():
        items = [
            _without(item, key) if isinstance(item, dict) else item
            for item in (value if isinstance(value, list) else (value,))
            if not (name == key and isinstance(item, dict))
        ]
        if items:
            kept[name] = items
    return kept


def holders(tree: Tree, key: str) -> list[Tree]:
    """Every object that has `key` as a field, in the order of the packet."""
    found: list[Tree] = []
    _holders(tree, key, found)
    return found


def _holders(tree: Tree, key: str, found: list[Tree]) -> None:
    if key in tree:
        found.append(tree)
    for value in tree.values():
        kind = type(value)
        if kind is dict:
            _holders(value, key, found)
        elif kind is list:
            for item in value:
                if type(item) is dict:
                    _holders(item, key, found)


def texts(value: Any) -> list[str]:
    """A field's value as a list of texts, whether it was there never, once or often."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, list):
        return [item for item in value if isinstance(item, str)]
    return []


def first(tree: Tree, key: str) -> str:
    """The first text of a field of the tree itself; empty where it has none."""
    found = texts(tree.get(key))
    return found[0] if found else ""
