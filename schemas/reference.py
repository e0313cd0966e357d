"""docs/fields.md: every field of every dataset, with its type, an example and where it comes from."""

import json

from schemas.model import Dataset, Evidence, FieldSpec, datasets, envelope

HEAD = """# Fields

Rendered from schemas/ by `./netflight schemas render`; do not edit. Every event is one nested JSON object; the names
here are its paths. Types are Elasticsearch's. `[]` marks a list.

"""
SHARED = """
## Every event

Fields of all datasets.

"""
OUTCOMES = """# Outcomes

Rendered from schemas/ by `./netflight schemas render`; do not edit. `event.outcome` is `success` or `failure` only
where something on the wire shows it; else it is `unknown`. That nobody answered is no failure, nor is what every client
answers with another request, or what ends a listing. An error that a server names is a failure also where it is
common (404, NXDOMAIN). Datasets that are not here say nothing of an outcome. Each failure has at least one of the
fields of the last column.

| dataset | success | failure | unknown | evidence of a failure |
|---|---|---|---|---|
"""
PACKET = """
## Events of decoded packets

Fields that every dataset of packets can carry besides its own, and alerts as evidence.

"""
STATISTIC = """
## Results of statistics

Fields that every dataset of a statistic can carry besides its own ([statistics.md](statistics.md)).

"""


def fields_markdown() -> str:
    """The field reference as Markdown: what is shared first, then a section per dataset in the order of names."""
    shared = envelope()
    index = "".join(f"- [{d.dataset}](#{_anchor(d)}): {d.description}\n" for d in datasets().values())
    parts = [HEAD, index, SHARED, _table(shared.derived), PACKET, _table(shared.packet)]
    parts += [STATISTIC, _table(shared.statistic)]
    parts.extend(_section(dataset) for dataset in datasets().values())
    return "".join(parts)


def outcomes_markdown() -> str:
    """What success, failure and unknown mean for each dataset that says so, and which fields show a failure."""
    rows = [
        f"| {d.name} | {d.outcome.success} | {d.outcome.failure} | {d.outcome.unknown} "
        f"| {', '.join(map(_evidence, d.outcome.evidence))} |\n"
        for d in datasets().values()
        if d.outcome is not None
    ]
    return OUTCOMES + "".join(rows)


def _evidence(of: Evidence) -> str:
    said = f"`{of.field}`"
    if of.values:
        return f"{said} {', '.join(of.values)}"
    if of.but:
        return f"{said} but {', '.join(of.but)}"
    return said if of.least is None else f"{said} from {of.least}"


def _section(dataset: Dataset) -> str:
    facts = [
        f"data streams `{dataset.data_stream('<namespace>')}`",
        f"topic `netflight.<namespace>.{dataset.topic}`",
        f"event.kind `{dataset.event.kind}`",
        f"event.category `{', '.join(dataset.event.category)}`",
        f"event.type `{', '.join(dataset.event.type)}`",
        f"event.action `{dataset.event.action}`",
    ]
    head = f"\n## {dataset.dataset}\n\n{dataset.title}. {dataset.description}\n\n{'; '.join(facts)}.\n\n"
    if dataset.includes_all:
        head += "Carries the fields of the events it was made from, too.\n\n"
    return head + _table(dataset.fields)


def _table(fields: dict[str, FieldSpec]) -> str:
    rows = "".join(_row(name, spec) for name, spec in sorted(fields.items()))
    return f"| field | type | what it is | example | from |\n|---|---|---|---|---|\n{rows}"


def _row(name: str, spec: FieldSpec) -> str:
    example = "" if spec.example is None else f"`{_cell(json.dumps(spec.example, ensure_ascii=False))}`"
    origin = ", ".join(f"`{field}`" for field in spec.tshark)
    brackets = "[]" if spec.array else ""
    return f"| `{name}` | {spec.type}{brackets} | {_cell(spec.description)} | {example} | {origin} |\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _anchor(dataset: Dataset) -> str:
    return dataset.dataset.replace(".", "")
