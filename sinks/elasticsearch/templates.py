"""Asking the server what it knows, and giving it the templates that fit."""

from collections.abc import Mapping
from typing import Any

from runtime.errors import DestinationError
from schemas.elasticsearch import Dialect, component_templates, index_templates, probe
from sinks.base import RetryLater
from sinks.elasticsearch.client import Answer, Client

PRIVILEGES = (
    "its user needs the cluster privilege manage_index_templates, and on logs-* and metrics-* the index "
    "privileges auto_configure, create_doc and manage"
)


def detect_dialect(client: Client) -> Dialect:
    """What the server knows, found by letting it simulate templates with the types in question.

    Nothing is written. Raises RetryLater while the server is away, DestinationError where it refuses.
    """
    if _knows(client, "flat_object"):
        return Dialect.OPENSEARCH
    full = _knows(client, "wildcard", "constant_keyword", "match_only_text")
    return Dialect.ELASTICSEARCH if full else Dialect.MINIMAL


def outdated(client: Client, dialect: Dialect) -> list[str]:
    """The names of our templates that the server lacks or has otherwise, in order: components first."""
    wanted = {
        "component_template": component_templates(dialect),
        "index_template": index_templates(dialect),
    }
    return [
        name
        for kind, templates in wanted.items()
        for name in _differing(templates, _fingerprints(client, kind))
    ]


def install(client: Client, dialect: Dialect) -> list[str]:
    """Put the templates that are missing or old; return their names. A second call changes nothing.

    Data streams that are there already get the new fields, to be searched from now on.
    """
    names = outdated(client, dialect)
    components, indices = component_templates(dialect), index_templates(dialect)
    for name in names:
        if name in components:
            _put(client, f"/_component_template/{name}", components[name])
    for name in names:
        if name in indices:
            _put(client, f"/_index_template/{name}", indices[name])
            _refresh_mapping(client, name, indices[name]["index_patterns"][0])
    return names


def _knows(client: Client, *types: str) -> bool:
    answer = client.request("POST", "/_index_template/_simulate", probe(types))
    if answer.status == 200:
        return True
    if answer.status == 400:
        return False
    raise _refused(client, "asking for its field types", answer)


def _fingerprints(client: Client, kind: str) -> dict[str, str]:
    """Name -> fingerprint of the templates of ours on the server."""
    answer = client.request("GET", f"/_{kind}/netflight-*")
    if answer.status == 404:
        return {}
    if answer.status != 200:
        raise _refused(client, f"listing its {kind}s", answer)
    found = answer.body.get(f"{kind}s", [])
    return {item["name"]: item[kind].get("_meta", {}).get("fingerprint", "") for item in found}


def _differing(wanted: Mapping[str, Mapping[str, Any]], found: Mapping[str, str]) -> list[str]:
    return [name for name, body in wanted.items() if found.get(name) != body["_meta"]["fingerprint"]]


def _put(client: Client, path: str, body: Mapping[str, Any]) -> None:
    answer = client.request("PUT", path, body)
    if answer.status != 200:
        raise _refused(client, f"PUT {path}", answer)


def _refresh_mapping(client: Client, name: str, pattern: str) -> None:
    simulated = client.request("POST", f"/_index_template/_simulate/{name}")
    if simulated.status != 200:
        raise _refused(client, f"simulating {name}", simulated)
    mapping = simulated.body["template"]["mappings"]
    path = f"/{pattern}/_mapping?allow_no_indices=true"
    answer = client.request("PUT", path, {"properties": mapping.get("properties", {})})
    # A type that changed cannot be changed in place (400): the next rollover brings it, and all else that is new.
    if answer.status not in (200, 400, 404):
        raise _refused(client, f"PUT {path}", answer)


def _refused(client: Client, doing: str, answer: Answer) -> Exception:
    what = f"Elasticsearch at {client.urls}: {doing}: {answer.error()}"
    if answer.status == 429 or answer.status >= 500:
        return RetryLater(f"http {answer.status}", what, answer.retry_after)
    return DestinationError(what, PRIVILEGES if answer.status in (401, 403) else "")
