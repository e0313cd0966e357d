import copy
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import orjson
import pytest

from cockpit.stack import Stack
from runtime.errors import DestinationError
from runtime.settings import KafkaSettings, Settings
from runtime.telemetry import Telemetry
from schemas.elasticsearch import Dialect, index_template_name, index_templates
from schemas.model import datasets
from schemas.topics import topic
from sinks.base import Message, RejectedError
from sinks.dead_letters import DeadLetterQueue, dead_letter, dead_letters, redrive
from sinks.elasticsearch.bulk import ElasticsearchDestination
from sinks.elasticsearch.client import Client
from sinks.elasticsearch.templates import detect_dialect, install, outdated
from sinks.runner import run_sink
from tests.events import sample
from tests.integration.sinking import IDLE, documents, ids, publish, publish_each, run, sink_settings
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def settings(namespace: str, kafka: KafkaSettings, elasticsearch_url: str) -> Settings:
    return sink_settings(namespace, kafka, elasticsearch_url)


def test_every_event_arrives_once_and_again_is_a_duplicate(settings: Settings) -> None:
    events = [sample("dns", settings.namespace, number) for number in range(2000)]
    publish(settings, events)
    assert run(settings)["indexed"] == 2000
    assert documents(settings) == ids(events)
    publish(settings, events)
    report = run(settings)
    assert (report["indexed"], report["duplicates"], report["dead_letters"]) == (0, 2000, 0)
    assert documents(settings) == ids(events)


def test_events_of_every_dataset_find_their_data_streams(settings: Settings) -> None:
    every = datasets().items()
    publish_each(settings, [(dataset.topic, sample(name, settings.namespace)) for name, dataset in every])
    assert run(settings)["indexed"] == len(datasets())
    for dataset in datasets().values():
        assert len(documents(settings, f"{dataset.stream}-{dataset.dataset}")) == 1


def test_only_the_wrong_ones_become_dead_letters_with_their_bytes_key_and_headers(settings: Settings) -> None:
    good = [sample("dns", settings.namespace, number) for number in range(10)]
    nonsense = sample("dns", settings.namespace, 100, **{"source.ip": "nonsense"})
    foreign = sample("dns", "someone_else", 101)
    publish(settings, [*good[:5], nonsense, b"{nope", foreign, *good[5:]])
    report = run(settings)
    assert report["indexed"] == 10
    assert report["dead_letters_by_reason"] == {
        "document_parsing_exception": 1,
        "not_json": 1,
        "wrong_namespace": 1,
    }
    assert documents(settings) == ids(good)
    letters = {letter.value: letter for letter in dead_letters(settings)}
    assert set(letters) == {orjson.dumps(nonsense), b"{nope", orjson.dumps(foreign)}
    letter = letters[orjson.dumps(nonsense)]
    assert letter.origin[0] == topic(settings.namespace, "dns")
    assert letter.origin[2] >= 0
    assert letter.key is not None
    assert letter.stage == "sink elasticsearch"
    assert letter.error_class == "sinks.base.RejectedError"
    assert "'nonsense' is not an IP string literal" in letter.error
    assert dict(letter.headers)["ce_id"] == nonsense["event"]["id"].encode()
    assert dead_letter(settings, letter.partition, letter.offset) == letter
    assert dead_letter(settings, letter.partition, 10_000) is None
    assert dead_letter(settings, 10_000, 0) is None


def test_dead_letter_sent_again_arrives_or_comes_back(settings: Settings) -> None:
    event = sample("dns", settings.namespace)
    publish(settings, [b"{nope"])
    run(settings)
    queue = DeadLetterQueue(settings, "worker")
    place = topic(settings.namespace, "dns"), 0, 5
    message = Message(*place, b"192.0.2.1", orjson.dumps(event), (("ce_id", b"x"),))
    stranger = message._replace(topic="someone.elses.topic")
    assert queue.put([(message, ValueError("no window")), (stranger, RejectedError("strange"))]) == ""
    queue.close()
    sent, strange = redrive(settings, dead_letters(settings))
    assert sent == 2
    assert [letter.origin[0] for letter in strange] == ["someone.elses.topic"]
    report = run(settings)
    assert (report["indexed"], report["dead_letters"]) == (1, 1)
    assert documents(settings) == ids([event])
    assert len(list(dead_letters(settings))) == 4


