"""Every shipped statistic against Elasticsearch's aggregations over the same events."""

import random
import subprocess
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from cockpit.pipeline import settle
from cockpit.stack import Stack
from runtime.settings import Settings
from schemas.events import NANOSECONDS, Event, event_id, get, parse_timestamp, timestamp
from schemas.model import datasets, fields_of
from sinks.elasticsearch.client import Client
from streams.core.measures import MeasureSpec, compile_measures
from streams.core.sketches import MAX_CHARACTERS
from tests.events import sample
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
from tests.integration.sinking import publish

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
HOUR, WEEK = 3600, 7 * 86_400
MONDAY = 1_762_128_000
"""00:00 UTC, in seconds."""
DIRECTIONS = ("outbound", "internal", "inbound")

Place = tuple[Client, str]
"""Where to look: Elasticsearch, and the namespace."""


@pytest.fixture(scope="module")
def played(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
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
    with _looking(settings) as place:
        yield place


@pytest.fixture(scope="module")
def weeks(stack: Stack) -> Iterator[Place]:
    """A namespace with flows of twelve weeks, published as they are."""
    settings = play_settings(stack, "weeks")
    with parts(stack, settings):
        publish(settings, flows_of_weeks(settings.namespace), "flow")
        settle(stack, settings, QUIET, LIMIT)
    with _looking(settings) as place:
        yield place


@pytest.fixture(scope="module")
def late(stack: Stack) -> Iterator[Place]:
    """A namespace in which flows of two minutes come after those of the second one have been told."""
    settings = play_settings(stack, "late")
    with parts(stack, settings):
        for minutes in ((1,), (0, 1)):
            publish(settings, flows_of_minutes(settings.namespace, minutes), "flow")
            settle(stack, settings, QUIET, LIMIT)
    with _looking(settings) as place:
        yield place


@contextmanager
def _looking(settings: Settings) -> Iterator[Place]:
    client = Client(settings.elasticsearch)
    names = f"logs-*-{settings.namespace},metrics-*-{settings.namespace}"
    assert client.request("POST", f"/{names}/_refresh").body["_shards"]["failed"] == 0
    yield client, settings.namespace
    client.close()


def flows_of_weeks(namespace: str) -> Iterator[Event]:
    """Flows at two hours of the week: one host's bytes differ, another's never do, a third one is not always there."""
    draw = random.Random(3)
    for week, hour in product(range(12), (9, 100)):
        hosts = {"192.0.2.1": draw.randrange(1, 90_000), "192.0.2.2": 500}
        if draw.choice((True, True, False)):
            hosts["192.0.2.3"] = draw.randrange(1, 9_000)
        at = MONDAY + week * WEEK + hour * HOUR
        for (host, size), direction in product(hosts.items(), DIRECTIONS):
            fields = {"source.ip": host, "network.direction": direction, "network.bytes": size}
            yield flow(namespace, at, {**fields, "flow.final": draw.randrange(10) > 0})


def flows_of_minutes(namespace: str, minutes: tuple[int, ...]) -> Iterator[Event]:
    """Flows of two hosts in minutes of one hour; those of other minutes are others."""
    draw = random.Random(len(minutes))
    for minute, host, direction in product(minutes, ("192.0.2.1", "192.0.2.2"), DIRECTIONS):
        fields = {"source.ip": host, "network.direction": direction, "network.bytes": draw.randrange(9_000)}
        yield flow(namespace, MONDAY + minute * 60 + len(minutes), fields)


def flow(namespace: str, at: int, fields: dict[str, Any]) -> Event:
    """A flow whose last packet was at a second."""
    identity = event_id("network_traffic.flow", str(sorted(fields.items())), at * NANOSECONDS, 0)
    given = {"@timestamp": timestamp(at * NANOSECONDS), "event.id": identity, "destination.ip": "192.0.2.80"}
    return sample("flow", namespace, **given, **fields)


@pytest.mark.parametrize("name", DECLARED)
def test_a_statistic_is_what_elasticsearch_counts(name: str, played: Place) -> None:
    hold(name, played)


@pytest.mark.parametrize(
    "name", [name for name, declared in DECLARED.items() if declared["dataset"] == "flow"]
)
def test_late_events_correct_what_was_told(name: str, late: Place) -> None:
    hold(name, late)
    told = all_results(*late, name)
    assert max(get(event, "netflight.window.revision") for event in told) > 0
    retracted = [event for event in told if get(event, "netflight.window.retracted")]
    assert bool(retracted) is ("first_seen" in DECLARED[name])


def hold(name: str, place: Place) -> None:
    """Compare a statistic's last results with what Elasticsearch counts of the same events."""
    declared = DECLARED[name]
    counting = Counting(*place, declared)
    wanted = counting.windows()
    if "first_seen" in declared:
        first = counting.first_windows()
        wanted = {
            start: {group: measures for group, measures in groups.items() if first[group] == start}
            for start, groups in wanted.items()
        }
    assert any(wanted.values()), "nothing to compare: there are no such events"
    results = latest(*place, name)
    if "top" in declared:
        wanted = keep_heaviest(declared, wanted, results)
    compare(declared, counting.seconds, wanted, results)


def test_packets_that_are_missing_in_a_capture_are_its_loss(played: Place) -> None:
    results = latest(*played, "capture_loss")
    losses = [
        get(event, "netflight.capture.loss") for groups in results.values() for event in groups.values()
    ]
    assert [loss > 0 for loss in losses].count(True) == 1
    assert all(0 <= loss < 1 for loss in losses)


@pytest.mark.parametrize("name", [name for name, declared in DECLARED.items() if "baseline" in declared])
def test_a_baseline_is_that_of_the_same_hour_of_the_week(name: str, weeks: Place) -> None:
    declared = DECLARED[name]
    counting = Counting(*weeks, declared)
    wanted = counting.windows()
    results = latest(*weeks, name)
    compare(declared, counting.seconds, wanted, results)
    scores = 0
    for start, groups in wanted.items():
        for group in groups:
            told = get(results[start][group], "netflight.baseline")
            assert told == pytest.approx(usual(declared["baseline"], wanted, start, group)), (start, group)
            scores += "score" in told
    assert scores


def usual(baseline: dict[str, Any], windows: Windows, start: int, group: Group) -> dict[str, Any]:
    """What a result must say of its group's earlier ones."""
    of, week = baseline["of"], WEEK * 1000
    past = [start - number * week for number in range(1, baseline["weeks"] + 1)]
    before = [windows[moment][group][of] for moment in past if group in windows.get(moment, {})]
    moment = datetime.fromtimestamp(start / 1000, UTC)
    told: dict[str, Any] = {
        "hour": moment.hour,
        "weekday": moment.strftime("%A"),
        "samples": len(before),
    }
    if before:
        told["median"] = median(before)
        told["mad"] = median(abs(value - told["median"]) for value in before)
        if len(before) >= baseline["minimum"] and told["mad"]:
            told["score"] = (windows[start][group][of] - told["median"]) / (1.4826 * told["mad"])
    return told


def all_results(client: Client, namespace: str, name: str) -> list[Event]:
    """Every result of a statistic, of all revisions."""
    emits = datasets()[DECLARED[name]["emits"]]
    body = {"size": 10_000, "track_total_hits": True, "query": {"term": {"netflight.statistic": name}}}
    hits = search(client, emits.data_stream(namespace), body)["hits"]
    assert hits["total"]["value"] == len(hits["hits"])
    return [hit["_source"] for hit in hits["hits"]]


def latest(client: Client, namespace: str, name: str) -> dict[int, dict[Group, Event]]:
    """The results of a statistic by window and group: those of the window's last revision that were not taken back."""
    revisions: dict[int, dict[int, list[Event]]] = defaultdict(lambda: defaultdict(list))
    for event in all_results(client, namespace, name):
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
        kept: Counter[Any] = Counter()
        for item, times in truth.items():
            kept[item[:MAX_CHARACTERS] if isinstance(item, str) else item] += times
        assert counts == {item: kept[item] for item in counts}, place
        assert list(counts.values()) == sorted(kept.values(), reverse=True)[: spec.limit], place
