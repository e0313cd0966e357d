"""What holds of every event of every capture: names without placeholders, related.*, who made it, one readable line."""

import ipaddress
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from producers.decoders.convert import PLACEHOLDERS
from schemas.events import Event, get
from schemas.model import FieldType, datasets, fields_of
from schemas.related import kind_of
from tests.captures import faults
from tests.decoding import decode, everything

pytestmark = pytest.mark.timeout(600)
OF_TSHARK = re.compile(r"\[truncated\]|^\[?Malformed Packet\]?$|^Unknown \(")
# Names that are asked for in angle brackets, as tshark writes bytes of NetBIOS names, and what is on the wire so.
BRACKETS = re.compile(r"<[0-9a-f]{2}>")


def texts(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Every text in an event, with its field."""
    if isinstance(value, str):
        yield name, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from texts(item, f"{name}.{key}" if name else key)
    elif isinstance(value, list):
        for item in value:
            yield from texts(item, name)


def events() -> Iterator[Event]:
    for found in everything().values():
        yield from found


def test_no_text_of_tshark_s_stands_for_a_value() -> None:
    found: Counter[tuple[str, str]] = Counter()
    for event in events():
        for name, text in texts(event):
            odd = text in PLACEHOLDERS or (name.startswith("dns.") and re.fullmatch(r"<[^<>]+>", text))
            if (odd and not BRACKETS.fullmatch(text)) or OF_TSHARK.search(text):
                found[name, text[:60]] += 1
    del found["netflight.anomaly.message", "Malformed Packet"]
    assert found == {}


def missing(event: Event) -> Iterator[tuple[str, str, str]]:
    """The values that should be in related.* and are not: where, from which field, the value."""
    dataset = next(d for d in datasets().values() if d.dataset == event["event"]["dataset"])
    for name, spec in fields_of(dataset).items():
        kind = None if name.startswith(("related.", "agent.", "host.", "observer.")) else kind_of(name, spec)
        if kind is None or spec.type is FieldType.OBJECT:
            continue
        value = get(event, name)
        there = set(get(event, f"related.{kind}") or ())
        for _, text in texts(value):
            if text and text not in there:
                yield kind, name, text


def test_every_address_host_user_and_hash_is_in_related() -> None:
    lacking: Counter[tuple[str, str, str]] = Counter()
    seen: Counter[str] = Counter()
    for event in events():
        lacking.update((event["event"]["dataset"], *found[:2]) for found in missing(event))
        seen.update(kind for kind in ("ip", "hosts", "user", "hash") if get(event, f"related.{kind}"))
        for answer in get(event, "dns.answers") or ():
            words = answer.get("data", "").split(" ")
            target = {"CNAME": 0, "PTR": 0, "NS": 0, "MX": 1, "SRV": 3}.get(answer["type"])
            if target is not None and target < len(words) and words[target] not in ("", "."):
                assert words[target] in event["related"]["hosts"]
            if answer["type"] in ("A", "AAAA") and words[0]:
                assert words[0] in event["related"]["ip"]
    assert lacking == {}
    assert min(seen[kind] for kind in ("ip", "hosts", "user", "hash")) > 100


def test_addresses_in_related_are_addresses() -> None:
    for event in events():
        for address in get(event, "related.ip") or ():
            ipaddress.ip_address(address)


def test_every_event_says_who_made_it_and_what_happened_in_one_line() -> None:
    sensors = set()
    for event in events():
        sensors.add((event["agent"]["id"], event["agent"]["type"], event["host"]["name"]))
        assert {"name", "vendor", "product", "version"} <= event["observer"].keys()
        assert event["message"].strip()
    assert [(kind, host) for _, kind, host in sensors] == [("netflight", "test")]


def test_names_and_data_of_unusual_records() -> None:
    found = decode([faults() / "dns_mix.pcap"]).events
    dns = [event for event in found if event["event"]["dataset"] == "network_traffic.dns"]
    said = {
        (answer["type"], answer.get("data")) for event in dns for answer in get(event, "dns.answers") or ()
    }
    assert ("CAA", '0 issue ""') in said
    assert ("CAA", '128 iodef "mailto:a@b.c"') in said
    assert ("TLSA", f"3 1 1 {'AA' * 32}") in said
    assert {"LOC", "NAPTR", "SVCB", "HTTPS"} <= {kind for kind, data in said if data}
    assert not [
        text for event in dns for name, text in texts(event) if name.startswith("dns.") and "<" in text
    ]
    (looping,) = [event for event in dns if get(event, "netflight.dns.name_errors")]
    assert get(looping, "netflight.dns.name_errors") == ["compression_loop"]
    assert get(looping, "dns.question.name") == "loop.example"
    assert get(looping, "dns.resolved_ip") == ["1.2.3.4"]
