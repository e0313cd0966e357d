"""`netflight packets`: the packets of a flow out of the recorder's ring, what the ring holds, what it is to keep."""

import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer
from rich.markup import escape

from cockpit.outputs import STREAM, refuse_folder, refuse_inputs
from cockpit.terminal import note, stdout
from runtime.errors import NetflightError, UsageError
from runtime.names import shown
from schemas.events import parse_timestamp, timestamp

if TYPE_CHECKING:
    from producers.recorder.carve import Carved, Holding, Ring

packets = typer.Typer(help="Packets of a flow out of the recorder's ring; what the ring holds.")

CommunityId = Annotated[
    str,
    typer.Option("--community-id", "-c", metavar="ID", help="The flow: network.community_id of its events."),
]
From = Annotated[
    str | None,
    typer.Option("--from", metavar="T", help="Not before: ISO 8601 (UTC unless it says) or seconds."),
]
To = Annotated[str | None, typer.Option("--to", metavar="T", help="Not after.")]
Folder = Annotated[
    Path | None,
    typer.Option("--ring", metavar="FOLDER", help="The ring.", show_default="NETFLIGHT_RECORDER__FOLDER"),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object instead of text.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(packets, name="packets", rich_help_panel="Packets")


@packets.callback(invoke_without_command=True)
def carve(
    context: typer.Context,
    community_id: CommunityId = "",
    since: From = None,
    until: To = None,
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="FILE", help="Write them as pcapng; - is stdout.")
    ] = None,
    ring: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Carve one flow's packets out of the ring; without -o, only say what there is.

    [dim]netflight packets --community-id 1:LQU9qZlK+B5F3KDmev6m5PMibrg= -o flow.pcapng[/dim]

    [dim]netflight packets -c 1:LQU9qZlK+B5F3KDmev6m5PMibrg= -o - | tshark -r - -V[/dim]
    """
    if context.invoked_subcommand is not None:
        return
    if not community_id:
        raise UsageError(
            "packets: which flow?", "name it with --community-id; netflight packets list has the ring"
        )
    if as_json and output == STREAM:
        raise UsageError("packets: --json and -o - both want stdout", "write the packets to a file")
    place, span = _open(ring), _span(since, until)
    if output is not None:
        refuse_inputs([place.folder], {"--output": output})
        if output != STREAM:
            refuse_folder([output], "the recorder", place.folder)
    started = time.monotonic()
    with _writing(output) as write:
        found = place.carve(community_id, write, *span)
        if not found.packets:
            raise _nothing(place, community_id, span)
    told = _told(found, community_id, output, time.monotonic() - started)
    if as_json:
        sys.stdout.write(orjson.dumps(told).decode() + "\n")
    elif output != STREAM:
        _show(told)
    if found.damaged:
        note(f"{place.folder}: {found.damaged:,} packets of the flow are damaged on disk and left out")


@packets.command("list")
def list_ring(ring: Folder = None, as_json: AsJson = False) -> None:
    """Say what the ring holds: from when to when, how much, and what outlives it."""
    from producers.recorder.keeping import kept_ids

    place = _open(ring)
    holdings, keeps = place.holdings(), kept_ids(place.folder)
    if as_json:
        found: dict[str, Any] = {
            "folder": shown(place.folder),
            "ring": _totals(each for each in holdings if not each.kept),
            "kept": _totals(each for each in holdings if each.kept),
            "keeps": [keep._asdict() for keep in keeps],
            "segments": [_segment(each) for each in holdings],
        }
        sys.stdout.write(orjson.dumps(found).decode() + "\n")
        return
    for name, kept in (("ring", False), ("kept", True)):
        told = _totals(each for each in holdings if each.kept == kept)
        if not told["packets"]:
            stdout.print(f"[bold]{name}[/]  nothing")
            continue
        stdout.print(f"[bold]{name}[/]  {_second(told['from'])} to {_second(told['to'])}")
        counts = f"{told['packets']:,} packets, {told['bytes']:,} bytes, {told['flows']:,} flows"
        stdout.print(f"      {counts} in {_count(told['segments'], 'segment')}")
    note(
        f"{place.folder}: a flow is counted in each segment; {_count(len(keeps), 'request')} to keep packets"
    )


@packets.command()
def keep(community_id: CommunityId, since: From = None, until: To = None, ring: Folder = None) -> None:
    """Keep a flow's packets when the ring moves on, those to come too; a running recorder hears of it.

    [dim]netflight packets keep --community-id 1:LQU9qZlK+B5F3KDmev6m5PMibrg=[/dim]
    """
    from producers.recorder.keeping import Keep, append

    place = _open(ring)
    append(place.folder, Keep(community_id, *_span(since, until), time.time_ns()))
    note(f"{place.folder}: packets of {community_id} are kept when the ring moves on")


def _open(folder: Path | None) -> "Ring":
    from producers.recorder.carve import Ring

    if folder is None:
        from cockpit.recording import ring_folder
        from runtime.settings import Settings

        folder = ring_folder(Settings.load())
    return Ring(folder)


def _span(since: str | None, until: str | None) -> tuple[int, int]:
    from producers.recorder.carve import BEGINNING, END

    from_ns = BEGINNING if since is None else _time_ns("--from", since)
    to_ns = END if until is None else _time_ns("--to", until)
    if from_ns > to_ns:
        raise UsageError(f"packets: --from {since} is after --to {until}", "exchange them")
    return from_ns, to_ns


def _time_ns(option: str, text: str) -> int:
    """A point in time as nanoseconds since 1970."""
    if re.fullmatch(r"\d{1,10}(\.\d{1,9})?", text):
        seconds, _, fraction = text.partition(".")
        return int(seconds) * 10**9 + int(f"{fraction:0<9}")
    try:
        return parse_timestamp(text)  # keeps nanoseconds
    except ValueError:
        pass  # other forms of ISO 8601
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(
            f"packets: {option} {text[:40]!r} is no time",
            "such as 2026-03-01T12:00:00Z, or seconds since 1970",
        ) from error
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return int(moment.replace(microsecond=0).timestamp()) * 10**9 + moment.microsecond * 1000


@contextmanager
def _writing(output: str | None) -> Iterator[Callable[[bytes], object]]:
    """Where packets go: nowhere, stdout, or a file that appears whole or not at all."""
    if output is None:
        yield len
    elif output == STREAM:
        yield sys.stdout.buffer.write
        sys.stdout.buffer.flush()
    else:
        path = Path(output)
        draft = path.with_name(path.name + ".part")
        try:
            with draft.open("wb") as file:
                yield file.write
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)


def _nothing(place: "Ring", community_id: str, span: tuple[int, int]) -> NetflightError:
    """Why there is nothing: the flow is there at other times, or not at all."""
    found = place.carve(community_id, len)
    if found.packets:
        return NetflightError(
            f"no packets of {community_id} between {timestamp(span[0])} and {timestamp(span[1])}",
            f"the ring has {found.packets:,} from {timestamp(found.first_ns)} to {timestamp(found.last_ns)}",
        )
    told = _totals(place.holdings())
    holds = f"holds {told['packets']:,} packets" + (
        f" from {told['from']} to {told['to']}" if told["from"] else ""
    )
    return NetflightError(
        f"{place.folder}: no packets of {community_id}; the ring {holds}",
        "the policy did not record the flow, the ring has moved on, or another sensor saw it",
    )


def _told(found: "Carved", community_id: str, output: str | None, seconds: float) -> dict[str, Any]:
    return {
        "community_id": community_id,
        "flow": _endpoints(found),
        "packets": found.packets,
        "bytes": found.captured_bytes,
        "from": timestamp(found.first_ns),
        "to": timestamp(found.last_ns),
        "segments": found.segments,
        "kept_segments": found.kept_segments,
        "damaged": found.damaged,
        "output": None if output is None else shown(output),
        "seconds": round(seconds, 3),
    }


def _show(told: dict[str, Any]) -> None:
    stdout.print(f"[bold]{escape(told['community_id'])}[/] {escape(told['flow'])}", soft_wrap=True)
    stdout.print(
        f"{told['packets']:,} packets, {told['bytes']:,} bytes, {told['from']} to {told['to']}",
        soft_wrap=True,
    )
    kept = f", {told['kept_segments']:,} of them kept" if told["kept_segments"] else ""
    written = f", written to {told['output']}" if told["output"] else ""
    many = _count(told["segments"], "segment")
    stdout.print(f"in {many}{kept}{escape(written)}, {told['seconds']:.2f} s", soft_wrap=True)


def _second(moment: str) -> str:
    """A timestamp to the second."""
    return f"{moment[:19]}Z"


def _count(number: int, thing: str) -> str:
    """So many of a thing."""
    return f"{number:,} {thing}" + ("" if number == 1 else "s")


def _endpoints(found: "Carved") -> str:
    """Who sent the first packet to whom, `tcp 192.0.2.1:40000 > 192.0.2.2:80`; empty if that cannot be read."""
    from producers.engine.keys import address_text, split
    from producers.engine.protocols import transport_name
    from producers.engine.twin.parse import parse

    parsed = parse(*found.first) if found.first else 0
    if isinstance(parsed, int):
        return ""
    ends = split(parsed[0])
    source, destination = address_text(ends.source), address_text(ends.destination)
    if transport_name(ends.protocol) in {"tcp", "udp", "sctp"} and ends.source_port is not None:
        form = "[{}]:{}" if ends.version == 6 else "{}:{}"
        source, destination = (
            form.format(source, ends.source_port),
            form.format(destination, ends.destination_port),
        )
    return f"{transport_name(ends.protocol)} {source} > {destination}"


def _totals(holdings: Iterable["Holding"]) -> dict[str, Any]:
    told = [each.totals for each in holdings if each.totals.packets]
    return {
        "from": timestamp(min(each.first_ns for each in told)) if told else None,
        "to": timestamp(max(each.last_ns for each in told)) if told else None,
        "packets": sum(each.packets for each in told),
        "flows": sum(each.flows for each in told),
        "bytes": sum(each.bytes for each in told),
        "segments": len(told),
    }


def _segment(holding: "Holding") -> dict[str, Any]:
    return {
        "file": shown(holding.place.path),
        "kept": holding.kept,
        "finished": holding.finished,
        **_totals([holding]),
    }
