"""`netflight rules`: list, check and test Sigma rules, without Kafka."""

import sys
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import orjson
import typer
from rich.markup import escape
from rich.table import Table

from cockpit.outputs import STREAM, refuse_inputs
from cockpit.terminal import complain, note, printable, stdout, warn
from runtime.errors import NetflightError, UsageError

if TYPE_CHECKING:
    from streams.rules_tools import Problem

rules = typer.Typer(no_args_is_help=True, help="Sigma rules: list, check, test.")
Paths = Annotated[
    list[Path] | None,
    typer.Argument(metavar="PATH...", help="Rules: files or folders.", show_default="the shipped ones"),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(rules, name="rules", rich_help_panel="Contracts")


@rules.command("list")
def list_rules(paths: Paths = None) -> None:
    """List rules with their level, dataset and techniques."""
    from streams import rules_tools

    checked = rules_tools.check(paths or [rules_tools.shipped()])
    table = Table(box=None, pad_edge=False)
    for column in ("level", "reads", "title"):
        table.add_column(column, overflow="fold")
    for rule in sorted(checked.rules, key=lambda rule: (rule.category, rule.title)):
        table.add_row(rule.level, rule.category.removeprefix("network_traffic."), escape(rule.title))
    stdout.print(table)
    note(f"{len(checked.rules):,} rules")
    _complain(checked.problems)


@rules.command()
def check(
    paths: Paths = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print each rule and each problem as one JSON document.")
    ] = False,
) -> None:
    """Check rules; report every mistake with its file and the part of it, and what can never match.

    [dim]netflight rules check my-rules/[/dim]
    """
    from streams import rules_tools

    checked = rules_tools.check(paths or [rules_tools.shipped()])
    if as_json:
        typer.echo(orjson.dumps(checked.summary()))
    else:
        for line in chain.from_iterable(map(rules_tools.warnings, checked.rules)):
            warn(line)
    never = sum(not rule.possible for rule in checked.rules)
    said = f"{len(checked.rules):,} rules accepted, {never:,} of them can never match"
    note(f"{said}; {len(checked.problems):,} files refused")
    _complain(checked.problems)


@rules.command("test")
def test_rules(
    events: Annotated[
        str, typer.Argument(metavar="EVENTS", help="Events as NDJSON, or - for standard input.")
    ],
    paths: Paths = None,  # noqa: PT028  # no test, a command
) -> None:
    """Show which events rules find.

    [dim]netflight decode capture.pcap | netflight rules test - my-rules/[/dim]
    """
    from streams import rules_tools

    refuse_inputs([events, *(paths or [])], {"standard output": STREAM})
    checked = rules_tools.check(paths or [rules_tools.shipped()])
    _complain(checked.problems)
    found = 0
    try:
        with sys.stdin.buffer if events == STREAM else Path(events).open("rb") as lines:
            for match in rules_tools.test(checked.rules, lines):
                found += 1
                title = escape(printable(match.rule.title))
                told = f"line {match.line}  {match.rule.level:<13}  {title}  [dim]{match.event_id}[/]"
                stdout.print(told, soft_wrap=True)
    except OSError as error:
        raise UsageError(f"{events}: {error.strerror}", "name a file of events, or -") from error
    note(f"{found:,} matches of {len(checked.rules):,} rules")


def _complain(problems: Sequence["Problem"]) -> None:
    for problem in problems:
        complain(str(NetflightError(problem.what, problem.hint)))
    if problems:
        raise typer.Exit(1)
