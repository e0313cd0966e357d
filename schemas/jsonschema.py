"""Dataset -> JSON Schema (draft 2020-12) of its events, and the validators made from it."""

from collections.abc import Callable
from functools import cache
from ipaddress import ip_address
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import best_match

from schemas.errors import SchemaError
from schemas.model import Dataset, FieldSpec, FieldType, datasets, event_fields
from schemas.tree import Node, tree

ALWAYS = (
    "@timestamp",
    "data_stream.dataset",
    "data_stream.namespace",
    "data_stream.type",
    "ecs.version",
    "event.action",
    "event.category",
    "event.created",
    "event.dataset",
    "event.id",
    "event.kind",
    "event.type",
    "observer.name",
)
WINDOW = (
    "netflight.statistic",
    *(f"netflight.window.{name}" for name in ("start", "end", "seconds", "revision")),
)
REQUIRED = {
    "derived": ALWAYS,
    "packet": (*ALWAYS, "event.duration", "event.end", "event.start"),
    "statistic": (*ALWAYS, *WINDOW),
}
DATE_PATTERN = r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,9})?Z$"
ID_PATTERN = "^[a-z2-7]{26}$"
NAMESPACE_PATTERN = "^[a-z0-9][a-z0-9_]{0,62}$"
LONG_MAX = 2**63 - 1

Schema = dict[str, Any]

_TYPES: dict[FieldType, Schema] = {
    FieldType.KEYWORD: {"type": "string"},
    FieldType.WILDCARD: {"type": "string"},
    FieldType.TEXT: {"type": "string"},
    FieldType.IP: {"type": "string", "format": "ip"},
    FieldType.LONG: {"type": "integer", "minimum": -LONG_MAX - 1, "maximum": LONG_MAX},
    FieldType.DOUBLE: {"type": "number"},
    FieldType.BOOLEAN: {"type": "boolean"},
    FieldType.DATE: {"type": "string", "pattern": DATE_PATTERN},
    FieldType.GEO_POINT: {
        "type": "object",
        "additionalProperties": False,
        "required": ["lat", "lon"],
        "properties": {
            "lat": {"type": "number", "minimum": -90, "maximum": 90},
            "lon": {"type": "number", "minimum": -180, "maximum": 180},
        },
    },
}


def json_schema(dataset: Dataset) -> Schema:
    """The JSON Schema of one event of the dataset: no field but ours, at every level.

    `format: ip` is an IPv4 or IPv6 address; `validator` checks it.
    """
    root = _object(tree(event_fields(dataset)), [name.split(".") for name in REQUIRED[dataset.envelope]])
    for name, rule in _fixed(dataset).items():
        _leaf(root, name).update(rule)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"netflight:schemas/{dataset.dataset}",
        "title": dataset.title,
        "description": dataset.description,
        **root,
    }


@cache
def validator(full_name: str) -> Callable[[object], None]:
    """A function that raises SchemaError with the place, if an event of `event.dataset: full_name` is wrong.

    Raises SchemaError at once for a dataset that is not there.
    """
    checked = _validator(full_name)

    def validate(event: object) -> None:
        error = best_match(checked.iter_errors(event))
        if error is not None:
            place = ".".join(str(part) for part in error.absolute_path) or "(event)"
            raise SchemaError(f"{full_name}: {place}: {error.message[:300]}")

    return validate


@cache
def _validator(full_name: str) -> Draft202012Validator:
    for dataset in datasets().values():
        if dataset.dataset == full_name:
            schema = json_schema(dataset)
            Draft202012Validator.check_schema(schema)
            return Draft202012Validator(schema, format_checker=_formats())
    raise SchemaError(f"{full_name}: no such dataset")


def _formats() -> FormatChecker:
    checker = FormatChecker(formats=())

    @checker.checks("ip", raises=ValueError)
    def _is_ip(value: object) -> bool:
        # An IPv6 zone ("fe80::1%eth0") is an address to Python and none to Elasticsearch.
        return not isinstance(value, str) or ("%" not in value and bool(ip_address(value)))

    return checker


def _object(node: Node, required: list[list[str]]) -> Schema:
    names = sorted({path[0] for path in required})
    schema: Schema = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            name: _value(child, [path[1:] for path in required if path[0] == name and len(path) > 1])
            for name, child in node.children.items()
        },
    }
    return {**schema, "required": names} if names else schema


def _value(node: Node, required: list[list[str]]) -> Schema:
    value = _object(node, required) if node.children else _scalar(node.spec)
    schema: Schema = {"type": "array", "items": value} if node.array else value
    return {"description": node.spec.description, **schema} if node.spec else schema


def _scalar(spec: FieldSpec | None) -> Schema:
    if spec is None or spec.type is FieldType.OBJECT:
        raise SchemaError("an object needs its fields named, as dns.answers.name under dns.answers")
    return dict(_TYPES[spec.type])


def _fixed(dataset: Dataset) -> dict[str, Schema]:
    """What is the same in every event of the dataset."""
    return {
        "data_stream.dataset": {"const": dataset.dataset},
        "data_stream.namespace": {"pattern": NAMESPACE_PATTERN},
        "data_stream.type": {"const": dataset.stream},
        "event.dataset": {"const": dataset.dataset},
        "event.id": {"pattern": ID_PATTERN},
        "event.kind": {"const": dataset.event.kind},
    }


def _leaf(schema: Schema, name: str) -> Schema:
    for part in name.split("."):
        schema = schema["properties"][part]
    return schema
