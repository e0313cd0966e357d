"""Dashboards as data: panels/*.yaml, checked against the datasets, and each panel as an Elasticsearch query.

schemas/kibana.py renders the same panels as Lens; `search` is what Lens would ask for, so that a panel can be
tried without Kibana.
"""

from fnmatch import fnmatchcase
from functools import cache
from importlib import resources
from typing import Any, Literal, Self, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from schemas.errors import SchemaError
from schemas.model import Dataset, FieldSpec, FieldType, datasets, fields_of

COLUMNS = 48
NOT_AGGREGATABLE = (FieldType.TEXT, FieldType.OBJECT)
NUMBERS = (FieldType.LONG, FieldType.DOUBLE)
# Lens' name of an aggregation -> Elasticsearch's.
AGGREGATIONS = {"sum": "sum", "average": "avg", "max": "max", "min": "min", "unique_count": "cardinality"}


M = TypeVar("M", bound=BaseModel)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DataView(_Strict):
    """A data view: the pattern of its data streams and the name people see."""

    title: str
    name: str

    def datasets(self) -> list[Dataset]:
        """The datasets whose data streams the pattern matches."""
        return [d for d in datasets().values() if fnmatchcase(d.data_stream("default"), self.title)]

    def field(self, name: str) -> FieldSpec | None:
        """What the view knows of a field; None if no dataset of it has the field."""
        found = [fields_of(dataset).get(name) for dataset in self.datasets()]
        return next((spec for spec in found if spec is not None), None)


class Metric(_Strict):
    """One number: how it is computed, from which field (a count needs none), and how it is shown."""

    aggregation: Literal["count", "sum", "average", "max", "min", "unique_count"] = "count"
    field: str = ""
    label: str = "Events"
    format: Literal["number", "bytes"] = "number"

    @model_validator(mode="after")
    def _field(self) -> Self:
        if (self.aggregation == "count") == bool(self.field):
            raise ValueError(f"{self.aggregation} needs {'no' if self.field else 'a'} field")
        return self


class Panel(_Strict):
    """One panel. `filter` holds fields with the one value each must have; `size` is the number of groups."""

    title: str
    kind: Literal["metric", "bar", "line", "pie", "donut", "table"]
    view: str
    metrics: tuple[Metric, ...] = (Metric(),)
    by: tuple[str, ...] = ()
    over_time: bool = False
    filter: dict[str, str] = Field(default_factory=dict)
    size: int = Field(default=10, ge=1, le=1000)
    width: int = Field(default=24, ge=4, le=COLUMNS)
    height: int = Field(default=12, ge=4)

    @model_validator(mode="after")
    def _shape(self) -> Self:
        most = {"metric": 0, "table": 4, "pie": 3, "donut": 3}.get(self.kind, 1 if self.over_time else 2)
        least = 0 if self.kind == "metric" or self.over_time else 1
        if not least <= len(self.by) <= most:
            raise ValueError(f"{self.title}: by: a {self.kind} has {least} to {most} fields here")
        if self.over_time and self.kind not in ("bar", "line"):
            raise ValueError(f"{self.title}: over_time: bar and line only")
        if len(self.metrics) > 1 and self.kind != "table":
            raise ValueError(f"{self.title}: metrics: only a table has several")
        return self

    def fields(self) -> list[str]:
        """Every field the panel groups or computes by."""
        return [*self.by, *(metric.field for metric in self.metrics if metric.field), *self.filter]


class Period(_Strict):
    """The time a dashboard opens with."""

    start: str = Field(alias="from")
    end: str = Field(alias="to")


class Dashboard(_Strict):
    """One dashboard."""

    title: str
    description: str
    time: Period
    panels: tuple[Panel, ...]


@cache
def data_views() -> dict[str, DataView]:
    """The data views by the name panels call them."""
    return {name: _checked("data_views", DataView, value) for name, value in _read("data_views").items()}


@cache
def dashboards() -> dict[str, Dashboard]:
    """The dashboards by the name of their file; raises SchemaError where a panel asks for what is not there."""
    folder = resources.files("schemas").joinpath("panels")
    names = sorted(
        item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml")
    )
    found = {name: _checked(name, Dashboard, _read(name)) for name in names if name != "data_views"}
    for name, dashboard in found.items():
        for panel in dashboard.panels:
            problem = _problem(panel)
            if problem:
                raise SchemaError(f"{name}.yaml: {panel.title}: {problem}")
    return found


def search(panel: Panel) -> dict[str, Any]:
    """The body of a search that asks for what the panel shows; the index is its data view's title."""
    terms = [{"term": {name: value}} for name, value in panel.filter.items()]
    aggregations: dict[str, Any] = {
        f"metric{number}": {AGGREGATIONS[metric.aggregation]: {"field": metric.field}}
        for number, metric in enumerate(panel.metrics)
        if metric.field
    }
    groups: list[dict[str, Any]] = [{"terms": {"field": name, "size": panel.size}} for name in panel.by]
    if panel.over_time:
        time = {"field": "@timestamp", "fixed_interval": "1h", "min_doc_count": 1}
        groups.append({"date_histogram": time})
    for group in reversed(groups):
        aggregations = {"groups": {**group, **({"aggs": aggregations} if aggregations else {})}}
    body: dict[str, Any] = {"size": 0, "track_total_hits": True, "query": {"bool": {"filter": terms}}}
    return {**body, "aggs": aggregations} if aggregations else body


def kql(panel: Panel) -> str:
    """The panel's filter as Kibana's users write it."""
    return " and ".join(f'{name}: "{value}"' for name, value in panel.filter.items())


def _problem(panel: Panel) -> str:
    view = data_views().get(panel.view)
    if view is None:
        return f"view: no {panel.view} in data_views.yaml"
    for name in panel.fields():
        spec = view.field(name)
        if spec is None:
            return f"{name}: no dataset of {view.title} has it"
        if spec.type in NOT_AGGREGATABLE:
            return f"{name}: a {spec.type} cannot be grouped or filtered by"
    for metric in panel.metrics:
        spec = view.field(metric.field) if metric.field else None
        computed = metric.aggregation in ("sum", "average", "max", "min")
        timed = spec is not None and spec.type is FieldType.DATE and metric.aggregation in ("max", "min")
        if spec is not None and computed and not timed and spec.type not in NUMBERS:
            return f"{metric.field}: no {metric.aggregation} of a {spec.type}"
    return ""


def _read(name: str) -> dict[str, Any]:
    text = resources.files("schemas").joinpath("panels", f"{name}.yaml").read_text(encoding="utf-8")
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SchemaError(f"{name}.yaml: not YAML: {error}") from error
    if not isinstance(data, dict):
        raise SchemaError(f"{name}.yaml: a mapping of names to values belongs here")
    return data


def _checked(name: str, model: type[M], data: Any) -> M:
    try:
        return model.model_validate(data)
    except ValidationError as error:
        places = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise SchemaError(f"{name}.yaml: {places}") from error
