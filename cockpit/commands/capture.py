"""`netflight capture`: packets from an interface or captures to Kafka."""

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from cockpit.commands.options import (
    Filter,
    Interface,
    Namespace,
    Paths,
    Policy,
    Quiet,
    Sensor,
    Summary,
    exit_code,
    require_one_source,
)
from cockpit.context import settings_for
from cockpit.live import Follow, live_source
from cockpit.outputs import refuse_folder, refuse_inputs
from cockpit.terminal import account, note, tell, watching
from runtime.errors import BrokerError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel="Packets")(capture)


def capture(
    paths: Paths = None,
    interface: Interface = None,
    capture_filter: Filter = "",
    follow: Follow = False,
    summary: Summary = None,
    namespace: Namespace = None,
    sensor: Sensor = None,
    policy: Policy = None,
    record: Annotated[
        bool, typer.Option("--record", help="Record packets in the ring too, as the policy says.")
    ] = False,
    ring: Annotated[
        Path | None,
        typer.Option(
            "--ring", metavar="FOLDER", help="Record in this ring.", show_default="NETFLIGHT_RECORDER__FOLDER"
        ),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Decode packets and publish the events to Kafka, until the captures end or Ctrl-C.

    [dim]netflight capture -i eth0 --filter "not port 9092"[/dim]

    [dim]netflight capture --follow ring[/dim]

    [dim]netflight capture --namespace case_42 evidence.pcapng[/dim]

    [dim]netflight capture -i eth0 --record[/dim]
    """
    from cockpit.recording import recording, ring_folder, tell_recorded
    from producers.publisher import Publisher
    from producers.run import Runner
    from runtime.lifecycle import stop_on_signals
    from runtime.telemetry import Telemetry, write_summary

    require_one_source("capture", paths, interface)
    refuse_inputs([*(paths or []), *([policy] if policy else [])], {"--summary": summary})
    settings = settings_for(namespace=namespace, sensor=sensor, policy=policy)
    if record or ring:
        refuse_folder(paths or [], "--ring", ring or ring_folder(settings))
    source = live_source(settings, paths, interface, capture_filter, follow=follow)
    telemetry = Telemetry("producer")
    with stop_on_signals() as stop, ExitStack() as open_parts:
        publisher = Publisher(settings, telemetry, stop, note)
        recorder = None
        if record or ring:
            parts = recording(settings, telemetry, ring, live=source is not None)
            recorder = open_parts.enter_context(parts)
        with watching(quiet=quiet) as watch:
            emit = publisher.publish
            runner = Runner(settings, emit, stop, watch, telemetry, recorder=recorder, tell=tell)
            outcome = runner.run_source(source) if source is not None else runner.run_paths(paths or [])
            try:
                publisher.close()
            except BrokerError as error:
                outcome.errors.append(error)
        interrupted = stop.is_set() and source is None
    account(outcome, f"published to netflight.{settings.namespace}.*", quiet=quiet)
    if recorder and not quiet:
        tell_recorded(recorder)
    recorded = {"recorded": recorder.summary()} if recorder else {}
    write_summary(summary, {**outcome.summary(), **recorded})
    raise typer.Exit(exit_code(outcome.errors, interrupted=interrupted))
