"""The worker and the sink as parts of a local stack: start, settle, begin afresh."""

import json
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterable
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition

from cockpit.stack import Stack
from cockpit.stack.machine import choose_port
from runtime.errors import StackError
from runtime.kafka import admin, consumer, delete_topics
from runtime.settings import Settings
from schemas.topics import PREFIX, event_topics, sink_topics
from sinks.runner import group_id
from streams.app import app_id, internal_topics
from streams.home import worker_addresses

WEB_PORT = 6066
WORKER, SINK = "worker", "sink-elasticsearch"
_ANSWER_SECONDS = 15.0
_LOOK_SECONDS = 0.5
_HEALTH_SECONDS = 2.0


def start_parts(
    stack: Stack, namespace: str, env: dict[str, str] | None = None, summary: Path | None = None
) -> None:
    """Start the worker and the Elasticsearch sink on a namespace, where they do not run yet.

    The worker's web port is a free one, so that the workers of two stacks do not meet.
    """
    port = choose_port(None, WEB_PORT, set(), WORKER)
    env = {"NETFLIGHT_WORKER__WEB_PORT": str(port), **(env or {})}
    more = ["--summary", str(summary)] if summary else []
    commands = {
        WORKER: ["worker", "--namespace", namespace],
        SINK: ["sink", "elasticsearch", "--namespace", namespace, *more],
    }
    for part, arguments in commands.items():
        if not stack.part_alive(part):
            stack.spawn(part, [sys.executable, "-m", "cockpit", *arguments], env)


def forget_events(stack: Stack, settings: Settings) -> None:
    """Take a namespace's events and tables away from Kafka and the worker; what is indexed stays.

    With its topics a namespace's committed offsets go too.
    """
    for part in (WORKER, SINK):
        stack.stop_part(part)
    client = admin(settings.kafka, "netflight-forget")
    prefixes = (f"{PREFIX}.{settings.namespace}.", f"{app_id(settings.namespace)}-")
    names = client.list_topics(timeout=_ANSWER_SECONDS).topics
    delete_topics(settings.kafka, [name for name in names if name.startswith(prefixes)])
    shutil.rmtree(
        Path(stack.environment()["NETFLIGHT_STATE"]) / "worker" / settings.namespace, ignore_errors=True
    )


def settle(  # noqa: PLR0913  # each named
    stack: Stack,
    settings: Settings,
    quiet: float,
    limit: float,
    *,
    told: Callable[[int], None] = lambda _left: None,
    stop: threading.Event | None = None,
) -> None:
    """Wait until the worker and the sink have read everything and nothing new has come for `quiet` seconds.

    A worker has also to say that nothing it has read waits for its window to close. `told` hears how many messages are
    left; `stop` ends the waiting. Raises StackError when a part has
    died, or when for `limit` seconds nothing has moved.
    """
    names = settings.namespace
    stop = stop or threading.Event()
    readers = {
        app_id(names): [*event_topics(names), *(t for t in internal_topics(names) if t.endswith("-merge"))],
        group_id("elasticsearch", names): sink_topics(names),
    }
    clients = {group: consumer(settings.kafka, group, "netflight-settle") for group in readers}
    ends, since = -1, time.monotonic()
    before, moved = (-1, -1), time.monotonic()
    try:
        while not stop.is_set():
            for part in (WORKER, SINK):
                if not stack.part_alive(part):
                    raise StackError(f"{part} has stopped", f"its log: {stack.log(part)}")
            now = time.monotonic()
            try:
                counts = [position(clients[group], topics) for group, topics in readers.items()]
            except KafkaException:
                since = now  # a coordinator that moves or loads; asked again
                counts = [(1, ends)]
            left, end = sum(lag for lag, _ in counts), sum(end for _, end in counts)
            told(left)
            if left or end != ends or not _workers_done(stack, names):
                ends, since = end, now
            elif now - since >= quiet:
                return
            if (left, end) != before:
                before, moved = (left, end), now
            if now - moved > limit:
                raise StackError(
                    f"{left:,} messages are still to be read, and for {limit:.0f} s none was",
                    f"the parts' logs: {stack.log(WORKER).parent}",
                )
            stop.wait(_LOOK_SECONDS)
    finally:
        for client in clients.values():
            client.close()


def _workers_done(stack: Stack, namespace: str) -> bool:
    """Whether every worker of the stack is at work and has nothing left that waits for a window to close."""
    addresses = worker_addresses(Path(stack.environment()["NETFLIGHT_STATE"]), namespace)
    told = [_health(address) for address in addresses]
    ready = [each for each in told if each is not None]
    done = len(ready) == len(told) and all(each["waiting"] == 0 for each in ready)
    return done and any(each["partitions"] for each in ready)


def _health(address: str) -> dict[str, Any] | None:
    """What a worker says of itself; None while it starts, or was killed and starts again."""
    connection = HTTPConnection(address, timeout=_HEALTH_SECONDS)
    try:
        connection.request("GET", "/health")
        answer = connection.getresponse()
        told: dict[str, Any] = json.loads(answer.read())
    except (OSError, HTTPException, ValueError):
        return None
    finally:
        connection.close()
    return told if answer.status == HTTPStatus.OK else None


def position(client: Consumer, topics: Iterable[str]) -> tuple[int, int]:
    """How many messages of the topics the group has still to read, and the sum of the topics' ends."""
    left = ends = 0
    known = client.list_topics(timeout=_ANSWER_SECONDS).topics
    places = [
        TopicPartition(name, part) for name in topics if name in known for part in known[name].partitions
    ]
    for place in client.committed(places, timeout=_ANSWER_SECONDS):
        low, high = client.get_watermark_offsets(
            TopicPartition(place.topic, place.partition), _ANSWER_SECONDS
        )
        left += high - max(place.offset, low)
        ends += high
    return left, ends
