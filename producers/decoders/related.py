"""related.*: every address, host, user and hash of an event, each once, the ends first."""

from collections.abc import Sequence
from functools import cache
from typing import Any

from producers.decoders.convert import PLACEHOLDERS, ip
from producers.decoders.unit import Unit
from producers.engine.model import Flow
from schemas.events import Event
from schemas.model import FieldSpec, FieldType, datasets
from schemas.related import Inside, related_fields

MAX_TEXT = 8191
MAX_ITEMS = 1000

Found = dict[str, dict[str, None]]

_FORWARDED = FieldSpec(type=FieldType.IP, description="")


def add_related(
    event: Event, dataset: str, fields: dict[str, Any], units: Sequence[Unit], flow: Flow | None
) -> None:
    """Add what the envelope, the fields of the dataset (by its name) and the units hold; the event must be complete."""
    found = _of_envelope(event, flow)
    wanted = _wanted(dataset)
    for name, value in fields.items():
        if name in wanted:
            for path, kind in wanted[name]:
                _gather(found[kind], value, path)
    for unit in units:
        if unit.addresses:
            _gather(found["ip"], unit.addresses, ())
        if unit.hosts:
            _gather(found["hosts"], unit.hosts, ())
        if unit.hashes:
            _gather(found["hash"], unit.hashes, ())
    _write(event, found)


def add_related_of_flow(event: Event, flow: Flow) -> None:
    """Add what a flow's record holds."""
    _write(event, _of_envelope(event, flow))


def _of_envelope(event: Event, flow: Flow | None) -> Found:
    addresses: dict[str, None] = {}
    hosts: dict[str, None] = {}
    for end in ("source", "destination"):
        side = event.get(end)
        if side is not None:
            if "ip" in side:
                addresses[side["ip"]] = None
            if "domain" in side:
                hosts[side["domain"]] = None
    if flow is not None and flow.tunnel is not None:
        addresses[flow.tunnel.source_ip] = addresses[flow.tunnel.destination_ip] = None
    return {"ip": addresses, "hosts": hosts, "hash": {}, "user": {}}


def _write(event: Event, found: Found) -> None:
    addresses = found["ip"]
    for host in found["hosts"]:
        if host and (host[-1].isdecimal() or ":" in host):  # a host may be named by its address
            address = ip(host)
            if address:
                addresses[address] = None
    related = {}
    for name, values in found.items():
        if values:
            related[name] = list(values)
    if related:
        event["related"] = related


def _gather(found: dict[str, None], value: Any, path: tuple[str, ...]) -> None:
    """Gather the texts at the end of a way through objects and lists."""
    if type(value) is str:
        if not path and value and value not in PLACEHOLDERS:
            found[value[:MAX_TEXT]] = None
    elif isinstance(value, list):
        for item in value[:MAX_ITEMS]:
            _gather(found, item, path)
    elif isinstance(value, dict) and path and path[0] in value:
        _gather(found, value[path[0]], path[1:])


@cache
def _wanted(dataset: str) -> dict[str, tuple[Inside, ...]]:
    return related_fields({"network.forwarded_ip": _FORWARDED, **datasets()[dataset].fields})
