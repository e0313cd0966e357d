"""Datasets -> Elasticsearch component and index templates, for what the server at hand knows.

`elasticsearch` is the full distribution, `minimal` the same server with few modules (no wildcard,
constant_keyword or match_only_text type, no lifecycle), `opensearch` is OpenSearch 2 and later. Every dataset
has one index template over its data streams `<logs|metrics>-<event.dataset>-<namespace>`, of the namespaces that were
installed and of no other: what else is called so, as the streams of Elastic Agent, is not ours.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any

from schemas.model import Dataset, FieldSpec, FieldType, datasets, envelope, fields_of
from schemas.tree import Node, tree

PREFIX = "netflight"
SETTINGS = f"{PREFIX}-settings"
CUSTOM = f"{PREFIX}@custom"
# Above the 100 of the built-in logs-*-* and the 200 of the Network Packet Capture integration, whose patterns take in
# all namespaces, and so ours.
PRIORITY = 250
NAMESPACE = "default"
# Lucene refuses terms over 32,766 bytes; a character takes at most four.
IGNORE_ABOVE = 8191
FIELDS_LIMIT = 1000
# The same in every document of a data stream.
CONSTANT = (
    "data_stream.type",
    "data_stream.dataset",
    "data_stream.namespace",
    "event.dataset",
    "event.module",
)

# Beside those of the type wildcard, what is searched by its words, in a field `.text` as ECS has it.
SEARCHED = (
    *(
        "event.reason",
        "user_agent.original",
        "email.subject",
        "rule.description",
        "http.request.body.content",
    ),
    *(
        "http.response.body.content",
        "sip.uri.original",
        "network_traffic.sip.uri.original",
        "netflight.irc.text",
    ),
    *(
        "netflight.smtp.text",
        "netflight.ftp.text",
        "netflight.pop3.text",
        "netflight.imap.text",
        "netflight.telnet.banner",
    ),
)

Template = dict[str, Any]


class Dialect(StrEnum):
    """What a server knows."""

    ELASTICSEARCH = "elasticsearch"
    MINIMAL = "minimal"
    OPENSEARCH = "opensearch"


def component_templates(dialect: Dialect) -> dict[str, Template]:
    """The component templates by name: the settings, and the fields of each of the envelope's parts."""
    shared = envelope()
    parts = {"derived": shared.derived, "packet": shared.packet, "statistic": shared.statistic}
    return {SETTINGS: _stamped({"template": _settings()})} | {
        f"{PREFIX}-{name}": _stamped({"template": {"mappings": mappings(fields, dialect)}})
        for name, fields in parts.items()
    }


def index_templates(dialect: Dialect, namespaces: Iterable[str] = (NAMESPACE,)) -> dict[str, Template]:
    """The index templates by name, one per dataset, over the data streams of `namespaces`.

    `_meta.fingerprint` differs where anything in them does but the namespaces.
    """
    components = component_templates(dialect)
    found = {index_template_name(d): _index_template(d, dialect, components) for d in datasets().values()}
    wanted = sorted(set(namespaces))
    return {
        index_template_name(d): {
            "index_patterns": [d.data_stream(namespace) for namespace in wanted],
            **found[index_template_name(d)],
        }
        for d in datasets().values()
    }


def index_template_name(dataset: Dataset) -> str:
    """`netflight-logs-network_traffic.dns`: a name of our own, so that no integration's is replaced."""
    return f"{PREFIX}-{dataset.stream}-{dataset.dataset}"


def mappings(fields: Mapping[str, FieldSpec], dialect: Dialect) -> Template:
    """The mapping of `fields`. Names that are not ours never grow it: they stay in _source, unindexed."""
    return {"dynamic": False, "properties": _properties(tree(fields), dialect, "")}


def probe(types: tuple[str, ...]) -> Template:
    """A body for POST /_index_template/_simulate that a server refuses unless it knows all `types`."""
    properties = {f"probe_{name}": {"type": name} for name in types}
    return {
        "index_patterns": [f"{PREFIX}-probe-*"],
        "priority": PRIORITY,
        "template": {"mappings": {"properties": properties}},
    }


def _index_template(dataset: Dataset, dialect: Dialect, components: Mapping[str, Template]) -> Template:
    envelopes = envelope().parts(dataset)
    parts = [SETTINGS, *(f"{PREFIX}-{name}" for name in envelopes)]
    shared = {name: spec for part in envelopes.values() for name, spec in part.items()}
    own = {name: spec for name, spec in fields_of(dataset).items() if shared.get(name) != spec}
    template: Template = {"mappings": mappings(own, dialect)}
    limit = max(FIELDS_LIMIT, 2 * len(fields_of(dataset)))
    template["settings"] = {"index": {"mapping": {"total_fields": {"limit": limit}}}}
    if dialect is Dialect.ELASTICSEARCH:
        # Rolls over by age and size and keeps everything; retention is the operator's, in netflight@custom.
        template["lifecycle"] = {"enabled": True}
    body: Template = {
        "priority": PRIORITY,
        "data_stream": {},
        "composed_of": parts,
        "template": template,
    }
    if dialect is not Dialect.OPENSEARCH:
        body["composed_of"] = [*parts, CUSTOM]
        body["ignore_missing_component_templates"] = [CUSTOM]
    return _stamped(body, *(components[name] for name in parts))


def _settings() -> Template:
    return {"settings": {"index": {"codec": "best_compression", "auto_expand_replicas": "0-1"}}}


def _properties(node: Node, dialect: Dialect, prefix: str) -> Template:
    return {name: _property(child, dialect, f"{prefix}{name}") for name, child in node.children.items()}


def _property(node: Node, dialect: Dialect, name: str) -> Template:
    if node.children:
        return {"type": "object", "properties": _properties(node, dialect, f"{name}.")}
    if node.spec is None:
        return {"type": "object"}
    if node.spec.type is FieldType.ALIAS:
        return {"type": "alias", "path": node.spec.path}
    text = {"type": "text" if dialect is Dialect.MINIMAL else "match_only_text"}
    if node.spec.type is FieldType.TEXT:
        return text
    mapping = _full(node.spec.type, name) if dialect is Dialect.ELASTICSEARCH else _plain(node.spec.type)
    if node.spec.type is FieldType.WILDCARD or name in SEARCHED:
        return {**mapping, "fields": {"text": text}}
    return mapping


def _full(field_type: FieldType, name: str) -> Template:
    if name in CONSTANT:
        return {"type": "constant_keyword"}
    if field_type is FieldType.WILDCARD:
        return {"type": field_type.value}
    return _plain(field_type)


def _plain(field_type: FieldType) -> Template:
    """The type every server knows."""
    if field_type in (FieldType.KEYWORD, FieldType.WILDCARD):
        return {"type": "keyword", "ignore_above": IGNORE_ABOVE}
    return {"type": field_type.value}


def _stamped(body: Template, *parts: Template) -> Template:
    """The template with `_meta`: who manages it, and a fingerprint of it and of its parts."""
    content = json.dumps([body, *parts], sort_keys=True).encode()
    fingerprint = hashlib.blake2b(content, digest_size=8).hexdigest()
    return {**body, "_meta": {"managed_by": PREFIX, "fingerprint": fingerprint}}