def test_elasticsearch_killed_in_the_middle_changes_nothing(
    settings: Settings, stack: Stack, elasticsearch_url: str
) -> None:
    # Elasticsearch is away for longer than Kafka lets a member be silent.
    options = {**settings.kafka.options, "max.poll.interval.ms": "12000", "session.timeout.ms": "6000"}
    kafka = settings.kafka.model_copy(update={"options": options})
    small = sink_settings(settings.namespace, kafka, elasticsearch_url, bulk_bytes=20_000)
    events = [sample("dns", settings.namespace, number) for number in range(3000)]
    publish(small, events)
    telemetry = Telemetry("test")
    reports: list[dict[str, int]] = []
    sink = threading.Thread(target=lambda: reports.append(run(small, telemetry)), daemon=True)
    sink.start()
    wait_until(lambda: telemetry.total("indexed") > 100)
    stack.stop_server("elasticsearch", kill=True)
    wait_until(lambda: telemetry.total("retries") > 0)
    assert telemetry.total("indexed") < 3000
    # Once more than 12 s have passed, a member that does not poll has been thrown out of the group.
    time.sleep(13)
    stack.start_server("elasticsearch")
    sink.join(60)
    assert documents(small) == ids(events)
    [report] = reports
    assert report["consumed"] == 3000, "a member that had lost its partitions would have read some again"


def test_sink_killed_in_the_middle_changes_nothing(settings: Settings, tmp_path: Path) -> None:
    events = [sample("dns", settings.namespace, number) for number in range(3000)]
    publish(settings, events)
    first = start(settings, bulk_bytes=20_000)
    try:
        wait_until(lambda: len(documents(settings)) > 100)
    finally:
        first.kill()
        first.wait(10)
    assert 100 < len(documents(settings)) < 3000
    summary = tmp_path / "summary.json"
    second = start(settings, "--until-idle", str(IDLE), "--summary", str(summary))
    assert second.wait(60) == 0
    assert documents(settings) == ids(events)
    report = json.loads(summary.read_text())
    assert report["consumed"] == report["indexed"] + report["duplicates"]
    assert 0 < report["indexed"] < 3000


def test_sigterm_delivers_and_commits_what_was_taken(settings: Settings, tmp_path: Path) -> None:
    events = [sample("dns", settings.namespace, number) for number in range(3000)]
    publish(settings, events)
    summary = tmp_path / "summary.json"
    sink = start(settings, "--summary", str(summary), bulk_bytes=20_000)
    wait_until(lambda: len(documents(settings)) > 100)
    sink.send_signal(signal.SIGTERM)
    assert sink.wait(30) == 0
    taken = json.loads(summary.read_text())
    rest = run(settings)
    assert taken["indexed"] + rest["indexed"] == 3000
    assert rest["duplicates"] == 0, "what was delivered was not committed"
    assert documents(settings) == ids(events)


def test_second_sink_takes_over_partitions_without_losing_any(
    settings: Settings, elasticsearch_url: str
) -> None:
    small = sink_settings(settings.namespace, settings.kafka, elasticsearch_url, bulk_bytes=20_000)
    events = [sample("dns", settings.namespace, number) for number in range(4000)]
    topics = sorted({dataset.topic for dataset in datasets().values()})

    def spread() -> None:
        # Over all topics: whichever partitions the second sink gets, there is something in them.
        publish_each(small, zip(itertools.cycle(topics), events))  # topics go round

    spread()
    counts = [Telemetry("one"), Telemetry("two")]
    stop = threading.Event()

    def work(telemetry: Telemetry) -> None:
        run_sink("elasticsearch", small, stop=stop, telemetry=telemetry)

    sinks = [threading.Thread(target=work, args=(telemetry,), daemon=True) for telemetry in counts]
    sinks[0].start()
    wait_until(lambda: counts[0].total("indexed") > 100)
    sinks[1].start()
    wait_until(lambda: len(documents(small)) == 4000)
    for round_ in itertools.count(1):  # until the second one has its share
        spread()
        time.sleep(1.0)
        if counts[1].total("duplicates") > 0:
            break
        assert round_ < 60
    wait_until(lambda: sum(count.total("duplicates") for count in counts) >= 4000 * round_)
    stop.set()
    for sink in sinks:
        sink.join(30)
    assert sum(count.total("indexed") for count in counts) == 4000
    assert documents(small) == ids(events)


