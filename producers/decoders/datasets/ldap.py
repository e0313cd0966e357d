"""LDAP (RFC 4511): operations by message id; the entries of a search wait for its result."""

import re
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from producers.decoders.base import Decoder
from producers.decoders.convert import number
from producers.decoders.secrets import REDACTED, Credentials, Secret
from producers.decoders.tables import name_of, name_or_number
from producers.decoders.tree import Columns, Tree, collect, find_all, split, texts
from producers.decoders.unit import Place, Role, Unit

_MESSAGE = "ldap.LDAPMessage_element"
_ALONE = frozenset({2, 16})
_ENTRY, _REFERENCE = 4, 19
_SECRET = re.compile(r"passw|unicodepwd|pwd", re.IGNORECASE)
# Attributes whose values are secrets; not the times and counts around passwords that Active Directory has.
_SECRET_VALUE = re.compile(
    r"passw(?:or)?d$|(?:^|unicode|dbcs|adm|lm|nt)pwd(?:history)?$|secret|private-?key|krb(?:principal|5)key|trustauth"
    r"|supplementalcredentials",
    re.IGNORECASE,
)
_SEARCHES = 4096  # of which entries are counted at once
_MAX_ENTRIES, _MAX_NAMES, _MAX_VALUES, _MAX_VALUE = 32, 64, 64, 512  # shown of what a search found
_WHOLE = 230  # tshark cuts labels at 240 characters
_DEPTH = 32
_VALUES = frozenset({"ldap.AttributeValue"})


class LdapDecoder(Decoder):
    """Units of LDAP messages, of which a packet may have several."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._found: OrderedDict[tuple[int, str], _Found] = OrderedDict()

    def extra_fields(self) -> frozenset[str]:
        """The operation, and what may be a secret."""
        return frozenset(
            {
                *("ldap.protocolOp", "ldap.simple", "ldap.AttributeDescription", "ldap.type"),
                *("ldap.attributeDesc", "ldap.assertionValue", "ldap.credentials"),
            }
        )

    def units(self, layer: Tree, protocol: str, place: Place) -> Iterator[Unit]:
        """One unit per message; the entries and references of a search are none."""
        for message in split(layer, _MESSAGE):
            columns = self.columns(message)
            operation = number(_first(columns, "ldap.protocolOp"))
            if operation in (_ENTRY, _REFERENCE):
                self._collect(message, columns, place, operation)
            elif operation is not None and name_of("windows.ldap_operation", operation):
                yield self._unit(message, columns, operation, protocol, place)

    def _unit(self, message: Tree, columns: Columns, operation: int, protocol: str, place: Place) -> Unit:
        role = self.role(columns, place) or Role.SINGLE
        identity = _first(columns, "ldap.messageID")
        if operation in _ALONE or identity == "0":  # a notice of disconnection answers no request
            role = Role.SINGLE
        unit = Unit(role, self.read(columns, role), place, protocol, self.key(columns))
        unit.fields["netflight.ldap.operation"] = name_of("windows.ldap_operation", operation)
        if "ldap.resultCode" in columns:
            unit.status = self.status(columns, role, place)
            _result(unit, columns)
        if role is Role.REQUEST:
            _request(unit, message, columns)
        elif unit.fields["netflight.ldap.operation"] == "search":
            unit.fields |= (self._found.pop(_search(columns, place), None) or _Found()).fields()
        return unit

    def _collect(self, message: Tree, columns: Columns, place: Place, operation: int) -> None:
        found = self._found.setdefault(_search(columns, place), _Found())
        if operation == _REFERENCE:
            found.references += 1
        else:
            found.entries += 1
            _entry(found, message)
        if len(self._found) > _SEARCHES:
            self._found.popitem(last=False)


@dataclass(slots=True)
class _Found:
    """What a search has found so far: how much, and of the first entries the names, attributes and values."""

    entries: int = 0
    references: int = 0
    dns: list[str] = field(default_factory=list)
    names: dict[str, None] = field(default_factory=dict)
    values: list[str] = field(default_factory=list)

    def fields(self) -> dict[str, Any]:
        """The fields of the search's event."""
        told: dict[str, Any] = {
            "netflight.ldap.entries": self.entries,
            "netflight.ldap.references": self.references,
        }
        shown = {"dns": self.dns, "attributes": list(self.names), "values": self.values}
        return told | {f"netflight.ldap.found.{name}": items for name, items in shown.items() if items}


