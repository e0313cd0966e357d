"""`netflight up | down | status`: Kafka, Elasticsearch, the worker and the sink on this machine."""

from typing import Annotated

import typer
from rich.table import Table

from cockpit.terminal import note, stdout

Name = Annotated[str, typer.Option(metavar="NAME", help="The stack's name; several can run side by side.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(rich_help_panel="Local stack")(up)
    app.command(rich_help_panel="Local stack")(down)
    app.command(rich_help_panel="Local stack")(status)


def up(
    name: Name = "local",
    namespace: Annotated[
        str, typer.Option(metavar="NS", help="What the worker and the sink work on.")
    ] = "default",
    kafka_port: Annotated[int | None, typer.Option(metavar="PORT", help="Kafka's port.")] = None,
    elasticsearch_port: Annotated[
        int | None, typer.Option(metavar="PORT", help="Elasticsearch's port.")
    ] = None,
) -> None:
    """Start Kafka, Elasticsearch, a worker and a sink on this machine, on loopback.

    [dim]netflight up[/dim]

    [dim]netflight up --name second --kafka-port 19092[/dim]
    """
    from cockpit import stack
    from cockpit.pipeline import start_parts

    running = stack.up(name, report=note, kafka_port=kafka_port, elasticsearch_port=elasticsearch_port)
    start_parts(running, namespace)
    note(f"Kafka {running.kafka_bootstrap}, Elasticsearch {running.elasticsearch_url}")
    note("next: netflight capture PATH, netflight status, netflight down")


def down(name: Name = "local") -> None:
    """Stop what `up` started; the data stays."""
    from cockpit import stack

    stopped = stack.down(name)
    note(f"stopped {', '.join(stopped)}" if stopped else f"no stack {name} is running")


def status(name: Name = "local") -> None:
    """Show what of the local stack is running, where, and where the logs are."""
    from cockpit import stack

    parts = stack.status(name)
    if not parts:
        note(f"no stack {name} is running; start one with netflight up")
        raise typer.Exit(1)
    table = Table(box=None, pad_edge=False)
    for column in ("part", "pid", "state", "address"):
        table.add_column(column, overflow="fold")
    for part in parts:
        table.add_row(part.part, str(part.pid or ""), part.state, part.address or "")
    stdout.print(table)
    stdout.print(f"logs: {parts[0].log.parent}", soft_wrap=True)
