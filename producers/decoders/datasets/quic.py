"""QUIC (RFC 9000), Google's QUIC before it, and Facebook's Zero: what the first packets of a connection show."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from producers.decoders.base import Decoder
from producers.decoders.convert import number
from producers.decoders.tree import Columns, Tree
from producers.decoders.unit import Place, Role, Unit

_VERSIONS = {0x00000001: "1", 0x6B3343CF: "2"}
_DRAFT = 0xFF000000  # drafts of version 1 count from here
_NEGOTIATION = 0  # the version of a packet that lists versions (RFC 9000, section 17.2.1)
# Long packets by their type, in version 1 (RFC 9000, section 17.2) and in version 2 (RFC 9369, section 3.2).
_TYPES = {
    "quic.long.packet_type": ("initial", "early", "handshake", "retry"),
    "quic.long.packet_type_v2": ("retry", "initial", "early", "handshake"),
}
_OLD_VERSIONS = ("gquic.version", "fb_zero.tag.version")
_MAX_VERSIONS = 32
_CLIENT_HELLO, _SERVER_HELLO = "1", "2"
_NAMED = frozenset(
    {
        *("quic.version", "quic.supported_version", "quic.dcid", "quic.scid"),
        *("tls.handshake.type", *_TYPES, *_OLD_VERSIONS),
    }
)


class _Part(NamedTuple):
    """What a packet says beyond its fields: which kind it is, who sent it where that is plain, its connection ids."""

    kind: str
    side: str = ""
    destination: str = ""
    source: str = ""
    versions: tuple[str, ...] = ()


class QuicDecoder(Decoder):
    """Parts of a connection: one per packet that says something new."""

    def extra_fields(self) -> frozenset[str]:
        """Versions, packet types and connection ids."""
        return _NAMED

    def units(self, layer: Tree, protocol: str, place: Place) -> Iterator[Unit]:
        """One part per QUIC packet with a long header; a datagram may hold several, each a layer of its own."""
        if "quic.short" in layer:  # of the connection once it is established, of which few are decoded
            return
        columns = self.columns(layer)
        fields = self.read(columns, Role.PART)
        part = _read_packet(columns)
        version = _version(columns)
        if version and part.kind in ("initial", "old"):
            fields["netflight.quic.version"] = version
        if part.versions:
            fields["netflight.quic.supported_versions"] = list(part.versions)
        if fields or part.kind != "old":
            yield Unit(Role.PART, fields, place, protocol, extra=part)

    def told_all(self, parts: list[Unit]) -> bool:
        """Whether both sides went on to keys that only they have."""
        return _established(parts)

    def client_is_initiator(self, parts: list[Unit]) -> bool:
        """The client is who sent the client hello."""
        for unit in parts:
            if unit.extra.side:
                sent_by_client: bool = unit.extra.side == "client"
                return unit.place.from_initiator == sent_by_client
        return True

    def summarise(self, parts: list[Unit], fields: dict[str, Any]) -> str:
        """Name the connection ids by their sides; tell retries, early data, and whether it was established."""
        client_is_initiator = self.client_is_initiator(parts)
        messages = [name for unit in parts for name in unit.fields.get("netflight.quic.messages", ())]
        if messages:
            fields["netflight.quic.messages"] = list(dict.fromkeys(messages))
        kinds = {unit.extra.kind for unit in parts}
        for unit in parts:
            side = "client" if unit.place.from_initiator == client_is_initiator else "server"
            if unit.extra.kind not in ("initial", "handshake"):
                continue  # a retry's source is given up for that of the hello after it
            if unit.extra.source:
                fields.setdefault(f"netflight.quic.{side}.connection_id", unit.extra.source)
            if side == "client" and unit.extra.kind == "initial" and unit.extra.destination:
                fields.setdefault("netflight.quic.original_destination_connection_id", unit.extra.destination)
        if kinds <= {"old"}:
            return "Error" if "error.code" in fields else ""
        established = _established(parts)
        fields["netflight.quic.retry"] = "retry" in kinds
        fields["netflight.quic.early_data"] = "early" in kinds
        fields["netflight.quic.established"] = established
        if "error.code" in fields:
            return "Error"
        return "OK" if established else ""


def _read_packet(columns: Columns) -> _Part:
    side = {_CLIENT_HELLO: "client", _SERVER_HELLO: "server"}.get(_first(columns, "tls.handshake.type"), "")
    if "quic.version" not in columns:
        old = "client" if "CHLO" in columns.get("gquic.tag", columns.get("fb_zero.tag", [])) else ""
        return _Part("old", side=old)
    if number(_first(columns, "quic.version")) == _NEGOTIATION:
        offered = columns.get("quic.supported_version", [])[:_MAX_VERSIONS]
        named = [
            _named(value) for value in map(number, offered) if value is not None and not _is_grease(value)
        ]
        return _Part("negotiation", side="server", versions=tuple(named))
    kind = ""
    for field, names in _TYPES.items():
        value = number(_first(columns, field))
        if value is not None and 0 <= value < len(names):
            kind = names[value]
    return _Part(kind, side, _plain(columns, "quic.dcid"), _plain(columns, "quic.scid"))


def _established(parts: list[Unit]) -> bool:
    return len({unit.place.from_initiator for unit in parts if unit.extra.kind == "handshake"}) == 2


def _version(columns: Columns) -> str:
    """The version by its name; Google's are texts on the wire."""
    value = number(_first(columns, "quic.version"))
    if value:
        return _named(value)
    return next((columns[name][0] for name in _OLD_VERSIONS if name in columns), "")


def _named(value: int) -> str:
    if value in _VERSIONS:
        return _VERSIONS[value]
    if _DRAFT < value <= _DRAFT + 0xFF:
        return f"draft-{value - _DRAFT:02d}"
    letters = value.to_bytes(4, "big") if 0 <= value < 1 << 32 else b""
    if letters[:1] in (b"Q", b"T") and letters[1:].isdigit():
        return letters.decode("ascii")
    return f"0x{value:08x}"


def _is_grease(value: int) -> bool:
    """Whether a version is one of those that only test the other side (RFC 9000, section 15)."""
    return value & 0x0F0F0F0F == 0x0A0A0A0A


def _plain(columns: Columns, name: str) -> str:
    return _first(columns, name).replace(":", "").lower()[:40]


def _first(columns: Columns, name: str) -> str:
    return columns[name][0] if name in columns else ""
