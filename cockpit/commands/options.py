"""Options that several commands have, and the exit code that their runs end with."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from runtime.errors import NetflightError, UsageError

INTERRUPTED = 130

Paths = Annotated[
    list[str] | None,
    typer.Argument(metavar="PATH...", help="Captures, folders with captures, or - for standard input."),
]
Interface = Annotated[
    str | None,
    typer.Option("--interface", "-i", metavar="IF", help="Capture from this interface, until Ctrl-C."),
]
Filter = Annotated[
    str, typer.Option("--filter", "-f", metavar="BPF", help="Capture only what this filter lets through.")
]
Summary = Annotated[Path | None, typer.Option(metavar="FILE", help="Write what was done to FILE, as JSON.")]
Namespace = Annotated[
    str | None,
    typer.Option(metavar="NS", help="The namespace of topics and data streams.", show_default="default"),
]
Sensor = Annotated[
    str | None, typer.Option(metavar="NAME", help="This sensor's name.", show_default="the host's name")
]
Policy = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|FILE",
        help="What is decoded and recorded.",
        show_default="NETFLIGHT_POLICY, else default",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")]


def require_one_source(command: str, paths: Sequence[str] | None, interface: str | None) -> None:
    """Raise UsageError unless either captures or an interface are named."""
    if bool(paths) == bool(interface):
        raise UsageError(
            f"{command}: name captures, or an interface with -i", f"netflight {command} --help has examples"
        )


def exit_code(errors: Sequence[NetflightError], *, interrupted: bool) -> int:
    """0 done, 1 failed, 2 when nothing but the usage was wrong, 130 when interrupted."""
    if interrupted:
        return INTERRUPTED
    if not errors:
        return 0
    return 2 if all(isinstance(error, UsageError) for error in errors) else 1
