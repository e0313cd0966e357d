"""The command line: `netflight COMMAND`. Exit codes: 0 done, 1 failed, 2 wrong usage; no tracebacks."""

import os
import sys

import typer

from cockpit.commands import (
    bench,
    capture,
    datasets,
    dead_letters,
    decode,
    demo,
    inspect,
    packets,
    parts,
    policy,
    rules,
    schemas,
    stack,
    top,
)
from cockpit.commands.options import INTERRUPTED
from cockpit.terminal import complain
from runtime.errors import NetflightError
from runtime.lifecycle import interrupt_on_signals
from schemas.errors import SchemaError

app = typer.Typer(
    name="netflight",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="A network flight recorder on Apache Kafka: packets become ECS events, statistics and alerts.",
    epilog="Begin with [bold]netflight demo[/bold]. Settings: NETFLIGHT_... in the environment, see docs/settings.md.",
)
for module in (
    demo,
    decode,
    capture,
    packets,
    inspect,
    stack,
    parts,
    top,
    rules,
    policy,
    datasets,
    schemas,
    dead_letters,
    bench,
):
    module.register(app)


@app.command()
def version() -> None:
    """Print the version."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        typer.echo(installed("netflight"))
    except PackageNotFoundError:
        typer.echo("from a checkout")


@app.command(
    "test",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    rich_help_panel="Development",
)
def run_tests(context: typer.Context) -> None:
    """Run the project's checks and tests; what follows goes to pytest.

    [dim]netflight test   netflight test -k dns[/dim]
    """
    from cockpit import checks

    raise typer.Exit(checks.run(list(context.args)))


def main() -> None:
    """Run the command line and exit with its code."""
    interrupt_on_signals()
    try:
        app(prog_name="netflight")
    except (NetflightError, SchemaError) as error:
        complain(str(error))
        sys.exit(error.exit_code if isinstance(error, NetflightError) else 1)
    except SystemExit as ended:
        if ended.code == INTERRUPTED:  # so Typer ends for KeyboardInterrupt, and so do our commands
            complain("interrupted")
        raise
    except OSError as error:
        if "NETFLIGHT_DEBUG" in os.environ:
            raise
        complain(f"{error.filename or 'writing'}: {error.strerror or error}")
        sys.exit(1)
    except Exception as error:
        if "NETFLIGHT_DEBUG" in os.environ:
            raise
        told = f"{type(error).__name__}: {error}"
        complain(f"unexpected: {told} (a bug; NETFLIGHT_DEBUG=1 shows where, please report it)")
        sys.exit(1)
