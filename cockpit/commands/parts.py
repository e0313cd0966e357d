"""`netflight worker` and `netflight sink`: the long-running parts."""

from pathlib import Path
from typing import Annotated

import typer

from cockpit.commands.options import Namespace, Summary
from cockpit.context import settings_for
from runtime.errors import UsageError


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(rich_help_panel="Long-running parts")(worker)
    app.command(rich_help_panel="Long-running parts")(sink)


def worker(
    namespace: Namespace = None,
    rules: Annotated[
        list[Path] | None, typer.Option(metavar="PATH", help="More Sigma rules: files or folders.")
    ] = None,
) -> None:
    """Run statistics and rules over the events in Kafka, until stopped.

    [dim]netflight worker --namespace case_42 --rules my-rules/[/dim]
    """
    from runtime.telemetry import setup_logging
    from streams.app import run_worker

    setup_logging()
    more = {"worker": {"rules": [str(path) for path in rules]}} if rules else {}
    raise typer.Exit(run_worker(settings_for(namespace=namespace, **more)))


def sink(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The destination: elasticsearch.")],
    namespace: Namespace = None,
    until_idle: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Stop when nothing has come for so long.")
    ] = None,
    summary: Summary = None,
) -> None:
    """Deliver events, statistics and alerts from Kafka to a destination, until stopped.

    [dim]netflight sink elasticsearch[/dim]
    """
    from runtime.lifecycle import stop_on_signals
    from runtime.telemetry import setup_logging
    from sinks.registry import DESTINATIONS
    from sinks.runner import run_sink

    if name not in DESTINATIONS:
        raise UsageError(
            f"sink {name}: there is no such destination", f"one of {', '.join(sorted(DESTINATIONS))}"
        )
    setup_logging()
    with stop_on_signals() as stop:
        run_sink(name, settings_for(namespace=namespace), stop=stop, summary=summary, until_idle=until_idle)
