"""Alert events: what a rule found, with the event it was found in as the evidence."""

from typing import Any

from schemas.events import Event, Times, event_id, get, new_event, parse_timestamp, put
from schemas.model import datasets
from streams.core.sigma import Rule

SEVERITY = {"informational": 1, "low": 21, "medium": 47, "high": 73, "critical": 99}

# MITRE ATT&CK's enterprise tactics as Sigma tags spell them.
TACTICS = {
    "reconnaissance": "Reconnaissance",
    "resource-development": "Resource Development",
    "initial-access": "Initial Access",
    "execution": "Execution",
    "persistence": "Persistence",
    "privilege-escalation": "Privilege Escalation",
    "defense-evasion": "Defense Evasion",
    "credential-access": "Credential Access",
    "discovery": "Discovery",
    "lateral-movement": "Lateral Movement",
    "collection": "Collection",
    "command-and-control": "Command and Control",
    "exfiltration": "Exfiltration",
    "impact": "Impact",
}


def alert_event(rule: Rule, event: Event, created_ns: int) -> Event:
    """The alert of a rule on an event, by dataset alerts.yaml; its time is the event's.

    The id is a function of the rule's id and the event's: the same event meets the same rule once.
    """
    dataset = datasets()["alerts"]
    facts = event["event"]
    source_id = str(facts["id"])
    time_ns = parse_timestamp(str(event["@timestamp"]))
    start_ns, end_ns = (
        parse_timestamp(str(facts.get(name, event["@timestamp"]))) for name in ("start", "end")
    )
    alert = new_event(
        dataset,
        event_id(dataset.dataset, rule.id + source_id, time_ns, 0),
        str(get(event, "data_stream.namespace") or "default"),
        Times(time_ns, start_ns, end_ns, created_ns),
    )
    alert["message"] = reason(rule, event)
    alert["event"] |= {"severity": SEVERITY[rule.level], "reason": alert["message"]}
    if "outcome" in facts:
        alert["event"]["outcome"] = facts["outcome"]
    alert["rule"] = _rule_fields(rule)
    alert |= {name: value for name, value in event.items() if name not in alert}
    if threat := threat_fields(rule.tags):
        alert["threat"] = threat
    # a copy: the event's own `netflight` object is shared with the other alerts on it
    alert["netflight"] = {**event.get("netflight", {})}
    put(alert, "netflight.alert", _alert_fields(rule, source_id, str(facts["dataset"])))
    return alert


def reason(rule: Rule, event: Event) -> str:
    """The alert in one sentence: the rule's title and who talked to whom."""
    words = [rule.title]
    for preposition, side in (("from", "source"), ("to", "destination")):
        address = get(event, f"{side}.ip") or get(event, f"{side}.mac")
        if address:
            words += [preposition, str(address)]
    port = get(event, "destination.port")
    if port is not None:
        words += ["port", str(port)]
    subject = next((str(value) for name in _SUBJECTS if isinstance(value := get(event, name), str)), "")
    return " ".join(words) + (f": {subject[:200]}" if subject else "")


# What says most about an event in few words, the first that is there.
_SUBJECTS = (
    "dns.question.name",
    "url.full",
    "url.original",
    "tls.client.server_name",
    "netflight.ssh.client.software",
    "netflight.flow.state",
)


def _rule_fields(rule: Rule) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "id": rule.id,
        "name": rule.title,
        "description": rule.description,
        "author": list(rule.author),
        "license": rule.license,
        "reference": list(rule.references),
        "category": rule.category,
        "ruleset": rule.ruleset,
    }
    return {name: value for name, value in fields.items() if value}


def _alert_fields(rule: Rule, source_id: str, dataset: str) -> dict[str, Any]:
    fields: dict[str, Any] = {"level": rule.level, "event": {"id": [source_id], "dataset": dataset}}
    if rule.falsepositives:
        fields["falsepositives"] = list(rule.falsepositives)
    return fields


def threat_fields(tags: tuple[str, ...]) -> dict[str, Any]:
    """ECS threat.* from Sigma's attack.* tags; empty without such tags."""
    attack = [tag.removeprefix("attack.") for tag in tags if tag.startswith("attack.")]
    tactics = [TACTICS[name] for tag in attack if (name := tag.replace("_", "-")) in TACTICS]
    techniques = [tag.upper() for tag in attack if tag[:1] == "t" and tag[1:5].isdigit()]
    if not tactics and not techniques:
        return {}
    found: dict[str, Any] = {"framework": "MITRE ATT&CK"}
    if tactics:
        found["tactic"] = {"name": tactics}
    if techniques:
        found["technique"] = {"id": techniques}
    return found
