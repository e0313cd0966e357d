"""The worker: a Faust app of two agents, and how it is run.

`events` reads the event topics, `merge` the internal log in which the partitions' windows meet. See docs/streams.md.
"""

import asyncio
import logging
import sys
import threading
import time
from pathlib import Path
from typing import Any

import faust

from runtime.errors import BrokerError, ConfigError
from runtime.kafka import ANSWER_SECONDS, admin, ensure_topics
from runtime.settings import KafkaSettings, Settings
from runtime.telemetry import Seldom, Telemetry
from schemas.topics import event_topics, topic_settings
from streams.agents.context import MAX_MESSAGE, Context
from streams.agents.events import EventsAgent
from streams.agents.merge import MergeAgent
from streams.agents.outbox import Outbox
from streams.agents.sending import Sender
from streams.agents.tables import PartitionTable
from streams.core.sigma import RuleSet, load_rules
from streams.core.statistics import load_statistics
from streams.home import Home, worker_home
from streams.rules_tools import RULES, shipped, shipped_taxonomy
from streams.security import credentials
from streams.transport import BatchSchema, brokers
from streams.web import add_pages

log = logging.getLogger(__name__)

TABLES = ("parts", "merged")
MAX_RECORDS = 4_000
"""Records of one fetch, at most."""
STREAM_BUFFER = 32
"""Batches that wait for an agent, at most."""
# RocksDB under Faust would take 2 GiB of block cache and three write buffers of 64 MiB per partition and table.
ROCKSDB = {
    "block_cache_size": 16 * 1024**2,
    "write_buffer_size": 8 * 1024**2,
    "max_write_buffer_number": 2,
    "max_open_files": 256,
    "driver": "rocksdict",
}


# Faust's Kafka client says many times a second that a broker does not answer.
COMPLAINING = (
    "",
    ".cluster",
    ".conn",
    ".consumer.fetcher",
    ".consumer.group_coordinator",
    ".producer.sender",
)
COMPLAINT_SECONDS = 30.0


def app_id(namespace: str) -> str:
    """The worker's consumer group and the prefix of its internal topics."""
    return f"netflight-{namespace}-worker"


def internal_topics(namespace: str) -> dict[str, dict[str, str]]:
    """The topics that the worker keeps for itself, with their settings: the merge's log and the changelogs."""
    common = {"message.timestamp.type": "LogAppendTime", "max.message.bytes": "8388608"}
    compacted = {**common, "cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.3"}
    name = app_id(namespace)
    topics = {f"{name}-{table}-changelog": compacted for table in TABLES}
    return {merge_topic(namespace): {**common, "retention.ms": str(7 * 86_400_000)}, **topics}


def parts_changelog(namespace: str) -> str:
    """The changelog of the table in which source partitions count their windows."""
    return f"{app_id(namespace)}-parts-changelog"


def merge_topic(namespace: str) -> str:
    """The log in which the source partitions' windows meet."""
    return f"{app_id(namespace)}-merge"


def load_rule_set(settings: Settings) -> RuleSet:
    """The shipped rules and those of settings.worker.rules; none without settings.worker.detect. Raises ConfigError."""
    if not settings.worker.detect:
        return RuleSet(())
    return load_rules([shipped(), *settings.worker.rules], shipped_taxonomy())


def declare_topics(settings: Settings) -> None:
    """Create the topics that are missing; raise ConfigError where one has another number of partitions.

    Windows of a source partition live in the changelog's partition of the same number.
    """
    wanted = {**topic_settings(settings.namespace), **internal_topics(settings.namespace)}
    ensure_topics(settings.kafka, wanted)
    needed = [*event_topics(settings.namespace), *internal_topics(settings.namespace)]
    for name, count in _partitions(settings.kafka, needed).items():
        if count != settings.kafka.partitions:
            raise ConfigError(
                f"topic {name} has {count} partitions, settings say {settings.kafka.partitions}",
                f"set NETFLIGHT_KAFKA__PARTITIONS={count}, for all parts alike",
            )


def _partitions(settings: KafkaSettings, names: list[str]) -> dict[str, int]:
    """How many partitions topics have; a broker tells of a new topic a moment after it was created."""
    client = admin(settings, "netflight-worker")
    deadline = time.monotonic() + ANSWER_SECONDS
    while True:
        known = client.list_topics(timeout=ANSWER_SECONDS).topics
        missing = [name for name in names if name not in known or not known[name].partitions]
        if not missing:
            return {name: len(known[name].partitions) for name in names}
        if time.monotonic() > deadline:
            raise BrokerError(f"topic {missing[0]} is not there, though it was created", "try again")
        time.sleep(0.2)


