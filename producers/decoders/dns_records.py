"""Questions and records of DNS messages (RFC 1035, section 4.1) in tshark's tree; mDNS and LLMNR have the same."""

import ipaddress
from functools import lru_cache
from typing import Any

from producers.decoders.convert import CONVERTERS, ip, number
from producers.decoders.dns_data import data_of
from producers.decoders.dns_names import Names
from producers.decoders.tables import name_or_number
from producers.decoders.tree import Tree, collect, first, holders

# An update (RFC 2136) has a zone where a query has its question, and names its other sections after their use.
_QUESTIONS = ("Queries", "Zone")
SECTIONS = (
    *_QUESTIONS,
    *("Answers", "Authoritative nameservers", "Additional records", "Prerequisites", "Updates"),
)

# Which word of a record's data is the name of a host, by its type.
_TARGETS = {
    **dict.fromkeys(("CNAME", "DNAME", "NS", "PTR", "SOA"), 0),
    **dict.fromkeys(("MX", "AFSDB", "KX", "RT", "LP", "SVCB", "HTTPS"), 1),
    "SRV": 3,
}
_SERVICES = ("SVCB", "HTTPS")
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


def questions(layer: Tree, names: Names) -> list[dict[str, Any]]:
    """The questions of a message: `name`, `type` and `class` of each; `unicast_response` where it is asked for.

    A name that cannot be read is left out.
    """
    sections = (layer.get(name) for name in _QUESTIONS)
    asked = next((section for section in sections if isinstance(section, dict)), {})
    return [_question(query, names) for query in holders(asked, "dns.qry.name")]


def _question(query: Tree, names: Names) -> dict[str, Any]:
    question: dict[str, Any] = {
        **_named(first(query, "dns.qry.name"), names),
        "type": name_or_number("dns_type", number(str(query.get("dns.qry.type"))) or 0),
        "class": _class(query.get("dns.qry.class")),
    }
    if str(query.get("dns.qry.qu")) in ("1", "True"):
        question["unicast_response"] = True
    return question


def records(layer: Tree, section: str, names: Names) -> list[dict[str, Any]]:
    """The records of a section: `name`, `type`, `class`, `ttl` and `data` of each."""
    held = layer.get(section)
    return [
        _record(item, names)
        for record in (held.values() if isinstance(held, dict) else ())
        for item in (record if isinstance(record, list) else (record,))
        if isinstance(item, dict) and "dns.resp.type" in item
    ]


def addresses(answers: list[dict[str, Any]]) -> list[str]:
    """The addresses among records, each once."""
    found = (a["data"] for a in answers if a["type"] in ("A", "AAAA") and _is_ip(a.get("data", "")))
    return list(dict.fromkeys(found))


def named(told: list[dict[str, Any]]) -> tuple[list[str], list[str]]:
    """The hosts and the addresses that the data of records name, each once."""
    hosts: dict[str, None] = {}
    found = dict.fromkeys(addresses(told))
    for record in told:
        target = _TARGETS.get(record["type"])
        words = record.get("data", "").split(" ") if target is not None else []
        if target is not None and target < len(words) and words[target] not in ("", "."):
            hosts[words[target]] = None
        for word in words if record["type"] in _SERVICES else ():
            name, _, values = word.partition("=")
            if name in ("ipv4hint", "ipv6hint"):
                found.update(dict.fromkeys(filter(_is_ip, values.split(","))))
    return list(hosts), list(found)


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


def _record(record: Tree, names: Names) -> dict[str, Any]:
    kind = name_or_number("dns_type", number(first(record, "dns.resp.type")) or 0)
    answer: dict[str, Any] = {
        **_named(first(record, "dns.resp.name") or _service_name(record), names),
        "type": kind,
        "class": _class(record.get("dns.resp.class")),
    }
    ttl = number(str(record.get("dns.resp.ttl")))
    if ttl is not None:
        answer["ttl"] = ttl
    data = data_of(record, kind, names)
    if data:
        answer["data"] = data
    return answer


def _named(shown: str, names: Names) -> dict[str, str]:
    name = names.of(shown)
    return {"name": name} if name else {}


def _service_name(record: Tree) -> str:
    """The owner of a SRV record, which tshark shows in three parts (RFC 2782)."""
    parts = (first(record, f"dns.srv.{part}") for part in ("service", "proto", "name"))
    return ".".join(part for part in parts if part)


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
