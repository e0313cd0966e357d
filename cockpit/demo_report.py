"""What the demo shows at its end, asked of Elasticsearch: documents, top talkers, alerts with their evidence."""

import re
from pathlib import Path
from typing import Any

from elasticsearch import ApiError, Elasticsearch, TransportError
from rich.markup import escape
from rich.table import Table

from cockpit.stack import Stack
from cockpit.terminal import printable, stdout
from producers.run import Outcome
from runtime.errors import DestinationError
from schemas.model import datasets

ROOT = Path(__file__).resolve().parents[1]
_ALERTS = 12
_TALKERS = 5
_REASON = 150
_LONG_WORD = re.compile(r"\S{44,}")


def show(client: Elasticsearch, namespace: str, outcome: Outcome, counts: dict[str, Any]) -> None:
    """Print the report of a run whose sink counted `counts`."""
    _documents(client, namespace)
    _talkers(client, namespace)
    _alerts(client, namespace)
    _closing(outcome, counts)


def show_next(stack: Stack, *, keep: bool) -> None:
    """Print how to look further."""
    checkout = (ROOT / "netflight").is_file()
    program = "./netflight" if checkout else "netflight"
    stdout.print("\n[bold]Look further[/]")
    if keep:
        stdout.print(f"  curl '{stack.elasticsearch_url}/logs-netflight.alerts-demo/_search?pretty&size=3'")
        stdout.print(f"  {program} status --name {stack.name}    {program} down --name {stack.name}")
    else:
        stdout.print(f"  {program} demo --keep                 leaves everything running")
    if checkout:
        stdout.print("  ./netflight decode samples | head -1    events without Kafka")
        stdout.print("  ./netflight inspect samples/dns/capture.pcap --frame 1")


def _documents(client: Elasticsearch, namespace: str) -> None:
    table = Table(title="Documents in Elasticsearch", title_justify="left", box=None, pad_edge=False)
    table.add_column("data stream")
    table.add_column("documents", justify="right")
    for dataset in datasets().values():
        name = dataset.data_stream(namespace)
        count = _search(client, name, size=0)["hits"]["total"]["value"]
        if count:
            table.add_row(name, f"{count:,}")
    stdout.print()
    stdout.print(table)


def _talkers(client: Elasticsearch, namespace: str) -> None:
    hosts = {
        "terms": {"field": "host.ip", "size": _TALKERS, "order": {"bytes": "desc"}},
        "aggs": {
            "bytes": {"sum": {"field": "network.bytes"}},
            "sent": {"sum": {"field": "source.bytes"}},
            "received": {"sum": {"field": "destination.bytes"}},
        },
    }
    name = datasets()["top_talkers"].data_stream(namespace)
    found = _search(client, name, size=0, aggregations={"hosts": hosts})
    table = Table(
        title="Top talkers, from the worker's windows", title_justify="left", box=None, pad_edge=False
    )
    table.add_column("host")
    for column in ("bytes", "sent", "received"):
        table.add_column(column, justify="right")
    for bucket in found.get("aggregations", {}).get("hosts", {}).get("buckets", []):
        values = (bucket[name]["value"] for name in ("bytes", "sent", "received"))
        table.add_row(bucket["key"], *(f"{value:,.0f}" for value in values))
    stdout.print()
    stdout.print(table)


def _alerts(client: Elasticsearch, namespace: str) -> None:
    rules = {
        "terms": {"field": "rule.name", "size": 100},
        "aggs": {
            "one": {"top_hits": {"size": 1, "sort": [{"@timestamp": "asc"}]}},
            "severity": {"max": {"field": "event.severity"}},
        },
    }
    name = datasets()["alerts"].data_stream(namespace)
    found = _search(client, name, size=0, aggregations={"rules": rules})
    buckets = found.get("aggregations", {}).get("rules", {}).get("buckets", [])
    buckets.sort(
        key=lambda bucket: (-(bucket["severity"]["value"] or 0), -bucket["doc_count"], bucket["key"])
    )
    total = found["hits"]["total"]["value"]
    table = Table(
        title=f"{total:,} alerts by {len(buckets):,} rules; the first of each, with its evidence",
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    table.add_column("level")
    table.add_column("n", justify="right")
    table.add_column("evidence", overflow="fold")
    for bucket in buckets[:_ALERTS]:
        alert = bucket["one"]["hits"]["hits"][0]["_source"]
        level = alert.get("netflight", {}).get("alert", {}).get("level", "")
        reason = alert.get("event", {}).get("reason") or bucket["key"]
        evidence = printable(_LONG_WORD.sub(_shortened, reason), _REASON)
        table.add_row(level, f"{bucket['doc_count']:,}", escape(f"{evidence}{_frame(alert)}"))
    stdout.print()
    stdout.print(table)
    if len(buckets) > _ALERTS:
        stdout.print(f"and {len(buckets) - _ALERTS:,} rules more")


def _shortened(word: re.Match[str]) -> str:
    """A name that would not fit a line: its begin and its end."""
    return f"{word[0][:24]}...{word[0][-16:]}"


def _frame(alert: dict[str, Any]) -> str:
    frame = alert.get("netflight", {}).get("frame", {}).get("first")
    return f" (frame {frame})" if frame else ""


def _closing(outcome: Outcome, counts: dict[str, Any]) -> None:
    packets = outcome.accounting
    indexed, duplicates = counts.get("indexed", 0), counts.get("duplicates", 0)
    letters = counts.get("dead_letters", 0)
    consumed = counts.get("consumed", indexed + duplicates + letters)
    stdout.print("\n[bold]Accounting[/]")
    stdout.print(
        f"  packets  {packets.read:,} read = {packets.in_flows:,} in flows + {packets.not_ip:,} not IP"
        f" + {packets.malformed:,} malformed"
    )
    published = outcome.telemetry.total("published")
    stdout.print(f"  events   {published:,} published + {consumed - published:,} from the worker")
    stdout.print(
        f"           = {indexed:,} new documents + {duplicates:,} there already + {letters:,} dead letters"
    )


def _search(client: Elasticsearch, index: str, **request: Any) -> dict[str, Any]:
    try:
        client.indices.refresh(index=index, ignore_unavailable=True)
        found = client.search(index=index, ignore_unavailable=True, track_total_hits=True, **request)
    except (ApiError, TransportError) as error:
        raise DestinationError(f"Elasticsearch refuses to search {index}: {error}") from error
    return dict(found)
