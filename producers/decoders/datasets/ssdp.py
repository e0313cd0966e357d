"""SSDP (UPnP Device Architecture, section 1): searches, the answers to them, announcements."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from producers.decoders.base import Decoder
from producers.decoders.convert import ip
from producers.decoders.tree import Tree
from producers.decoders.unit import Place, Unit

_LINES = ("http.request.line", "http.response.line", "http.unknown_header")
_HEADERS = {
    "ST": "netflight.ssdp.target",
    "NT": "netflight.ssdp.target",
    "NTS": "netflight.ssdp.notification",
    "USN": "netflight.ssdp.usn",
    "LOCATION": "url.original",
    "SERVER": "netflight.ssdp.server.software",
    "USER-AGENT": "user_agent.original",
    "MAN": "netflight.ssdp.man",
}


class SsdpDecoder(Decoder):
    """Units of SSDP messages; tshark tells their headers as lines."""

    def extra_fields(self) -> frozenset[str]:
        """What tells the headers."""
        return frozenset({*_LINES, "http.request.method", "http.response.code"})

    def units(self, layer: Tree, protocol: str, place: Place) -> Iterator[Unit]:
        """One unit per message."""
        columns = self.columns(layer)
        if not {"http.request.method", "http.response.code"} & columns.keys():
            return
        for unit in super().units(layer, protocol, place):
            for line in (line for name in _LINES for line in columns.get(name, ())):
                name, _, value = line.replace("\\r\\n", "").partition(":")
                field = _HEADERS.get(name.strip().upper())
                if field and value.strip():
                    unit.fields.setdefault(field, value.strip().strip('"'))
            _place(unit)
            yield unit


def _place(unit: Unit) -> None:
    """Read whose description the location is."""
    location: Any = unit.fields.get("url.original", "")
    try:
        host = urlsplit(location).hostname or ""
    except ValueError:
        return
    address = ip(host)
    if host:
        unit.fields["url.domain"] = host
    if address:
        unit.addresses = [address]
    elif host:
        unit.hosts = [host]
