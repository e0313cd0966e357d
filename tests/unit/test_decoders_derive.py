"""What events tell beyond their packets: parts of names, the peer's name, its application, its place."""

from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mmdb_writer import MMDBWriter
from netaddr import IPSet

from producers.decoders.builder import EventBuilder
from producers.decoders.derive import application_of, applications
from producers.decoders.domains import Parts, name_fields, parts_of
from producers.decoders.geo import Geo
from producers.decoders.transactions import Transaction
from producers.decoders.unit import Role, Unit
from producers.engine.model import FlowRecord
from runtime.errors import ConfigError
from schemas.events import Event, get
from schemas.jsonschema import validator
from tests.trees import decoder, flow, place

DAY_NS = 86_400 * 10**9


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("www.shop.example.co.uk", Parts("example.co.uk", "www.shop", "co.uk")),
        ("EXAMPLE.com.", Parts("example.com", "", "com")),
        ("a.b.host.internal", Parts("host.internal", "a.b", "internal")),
        ("raw.githubusercontent.com", Parts("raw.githubusercontent.com", "", "githubusercontent.com")),
        ("_ldap._tcp.dc._msdcs.example.org", Parts("example.org", "_ldap._tcp.dc._msdcs", "org")),
    ],
)
def test_a_name_has_the_parts_that_the_public_suffix_list_says(name: str, parts: Parts) -> None:
    assert parts_of(name) == parts


@pytest.mark.parametrize(
    "name",
    [
        "com",
        "co.uk",
        "localhost",
        "192.0.2.1",
        "2001:db8::1",
        "a..b",
        ".",
        "",
        "a b.com",
        "x\x00.com",
        "é.com",
    ],
)
def test_what_is_no_registered_name_has_no_parts(name: str) -> None:
    assert parts_of(name) is None
    assert name_fields("url", name) == {}


@given(st.text(max_size=300))
def test_any_text_is_taken(name: str) -> None:
    parts = parts_of(name)
    if parts is not None:
        whole = ".".join(part for part in (parts.subdomain, parts.registered_domain) if part)
        assert whole == name.lower().removesuffix(".")
        assert parts.registered_domain.endswith(f".{parts.top_level_domain}")


def test_every_application_is_found_by_its_names() -> None:
    assert len(applications()) > 100
    for domain, name in applications().items():
        assert application_of(f"www.{domain}") == name, domain
    assert application_of("www.example.com") == ""


def told(builder: EventBuilder, dataset: str, fields: dict[str, Any], at_ns: int = 0, **more: Any) -> Event:
    where = place(replace(flow(), **more), time_ns=at_ns, forward=False)
    unit = Unit(Role.RESPONSE, dict(fields), where, dataset)
    event = builder.transaction(decoder(dataset), Transaction(None, unit))
    validator(f"network_traffic.{dataset}")(event)
    return event


def recorded(builder: EventBuilder, **more: Any) -> Event:
    ended = replace(flow(), end_reason="fin", state="SF", **more)
    event = builder.flow(FlowRecord(ended, final=True), "")
    validator("network_traffic.flow")(event)
    return event


ANSWER = {
    "dns.question.name": "www.example.co.uk",
    "dns.resolved_ip": ["198.51.100.2"],
    "dns.header_flags": ["RA"],
}


def test_a_question_and_a_url_have_their_parts() -> None:
    builder = EventBuilder("default", "test")
    asked = told(builder, "dns", ANSWER)
    assert asked["dns"]["question"] == {
        "name": "www.example.co.uk",
        "registered_domain": "example.co.uk",
        "subdomain": "www",
        "top_level_domain": "co.uk",
    }
    fetched = told(builder, "http", {"url.domain": "cdn.example.com"})
    assert fetched["url"]["registered_domain"] == "example.com"


