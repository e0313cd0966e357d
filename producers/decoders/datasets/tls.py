"""TLS, DTLS and the hellos in QUIC and others: the parts of a handshake, and what they tell together."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from producers.decoders.base import Decoder
from producers.decoders.convert import number
from producers.decoders.datasets.ja4 import ClientHello, is_grease, ja4
from producers.decoders.tables import name_of, name_or_number
from producers.decoders.tree import Tree, collect, find_all, holders, texts
from producers.decoders.unit import Place, Role, Unit

CLIENT_HELLO, SERVER_HELLO, CERTIFICATE, SERVER_KEY_EXCHANGE = 1, 2, 11, 12
NEW_SESSION_TICKET = 4
CHANGE_CIPHER_SPEC, ALERT, APPLICATION_DATA = "20", "21", "23"
_PRE_SHARED_KEY, _SESSION_TICKET = "41", "35"
_KEY_NAME = 16  # octets at the beginning of a ticket that name its key (RFC 5077, section 4)
_DRAFTS, _RFC8446 = 0x7F, 0x0304  # drafts of TLS 1.3 are 0x7f and their number
# The random of a server hello that asks for another client hello (RFC 8446, section 4.1.3).
_RETRY = "cf:21:ad:74:e5:9a:61:11:be:1d:8c:02:1e:65:b8:91:c2:a2:11:16:7a:bb:8c:5e:07:9e:09:e2:c8:a8:33:9c"


class _Part(NamedTuple):
    """What a part of a connection says beyond its fields."""

    kind: str
    session: str = ""
    resumed: bool = False
    alert: str = ""
    fatal: bool = False
    chain: tuple[bytes, ...] = ()


class TlsDecoder(Decoder):
    """Parts: hellos, certificates, the switch to encryption, alerts in clear."""

    def units(self, layer: Tree, protocol: str, place: Place) -> Iterator[Unit]:
        """Yield one part for each telling handshake message or record of the layer."""
        prefix = protocol
        if _in_quic(layer, protocol, place):
            protocol = "quic"
        for message in find_all(layer, f"{prefix}.handshake"):
            kind = number(str(message.get(f"{prefix}.handshake.type")))
            whole = (
                f"{prefix}.handshake.version" in message
            )  # fragments of DTLS have no more than their header
            if kind == CLIENT_HELLO and whole:
                yield self._client_hello(message, prefix, protocol, place)
            elif kind == SERVER_HELLO and whole:
                yield self._server_hello(message, prefix, protocol, place)
            elif kind == NEW_SESSION_TICKET:
                yield from _new_ticket(message, prefix, protocol, place)
            elif kind == CERTIFICATE:
                yield from self._certificates(message, prefix, protocol, place)
            elif kind == SERVER_KEY_EXCHANGE:
                yield from self._key_exchange(message, prefix, protocol, place)
        for old in holders(layer, f"{prefix}.handshake.cipher_spec_len"):
            if number(str(old.get(f"{prefix}.handshake.type"))) == CLIENT_HELLO:
                yield _old_hello(old, prefix, protocol, place)
        yield from self._records(layer, prefix, protocol, place)

    def told_all(self, parts: list[Unit]) -> bool:
        """Whether both sides went on to encryption, or one gave up."""
        if any(unit.extra.fatal for unit in parts):
            return True
        return _established(parts)

    def tellings(self, parts: list[Unit]) -> Iterator[list[Unit]]:
        """The whole connection, and once more with each further client hello that differs from those before it.

        So it is where the server asks for another hello (RFC 8446, section 4.1.4): their fingerprints differ.
        """
        yield parts
        hellos = [unit for unit in parts if unit.extra.kind == "client_hello"]
        others = [unit for unit in parts if unit.extra.kind != "client_hello"]
        seen = [unit.hashes for unit in hellos[:1]]
        for hello in hellos[1:]:
            if hello.hashes not in seen:
                seen.append(hello.hashes)
                yield [hello, *others]

    def client_is_initiator(self, parts: list[Unit]) -> bool:
        """The client is who sent the client hello, or did not send the server hello."""
        for unit in parts:
            if unit.extra.kind in ("client_hello", "server_hello"):
                sent_by_client: bool = unit.extra.kind == "client_hello"
                return unit.place.from_initiator == sent_by_client
        return True

    def summarise(self, parts: list[Unit], fields: dict[str, Any]) -> str:
        """Tell the version, whether the session was resumed and established, and the alerts."""
        kinds = {unit.extra.kind: unit.extra for unit in parts}
        server, client = kinds.get("server_hello"), kinds.get("client_hello")
        established = _established(parts)
        if any(
            unit.protocol != "quic" for unit in parts
        ):  # QUIC's records are its own: the quic dataset tells
            fields["tls.established"] = established
        self._read_certificates(parts, fields)
        if server is not None:
            echoed = bool(client and client.session and client.session == server.session)
            older = fields.get("tls.version") != "1.3" and "certificate" not in kinds
            fields["tls.resumed"] = server.resumed or (echoed and older)
        if fields.get("tls.version"):
            fields["tls.version_protocol"] = "ssl" if fields["tls.version"] in ("2.0", "3.0") else "tls"
            if any(unit.protocol == "dtls" for unit in parts):
                fields["tls.version_protocol"] = "dtls"
        alerts = [unit.extra.alert for unit in parts if unit.extra.alert]
        if alerts:
            fields["netflight.tls.alerts"] = alerts
        if any(unit.extra.fatal for unit in parts):
            return "Error"
        return "OK" if established else ""

    def _read_certificates(self, parts: list[Unit], fields: dict[str, Any]) -> None:
        from producers.decoders.datasets.certificates import chain_fields  # noqa: PLC0415  # slow to load, seldom needed

        client_is_initiator = self.client_is_initiator(parts)
        for unit in reversed(parts):
            if unit.extra.kind == "certificate":
                side = "client" if unit.place.from_initiator == client_is_initiator else "server"
                told = chain_fields(unit.extra.chain, side)
                fields.update((name, value) for name, value in told.items() if name in self.dataset.fields)

    def _client_hello(self, message: Tree, prefix: str, protocol: str, place: Place) -> Unit:
        hs = f"{prefix}.handshake"
        names = ("ciphersuite", "extension.type", "extensions.supported_version", "extensions_alpn_str")
        rest = ("extensions_server_name", "session_id", "ja3", "version", "extensions.psk.identity.identity")
        columns = collect(message, frozenset(f"{hs}.{name}" for name in names + rest))
        ciphers = _numbers(columns.get(f"{hs}.ciphersuite"))
        alpn = columns.get(f"{hs}.extensions_alpn_str", [""])[0]
        hello = ClientHello(
            transport=_transport(prefix, place),
            version=next(iter(_numbers(columns.get(f"{hs}.version"))), 0),
            supported_versions=_numbers(columns.get(f"{hs}.extensions.supported_version")),
            ciphers=ciphers,
            extensions=_numbers(columns.get(f"{hs}.extension.type")),
            signature_algorithms=_signature_algorithms(message, hs),
            alpn=bytes(min(ord(character), 0xFF) for character in alpn),
        )
        fields: dict[str, Any] = {"netflight.tls.client.ja4": ja4(hello)}
        hashes = [fields["netflight.tls.client.ja4"]]
        ja3 = columns.get(f"{hs}.ja3", [""])[0]
        if ja3:
            fields["tls.client.ja3"] = ja3
            hashes.append(ja3)
        offered = [
            name_of("tls_cipher", cipher) or f"0x{cipher:04X}" for cipher in ciphers if not is_grease(cipher)
        ]
        if offered:
            fields["tls.client.supported_ciphers"] = offered
        server_name = columns.get(f"{hs}.extensions_server_name", [""])[0]
        if server_name:
            fields["tls.client.server_name"] = server_name
        ticket = _offered_ticket(message, columns, hs)
        if ticket:
            fields["netflight.tls.client.ticket_key_name"] = ticket
        part = _Part("client_hello", session=columns.get(f"{hs}.session_id", [""])[0])
        hosts = [server_name] if server_name else []
        return Unit(Role.PART, fields, place, protocol, hosts=hosts, hashes=hashes, extra=part)

    def _server_hello(self, message: Tree, prefix: str, protocol: str, place: Place) -> Unit:
        hs = f"{prefix}.handshake"
        names = ("ciphersuite", "extension.type", "extensions.supported_version", "extensions_alpn_str")
        rest = ("session_id", "ja3s", "version", "random", "extensions_key_share_group")
        columns = collect(message, frozenset(f"{hs}.{name}" for name in names + rest))
        if columns.get(f"{hs}.random") == [_RETRY]:
            return Unit(Role.PART, {}, place, protocol, extra=_Part("hello_retry_request"))
        fields: dict[str, Any] = {}
        version = _version(columns, hs)
        if version:
            fields["tls.version"] = version
        ciphers = _numbers(columns.get(f"{hs}.ciphersuite"))
        if ciphers:
            fields["tls.cipher"] = name_of("tls_cipher", ciphers[0]) or f"0x{ciphers[0]:04X}"
        groups = _numbers(columns.get(f"{hs}.extensions_key_share_group"))
        if groups:
            fields["tls.curve"] = name_or_number("tls_group", groups[0])
        agreed = columns.get(f"{hs}.extensions_alpn_str", [""])[0]
        if agreed:
            fields["tls.next_protocol"] = agreed
        ja3s = columns.get(f"{hs}.ja3s", [""])[0]
        if ja3s:
            fields["tls.server.ja3s"] = ja3s
        part = _Part(
            "server_hello",
            session=columns.get(f"{hs}.session_id", [""])[0],
            resumed=_PRE_SHARED_KEY in columns.get(f"{hs}.extension.type", []),
        )
        return Unit(Role.PART, fields, place, protocol, hashes=[ja3s] if ja3s else [], extra=part)

    def _certificates(self, message: Tree, prefix: str, protocol: str, place: Place) -> Iterator[Unit]:
        raw = collect(message, frozenset({f"{prefix}.handshake.certificate"}))
        chain = [_bytes(text) for text in raw.get(f"{prefix}.handshake.certificate", [])]
        if not chain or not chain[0]:
            return
        from producers.decoders.datasets.certificates import hashes  # noqa: PLC0415  # slow to load, seldom needed

        digests = [digest for der in chain for digest in hashes(der)]
        part = _Part("certificate", chain=tuple(chain))
        yield Unit(Role.PART, {}, place, protocol, hashes=digests, extra=part)

    def _key_exchange(self, message: Tree, prefix: str, protocol: str, place: Place) -> Iterator[Unit]:
        """The curve of the server's key (RFC 8422, section 5.4); later versions name it in the hello."""
        curve = f"{prefix}.handshake.server_named_curve"
        for group in _numbers(collect(message, frozenset({curve})).get(curve))[:1]:
            fields = {"tls.curve": name_or_number("tls_group", group)}
            yield Unit(Role.PART, fields, place, protocol, extra=_Part("key_exchange"))

    def _records(self, layer: Tree, prefix: str, protocol: str, place: Place) -> Iterator[Unit]:
        for record in holders(layer, f"{prefix}.record.content_type"):
            for content in texts(record[f"{prefix}.record.content_type"])[:1]:
                if content in (CHANGE_CIPHER_SPEC, APPLICATION_DATA):
                    yield Unit(Role.PART, {}, place, protocol, extra=_Part("encrypted"))
                elif content == ALERT:
                    part = _alert(record, prefix)
                    if part is not None:
                        yield Unit(Role.PART, {}, place, protocol, extra=part)


