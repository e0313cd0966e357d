"""Statistics as data: what rules/statistics/*.yaml declares, and what it computes from one event.

A statistic counts the events of one dataset in tumbling windows of event time, by groups. Its results are
events of a dataset of their own (`emits`), whose fields the groups and measures name.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from runtime.errors import ConfigError
from schemas.events import NANOSECONDS, Event, Times, event_id, get, new_event, put, timestamp
from schemas.model import Dataset, datasets, fields_of
from streams.core.declarations import read_yaml, validated

Group = tuple[Any, ...]
Amounts = tuple[int, ...]
Counted = list[tuple[Group, Amounts]]


class Result(NamedTuple):
    """A closed window: its groups and amounts, in order of rank where the statistic ranks them."""

    statistic: str
    start_ns: int
    revision: int
    groups: Counted


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class GroupField(_Strict):
    """A field that groups; an event without it is in the group `default`, or in none."""

    field: str
    default: str | None = None


class Measure(_Strict):
    """`count` counts events, `sum` adds a field up; a field that is not there adds nothing."""

    count: bool = False
    sum: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _by_name(cls, data: Any) -> Any:
        return {"count": True} if data == "count" else data

    @model_validator(mode="after")
    def _one(self) -> "Measure":
        if self.count == (self.sum is not None):
            raise ValueError("a measure is `count` or {sum: FIELD}")
        return self


class Top(_Strict):
    """Only the groups with most of a measure are results; `rank` is the field of their place, from 1."""

    by: str
    limit: int = Field(gt=0, le=1000)
    rank: str


class Declaration(_Strict):
    """A file of rules/statistics.

    `where` asks for fields' values. `views`: the event is counted once for each, with fields read from other
    places; views that end in the same group count once. `window` and `grace` are seconds of event time; without
    `window` the worker's setting holds.
    """

    title: str
    description: str
    dataset: str
    emits: str
    where: dict[str, Any] = Field(default_factory=dict)
    window: float | None = Field(default=None, gt=0)
    grace: float = Field(default=600.0, ge=0)
    group_by: dict[str, GroupField] = Field(min_length=1)
    measures: dict[str, Measure] = Field(min_length=1)
    views: tuple[dict[str, str], ...] = ({},)
    top: Top | None = None

    @field_validator("group_by", mode="before")
    @classmethod
    def _short(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        return {name: {"field": value} if isinstance(value, str) else value for name, value in data.items()}

    @model_validator(mode="after")
    def _consistent(self) -> "Declaration":
        outputs = {*self.group_by, *self.measures}
        for number, view in enumerate(self.views):
            if unknown := sorted(set(view) - outputs):
                raise ValueError(f"views.{number}: {unknown[0]} is neither a group nor a measure")
        if self.top and self.top.by not in self.measures:
            raise ValueError(f"top.by: {self.top.by} is no measure")
        return self


@dataclass(frozen=True, slots=True)
class Statistic:
    """A compiled declaration. `count` gives an event's groups and amounts; times are nanoseconds."""

    name: str
    dataset: Dataset
    emits: Dataset
    window_ns: int
    grace_ns: int
    groups: tuple[str, ...]
    measures: tuple[str, ...]
    top: Top | None
    count: Callable[[Event], Counted]

    def start_of(self, time_ns: int) -> int:
        """The start of the window that a time is in."""
        return time_ns // self.window_ns * self.window_ns


def load_statistics(folder: Path, window_seconds: float) -> dict[str, Statistic]:
    """Every declaration of a folder by name (the file's); raises ConfigError with file and place."""
    found = {}
    for path in sorted(folder.glob("*.yaml")):
        declaration = validated(Declaration, read_yaml(path), path)
        found[path.stem] = compile_statistic(path.stem, declaration, window_seconds, path)
    return found


