import json
import uuid
from typing import Any

import pytest

from schemas.dashboard import COLUMNS, Metric, Panel, dashboards, data_views, kql, search
from schemas.kibana import ndjson

OBJECTS = [json.loads(line) for line in ndjson().splitlines()]
BY_TYPE = {
    kind: [item for item in OBJECTS if item["type"] == kind] for kind in ("index-pattern", "dashboard")
}
PANELS = [
    panel for dashboard in BY_TYPE["dashboard"] for panel in json.loads(dashboard["attributes"]["panelsJSON"])
]


def layer_of(panel: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    state = panel["embeddableConfig"]["attributes"]["state"]
    [(key, layer)] = state["datasourceStates"]["formBased"]["layers"].items()
    return key, layer


def test_ids_are_the_same_every_time_and_told_once() -> None:
    assert ndjson() == ndjson()
    ids = [item["id"] for item in OBJECTS]
    assert len(set(ids)) == len(ids)
    assert all(uuid.UUID(item) for item in ids)


def test_every_data_view_has_datasets_and_every_panel_a_place_in_it() -> None:
    for view in data_views().values():
        assert view.datasets(), view.title
    assert len(BY_TYPE["dashboard"]) == len(dashboards()) >= 1


def test_references_lead_to_data_views_and_are_named_as_kibana_resolves_them() -> None:
    views = {item["id"] for item in BY_TYPE["index-pattern"]}
    for dashboard in BY_TYPE["dashboard"]:
        panels = json.loads(dashboard["attributes"]["panelsJSON"])
        listed = {(item["name"], item["id"]) for item in dashboard["references"]}
        assert {item["id"] for item in dashboard["references"]} <= views
        wanted = set()
        for panel in panels:
            [reference] = panel["embeddableConfig"]["attributes"]["references"]
            assert reference["name"] == f"indexpattern-datasource-layer-{layer_of(panel)[0]}"
            wanted.add((f"{panel['panelIndex']}:{reference['name']}", reference["id"]))
        assert listed == wanted


def test_panels_lie_in_the_grid_without_overlap() -> None:
    for dashboard in BY_TYPE["dashboard"]:
        taken = set()
        for panel in json.loads(dashboard["attributes"]["panelsJSON"]):
            grid = panel["gridData"]
            assert grid["x"] + grid["w"] <= COLUMNS
            cells = {
                (x, y)
                for x in range(grid["x"], grid["x"] + grid["w"])
                for y in range(grid["y"], grid["y"] + grid["h"])
            }
            assert not cells & taken
            taken |= cells


@pytest.mark.parametrize("panel", PANELS, ids=[panel["title"] for panel in PANELS])
def test_what_a_panel_draws_are_columns_of_its_layer(panel: dict[str, Any]) -> None:
    key, layer = layer_of(panel)
    columns = layer["columns"]
    assert layer["columnOrder"] == list(columns)
    state = panel["embeddableConfig"]["attributes"]["state"]["visualization"]
    drawn = []
    for part in state.get("layers", [state]):
        assert part["layerId"] == key
        assert part["layerType"] == "data"
        drawn += part.get("accessors", []) + part.get("metrics", []) + part.get("primaryGroups", [])
        drawn += [part[name] for name in ("xAccessor", "splitAccessor", "metricAccessor") if name in part]
        drawn += [item["columnId"] for item in part.get("columns", [])]
    assert sorted(drawn) == sorted(columns)
    buckets = [item["isBucketed"] for item in columns.values()]
    assert buckets == sorted(buckets, reverse=True), "Lens wants groups before metrics"
    for column in columns.values():
        if column["operationType"] == "terms":
            assert column["params"]["orderBy"]["columnId"] in columns


def test_filter_is_the_same_in_kibana_and_in_the_query() -> None:
    panel = Panel(title="x", kind="metric", view="traffic", filter={"event.dataset": "network_traffic.dns"})
    assert kql(panel) == 'event.dataset: "network_traffic.dns"'
    assert search(panel)["query"]["bool"]["filter"] == [{"term": {"event.dataset": "network_traffic.dns"}}]


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "metric", "by": ["source.ip"]},
        {"kind": "table"},
        {"kind": "pie", "over_time": True, "by": ["source.ip"]},
        {"kind": "bar", "over_time": True, "metrics": [{}, {}]},
    ],
)
def test_panel_of_a_shape_no_chart_has_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="x: "):
        Panel(title="x", view="traffic", **wrong)


def test_metric_needs_a_field_unless_it_counts() -> None:
    with pytest.raises(ValueError, match="needs a field"):
        Metric(aggregation="sum")
    with pytest.raises(ValueError, match="needs no field"):
        Metric(field="source.bytes")
