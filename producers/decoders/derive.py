"""What events tell beyond their packets: the parts of names, the peer's name, its application, its place.

Names of peers come from what the same sensor saw before: a TLS hello or an HTTP request on the flow itself, else the
latest DNS answer that gave the client this address. Everything is a function of the packets so far and of the
operator's files, so the same packets give the same events.
"""

from collections import OrderedDict
from collections.abc import Sequence
from functools import cache, lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from producers.decoders.domains import name_fields, parts_of
from producers.decoders.geo import Geo
from producers.decoders.tables import LOADER
from producers.engine.model import Flow
from schemas.events import NANOSECONDS, Event, put
from schemas.model import Dataset

_REMEMBERED = 1 << 16
_OF_FLOWS = 1 << 20
_GOOD_SECONDS = 86_400
"""How long after a DNS answer a connection is taken to follow from it."""

_NAMED = {"dns.question": "dns.question.name", "url": "url.domain"}


class Derivation:
    """Adds derived fields to the events of one source, in the packets' order."""

    def __init__(self, maxmind: Sequence[Path] = ()) -> None:
        self._geo = Geo(maxmind)
        self._of_flow: OrderedDict[int, str] = OrderedDict()
        self._answered: OrderedDict[tuple[str, str], tuple[str, int]] = OrderedDict()

    def add(
        self, event: Event, dataset: Dataset, flow: Flow | None, time_ns: int, fields: dict[str, Any]
    ) -> None:
        """Add to the event of a transaction, whose fields by dotted name are `fields`, and learn names from it."""
        for prefix, field in _NAMED.items():
            if field in fields and f"{prefix}.registered_domain" in dataset.fields:
                for name, value in name_fields(prefix, fields[field]).items():
                    put(event, name, value)
        if "dns.resolved_ip" in fields and "dns.question.name" in fields:
            self._learn(event, fields["dns.question.name"], fields["dns.resolved_ip"], time_ns)
        if flow is not None:
            named = fields.get("tls.client.server_name") or fields.get("url.domain")
            if named and parts_of(named) is not None:
                self._remember(flow.uid, named)
            self._add_peer(event, flow, time_ns)

    def add_to_flow(self, event: Event, flow: Flow, *, final: bool) -> None:
        """Add to the event of a flow record."""
        self._add_peer(event, flow, flow.start_ns)
        if final:
            self._of_flow.pop(flow.uid, None)

    def _add_peer(self, event: Event, flow: Flow, time_ns: int) -> None:
        """Name the responder, and the application behind the name."""
        if flow.uid in self._of_flow or self._answered:
            name = self._of_flow.get(flow.uid) or self._asked_for(flow, time_ns)
            if name:
                event["destination"]["domain"] = name
                for field, value in name_fields("destination", name).items():
                    put(event, field, value)
                application = application_of(name)
                if application:
                    event["network"]["application"] = application

    def add_places(self, event: Event) -> None:
        """Add where source and destination are, and whose networks they are in."""
        if self._geo:
            for side in ("source", "destination"):
                for field, value in self._geo.fields(event.get(side, {}).get("ip", "")).items():
                    put(event, f"{side}.{field}", value)

    def _learn(self, event: Event, name: str, addresses: Sequence[str], time_ns: int) -> None:
        if parts_of(name) is None:
            return
        client = event["source"]["ip"]
        for address in addresses:
            self._answered[client, address] = (name, time_ns)
            self._answered.move_to_end((client, address))
        while len(self._answered) > _REMEMBERED:
            self._answered.popitem(last=False)

    def _asked_for(self, flow: Flow, time_ns: int) -> str:
        name, told_ns = self._answered.get((flow.source_ip, flow.destination_ip), ("", 0))
        return name if name and 0 <= time_ns - told_ns <= _GOOD_SECONDS * NANOSECONDS else ""

    def _remember(self, uid: int, name: str) -> None:
        self._of_flow.setdefault(uid, name)
        if len(self._of_flow) > _OF_FLOWS:
            self._of_flow.popitem(last=False)


@lru_cache(maxsize=1 << 14)
def application_of(name: str) -> str:
    """The application behind a host name; the public suffix may belong to it, too (`githubusercontent.com`)."""
    parts = parts_of(name)
    if parts is None:
        return ""
    known = applications()
    return known.get(parts.registered_domain) or known.get(parts.top_level_domain) or ""


@cache
def applications() -> dict[str, str]:
    """`network.application` by registered domain or public suffix, from applications.yaml."""
    text = resources.files("producers.decoders").joinpath("applications.yaml").read_text(encoding="utf-8")
    groups: dict[str, list[str]] = yaml.load(text, Loader=LOADER)  # noqa: S506  # it is a safe loader
    return {domain: name for name, domains in groups.items() for domain in domains}
