"""NetBIOS name service (RFC 1002, section 4.2): queries, registrations, releases and their answers."""

import re
from collections.abc import Iterator
from typing import Any

from producers.decoders.base import Decoder
from producers.decoders.convert import ip, mac, number
from producers.decoders.local_names import asker, responder
from producers.decoders.tables import name_or_number
from producers.decoders.tree import Columns, Tree, collect, holders, texts
from producers.decoders.unit import Place, Role, Unit

_FLAGS = (
    ("AA", "nbns.flags.authoritative"),
    ("TC", "nbns.flags.truncated"),
    ("RD", "nbns.flags.recdesired"),
    ("RA", "nbns.flags.recavail"),
    ("B", "nbns.flags.broadcast"),
)
_SUFFIX = re.compile(r"<([0-9a-f]{2})>$")
_ASKED = ("Queries",)
_TOLD = ("Answers", "Authoritative nameservers", "Additional records")
_WAIT = "WACK"
_NO_ADDRESS = "00-00-00-00-00-00"
_NO_HOSTS = ("*", "<01><02>__MSBROWSE__<02>")


class NbnsDecoder(Decoder):
    """Units of NetBIOS names. An answer to a broadcast comes on a flow of its own: asker and id bring them together."""

    def extra_fields(self) -> frozenset[str]:
        """The header's flags."""
        return frozenset(field for _, field in _FLAGS)

    def units(self, layer: Tree, protocol: str, place: Place) -> Iterator[Unit]:
        """One unit per message."""
        columns = self.columns({key: value for key, value in layer.items() if key not in (*_ASKED, *_TOLD)})
        role = self.role(columns, place)
        if role is None:
            return
        if role is Role.REQUEST and _needs_no_answer(columns):
            role = Role.SINGLE
        unit = Unit(role, self.read(columns, role), place, protocol, status=self.status(columns, role, place))
        if role is not Role.RESPONSE:
            unit.status = ""
        unit.key = (*self.key(columns), *asker(unit))
        fields = unit.fields
        fields["dns.header_flags"] = [
            flag for flag, field in _FLAGS if columns.get(field) in (["1"], ["True"])
        ]
        fields["dns.type"] = "answer" if role is Role.RESPONSE else "query"
        answers = [answer for record in _entries(layer, _TOLD) for answer in _answers(record)]
        asked = [_asked(record) for record in _entries(layer, _ASKED)] or answers
        for question in asked[:1]:
            fields["dns.question.name"] = question["name"]
            fields["dns.question.type"] = question["type"]
            fields["dns.question.class"] = "IN"
            fields.update(_parts(question["name"]))
        if answers:
            fields["dns.answers"] = answers
        addresses = [answer["data"] for answer in answers if "data" in answer]
        if addresses:
            fields["dns.resolved_ip"] = list(dict.fromkeys(addresses))
        fields.update(_node_status(layer))
        name = fields.get("netflight.nbns.name", "")
        unit.hosts = [name] if name and name not in _NO_HOSTS else []
        yield unit

    def interim(self, response: Unit) -> bool:
        """Whether the server only asks for patience (section 4.2.16)."""
        return bool(response.fields.get("dns.op_code") == _WAIT)

    def complete(self, fields: dict[str, Any], request: Unit | None, response: Unit | None) -> None:
        """Say what it was, and who answered."""
        fields["dns.type"] = "answer" if response else "query"
        told = response or request
        if told is not None:
            fields["dns.header_flags"] = told.fields["dns.header_flags"]
        fields.update(responder("nbns", response))


def _needs_no_answer(columns: Columns) -> bool:
    """Whether silence is consent: what is not a query, and is sent to everybody (section 4.2.2)."""
    broadcast = columns.get("nbns.flags.broadcast", [""])[0] in ("1", "True")
    return broadcast and columns.get("nbns.flags.opcode", [""])[0] != "0"


def _entries(layer: Tree, sections: tuple[str, ...]) -> Iterator[Tree]:
    for name in sections:
        held = layer.get(name)
        if isinstance(held, dict):
            yield from holders(held, "nbns.type")


def _asked(record: Tree) -> dict[str, Any]:
    # tshark adds in words what a suffix means to the names of some records: "WIN10<20> (Server service)".
    name = (texts(record.get("nbns.name")) or [""])[0]
    kind = name_or_number("nbns_type", number(str(record.get("nbns.type"))) or 0)
    return {"name": name.partition(" (")[0], "type": kind}


def _answers(record: Tree) -> Iterator[dict[str, Any]]:
    """A record, once for each of its addresses."""
    answer = {**_asked(record), "class": "IN"}
    ttl = number(str(record.get("nbns.ttl")))
    if ttl is not None:
        answer["ttl"] = ttl
    found = collect(record, frozenset({"nbns.addr", "nbns.nb_flags.group"}))
    if found.get("nbns.nb_flags.group", [""])[0] in ("1", "True"):
        answer["group"] = True
    addresses = [address for address in map(ip, found.get("nbns.addr", ())) if address]
    yield from ({**answer, "data": address} for address in addresses) if addresses else (answer,)


def _parts(name: str) -> dict[str, Any]:
    """A name without its last byte, and that byte, which says what kind of service it is (MS-NBTE, section 2.2)."""
    found = _SUFFIX.search(name)
    if found is None:
        return {"netflight.nbns.name": name} if name else {}
    suffix = found.group(1)
    fields = {"netflight.nbns.suffix": suffix}
    service = name_or_number("nbns_suffix", int(suffix, 16))
    if not service.isdigit():
        fields["netflight.nbns.service"] = service
    bare = name[: found.start()]
    while bare.endswith("<00>"):
        bare = bare[:-4]
    return {**fields, "netflight.nbns.name": bare} if bare else fields


def _node_status(layer: Tree) -> dict[str, Any]:
    """The names a host has, and its hardware address, in a node status response (section 4.2.18)."""
    found = collect(layer, frozenset({"nbns.netbios_name", "nbns.unit_id"}))
    fields: dict[str, Any] = {}
    names = [name.strip() for name in found.get("nbns.netbios_name", ())]
    if names:
        fields["netflight.nbns.names"] = list(dict.fromkeys(names))
    address = mac(found.get("nbns.unit_id", [""])[0])
    if address and address != _NO_ADDRESS:
        fields["netflight.nbns.unit_id"] = address
    return fields
