"""The Sigma matcher, construct by construct, and against an oracle that knows neither pySigma nor our code."""

import base64
import ipaddress
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import ConfigError
from streams.core.sigma import Rule, RuleSet, load_rules, parse_rules
from streams.rules_tools import shipped_taxonomy

TAXONOMY = shipped_taxonomy()
PATH = Path("rule.yaml")
ANY = {"product": "netflight"}


def rule(detection: Any, logsource: dict[str, str] | None = None, **more: Any) -> Rule:
    head = {"title": "T", "id": "0b1a2d1e-3c1e-4a52-8a0e-1c1f8e3d6a11", "level": "low"}
    text = yaml.safe_dump({**head, "logsource": logsource or ANY, "detection": detection, **more})
    (found,) = parse_rules(text, TAXONOMY, PATH)
    return found


def matches(selection: Any, event: dict[str, Any]) -> bool:
    return rule({"s": selection, "condition": "s"}).matches(event)


def dns(name: Any) -> dict[str, Any]:
    return {"dns": {"question": {"name": name}}}


@pytest.mark.parametrize(
    ("selection", "event", "wanted"),
    [
        ({"dns.question.name": "WWW.example.com"}, dns("www.EXAMPLE.com"), True),
        ({"dns.question.name|cased": "WWW.example.com"}, dns("www.example.com"), False),
        ({"dns.question.name|cased": "www.example.com"}, dns("www.example.com"), True),
        ({"dns.question.name": "w?w.*.com"}, dns("wxw.a.b.com"), True),
        ({"dns.question.name": r"a\*b"}, dns("a*b"), True),
        ({"dns.question.name": r"a\*b"}, dns("axb"), False),
        ({"dns.question.name": r"a\?"}, dns("a?"), True),
        ({"dns.question.name": r"c:\\x"}, dns("c:\\x"), True),
        ({"dns.question.name": "*"}, dns("a"), True),
        ({"dns.question.name": "*"}, {}, False),
        ({"dns.question.name": "a*b"}, dns("a\nb"), True),
        ({"dns.question.name": ""}, dns(""), True),
        ({"dns.question.name": ""}, {}, False),
        ({"dns.question.name": None}, {}, True),
        ({"dns.question.name": None}, dns(None), True),
        ({"dns.question.name": None}, dns("x"), False),
        ({"dns.question.name": ["a", "b"]}, dns("b"), True),
        ({"dns.question.name|contains": "EXA"}, dns("www.example.com"), True),
        ({"dns.question.name|contains|all": ["a", "z"]}, dns("abc"), False),
        ({"dns.question.name|contains|all": ["a", "c"]}, dns("abc"), True),
        ({"dns.question.name|startswith": "ww"}, dns("WWW"), True),
        ({"dns.question.name|endswith": [".a", ".b"]}, dns("x.B"), True),
        ({"dns.question.name|re": "^a[0-9]+$"}, dns("a12"), True),
        ({"dns.question.name|re": "A"}, dns("a"), False),
        ({"dns.question.name|re|i": "A"}, dns("a"), True),
        ({"dns.question.name|re": "a.b"}, dns("a\nb"), False),
        ({"dns.question.name|re|s": "a.b"}, dns("a\nb"), True),
        ({"dns.question.name|re|m": "^b$"}, dns("a\nb"), True),
        ({"dns.question.name|re": r"a\*b"}, dns("a*b"), True),
        ({"dns.question.name|neq": "a"}, dns("b"), True),
        ({"dns.question.name|neq": "a"}, dns("a"), False),
        ({"dns.question.name|windash|contains": " -x"}, dns("tool /x"), True),
        ({"dns.question.name|base64": "foobar"}, dns("Zm9vYmFy"), True),
        (
            {"dns.question.name|base64offset|contains": "secret"},
            dns(base64.b64encode(b"x secret y").decode()),
            True,
        ),
        (
            {"dns.question.name|wide|base64offset|contains": "ping"},
            dns(base64.b64encode("a ping b".encode("utf-16-le")).decode()),
            True,
        ),
        ({"source.ip|cidr": "192.0.2.0/24"}, {"source": {"ip": "192.0.2.9"}}, True),
        ({"source.ip|cidr": ["10.0.0.0/8", "2001:db8::/32"]}, {"source": {"ip": "2001:db8::1"}}, True),
        ({"source.ip|cidr": "192.0.2.0/24"}, {"source": {"ip": "not an address"}}, False),
        ({"source.port": 443}, {"source": {"port": 443}}, True),
        ({"source.port": "443"}, {"source": {"port": 443}}, True),
        ({"dns.id": 443}, {"dns": {"id": "443"}}, True),
        ({"source.port": 1}, {"source": {"port": True}}, False),
        ({"source.port|gt": 1024}, {"source": {"port": 1024}}, False),
        ({"source.port|gte": 1024}, {"source": {"port": 1024}}, True),
        ({"source.port|lt": 1024}, {"source": {"port": "80"}}, True),
        ({"source.port|lte": 80}, {"source": {"port": "many"}}, False),
        ({"tls.resumed": True}, {"tls": {"resumed": True}}, True),
        ({"tls.resumed": False}, {"tls": {"resumed": True}}, False),
        ({"dns.question.name|exists": True}, dns("a"), True),
        ({"dns.question.name|exists": False}, {}, True),
        (
            {"source.ip|fieldref": "destination.ip"},
            {"source": {"ip": "::1"}, "destination": {"ip": "::1"}},
            True,
        ),
        ({"source.ip|fieldref": "destination.ip"}, {"source": {"ip": "::1"}}, False),
        ({"url.path|fieldref|startswith": "url.query"}, {"url": {"path": "abc", "query": "AB"}}, True),
        (
            {"dns.answers.data": "192.0.2.2"},
            {"dns": {"answers": [{"data": "192.0.2.1"}, {"data": "192.0.2.2"}]}},
            True,
        ),
        ({"dns.resolved_ip|cidr": "192.0.2.0/24"}, {"dns": {"resolved_ip": ["::1", "192.0.2.1"]}}, True),
        ({"@timestamp|hour": 3}, {"@timestamp": "2026-01-02T03:04:05.000000000Z"}, True),
        ({"@timestamp|minute|gt": 4}, {"@timestamp": "2026-01-02T03:04:05.000000000Z"}, False),
        (["needle"], {"a": [{"b": "hay NEEDLE hay"}]}, True),
        (["nee*le"], {"a": {"b": "hay nee..dle"}}, True),
        ([443], {"source": {"port": 443}}, True),
        ([{"source.port": 1}, {"source.port": 2}], {"source": {"port": 2}}, True),
    ],
)
def test_construct(selection: Any, event: dict[str, Any], *, wanted: bool) -> None:
    assert matches(selection, event) is wanted


