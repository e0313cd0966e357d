"""docs/fields.md: every field of every dataset, with its type, an example and where it comes from."""

import json

from schemas.model import Dataset, FieldSpec, datasets, envelope

HEAD = """# Fields

Rendered from schemas/ by `./netflight schemas render`; do not edit. Every event is one nested JSON object; the names
here are its paths. Types are Elasticsearch's. `[]` marks a list.

"""
SHARED = """
## Every event

Fields of all datasets.

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
