"""HTTP/1: targets, hosts and body sizes."""

import ipaddress
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from producers.decoders.base import Decoder
from producers.decoders.convert import ip, number
from producers.decoders.tree import Columns, Tree
from producers.decoders.unit import Place, Role, Unit


class HttpDecoder(Decoder):
    """Units of HTTP/1 messages. Responses meet requests in order (RFC 9112, section 9.3.2)."""

    def extra_fields(self) -> frozenset[str]:
        """The parts of a head from which host, version and sizes come."""
        return frozenset(
            {
                "http.request.version",
                "http.response.version",
                "http.host",
                "http.content_length_header",
                "http.chunk_size",
                "http.x_forwarded_for",
            }
        )

    def units(self, layer: Tree, protocol: str, place: Place) -> Iterator[Unit]:
        """One unit per message head; continuation data is none."""
        columns = self.columns(layer)
        role = self.role(columns, place)
        if role is None:
            return
        fields = self.read(columns, role)
        version = _first(columns, f"http.{role.name.lower()}.version")
        if version.startswith("HTTP/"):
            fields["http.version"] = version.removeprefix("HTTP/")
        size = _body_size(columns)
        if size is not None:
            fields[f"http.{role.name.lower()}.body.bytes"] = size
        unit = Unit(role, fields, place, protocol)
        if role is Role.REQUEST:
            _target(unit, columns, place)
        else:
            # An interim response (RFC 9110, section 15.2) is followed by the final one.
            unit.extra = 100 <= fields.get("http.response.status_code", 0) < 200
            unit.status = "Error" if fields.get("http.response.status_code", 0) >= 400 else "OK"
        yield unit

    def interim(self, response: Unit) -> bool:
        """Whether a final response is still to come for the same request (but not after 101)."""
        return bool(response.extra) and response.fields.get("http.response.status_code") != 101

    def complete(self, fields: dict[str, Any], request: Unit | None, response: Unit | None) -> None:
        """A response to HEAD has no body, whatever its head says (RFC 9110, section 9.3.2)."""
        if request and response and fields.get("http.request.method") == "HEAD":
            fields["http.response.body.bytes"] = 0


def _target(unit: Unit, columns: Columns, place: Place) -> None:
    """Read scheme, host, port, path and query off the request's target and Host header (RFC 9112, section 3.2)."""
    fields = unit.fields
    scheme, authority, rest = split_target(
        fields.get("url.original", ""), fields.get("http.request.method", "")
    )
    host, port = host_and_port(_first(columns, "http.host") or authority)
    rest, _, query = rest.partition("?")
    path = rest.partition("#")[0]
    _put(fields, "url.path", path)
    _put(fields, "url.query", query)
    _put(fields, "url.extension", _extension(path))
    _put(fields, "url.domain", host)
    fields["url.scheme"] = scheme
    if port is None and place.flow is not None:
        port = place.flow.destination_port if place.from_initiator else place.flow.source_port
    if port is not None:
        fields["url.port"] = port
    if host and path:
        shown = f"[{host}]" if ":" in host else host
        where = shown if port in (None, 80) else f"{shown}:{port}"
        fields["url.full"] = f"{scheme}://{where}{path}" + (f"?{query}" if query else "")
    if host:
        unit.hosts = [host]
        address = ip(host)
        unit.addresses = [address] if address else []
    forwarded = ip(_first(columns, "http.x_forwarded_for").partition(",")[0].strip())
    if forwarded:
        fields["network.forwarded_ip"] = forwarded


def split_target(target: str, method: str) -> tuple[str, str, str]:
    """Scheme, authority and the rest of a request target in any of its four forms."""
    if method == "CONNECT":
        return "http", target, ""
    if "://" in target[:16]:
        try:
            parts = urlsplit(target)
        except ValueError:
            return "http", "", target
        rest = parts.path + (f"?{parts.query}" if parts.query else "")
        return parts.scheme.lower(), parts.netloc.rpartition("@")[2], rest
    return "http", "", target


def host_and_port(text: str) -> tuple[str, int | None]:
    """`host`, `host:port`, `[v6]:port` or a bare IPv6 address as the host and the port."""
    text = text.strip()
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        return host, _port(rest[1:]) if rest.startswith(":") else None
    if text.count(":") == 1:
        host, _, port = text.partition(":")
        return host, _port(port)
    if ":" in text:
        try:
            return str(ipaddress.ip_address(text)), None
        except ValueError:
            return text, None
    return text, None


def _port(text: str) -> int | None:
    value = number(text)
    return value if value is not None and 0 <= value <= 65_535 else None


def _extension(path: str) -> str:
    name = path.rpartition("/")[2]
    stem, dot, extension = name.rpartition(".")
    return extension if dot and stem and extension.isalnum() and len(extension) <= 10 else ""


def _body_size(columns: Columns) -> int | None:
    """The body's size as the head says; for a chunked body that came whole, the sum of its chunks."""
    told = number(_first(columns, "http.content_length_header"))
    if told is not None and told >= 0:
        return told
    chunks = [number(text) for text in columns.get("http.chunk_size", [])]
    if chunks and chunks[-1] == 0:
        return sum(size for size in chunks if size)
    return None


def _first(columns: Columns, name: str) -> str:
    return columns[name][0] if name in columns else ""


def _put(fields: dict[str, Any], name: str, value: str) -> None:
    if value:
        fields[name] = value