def _in_quic(layer: Tree, protocol: str, place: Place) -> bool:
    """Whether a layer is of QUIC, which carries messages without records (RFC 9001, section 4)."""
    on_udp = place.flow is not None and place.flow.transport == "udp"
    return on_udp and protocol == "tls" and f"{protocol}.record" not in layer


def _transport(prefix: str, place: Place) -> str:
    """JA4's letter of what carries the hello; TLS in whatever else is carried by UDP counts as QUIC, as Arkime does."""
    if prefix == "dtls":
        return "d"
    return "q" if place.flow is not None and place.flow.transport == "udp" else "t"


def _established(parts: list[Unit]) -> bool:
    if not any(unit.extra.kind == "server_hello" for unit in parts):
        return False
    sides = {unit.place.from_initiator for unit in parts if unit.extra.kind == "encrypted"}
    return len(sides) == 2


_FAREWELLS = frozenset({0, 90, 100})  # close_notify, user_canceled, no_renegotiation (RFC 8446, section 6.1)


def _alert(record: Tree, prefix: str) -> _Part | None:
    found = collect(record, frozenset({f"{prefix}.alert_message.desc", f"{prefix}.alert_message.level"}))
    described = _numbers(found.get(f"{prefix}.alert_message.desc"))
    if not described:
        return None
    fatal = found.get(f"{prefix}.alert_message.level", [""])[0] == "2" and described[0] not in _FAREWELLS
    return _Part("alert", alert=name_or_number("tls_alert", described[0]), fatal=fatal)


