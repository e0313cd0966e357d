"""A recorder beside a capture: what the policy says is recorded, alerts in Kafka make packets outlive the ring."""

import os
import subprocess
import sys
import time
from pathlib import Path

import orjson

from producers.recorder.alerts import AlertKeeper
from producers.recorder.carve import Ring
from producers.recorder.keeping import kept_ids
from producers.recorder.recorder import Recorder
from producers.sources.opening import open_path
from runtime.kafka import ensure_topics, producer
from runtime.settings import KafkaSettings, Settings
from schemas.events import timestamp
from schemas.topics import topic, topic_settings
from tests.rings import SECOND, bare, batch_of, batches, carved, conversation, id_of, ids_of
from tests.waiting import PATIENCE

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
    deadline = time.monotonic() + PATIENCE
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


def test_capture_records_what_the_policy_says(tmp_path: Path, kafka: KafkaSettings, namespace: str) -> None:
    root = Path(__file__).parents[2]
    capture = root / "samples" / "web" / "capture.pcap"
    environment = {
        **os.environ,
        "NETFLIGHT_KAFKA__BOOTSTRAP": kafka.bootstrap,
        "NETFLIGHT_STATE": str(tmp_path),
    }
    command = [sys.executable, "-m", "cockpit", "capture", str(capture), "--record", "--namespace", namespace]
    ended = subprocess.run(
        [*command, "--summary", str(tmp_path / "summary.json")],
        cwd=root,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    recorded = orjson.loads((tmp_path / "summary.json").read_bytes())["recorded"]
    ring = Ring(tmp_path / "ring")
    assert recorded["packets"] == sum(holding.totals.packets for holding in ring.holdings()) > 0
    assert recorded["unrecorded"] == {}
    assert f"{recorded['packets']:,} packets recorded in {tmp_path / 'ring'}" in ended.stderr
    batch = next(iter(batches(capture)))
    identity = next(name for name in ids_of(batch) if name)
    packets, found = carved(tmp_path / "ring", identity)
    whole = {p.time_ns: p for block in open_path(str(capture)).blocks() for p in block}
    assert found.packets
    for packet in packets:
        assert whole[packet.time_ns].data.startswith(packet.data)
        assert whole[packet.time_ns].wire_length == packet.wire_length
