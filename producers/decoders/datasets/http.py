"""HTTP/1 and HTTP/2: targets, hosts, body sizes, who logs in."""

import ipaddress
import re
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from producers.decoders.authorization import authorization, user_info
from producers.decoders.base import Decoder
from producers.decoders.chunks import NO_SEQUENCE, Beginning
from producers.decoders.content import CONTENT, body_of, fields_of, header_names
from producers.decoders.convert import ip, number
from producers.decoders.datasets.http2 import Data, Head, Heads
from producers.decoders.secrets import Credentials, Secret
from producers.decoders.tree import Columns, Tree
from producers.decoders.unit import Place, Role, Unit
from schemas.model import Dataset

# The fields of HTTP/1's columns that HTTP/2 has as header fields of these names.
_COLUMNS = {
    ":method": "http.request.method",
    ":path": "http.request.uri",
    ":status": "http.response.code",
    "content-type": "http.content_type",
    "content-length": "http.content_length_header",
    "user-agent": "http.user_agent",
    "referer": "http.referer",
    "server": "http.server",
    "location": "http.location",
    "x-forwarded-for": "http.x_forwarded_for",
    "transfer-encoding": "http.transfer_encoding",
    "authorization": "http.authorization",
    "proxy-authorization": "http.proxy_authorization",
    "host": "http.host",
    ":authority": "http.host",
}
_DEFAULT_PORTS = {"http": 80, "https": 443}
# URLs of other places, which may have somebody's password in them.
_MAY_HAVE_PASSWORDS = (
    "http.request.referrer",
    "http.response.headers.location",
    "netflight.http.response.location",
)
_METHOD = re.compile("[A-Z][A-Z_-]+")
_UPGRADED = 101
_BODILESS = (204, 304)
# Header fields that have a field of their own, by side: those that public rules ask for.
_SHOWN = {
    "request": frozenset(
        {
            *("accept", "accept-encoding", "accept-language", "authorization", "content-type", "cookie"),
            *("expect", "host", "origin", "range", "soapaction", "upgrade", "x-api-version"),
            *("x-forwarded-for", "x-requested-with"),
        }
    ),
    "response": frozenset(
        {
            *("content-disposition", "content-encoding", "content-type", "server", "set-cookie"),
            *("transfer-encoding", "via", "www-authenticate", "x-powered-by"),
        }
    ),
}
_MAX_HOPS = 32
_H2C = "h2c"
# Stream 1 of a connection that began as HTTP/1 answers the request that asked for the upgrade (RFC 7540, 3.2).
_UPGRADED_STREAM = 1


class Target(NamedTuple):
    """The parts of a request's target, and what stands before the @ of its authority.

    `absolute` says that it names its host itself, as requests to proxies do.
    """

    scheme: str
    authority: str
    rest: str
    user_info: str = ""
    absolute: bool = False


