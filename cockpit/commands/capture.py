"""`netflight capture`: packets from an interface or captures to Kafka."""

import typer

from cockpit.commands.options import (
    Filter,
    Interface,
    Namespace,
    Paths,
    Quiet,
    Sensor,
    Summary,
    exit_code,
    require_one_source,
)
from cockpit.context import settings_for
from cockpit.terminal import account, note, watching
from runtime.errors import BrokerError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel="Packets")(capture)


def capture(
    paths: Paths = None,
    interface: Interface = None,
    capture_filter: Filter = "",
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

    require_one_source("capture", paths, interface)
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
