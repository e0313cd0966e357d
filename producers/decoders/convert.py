"""Converters: tshark's text of a field to the value of the ECS field; None where the text says nothing.

A dataset names them in `convert:`. They never raise: what does not convert is no value.
"""

import ipaddress
import math
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import lru_cache

from producers.decoders.tables import name_or_number

Converter = Callable[[str], object]

MAX_BYTES = 256
"""How much of a field of bytes an event has."""


PLACEHOLDERS = frozenset(
    f"<{text}>"
    for text in (
        *("Root", "ROOT", "MISSING", "Empty", "EMPTY", "Unknown", "UNKNOWN", "Unknown value", "Unknown flag"),
        *(
            "unknown type",
            "unknown field",
            "unknown option",
            "Unknown extended label",
            "Name too long",
            "NULL",
            "NUL",
        ),
        *(
            "Name contains a pointer that loops",
            "String goes past end of frame",
            "String too long to process",
        ),
        *(
            "Bytes go past end of frame",
            "Time not representable",
            "Not representable",
            "Not Specified",
            "Invalid",
        ),
        *(
            "Illegal format",
            "Error decompressing data",
            "increase capture size?",
            "no content type has been specified",
        ),
        *(
            "no media type has been specified",
            "partial packet",
            "uninitialized",
            "not shown",
            "skipped",
            "notset",
        ),
        *("No address", "None set", "Invalid method", "ERR", "error", "empty", "Missing Filetype Name"),
    )
)
"""What tshark writes in place of a value that is not there or that it cannot read; none of them is a value."""


def number(text: str) -> int | None:
    """Decimal or 0x-hexadecimal digits as an integer within 64 bits."""
    if not text:
        return None
    try:
        value = int(text, 0) if text.startswith("0x") else int(text)
    except ValueError:
        return None
    return value if -(2**63) <= value < 2**63 else None


def _text(text: str) -> str | None:
    return None if text in PLACEHOLDERS else text or None


def _windows_text(text: str) -> str | None:
    """A text of NTLM's; tshark says NULL where there is none."""
    return None if text == "NULL" else text or None


def _nonzero(text: str) -> str | None:
    """The text as it is, unless it is a number that is zero."""
    return text if text and number(text) != 0 else None


def _hex_number(text: str) -> str | None:
    value = number(text)
    return None if value is None else str(value)


@lru_cache(maxsize=1 << 14)
def ip(text: str) -> str | None:
    """An IPv4 or IPv6 address in its shortest form; one with a zone (`fe80::1%eth0`) is none beyond its host."""
    try:
        return None if "%" in text else str(ipaddress.ip_address(text))
    except ValueError:
        return None


def _specified_ip(text: str) -> str | None:
    return None if text in ("0.0.0.0", "::") else ip(text)  # noqa: S104  # compared, not bound


def mac(text: str) -> str | None:
    """A hardware address in the form ECS asks for: upper-case hexadecimal with hyphens (RFC 7042)."""
    return text.replace(":", "-").upper() if len(text) == 17 else None


def _mime_type(text: str) -> str | None:
    return text.partition(";")[0].strip().lower() or None


def _table(name: str) -> Converter:
    def convert(text: str) -> str | None:
        value = number(text)
        return None if value is None else name_or_number(name, value)

    return convert


def choice(names: Mapping[int, str]) -> Converter:
    """A converter to the name of a number, or the number itself where it has none; true and false are 1 and 0."""

    def convert(text: str) -> str | None:
        value = 1 if text == "True" else 0 if text == "False" else number(text)
        return None if value is None else names.get(value, str(value))

    return convert


def _decimal(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _boolean(text: str) -> bool | None:
    value = 1 if text == "True" else 0 if text == "False" else number(text)
    return None if value is None else value != 0


def _hexadecimal(text: str) -> str | None:
    """Bytes (`0a:1b`) as lower-case hexadecimal digits, the first MAX_BYTES of them."""
    return text.replace(":", "").lower()[: 2 * MAX_BYTES] or None


def _time(text: str) -> str | None:
    """An absolute time (`Nov 23, 2026 12:37:23.000000000 UTC`) as ISO 8601; one that no calendar has is none."""
    moment, _, fraction = text.removesuffix(" UTC").partition(".")
    try:
        told = datetime.strptime(f"{moment} +0000", "%b %d, %Y %H:%M:%S %z")
        told = told.replace(microsecond=int(fraction[:6].ljust(6, "0")))
    except ValueError:
        return None
    return told.isoformat().replace("+00:00", "Z")


def _present(_text: str) -> bool:
    return True


CONVERTERS: dict[str, Converter] = {
    "text": _text,
    "nonzero": _nonzero,
    "windows_text": _windows_text,
    "number": number,
    "decimal": _decimal,
    "boolean": _boolean,
    "time": _time,
    "present": _present,
    "hex": _hexadecimal,
    "hex_number": _hex_number,
    "ip": ip,
    "specified_ip": _specified_ip,
    "mac": mac,
    "mime_type": _mime_type,
    "dns_opcode": _table("dns_opcode"),
    "dns_rcode": _table("dns_rcode"),
    "arp_opcode": _table("arp_opcode"),
    "dhcp_message": _table("dhcp_message"),
}