class HttpDecoder(Decoder):
    """Units of messages. Responses meet requests in order (RFC 9112, section 9.3.2), or by stream.

    `extra` is whether a response is an interim one, and what is known of a body: its length, whether it is chunked, and
    what tshark shows of it, which may be less than there is.
    """

    bodies = True

    def __init__(self, dataset: Dataset) -> None:
        super().__init__(dataset)
        self._heads = Heads()

    def extra_fields(self) -> frozenset[str]:
        """The parts of a head from which host, version, sizes and users come."""
        return frozenset(
            {
                "http.request.version",
                "http.response.version",
                "http.host",
                "http.content_length_header",
                "http.chunk_size",
                "http.x_forwarded_for",
                "http.authorization",
                "http.proxy_authorization",
                "http.upgrade",
                "http.transfer_encoding",
                "http.request.line",
                "http.response.line",
                "http.file_data",
            }
        )

    def units(self, layer: Tree, protocol: str, place: Place) -> Iterator[Unit]:
        """One unit per message head; continuation data and trailers are none."""
        if protocol == "http2":
            for item in self._heads.read(layer, place):
                if isinstance(item, Head):
                    yield from self._stream(item)
                else:
                    yield _piece(item, place)
            return
        columns = self.columns(layer)
        role = self.role(columns, place)
        if role is not None:
            version, _, method = _first(columns, f"http.{role.name.lower()}.version").partition(" ")
            named = bool(_METHOD.fullmatch(method)) and role is Role.REQUEST
            if named and columns["http.request.method"] == ["GET"]:
                columns["http.request.method"] = [method]  # recognise.lua: one that tshark does not know
            unit = self._unit(columns, role, place, version.removeprefix("HTTP/"))
            if not version.startswith("HTTP/"):
                unit.fields.pop("http.version", None)
            _read_body(unit, columns)
            yield unit

    def interim(self, response: Unit) -> bool:
        """Whether a final response is still to come for the same request."""
        return bool(response.extra and response.extra[0])

    def complete(self, fields: dict[str, Any], request: Unit | None, response: Unit | None) -> None:
        """Add the beginnings of bodies; a response to HEAD has none whatever it says (RFC 9110, section 9.3.2)."""
        for unit in (request, response):
            known = unit.extra[1] if unit is not None and unit.extra else None
            if unit is not None and known is not None:
                fields.update(_shown_body(unit, known if isinstance(known, Beginning) else Beginning(*known)))
        if request is None or response is None:
            return
        if fields.get("http.request.method") == "HEAD":
            fields["http.response.body.bytes"] = 0
            fields.pop("http.response.body.content", None)
        if response.fields.get("http.version") == "2" != fields.get("http.version"):
            fields["http.version"], fields["netflight.http.upgrade"] = "2", _H2C

    def _stream(self, head: Head) -> Iterator[Unit]:
        headers = head.headers
        columns = {column: [headers[name]] for name, column in _COLUMNS.items() if headers.get(name)}
        role = Role.REQUEST if ":method" in headers else Role.RESPONSE if ":status" in headers else None
        if role is None:
            if head.ends:  # trailers
                yield _piece(Data(head.stream, b"", ends=True), head.place)
            return
        place = head.place
        if head.pushed:  # the server says what the client would have asked for (RFC 9113, section 8.4)
            place = place._replace(from_initiator=not place.from_initiator, sequence=-1, acknowledgement=-1)
        side = role.name.lower()
        columns[f"http.{side}.line"] = [
            f"{name}: {value}" for name, value in headers.items() if not name.startswith(":")
        ]
        unit = self._unit(columns, role, place, "2", headers.get(":scheme", ""))
        unit.key = _key(head.stream)
        if not head.ends:
            _read_body(unit, columns, more=True)
        unit.fields["netflight.http.stream"] = head.stream
        if head.pushed:
            unit.fields["netflight.http.pushed"] = True
        if ":protocol" in headers:  # RFC 8441: what the stream is switched to
            unit.fields["netflight.http.upgrade"] = headers[":protocol"].lower()
        yield unit

    def _unit(self, columns: Columns, role: Role, place: Place, version: str, scheme: str = "") -> Unit:
        fields = self.read(columns, role)
        fields["http.version"] = version
        size = _body_size(columns)
        if size is not None:
            fields[f"http.{role.name.lower()}.body.bytes"] = size
        unit = Unit(role, fields, place, "http", extra=(False, None))
        _read_fields(unit, columns)
        if role is Role.REQUEST:
            _read_target(unit, columns, place, scheme)
            _read_user(unit, columns)
        else:
            _read_response(unit, columns)
        for name in _MAY_HAVE_PASSWORDS:
            if ":" in user_info(fields.get(name, "")):
                fields[name] = Secret(fields[name])
        return unit


def _read_response(unit: Unit, columns: Columns) -> None:
    fields = unit.fields
    code = fields.get("http.response.status_code", 0)
    upgrade = _first(columns, "http.upgrade").lower() if code == _UPGRADED else ""
    # An interim response (RFC 9110, section 15.2) is followed by the final one, but after 101 by what follows on it.
    unit.extra = 100 <= code < 200 and (code != _UPGRADED or upgrade == _H2C), None
    if 100 <= code < 200 or code in _BODILESS:  # RFC 9112, section 6.3
        fields["http.response.body.bytes"] = 0
    unit.status = "Error" if code >= 400 else "OK" if code >= 100 else ""
    if upgrade:
        fields["netflight.http.upgrade"] = upgrade


def _read_fields(unit: Unit, columns: Columns) -> None:
    """Read the header fields: all of them, their names, and some each for itself."""
    side = unit.role.name.lower()
    lines = columns.get(f"http.{side}.line", [])
    found = list(fields_of(lines))
    if not found:
        return
    fields, shown = unit.fields, _SHOWN[side]
    fields[f"netflight.http.{side}.header_bytes"] = sum(map(len, lines))
    fields[f"netflight.http.{side}.headers"] = [f"{name}: {value}" for name, value in found]
    fields[f"http.{'client' if side == 'request' else 'server'}_header_names"] = header_names(found)
    for name, value in found:
        if name in shown and value:
            fields.setdefault(f"http.{side}.headers.{name}", value)


def _key(stream: int) -> tuple[str, ...]:
    """What request and response on a stream of HTTP/2 have in common."""
    return () if stream == _UPGRADED_STREAM else (str(stream),)


def _piece(data: Data, place: Place) -> Unit:
    """The unit of a body's piece on a stream of HTTP/2."""
    return Unit(
        Role.PART,
        {},
        place,
        "http",
        key=_key(data.stream),
        extra=(data.octets, NO_SEQUENCE, (data.ends, data.whole)),
    )


