"""`netflight inspect`: one packet's full dissection."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.tree import Tree

from cockpit.terminal import stdout
from runtime.names import shown


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel="Packets")(inspect)


def inspect(
    capture: Annotated[Path, typer.Argument(metavar="CAPTURE", help="The capture.")],
    frame: Annotated[
        int, typer.Option("--frame", "-n", metavar="N", help="The packet's number in it, from 1.")
    ],
) -> None:
    """Print everything that tshark knows about one packet; events name theirs in netflight.frame.

    [dim]netflight inspect samples/dns/capture.pcap --frame 1[/dim]
    """
    from producers.inspect import inspect_frame

    tree = Tree(f"[bold]{escape(shown(capture))}[/] frame {frame}")
    for layer, fields in inspect_frame(capture, frame):
        branch = tree.add(f"[bold cyan]{escape(layer)}[/]")
        for name, text in fields:
            label = f"[dim]{escape(name)}[/] " if name else ""
            branch.add(f"{label}{escape(text)}")
    stdout.print(tree)
