"""`netflight policy`: list and show policies, check one, and estimate what it does with captures."""

from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer
from rich.filesize import decimal
from rich.markup import escape
from rich.table import Table

from cockpit.terminal import complain, note, stdout
from runtime.errors import NetflightError

if TYPE_CHECKING:
    from producers.engine.policy.estimate import Estimate
    from producers.engine.policy.policy import Policy
    from producers.sources.packet import Source

policy = typer.Typer(no_args_is_help=True, help="Policies: what is decoded, recorded, counted, dropped.")
Named = Annotated[
    str, typer.Argument(metavar="NAME|FILE", help="A shipped policy by its name, or a policy file.")
]
Captures = Annotated[
    list[str] | None,
    typer.Option(
        "--capture", "-c", metavar="PATH", help="Estimate on this capture or folder; may be repeated."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object instead of text.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(policy, name="policy", rich_help_panel="Contracts")


@policy.command("list")
def list_policies() -> None:
    """List the shipped policies."""
    from producers.engine.policy.file import read_policy, shipped
    from producers.engine.policy.policy import builtin_lists
    from runtime.settings import LOCAL_NETWORKS

    table = Table(box=None, pad_edge=False)
    for column in ("name", "rules", "about"):
        table.add_column(column, overflow="fold")
    lists = builtin_lists(LOCAL_NETWORKS)
    for name in shipped():
        read = read_policy(name, lists)
        table.add_row(name, str(len(read.rules)), escape(read.about))
    stdout.print(table)


@policy.command()
def show(
    named: Named = "default",
    code: Annotated[bool, typer.Option("--code", help="Show the code that is made of it instead.")] = False,
) -> None:
    """Print a policy's file: what one begins with who writes another.

    [dim]netflight policy show default > my.yaml[/dim]
    """
    from producers.engine.policy.file import find

    text = _loaded(named).source if code else find(named).read_text(encoding="utf-8")
    typer.echo(text, nl=False)


@policy.command()
def check(named: Named, captures: Captures = None, as_json: AsJson = False) -> None:
    """Check a policy and say what each rule does; every mistake is told with its line and column.

    [dim]netflight policy check my.yaml[/dim]

    [dim]netflight policy check my.yaml --capture yesterday.pcapng[/dim]
    """
    from producers.engine.policy.file import never_reached
    from producers.engine.policy.words import in_words

    checked = _loaded(named)
    estimated = _estimate(checked, captures) if captures else None
    if as_json:
        rules = [{"name": rule.name, "where": rule.where, "says": in_words(rule)} for rule in checked.rules]
        told: dict[str, Any] = {"policy": checked.name, "rules": rules}
        if estimated:
            told["estimate"] = estimated.as_json()
        typer.echo(orjson.dumps(told))
    else:
        for rule in checked.rules:
            stdout.print(f"[bold]{rule.name}[/]  {escape(in_words(rule))}", soft_wrap=True)
        if estimated:
            _tell(estimated)
    for rule in never_reached(checked.rules):
        note(f"{rule.where}: {rule.name} is never reached: a rule before it takes every packet")
    for error in estimated.errors if estimated else ():
        complain(str(error))
    if estimated and estimated.errors:
        raise typer.Exit(1)


def _loaded(named: str) -> "Policy":
    """The policy; ends the command when it has mistakes, after all of them are told."""
    from cockpit.context import settings_for
    from producers.engine.policy.policy import load_policy
    from producers.engine.policy.source import PolicyError

    try:
        return load_policy(named, settings_for().local_networks)
    except PolicyError as error:
        for problem in error.problems:
            complain(str(problem))
        raise typer.Exit(error.exit_code) from error


def _estimate(checked: "Policy", captures: list[str]) -> "Estimate":
    from producers.engine.policy.estimate import estimate
    from producers.sources.opening import expand, open_path

    failed: list[NetflightError] = []
    sources: list[Source] = []
    for path in expand(captures).captures:
        try:
            sources.append(open_path(path))
        except NetflightError as error:
            failed.append(error)
    estimated = estimate(checked, sources)
    estimated.errors[:0] = failed
    return estimated


def _tell(estimated: "Estimate") -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("rule")
    for column in ("packets", "bytes", "decoded", "of bytes", "recorded", "of bytes"):
        table.add_column(column, justify="right")
    for name, figures in [*estimated.rules.items(), ("[bold]all[/]", estimated.total)]:
        table.add_row(name, *_cells(figures, estimated.total))
    stdout.print()
    stdout.print(table)
    total, seconds = estimated.total, estimated.seconds
    note(
        f"{total['packets']:,} packets in {seconds:.2f} s of the engine; {estimated.ignored:,} dropped;"
        f" a packet counts at the rule that decides on decoding, and at the one on recording where that is another"
    )


def _cells(figures: dict[str, int], total: dict[str, int]) -> list[str]:
    def share(part: int, whole: int) -> str:
        return f"{100 * part / whole:.1f} %" if whole else "-"

    return [
        f"{figures['packets']:,}",
        decimal(figures["bytes"]),
        f"{figures['decoded_packets']:,}",
        share(figures["decoded_bytes"], total["bytes"]),
        f"{figures['recorded_packets']:,}",
        share(figures["recorded_bytes"], total["bytes"]),
    ]
