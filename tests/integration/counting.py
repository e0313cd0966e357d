"""What a statistic's declaration says, counted by Elasticsearch over the indexed events.

It shares nothing with streams/core: composite aggregations over windows, groups and, where single values count, the
values; only views are put together here.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import yaml

from schemas.model import datasets
from sinks.elasticsearch.client import Client

FOLDER = Path(__file__).resolve().parents[2] / "rules" / "statistics"
PAGE = 5000
OF_VALUES = {"distinct", "top", "entropy", "quantile"}

Bucket = dict[str, Any]
Group = tuple[Any, ...]
Windows = dict[int, dict[Group, dict[str, Any]]]
"""By the start of a window in milliseconds, then by group: the truth of each measure, by name.

That is a number or, of what an estimate is compared with, every value with the number of its events.
"""


def declarations() -> dict[str, dict[str, Any]]:
    """Every shipped declaration by its name, as written."""
    return {path.stem: yaml.safe_load(path.read_text()) for path in sorted(FOLDER.glob("*.yaml"))}


def exact_quantile(values: Counter[float], q: float) -> tuple[float, float]:
    """The two values that the q-quantile is between; the same one twice where it is a value."""
    ranked = sorted(values.elements())
    place = q * (len(ranked) - 1)
    return ranked[math.floor(place)], ranked[math.ceil(place)]


def exact_entropy(values: Counter[Any]) -> float:
    """Shannon's entropy of the values, in bits."""
    total = values.total()
    return -sum(n / total * math.log2(n / total) for n in values.values())


def search(client: Client, index: str, body: dict[str, Any]) -> dict[str, Any]:
    """The whole answer of a search: no shard left out."""
    answer = client.request("POST", f"/{index}/_search?allow_partial_search_results=false", body)
    assert answer.status == HTTPStatus.OK, answer.error()
    return answer.body


@dataclass(frozen=True)
class Counting:
    """A declaration over the events of a namespace; `default` is the length of windows where it names none."""

    client: Client
    namespace: str
    declared: dict[str, Any]
    default: float = 60.0

    @property
    def seconds(self) -> float:
        """The length of the windows."""
        window = self.declared.get("window", {"tumbling": self.default})
        assert list(window) == ["tumbling"], "windows of another kind need a comparison of their own"
        return float(window["tumbling"])

    @property
    def group_fields(self) -> dict[str, tuple[str, str | None]]:
        """By the name of each group's field: where it is read, and what stands there for nothing."""
        return {
            name: (spec, None) if isinstance(spec, str) else (spec["field"], spec.get("default"))
            for name, spec in self.declared["group_by"].items()
        }

    def windows(self) -> Windows:
        """All windows, with all of their groups."""
        found: Windows = defaultdict(lambda: defaultdict(dict))
        for name, measure in self.declared["measures"].items():
            for group, bucket, view in self._counted(measure):
                into = found[bucket["key"]["window"]][group]
                field = field_of(measure)
                if of_values(measure):
                    values = into.setdefault(name, Counter())
                    value = bucket["key"][view.get(field, field)]
                    values.update({} if value is None else {value: bucket["doc_count"]})
                else:
                    amount = bucket[view.get(field, field)]["value"] if field else bucket["doc_count"]
                    into[name] = into.get(name, 0) + round(amount)
        for groups in found.values():
            for measures in groups.values():
                self._compute(measures)
        return found

    def first_windows(self) -> dict[Group, int]:
        """The start of the window of each group's first event, by the least @timestamp."""
        length = round(self.seconds * 1000)
        aggregated = self._buckets(
            {}, {"first": {"min": {"field": "@timestamp"}}}, [f for f, _ in self.group_fields.values()]
        )
        found = {self._group(bucket, {}): int(bucket["first"]["value"]) for bucket in aggregated}
        return {group: first // length * length for group, first in found.items()}

    def _compute(self, measures: dict[str, Any]) -> None:
        """What follows from other measures and from the window's length."""
        for name, measure in self.declared["measures"].items():
            match measure:
                case {"rate": _}:
                    measures[name] /= self.seconds
                case {"ratio": [above, below]}:
                    measures[name] = measures[above] / measures[below] if measures[below] else 0.0

    def _counted(self, measure: Any) -> Iterator[tuple[Group, Bucket, dict[str, str]]]:
        """What a measure counts: group, bucket and view; views that end in the same group count once."""
        views = self.declared.get("views", [{}])
        fields = {view.get(name, field) for view in views for name, (field, _) in self.group_fields.items()}
        field = field_of(measure)
        read = {view.get(field, field) for view in views} if field else set()
        sums = {} if of_values(measure) else {name: {"sum": {"field": name}} for name in sorted(read)}
        time = {"field": "@timestamp", "fixed_interval": f"{round(self.seconds * 1000)}ms"}
        window = {"window": {"date_histogram": time}}
        for bucket in self._buckets(window, sums, sorted(fields | (read - set(sums)))):
            seen: set[Group] = set()
            for view in views:
                group = self._group(bucket, view)
                if None not in group and group not in seen:
                    seen.add(group)
                    yield group, bucket, view

    def _group(self, bucket: Bucket, view: dict[str, str]) -> Group:
        found = [
            (bucket["key"][view.get(name, field)], default)
            for name, (field, default) in self.group_fields.items()
        ]
        return tuple(default if value is None else value for value, default in found)

    def _buckets(
        self, window: dict[str, Any], metrics: dict[str, Any], fields: list[str]
    ) -> Iterator[Bucket]:
        """The buckets of a composite aggregation over windows and fields, with metrics of each, page by page."""
        dataset = datasets()[self.declared["dataset"]]
        sources = [{field: {"terms": {"field": field, "missing_bucket": True}}} for field in fields]
        composite = {"size": PAGE, "sources": [*sources, *([window] if window else [])]}
        filters = [_filter(name, value) for name, value in self.declared.get("where", {}).items()]
        body: dict[str, Any] = {
            "size": 0,
            "query": {"bool": {"filter": filters}},
            "aggs": {"groups": {"composite": composite, "aggs": metrics}},
        }
        while True:
            groups = search(self.client, dataset.data_stream(self.namespace), body)["aggregations"]["groups"]
            yield from groups["buckets"]
            if "after_key" not in groups:
                return
            composite["after"] = groups["after_key"]


def field_of(measure: Any) -> str:
    """The field that a measure reads, empty where it reads none."""
    match measure:
        case "count" | {"rate": "count"} | {"ratio": _}:
            return ""
        case {"sum": str(field)} | {"rate": str(field)}:
            return field
    assert of_values(measure), f"{measure}: needs its comparison here"
    return str(next(measure[kind] for kind in OF_VALUES if kind in measure))


def of_values(measure: Any) -> bool:
    """Whether the truth of a measure is every value with the number of its events."""
    return isinstance(measure, dict) and bool(OF_VALUES & set(measure))


def _filter(name: str, value: Any) -> dict[str, Any]:
    """A part of a Sigma selection as a filter of Elasticsearch."""
    field, _, modifier = name.partition("|")
    match modifier, value:
        case "exists", True:
            return {"exists": {"field": field}}
        case "", list():
            return {"terms": {field: value}}
        case "", str() | int() | bool():
            return {"term": {field: value}}
    raise AssertionError(f"where.{name}: needs its filter here")