def _version(columns: dict[str, list[str]], hs: str) -> str | None:
    """The version agreed on, by the extension or else by the hello; drafts count as what became of them."""
    extension = _numbers(columns.get(f"{hs}.extensions.supported_version"))
    for version in extension + _numbers(columns.get(f"{hs}.version")):
        name = name_of("tls_version", _RFC8446 if version >> 8 == _DRAFTS else version)
        if name:
            return name
    return None


def _old_hello(message: Tree, prefix: str, protocol: str, place: Place) -> Unit:
    """A client hello in the format of SSL 2, whose version may be a later one (RFC 5246, appendix E.2)."""
    hs = f"{prefix}.handshake"
    columns = collect(message, frozenset({f"{hs}.version", f"{hs}.cipherspec"}))
    fields: dict[str, Any] = {}
    for version in _numbers(columns.get(f"{hs}.version"))[:1]:
        fields["netflight.tls.client.sslv2_hello"] = name_of("tls_version", version) or f"0x{version:04X}"
    offered = [_cipher_spec(kind) for kind in _numbers(columns.get(f"{hs}.cipherspec"))]
    if offered:
        fields["tls.client.supported_ciphers"] = offered
    return Unit(Role.PART, fields, place, protocol, extra=_Part("client_hello"))


def _cipher_spec(kind: int) -> str:
    """The name of a cipher in three octets: SSL 2's own, or one of later versions behind a zero."""
    if kind > 0xFFFF:
        return name_of("ssl2_cipher", kind) or f"0x{kind:06X}"
    return name_of("tls_cipher", kind) or f"0x{kind:04X}"


