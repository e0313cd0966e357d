"""Fields under the names of Elastic's Network Packet Capture integration, from integration.yaml.

Its name of a field is the primary one; the older one stays beside it, as a copy in events or an alias in the mapping.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from importlib import resources
from typing import NamedTuple

import yaml
from pydantic import Field

from schemas.fields import LOADER, FieldName, FieldSpec, FieldType, Strict


class Naming(Strict):
    """What integration.yaml says of a dataset: older names or what they begin with -> newer ones; aliases -> fields."""

    renames: dict[str, str] = Field(default_factory=dict)
    aliases: dict[str, str] = Field(default_factory=dict)


class Named(NamedTuple):
    """A dataset's fields with all their names, and the copies: field -> further name in the same event."""

    fields: dict[FieldName, FieldSpec]
    copies: dict[str, str]


def named(dataset: str, fields: Mapping[FieldName, FieldSpec]) -> Named:
    """The fields of a dataset with their copies and aliases."""
    naming = _namings().get(dataset)
    if naming is None:
        return Named(dict(fields), {})
    every, copies = dict(fields), dict(_copies(naming, fields))
    for old, new in copies.items():
        if new not in every:
            every[new] = _copy(old, fields[old])
    aliases = dict(_older(naming, every, set(copies.values()))) | naming.aliases
    for alias, target in aliases.items():
        if alias not in every and target in every:
            about = f"Another name of {target}."
            every[alias] = FieldSpec(type=FieldType.ALIAS, path=target, description=about)
    return Named(every, copies)


def _copies(naming: Naming, fields: Mapping[str, FieldSpec]) -> Iterator[tuple[str, str]]:
    """Each field that has an older name, with its newer one; of two that would be the same, the first."""
    taken = set()
    for old, new in naming.renames.items():
        for name in fields:
            if name == old or name.startswith(f"{old}."):
                newer = new + name[len(old) :]
                if newer not in taken:
                    taken.add(newer)
                    yield name, newer


def _older(naming: Naming, fields: Mapping[str, FieldSpec], copies: set[str]) -> Iterator[tuple[str, str]]:
    """The older name of each field that has only the newer one."""
    for old, new in naming.renames.items():
        for name, spec in fields.items():
            if name in copies:
                continue
            if (name == new or name.startswith(f"{new}.")) and spec.type is not FieldType.OBJECT:
                yield old + name[len(new) :], name


def _copy(name: str, spec: FieldSpec) -> FieldSpec:
    return FieldSpec(
        type=spec.type,
        description=f"A copy of {name}.",
        example=spec.example,
        array=spec.array,
        of=spec.of,
        related="none",
    )


@cache
def _namings() -> dict[str, Naming]:
    text = resources.files("schemas").joinpath("integration.yaml").read_text(encoding="utf-8")
    found = yaml.load(text, Loader=LOADER)  # noqa: S506  # it is a safe loader
    return {name: Naming.model_validate(said) for name, said in found.items()}
