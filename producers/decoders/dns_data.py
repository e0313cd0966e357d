"""The data of DNS records in presentation format, by the fields that tshark shows of each type."""

import base64
from collections.abc import Callable
from typing import Any

from producers.decoders.convert import CONVERTERS, number
from producers.decoders.dns_names import Names
from producers.decoders.tables import name_or_number
from producers.decoders.tree import Tree, collect, find_all, first, texts

MAX_BYTES = 512
"""How many bytes are written of data without a format of its own."""

Write = Callable[[str, Names], str]

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
_MANDATORY, _ECH, _PATH = 0, 5, 7


def data_of(record: Tree, kind: str, names: Names) -> str:
    """What a record of the type `kind` (a mnemonic) says, as a zone file has it; empty where it says nothing."""
    form = _FORMS.get(kind)
    if form is not None:
        said = [_written(record, field, write, names) for field, write in form if field in record]
        # What follows the record's own type are those in the bitmap of NSEC and its like.
        said += [_type(value, names) for value in texts(record["dns.resp.type"])[1:]]
        return " ".join(said)
    special = _SPECIAL.get(kind)
    if special is not None:
        return special(record, names)
    return _unknown(record, kind)


def _written(record: Tree, field: str, write: Write, names: Names) -> str:
    return " ".join([write(value, names) for value in texts(record.get(field))])


def _text(value: str, _names: Names) -> str:
    return value


def _name(value: str, names: Names) -> str:
    return names.of(value)


def _quoted(value: str, names: Names) -> str:
    return '"' + names.text_of(value).replace('"', '\\"') + '"'


def _number(value: str, _names: Names) -> str:
    return str(number(value) or 0)


def _hex(value: str, _names: Names) -> str:
    return value.replace(":", "").upper()


def _base64(value: str, _names: Names) -> str:
    return base64.b64encode(_bytes(value)).decode()


def _hyphens(value: str, _names: Names) -> str:
    return value.replace(":", "-")


def _type(value: str, _names: Names) -> str:
    return name_or_number("dns_type", number(value) or 0)


def _time(value: str, _names: Names) -> str:
    # RFC 4034, section 3.2: YYYYMMDDHHmmSS
    said = str(CONVERTERS["time"](value) or "")
    return "".join(filter(str.isdecimal, said))[:14]


def _salt(value: str, names: Names) -> str:
    return _hex(value, names) or "-"


def _bytes(value: str) -> bytes:
    try:
        return bytes.fromhex(value.replace(":", ""))
    except ValueError:
        return b""


def _fields(prefix: str, *of: tuple[str, Write]) -> tuple[tuple[str, Write], ...]:
    return tuple((f"dns.{prefix}.{field}" if prefix else f"dns.{field}", write) for field, write in of)


