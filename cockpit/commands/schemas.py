"""`netflight schemas`: render the generated files, install templates and topics."""

from typing import Annotated

import typer

from cockpit.commands.options import Namespace
from cockpit.context import settings_for
from cockpit.terminal import complain, note

schemas = typer.Typer(no_args_is_help=True, help="Render and install what follows from the datasets.")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(schemas, name="schemas", rich_help_panel="Contracts")


@schemas.command()
def render(
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; fail where a file is stale.")
    ] = False,
) -> None:
    """Write JSON Schemas, Elasticsearch templates, Kibana objects and the field reference.

    [dim]netflight schemas render --check[/dim]
    """
    from schemas.render import render as render_all

    changed = render_all(check=check)
    for path in changed:
        note(f"{'stale' if check else 'written'}: {path}")
    if check and changed:
        complain("generated files are stale (netflight schemas render)")
        raise typer.Exit(1)
    if not changed:
        note("every generated file is up to date")


@schemas.command()
def install(
    namespace: Namespace = None,
    topics: Annotated[bool, typer.Option("--topics", help="Declare Kafka's topics too.")] = False,
) -> None:
    """Install the templates of the server's dialect in Elasticsearch or OpenSearch; again changes nothing.

    [dim]netflight schemas install --topics --namespace case_42[/dim]
    """
    from runtime.errors import DestinationError
    from runtime.kafka import ensure_topics
    from schemas.topics import topic_settings
    from sinks.base import RetryLater
    from sinks.elasticsearch.client import Client
    from sinks.elasticsearch.templates import detect_dialect
    from sinks.elasticsearch.templates import install as install_templates

    settings = settings_for(namespace=namespace)
    if topics:
        created = ensure_topics(settings.kafka, topic_settings(settings.namespace))
        note(f"topics: {', '.join(created)}" if created else "topics: all there")
    client = Client(settings.elasticsearch)
    try:
        dialect = detect_dialect(client)
        installed = install_templates(client, dialect, settings.namespace)
    except RetryLater as error:
        raise DestinationError(
            str(error), "start one with ./netflight up, or see docs/settings.md"
        ) from error
    note(f"templates for {dialect}: {f'{len(installed)} installed' if installed else 'up to date'}")
