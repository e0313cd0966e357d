"""A host name's parts by the public suffix list: registered domain, subdomain, top-level domain, as ECS has them."""

import re
from functools import cache, lru_cache
from typing import NamedTuple

from publicsuffixlist import PublicSuffixList

_NAME = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})+")
_LONGEST = 253  # RFC 1035, section 2.3.4, without the root


class Parts(NamedTuple):
    """`www.shop.example.co.uk`: registered domain `example.co.uk`, subdomain `www.shop`, suffix `co.uk`."""

    registered_domain: str
    subdomain: str
    top_level_domain: str


@lru_cache(maxsize=1 << 14)
def parts_of(name: str) -> Parts | None:
    """The parts of a host name as it stands on the wire; None for an address, a suffix alone, or what is no name."""
    host = name.lower().removesuffix(".")
    if len(host) > _LONGEST or not _NAME.fullmatch(host) or host.rpartition(".")[2].isdecimal():
        return None
    registered = _suffixes().privatesuffix(host)
    if registered is None:
        return None
    return Parts(registered, host[: -len(registered) - 1], registered.partition(".")[2])


def name_fields(prefix: str, name: str) -> dict[str, str]:
    """The ECS fields of a name's parts under `prefix` (`url`, `dns.question`, `destination`)."""
    parts = parts_of(name)
    if parts is None:
        return {}
    return {f"{prefix}.{part}": value for part, value in parts._asdict().items() if value}


@cache
def _suffixes() -> PublicSuffixList:
    return PublicSuffixList()
