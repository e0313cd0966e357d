"""`netflight top`: what the worker counts right now."""

from typing import Annotated

import typer

from cockpit.commands.options import Namespace
from cockpit.context import settings_for


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel="Long-running parts")(top)


def top(
    namespace: Namespace = None,
    statistic: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Only this statistic, as its file in rules/statistics is called."),
    ] = None,
    interval: Annotated[
        float, typer.Option(min=0.2, metavar="SECONDS", help="How often the screen is drawn anew.")
    ] = 2.0,
    once: Annotated[
        bool, typer.Option("--once", help="Print every statistic's newest window, and end.")
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print the open windows as one line of JSON, and end.")
    ] = False,
) -> None:
    """Show the worker's windows as they fill: heaviest groups first, live.

    Read from Kafka, from what the workers keep there: they are asked nothing, and there may be many.
    Keys: n and p for other statistics, the arrows for earlier and later windows, q to leave.

    [dim]netflight top[/dim]

    [dim]netflight top --namespace case_42 --statistic top_talkers --interval 1[/dim]

    [dim]netflight top --json | jq '.statistics[].windows[-1]'[/dim]
    """
    from cockpit.top import run_top

    run_top(settings_for(namespace=namespace), statistic, interval, once=once, json=json)
