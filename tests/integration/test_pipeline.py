"""The whole way, packets to documents, undisturbed and with every part killed on the way."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from cockpit.pipeline import SINK, WORKER, settle
from cockpit.stack import Stack
from producers.run import Outcome
from runtime.settings import Settings
from sinks.elasticsearch.client import Client
from tests.integration.playing import LIMIT, QUIET, parts, play, play_settings
from tests.waiting import PATIENCE

SAMPLE = Path(__file__).resolve().parents[2] / "samples" / "office_day" / "capture.pcap"

Documents = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def undisturbed(stack: Stack) -> tuple[Documents, Outcome]:
    """The documents of a run in which nothing happens."""
    settings = play_settings(stack, "undisturbed")
    with parts(stack, settings):
        outcome = play(settings, [SAMPLE])
        settle(stack, settings, QUIET, LIMIT)
        documents = _documents(settings)
    return documents, outcome


def test_every_published_event_becomes_a_document(undisturbed: tuple[Documents, Outcome]) -> None:
    documents, outcome = undisturbed
    assert outcome.errors == []
    published = outcome.telemetry.total("published")
    assert published == sum(outcome.telemetry.labels("events").values())
    decoded = [doc for doc in documents.values() if doc["event"]["dataset"].startswith("network_traffic.")]
    assert len(decoded) == published


def test_alerts_and_statistics_come_out(undisturbed: tuple[Documents, Outcome]) -> None:
    documents, _ = undisturbed
    kinds = {doc["event"]["dataset"] for doc in documents.values()}
    assert {"netflight.alerts", "netflight.top_talkers", "netflight.traffic_by_protocol"} <= kinds


def test_traffic_by_protocol_adds_up_to_the_flows(undisturbed: tuple[Documents, Outcome]) -> None:
    documents, _ = undisturbed
    flows = [doc for doc in documents.values() if doc["event"]["dataset"] == "network_traffic.flow"]
    rows = [doc for doc in documents.values() if doc["event"]["dataset"] == "netflight.traffic_by_protocol"]
    assert all(row["netflight"]["window"]["revision"] == 0 for row in rows)
    for measure in ("bytes", "packets"):
        assert sum(row["network"][measure] for row in rows) == sum(flow["network"][measure] for flow in flows)
    assert sum(row["netflight"]["flows"] for row in rows) == len(flows)


def test_publishing_again_adds_no_event(stack: Stack, undisturbed: tuple[Documents, Outcome]) -> None:
    documents, _ = undisturbed
    settings = play_settings(stack, "undisturbed")
    with parts(stack, settings):
        play(settings, [SAMPLE])
        settle(stack, settings, QUIET, LIMIT)
    again = _documents(settings)
    decoded = {key for key, doc in again.items() if doc["event"]["dataset"].startswith("network_traffic.")}
    assert decoded == {
        key for key, doc in documents.items() if doc["event"]["dataset"].startswith("network_traffic.")
    }


def _kill_sink(stack: Stack) -> None:
    stack.kill_part(SINK)
    stack.restart_part(SINK)


def _kill_worker(stack: Stack) -> None:
    stack.kill_part(WORKER)
    stack.restart_part(WORKER)


def _kill_elasticsearch(stack: Stack) -> None:
    stack.stop_server("elasticsearch", kill=True)
    stack.start_server("elasticsearch")


# Alerts come from the worker while it works; the decoded events go past it to the sink.
@pytest.mark.parametrize(
    ("kill", "dataset", "seen"),
    [
        (_kill_sink, "network_traffic.flow", 100),
        (_kill_worker, "netflight.alerts", 5),
        (_kill_elasticsearch, "network_traffic.flow", 100),
    ],
)
def test_a_killed_part_changes_no_document(
    stack: Stack,
    undisturbed: tuple[Documents, Outcome],
    kill: Callable[[Stack], None],
    dataset: str,
    seen: int,
) -> None:
    wanted, _ = undisturbed
    settings = play_settings(stack, kill.__name__.strip("_"))
    with parts(stack, settings):
        pool = ThreadPoolExecutor(1)
        publishing = pool.submit(play, settings, [SAMPLE])
        _wait_for_documents(settings, dataset, seen)
        kill(stack)
        outcome = publishing.result()
        pool.shutdown()
        assert outcome.errors == []
        settle(stack, settings, QUIET, LIMIT)
        assert _different(_documents(settings), wanted) == {}


def _wait_for_documents(settings: Settings, dataset: str, count: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while sum(doc["event"]["dataset"] == dataset for doc in _documents(settings).values()) < count:
        assert time.monotonic() < deadline, f"not {count} documents of {dataset} in time"
        time.sleep(0.1)


def _different(found: Documents, wanted: Documents) -> dict[str, tuple[Any, Any]]:
    """Three documents at most that differ, or are not in both; pytest would compare all of them word by word."""
    names = [name for name in sorted({*found, *wanted}) if found.get(name) != wanted.get(name)]
    return {name: (found.get(name), wanted.get(name)) for name in names[:3]}


def _documents(settings: Settings) -> Documents:
    """Every document of a namespace by its id, without what tells one run from another."""
    client = Client(settings.elasticsearch)
    names = f"logs-*-{settings.namespace},metrics-*-{settings.namespace}"
    deadline = time.monotonic() + PATIENCE
    while True:
        # A shard that starts, or has no memory for the answer, would be left out otherwise.
        refreshed = client.request("POST", f"/{names}/_refresh")
        answer = client.request(
            "POST", f"/{names}/_search?allow_partial_search_results=false", {"size": 10_000}
        )
        if answer.status == HTTPStatus.OK and refreshed.body.get("_shards", {}).get("failed") == 0:
            break
        assert time.monotonic() < deadline, answer
        time.sleep(0.5)
    found: Documents = {}
    for hit in answer.body.get("hits", {}).get("hits", []):
        source = hit["_source"]
        assert hit["_id"] == source["event"]["id"]
        del source["event"]["created"], source["event"]["ingested"], source["data_stream"]["namespace"]
        found[hit["_id"]] = source
    return found
