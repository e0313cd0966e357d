"""`netflight capture`: packets from an interface or captures to Kafka."""

from typing import Annotated

import typer

from cockpit.commands.decode import Namespace, Quiet, Sensor, Summary, exit_code
from cockpit.context import settings_for
from cockpit.terminal import account, note, watching
from runtime.errors import BrokerError, UsageError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel="Packets")(capture)


def capture(
    paths: Annotated[
        list[str] | None,
        typer.Argument(metavar="PATH...", help="Captures, folders, or - for standard input."),
    ] = None,
    interface: Annotated[
        str | None, typer.Option("--interface", "-i", metavar="IF", help="Capture from this interface.")
    ] = None,
    capture_filter: Annotated[
        str, typer.Option("--filter", "-f", metavar="BPF", help="Capture only what this filter lets through.")
    ] = "",
    summary: Summary = None,
    namespace: Namespace = None,
    sensor: Sensor = None,
    quiet: Quiet = False,
) -> None:
    """Decode packets and publish the events to Kafka, until the captures end or Ctrl-C.

    [dim]netflight capture -i eth0 --filter "not port 9092"[/dim]

    [dim]netflight capture --namespace case_42 evidence.pcapng[/dim]
    """
    from producers.publisher import Publisher
    from producers.run import Runner
    from producers.sources.live import LiveSource
    from runtime.lifecycle import stop_on_signals
    from runtime.telemetry import Telemetry, write_summary

    if bool(paths) == bool(interface):
        raise UsageError("capture: name an interface with -i, or captures", "netflight capture --help")
    settings = settings_for(namespace=namespace, sensor=sensor)
    telemetry = Telemetry("producer")
    with stop_on_signals() as stop:
        publisher = Publisher(settings, telemetry, stop, note)
        with watching(quiet=quiet) as watch:
            runner = Runner(settings, publisher.publish, stop, watch, telemetry)
            if interface:
                outcome = runner.run_source(LiveSource(interface, capture_filter))
            else:
                outcome = runner.run_paths(paths or [])
            try:
                publisher.close()
            except BrokerError as error:
                outcome.errors.append(error)
        interrupted = stop.is_set() and interface is None
    account(outcome, f"published to netflight.{settings.namespace}.*", quiet=quiet)
    write_summary(summary, outcome.summary())
    raise typer.Exit(exit_code(outcome.errors, interrupted=interrupted))