@pytest.mark.parametrize(
    ("condition", "wanted"),
    [
        ("a and b", False),
        ("a or b", True),
        ("a and not b", True),
        ("not (a or b)", False),
        ("1 of them", True),
        ("all of them", False),
        ("1 of sel*", True),
        ("all of sel*", True),
        ("not 1 of sel*", False),
        ("(a and sel_x) or b", True),
    ],
)
def test_condition(condition: str, *, wanted: bool) -> None:
    true, false = {"source.port": 1}, {"source.port": 2}
    detection = {"a": true, "b": false, "sel_x": true, "sel_y": true, "condition": condition}
    assert rule(detection).matches({"source": {"port": 1}}) is wanted


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"detection": {"s": {"dns.question.nmae": "x"}, "condition": "s"}}, "dns.question.name"),
        ({"detection": {"s": {"dns.question.name|expand": "%list%"}, "condition": "s"}}, "placeholder"),
        ({"detection": {"s": {"dns.question.name|re": "("}, "condition": "s"}}, "Regular expression"),
        ({"detection": {"s": {"dns.question.name|nope": "x"}, "condition": "s"}}, "nope"),
        ({"detection": {"s": {"source.ip|cidr": "x"}, "condition": "s"}}, "CIDR"),
        ({"detection": {"s": {"source.port": 1}, "condition": "t"}}, "t"),
        ({"detection": {"s": {"source.port": 1}, "condition": "s | count() > 5"}}, "deprecated"),
        ({"detection": {"condition": "s"}}, "detection"),
        ({"logsource": {"product": "windows"}}, "no dataset stands for product: windows"),
        ({"logsource": {"product": "netflight", "service": "nope"}}, "no dataset"),
        ({"id": "12"}, "UUID"),
        ({"id": None}, "UUID"),
        ({"level": "odd"}, "odd"),
    ],
)
def test_what_has_no_meaning_is_an_error_that_names_the_file(change: dict[str, Any], words: str) -> None:
    base = {
        "title": "T",
        "id": "0b1a2d1e-3c1e-4a52-8a0e-1c1f8e3d6a11",
        "logsource": {"product": "netflight", "service": "dns"},
        "detection": {"s": {"source.port": 1}, "condition": "s"},
    }
    with pytest.raises(ConfigError) as caught:
        parse_rules(yaml.safe_dump({**base, **change}), TAXONOMY, PATH)
    assert "rule.yaml" in str(caught.value)
    assert words.lower() in str(caught.value).lower()


