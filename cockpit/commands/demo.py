"""`netflight demo`: a real capture through everything, on this machine."""

from pathlib import Path
from typing import Annotated

import typer

from cockpit.commands.options import Summary
from cockpit.outputs import refuse_inputs


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel="Begin here")(demo)


def demo(
    capture: Annotated[
        Path | None, typer.Argument(metavar="[CAPTURE]", help="A capture of yours.", show_default="a sample")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything running afterwards.")] = False,
    summary: Summary = None,
) -> None:
    """Play a capture through tshark, Kafka, Faust and Elasticsearch on this machine, and show what came out.

    What is indexed stays on disk, so a second run finds every document there already and adds none.

    [dim]netflight demo[/dim]

    [dim]netflight demo my.pcap --keep[/dim]
    """
    from cockpit.demo import run_demo

    refuse_inputs([capture] if capture else [], {"--summary": summary})
    raise typer.Exit(run_demo(capture, keep=keep, summary=summary))
