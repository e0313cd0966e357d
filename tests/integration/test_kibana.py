import orjson
import pytest

from cockpit.stack import Stack
from runtime.settings import KafkaSettings, Settings
from schemas.dashboard import Panel, dashboards, data_views, search
from schemas.model import datasets
from schemas.topics import topic
from sinks.base import Message, Verdict
from sinks.elasticsearch.bulk import destination
from sinks.elasticsearch.client import Client
from tests.events import sample
from tests.integration.sinking import sink_settings

NAMESPACE = "panels"
PANELS = [panel for dashboard in dashboards().values() for panel in dashboard.panels]


@pytest.fixture(scope="module")
def filled(stack: Stack) -> Settings:
    """A namespace with three sample events of every dataset."""
    kafka = KafkaSettings(bootstrap=stack.kafka_bootstrap)
    settings = sink_settings(NAMESPACE, kafka, stack.elasticsearch_url)
    target = destination(settings)
    target.check()
    events = [sample(name, NAMESPACE, number) for name in datasets() for number in range(3)]
    results = target.deliver(
        [Message(topic(NAMESPACE, "x"), 0, 0, None, orjson.dumps(event)) for event in events]
    )
    assert {result.verdict for result in results} <= {Verdict.DELIVERED, Verdict.DUPLICATE}
    target.close()
    return settings


@pytest.mark.parametrize("panel", PANELS, ids=[panel.title for panel in PANELS])
def test_query_of_a_panel_runs_and_finds_the_sample_events(panel: Panel, filled: Settings) -> None:
    body = search(panel)
    body["query"]["bool"]["filter"].append({"term": {"data_stream.namespace": NAMESPACE}})
    index = data_views()[panel.view].title
    client = Client(filled.elasticsearch)
    client.request("POST", f"/{index}/_refresh")
    answer = client.request("POST", f"/{index}/_search", body)
    client.close()
    assert answer.status == 200, answer.error()
    assert answer.body["hits"]["total"]["value"] >= 3
    found = answer.body.get("aggregations", {})
    for _ in [*panel.by, *(["@timestamp"] if panel.over_time else [])]:
        assert found["groups"]["buckets"], "no groups"
        found = found["groups"]["buckets"][0]
    for number, metric in enumerate(panel.metrics):
        if metric.field:
            assert found[f"metric{number}"]["value"] is not None
