"""Statistics as data: what rules/statistics/*.yaml declares, and what it reads of one event.

A statistic counts the events of one dataset in windows of event time, by groups. Its results are events of a dataset of
their own (`emits`), whose fields the groups and measures name.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from runtime.errors import ConfigError
from schemas.events import NANOSECONDS, Event
from schemas.model import Dataset, datasets, event_fields
from streams.core.declarations import read_yaml, validated
from streams.core.fields import Reader, reader
from streams.core.measures import Measures, MeasureSpec, compile_measures
from streams.core.shapes import Kind, Shape, WindowSpec
from streams.core.sigma import Matcher, compile_detection

Group = tuple[Any, ...]
Counted = Sequence[tuple[Group, tuple[Any, ...]]]
"""What an event counts for: groups, each with the values of the measures' inputs."""

WEEK_NS = 7 * 86_400 * NANOSECONDS


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class GroupField(_Strict):
    """A field that groups; an event without it is in the group `default`, or in none."""

    field: str
    default: str | None = None


class Top(_Strict):
    """Only the groups with most of a measure are results; `rank` is the field of their place, from 1."""

    by: str
    limit: int = Field(gt=0, le=10_000)
    rank: str


class FirstSeen(_Strict):
    """Only groups are results that no earlier window had within `forget` seconds."""

    forget: float = Field(default=30 * 86_400.0, gt=0)


class Baseline(_Strict):
    """What is usual for a result: median and MAD of the measure `of` in the same hour of the same weekday, UTC.

    Those of up to `weeks` weeks before are looked at; below `minimum` of them there is no score.
    """

    of: str
    weeks: int = Field(default=8, ge=1, le=520)
    minimum: int = Field(default=3, ge=1)


class Declaration(_Strict):
    """A file of rules/statistics.

    `where` is a Sigma detection: a selection, or selections with a condition. `views`: the event is counted once for
    each, with fields read from other places; views that end in the same group count once. Without `window` the worker's
    setting holds. `grace` is how many seconds of event time after its end a window still takes late events.
    """

    title: str
    description: str
    dataset: str
    emits: str
    where: dict[str, Any] = Field(default_factory=dict)
    window: WindowSpec | None = None
    grace: float = Field(default=600.0, ge=0)
    group_by: dict[str, GroupField] = Field(min_length=1)
    measures: dict[str, MeasureSpec] = Field(min_length=1)
    views: tuple[dict[str, str], ...] = ({},)
    top: Top | None = None
    first_seen: FirstSeen | None = None
    baseline: Baseline | None = None

    @field_validator("group_by", mode="before")
    @classmethod
    def _short(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        return {name: {"field": value} if isinstance(value, str) else value for name, value in data.items()}

    @model_validator(mode="after")
    def _consistent(self) -> "Declaration":
        read = {*self.group_by, *(field for spec in self.measures.values() for field in spec.fields)}
        for number, view in enumerate(self.views):
            if unknown := sorted(set(view) - read):
                raise ValueError(f"views.{number}: {unknown[0]} is neither a group nor what a measure reads")
        for name, ranked in (
            ("top.by", self.top and self.top.by),
            ("baseline.of", self.baseline and self.baseline.of),
        ):
            if ranked and ranked not in self.measures:
                raise ValueError(f"{name}: {ranked} is no measure")
            if ranked and self.measures[ranked].top:
                raise ValueError(f"{name}: {ranked} is a list of values, no number")
        kind = self.window.shape().kind if self.window is not None else Kind.TUMBLING
        if (self.first_seen or self.baseline) and kind is not Kind.TUMBLING:
            raise ValueError(f"first_seen and baseline go by tumbling windows, not {kind} ones")
        if self.top and kind in {Kind.SLIDING, Kind.SESSION}:
            raise ValueError(f"top compares the groups of a window: {kind} windows have one each")
        return self


@dataclass(frozen=True, slots=True)
class Statistic:
    """A compiled declaration. `count` gives an event's groups and the values that their measures take in."""

    name: str
    dataset: Dataset
    emits: Dataset
    shape: Shape
    grace_ns: int
    groups: tuple[str, ...]
    measures: Measures
    top: Top | None
    forget_ns: int
    baseline: Baseline | None
    count: Callable[[Event], Counted]

    @property
    def apart(self) -> bool:
        """Whether each window can be merged without the others: nothing but its own panes goes into its results."""
        return self.shape.kind is Kind.TUMBLING and not self.forget_ns and self.baseline is None

    @property
    def timed(self) -> bool:
        """Whether rows remember the times of their first and last event."""
        return self.shape.kind is Kind.SESSION

    def weight(self, states: list[Any]) -> float:
        """What a group weighs where not all can be told: the measure that ranks, or the first one."""
        place = self.measures.names.index(self.top.by) if self.top else 0
        value = self.measures.results(states, 1.0)[place]
        return value if isinstance(value, int | float) else 0.0


def load_statistics(
    folders: Iterable[Path], window_seconds: float, names: Sequence[str] = ()
) -> dict[str, Statistic]:
    """Every declaration of folders by name (the file's), or those of `names`; raises ConfigError with the place."""
    paths: dict[str, Path] = {}
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError(f"{folder}: no folder of statistics")
        for path in sorted(folder.glob("*.yaml")):
            if path.stem in paths:
                raise ConfigError(f"{path}: {paths[path.stem]} has the same name")
            paths[path.stem] = path
    if unknown := sorted(set(names) - set(paths)):
        raise ConfigError(f"no statistic {unknown[0]}", f"known: {', '.join(sorted(paths))}")
    found = {}
    for name, path in paths.items():
        if not names or name in names:
            declaration = validated(Declaration, read_yaml(path), path)
            found[name] = compile_statistic(name, declaration, window_seconds, path)
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
        *(group.field for group in declared.group_by.values()),
        *(field for measure in declared.measures.values() for field in measure.fields),
        *(field for view in declared.views for field in view.values()),
    }
    for checked, fields in ((emits, outputs), (source, inputs)):
        if missing := sorted(fields - set(event_fields(checked))):
            raise ConfigError(f"{path}: {missing[0]}: dataset {checked.name} has no such field")
    try:
        measures = compile_measures(declared.measures)
    except ValueError as error:
        raise ConfigError(f"{path}: measures: {error}") from error
    matches = compile_detection(declared.where, [source.name], f"{path}: where") if declared.where else None
    shape = (declared.window or WindowSpec(tumbling=window_seconds)).shape()
    return Statistic(
        name=name,
        dataset=source,
        emits=emits,
        shape=shape,
        grace_ns=round(declared.grace * NANOSECONDS),
        groups=tuple(declared.group_by),
        measures=measures,
        top=declared.top,
        forget_ns=round(declared.first_seen.forget * NANOSECONDS) if declared.first_seen else 0,
        baseline=declared.baseline,
        count=_counter(declared, measures, matches),
    )


