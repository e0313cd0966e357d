"""Sample events: every field of a dataset with its example, and an id and time of their own."""

from typing import Any

from schemas.events import Event, event_id, put, timestamp
from schemas.model import Dataset, FieldType, datasets, fields_of

START_NS = 1_790_000_000_000_000_000


def sample(name: str, namespace: str = "default", ordinal: int = 0, **fields: Any) -> Event:
    """The `ordinal`-th sample event of dataset `name`; `fields` are set by dotted name, or left out where None."""
    dataset = datasets()[name]
    time_ns = START_NS + ordinal * 1_000_000_000
    values = _examples(dataset) | _identity(dataset, namespace, time_ns, ordinal) | fields
    event: Event = {}
    for field, value in values.items():
        if value is not None:
            put(event, field, value)
    return event


def _examples(dataset: Dataset) -> dict[str, Any]:
    specs = fields_of(dataset)
    objects = [f"{name}." for name, spec in specs.items() if spec.type is FieldType.OBJECT]
    return {
        name: spec.example
        for name, spec in specs.items()
        if spec.example is not None and not name.startswith(tuple(objects))
    }


def _identity(dataset: Dataset, namespace: str, time_ns: int, ordinal: int) -> dict[str, Any]:
    return {
        "@timestamp": timestamp(time_ns),
        "event.id": event_id(dataset.dataset, namespace, time_ns, ordinal),
        "event.kind": dataset.event.kind,
        "event.category": list(dataset.event.category),
        "event.type": list(dataset.event.type),
        "event.action": dataset.event.action,
        "event.module": dataset.dataset.partition(".")[0],
        "event.dataset": dataset.dataset,
        "data_stream.type": dataset.stream,
        "data_stream.dataset": dataset.dataset,
        "data_stream.namespace": namespace,
    }
