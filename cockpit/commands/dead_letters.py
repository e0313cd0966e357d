"""`netflight dead-letters`: what could not be processed, why, and how to send it again."""

from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from cockpit.commands.options import Namespace
from cockpit.context import settings_for
from cockpit.terminal import note, stdout
from runtime.errors import UsageError

letters = typer.Typer(
    no_args_is_help=True, help="Messages that could not be processed: list, inspect, send again."
)
Place = Annotated[str, typer.Argument(metavar="PARTITION:OFFSET", help="Which one, as `list` names it.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(letters, name="dead-letters", rich_help_panel="Long-running parts")


@letters.command("list")
def list_letters(namespace: Namespace = None) -> None:
    """List every dead letter, with where it came from and what was wrong."""
    from sinks.dead_letters import dead_letters

    table = Table(box=None, pad_edge=False)
    for column in ("place", "stage", "from", "error"):
        table.add_column(column, overflow="fold")
    count = 0
    for letter in dead_letters(settings_for(namespace=namespace)):
        origin = ":".join(str(part) for part in letter.origin)
        place = f"{letter.partition}:{letter.offset}"
        table.add_row(place, letter.stage, escape(origin), escape(letter.error))
        count += 1
    if count:
        stdout.print(table)
    note(f"{count:,} dead letters")


@letters.command()
def inspect(place: Place, namespace: Namespace = None) -> None:
    """Print one dead letter: its headers, and its bytes as they came."""
    from sinks.dead_letters import dead_letter

    partition, offset = _place(place)
    letter = dead_letter(settings_for(namespace=namespace), partition, offset)
    if letter is None:
        raise UsageError(f"dead letter {place}: not there", "netflight dead-letters list")
    told = {"from": letter.origin, "stage": letter.stage, "error": f"{letter.error_class}: {letter.error}"}
    for name, said in told.items():
        stdout.print(f"[bold]{name}[/] {escape(str(said))}")
    for name, value in letter.headers:
        stdout.print(f"[dim]{escape(name)}[/] {escape((value or b'').decode('utf-8', 'backslashreplace'))}")
    stdout.print(escape((letter.value or b"").decode("utf-8", "backslashreplace")), soft_wrap=True)


@letters.command()
def redrive(
    places: Annotated[
        list[str] | None,
        typer.Argument(metavar="PARTITION:OFFSET...", help="Which ones.", show_default="all"),
    ] = None,
    namespace: Namespace = None,
) -> None:
    """Send dead letters to the topics they came from; those that go through twice are duplicates and no more."""
    from sinks.dead_letters import dead_letters
    from sinks.dead_letters import redrive as send_again

    settings = settings_for(namespace=namespace)
    wanted = {_place(place) for place in places or ()}
    chosen = [
        letter
        for letter in dead_letters(settings)
        if not wanted or (letter.partition, letter.offset) in wanted
    ]
    sent, foreign = send_again(settings, chosen)
    note(f"{sent:,} sent again")
    if foreign:
        note(f"{len(foreign):,} left: the topic they came from is not the namespace's")
        raise typer.Exit(1)


def _place(text: str) -> tuple[int, int]:
    partition, _, offset = text.partition(":")
    if not (partition.isdigit() and offset.isdigit()):
        raise UsageError(f"{text}: a place is PARTITION:OFFSET, as `netflight dead-letters list` shows it")
    return int(partition), int(offset)