def _new_ticket(message: Tree, prefix: str, protocol: str, place: Place) -> Iterator[Unit]:
    """The name of the key that the server's ticket is made with (RFC 5077, section 4)."""
    name = f"{prefix}.handshake.session_ticket"
    ticket = _bytes(collect(message, frozenset({name})).get(name, [""])[0])
    if len(ticket) >= _KEY_NAME:
        fields = {"netflight.tls.server.ticket_key_name": ticket[:_KEY_NAME].hex()}
        yield Unit(Role.PART, fields, place, protocol, extra=_Part("ticket"))


def _offered_ticket(message: Tree, columns: dict[str, list[str]], hs: str) -> str:
    """The name of the key of the ticket that a client comes back with; empty where it brings none."""
    ticket = _bytes(columns.get(f"{hs}.extensions.psk.identity.identity", [""])[0])
    if not ticket:
        for extension in holders(message, f"{hs}.extension.type"):
            if _SESSION_TICKET in texts(extension[f"{hs}.extension.type"]):
                ticket = _bytes(next(iter(texts(extension.get(f"{hs}.extension.data"))), ""))
    return ticket[:_KEY_NAME].hex() if len(ticket) >= _KEY_NAME else ""


def _signature_algorithms(message: Tree, hs: str) -> list[int]:
    """The algorithms of extension 13 alone: extension 50 lists others under the same field."""
    for extension in holders(message, f"{hs}.extension.type"):
        if "13" in texts(extension[f"{hs}.extension.type"]):
            return _numbers(collect(extension, frozenset({f"{hs}.sig_hash_alg"})).get(f"{hs}.sig_hash_alg"))
    return []


def _numbers(values: list[str] | None) -> list[int]:
    return [value for value in map(number, values or []) if value is not None]


def _bytes(text: str) -> bytes:
    try:
        return bytes.fromhex(text.replace(":", ""))
    except ValueError:
        return b""