def _entry(found: _Found, message: Tree) -> None:
    """Add the name and the attributes of an entry, as far as there is room."""
    for entry in find_all(message, "ldap.searchResEntry_element"):
        if len(found.dns) < _MAX_ENTRIES:
            found.dns += filter(None, texts(entry.get("ldap.objectName"))[:1])
        for attribute in find_all(entry, "ldap.PartialAttributeList_item_element"):
            name = "".join(texts(attribute.get("ldap.type"))[:1])
            if not name or (name not in found.names and len(found.names) >= _MAX_NAMES):
                continue
            found.names[name] = None
            for value in collect(attribute, _VALUES).get("ldap.AttributeValue", ()):
                if len(found.values) >= _MAX_VALUES:
                    return
                text = REDACTED if _SECRET_VALUE.search(name) else _text(value)
                if text:
                    found.values.append(f"{name}={text}")


def _text(digits: str) -> str:
    """A value as text; empty where its bytes are none."""
    try:
        text = bytes.fromhex(digits.replace(":", "")).decode("utf-8")
    except ValueError:
        return ""
    return (
        text[:_MAX_VALUE] if text.replace("\n", "").replace("\r", "").replace("\t", "").isprintable() else ""
    )


def _search(columns: Columns, place: Place) -> tuple[int, str]:
    return (-1 if place.flow is None else place.flow.uid, _first(columns, "ldap.messageID"))


def _result(unit: Unit, columns: Columns) -> None:
    code = number(_first(columns, "ldap.resultCode"))
    if code is None:
        return
    name = name_or_number("windows.ldap_result", code)
    unit.fields["netflight.ldap.result_code"] = name
    if unit.status == "Error":
        unit.fields["error.code"], unit.fields["error.message"] = str(code), name


def _request(unit: Unit, message: Tree, columns: Columns) -> None:
    fields = unit.fields
    operation = fields["netflight.ldap.operation"]
    if operation == "bind":
        _bind(unit, columns)
    elif operation == "search":
        attributes = columns.get("ldap.AttributeDescription")
        if attributes:
            fields["netflight.ldap.attributes"] = attributes
        for search in find_all(message, "ldap.searchRequest_element"):
            told = _filter(search)
            fields["netflight.ldap.filter"] = Secret(told) if _SECRET.search(told) else told
    elif operation in ("modify", "add") and "ldap.type" in columns:
        fields["netflight.ldap.attributes"] = columns["ldap.type"]
    elif operation == "compare" and "ldap.attributeDesc" in columns:
        name, value = _first(columns, "ldap.attributeDesc"), _first(columns, "ldap.assertionValue")
        fields["netflight.ldap.attributes"] = [name]
        if value:
            fields["netflight.ldap.value"] = Secret(value) if _SECRET.search(name) else value


def _bind(unit: Unit, columns: Columns) -> None:
    name, secret = _first(columns, "ldap.name"), _first(columns, "ldap.simple")
    if name:
        unit.fields["user.name"] = name
    if secret:
        unit.credentials.append(Credentials(name, secret, "simple"))
    elif _first(columns, "ldap.mechanism").upper() == "PLAIN":
        _plain(unit, _first(columns, "ldap.credentials"))


def _plain(unit: Unit, digits: str) -> None:
    """SASL's PLAIN (RFC 4616): whom to act for, who it is, and the password, with zeros between them."""
    try:
        told = bytes.fromhex(digits.replace(":", "")).decode("utf-8", "replace").split("\0")
    except ValueError:
        return
    if len(told) == 3:
        unit.fields["user.name"] = told[1]
        unit.credentials.append(Credentials(told[1], told[2], "PLAIN"))


def _filter(tree: Tree, depth: int = 0) -> str:
    """The first filter below a tree, in the form of RFC 4515; put together from its parts where its label is cut."""
    for label, value in tree.items():
        word, _, told = label.partition(": ")
        items = [item for item in (value if isinstance(value, list) else [value]) if isinstance(item, dict)]
        if word == "Filter" and items:
            whole = len(told) < _WHOLE or depth >= _DEPTH
            return "".join(told if whole else _composed(item, depth + 1) or told for item in items)
    return ""


def _composed(tree: Tree, depth: int) -> str:
    """A filter of filters: and, or, not."""
    for inner in (tree, *_objects(tree)):
        for label, value in inner.items():
            sign = {"and": "&", "or": "|", "not": "!"}.get(label.partition(": ")[0])
            if sign and isinstance(value, dict):
                parts = [_filter(part, depth) for part in _parts(value)]
                return f"({sign}{''.join(parts)})" if any(parts) else ""
    return ""


def _parts(tree: Tree) -> Iterator[Tree]:
    """The filters of a list, each under its own label; a `not` has one, directly below it."""
    for inner in (tree, *_objects(tree)):
        for label, value in inner.items():
            if label.startswith("Filter: "):
                for item in value if isinstance(value, list) else (value,):
                    yield {label: item}


def _objects(tree: Tree) -> Iterator[Tree]:
    for value in tree.values():
        for item in value if isinstance(value, list) else (value,):
            if isinstance(item, dict):
                yield item


def _first(columns: Columns, name: str) -> str:
    return columns[name][0] if name in columns else ""