def test_a_correlation_is_refused_and_not_ignored() -> None:
    text = (
        "title: C\nid: 0b1a2d1e-3c1e-4a52-8a0e-1c1f8e3d6a12\ncorrelation:\n  type: event_count\n  rules: [x]\n"
        "  group-by: [source.ip]\n  timespan: 5m\n  condition: {gte: 3}\n"
    )
    with pytest.raises(ConfigError, match=re.escape("rule.yaml")):
        parse_rules(text, TAXONOMY, PATH)


@pytest.mark.parametrize("text", ["", "- 1", "a: [", "title: x", "\x00"])
def test_a_file_that_is_no_rule_is_a_config_error(text: str) -> None:
    with pytest.raises(ConfigError, match=re.escape("rule.yaml")):
        parse_rules(text, TAXONOMY, PATH)


@pytest.mark.parametrize(
    ("logsource", "field", "datasets", "ecs"),
    [
        ({"category": "dns"}, "query", ("network_traffic.dns",), ("dns.question.name",)),
        ({"category": "firewall"}, "dst_port", ("network_traffic.flow",), ("destination.port",)),
        ({"category": "proxy"}, "c-useragent", ("network_traffic.http",), ("user_agent.original",)),
        ({"category": "webserver"}, "cs-method", ("network_traffic.http",), ("http.request.method",)),
        ({"product": "zeek", "service": "conn"}, "id.orig_h", ("network_traffic.flow",), ("source.ip",)),
        ({"product": "zeek", "service": "ssl"}, "ja3", ("network_traffic.tls",), ("tls.client.ja3",)),
        ({"product": "netflight", "service": "ssh"}, "source.ip", ("network_traffic.ssh",), ("source.ip",)),
    ],
)
def test_logsource_names_the_dataset_and_its_fields(
    logsource: dict[str, str], field: str, datasets: tuple[str, ...], ecs: tuple[str, ...]
) -> None:
    found = rule({"s": {field: "x"}, "condition": "s"}, logsource)
    assert (found.datasets, found.fields) == (datasets, ecs)


def test_an_event_meets_only_the_rules_of_its_dataset() -> None:
    of_dns = rule({"s": {"source.port": 1}, "condition": "s"}, {"category": "dns"})
    rules = RuleSet([of_dns])
    event = {"source": {"port": 1}}
    assert rules.match(event, "network_traffic.dns") == [of_dns]
    assert rules.match(event, "network_traffic.http") == []


def test_two_rules_with_one_id_are_an_error(tmp_path: Path) -> None:
    text = yaml.safe_dump(
        {
            "title": "T",
            "id": "0b1a2d1e-3c1e-4a52-8a0e-1c1f8e3d6a11",
            "logsource": ANY,
            "detection": {"s": {"source.port": 1}, "condition": "s"},
        }
    )
    for name in ("a.yaml", "b.yml"):
        (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match="also the id"):
        load_rules([tmp_path], TAXONOMY)


