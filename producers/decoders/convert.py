"""Converters: tshark's text of a field to the value of the ECS field; None where the text says nothing.

A dataset names them in `convert:`. They never raise: what does not convert is no value.
"""

import ipaddress
from collections.abc import Callable
from functools import lru_cache

from producers.decoders.tables import name_or_number

Converter = Callable[[str], object]


def number(text: str) -> int | None:
    """Decimal or 0x-hexadecimal digits as an integer within 64 bits."""
    try:
        value = int(text, 0) if text.startswith("0x") else int(text)
    except ValueError:
        return None
    return value if -(2**63) <= value < 2**63 else None


def _text(text: str) -> str | None:
    return text or None


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


def _choice(**names: str) -> Converter:
    by_number = {int(key[1:]): name for key, name in names.items()}

    def convert(text: str) -> str | None:
        value = 1 if text == "True" else 0 if text == "False" else number(text)
        return None if value is None else by_number.get(value, str(value))

    return convert


CONVERTERS: dict[str, Converter] = {
    "text": _text,
    "number": number,
    "hex_number": _hex_number,
    "ip": ip,
    "specified_ip": _specified_ip,
    "mac": mac,
    "mime_type": _mime_type,
    "dns_opcode": _table("dns_opcode"),
    "dns_rcode": _table("dns_rcode"),
    "arp_opcode": _table("arp_opcode"),
    "dhcp_message": _table("dhcp_message"),
    "dhcp_op": _choice(_1="bootrequest", _2="bootreply"),
    "dhcp_flags": _choice(_0="unicast", _1="broadcast"),
    "dhcp_hardware": _choice(_1="Ethernet", _6="IEEE 802", _32="InfiniBand"),
}
