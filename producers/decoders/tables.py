"""Names of numbers on the wire, from tables.yaml.

A table named FAMILY.TABLE is in tables_FAMILY.yaml, which is read at first use.
"""

from functools import cache
from importlib import resources

import yaml

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@cache
def _load(file: str) -> dict[str, dict[int, str]]:
    text = resources.files("producers.decoders").joinpath(file).read_text(encoding="utf-8")
    tables: dict[str, dict[int, str]] = yaml.load(text, Loader=LOADER)  # noqa: S506  # it is a safe loader
    return tables


@cache
def _table(name: str) -> dict[int, str]:
    family, _, table = name.rpartition(".")
    return _load(f"tables_{family}.yaml" if family else "tables.yaml")[table]


def name_of(table: str, number: int) -> str | None:
    """The name of a number in a table, or None where the registry has none."""
    return _table(table).get(number)


def name_or_number(table: str, number: int) -> str:
    """The name of a number in a table, else the number itself in decimal."""
    return _table(table).get(number) or str(number)
