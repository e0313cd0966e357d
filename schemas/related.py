"""Which fields' values are in related.*: by their types, by what their YAML says, else by their names."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

from schemas.model import FieldSpec, FieldType

Kind = Literal["ip", "hosts", "user", "hash"]

_HOSTS = frozenset(
    (
        *("domain", "hostname", "server_name", "domain_name", "domain_search", "client_fqdn"),
        *("client_domain", "dns_domain", "netbios_domain", "dns_name", "netbios_name"),
    )
)
_NAMES_OF_DNS = (
    "dns.question.name",
    "dns.answers.name",
    ".questions.name",
    ".authorities.name",
    ".additionals.name",
)
_TEXTS = (FieldType.KEYWORD, FieldType.WILDCARD)


class Inside(NamedTuple):
    """A field of the objects of a field: the way to it and where its values go."""

    path: tuple[str, ...]
    kind: Kind


def kind_of(name: str, spec: FieldSpec) -> Kind | None:
    """Where the values of a field go; None where they are none of addresses, hosts, users, hashes."""
    if spec.related:
        return None if spec.related == "none" else spec.related
    if spec.type is FieldType.IP:
        return "ip"
    return _by_name(name) if spec.type in _TEXTS else None


def _by_name(name: str) -> Kind | None:
    last = name.rpartition(".")[2]
    if last in _HOSTS or name.endswith((*_NAMES_OF_DNS, "host.name")):
        return "hosts"
    if last == "username" or name.endswith("user.name"):
        return "user"
    if ".hash." in name or last.startswith(("ja3", "ja4", "hassh")) or "fingerprint" in last:
        return "hash"
    return None


def related_fields(fields: Mapping[str, FieldSpec]) -> dict[str, tuple[Inside, ...]]:
    """The fields that have values for related.*, by name; with an empty path the values are the field's own."""
    objects = [name for name, spec in fields.items() if spec.type is FieldType.OBJECT]
    found: dict[str, tuple[Inside, ...]] = {}
    for name, spec in fields.items():
        kind = kind_of(name, spec)
        if kind is None:
            continue
        outer = next((each for each in objects if name.startswith(f"{each}.")), name)
        path = tuple(name[len(outer) + 1 :].split(".")) if outer != name else ()
        found[outer] = (*found.get(outer, ()), Inside(path, kind))
    return found
