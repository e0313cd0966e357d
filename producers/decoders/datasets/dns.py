"""DNS: questions and answers from the tree, where each record stands on its own."""

import ipaddress
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from producers.decoders.base import Decoder
from producers.decoders.convert import number
from producers.decoders.tables import name_or_number
from producers.decoders.tree import Tree, holders
from producers.decoders.unit import Place, Role, Unit

# The field that holds the data of a record, by its type; every other type is told in tshark's label.
_DATA = {
    "A": "dns.a",
    "AAAA": "dns.aaaa",
    "CNAME": "dns.cname",
    "NS": "dns.ns",
    "PTR": "dns.ptr.domain_name",
    "DNAME": "dns.dname",
    "TXT": "dns.txt",
    "SPF": "dns.spf",
}
_FLAGS = (
    ("AA", "dns.flags.authoritative"),
    ("TC", "dns.flags.truncated"),
    ("RD", "dns.flags.recdesired"),
    ("RA", "dns.flags.recavail"),
    ("AD", "dns.flags.authenticated"),
    ("CD", "dns.flags.checkdisable"),
)


class DnsDecoder(Decoder):
    """Units of DNS messages; the question is part of what meets a response with its query."""

    def extra_fields(self) -> frozenset[str]:
        """The header's flags, and the sign of a repeated message."""
        return frozenset(field for _, field in _FLAGS) | {"dns.retransmission"}

    def units(self, layer: Tree, protocol: str, place: Place) -> Iterator[Unit]:
        """One unit per message; a message that tshark knows to be a retransmission is none."""
        columns = self.columns({key: value for key, value in layer.items() if key not in _SECTIONS})
        role = self.role(columns, place)
        if role is None or "dns.retransmission" in columns:
            return
        fields = self.read(columns, role)
        question = _question(layer, fields)
        fields["dns.header_flags"] = [
            flag for flag, field in _FLAGS if columns.get(field) in (["1"], ["True"])
        ]
        unit = Unit(role, fields, place, protocol, self.key(columns), extra=question)
        if role is Role.RESPONSE:
            answers = [_record(record) for record in _records(layer)]
            if answers:
                fields["dns.answers"] = answers
            resolved = [
                a["data"] for a in answers if a["type"] in ("A", "AAAA") and _is_ip(a.get("data", ""))
            ]
            if resolved:
                fields["dns.resolved_ip"] = list(dict.fromkeys(resolved))
            extended = _extended_code(layer)
            if extended:
                header = number(columns.get("dns.flags.rcode", ["0"])[0]) or 0
                fields["dns.response_code"] = name_or_number("dns_rcode", extended << 4 | header)
            unit.status = "OK" if fields.get("dns.response_code") == "NOERROR" else "Error"
        if question[0]:
            unit.hosts = [question[0]]
        yield unit

    def match(self, request: Unit, response: Unit) -> bool:
        """The response repeats the question, or has none (as some refusals)."""
        asked: tuple[str, str] = request.extra
        answered: tuple[str, str] = response.extra
        return answered == ("", "") or (asked[0].lower(), asked[1]) == (answered[0].lower(), answered[1])

    def complete(self, fields: dict[str, Any], request: Unit | None, response: Unit | None) -> None:
        """Say whether there was an answer; flags are the response's where there is one."""
        fields["dns.type"] = "answer" if response else "query"
        told = response or request
        if told is not None:
            fields["dns.header_flags"] = told.fields["dns.header_flags"]


# An update (RFC 2136) has a zone where a query has its question, and names its other sections after their use.
_QUESTIONS = ("Queries", "Zone")
_SECTIONS = (
    *_QUESTIONS,
    *("Answers", "Authoritative nameservers", "Additional records", "Prerequisites", "Updates"),
)


def _question(layer: Tree, fields: dict[str, Any]) -> tuple[str, str]:
    """Read the first question into `fields`; return its name and type, empty where there is none."""
    sections = (layer.get(name) for name in _QUESTIONS)
    queries = next((section for section in sections if isinstance(section, dict)), {})
    query = next(holders(queries, "dns.qry.name"), None)
    if query is None:
        return "", ""
    name = _name(query.get("dns.qry.name"))
    kind = name_or_number("dns_type", number(str(query.get("dns.qry.type"))) or 0)
    fields["dns.question.name"] = name
    fields["dns.question.type"] = kind
    fields["dns.question.class"] = _class(query.get("dns.qry.class"))
    return name, kind


def _records(layer: Tree) -> Iterator[Tree]:
    section = layer.get("Answers")
    for label, record in section.items() if isinstance(section, dict) else ():
        for item in record if isinstance(record, list) else (record,):
            if isinstance(item, dict) and "dns.resp.type" in item:
                yield {**item, "label": label}


def _record(record: Tree) -> dict[str, Any]:
    kind = name_or_number("dns_type", number(str(record["dns.resp.type"])) or 0)
    answer: dict[str, Any] = {
        "name": _name(record.get("dns.resp.name")),
        "type": kind,
        "class": _class(record.get("dns.resp.class")),
    }
    ttl = number(str(record.get("dns.resp.ttl")))
    if ttl is not None:
        answer["ttl"] = ttl
    data = _data(record, kind)
    if data:
        answer["data"] = data
    return answer


def _extended_code(layer: Tree) -> int:
    """The upper bits of the response code, in the OPT record (RFC 6891, section 6.1.3)."""
    section = layer.get("Additional records")
    record = next(holders(section, "dns.resp.ext_rcode"), {}) if isinstance(section, dict) else {}
    return number(str(record.get("dns.resp.ext_rcode"))) or 0


def _data(record: Tree, kind: str) -> str:
    value = record.get(_DATA.get(kind, ""))
    if isinstance(value, list):
        return " ".join(str(item) for item in value)
    if isinstance(value, str):
        return value
    if kind == "MX":
        return f"{record.get('dns.mx.preference', '')} {record.get('dns.mx.mail_exchange', '')}".strip()
    if kind == "SRV":
        parts = ("dns.srv.priority", "dns.srv.weight", "dns.srv.port", "dns.srv.target")
        return " ".join(str(record.get(part, "")) for part in parts).strip()
    # tshark's label is "name: type X, class IN, what the record says".
    _, _, said = str(record["label"]).partition(", class ")
    return said.partition(", ")[2]


def _name(value: object) -> str:
    return "." if value == "<Root>" else str(value or "")


def _class(value: object) -> str:
    # mDNS uses the top bit for cache-flush and unicast-response; a class it is not.
    return name_or_number("dns_class", (number(str(value)) or 0) & 0x7FFF)


@lru_cache(maxsize=1 << 14)
def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
