"""Writes, or compares, everything that is rendered from the datasets and panels."""

import json
from pathlib import Path
from typing import Any

from schemas.elasticsearch import Dialect, component_templates, index_templates
from schemas.jsonschema import json_schema
from schemas.kibana import ndjson
from schemas.model import datasets
from schemas.reference import fields_markdown, outcomes_markdown

ROOT = Path(__file__).resolve().parent
GENERATED = ROOT / "generated"
DOCS = ROOT.parent / "docs"


def render(*, check: bool = False) -> list[Path]:
    """Write the generated files whose content changed, and remove those nothing renders any more.

    Returns the files that were stale; with `check` they are only told, nothing is written. The field reference in
    docs/ is rendered where there is such a folder, that is in a checkout and not in an installation.
    """
    wanted = _wanted()
    stale = [path for path, text in wanted.items() if not path.is_file() or path.read_text("utf-8") != text]
    gone = [path for path in sorted(GENERATED.rglob("*")) if path.is_file() and path not in wanted]
    if not check:
        for path in stale:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(wanted[path], encoding="utf-8")
        for path in gone:
            path.unlink()
    return sorted([*stale, *gone])


def _wanted() -> dict[Path, str]:
    files = {
        GENERATED / "jsonschema" / f"{d.dataset}.json": _json(json_schema(d)) for d in datasets().values()
    }
    for dialect in Dialect:
        folder = GENERATED / "elasticsearch" / dialect.value
        for name, body in component_templates(dialect).items():
            files[folder / "component_template" / f"{name}.json"] = _json(body)
        for name, body in index_templates(dialect).items():
            files[folder / "index_template" / f"{name}.json"] = _json(body)
    files[GENERATED / "kibana" / "netflight.ndjson"] = ndjson()
    if DOCS.is_dir() and (ROOT.parent / "pyproject.toml").is_file():
        files[DOCS / "fields.md"] = fields_markdown()
        files[DOCS / "protocols" / "outcomes.md"] = outcomes_markdown()
    return files


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"