_DS = _fields("ds", ("key_id", _number), ("algorithm", _number), ("digest_type", _number), ("digest", _hex))
_DNSKEY = _fields(
    "dnskey", ("flags", _number), ("protocol", _number), ("algorithm", _number), ("public_key", _base64)
)
_RRSIG = _fields(
    "rrsig",
    *(("type_covered", _type), ("algorithm", _number), ("labels", _number), ("original_ttl", _number)),
    *(("signature_expiration", _time), ("signature_inception", _time), ("key_tag", _number)),
    *(("signers_name", _name), ("signature", _base64)),
)
_PREFERENCE = ("preference", _number)
# The fields of a record's data in their order, by its type.
_FORMS: dict[str, tuple[tuple[str, Write], ...]] = {
    "A": _fields("", ("a", _text)),
    "AAAA": _fields("", ("aaaa", _text)),
    "CNAME": _fields("", ("cname", _name)),
    "NS": _fields("", ("ns", _name)),
    "PTR": _fields("", ("ptr.domain_name", _name)),
    "DNAME": _fields("", ("dname", _name)),
    "MD": _fields("", ("md", _name)),
    "MF": _fields("", ("mf", _name)),
    "MB": _fields("", ("mb", _name)),
    "MG": _fields("", ("mg", _name)),
    "MR": _fields("", ("mr", _name)),
    "NSAP-PTR": _fields("", ("nsap_ptr.owner", _name)),
    "NSAP": _fields("", ("nsap.rdata", _hex)),
    "WKS": _fields("wks", ("address", _text), ("protocol", _number)),
    "A6": _fields("a6", ("prefix_len", _number), ("address_suffix", _text), ("prefix_name", _name)),
    "HIP": _fields(
        "hip", ("hit.pk.algo", _number), ("hit", _hex), ("pk", _base64), ("rendezvous_server", _name)
    ),
    "IPSECKEY": _fields(
        "ipseckey",
        *(("gateway_precedence", _number), ("gateway_type", _number), ("gateway_algorithm", _number)),
        *(("gateway_ipv4", _text), ("gateway_ipv6", _text), ("gateway_dns", _name), ("public_key", _base64)),
    ),
    "CSYNC": _fields("csync", ("soa", _number), ("flags", _number)),
    "MX": _fields("mx", _PREFERENCE, ("mail_exchange", _name)),
    "SRV": _fields("srv", ("priority", _number), ("weight", _number), ("port", _number), ("target", _name)),
    "SOA": _fields(
        "soa",
        *(("mname", _name), ("rname", _name), ("serial_number", _number), ("refresh_interval", _number)),
        *(("retry_interval", _number), ("expire_limit", _number), ("minimum_ttl", _number)),
    ),
    "HINFO": _fields("hinfo", ("cpu", _quoted), ("os", _quoted)),
    "MINFO": _fields("minfo", ("r", _name), ("e", _name)),
    "RP": _fields("rp", ("mailbox", _name), ("txt_rr", _name)),
    "AFSDB": _fields("afsdb", ("subtype", _number), ("hostname", _name)),
    "RT": _fields("rt", ("subtype", _number), ("intermediate_host", _name)),
    "KX": _fields("kx", _PREFERENCE, ("key_exchange", _name)),
    "PX": _fields("px", _PREFERENCE, ("map822", _name), ("map400", _name)),
    "X25": _fields("x25", ("psdn_address", _quoted)),
    "ISDN": _fields("idsn", ("address", _quoted), ("sa.address", _quoted)),
    "GPOS": _fields("gpos", ("longitude", _text), ("latitude", _text), ("altitude", _text)),
    "NAPTR": _fields(
        "naptr",
        *(("order", _number), _PREFERENCE, ("flags", _quoted), ("service", _quoted), ("regex", _quoted)),
        ("replacement", _name),
    ),
    "TLSA": _fields(
        "tlsa",
        *(("certificate_usage", _number), ("selector", _number), ("matching_type", _number)),
        ("certificate_association_data", _hex),
    ),
    "SSHFP": _fields("sshfp", ("algorithm", _number), ("fingerprint.type", _number), ("fingerprint", _hex)),
    "CERT": _fields(
        "cert", ("type", _number), ("key_tag", _number), ("algorithm", _number), ("certificate", _base64)
    ),
    **dict.fromkeys(("DS", "CDS", "DLV"), _DS),
    **dict.fromkeys(("DNSKEY", "CDNSKEY"), _DNSKEY),
    "KEY": tuple((field.replace("dnskey", "key"), write) for field, write in _DNSKEY),
    **dict.fromkeys(("RRSIG", "SIG"), _RRSIG),
    "NSEC": _fields("nsec", ("next_domain_name", _name)),
    "NXT": _fields("nxt", ("next_domain_name", _name)),
    "ZONEMD": _fields(
        "zonemd", ("serial", _number), ("scheme", _number), ("hash_algo", _number), ("digest", _hex)
    ),
    "DHCID": _fields("dhcid", ("rdata", _base64)),
    "EUI48": _fields("", ("eui48", _hyphens)),
    "EUI64": _fields("", ("eui64", _hyphens)),
    "NID": _fields("ilnp.nid", _PREFERENCE) + _fields("ilnp", ("nid", _hex)),
    "L32": _fields("ilnp.l32", _PREFERENCE) + _fields("ilnp", ("l32", _text)),
    "L64": _fields("ilnp.l64", _PREFERENCE) + _fields("ilnp", ("l64", _hex)),
    "LP": _fields("ilnp.lp", _PREFERENCE) + _fields("ilnp", ("lp", _name)),
    "TKEY": _fields("tkey", ("algo_name", _name), ("mode", _number), ("error", _number)),
    "TSIG": _fields(
        "tsig",
        *(("algorithm_name", _name), ("time_signed", _time), ("fudge", _number), ("original_id", _number)),
        ("error", _number),
    ),
}


def _service(record: Tree, names: Names) -> str:
    """A service binding (RFC 9460, section 2.1): `1 . alpn=h3,h2 ipv4hint=192.0.2.1`."""
    if "dns.svcb.svcpriority" not in record:
        return ""
    said = [str(record["dns.svcb.svcpriority"]), names.of(first(record, "dns.svcb.targetname"))]
    for parameter in find_all(record, "dns.svcb.svcparam"):
        key = number(first(parameter, "dns.svcb.svcparam.key"))
        name, field = _PARAMETERS.get(-1 if key is None else key, (f"key{key}", "dns.svcb.svcparam.value"))
        values = texts(parameter.get(field))
        if key == _MANDATORY:
            values = [_PARAMETERS.get(number(value) or 0, (f"key{value}",))[0] for value in values]
        elif key == _ECH:
            values = [_base64(value, names) for value in values]
        elif key == _PATH:
            values = [_bytes(value).decode("utf-8", "replace") for value in values]
        said.append(f"{name}={','.join(values)}" if values else name)
    return " ".join(said)


