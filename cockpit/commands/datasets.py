"""`netflight datasets`: what is decoded, what a dataset holds, a new one from a capture."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import orjson
import typer
from rich.markup import escape
from rich.table import Table

from cockpit.outputs import refuse_inputs
from cockpit.terminal import note, stdout
from runtime.errors import UsageError
from schemas.model import Dataset, datasets

if TYPE_CHECKING:
    from schemas.model import FieldSpec

command = typer.Typer(help="Datasets: the protocols that are decoded, their fields, new ones.")
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line instead of a table.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(command, name="datasets", rich_help_panel="Contracts")


@command.callback(invoke_without_command=True)
def list_datasets(context: typer.Context, as_json: AsJson = False) -> None:
    """List the datasets; with a command, show one or begin a new one.

    [dim]netflight datasets   netflight datasets --json | jq .dataset   netflight datasets show dns[/dim]
    """
    if context.invoked_subcommand is not None:
        return
    if as_json:
        for dataset in datasets().values():
            stdout.file.write(orjson.dumps(_told(dataset), option=orjson.OPT_APPEND_NEWLINE).decode())
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("name", style="bold", no_wrap=True)
    table.add_column("fields", justify="right")
    table.add_column("ports", overflow="fold", max_width=24)
    table.add_column("what an event is", overflow="fold")
    for dataset in datasets().values():
        table.add_row(
            dataset.name,
            str(len(dataset.fields)),
            _ports(dataset),
            escape(dataset.description.partition("; ")[0]),
        )
    stdout.print(table)
    note(f"{len(datasets())} datasets; their fields: netflight datasets show NAME, or docs/fields.md")


@command.command()
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A dataset's name.")], as_json: AsJson = False
) -> None:
    """Show a dataset: its events, its fields, where they come from.

    [dim]netflight datasets show tls[/dim]
    """
    dataset = datasets().get(name.removeprefix("network_traffic."))
    if dataset is None:
        raise UsageError(f"{name}: no such dataset", "netflight datasets lists them")
    if as_json:
        fields = {field: _field(spec) for field, spec in dataset.fields.items()}
        told = {**_told(dataset), "fields": fields}
        stdout.file.write(orjson.dumps(told, option=orjson.OPT_APPEND_NEWLINE).decode())
        return
    stdout.print(f"[bold]{escape(dataset.dataset)}[/]  {escape(dataset.description)}")
    stdout.print(
        f"index {dataset.data_stream('<namespace>')}, topic netflight.<namespace>.{dataset.topic}",
        markup=False,
    )
    table = Table(box=None, pad_edge=False)
    for column in ("field", "type", "what it is"):
        table.add_column(column, overflow="fold")
    for field, spec in sorted(dataset.fields.items()):
        table.add_row(field, f"{spec.type}{escape('[]') if spec.array else ''}", escape(spec.description))
    stdout.print(table)
    note("and the fields of all events of packets: docs/fields.md")


@command.command()
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The new dataset's name.")],
    capture: Annotated[
        Path,
        typer.Option(
            "--capture", "-c", metavar="FILE", help="A small capture of the protocol, made by yourself."
        ),
    ],
    layer: Annotated[
        str,
        typer.Option(
            "--layer", metavar="NAME", help="tshark's name of the protocol; else that of the dataset."
        ),
    ] = "",
) -> None:
    """Begin a dataset: its YAML by what tshark shows of the protocol in a capture, and a test case.

    [dim]netflight datasets new ntp --capture ntp.pcap[/dim]

    [dim]netflight datasets new vnc --capture rfb.pcap --layer vnc[/dim]
    """
    from cockpit.scaffold import write_dataset

    if not capture.is_file():
        raise UsageError(f"{capture}: no such file", "--capture names a capture")
    for path in write_dataset(name, layer or name, capture):
        note(f"written: {path}")
    note(f"next: read them; netflight schemas render; netflight test -k {name}")


@command.command()
def expect(
    case: Annotated[Path, typer.Argument(metavar="CASE", help="A case's folder, as tests/cases/ntp.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="The dataset.")],
    places: Annotated[
        list[int] | None,
        typer.Argument(metavar="[N]...", help="Which of its events, from 0 on; else the first."),
    ] = None,
    captures: Annotated[
        Path | None, typer.Option("--captures", metavar="FOLDER", help="Where a case's public capture is.")
    ] = None,
) -> None:
    """Write the whole events that a case expects: what comes out now. Read it before you commit it.

    [dim]netflight datasets expect tests/cases/ntp ntp 0 3[/dim]
    """
    import yaml

    from cockpit.scaffold import decoded, write_expected

    told = case / "case.yaml"
    if not told.is_file():
        raise UsageError(f"{told}: no such file", "a case has a case.yaml")
    said = yaml.safe_load(told.read_text(encoding="utf-8"))
    capture = case / said["capture"] if "capture" in said else (captures or Path()) / said["public"]
    refuse_inputs([capture], {"CASE": case / "expected.json"})
    events = decoded(capture, name)
    try:
        chosen = [events[place] for place in places or [0]]
    except IndexError:
        raise UsageError(f"{capture}: {len(events)} events of {name}", "events count from 0") from None
    note(f"written: {write_expected(case, chosen)}, {len(chosen)} of {len(events)} events")


def _told(dataset: Dataset) -> dict[str, object]:
    return {
        "name": dataset.name,
        "title": dataset.title,
        "description": dataset.description,
        "dataset": dataset.dataset,
        "index": dataset.data_stream("<namespace>"),
        "topic": f"netflight.<namespace>.{dataset.topic}",
        "event": dataset.event.model_dump(mode="json"),
        "protocols": list(dataset.tshark.protocols) if dataset.tshark else [],
        "ports": dataset.tshark.decode.model_dump(mode="json") if dataset.tshark else {},
        "fields": len(dataset.fields),
    }


def _field(spec: "FieldSpec") -> dict[str, object]:
    return {
        "type": spec.type.value,
        "array": spec.array,
        "description": spec.description,
        "example": spec.example,
        "tshark": list(spec.tshark),
    }


def _ports(dataset: Dataset) -> str:
    if dataset.tshark is None:
        return ""
    decode = dataset.tshark.decode
    kinds = (("tcp", decode.tcp), ("udp", decode.udp), ("sctp", decode.sctp))
    ports: dict[int, list[str]] = {}
    for kind, numbers in kinds:
        for number in numbers:
            ports.setdefault(number, []).append(kind)
    return ", ".join(f"{number}/{'+'.join(on)}" for number, on in ports.items())
