"""Asking the server what it knows, and giving it the templates that fit."""

from collections.abc import Iterable, Mapping
from typing import Any

from runtime.errors import DestinationError
from schemas.elasticsearch import NAMESPACE, Dialect, Template, component_templates, index_templates, probe
from sinks.base import RetryLater
from sinks.elasticsearch.client import Answer, Client

INTEGRATION = "logs-network_traffic.*"
"""The names of the index templates of Elastic's Network Packet Capture integration."""
PRIVILEGES = (
    "its user needs the cluster privilege manage_index_templates, and on logs-* and metrics-* the index "
    "privileges auto_configure, create_doc and manage"
)


_ATTEMPTS = 3


def detect_dialect(client: Client) -> Dialect:
    """What the server knows, found by letting it simulate templates with the types in question.

    Nothing is written. Raises RetryLater while the server is away, DestinationError where it refuses.
    """
    if _knows(client, "flat_object"):
        return Dialect.OPENSEARCH
    full = _knows(client, "wildcard", "constant_keyword", "match_only_text")
    return Dialect.ELASTICSEARCH if full else Dialect.MINIMAL


def outdated(client: Client, dialect: Dialect, namespace: str) -> list[str]:
    """The names of our templates that the server lacks or has otherwise, in order: components first.

    An index template is old, too, where it does not take in the data stream of `namespace`.
    """
    components = component_templates(dialect)
    names = _differing(components, _found(client, "component_template"))
    return [*names, *_old_indices(index_templates(dialect, [namespace]), _found(client, "index_template"))]


def install(client: Client, dialect: Dialect, namespace: str) -> list[str]:
    """Put the templates that are missing or old; return their names. A second call changes nothing.

    They take in the data streams of `namespace` beside those of the namespaces that they were installed for before.
    Data streams that are there already get the new fields, to be searched from now on. Raises DestinationError where
    the streams of the namespace are those of Elastic Agent.
    """
    done: dict[str, None] = {}
    for _ in range(_ATTEMPTS):  # another sink may add its namespace at the same time, and take ours out again
        names = _install(client, dialect, namespace)
        if not names or names == list(done):  # all is there, or nothing stays
            break
        done.update(dict.fromkeys(names))
    return list(done)


def _install(client: Client, dialect: Dialect, namespace: str) -> list[str]:
    components, ours = component_templates(dialect), _found(client, "index_template")
    wanted = index_templates(dialect, [namespace])
    names, old = _differing(components, _found(client, "component_template")), _old_indices(wanted, ours)
    if old:
        _refuse_streams_of_others(client, namespace)
    for name in names:
        _put(client, f"/_component_template/{name}", components[name])
    changed = set(_differing(wanted, ours))
    for name in old:
        patterns = _patterns(wanted[name], ours.get(name, {}))
        _put(client, f"/_index_template/{name}", {**wanted[name], "index_patterns": patterns})
        if name in changed:
            _refresh_mapping(client, name, patterns)
    return [*names, *old]


def _old_indices(wanted: Mapping[str, Template], found: Mapping[str, Template]) -> list[str]:
    differing = set(_differing(wanted, found))
    return [
        name
        for name, body in wanted.items()
        if name in differing or body["index_patterns"][0] not in found[name].get("index_patterns", ())
    ]


def _patterns(wanted: Template, found: Template) -> list[str]:
    """The pattern of the namespace and those that are there, but for the ones that took in every namespace."""
    there = [pattern for pattern in found.get("index_patterns", ()) if "*" not in pattern]
    return sorted({*there, *wanted["index_patterns"]})


def _refuse_streams_of_others(client: Client, namespace: str) -> None:
    """Raise DestinationError where Elastic's integration is installed and may write to the namespace's streams, too."""
    if namespace != NAMESPACE:
        return
    answer = client.request("GET", f"/_index_template/{INTEGRATION}")
    if answer.status == 404:
        return
    if answer.status != 200:
        raise _refused(client, "looking for the integration's templates", answer)
    names = sorted(item["name"] for item in answer.body.get("index_templates", []))
    if names:
        raise DestinationError(
            f"Elasticsearch at {client.urls}: Elastic's Network Packet Capture integration is installed ({names[0]}), "
            f"and its data streams in the namespace {namespace!r} have the names of ours",
            "use a namespace of your own (NETFLIGHT_NAMESPACE=netflight), see docs/sinks.md",
        )


def _knows(client: Client, *types: str) -> bool:
    answer = client.request("POST", "/_index_template/_simulate", probe(types))
    if answer.status == 200:
        return True
    if answer.status == 400:
        return False
    raise _refused(client, "asking for its field types", answer)


def _found(client: Client, kind: str) -> dict[str, Template]:
    """The templates of ours on the server, by name."""
    answer = client.request("GET", f"/_{kind}/netflight-*")
    if answer.status == 404:
        return {}
    if answer.status != 200:
        raise _refused(client, f"listing its {kind}s", answer)
    return {item["name"]: item[kind] for item in answer.body.get(f"{kind}s", [])}


def _differing(wanted: Mapping[str, Template], found: Mapping[str, Template]) -> list[str]:
    return [
        name
        for name, body in wanted.items()
        if found.get(name, {}).get("_meta", {}).get("fingerprint") != body["_meta"]["fingerprint"]
    ]


def _put(client: Client, path: str, body: Mapping[str, Any]) -> None:
    answer = client.request("PUT", path, body)
    if answer.status != 200:
        raise _refused(client, f"PUT {path}", answer)


def _refresh_mapping(client: Client, name: str, streams: Iterable[str]) -> None:
    simulated = client.request("POST", f"/_index_template/_simulate/{name}")
    if simulated.status != 200:
        raise _refused(client, f"simulating {name}", simulated)
    mapping = simulated.body["template"]["mappings"]
    for stream in streams:
        path = f"/{stream}/_mapping?ignore_unavailable=true&allow_no_indices=true"
        answer = client.request("PUT", path, {"properties": mapping.get("properties", {})})
        # A type that changed cannot be changed in place (400): the next rollover brings it, and all else that is new.
        if answer.status not in (200, 400, 404):
            raise _refused(client, f"PUT {path}", answer)


def _refused(client: Client, doing: str, answer: Answer) -> Exception:
    what = f"Elasticsearch at {client.urls}: {doing}: {answer.error()}"
    if answer.status == 429 or answer.status >= 500:
        return RetryLater(f"http {answer.status}", what, answer.retry_after)
    return DestinationError(what, PRIVILEGES if answer.status in (401, 403) else "")