def _strings(record: Tree, names: Names) -> str:
    """The strings of a TXT or SPF record, one after the other."""
    name = "dns.txt" if "dns.txt" in record else "dns.spf"
    shown, sizes = texts(record.get(name)), texts(record.get(f"{name}.length"))
    lengths = [number(size) for size in sizes] if len(sizes) == len(shown) else [None] * len(shown)
    return " ".join(map(names.text_of, shown, lengths))


def _prefixes(record: Tree, _names: Names) -> str:
    """A list of address prefixes (RFC 3123, section 5): `1:192.0.2.0/24 !1:192.0.2.64/26`."""
    parts = ("negation", "address_family", "coded_prefix")
    signs, families, lengths = (texts(record.get(f"dns.apl.{part}")) for part in parts)
    found = [*texts(record.get("dns.apl.afdpart.ipv4")), *texts(record.get("dns.apl.afdpart.ipv6"))]
    return " ".join(
        f"{'!' if sign in ('1', 'True') else ''}{family}:{address}/{length}"
        for sign, family, address, length in zip(signs, families, found, lengths, strict=False)
    )


def _authorization(record: Tree, names: Names) -> str:
    """Who may issue certificates (RFC 8659, section 4.1.1): `0 issue "ca.example"`."""
    found = collect(record, frozenset({"dns.caa.flags", "dns.caa.tag", "dns.caa.value"}))
    if "dns.caa.tag" not in found:
        return ""
    flags, tag, value = ((found.get(f"dns.caa.{part}") or [""])[0] for part in ("flags", "tag", "value"))
    return f"{_number(flags, names)} {names.text_of(tag)} {_quoted(value, names)}"


def _location(record: Tree, _names: Names) -> str:
    """A location (RFC 1876, section 3): `52 22 23.000 N 4 53 32.000 E -2.00m 0.00m 10000.00m 10.00m`."""
    if number(first(record, "dns.loc.version")) != 0 or "dns.loc.altitude" not in record:
        return ""
    latitude, longitude = (
        _degrees(number(first(record, f"dns.loc.{name}")) or 0, signs)
        for name, signs in (("latitude", "NS"), ("longitude", "EW"))
    )
    altitude = ((number(first(record, "dns.loc.altitude")) or 0) - 10_000_000) / 100
    sizes = (
        number(first(record, f"dns.loc.{name}")) or 0
        for name in ("size", "horizontal_precision", "vertical_precision")
    )
    metres = " ".join(f"{(size >> 4) * 10 ** (size & 15) / 100:.2f}m" for size in sizes)
    return f"{latitude} {longitude} {altitude:.2f}m {metres}"


def _degrees(value: int, signs: str) -> str:
    """Thousandths of a second of arc, 2**31 being the equator or meridian, in degrees, minutes, seconds."""
    distance = value - 2**31
    minutes, thousandths = divmod(abs(distance), 60_000)
    degrees, minutes = divmod(minutes, 60)
    return f"{degrees} {minutes} {thousandths / 1000:.3f} {signs[distance < 0]}"


def _hashed(record: Tree, names: Names) -> str:
    """NSEC3 and its parameters (RFC 5155, sections 3.3 and 4.3): `1 0 10 0102 <next hashed owner>`."""
    said = [_number(first(record, f"dns.nsec3.{name}"), names) for name in ("algo", "flags", "iterations")]
    said.append(_salt(first(record, "dns.nsec3.salt_value"), names))
    following = texts(record.get("dns.nsec3.hash_value"))
    return " ".join(
        [*said, *following, *(_type(value, names) for value in texts(record["dns.resp.type"])[1:])]
    )


def _unknown(record: Tree, kind: str) -> str:
    r"""Data of types unknown to tshark: URI (RFC 7553), SMIMEA (RFC 8162), any other by RFC 3597: `\# 3 010203`."""
    shown = next((found for name in ("dns.data", "dns.null") if (found := first(record, name))), "")
    data = _bytes(shown)
    if not data:
        return ""
    if kind == "URI" and len(data) > 4:
        weights = f"{int.from_bytes(data[:2], 'big')} {int.from_bytes(data[2:4], 'big')}"
        return f'{weights} "{data[4:].decode("utf-8", "replace")}"'
    if kind == "SMIMEA" and len(data) > 3:
        return f"{data[0]} {data[1]} {data[2]} {data[3:].hex().upper()}"
    return f"\\# {len(data)} {data[:MAX_BYTES].hex()}"


_SPECIAL: dict[str, Callable[[Any, Names], str]] = {
    "TXT": _strings,
    "SPF": _strings,
    "APL": _prefixes,
    "SVCB": _service,
    "HTTPS": _service,
    "CAA": _authorization,
    "LOC": _location,
    "NSEC3": _hashed,
    "NSEC3PARAM": _hashed,
}
