"""`netflight decode`: captures to ECS events as NDJSON, without Kafka."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Annotated

import typer

from cockpit.context import settings_for
from cockpit.terminal import account, watching
from runtime.errors import NetflightError, UsageError
from schemas.events import Event

Paths = Annotated[
    list[str],
    typer.Argument(metavar="PATH...", help="Captures, folders with captures, or - for standard input."),
]
Summary = Annotated[Path | None, typer.Option(metavar="FILE", help="Write what was done to FILE, as JSON.")]
Namespace = Annotated[
    str | None,
    typer.Option(metavar="NS", help="The namespace of topics and data streams.", show_default="default"),
]
Sensor = Annotated[
    str | None, typer.Option(metavar="NAME", help="This sensor's name.", show_default="the host's name")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel="Packets")(decode)


def decode(
    paths: Paths,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write the events to FILE.")
    ] = None,
    summary: Summary = None,
    namespace: Namespace = None,
    sensor: Sensor = None,
    quiet: Quiet = False,
) -> None:
    """Decode captures to ECS events, one JSON object a line, on stdout or in FILE.

    A bad capture is an error on stderr; the others are still decoded.

    [dim]netflight decode capture.pcap | jq .network.protocol[/dim]

    [dim]netflight decode captures/ -o events.ndjson --summary summary.json[/dim]

    [dim]zcat big.pcap.gz | netflight decode - | head[/dim]
    """
    import orjson

    from producers.run import Runner
    from runtime.lifecycle import stop_on_signals
    from runtime.telemetry import write_summary

    settings = settings_for(namespace=namespace, sensor=sensor)
    with _opened(output) as stream, stop_on_signals() as stop, watching(quiet=quiet) as watch:

        def write(event: Event) -> None:
            try:
                stream.write(orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE))
            except BrokenPipeError:
                _let_go(stream)
                raise typer.Exit(0) from None

        outcome = Runner(settings, write, stop, watch).run_paths(paths)
        stream.flush()
        interrupted = stop.is_set()
    account(outcome, "decoded", quiet=quiet)
    write_summary(summary, outcome.summary())
    raise typer.Exit(exit_code(outcome.errors, interrupted=interrupted))


def _let_go(stream: IO[bytes]) -> None:
    """The reader has gone, as `head` does, and nothing is wrong: what is still in the buffer goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def exit_code(errors: Sequence[NetflightError], *, interrupted: bool) -> int:
    """0 done, 1 failed, 2 when nothing but the usage was wrong, 130 when interrupted."""
    if interrupted:
        return 130
    if not errors:
        return 0
    return 2 if all(isinstance(error, UsageError) for error in errors) else 1


def _opened(output: Path | None) -> IO[bytes]:
    if output is None:
        return open(sys.stdout.fileno(), "wb", buffering=1 << 16, closefd=False)
    try:
        return output.open("wb", buffering=1 << 16)
    except OSError as error:
        raise UsageError(
            f"{output}: {error.strerror}", "--output names a file that can be written"
        ) from error
