"""`netflight bench`: figures of this machine, each as a ratio to something real that ran in the same minute."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import orjson
import typer
from rich.table import Table

from cockpit.terminal import note, stdout

if TYPE_CHECKING:
    from bench.support.report import Report


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("bench", rich_help_panel="Development")(run_bench)


def run_bench(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="The benchmark; without one, they are listed.")
    ] = None,
    capture: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Measure on this capture.", show_default="captures made for the purpose"
        ),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="End with one line of JSON on stdout instead of a table.")
    ] = False,
    bulk: Annotated[
        bool, typer.Option("--bulk", help="With --capture: measure on the bulk capture too.")
    ] = False,
    runs: Annotated[int, typer.Option(min=1, help="How often each side runs; the best counts.")] = 3,
    events: Annotated[
        int, typer.Option(min=0, metavar="N", help="How many events go through.", show_default="400,000")
    ] = 0,
) -> None:
    """Measure a part against something real: both sides run in turn, the best run of each counts.

    [dim]netflight bench engine[/dim]

    [dim]netflight bench producer --json --capture capture.pcap[/dim]

    [dim]netflight bench streams --events 100000[/dim]
    """
    from cockpit import benches

    if name is None:
        _list(benches.known())
        return
    run = benches.load(name)
    from bench.support.report import Options

    if not json:
        note(f"bench {name}: {runs} runs of each side")
    report = run(Options(capture, runs, bulk, events))
    if json:
        typer.echo(orjson.dumps(report.figures))
    else:
        _show(report)


def _list(known: dict[str, str]) -> None:
    table = Table(box=None, pad_edge=False, show_header=False)
    for name, about in known.items():
        table.add_row(f"[bold]{name}[/]", about)
    stdout.print(table)


def _show(report: "Report") -> None:
    table = Table(title=report.title, title_justify="left", box=None, pad_edge=False)
    table.add_column("")
    for column in ("ours", "theirs", "ratio"):
        table.add_column(column, justify="right")
    for row in report.rows:
        table.add_row(row.what, row.ours, row.theirs, row.ratio)
    stdout.print(table)
