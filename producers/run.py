"""Running sources one after the other: what `decode` and `capture` have in common.

A bad capture is an error in the outcome; the others are still decoded. The tsharks of the next capture start while
those before them work, because a capture must not see the state that another has left in tshark.
"""

import gc
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from producers.ahead import Ahead
from producers.compiled import is_cached
from producers.decoders import regroup
from producers.decoders.builder import EventBuilder
from producers.decoders.decoding import Decoding
from producers.decoders.plan import DecodePlan, decode_plan
from producers.decoders.pool import Limits, Pool
from producers.decoders.quarantine import Quarantine
from producers.decoders.tshark import Tshark
from producers.engine.engine import FlowEngine
from producers.engine.model import Accounting
from producers.engine.policy.policy import LivePolicy
from producers.files.watch import FileWatch
from producers.pipeline import Emit, Pipeline, Recorder
from producers.sources import scan
from producers.sources.opening import Skipped, expand, open_path
from producers.sources.packet import Source
from runtime.errors import NetflightError
from runtime.settings import Settings
from runtime.telemetry import Telemetry, peak_rss_bytes

_log = logging.getLogger(__name__)


@dataclass
class Outcome:
    """What a run did: the accounting over all sources, what was wrong, what was passed over.

    `rules` has what each rule of the policy took, `restarts` how often each child of the pool was started again,
    `quarantined` the files with packets that a tshark died on.
    """

    accounting: Accounting = field(default_factory=Accounting)
    errors: list[NetflightError] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    captures: int = 0
    rules: dict[str, dict[str, int]] = field(default_factory=dict)
    restarts: list[int] = field(default_factory=list)
    quarantined: list[str] = field(default_factory=list)
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
                "ignored": accounting.ignored,
                "dropped": accounting.dropped,
            },
            "rules": self.rules,
            "decoded": self.telemetry.total("decoded"),
            "undecoded": self.telemetry.labels("undecoded"),
            "lost": self.telemetry.labels("lost"),
            "restarts": self.restarts,
            "quarantined": self.quarantined,
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
        total.ignored += accounting.ignored
        total.dropped += accounting.dropped

    def add_restarts(self, restarts: Sequence[int]) -> None:
        """Add how often each child of a pool was started again."""
        more = len(restarts) - len(self.restarts)
        self.restarts += [0] * more
        for number, times in enumerate(restarts):
            self.restarts[number] += times


# Hears of the capture being read, the packets read so far in all, and its share that is done.
Progress = Callable[[str, int, float | None], None]


@dataclass(frozen=True)
class Runner:
    """Decodes sources and hands their events to `emit`, until they end or `stop` is set.

    Errors of a source are in the outcome, not raised; what `emit` raises is, and the PolicyError of a wrong policy.
    `policy` is a shipped policy's name or a file, the settings' if empty; it is read again when it changes.
    `tell` hears what a run waits for before it begins. `ahead` has the tsharks that were started already.
    """

    settings: Settings
    emit: Emit
    stop: threading.Event
    progress: Progress | None = None
    telemetry: Telemetry = field(default_factory=lambda: Telemetry("producer"))
    recorder: Recorder | None = None
    policy: str | Path = ""
    tell: Callable[[str], None] = _log.info
    ahead: Ahead | None = None

    def run_paths(self, paths: Sequence[str]) -> Outcome:
        """Decode captures, folders and `-`, in their order."""
        expanded = expand(paths)
        outcome = Outcome(skipped=list(expanded.skipped), telemetry=self.telemetry)
        plan, policy = decode_plan(), self._policy()
        self._warm(policy)
        captures = expanded.captures
        with self._ahead() as ahead:
            for index, path in enumerate(captures):
                if self.stop.is_set():
                    break
                try:
                    source = open_path(path)
                except NetflightError as error:
                    outcome.errors.append(error)
                    continue
                children = ahead.take(path)
                if index + 1 < len(captures):
                    ahead.prepare(captures[index + 1])
                self._run(source, outcome, plan, policy, ahead, children)
        return outcome

    def run_source(self, source: Source) -> Outcome:
        """Decode one source, an interface for example."""
        outcome = Outcome(telemetry=self.telemetry)
        plan, policy = decode_plan(), self._policy()
        self._warm(policy)
        with self._ahead() as ahead:
            self._run(source, outcome, plan, policy, ahead, ahead.take(""))
        return outcome

    def _ahead(self) -> Ahead:
        return self.ahead or Ahead(self.settings.tshark)

    def _policy(self) -> LivePolicy:
        return LivePolicy(self.policy or self.settings.policy, self.settings.local_networks)

    def _warm(self, policy: LivePolicy) -> None:
        """Compile or load native code while no source waits for it."""
        if not is_cached():
            self.tell("compiling the decision engine for this machine, once: about half a minute")
        FlowEngine(max_flows=1, policy=policy).warm()
        scan.warm()
        regroup.warm()

    def _run(  # noqa: PLR0913, PLR0917  # its parts, each named
        self,
        source: Source,
        outcome: Outcome,
        plan: DecodePlan,
        policy: LivePolicy,
        ahead: Ahead,
        children: list[Tshark],
    ) -> None:
        before = outcome.accounting.read
        settings = self.settings
        quarantine = Quarantine(settings.state / "quarantine")
        pool = Pool(
            ahead.start,
            partial(Decoding, plan),
            self.telemetry,
            children=children,
            quarantine=quarantine,
            limits=Limits(settings.tshark.memory),
        )
        pipeline = Pipeline(
            source,
            FlowEngine(policy=policy),
            plan,
            pool,
            builder=EventBuilder(
                settings.namespace,
                settings.sensor,
                settings.local_networks,
                secrets=settings.decode.secrets,
                maxmind=settings.decode.maxmind,
                content=settings.decode.content,
            ),
            emit=self.emit,
            telemetry=self.telemetry,
            recorder=self.recorder,
            files=FileWatch(settings.files.max_size, settings.files.memory, self.telemetry)
            if settings.files.enabled
            else None,
        )
        outcome.captures += 1

        def told(accounting: Accounting, share: float | None) -> None:
            if self.progress is not None:
                self.progress(source.path, before + accounting.read, share)

        try:
            with _rare_collections():
                pipeline.run(self.stop, told)
        except NetflightError as error:
            outcome.errors.append(error)
        finally:
            outcome.absorb(pipeline.accounting)
            outcome.rules = policy.figures()
            outcome.add_restarts(pool.restarts)
            outcome.quarantined += quarantine.files


@contextmanager
def _rare_collections() -> Iterator[None]:
    """Let the cycle collector look seldom: answers and events are trees, which reference counts free by themselves."""
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(100_000, 50, 50)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
