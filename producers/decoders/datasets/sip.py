"""SIP (RFC 3261): addresses in their parts, logins, final responses."""

import base64
import binascii
import re
from collections.abc import Iterator
from typing import Any

from producers.decoders.base import Decoder
from producers.decoders.convert import number
from producers.decoders.secrets import Credentials, Secret
from producers.decoders.tree import Columns, Tree
from producers.decoders.unit import Place, Role, Unit

_ADDRESSES = {
    "sip.": "sip.r-uri",
    "sip.from.": "sip.from.addr",
    "sip.to.": "sip.to.addr",
    "sip.contact.": "sip.contact.uri",
}
# user, password and host of an address (section 19.1.1); a telephone number (RFC 3966) has no host.
_URI = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*):(?:(?P<user>[^:@]*)(?::(?P<password>[^@]*))?@)?"
    r"(?P<host>\[[^\]]*\]|[^:;?/]*)(?::(?P<port>\d{1,5}))?"
)
_LISTS = {"sip.accept": "sip.Accept", "sip.allow": "sip.Allow", "sip.supported": "sip.Supported"}
_QUOTED = (
    *("sip.from.display_info", "sip.to.display_info", "sip.contact.display_info"),
    *("sip.auth.realm", "user.name"),
)
_AUTHORIZATION = ("sip.Authorization", "sip.Proxy-Authorization")
_COPIED = (
    *("sip.type", "sip.method", "sip.code", "sip.cseq.method", "sip.to.uri.username"),
    "sip.user_agent.original",
)


class SipDecoder(Decoder):
    """Units of messages; one that tshark knows to be sent again is none."""

    def extra_fields(self) -> frozenset[str]:
        """Addresses, lists, logins, and the sign of a message sent again."""
        return frozenset(
            {
                *_ADDRESSES.values(),
                *_LISTS.values(),
                *_AUTHORIZATION,
                *("sip.Status-Line", "sip.resend", "sip.auth.uri"),
            }
        )

    def units(self, layer: Tree, protocol: str, place: Place) -> Iterator[Unit]:
        """One unit per message; a continuation of one is none."""
        columns = self.columns(layer)
        role = self.role(columns, place)
        if role is None or columns.get("sip.resend") in (["1"], ["True"]):
            return
        fields = self.read(columns, role)
        key = self.key(columns)
        fields["sip.type"] = [role.name.lower()]
        fields["sip.version"] = "2.0"  # tshark takes no other for SIP (sip.strict_sip_version)
        if fields.get("sip.method") == "ACK":
            role = Role.SINGLE
        unit = Unit(role, fields, place, protocol, key)
        _add_texts(fields, columns)
        for prefix, name in _ADDRESSES.items():
            if name in columns:
                _add_address(unit, prefix, columns[name][0])
        _add_login(unit, columns)
        if role is Role.RESPONSE:
            _add_outcome(unit, columns)
        yield unit

    def interim(self, response: Unit) -> bool:
        """Whether it is provisional (1xx)."""
        code: int = response.fields.get("sip.code", 0)
        return 100 <= code < 200

    def complete(self, fields: dict[str, Any], request: Unit | None, response: Unit | None) -> None:
        """Say what was seen, and add the names that public rules ask for."""
        fields["sip.type"] = [name for name, unit in (("request", request), ("response", response)) if unit]
        for name in _COPIED:
            if name in fields:
                fields[f"network_traffic.{name}"] = fields[name]


def _add_texts(fields: dict[str, Any], columns: Columns) -> None:
    for field in _QUOTED:
        if field in fields:
            fields[field] = str(fields[field]).strip().strip('"')
    for field, name in _LISTS.items():
        told = [item.strip() for text in columns.get(name, ()) for item in text.split(",") if item.strip()]
        if told:
            fields[field] = told
    if "sip.auth.uri" in columns:
        fields["sip.auth.uri.original"] = columns["sip.auth.uri"][0].strip('"')


def _add_address(unit: Unit, prefix: str, text: str) -> None:
    """Add an address and its parts; one with a password in it is a secret as a whole."""
    fields, base = unit.fields, f"{prefix}uri."
    fields[f"{base}original"] = text
    parts = _URI.match(text)
    if parts is None:
        return
    scheme, user, host = parts["scheme"].lower(), parts["user"], parts["host"].strip("[]")
    if scheme == "tel":
        user, host = host, ""
    fields[f"{base}scheme"] = scheme
    for name, value in (("username", (user or "").partition(";")[0]), ("host", host)):
        if value:
            fields[f"{base}{name}"] = value
    port = number(parts["port"] or "")
    if port is not None and port <= 65_535:
        fields[f"{base}port"] = port
    if parts["password"]:
        fields[f"{base}original"] = Secret(text)
        unit.credentials.append(Credentials(user or "", parts["password"], "SIP URI"))


def _add_login(unit: Unit, columns: Columns) -> None:
    """Add the credentials of a login by Basic; a digest shows no password."""
    for name in _AUTHORIZATION:
        for text in columns.get(name, ()):
            scheme, _, rest = text.strip().partition(" ")
            if scheme.lower() != "basic":
                continue
            try:
                told = base64.b64decode(rest.strip(), validate=True).decode("utf-8", "replace")
            except (binascii.Error, ValueError):
                continue
            user, colon, secret = told.partition(":")
            if colon:
                unit.fields["user.name"] = user
                unit.credentials.append(Credentials(user, secret, "Basic"))


def _add_outcome(unit: Unit, columns: Columns) -> None:
    """Add a response's words; the status, by its code's class (section 7.2)."""
    fields = unit.fields
    words = columns.get("sip.Status-Line", [""])[0].split(" ", 2)
    if len(words) == 3 and words[2]:
        fields["sip.status"] = words[2]
    code = fields.get("sip.code", 0)
    unit.status = "Error" if code >= 400 else "OK" if code >= 100 else ""
    if code >= 400:
        fields["error.code"] = str(code)
        if "sip.status" in fields:
            fields["error.message"] = fields["sip.status"]
