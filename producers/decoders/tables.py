"""Names of numbers on the wire, from tables.yaml."""

from functools import cache
from importlib import resources

import yaml

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@cache
def _tables() -> dict[str, dict[int, str]]:
    text = resources.files("producers.decoders").joinpath("tables.yaml").read_text(encoding="utf-8")
    tables: dict[str, dict[int, str]] = yaml.load(text, Loader=LOADER)  # noqa: S506  # it is a safe loader
    return tables


def name_of(table: str, number: int) -> str | None:
    """The name of a number in a table, or None where the registry has none."""
    return _tables()[table].get(number)


def name_or_number(table: str, number: int) -> str:
    """The name of a number in a table, else the number itself in decimal."""
    return _tables()[table].get(number) or str(number)
