"""Running sources one after the other: what `decode` and `capture` have in common.

A bad capture is an error in the outcome; the others are still decoded. The next tshark starts while the one
before it works, because a capture must not see the state that another has left in tshark.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from producers.decoders.builder import EventBuilder
from producers.decoders.tshark import Tshark
from producers.engine.engine import FlowEngine
from producers.engine.model import Accounting
from producers.pipeline import DecodePlan, Emit, Pipeline, decode_plan, start_tshark
from producers.sources.opening import Expanded, Skipped, expand, open_path
from producers.sources.packet import Source
from runtime.errors import NetflightError
from runtime.settings import Settings
from runtime.telemetry import Telemetry, peak_rss_bytes


@dataclass
class Outcome:
    """What a run did: the accounting over all sources, what was wrong, what was passed over."""

    accounting: Accounting = field(default_factory=Accounting)
    errors: list[NetflightError] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    captures: int = 0
    telemetry: Telemetry = field(default_factory=lambda: Telemetry("producer"))

    def summary(self) -> dict[str, Any]:
        """The run as the `--summary` file tells it."""
        accounting = self.accounting
        seconds = self.telemetry.seconds()
        return {
            "packets": {
                "read": accounting.read,
                "in_flows": accounting.in_flows,
                "not_ip": accounting.not_ip,
                "malformed": accounting.malformed,
                "dropped": accounting.dropped,
            },
            "undecoded": self.telemetry.labels("undecoded"),
            "events": self.telemetry.labels("events"),
            "published": self.telemetry.total("published"),
            "captures": self.captures,
            "skipped": [{"path": item.path, "reason": item.reason} for item in self.skipped],
            "errors": [str(error) for error in self.errors],
            "seconds": round(seconds, 3),
            "packets_per_second": round(accounting.read / seconds) if seconds else 0,
            "peak_rss_bytes": peak_rss_bytes(),
        }

    def absorb(self, accounting: Accounting) -> None:
        """Add one source's accounting."""
        total = self.accounting
        total.read += accounting.read
        total.in_flows += accounting.in_flows
        total.not_ip += accounting.not_ip
        total.malformed += accounting.malformed
        total.dropped += accounting.dropped


# Hears of the capture being read, the packets read so far in all, and its share that is done.
Progress = Callable[[str, int, float | None], None]


def run_paths(
    paths: Sequence[str],
    settings: Settings,
    emit: Emit,
    stop: threading.Event,
    *,
    progress: Progress | None = None,
    telemetry: Telemetry | None = None,
) -> Outcome:
    """Decode captures, folders and `-` in their order; errors are in the outcome, not raised."""
    expanded: Expanded = expand(paths)
    outcome = Outcome(skipped=list(expanded.skipped), telemetry=telemetry or Telemetry("producer"))
    plan = decode_plan()
    ahead: Tshark | None = None
    try:
        for index, path in enumerate(expanded.captures):
            if stop.is_set():
                break
            try:
                source = open_path(path)
            except NetflightError as error:
                outcome.errors.append(error)
                continue
            tshark = ahead or start_tshark(plan, live=source.live)
            more = index + 1 < len(expanded.captures)
            ahead = start_tshark(plan, live=False) if more else None
            _run_one(source, outcome, (plan, settings, emit, stop), tshark, progress)
    finally:
        if ahead is not None:
            ahead.close()
    return outcome


def run_source(
    source: Source,
    settings: Settings,
    emit: Emit,
    stop: threading.Event,
    *,
    progress: Progress | None = None,
    telemetry: Telemetry | None = None,
) -> Outcome:
    """Decode one source, an interface for example, to its end or until `stop`."""
    outcome = Outcome(telemetry=telemetry or Telemetry("producer"))
    plan = decode_plan()
    tshark = start_tshark(plan, live=source.live)
    _run_one(source, outcome, (plan, settings, emit, stop), tshark, progress)
    return outcome


def _run_one(
    source: Source,
    outcome: Outcome,
    context: tuple[DecodePlan, Settings, Emit, threading.Event],
    tshark: Tshark,
    progress: Progress | None,
) -> None:
    plan, settings, emit, stop = context
    before = outcome.accounting.read
    pipeline = Pipeline(
        source,
        FlowEngine(),
        plan,
        builder=EventBuilder(settings.namespace, settings.sensor, settings.local_networks),
        emit=emit,
        telemetry=outcome.telemetry,
        tshark=tshark,
    )
    outcome.captures += 1

    def told(accounting: Accounting, share: float | None) -> None:
        if progress is not None:
            progress(source.path, before + accounting.read, share)

    try:
        pipeline.run(stop, told)
    except NetflightError as error:
        outcome.errors.append(error)
    finally:
        outcome.absorb(pipeline.accounting)

