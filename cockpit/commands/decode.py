"""`netflight decode`: packets to ECS events as NDJSON, without Kafka."""

import os
import sys
from pathlib import Path
from typing import IO, Annotated, Self

import orjson
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
from cockpit.outputs import STREAM, refuse_inputs
from cockpit.terminal import account, tell, watching
from runtime.errors import NetflightError, UsageError
from schemas.events import Event


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel="Packets")(decode)


def decode(
    paths: Paths = None,
    interface: Interface = None,
    capture_filter: Filter = "",
    follow: Follow = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write the events to FILE.")
    ] = None,
    summary: Summary = None,
    namespace: Namespace = None,
    sensor: Sensor = None,
    policy: Policy = None,
    quiet: Quiet = False,
) -> None:
    """Decode packets to ECS events, one JSON object a line, on stdout or in FILE.

    A bad capture is an error on stderr; the others are still decoded.

    [dim]netflight decode capture.pcap | jq .network.protocol[/dim]

    [dim]netflight decode captures/ -o events.ndjson --summary summary.json[/dim]

    [dim]zcat big.pcap.gz | netflight decode - | head[/dim]

    [dim]netflight decode -i eth0 --filter "port 53"[/dim]

    [dim]dumpcap -i eth0 -b filesize:100000 -b files:50 -w ring/eth0.pcapng & netflight decode --follow ring[/dim]
    """
    from producers.ahead import Ahead
    from runtime.lifecycle import stop_on_signals
    from runtime.telemetry import write_summary

    require_one_source("decode", paths, interface)
    refuse_inputs(
        [*(paths or []), *([policy] if policy else [])], {"--output": output or STREAM, "--summary": summary}
    )
    settings = settings_for(namespace=namespace, sensor=sensor, policy=policy)
    with Ahead(settings.tshark) as ahead, stop_on_signals() as stop, watching(quiet=quiet) as watch:
        ahead.begin(paths or [])
        from producers.run import Runner  # it takes a while, in which the tsharks start

        source = live_source(settings, paths, interface, capture_filter, follow=follow)
        with Lines(output, live=source is not None) as lines:
            runner = Runner(settings, lines.write, stop, watch, tell=tell, ahead=ahead)
            outcome = runner.run_source(source) if source is not None else runner.run_paths(paths or [])
        interrupted = stop.is_set() and source is None
    account(outcome, "decoded", quiet=quiet)
    write_summary(summary, outcome.summary())
    raise typer.Exit(exit_code(outcome.errors, interrupted=interrupted))


class Lines:
    """Events as lines of JSON, on stdout or in a file; `live` writes each at once.

    When the reader of stdout has gone, as `head` does, the command ends, and nothing is wrong.
    """

    def __init__(self, output: Path | None, *, live: bool) -> None:
        self._output, self._live = output, live
        self._stream = _opened(output)

    def __enter__(self) -> Self:
        return self

    def write(self, event: Event) -> None:
        """Write an event; raises typer.Exit when nobody reads any more."""
        try:
            self._stream.write(orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE))
            if self._live:
                self._stream.flush()
        except BrokenPipeError:
            self._let_go()
            raise typer.Exit(0) from None
        except OSError as error:
            raise self._full(error) from error

    def __exit__(self, *_error: object) -> None:
        try:
            self._stream.flush()
        except BrokenPipeError:
            self._let_go()
        except OSError as error:
            self._let_go()
            raise self._full(error) from error
        finally:
            self._stream.close()

    def _full(self, error: OSError) -> NetflightError:
        return NetflightError(
            f"{self._output or 'standard output'}: {error.strerror}; the events are not complete",
            "make room and run the same command again",
        )

    def _let_go(self) -> None:
        """What is still in the buffer goes nowhere, so that closing does not complain again."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)


def _opened(output: Path | None) -> IO[bytes]:
    if output is None:
        return os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=1 << 16)
    try:
        return output.open("wb", buffering=1 << 16)
    except OSError as error:
        raise UsageError(
            f"{output}: {error.strerror}", "--output names a file that can be written"
        ) from error
