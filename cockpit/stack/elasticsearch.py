"""One Elasticsearch node on loopback, from the minimal server distribution."""

import http.client
import json

from cockpit.stack.server import QUICK, Command, Place, server_folder

ANSWER_SECONDS = 5.0

# JSON is YAML: quoting is json.dumps' work.
SETTINGS = """\
cluster.name: {cluster}
node.name: local
path.data: {data}
path.logs: {logs}
network.host: 127.0.0.1
http.port: {port}
# Nobody speaks to this node's transport: any free port.
transport.port: 0
discovery.type: single-node
xpack.security.enabled: false
# A developer's disk is often nearly full; room is checked before the start instead.
cluster.routing.allocation.disk.threshold_enabled: false
"""

JVM_OPTIONS = """\
-Xms256m
-Xmx{heap}
{options}
-XX:-AlwaysPreTouch
-XX:+ExitOnOutOfMemoryError
-Djava.io.tmpdir=${{ES_TMPDIR}}
-Dorg.apache.lucene.store.MMapDirectory.sharedArenaMaxPermits=1
20-:--add-modules=jdk.incubator.vector
"""

LOG4J2 = """\
status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{ISO8601} %-5p %c{1.}: %m%consoleException%n
rootLogger.level = info
rootLogger.appenderRef.console.ref = console
"""


def prepare(place: Place, port: int, cluster: str, *, quick: bool) -> Command:
    """Write the settings; the command that starts the node as the cluster `cluster`.

    Its launcher starts the server as a child and ends it when it ends itself, however it ends.
    """
    home = server_folder(place, "elasticsearch", "data", "logs", "tmp", "config")
    config = home / "config"
    (config / "elasticsearch.yml").write_text(
        SETTINGS.format(
            cluster=json.dumps(cluster),
            data=json.dumps(str(home / "data")),
            logs=json.dumps(str(home / "logs")),
            port=port,
        ),
        encoding="utf-8",
    )
    heap = place.heaps["elasticsearch"]
    options = "\n".join(QUICK if quick else ("-XX:+UseG1GC",))
    (config / "jvm.options").write_text(JVM_OPTIONS.format(heap=heap, options=options), encoding="utf-8")
    (config / "log4j2.properties").write_text(LOG4J2, encoding="utf-8")
    environment = {
        "ES_JAVA_HOME": str(place.java),
        "ES_PATH_CONF": str(config),
        "ES_TMPDIR": str(home / "tmp"),
        # The launcher lives for a second's work: no time in the optimising compiler.
        "CLI_JAVA_OPTS": "-XX:TieredStopAtLevel=1",
    }
    return Command([str(place.programs.elasticsearch / "bin" / "elasticsearch")], home, environment)


def ready(port: int, cluster: str) -> bool:
    """Whether the cluster of this name answers and all its primary shards are assigned (health yellow or green).

    Another's may have taken the port a moment before ours could.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", "/_cluster/health")
        answer = connection.getresponse()
        if answer.status != http.HTTPStatus.OK:
            return False
        health = json.load(answer)
    except (OSError, http.client.HTTPException, ValueError):
        return False
    finally:
        connection.close()
    return health["cluster_name"] == cluster and health["status"] in {"yellow", "green"}
