"""Kibana's saved objects, as NDJSON for its import: data views, and dashboards of by-value Lens panels.

The shapes are those Kibana 8.14 to 9.x write themselves (model version 2 of a dashboard, `formBased` Lens state); a
later Kibana migrates them on import. Ids are functions of names: an import replaces what an earlier one made.
"""

import json
import uuid
from collections.abc import Iterator
from typing import Any

from schemas.dashboard import COLUMNS, Dashboard, DataView, Metric, Panel, dashboards, data_views, kql
from schemas.model import FieldType

# uuid5 of the URL namespace and the project's name: every id below hangs on it.
SPACE = uuid.uuid5(uuid.NAMESPACE_URL, "netflight:kibana")
CORE_VERSION = "8.8.0"
DASHBOARD_VERSION = "10.2.0"
DATA_VIEW_VERSION = "8.0.0"
EMPTY_SEARCH = '{"query":{"query":"","language":"kuery"},"filter":[]}'
VISUALIZATIONS = {
    "metric": "lnsMetric",
    "bar": "lnsXY",
    "line": "lnsXY",
    "pie": "lnsPie",
    "donut": "lnsPie",
    "table": "lnsDatatable",
}
OPTIONS = {
    "useMargins": True,
    "syncColors": False,
    "syncCursor": True,
    "syncTooltips": False,
    "hidePanelTitles": False,
}
DATA_TYPES = {
    FieldType.IP: "ip",
    FieldType.LONG: "number",
    FieldType.DOUBLE: "number",
    FieldType.BOOLEAN: "boolean",
    FieldType.DATE: "date",
}

Object = dict[str, Any]


def ndjson() -> str:
    """All saved objects, one a line, what is referred to first."""
    objects = [*(_data_view(name, view) for name, view in data_views().items()), *_dashboards()]
    return "".join(f"{_compact(item)}\n" for item in objects)


def data_view_id(name: str) -> str:
    """The id of the data view that panels call `name`."""
    return _id(f"data_view/{name}")


def _data_view(name: str, view: DataView) -> Object:
    return {
        "id": data_view_id(name),
        "type": "index-pattern",
        "attributes": {
            "title": view.title,
            "name": view.name,
            "timeFieldName": "@timestamp",
            "allowNoIndex": True,
            "fieldAttrs": "{}",
            "fieldFormatMap": _compact(_formats(view)),
            "fields": "[]",
            "runtimeFieldMap": "{}",
            "sourceFilters": "[]",
            "typeMeta": "{}",
        },
        "references": [],
        "managed": False,
        "coreMigrationVersion": CORE_VERSION,
        "typeMigrationVersion": DATA_VIEW_VERSION,
    }


def _formats(view: DataView) -> Object:
    """How the fields whose names tell their unit are shown."""
    duration = {"inputFormat": "nanoseconds", "outputFormat": "humanizePrecise", "outputPrecision": 3}
    formats: Object = {}
    if view.field("event.duration"):
        formats["event.duration"] = {"id": "duration", "params": duration}
    for name in ("network.bytes", "source.bytes", "destination.bytes", "http.response.body.bytes"):
        if view.field(name):
            formats[name] = {"id": "bytes"}
    return formats


def _dashboards() -> Iterator[Object]:
    for name, dashboard in dashboards().items():
        panels = [_panel(name, panel, *place) for panel, place in _placed(dashboard)]
        yield {
            "id": _id(f"dashboard/{name}"),
            "type": "dashboard",
            "attributes": {
                "title": dashboard.title,
                "description": dashboard.description,
                "timeRestore": True,
                "timeFrom": dashboard.time.start,
                "timeTo": dashboard.time.end,
                "kibanaSavedObjectMeta": {"searchSourceJSON": EMPTY_SEARCH},
                "optionsJSON": _compact(OPTIONS),
                "panelsJSON": _compact(panels),
                "version": 2,
            },
            "references": [_lifted(panel) for panel in panels],
            "managed": False,
            "coreMigrationVersion": CORE_VERSION,
            "typeMigrationVersion": DASHBOARD_VERSION,
        }


def _placed(dashboard: Dashboard) -> Iterator[tuple[Panel, tuple[int, int]]]:
    """Each panel with its column and row: left to right, a new row where it does not fit."""
    x = y = tallest = 0
    for panel in dashboard.panels:
        if x + panel.width > COLUMNS:
            x, y, tallest = 0, y + tallest, 0
        yield panel, (x, y)
        x, tallest = x + panel.width, max(tallest, panel.height)


def _panel(dashboard: str, panel: Panel, x: int, y: int) -> Object:
    index = _id(f"dashboard/{dashboard}/{panel.title}")
    layer = _id(f"dashboard/{dashboard}/{panel.title}/layer")
    attributes = {
        "title": panel.title,
        "description": "",
        "visualizationType": VISUALIZATIONS[panel.kind],
        "type": "lens",
        "references": [
            {
                "type": "index-pattern",
                "id": data_view_id(panel.view),
                "name": f"indexpattern-datasource-layer-{layer}",
            }
        ],
        "state": _state(panel, layer),
    }
    return {
        "type": "lens",
        "title": panel.title,
        "panelIndex": index,
        "gridData": {"x": x, "y": y, "w": panel.width, "h": panel.height, "i": index},
        "embeddableConfig": {"attributes": attributes, "enhancements": {}, "hidePanelTitles": False},
    }


