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
from producers.engine.twin.engine import FlowEngine
from producers.engine.model import Accounting
from producers.pipeline import DecodePlan, Emit, Pipeline, decode_plan, start_tshark
from producers.sources.opening import Skipped, expand, open_path
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


@dataclass(frozen=True)
class Runner:
    """Decodes sources and hands their events to `emit`, until they end or `stop` is set.

    Errors of a source are in the outcome, not raised; what `emit` raises is.
    """

    settings: Settings
    emit: Emit
    stop: threading.Event
    progress: Progress | None = None
    telemetry: Telemetry = field(default_factory=lambda: Telemetry("producer"))

    def run_paths(self, paths: Sequence[str]) -> Outcome:
        """Decode captures, folders and `-`, in their order."""
        expanded = expand(paths)
        outcome = Outcome(skipped=list(expanded.skipped), telemetry=self.telemetry)
        plan = decode_plan()
        ahead: Tshark | None = None
        try:
            for index, path in enumerate(expanded.captures):
                if self.stop.is_set():
                    break
                try:
                    source = open_path(path)
                except NetflightError as error:
                    outcome.errors.append(error)
                    continue
                tshark = ahead or start_tshark(plan)
                more = index + 1 < len(expanded.captures)
                ahead = start_tshark(plan) if more else None
                self._run(source, outcome, plan, tshark)
        finally:
            if ahead is not None:
                ahead.close()
        return outcome

    def run_source(self, source: Source) -> Outcome:
        """Decode one source, an interface for example."""
        outcome = Outcome(telemetry=self.telemetry)
        plan = decode_plan()
        self._run(source, outcome, plan, start_tshark(plan))
        return outcome

    def _run(self, source: Source, outcome: Outcome, plan: DecodePlan, tshark: Tshark) -> None:
        before = outcome.accounting.read
        settings = self.settings
        pipeline = Pipeline(
            source,
            FlowEngine(),
            plan,
            builder=EventBuilder(settings.namespace, settings.sensor, settings.local_networks),
            emit=self.emit,
            telemetry=self.telemetry,
            tshark=tshark,
        )
        outcome.captures += 1

        def told(accounting: Accounting, share: float | None) -> None:
            if self.progress is not None:
                self.progress(source.path, before + accounting.read, share)

        try:
            pipeline.run(self.stop, told)
        except NetflightError as error:
            outcome.errors.append(error)
        finally:
            outcome.absorb(pipeline.accounting)
