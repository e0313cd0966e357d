"""A host name's parts by the public suffix list: registered domain, subdomain, top-level domain, as ECS has them."""

import re
from functools import cache, lru_cache
from typing import NamedTuple

from publicsuffixlist import PublicSuffixList

_NAME = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})+")
_CONTROL = re.compile(r"[\0-\x1f\x7f]")
# A dot after a backslash is part of a label, as in presentation format (RFC 4343, section 2.1).
_LABEL = re.compile(r"(?:[^.\\]|\\.|\\$)+")
_REGISTERED = re.compile(r"([a-z0-9_-]|\\[0-9]{3}|\\[.\\])+")
_LONGEST = (
    1024  # more than a name may have (RFC 1035, section 2.3.4): one of a tunnel has its domain all the same
)


class Parts(NamedTuple):
    """`www.shop.example.co.uk`: registered domain `example.co.uk`, subdomain `www.shop`, suffix `co.uk`."""

    registered_domain: str
    subdomain: str
    top_level_domain: str


@lru_cache(maxsize=1 << 14)
def parts_of(name: str) -> Parts | None:
    """The parts of a host name in presentation format; None for an address, a suffix alone, or what is no name.

    Only the last labels, up to the registered domain, must be those of a host name; those before may hold anything.
    """
    host = name.lower().removesuffix(".")
    if len(host) > _LONGEST or host.rpartition(".")[2].isdecimal():
        return None
    if not _NAME.fullmatch(host):
        return _odd_parts(host)
    registered = _suffixes().privatesuffix(host)
    if registered is None:
        return None
    return Parts(registered, host[: -len(registered) - 1], registered.partition(".")[2])


def _odd_parts(host: str) -> Parts | None:
    """The parts of a name whose first labels are not those of a host name."""
    labels = _LABEL.findall(host)
    if not labels or _CONTROL.search(host) or ".".join(labels) != host or "\\" in labels[-1]:
        return None
    plain: list[str] = []
    for label in reversed(labels):
        if not _REGISTERED.fullmatch(label):
            break
        plain.insert(0, label.replace("\\.", "").replace("\\", "") or "-")
    registered = _suffixes().privatesuffix(".".join(plain)) if len(plain) > 1 else None
    if registered is None:
        return None
    count = registered.count(".") + 1
    return Parts(".".join(labels[-count:]), ".".join(labels[:-count]), ".".join(labels[1 - count :]))


def name_fields(prefix: str, name: str) -> dict[str, str]:
    """The ECS fields of a name's parts under `prefix` (`url`, `dns.question`, `destination`)."""
    parts = parts_of(name)
    if parts is None:
        return {}
    return {f"{prefix}.{part}": value for part, value in parts._asdict().items() if value}


@cache
def _suffixes() -> PublicSuffixList:
    return PublicSuffixList()
