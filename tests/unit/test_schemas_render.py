from pathlib import Path

import pytest

import schemas.render
from schemas.model import datasets
from schemas.reference import fields_markdown
from schemas.render import render


def test_generated_files_are_fresh() -> None:
    assert render(check=True) == [], "run ./netflight schemas render and commit what changed"


def test_a_changed_and_a_forgotten_file_are_told_and_repaired(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schemas.render, "GENERATED", tmp_path)
    monkeypatch.setattr(schemas.render, "DOCS", tmp_path / "no-docs-in-an-installation")
    assert render()
    assert render(check=True) == []
    changed = tmp_path / "kibana" / "netflight.ndjson"
    forgotten = tmp_path / "jsonschema" / "network_traffic.gone.json"
    changed.write_text("{}")
    forgotten.write_text("{}")
    assert render(check=True) == sorted([changed, forgotten])
    assert changed.read_text() == "{}"
    assert render() == sorted([changed, forgotten])
    assert not forgotten.exists()
    assert render() == []


def test_reference_names_every_field_of_every_dataset() -> None:
    text = fields_markdown()
    for dataset in datasets().values():
        assert f"## {dataset.dataset}\n" in text
        for field in dataset.fields:
            assert f"| `{field}` |" in text