def _lifted(panel: Object) -> Object:
    """The reference of a panel as its dashboard lists it."""
    reference = panel["embeddableConfig"]["attributes"]["references"][0]
    return {**reference, "name": f"{panel['panelIndex']}:{reference['name']}"}


def _state(panel: Panel, layer: str) -> Object:
    metrics = {_id(f"{layer}/metric/{number}"): metric for number, metric in enumerate(panel.metrics)}
    groups = {_id(f"{layer}/by/{name}"): name for name in panel.by}
    time = _id(f"{layer}/time") if panel.over_time else ""
    columns: Object = {key: _terms(panel, name, next(iter(metrics))) for key, name in groups.items()}
    if time:
        columns[time] = _time()
    columns |= {key: _metric(panel, metric) for key, metric in metrics.items()}
    return {
        "visualization": _visualization(panel, layer, list(groups), list(metrics), time),
        "query": {"query": kql(panel), "language": "kuery"},
        "filters": [],
        "datasourceStates": {
            "formBased": {
                "layers": {
                    layer: {
                        "columns": columns,
                        "columnOrder": list(columns),
                        "incompleteColumns": {},
                        "ignoreGlobalFilters": False,
                        "sampling": 1,
                    }
                }
            },
            "indexpattern": {"layers": {}},
            "textBased": {"layers": {}},
        },
        "internalReferences": [],
        "adHocDataViews": {},
    }


def _terms(panel: Panel, name: str, order_by: str) -> Object:
    return {
        "label": f"Top {panel.size} values of {name}",
        "dataType": _data_type(panel, name),
        "operationType": "terms",
        "scale": "ordinal",
        "sourceField": name,
        "isBucketed": True,
        "params": {
            "size": panel.size,
            "orderBy": {"type": "column", "columnId": order_by},
            "orderDirection": "desc",
            "otherBucket": panel.kind != "table",
            "missingBucket": False,
            "parentFormat": {"id": "terms"},
            "include": [],
            "exclude": [],
            "includeIsRegex": False,
            "excludeIsRegex": False,
        },
    }


def _time() -> Object:
    return {
        "label": "@timestamp",
        "dataType": "date",
        "operationType": "date_histogram",
        "sourceField": "@timestamp",
        "isBucketed": True,
        "scale": "interval",
        "params": {"interval": "auto", "includeEmptyRows": True, "dropPartials": False},
    }


def _metric(panel: Panel, metric: Metric) -> Object:
    kind = _data_type(panel, metric.field) if metric.aggregation in ("max", "min") else "number"
    column: Object = {
        "label": metric.label,
        "customLabel": True,
        "dataType": kind,
        "operationType": metric.aggregation,
        "isBucketed": False,
        "scale": "ratio",
        "sourceField": metric.field or "___records___",
        "params": {},
    }
    if metric.aggregation in ("count", "sum", "unique_count"):
        column["params"]["emptyAsNull"] = metric.aggregation != "count"
    if metric.format == "bytes":
        column["params"]["format"] = {"id": "bytes", "params": {"decimals": 1}}
    return column


def _data_type(panel: Panel, name: str) -> str:
    spec = data_views()[panel.view].field(name)
    return DATA_TYPES.get(spec.type, "string") if spec else "string"


def _visualization(panel: Panel, layer: str, groups: list[str], metrics: list[str], time: str) -> Object:
    if panel.kind == "metric":
        return {"layerId": layer, "layerType": "data", "metricAccessor": metrics[0]}
    if panel.kind == "table":
        columns = [{"columnId": key, "isTransposed": False} for key in [*groups, *metrics]]
        return {"layerId": layer, "layerType": "data", "columns": columns}
    if panel.kind in ("pie", "donut"):
        return {"shape": panel.kind, "layers": [_slices(layer, groups, metrics)]}
    return _xy(panel, layer, groups, metrics, time)


def _slices(layer: str, groups: list[str], metrics: list[str]) -> Object:
    return {
        "layerId": layer,
        "layerType": "data",
        "primaryGroups": groups,
        "metrics": metrics,
        "numberDisplay": "percent",
        "categoryDisplay": "default",
        "legendDisplay": "default",
        "nestedLegend": False,
    }


def _xy(panel: Panel, layer: str, groups: list[str], metrics: list[str], time: str) -> Object:
    along = time or groups[0]
    split = groups if time else groups[1:]
    series = "line" if panel.kind == "line" else "bar_stacked" if time or split else "bar_horizontal"
    sides = {"x": True, "yLeft": True, "yRight": True}
    data: Object = {
        "layerId": layer,
        "layerType": "data",
        "seriesType": series,
        "accessors": metrics,
        "xAccessor": along,
        "position": "top",
        "showGridlines": False,
    }
    if split:
        data["splitAccessor"] = split[0]
    return {
        "legend": {"isVisible": True, "position": "right"},
        "valueLabels": "hide",
        "fittingFunction": "None",
        "axisTitlesVisibilitySettings": {**sides, "x": False},
        "tickLabelsVisibilitySettings": sides,
        "gridlinesVisibilitySettings": sides,
        "labelsOrientation": {"x": 0, "yLeft": 0, "yRight": 0},
        "preferredSeriesType": series,
        "layers": [data],
    }


def _id(name: str) -> str:
    return str(uuid.uuid5(SPACE, name))


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
