"""Dotted field names as the tree of objects that events and mappings are."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from schemas.errors import SchemaError
from schemas.model import FieldSpec, FieldType


@dataclass(slots=True)
class Node:
    """An object (`children`) or a value (`spec`); an object may have a spec too, as `dns.answers`."""

    spec: FieldSpec | None = None
    children: dict[str, "Node"] = field(default_factory=dict)

    @property
    def array(self) -> bool:
        """Whether the event holds a list here."""
        return self.spec is not None and self.spec.array


def tree(fields: Mapping[str, FieldSpec]) -> Node:
    """The root of the tree of `fields`, children in the order of their names.

    Raises SchemaError where a name is both a value and an object.
    """
    root = Node()
    for name in sorted(fields):
        node = root
        for part in name.split("."):
            if node.spec is not None and node.spec.type is not FieldType.OBJECT:
                raise SchemaError(f"{name}: one of the names before it is a value, not an object")
            node = node.children.setdefault(part, Node())
        node.spec = fields[name]
    return root
