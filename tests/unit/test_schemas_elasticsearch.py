import json
from collections import Counter
from typing import Any

import pytest

from schemas.elasticsearch import (
    IGNORE_ABOVE,
    PRIORITY,
    Dialect,
    component_templates,
    index_template_name,
    index_templates,
)
from schemas.errors import SchemaError
from schemas.model import FieldSpec, FieldType, datasets, fields_of
from schemas.tree import tree

DIALECTS = list(Dialect)
FULL_ONLY = {"wildcard", "constant_keyword", "match_only_text"}


def composed(name: str, dialect: Dialect) -> dict[str, Any]:
    """Every mapped field of a dataset by dotted name, as the server composes its template."""
    body = index_templates(dialect)[index_template_name(datasets()[name])]
    components = component_templates(dialect)
    found: dict[str, Any] = {}
    for part in body["composed_of"]:
        if part in components:
            found |= leaves(components[part]["template"].get("mappings", {}))
    return found | leaves(body["template"]["mappings"])


def leaves(mapping: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in mapping.get("properties", {}).items():
        if "properties" in value:
            found |= leaves(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("name", sorted(datasets()))
def test_every_field_of_a_dataset_is_mapped(name: str, dialect: Dialect) -> None:
    fields = {
        field for field, spec in fields_of(datasets()[name]).items() if spec.type is not FieldType.OBJECT
    }
    assert set(composed(name, dialect)) == fields


@pytest.mark.parametrize("dialect", [Dialect.MINIMAL, Dialect.OPENSEARCH])
def test_only_the_full_dialect_uses_types_the_others_lack(dialect: Dialect) -> None:
    text = json.dumps([component_templates(dialect), index_templates(dialect)])
    lacking = FULL_ONLY if dialect is Dialect.MINIMAL else FULL_ONLY - {"match_only_text"}
    assert not [name for name in lacking if f'"{name}"' in text]
    assert "lifecycle" not in text


def test_full_dialect_keeps_its_own_types() -> None:
    http = composed("http", Dialect.ELASTICSEARCH)
    assert http["url.path"]["type"] == "wildcard"
    assert http["data_stream.dataset"]["type"] == "constant_keyword"
    plain = composed("http", Dialect.MINIMAL)["url.path"]
    assert (plain["type"], plain["ignore_above"]) == ("keyword", IGNORE_ABOVE)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_long_values_cannot_make_a_document_unindexable(dialect: Dialect) -> None:
    for name in datasets():
        for field, mapping in composed(name, dialect).items():
            if mapping["type"] == "keyword":
                assert mapping["ignore_above"] * 4 <= 32_766, field


@pytest.mark.parametrize("dialect", DIALECTS)
def test_templates_are_of_data_streams_and_win_over_the_built_in_ones(dialect: Dialect) -> None:
    for dataset in datasets().values():
        body = index_templates(dialect)[index_template_name(dataset)]
        assert body["data_stream"] == {}
        assert body["priority"] == PRIORITY > 200
        assert body["index_patterns"] == [dataset.data_stream("default")]
        assert body["template"]["mappings"]["dynamic"] is False
        limit = body["template"]["settings"]["index"]["mapping"]["total_fields"]["limit"]
        assert len(fields_of(dataset)) < limit


def test_templates_take_in_the_namespaces_they_are_made_for_and_no_other() -> None:
    one, two = (index_templates(Dialect.MINIMAL, names) for names in (["b"], ["b", "a", "b"]))
    for name, body in two.items():
        stream = one[name]["index_patterns"][0].removesuffix("-b")
        assert body["index_patterns"] == [f"{stream}-a", f"{stream}-b"]
        assert body["_meta"] == one[name]["_meta"], "another namespace is no other template"


@pytest.mark.parametrize("dialect", DIALECTS)
def test_an_alias_names_a_field_that_is_there_and_no_alias_itself(dialect: Dialect) -> None:
    count = 0
    for name in datasets():
        mapped = composed(name, dialect)
        for field, mapping in mapped.items():
            if mapping["type"] == "alias":
                count += 1
                assert mapped[mapping["path"]]["type"] not in ("alias", "object"), field
    assert count > 100


@pytest.mark.parametrize(
    ("dialect", "kind"),
    [
        (Dialect.ELASTICSEARCH, "match_only_text"),
        (Dialect.MINIMAL, "text"),
        (Dialect.OPENSEARCH, "match_only_text"),
    ],
)
def test_long_texts_are_searched_by_their_words(dialect: Dialect, kind: str) -> None:
    http = composed("http", dialect)
    assert http["message"] == {"type": kind}
    assert http["url.full"]["fields"] == {"text": {"type": kind}}
    assert http["user_agent.original"]["fields"] == {"text": {"type": kind}}


def test_no_two_templates_match_the_same_data_stream() -> None:
    patterns = [body["index_patterns"][0] for body in index_templates(Dialect.ELASTICSEARCH).values()]
    assert max(Counter(patterns).values()) == 1


def test_a_field_has_one_type_in_all_datasets() -> None:
    # Two types under one name break the data views of Kibana; to it, wildcard is keyword (one family).
    types: dict[str, set[FieldType]] = {}
    families: dict[str, set[FieldType]] = {}
    for dataset in datasets().values():
        known = fields_of(dataset)
        for field, spec in known.items():
            kind = known[spec.path].type if spec.path else spec.type
            family = FieldType.KEYWORD if kind is FieldType.WILDCARD else kind
            families.setdefault(field, set()).add(family)
            if not spec.path:
                types.setdefault(field, set()).add(kind)
    assert {field: found for field, found in types.items() if len(found) > 1} == {}
    assert {field: found for field, found in families.items() if len(found) > 1} == {}


def test_fingerprint_follows_the_parts_a_template_is_composed_of() -> None:
    minimal, full = index_templates(Dialect.MINIMAL), index_templates(Dialect.ELASTICSEARCH)
    name = index_template_name(datasets()["dns"])
    assert minimal == index_templates(Dialect.MINIMAL)
    assert minimal[name]["_meta"]["fingerprint"] != full[name]["_meta"]["fingerprint"]


def test_a_name_that_is_a_value_and_an_object_is_refused() -> None:
    spec = FieldSpec(type=FieldType.KEYWORD, description="")
    with pytest.raises(SchemaError, match=r"a\.b"):
        tree({"a": spec, "a.b": spec})
