"""One Kafka node on loopback: broker and KRaft controller in one process, settings that fit one node."""

import base64
import uuid
from pathlib import Path

from confluent_kafka import KafkaException

from cockpit.stack.server import QUICK, Command, Place, run_once, server_folder
from runtime.kafka import admin
from runtime.settings import KafkaSettings

ANSWER_SECONDS = 5.0

PROPERTIES = """\
process.roles=broker,controller
node.id=1
listeners=BROKER://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=BROKER://127.0.0.1:{port}
listener.security.protocol.map=BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=BROKER
controller.listener.names=CONTROLLER
controller.quorum.bootstrap.servers=127.0.0.1:{controller_port}
log.dirs={data}

# Topics are declared with their settings, never made by a client's typing mistake.
auto.create.topics.enable=false

# One node holds every copy; few internal partitions start in a second instead of ten.
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=4
group.initial.rebalance.delay.ms=0

# After a crash the controller takes the broker back when the session of its former self has ended.
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000

# A topic's own settings win over these.
log.retention.hours=168
log.segment.bytes=268435456
log.cleaner.dedupe.buffer.size=33554432
"""

LOG4J2 = """\
status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{ISO8601} %-5p %c{1}: %m%n
rootLogger.level = warn
rootLogger.appenderRef.console.ref = console
logger.server.name = kafka.server
logger.server.level = info
logger.config.name = kafka.server.KafkaConfig
logger.config.level = warn
"""


def prepare(place: Place, port: int, controller_port: int, *, quick: bool) -> Command:
    """Write the settings, format the data folder the first time; the command that starts the broker."""
    home = server_folder(place, "kafka", "data", "tmp")
    properties = home / "server.properties"
    properties.write_text(
        PROPERTIES.format(port=port, controller_port=controller_port, data=home / "data"), encoding="utf-8"
    )
    (home / "log4j2.properties").write_text(LOG4J2, encoding="utf-8")
    if not (home / "data" / "meta.properties").exists():
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        # One word: an id may begin with a dash.
        argv = ["kafka.tools.StorageTool", "format", "--standalone", f"--cluster-id={cluster}"]
        argv += ["--config", str(properties)]
        run_once(place, Command([*_java(place, home, "128m"), *QUICK, *argv], home), "kafka-format")
    heap = place.heaps["kafka"]
    options = QUICK if quick else ()
    return Command([*_java(place, home, heap), *options, "kafka.Kafka", str(properties)], home)


def ready(bootstrap: str, folder: Path) -> bool:
    """Whether the broker answers a metadata request, and is the one whose data is in the stack's `folder`.

    Another's broker may have taken the port a moment before ours could.
    """
    settings = KafkaSettings(bootstrap=bootstrap, options={"log_level": "0"})
    try:
        properties = (folder / "kafka" / "data" / "meta.properties").read_text(encoding="utf-8")
        cluster = admin(settings, "netflight-ready").list_topics(timeout=ANSWER_SECONDS).cluster_id
    except (KafkaException, OSError):
        return False
    return f"cluster.id={cluster}" in properties.splitlines()


def _java(place: Place, home: Path, heap: str) -> list[str]:
    return [
        str(place.java / "bin" / "java"),
        f"-Xmx{heap}",
        "-XX:+ExitOnOutOfMemoryError",
        "-Djava.awt.headless=true",
        f"-Djava.io.tmpdir={home / 'tmp'}",
        f"-Dlog4j2.configurationFile={home / 'log4j2.properties'}",
        "-cp",
        f"{place.programs.kafka}/*",
    ]
