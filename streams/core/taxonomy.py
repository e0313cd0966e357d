"""Which datasets a Sigma logsource reads, and what its field names are called in ECS.

The maps are data: rules/taxonomy/*.yaml, one file per vendor's or category's names. A rule written for
`product: netflight` (service: a dataset's name) uses ECS names and needs no map.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from runtime.errors import ConfigError
from schemas.model import Dataset, datasets, event_fields
from streams.core.declarations import read_yaml, validated

PRODUCT = "netflight"
Names = Annotated[tuple[str, ...], BeforeValidator(lambda v: (v,) if isinstance(v, str) else v)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LogSource(_Strict):
    """Sigma's logsource: what is None is not asked for."""

    category: str | None = None
    product: str | None = None
    service: str | None = None

    def given(self) -> dict[str, str]:
        """The parts that are there."""
        return {name: value for name, value in self.model_dump().items() if value is not None}

    def __str__(self) -> str:
        return ", ".join(f"{name}: {value}" for name, value in self.given().items()) or "empty"


class Derived(_Strict):
    """What a name of a logsource stands for where it is no field of ours as it is.

    Either `constant`, the same for every event; or the values of `field` by `values`: others as they are (`keep`), as
    `otherwise`, or left out.
    """

    constant: str | None = None
    field: str = ""
    values: dict[str, str] = Field(default_factory=dict)
    keep: bool = False
    otherwise: str | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> "Derived":
        if (self.constant is None) == (not self.field):
            raise ValueError("either a constant or a field with its values")
        return self


Meaning = Names | Derived


class Entry(_Strict):
    """One logsource: the datasets it reads, its names for their fields (one name may mean several fields)."""

    logsource: LogSource
    datasets: Names
    fields: dict[str, Meaning] = Field(default_factory=dict)

    @property
    def own(self) -> bool:
        """Whether its rules are written for Netflight: then a field that no event has is a mistake."""
        return self.logsource.product == PRODUCT

    def targets(self, name: str) -> tuple[str, ...]:
        """The fields of ours that a rule's name is read from: itself where the logsource gives it no meaning."""
        meaning = self.fields.get(name, (name,))
        if isinstance(meaning, Derived):
            return (meaning.field,) if meaning.field else ()
        return meaning


class TaxonomyFile(_Strict):
    """A file of rules/taxonomy: entries that share the names in `fields`."""

    description: str
    fields: dict[str, Meaning] = Field(default_factory=dict)
    sources: tuple[Entry, ...]


class Taxonomy:
    """Resolves logsources; the most specific entry wins."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._entries = tuple(entries)

    def resolve(self, source: LogSource) -> Entry | None:
        """The entry for a rule's logsource; None where no dataset stands for it."""
        if source.product == PRODUCT:
            return _own(source)
        wanted = source.given().items()
        fitting = [entry for entry in self._entries if entry.logsource.given().items() <= wanted]
        return max(fitting, key=lambda entry: len(entry.logsource.given()), default=None)


def packet_datasets() -> dict[str, Dataset]:
    """The datasets of decoded packets, which rules read, by name."""
    return {name: dataset for name, dataset in datasets().items() if dataset.envelope == "packet"}


def load_taxonomy(folder: Path) -> Taxonomy:
    """Read every map of a folder; raises ConfigError with file and place of an unknown dataset or field."""
    entries: dict[tuple[tuple[str, str], ...], Entry] = {}
    for path in sorted(folder.glob("*.yaml")):
        file = validated(TaxonomyFile, read_yaml(path), path)
        for number, entry in enumerate(file.sources):
            place = f"{path}: sources.{number}"
            whole = entry.model_copy(update={"fields": {**file.fields, **entry.fields}})
            _check(whole, place)
            key = tuple(sorted(entry.logsource.given().items()))
            if key in entries:
                raise ConfigError(f"{place}: {entry.logsource} is mapped twice")
            entries[key] = whole
    return Taxonomy(entries.values())


def _own(source: LogSource) -> Entry | None:
    known = packet_datasets()
    if source.service is None:
        return Entry(logsource=source, datasets=tuple(known))
    return Entry(logsource=source, datasets=(source.service,)) if source.service in known else None


def _check(entry: Entry, place: str) -> None:
    known = packet_datasets()
    for name in entry.datasets:
        if name not in known:
            raise ConfigError(f"{place}: no dataset {name}", f"known: {', '.join(known)}")
    fields = known_fields(entry.datasets)
    for name in entry.fields:
        for target in entry.targets(name):
            if target not in fields and not any(target in event_fields(d) for d in known.values()):
                raise ConfigError(f"{place}: {name}: no dataset has a field {target}")


def known_fields(names: Iterable[str]) -> Mapping[str, object]:
    """Every field that an event of one of the datasets can carry."""
    known = datasets()
    found: dict[str, object] = {}
    for name in names:
        found.update(event_fields(known[name]))
    return found