# The oracle: a selection is (field, modifier, values, all); strings are patterns over a tiny alphabet.
FIELDS = ("dns.question.name", "url.path", "source.port", "source.ip")
words = st.text("aB*?\\x", max_size=5)
plain = st.text("abBx*?\\", max_size=6)
values = st.one_of(plain, st.integers(0, 3), st.booleans(), st.none(), st.lists(plain, max_size=2))
string_test = st.tuples(
    st.sampled_from(FIELDS),
    st.sampled_from(["", "contains", "startswith", "endswith", "cased"]),
    st.lists(words, min_size=1, max_size=3),
    st.booleans(),
)
number_test = st.tuples(
    st.sampled_from(FIELDS),
    st.sampled_from(["gt", "gte", "lt", "lte", ""]),
    st.lists(st.integers(0, 3), min_size=1, max_size=2),
    st.just(value=False),
)
tests = st.one_of(string_test, number_test)


def found_in(event: dict[str, Any], field: str) -> list[Any]:
    value = event.get(field)
    return [item for item in (value if isinstance(value, list) else [value]) if item is not None]


def glob(pattern: str, text: str) -> bool:
    """Sigma's wildcards by recursion: a backslash escapes a wildcard or a backslash and is plain otherwise."""
    if not pattern:
        return not text
    head, rest = pattern[0], pattern[1:]
    if head == "\\" and rest[:1] in {"*", "?", "\\"}:
        return bool(text) and text[0] == rest[0] and glob(rest[1:], text[1:])
    if head == "*":
        return any(glob(rest, text[cut:]) for cut in range(len(text) + 1))
    return bool(text) and (head in {"?", text[0]}) and glob(rest, text[1:])


def escaped_end(word: str) -> bool:
    """Whether a trailing backslash would escape what a modifier appends."""
    return (len(word) - len(word.rstrip("\\"))) % 2 == 1


def oracle(test: Any, event: dict[str, Any]) -> bool:
    field, modifier, wanted, every = test
    return (all if every and modifier else any)(
        any(one(modifier, want, value) for value in found_in(event, field)) for want in wanted
    )


def one(modifier: str, want: Any, value: Any) -> bool:
    if isinstance(want, int):
        if modifier == "":
            return not isinstance(value, bool) and (value == want or value == str(want))
        try:
            number = None if isinstance(value, bool) else float(value)
        except ValueError:
            number = None
        compare = {"gt": "__gt__", "gte": "__ge__", "lt": "__lt__", "lte": "__le__"}[modifier]
        return number is not None and getattr(number, compare)(float(want))
    text = {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value)
    if modifier != "cased":
        want, text = want.lower(), text.lower()
    before = "*" if modifier in {"contains", "endswith"} else ""
    after = "*" if modifier in {"contains", "startswith"} else ""
    return glob(before + want + after, text)


@given(
    st.lists(tests, min_size=1, max_size=3),
    st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, values)),
    st.sampled_from(["all of s*", "1 of s*", "not 1 of s*", "s0 and not s1"]),
)
def test_the_matcher_agrees_with_the_oracle(
    selected: list[Any], flat: dict[str, Any], condition: str
) -> None:
    selected = [t for t in selected if not any(isinstance(w, str) and escaped_end(w) for w in t[2])]
    if not selected:
        return
    if condition == "s0 and not s1":
        selected = (selected * 2)[:2]
    detection: dict[str, Any] = {"condition": condition}
    for number, (field, modifier, wanted, every) in enumerate(selected):
        parts = [field, modifier, *(["all"] if every and modifier and len(wanted) > 1 else [])]
        detection[f"s{number}"] = {"|".join(part for part in parts if part): wanted}
    event: dict[str, Any] = {}
    for field, value in flat.items():
        node = event
        *path, last = field.split(".")
        for part in path:
            node = node.setdefault(part, {})
        node[last] = value
    truths = [oracle(test, flat) for test in selected]
    wanted_result = {
        "all of s*": all(truths),
        "1 of s*": any(truths),
        "not 1 of s*": not any(truths),
        "s0 and not s1": truths[0] and not truths[-1],
    }[condition]
    assert rule(detection).matches(event) is wanted_result


@given(st.ip_addresses(), st.ip_addresses(v=4), st.integers(0, 32))
def test_networks_agree_with_arithmetic_on_integers(address: Any, base: Any, length: int) -> None:
    network = ipaddress.ip_network((int(base), length), strict=False)
    inside = address.version == 4 and int(address) >> (32 - length) == int(base) >> (32 - length)
    assert matches({"source.ip|cidr": str(network)}, {"source": {"ip": str(address)}}) is inside