def build_app(settings: Settings, home: Home | None = None) -> tuple[faust.App, Context]:
    """The worker's Faust app; raises ConfigError for wrong rules or statistics. Topics must be declared before.

    `home` is the worker's own folder; without it tables are kept in memory only.
    """
    store = settings.worker.store if home else "memory"
    if store not in {"memory", "rocksdb"}:
        raise ConfigError(f"settings: worker.store: {store}", "memory or rocksdb")
    app = faust.App(
        app_id(settings.namespace),
        broker=brokers(settings.kafka.bootstrap),
        broker_credentials=credentials(settings.kafka.options),
        broker_client_id="netflight-worker",
        broker_session_timeout=10.0,
        broker_heartbeat_interval=2.0,
        broker_commit_interval=1.0,
        broker_rebalance_timeout=30.0,
        broker_max_poll_interval=300.0,
        broker_request_timeout=30.0,
        broker_max_poll_records=MAX_RECORDS,
        consumer_group_instance_id=f"{app_id(settings.namespace)}-{home.instance}" if home else None,
        # Faust refuses an assignment made for another URL, and a static member gets its former one: so the URL names
        # the worker, not its web port, which may be another after a restart.
        canonical_url=f"http://{home.instance}" if home else None,
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=MAX_MESSAGE + 1024**2,
        store=f"{store}://",
        datadir=str(home.path / "faust") if home else None,
        topic_allow_declare=False,
        topic_disable_leader=True,
        topic_partitions=settings.kafka.partitions,
        topic_replication_factor=settings.kafka.replication,
        table_standby_replicas=0,
        stream_ack_cancelled_tasks=False,
        stream_ack_exceptions=False,
        stream_wait_empty=True,
        stream_buffer_maxsize=STREAM_BUFFER,
        autodiscover=False,
        worker_redirect_stdouts=False,
        web_enabled=settings.worker.web_port > 0,
        web_bind=settings.worker.web_host,
        web_host=settings.worker.web_host,
        web_port=max(settings.worker.web_port, 1),
        web_router_enabled=False,
        web_tables_enabled=False,
        web_graph_enabled=False,
        web_stats_enabled=False,
        web_metrics_enabled=False,
        Table=PartitionTable,
    )
    context = _context(app, settings, store)
    _add_agents(app, context)
    return app, context


def _context(app: faust.App, settings: Settings, store: str) -> Context:
    options = dict(ROCKSDB) if store == "rocksdb" else {}
    tables = {
        name: app.Table(
            name,
            key_type=bytes,
            value_type=bytes,
            partitions=settings.kafka.partitions,
            options=dict(options),
            # Recovery reads batches, too, and writes two at a time: with one, Faust would read the changelog on when it
            # has recovered, and write old rows over new ones.
            schema=BatchSchema(),
            recovery_buffer_size=2,
        )
        for name in TABLES
    }
    worker = settings.worker
    return Context(
        app=app,
        settings=settings,
        rules=load_rule_set(settings),
        statistics=load_statistics(
            [RULES / "statistics", *worker.more_statistics], worker.window, worker.statistics
        ),
        partitions=settings.kafka.partitions,
        parts=tables["parts"],
        merged=tables["merged"],
        merge_topic=merge_topic(settings.namespace),
        outbox=Outbox(app),
        sender=Sender(settings.kafka),
        telemetry=Telemetry("worker"),
    )


def _add_agents(app: faust.App, context: Context) -> None:
    events, merge = EventsAgent(context), MergeAgent(context)
    settings = context.settings
    batches = BatchSchema()
    # concurrency stays 1: Faust's commits could pass a batch that is still at work
    sources = app.topic(*event_topics(settings.namespace), schema=batches)
    app.agent(sources, name="events", concurrency=1)(events.run)
    app.agent(app.topic(context.merge_topic, schema=batches), name="merge", concurrency=1)(merge.run)
    app.timer(min(1.0, settings.worker.idle_close / 2), on_leader=False)(events.close_idle)
    app.timer(1.0, on_leader=False)(merge.load)
    _tell_recovery(app, context)

    def waiting() -> int:
        return events.waiting() + merge.waiting() + context.outbox.waiting

    add_pages(app, context.telemetry, waiting)


def _tell_recovery(app: faust.App, context: Context) -> None:
    """Say how many rows came back from the changelogs after partitions were assigned, and how long it took."""
    tables = (context.parts, context.merged)
    told = {"rows": 0, "began": time.monotonic()}

    @app.on_partitions_assigned.connect  # type: ignore[untyped-decorator]
    async def _assigned(*_args: Any, **_named: Any) -> None:
        told["began"] = time.monotonic()

    @app.on_rebalance_complete.connect  # type: ignore[untyped-decorator]
    async def _complete(*_args: Any, **_named: Any) -> None:
        rows = sum(table.recovered for table in tables)
        seconds = time.monotonic() - told["began"]
        new, told["rows"] = rows - int(told["rows"]), rows
        context.telemetry.count("recovered_rows", amount=new)
        sys.stderr.write(
            f"worker: ready; {new:,} rows of tables read from the changelogs in {seconds:.1f} s\n"
        )
        sys.stderr.flush()


def run_worker(settings: Settings, *, stop: threading.Event | None = None) -> int:
    """Run a worker until SIGTERM, SIGINT or `stop`; return 0 after a clean stop, 1 after a failure.

    Raises ConfigError for wrong rules or settings and BrokerError where Kafka does not answer at the start; a
    broker that goes away later is waited for.
    """
    declare_topics(settings)
    with worker_home(settings.state, settings.namespace) as home:
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        app, context = build_app(settings, home)
        reports = loop.create_task(context.sender.run())
        if settings.worker.web_port > 0:
            home.announce(settings.worker.web_host, settings.worker.web_port)
        worker = faust.Worker(app, loglevel="WARNING", quiet=True, loop=loop, workdir=Path.cwd())
        worker.spinner = None
        seldom = Seldom(COMPLAINT_SECONDS)
        for name in COMPLAINING:
            logging.getLogger(f"aiokafka{name}").addFilter(seldom)
        if stop is not None:
            _stop_with(app, worker, stop)
        try:
            worker.execute_from_commandline()
        except SystemExit as error:
            clean = not error.code and not app.crashed
        except Exception as error:  # noqa: BLE001 - told in one line; Faust has logged the rest
            sys.stderr.write(f"worker: {error}\n")
            clean = False
        reports.cancel()
        context.sender.close()
        if clean:
            home.mark_clean()
        return 0 if clean else 1


def _stop_with(app: faust.App, worker: faust.Worker, stop: threading.Event) -> None:
    @app.timer(0.2, on_leader=False)  # type: ignore[untyped-decorator]
    async def _watch() -> None:
        if stop.is_set():
            worker._on_sigterm()  # noqa: SLF001 - what Faust does on SIGTERM, without the signal