def test_a_flow_has_the_name_that_its_client_was_given_the_address_for() -> None:
    builder = EventBuilder("default", "test")
    told(builder, "dns", ANSWER, source_ip="192.0.2.1")
    to_it = {"destination_ip": "198.51.100.2", "uid": 9}
    named = recorded(builder, source_ip="192.0.2.1", **to_it)
    assert named["destination"]["domain"] == named["server"]["domain"] == "www.example.co.uk"
    assert named["destination"]["registered_domain"] == "example.co.uk"
    assert named["related"]["hosts"] == ["www.example.co.uk"]
    assert get(recorded(builder, source_ip="192.0.2.7", **to_it), "destination.domain") is None
    late = recorded(builder, source_ip="192.0.2.1", start_ns=2 * DAY_NS, end_ns=2 * DAY_NS, **to_it)
    assert get(late, "destination.domain") is None


def test_what_the_flow_itself_says_goes_before_dns_and_ends_with_it() -> None:
    builder = EventBuilder("default", "test")
    ends = {"source_ip": "192.0.2.1", "destination_ip": "198.51.100.2"}
    told(builder, "dns", ANSWER, source_ip="192.0.2.1")
    hello = told(builder, "tls", {"tls.client.server_name": "api.github.com"}, uid=9, **ends)
    assert hello["destination"]["domain"] == "api.github.com"
    assert hello["network"]["application"] == "github"
    assert recorded(builder, uid=9, **ends)["destination"]["domain"] == "api.github.com"
    assert recorded(builder, uid=9, **ends)["destination"]["domain"] == "www.example.co.uk"


def database(path: Path, records: dict[str, dict[str, Any]], ip_version: int = 6) -> Path:
    writer = MMDBWriter(ip_version, "Test", ipv4_compatible=ip_version == 6, languages=["en"], int_type="u32")
    for network, record in records.items():
        writer.insert_network(IPSet([str(ip_network(network))]), record)
    writer.to_db_file(str(path))
    return path


def test_places_and_networks_come_from_the_operator_s_databases(tmp_path: Path) -> None:
    city = {
        "continent": {"code": "EU", "names": {"en": "Europe"}},
        "country": {"iso_code": "SE", "names": {"en": "Sweden", "de": "Schweden"}},
        "subdivisions": [{"iso_code": "E", "names": {"en": "Östergötland County"}}],
        "city": {"names": {"en": "Linköping"}},
        "location": {"latitude": 58.4167, "longitude": 15.6167, "time_zone": "Europe/Stockholm"},
    }
    autonomous = {"autonomous_system_number": 64_496, "autonomous_system_organization": "Example"}
    paths = (
        database(tmp_path / "city.mmdb", {"198.51.100.0/24": city}),
        database(tmp_path / "asn.mmdb", {"198.51.100.0/25": autonomous}, ip_version=4),
    )
    builder = EventBuilder("default", "test", maxmind=paths)
    event = recorded(builder, source_ip="192.0.2.1", destination_ip="198.51.100.2")
    assert event["destination"]["geo"] == {
        "continent_code": "EU",
        "continent_name": "Europe",
        "country_iso_code": "SE",
        "country_name": "Sweden",
        "region_iso_code": "SE-E",
        "region_name": "Östergötland County",
        "city_name": "Linköping",
        "timezone": "Europe/Stockholm",
        "location": {"lat": pytest.approx(58.4167), "lon": pytest.approx(15.6167)},
    }
    assert event["destination"]["as"] == {"number": 64_496, "organization": {"name": "Example"}}
    assert "geo" not in event["source"]
    assert "geo" not in event["server"]
    assert Geo(paths).fields("2001:db8::1") == {}


def test_a_file_that_is_no_database_is_an_error_that_names_it(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.mmdb"
    wrong.write_text("no database")
    for path in (wrong, tmp_path / "missing.mmdb"):
        with pytest.raises(ConfigError, match=f"{path.name}: no MaxMind database"):
            Geo([path])
