"""What a person sees: errors, progress and the closing account on stderr, so that stdout carries data alone."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from runtime.names import shown

if TYPE_CHECKING:
    from producers.run import Outcome

stderr = Console(stderr=True, highlight=False)
stdout = Console(highlight=False)

_SHOWN = 5


def complain(text: str) -> None:
    """One line on stderr that says what is wrong."""
    stderr.print(f"[bold red]error:[/] {escape(shown(text))}", soft_wrap=not stderr.is_terminal)


def warn(text: str) -> None:
    """One line on stderr about what is accepted and yet hardly meant."""
    stderr.print(f"[yellow]warning:[/] {escape(text)}", soft_wrap=not stderr.is_terminal)


def note(text: str) -> None:
    """One line on stderr; a terminal wraps it at words, a log gets it whole."""
    stderr.print(escape(shown(text)), soft_wrap=not stderr.is_terminal)


def tell(text: str) -> None:
    """One line on stderr that says what is being done."""
    stderr.print(f"[bold cyan]»[/] {escape(shown(text))}", soft_wrap=not stderr.is_terminal)


def printable(text: str, limit: int = 0) -> str:
    """A text from the wire made safe to show: what is not plain print is a dot, the middle of a long one is cut."""
    safe = "".join(
        character if character.isascii() and character.isprintable() else "·" for character in text
    )
    if limit and len(safe) > limit:
        safe = f"{safe[: limit - 12]}...{safe[-9:]}"
    return safe


@contextmanager
def watching(*, quiet: bool, total: int | None = None) -> Iterator["Watch"]:
    """Progress of a run on stderr, where that is a terminal and `quiet` is not asked for."""
    if quiet or not stderr.is_terminal:
        yield Watch(None, total)
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TextColumn("{task.fields[packets]:,} packets, {task.fields[rate]:,}/s"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=stderr, transient=True, refresh_per_second=5) as progress:
        yield Watch(progress, total)


class Watch:
    """Called with the capture's path, the packets read so far and the share of the capture that is done."""

    def __init__(self, progress: Progress | None, total: int | None) -> None:
        self._progress = progress
        self._task = progress.add_task("", total=total, packets=0, rate=0) if progress else None
        self._started = time.monotonic()
        self._shown = 0.0

    def __call__(self, path: str, packets: int, share: float | None) -> None:
        """Show where the run is, at most ten times a second."""
        now = time.monotonic()
        if self._progress is None or self._task is None or now - self._shown < 0.1:
            return
        self._shown = now
        rate = round(packets / max(now - self._started, 0.001))
        name = Path(path).name if path else "capturing"
        self._progress.update(
            self._task,
            description=name[:30],
            total=None if share is None else 100,
            completed=(share or 0) * 100,
            packets=packets,
            rate=rate,
        )


def account(outcome: "Outcome", done: str, *, quiet: bool) -> None:
    """Tell what a run did with every packet, what it skipped and what went wrong."""
    for error in outcome.errors:
        complain(str(error))
    if quiet:
        return
    packets, seconds = outcome.accounting, outcome.telemetry.seconds()
    note(
        f"{packets.read:,} packets read = {packets.in_flows:,} in flows + {packets.not_ip:,} not IP"
        f" + {packets.malformed:,} malformed"
        + (f" + {packets.ignored:,} ignored by the policy" if packets.ignored else "")
        + f"; {packets.dropped:,} dropped by the kernel"
    )
    events = {name.rpartition(".")[2]: n for name, n in outcome.telemetry.labels("events").items()}
    told = ", ".join(f"{name} {n:,}" for name, n in sorted(events.items(), key=lambda item: -item[1]))
    note(f"{sum(events.values()):,} events {done}" + (f": {told}" if told else ""))
    for reason, lost in outcome.telemetry.labels("undecoded").items():
        note(f"{lost:,} packets counted in flows but not decoded: {reason}")
    for reason, lost in outcome.telemetry.labels("lost").items():
        note(f"{lost:,} {reason}")
    if any(outcome.restarts):
        note(f"tshark was started again {sum(outcome.restarts):,} times")
    if outcome.quarantined:
        note(f"{len(outcome.quarantined):,} packets kept in quarantine: {_some(outcome.quarantined)}")
    if outcome.skipped:
        names = [f"{item.path} ({item.reason})" for item in outcome.skipped]
        note(f"{len(names):,} skipped, no captures: {_some(names)}")
    rate = round(packets.read / seconds) if seconds else 0
    sources = "1 source" if outcome.captures == 1 else f"{outcome.captures:,} sources"
    note(f"{sources} in {seconds:.1f} s, {rate:,} packets/s")


def _some(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more:,} more" if more > 0 else "")