def _read_body(unit: Unit, columns: Columns, *, more: bool = False) -> None:
    """Say in `extra` what is known of a message's body, if it has one (RFC 9112, section 6.3); with `more` it has."""
    is_request = unit.role is Role.REQUEST and not more
    code = unit.fields.get("http.response.status_code", 0)
    if unit.extra[0] or code == _UPGRADED or code in _BODILESS:
        return
    length = number(_first(columns, "http.content_length_header"))
    length = length if length is None or length >= 0 else None
    chunked = "chunked" in _first(columns, "http.transfer_encoding").lower()
    if chunked or length or (length is None and not is_request):
        shown = "" if chunked and "http.chunk_size" not in columns else _first(columns, "http.file_data")
        unit.extra = unit.extra[0], (length, chunked, shown.encode()[:CONTENT])


def _shown_body(unit: Unit, beginning: Beginning) -> dict[str, Any]:
    """The fields that show the beginning of a body; the unit gets the credentials in it."""
    side = unit.role.name.lower()
    media_type = unit.fields.get(f"http.{side}.mime_type", "")
    body = body_of(bytes(beginning.data), media_type, sent_by_client=unit.role is Role.REQUEST)
    unit.credentials.extend(body.credentials)
    if not body.text:
        return {}
    fields: dict[str, Any] = {f"http.{side}.body.content": body.text}
    if beginning.truncated:
        fields[f"netflight.http.{side}.body.truncated"] = True
    return fields


def _read_target(unit: Unit, columns: Columns, place: Place, scheme: str) -> None:
    """Read scheme, host, port, path and query off the request's target and Host header (RFC 9112, section 3.2)."""
    fields = unit.fields
    target = split_target(fields.get("url.original", ""), fields.get("http.request.method", ""))
    scheme = scheme or target.scheme
    named = _first(columns, "http.host")
    host, port = host_and_port(named.rpartition("@")[2] or target.authority)
    rest, _, query = target.rest.partition("?")
    path = rest.partition("#")[0]
    _put(fields, "url.path", path)
    _put(fields, "url.query", query)
    _put(fields, "url.extension", _extension(path))
    _put(fields, "url.domain", host)
    fields["url.scheme"] = scheme
    if port is None and target.absolute:
        port = _DEFAULT_PORTS.get(scheme)
    elif port is None and place.flow is not None:
        port = place.flow.destination_port if place.from_initiator else place.flow.source_port
    if port is not None:
        fields["url.port"] = port
    if host and path:
        shown = f"[{host}]" if ":" in host else host
        where = shown if port in (None, _DEFAULT_PORTS.get(scheme, 80)) else f"{shown}:{port}"
        fields["url.full"] = f"{scheme}://{where}{path}" + (f"?{query}" if query else "")
    if host:
        unit.hosts = [host]
        address = ip(host)
        unit.addresses = [address] if address else []
    hops = [
        ip(text.strip()) for text in ",".join(columns.get("http.x_forwarded_for", [])).split(",")[:_MAX_HOPS]
    ]
    if hops[0]:  # the client; the others are proxies
        fields["network.forwarded_ip"] = hops[0]
    unit.addresses += [hop for hop in hops if hop]
    for said in filter(None, (target.user_info, user_info(named))):
        user, _, secret = said.partition(":")
        _put(fields, "url.username", user)
        if secret:
            fields["url.original"] = Secret(fields.get("url.original", ""))
            fields["url.password"] = Secret(secret)
            unit.credentials.append(Credentials(user, secret, "URL"))


def _read_user(unit: Unit, columns: Columns) -> None:
    """Tell the scheme and the user of Authorization, else of Proxy-Authorization, and what either shows in clear."""
    for name in ("http.authorization", "http.proxy_authorization"):
        for text in columns.get(name, [])[:1]:
            said = authorization(text, proxy=name == "http.proxy_authorization")
            if said.scheme:
                unit.fields.setdefault("netflight.http.authentication", said.scheme)
            if said.user:
                unit.fields.setdefault("user.name", said.user)
            if said.credentials is not None:
                unit.credentials.append(said.credentials)


def split_target(target: str, method: str) -> Target:
    """A request target in any of its four forms."""
    if method == "CONNECT":
        return Target("http", target.rpartition("@")[2], "", user_info(target))
    if "://" in target[:16]:
        try:
            parts = urlsplit(target)
        except ValueError:
            return Target("http", "", target.replace(f"{user_info(target)}@", ""), user_info(target))
        rest = parts.path + (f"?{parts.query}" if parts.query else "")
        authority = parts.netloc.rpartition("@")[2]
        return Target(parts.scheme.lower(), authority, rest, user_info(target), absolute=True)
    return Target("http", "", target)


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
