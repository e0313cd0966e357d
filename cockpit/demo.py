"""The demo: one capture through real tshark, Kafka, Faust and Elasticsearch, and what came out of it."""

import contextlib
import time
from collections.abc import Iterator
from functools import partial
from importlib import resources
from pathlib import Path
from threading import Event
from typing import Any

import orjson
from elasticsearch import Elasticsearch

from cockpit import demo_report
from cockpit.pipeline import SINK, WORKER, forget_events, settle, start_parts
from cockpit.stack import Stack, up
from cockpit.stack.fetch import exclusive
from cockpit.stack.machine import open_folder
from cockpit.terminal import account, note, stderr, watching
from producers.publisher import Publisher
from producers.run import Outcome, Runner
from runtime.errors import BrokerError, UsageError
from runtime.kafka import ensure_topics
from runtime.lifecycle import stop_on_signals
from runtime.settings import Settings, state_dir
from runtime.telemetry import Telemetry, peak_rss_bytes, write_summary
from schemas.topics import topic_settings

NAME = NAMESPACE = "demo"
SAMPLE = ("office_day", "capture.pcap")
IDLE_CLOSE_SECONDS = 3.0
QUIET_SECONDS = 2.0
LIMIT_SECONDS = 120.0
INTERRUPTED = 130


def run_demo(capture: Path | None, *, keep: bool, summary: Path | None) -> int:
    """Run the demo and print its report; returns the exit code. Nothing is left running unless `keep`.

    One at a time: a demo begins with empty topics, which would be another's.
    """
    if capture is not None and not capture.exists():
        raise UsageError(f"{capture}: no such file", "netflight demo without a name plays a sample")
    open_folder(state_dir())
    waiting = partial(_tell, "another demo is running: waiting for its end")
    with _sample(capture) as path, exclusive(state_dir() / ".demo.lock", waiting):
        stack = up(NAME, report=_tell, quick=True)
        with stop_on_signals() as stop:
            return _run(stack, path, stop, keep=keep, summary=summary)


def _run(stack: Stack, path: Path, stop: Event, *, keep: bool, summary: Path | None) -> int:
    """Play, wait, report, and stop what need not stay; returns the exit code."""
    try:
        settings = Settings.load(
            namespace=NAMESPACE,
            kafka={"bootstrap": stack.kafka_bootstrap},
            elasticsearch={"urls": [stack.elasticsearch_url]},
        )
        outcome = _play(stack, settings, path, stop)
        counts = {} if stop.is_set() else _finish(stack, settings, stop)
        if stop.is_set():
            _tell("stopping what was started")
            return INTERRUPTED
        client = Elasticsearch(settings.elasticsearch.urls)
        demo_report.show(client, NAMESPACE, outcome, counts)
        write_summary(summary, _summary(outcome, counts))
        if keep:
            start_parts(stack, NAMESPACE, _worker_settings())
        demo_report.show_next(stack, keep=keep)
        return 1 if outcome.errors else 0
    finally:
        if not keep or stop.is_set():
            stack.down()


def _play(stack: Stack, settings: Settings, path: Path, stop: Event) -> Outcome:
    """Begin afresh in Kafka, start the parts, and publish the capture."""
    forget_events(stack, settings)
    ensure_topics(settings.kafka, topic_settings(NAMESPACE))
    _tell("starting the Faust worker and the Elasticsearch sink")
    _summary_file(stack).unlink(missing_ok=True)
    start_parts(stack, NAMESPACE, _worker_settings(), _summary_file(stack))
    _tell(f"playing {Path(*path.parts[-2:])}")
    telemetry = Telemetry("producer")
    publisher = Publisher(settings, telemetry, stop, note)
    with watching(quiet=False) as watch:
        outcome = Runner(settings, publisher.publish, stop, watch, telemetry, tell=_tell).run_paths(
            [str(path)]
        )
    try:
        publisher.close()
    except BrokerError as error:
        outcome.errors.append(error)
    account(outcome, "published to Kafka", quiet=False)
    return outcome


def _finish(stack: Stack, settings: Settings, stop: Event) -> dict[str, Any]:
    """Wait until everything has been delivered, stop the sink, and return what it counted; nothing if stopped."""
    with (
        stderr.status("worker and sink at work") if stderr.is_terminal else contextlib.nullcontext() as status
    ):

        def told(left: int) -> None:
            if status is not None:
                status.update(f"worker and sink at work, {left:,} messages to go")

        started = time.monotonic()
        settle(stack, settings, QUIET_SECONDS, LIMIT_SECONDS, told=told, stop=stop)
    if stop.is_set():
        return {}
    _tell(f"everything delivered, {time.monotonic() - started:.0f} s")
    for part in (WORKER, SINK):
        stack.stop_part(part)
    counts: dict[str, Any] = orjson.loads(_summary_file(stack).read_bytes())
    return counts


def _summary(outcome: Outcome, counts: dict[str, Any]) -> dict[str, Any]:
    delivered = {name: counts.get(name, 0) for name in ("indexed", "duplicates", "dead_letters")}
    return {**outcome.summary(), **delivered, "peak_rss_bytes": peak_rss_bytes()}


def _summary_file(stack: Stack) -> Path:
    return stack.folder / "sink-summary.json"


def _worker_settings() -> dict[str, str]:
    """A capture ends, where an interface goes on: windows may close soon after the last event."""
    return {"NETFLIGHT_WORKER__IDLE_CLOSE": str(IDLE_CLOSE_SECONDS)}


@contextlib.contextmanager
def _sample(capture: Path | None) -> Iterator[Path]:
    """The capture that was named, else the sample as a file."""
    if capture is not None:
        yield capture
        return
    with resources.as_file(resources.files("samples").joinpath(*SAMPLE)) as path:
        yield path


def _tell(text: str) -> None:
    stderr.print(f"[bold cyan]»[/] {text}")
