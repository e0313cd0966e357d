"""Questions and records of DNS messages (RFC 1035, section 4.1) in tshark's tree; mDNS and LLMNR have the same."""

import ipaddress
from functools import lru_cache
from typing import Any

from producers.decoders.convert import CONVERTERS, ip, number
from producers.decoders.tables import name_or_number
from producers.decoders.tree import Tree, collect, find_all, holders, texts

# An update (RFC 2136) has a zone where a query has its question, and names its other sections after their use.
_QUESTIONS = ("Queries", "Zone")
SECTIONS = (
    *_QUESTIONS,
    *("Answers", "Authoritative nameservers", "Additional records", "Prerequisites", "Updates"),
)

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
_PARTS = {
    "MX": ("dns.mx.preference", "dns.mx.mail_exchange"),
    "SRV": ("dns.srv.priority", "dns.srv.weight", "dns.srv.port", "dns.srv.target"),
}
# Service parameters by their keys (RFC 9460, section 14.3.2), with the field that holds their values.
_PARAMETERS = {
    0: ("mandatory", "dns.svcb.svcparam.mandatory.key"),
    1: ("alpn", "dns.svcb.svcparam.alpn"),
    2: ("no-default-alpn", ""),
    3: ("port", "dns.svcb.svcparam.port"),
    4: ("ipv4hint", "dns.svcb.svcparam.ipv4hint.ip"),
    5: ("ech", "dns.svcb.svcparam.echconfig"),
    6: ("ipv6hint", "dns.svcb.svcparam.ipv6hint.ip"),
    7: ("dohpath", "dns.svcb.svcparam.value"),
}
# Options of EDNS (RFC 6891): the client's subnet (RFC 7871), cookies (RFC 7873), extended errors (RFC 8914).
_EDNS = {
    "netflight.dns.edns.udp_size": ("dns.rr.udp_payload_size", "number"),
    "netflight.dns.edns.version": ("dns.resp.edns0_version", "number"),
    "netflight.dns.edns.dnssec_ok": ("dns.resp.z.do", "boolean"),
    "netflight.dns.edns.client_cookie": ("dns.opt.cookie.client", "hex"),
    "netflight.dns.edns.server_cookie": ("dns.opt.cookie.server", "hex"),
    "netflight.dns.edns.error.code": ("dns.opt.ext_error.info_code", "number"),
    "netflight.dns.edns.error.text": ("dns.opt.ext_error.extra_text", "text"),
}
_SUBNET = ("dns.opt.client.addr4", "dns.opt.client.addr6")
_EDNS_WANTED = frozenset(
    {name for name, _ in _EDNS.values()} | {*_SUBNET, "dns.opt.client.netmask", "dns.opt.code"}
)


def questions(layer: Tree) -> list[dict[str, Any]]:
    """The questions of a message: `name`, `type` and `class` of each; `unicast_response` where it is asked for."""
    sections = (layer.get(name) for name in _QUESTIONS)
    asked = next((section for section in sections if isinstance(section, dict)), {})
    return [_question(query) for query in holders(asked, "dns.qry.name")]


def _question(query: Tree) -> dict[str, Any]:
    question: dict[str, Any] = {
        "name": _name(query.get("dns.qry.name")),
        "type": name_or_number("dns_type", number(str(query.get("dns.qry.type"))) or 0),
        "class": _class(query.get("dns.qry.class")),
    }
    if str(query.get("dns.qry.qu")) in ("1", "True"):
        question["unicast_response"] = True
    return question


def records(layer: Tree, section: str) -> list[dict[str, Any]]:
    """The records of a section: `name`, `type`, `class`, `ttl` and `data` of each."""
    held = layer.get(section)
    return [
        _record({**item, "label": label})
        for label, record in (held.items() if isinstance(held, dict) else ())
        for item in (record if isinstance(record, list) else (record,))
        if isinstance(item, dict) and "dns.resp.type" in item
    ]


def addresses(answers: list[dict[str, Any]]) -> list[str]:
    """The addresses among records, each once."""
    found = (a["data"] for a in answers if a["type"] in ("A", "AAAA") and _is_ip(a.get("data", "")))
    return list(dict.fromkeys(found))


def edns(layer: Tree) -> dict[str, Any]:
    """What the OPT record of a message says (RFC 6891), as ECS fields; nothing where there is none."""
    option = _option(layer)
    if option is None:
        return {}
    found = collect(option, _EDNS_WANTED)
    fields: dict[str, Any] = {}
    for field, (name, convert) in _EDNS.items():
        value = CONVERTERS[convert](found[name][0]) if name in found else None
        if value is not None:
            fields[field] = value
    address = next((ip(found[name][0]) for name in _SUBNET if name in found), None)
    if address:
        length = found.get("dns.opt.client.netmask", [""])[0]
        fields["netflight.dns.edns.client_subnet"] = f"{address}/{length}"
    codes = [code for code in map(number, found.get("dns.opt.code", ())) if code is not None]
    if codes:
        fields["netflight.dns.edns.options"] = codes
    return fields


def extended_code(layer: Tree) -> int:
    """The upper bits of the response code, in the OPT record (RFC 6891, section 6.1.3)."""
    return number(str((_option(layer) or {}).get("dns.resp.ext_rcode"))) or 0


def _option(layer: Tree) -> Tree | None:
    section = layer.get("Additional records")
    return next(iter(holders(section, "dns.resp.ext_rcode")), None) if isinstance(section, dict) else None


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


def _data(record: Tree, kind: str) -> str:
    value = record.get(_DATA.get(kind, ""))
    if isinstance(value, list):
        return " ".join(str(item) for item in value)
    if isinstance(value, str):
        return value
    if kind in _PARTS:
        return " ".join(str(record.get(part, "")) for part in _PARTS[kind]).strip()
    if kind in ("SVCB", "HTTPS"):
        return _service(record)
    # tshark's label is "name: type X, class IN, what the record says"; mDNS has the cache-flush bit before that.
    _, _, said = str(record["label"]).partition(", class ")
    return said.partition(", ")[2].removeprefix("cache flush, ").removeprefix("cache flush")


def _service(record: Tree) -> str:
    """A service binding in presentation format (RFC 9460, section 2.1): `1 . alpn=h3,h2 ipv4hint=192.0.2.1`."""
    if "dns.svcb.svcpriority" not in record:
        return ""
    said = [str(record["dns.svcb.svcpriority"]), _name(record.get("dns.svcb.targetname"))]
    for parameter in find_all(record, "dns.svcb.svcparam"):
        key = number(str(parameter.get("dns.svcb.svcparam.key")))
        name, field = _PARAMETERS.get(key or 0, (f"key{key}", "dns.svcb.svcparam.value"))
        values = ",".join(texts(parameter.get(field)))
        said.append(f"{name}={values}" if values else name)
    return " ".join(said)


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
