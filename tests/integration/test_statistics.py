"""Every shipped statistic against Elasticsearch's aggregations over the same events."""

import subprocess
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cockpit.pipeline import settle
from cockpit.stack import Stack
from schemas.events import Event, get, parse_timestamp
from schemas.model import datasets, fields_of
from sinks.elasticsearch.client import Client
from streams.core.measures import MeasureSpec, compile_measures
from tests.integration.counting import (
    Counting,
    Group,
    Windows,
    declarations,
    exact_entropy,
    exact_quantile,
    search,
)
from tests.integration.playing import LIMIT, QUIET, parts, play, play_settings

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
DECLARED = declarations()
# In the order of their times, over seven hours.
PLAYED = (
    "dns",
    "web",
    "ssh",
    "port_scan",
    "beacon",
    "dns_tunnel",
    "ssh_bruteforce",
    "office_day",
    "http2",
    "http_logins",
)
MILLISECOND = 1_000_000


@pytest.fixture(scope="module")
def played(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Client, str]]:
    """A namespace in which captures have been played, one of them with packets missing."""
    settings = play_settings(stack, "statistics", local_networks=["192.0.2.0/24"])
    lossy = tmp_path_factory.mktemp("lossy") / "files.pcap"
    whole = SAMPLES / "files" / "capture.pcap"
    subprocess.run(["editcap", whole, lossy, "35", "167", "200-202", "245"], check=True, capture_output=True)
    captures = [path for name in PLAYED for path in (SAMPLES / name).glob("capture.pcap*")]
    with parts(stack, settings):
        outcome = play(settings, [*captures, lossy])
        assert outcome.errors == []
        settle(stack, settings, QUIET, LIMIT)
    client = Client(settings.elasticsearch)
    names = f"logs-*-{settings.namespace},metrics-*-{settings.namespace}"
    assert client.request("POST", f"/{names}/_refresh").body["_shards"]["failed"] == 0
    yield client, settings.namespace
    client.close()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", DECLARED)
def test_a_statistic_is_what_elasticsearch_counts(name: str, played: tuple[Client, str]) -> None:
    declared = DECLARED[name]
    counting = Counting(*played, declared)
    wanted = counting.windows()
    if "first_seen" in declared:
        first = counting.first_windows()
        wanted = {
            start: {group: measures for group, measures in groups.items() if first[group] == start}
            for start, groups in wanted.items()
        }
    assert any(wanted.values()), "nothing to compare: the captures played have no such events"
    results = latest(*played, name)
    if "top" in declared:
        wanted = keep_heaviest(declared, wanted, results)
    compare(declared, counting.seconds, wanted, results)


def latest(client: Client, namespace: str, name: str) -> dict[int, dict[Group, Event]]:
    """The results of a statistic by window and group: those of the window's last revision that were not taken back."""
    emits = datasets()[DECLARED[name]["emits"]]
    body = {"size": 10_000, "track_total_hits": True, "query": {"term": {"netflight.statistic": name}}}
    hits = search(client, emits.data_stream(namespace), body)["hits"]
    assert hits["total"]["value"] == len(hits["hits"])
    revisions: dict[int, dict[int, list[Event]]] = defaultdict(lambda: defaultdict(list))
    for event in (hit["_source"] for hit in hits["hits"]):
        start = parse_timestamp(get(event, "netflight.window.start")) // MILLISECOND
        revisions[start][get(event, "netflight.window.revision")].append(event)
    found: dict[int, dict[Group, Event]] = {}
    for start, numbered in revisions.items():
        events = [event for event in numbered[max(numbered)] if not get(event, "netflight.window.retracted")]
        found[start] = {group_of(event, name): event for event in events}
        assert len(found[start]) == len(events), "a group has two results in one revision"
    return {start: groups for start, groups in found.items() if groups}


def group_of(event: Event, name: str) -> Group:
    """The group of a result."""
    fields = fields_of(datasets()[DECLARED[name]["emits"]])
    values = [(get(event, field), fields[field].array) for field in DECLARED[name]["group_by"]]
    return tuple(value[0] if array else value for value, array in values)


def keep_heaviest(
    declared: dict[str, Any], wanted: Windows, results: dict[int, dict[Group, Event]]
) -> Windows:
    """Of each window only the groups that can be in the results: of equal ones at the limit those that are."""
    by, limit, rank = (declared["top"][part] for part in ("by", "limit", "rank"))
    kept: Windows = {}
    for start, groups in wanted.items():
        weights = sorted((measures[by] for measures in groups.values()), reverse=True)[:limit]
        got = results.get(start, {})
        ranked = sorted(got.values(), key=lambda event: int(get(event, rank)))
        assert [get(event, rank) for event in ranked] == list(range(1, len(weights) + 1))
        assert [get(event, by) for event in ranked] == weights
        kept[start] = {group: groups[group] for group in got}
    return kept


def compare(
    declared: dict[str, Any], seconds: float, wanted: Windows, results: dict[int, dict[Group, Event]]
) -> None:
    """Hold every result against what Elasticsearch counted: exactly, or within the measure's error."""
    specs = {name: MeasureSpec.model_validate(measure) for name, measure in declared["measures"].items()}
    errors = compile_measures(specs).errors
    assert results.keys() == {start for start, groups in wanted.items() if groups}
    for start, groups in wanted.items():
        got = results.get(start, {})
        assert got.keys() == groups.keys()
        for group, measures in groups.items():
            event = got[group]
            assert get(event, "netflight.window.seconds") == seconds
            for name, truth in measures.items():
                place = f"{start} {group} {name}"
                check(specs[name], get(event, name), truth, errors[name], place)


def check(spec: MeasureSpec, value: Any, truth: Any, error: float | None, place: str) -> None:
    """Hold one measure against its truth."""
    if not isinstance(truth, Counter):
        assert value == (pytest.approx(truth, rel=1e-12) if spec.kind in {"rate", "ratio"} else truth), place
    elif spec.kind == "distinct":
        assert value == pytest.approx(len(truth), rel=error), place
    elif not truth:
        assert value is None, place
    elif spec.kind == "quantile":
        low, high = exact_quantile(truth, spec.q or 0.0)
        assert low * (1 - (error or 0.0)) <= value <= high * (1 + (error or 0.0)), place
    elif spec.kind == "entropy":
        assert value == pytest.approx(exact_entropy(truth), abs=1e-4), place
    else:
        assert spec.kind == "top", place
        counts = {item["value"]: item["count"] for item in value}
        assert counts == {item: truth[item] for item in counts}, place
        assert list(counts.values()) == sorted(truth.values(), reverse=True)[: spec.limit], place