def _template(client: Client, dialect: Dialect, namespace: str, name: str) -> dict[str, Any]:
    """A template as it is installed: the server keeps the patterns of all data streams that are there."""
    found = client.request("GET", f"/_index_template/{name}").body["index_templates"][0]["index_template"]
    patterns = found["index_patterns"]
    return {**index_templates(dialect, [namespace])[name], "index_patterns": patterns}


def test_templates_are_installed_once_and_repaired(settings: Settings) -> None:
    client = Client(settings.elasticsearch)
    dialect = detect_dialect(client)
    namespace = settings.namespace
    install(client, dialect, namespace)
    assert outdated(client, dialect, namespace) == []
    assert install(client, dialect, namespace) == []
    name = index_template_name(datasets()["arp"])
    body = {**_template(client, dialect, namespace, name), "_meta": {"fingerprint": "old"}}
    assert client.request("PUT", f"/_index_template/{name}", body).status == 200
    careful = ElasticsearchDestination(settings, install_templates=False)
    with pytest.raises(DestinationError, match=f"{name}.*schemas install"):
        careful.check()
    assert install(client, dialect, namespace) == [name]
    careful.check()
    careful.close()
    client.close()


def test_new_fields_can_be_searched_in_data_streams_that_are_there_already(settings: Settings) -> None:
    client = Client(settings.elasticsearch)
    dialect = detect_dialect(client)
    install(client, dialect, settings.namespace)
    name, stream = index_template_name(datasets()["arp"]), f"logs-network_traffic.arp-{settings.namespace}"
    old = copy.deepcopy(_template(client, dialect, settings.namespace, name))
    del old["template"]["mappings"]["properties"]["netflight"]
    old["_meta"]["fingerprint"] = "old"
    assert client.request("PUT", f"/_index_template/{name}", old).status == 200
    line = b'{"create":{}}\n' + orjson.dumps(sample("arp", settings.namespace)) + b"\n"
    assert client.request("POST", f"/{stream}/_bulk", line).body["errors"] is False
    assert "answered" not in json.dumps(client.request("GET", f"/{stream}/_mapping").body)
    assert install(client, dialect, settings.namespace) == [name]
    assert "answered" in json.dumps(client.request("GET", f"/{stream}/_mapping").body)
    client.close()


def test_templates_take_in_each_namespace_installed_and_no_stream_of_others(settings: Settings) -> None:
    client = Client(settings.elasticsearch)
    dialect = detect_dialect(client)
    other = f"{settings.namespace}_b"
    for namespace in (settings.namespace, other):
        install(client, dialect, namespace)
    assert outdated(client, dialect, settings.namespace) == outdated(client, dialect, other) == []
    name = index_template_name(datasets()["dns"])
    found = client.request("GET", f"/_index_template/{name}").body["index_templates"][0]["index_template"]
    patterns = found["index_patterns"]
    assert {f"logs-network_traffic.dns-{each}" for each in (settings.namespace, other)} <= set(patterns)
    assert not [pattern for pattern in patterns if "*" in pattern]
    client.close()


def test_streams_of_elastic_agent_are_not_taken_over(settings: Settings) -> None:
    client = Client(settings.elasticsearch)
    dialect = detect_dialect(client)
    theirs = {"index_patterns": ["logs-network_traffic.pgsql-*"], "priority": 200, "data_stream": {}}
    path, default = "/_index_template/logs-network_traffic.pgsql", "default"
    ours = f"/_index_template/{index_template_name(datasets()['dns'])}"
    install(client, dialect, settings.namespace)
    before = client.request("GET", ours).body["index_templates"][0]["index_template"]
    assert client.request("PUT", path, theirs).status == 200
    try:
        # one that was installed before their integration came is old, too, as far as the namespace goes
        without = [name for name in before["index_patterns"] if not name.endswith("-default")]
        assert client.request("PUT", ours, {**before, "index_patterns": without}).status == 200
        with pytest.raises(
            DestinationError, match=r"logs-network_traffic\.pgsql.*'default'.*NETFLIGHT_NAMESPACE"
        ):
            install(client, dialect, default)
        assert install(client, dialect, f"{settings.namespace}_c")
        simulated = client.request(
            "POST", "/_index_template/_simulate_index/logs-network_traffic.pgsql-someone"
        )
        assert "netflight" not in json.dumps(simulated.body["template"].get("mappings", {}))
    finally:
        assert client.request("DELETE", path).status == 200
        install(client, dialect, default)
        client.close()


