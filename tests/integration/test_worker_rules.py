"""The matcher against Elasticsearch: pySigma's Lucene queries for the shipped rules find the same events."""

import itertools
from typing import Any

import orjson
import pytest
from elasticsearch import Elasticsearch
from sigma.backends.elasticsearch.elasticsearch_lucene import LuceneBackend
from sigma.collection import SigmaCollection
from sigma.exceptions import SigmaError

from schemas.elasticsearch import Dialect, mappings
from schemas.events import Event, get
from schemas.model import datasets, fields_of
from streams.core.sigma import rule_files
from streams.rules_tools import check, shipped
from tests.events import sample
from tests.unit.test_streams_rules import CASES

INDEX = "sigma-differential"
# Lucene compares no two fields.
NOT_IN_LUCENE = {"command_and_control_tls_self_signed_certificate"}


def lowered(node: Any) -> Any:
    """A mapping whose keywords ignore case, as Sigma's strings do; wildcard fields are keywords here."""
    if isinstance(node, dict):
        if node.get("type") == "keyword":
            return {"type": "keyword", "normalizer": "lowercase"}
        return {name: lowered(child) for name, child in node.items()}
    return node


def in_lucene(query: str) -> str:
    """The backend's query with what Lucene's regular expressions do not know taken out.

    They are always anchored, and the index ignores case.
    """
    return query.replace("(?i)", "").replace("/^", "/").replace("$/", "/")


def events() -> list[Event]:
    """For each rule its case, its neighbour, and both with one field of the other rules' cases of the dataset."""
    found = []
    for dataset, fields, change in CASES.values():
        others = [case[1] for case in CASES.values() if case[0] == dataset]
        variants = [fields, {**fields, **change}, *({**fields, **other} for other in others)]
        variants += [{**change, name: other[name]} for other in others for name in other]
        found += [(dataset, variant) for variant in variants]
    return [sample(dataset, ordinal=number, **fields) for number, (dataset, fields) in enumerate(found)]


@pytest.fixture
def index(elasticsearch_url: str) -> Any:
    fields = dict(
        itertools.chain.from_iterable(fields_of(datasets()[case[0]]).items() for case in CASES.values())
    )
    client = Elasticsearch(elasticsearch_url, request_timeout=30)
    client.indices.create(index=INDEX, mappings=lowered(mappings(fields, Dialect.MINIMAL)))
    lines = [line for event in events() for line in ({"index": {"_id": get(event, "event.id")}}, event)]
    answer = client.bulk(
        index=INDEX, operations=[orjson.loads(orjson.dumps(line)) for line in lines], refresh=True
    )
    assert not answer["errors"]
    yield client
    client.indices.delete(index=INDEX)
    client.close()


def test_lucene_queries_of_the_shipped_rules_find_the_same_events(index: Elasticsearch) -> None:
    sampled = events()
    rules = {file.stem: rule for file in rule_files([shipped()]) for rule in check([file]).rules}
    skipped, hits = set(), 0
    for file in rule_files([shipped()]):
        rule = rules[file.stem]
        try:
            (query,) = LuceneBackend().convert(SigmaCollection.from_yaml(file.read_text()))
        except (SigmaError, NotImplementedError):
            skipped.add(file.stem)
            continue
        searched = index.search(
            index=INDEX,
            size=10_000,
            query={
                "bool": {
                    "must": {"query_string": {"query": in_lucene(query), "analyze_wildcard": True}},
                    "filter": {"terms": {"event.dataset": list(rule.datasets)}},
                }
            },
            source=False,
        )
        theirs = {hit["_id"] for hit in searched["hits"]["hits"]}
        ours = {
            get(e, "event.id")
            for e in sampled
            if get(e, "event.dataset") in rule.datasets and rule.matches(e)
        }
        assert theirs == ours, f"{file.stem}: {query}"
        hits += len(ours)
    assert skipped == NOT_IN_LUCENE
    assert hits > len(CASES)