def compile_statistic(name: str, declared: Declaration, window_seconds: float, path: Path) -> Statistic:
    """A declaration as a function; raises ConfigError where it names a dataset or field that is not there."""
    known = datasets()
    for place, named in (("dataset", declared.dataset), ("emits", declared.emits)):
        if named not in known:
            raise ConfigError(f"{path}: {place}: no dataset {named}", f"known: {', '.join(known)}")
    source, emits = known[declared.dataset], known[declared.emits]
    outputs = {*declared.group_by, *declared.measures, *([declared.top.rank] if declared.top else [])}
    inputs = {
        *declared.where,
        *(group.field for group in declared.group_by.values()),
        *(measure.sum for measure in declared.measures.values() if measure.sum),
        *(field for view in declared.views for field in view.values()),
    }
    for checked, fields in ((emits, outputs), (source, inputs)):
        if missing := sorted(fields - set(fields_of(checked))):
            raise ConfigError(f"{path}: {missing[0]}: dataset {checked.name} has no such field")
    return Statistic(
        name=name,
        dataset=source,
        emits=emits,
        window_ns=round((declared.window or window_seconds) * NANOSECONDS),
        grace_ns=round(declared.grace * NANOSECONDS),
        groups=tuple(declared.group_by),
        measures=tuple(declared.measures),
        top=declared.top,
        count=_counter(declared),
    )


def _counter(declared: Declaration) -> Callable[[Event], Counted]:
    where = [(name, v if isinstance(v, list) else [v]) for name, v in declared.where.items()]
    views = [
        (
            [(view.get(name, group.field), group.default) for name, group in declared.group_by.items()],
            [None if m.count else view.get(name, m.sum or "") for name, m in declared.measures.items()],
        )
        for view in declared.views
    ]

    def count(event: Event) -> Counted:
        if any(get(event, name) not in values for name, values in where):
            return []
        found: dict[Group, Amounts] = {}
        for group_fields, measured in views:
            group = tuple(_scalar(get(event, name), default) for name, default in group_fields)
            if None in group or group in found:
                continue
            found[group] = tuple(1 if name is None else _amount(get(event, name)) for name in measured)
        return list(found.items())

    return count


def _scalar(value: Any, default: str | None) -> Any:
    if isinstance(value, list):
        value = value[0] if value else None
    return default if value is None or isinstance(value, dict) else value


def _amount(value: Any) -> int:
    return value if type(value) is int else 0


def ranked(statistic: Statistic, groups: Mapping[Group, Amounts]) -> list[tuple[Group, Amounts]]:
    """The groups that are results: all in order of their names, or those with most of the top measure first."""
    if statistic.top is None:
        return sorted(groups.items(), key=lambda item: str(item[0]))
    place = statistic.measures.index(statistic.top.by)
    heaviest = sorted(groups.items(), key=lambda item: (-item[1][place], str(item[0])))
    return heaviest[: statistic.top.limit]


def result_events(
    statistic: Statistic, result: Result, *, namespace: str, observer: str, created_ns: int
) -> list[Event]:
    """A window's results as events of the statistic's dataset, one per group, in order of rank.

    The id is a function of the dataset, the statistic, the group, the window's start and the revision.
    `observer` names the worker; the events counted may be of many sensors.
    """
    start_ns, revision = result.start_ns, result.revision
    dataset = statistic.emits
    fields = fields_of(dataset)
    end_ns = start_ns + statistic.window_ns
    events = []
    for rank, (group, amounts) in enumerate(result.groups, start=1):
        scope = "|".join([statistic.name, *(str(part) for part in group)])
        event = new_event(
            dataset,
            event_id(dataset.dataset, scope, start_ns, revision),
            namespace,
            Times(start_ns, start_ns, end_ns, created_ns),
        )
        event["observer"] = {"name": observer, "type": "network-sensor"}
        event["netflight"] = {
            "window": {
                "start": timestamp(start_ns),
                "end": timestamp(end_ns),
                "seconds": statistic.window_ns / NANOSECONDS,
                "revision": revision,
            },
            "statistic": statistic.name,
        }
        for name, value in zip((*statistic.groups, *statistic.measures), (*group, *amounts), strict=True):
            put(event, name, [value] if fields[name].array else value)
        if statistic.top:
            put(event, statistic.top.rank, rank)
        events.append(event)
    return events