def test_both_spellings_of_the_integration_find_a_document_that_says_who_made_it_and_when_it_came(
    settings: Settings,
) -> None:
    names = ("dns", "dhcpv4", "mysql", "redis", "sip", "flow", "alerts", "traffic_by_host")
    every = datasets()
    publish_each(settings, [(every[name].topic, sample(name, settings.namespace)) for name in names])
    assert run(settings)["indexed"] == len(names)
    client = Client(settings.elasticsearch)
    asked = {
        "dns": [
            "method",
            "resource",
            "status",
            "type",
            "network_traffic.dns.answers_count",
            "dns.answers_count",
        ],
        "dhcpv4": ["dhcpv4.option.message_type", "network_traffic.dhcpv4.option.message_type"],
        "mysql": [
            "mysql.insert_id",
            "network_traffic.mysql.insert_id",
            "query",
            "network_traffic.mysql.query",
        ],
        "redis": ["redis.query", "network_traffic.redis.query", "network_traffic.redis.method"],
        "sip": ["sip.method", "network_traffic.sip.method", "method"],
    }
    for name in names:
        dataset = every[name]
        stream = dataset.data_stream(settings.namespace)
        client.request("POST", f"/{stream}/_refresh")
        source = client.request("GET", f"/{stream}/_search").body["hits"]["hits"][0]["_source"]
        assert source["agent"]["id"]
        assert source["agent"]["type"] == "netflight"
        assert source["host"]["name"]
        assert {"vendor", "product", "version"} <= source["observer"].keys()
        assert source["event"]["ingested"] > "2026-01-01"
        for field in (*asked.get(name, ()), "message", "event.ingested", "agent.id", "host.name"):
            query = {"query": {"exists": {"field": field}}}
            assert client.request("POST", f"/{stream}/_search", query).body["hits"]["total"]["value"] == 1, (
                field
            )
        words = {"query": {"match": {"message": source["message"].split()[0].lower()}}}
        assert client.request("POST", f"/{stream}/_search", words).body["hits"]["total"]["value"] == 1
    client.close()


def test_the_local_server_is_known_as_what_it_is(settings: Settings) -> None:
    client = Client(settings.elasticsearch)
    before = client.request("GET", "/_component_template").body
    assert detect_dialect(client) is Dialect.MINIMAL
    assert client.request("GET", "/_component_template").body == before
    client.close()


def test_names_nobody_mapped_stay_out_of_the_mapping(settings: Settings) -> None:
    event = sample("dns", settings.namespace, **{f"surprise.field{number}": number for number in range(2000)})
    publish(settings, [event])
    assert run(settings)["indexed"] == 1
    client = Client(settings.elasticsearch)
    answer = client.request("GET", f"/logs-network_traffic.dns-{settings.namespace}/_mapping")
    client.close()
    assert answer.status == 200
    assert "surprise" not in json.dumps(answer.body)


def start(settings: Settings, *arguments: str, bulk_bytes: int = 5_000_000) -> subprocess.Popen[bytes]:
    environment = {
        **os.environ,
        "NETFLIGHT_NAMESPACE": settings.namespace,
        "NETFLIGHT_KAFKA__BOOTSTRAP": settings.kafka.bootstrap,
        "NETFLIGHT_KAFKA__OPTIONS": json.dumps({**settings.kafka.options, "session.timeout.ms": "6000"}),
        "NETFLIGHT_KAFKA__PARTITIONS": str(settings.kafka.partitions),
        "NETFLIGHT_ELASTICSEARCH__URLS": json.dumps(settings.elasticsearch.urls),
        "NETFLIGHT_ELASTICSEARCH__BULK_BYTES": str(bulk_bytes),
        "NETFLIGHT_ELASTICSEARCH__BULK_SECONDS": "0.2",
    }
    command = [sys.executable, "-m", "sinks", "elasticsearch", *arguments]
    return subprocess.Popen(command, cwd=ROOT, env=environment)