def _counter(
    declared: Declaration, measures: Measures, matches: Matcher | None
) -> Callable[[Event], Counted]:
    views = [_view(declared, measures, view) for view in declared.views]
    if len(views) == 1:
        return _one_view(*views[0], matches)

    def count(event: Event) -> Counted:
        if matches is not None and not matches(event):
            return ()
        found: dict[Group, tuple[Any, ...]] = {}
        for groups, inputs in views:
            group = tuple([_scalar(read(event), default) for read, default in groups])
            if None not in group and group not in found:
                found[group] = tuple([1 if read is None else read(event) for read in inputs])
        return list(found.items())

    return count


_Groups = list[tuple[Reader, str | None]]
_Inputs = list[Reader | None]


def _view(declared: Declaration, measures: Measures, view: dict[str, str]) -> tuple[_Groups, _Inputs]:
    """Readers of an event's groups and inputs, where a view says that fields stand elsewhere."""
    groups: _Groups = [
        (reader(view.get(name, group.field)), group.default) for name, group in declared.group_by.items()
    ]
    return groups, [None if name is None else reader(view.get(name, name)) for name in measures.inputs]


def _one_view(groups: _Groups, inputs: _Inputs, matches: Matcher | None) -> Callable[[Event], Counted]:
    def count(event: Event) -> Counted:
        if matches is not None and not matches(event):
            return ()
        group = tuple([_scalar(read(event), default) for read, default in groups])
        if None in group:
            return ()
        return ((group, tuple([1 if read is None else read(event) for read in inputs])),)

    return count


def _scalar(value: Any, default: str | None) -> Any:
    kind = value.__class__
    if kind is str or kind is int:
        return value
    if kind is list:
        value = value[0] if value else None
    return default if value is None or isinstance(value, dict | list) else value
