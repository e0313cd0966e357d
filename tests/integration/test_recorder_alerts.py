"""Alerts in Kafka make their flows' packets outlive the ring."""

import time
from pathlib import Path

import orjson

from producers.recorder.alerts import AlertKeeper
from producers.recorder.keeping import kept_ids
from producers.recorder.recorder import Recorder
from runtime.kafka import ensure_topics, producer
from runtime.settings import KafkaSettings, Settings
from schemas.events import timestamp
from schemas.topics import topic, topic_settings
from tests.rings import SECOND, bare, batch_of, carved, conversation, id_of

MIB = 1 << 20


def alert(community_id: object, start_ns: int, end_ns: int) -> bytes:
    return orjson.dumps(
        {
            "@timestamp": timestamp(start_ns),
            "event": {"start": timestamp(start_ns), "end": timestamp(end_ns)},
            "network": {"community_id": community_id},
        }
    )


def test_the_packets_of_alerts_outlive_the_ring(tmp_path: Path, kafka: KafkaSettings, namespace: str) -> None:
    settings = Settings(namespace=namespace, sensor="test", kafka=kafka)
    ensure_topics(kafka, topic_settings(namespace))
    start_ns = 1_700_000_000 * SECOND
    flows = [conversation(host, 4000, 50, start_ns=start_ns) for host in range(3)]
    recorder = Recorder(tmp_path, 2 * MIB, wait=True)
    for flow in flows:
        recorder.write(batch_of(flow))
    sender = producer(kafka, "test-alerts")
    values = [b"no json", b'{"network": {"community_id": "1:x"}}', alert("nobody's", start_ns, start_ns)]
    values += [
        alert(id_of(flows[0]), start_ns, start_ns),
        alert([id_of(flows[1])], start_ns, start_ns + SECOND),
    ]
    for value in values:
        sender.produce(topic(namespace, "alerts"), value)
    assert sender.flush(20) == 0
    keeper = AlertKeeper(settings, recorder)
    deadline = time.monotonic() + 60
    while len(kept_ids(tmp_path)) < 2:
        assert time.monotonic() < deadline, "no alert came"
        time.sleep(0.1)
    for host in range(100, 150):
        recorder.write(batch_of(conversation(host, 5000, 100, start_ns=start_ns)))
    keeper.close()
    recorder.close()
    assert {keep.community_id for keep in kept_ids(tmp_path)} == {id_of(flow) for flow in flows[:2]}
    assert kept_ids(tmp_path)[0].from_ns <= start_ns - 300 * SECOND
    for flow in flows[:2]:
        packets, found = carved(tmp_path, id_of(flow))
        assert bare(packets) == bare(flow)
        assert found.kept_segments == 1
    assert carved(tmp_path, id_of(flows[2]))[0] == []
