import pytest
from jsonschema import Draft202012Validator

from schemas.errors import SchemaError
from schemas.events import put
from schemas.jsonschema import json_schema, validator
from schemas.model import FieldType, datasets, fields_of
from tests.events import sample

NAMES = sorted(datasets())


def check(event: object, name: str = "network_traffic.dns") -> None:
    validator(name)(event)


@pytest.mark.parametrize("name", NAMES)
def test_schema_is_a_valid_schema(name: str) -> None:
    Draft202012Validator.check_schema(json_schema(datasets()[name]))


@pytest.mark.parametrize("name", NAMES)
def test_event_of_the_examples_is_valid(name: str) -> None:
    check(sample(name), datasets()[name].dataset)


@pytest.mark.parametrize("name", NAMES)
def test_field_of_nobody_is_refused_at_every_level(name: str) -> None:
    full = datasets()[name].dataset
    for place in ("surprise", "event.surprise", "data_stream.deep.surprise"):
        event = sample(name)
        put(event, place, 1)
        with pytest.raises(SchemaError, match=r"surprise|deep"):
            check(event, full)


@pytest.mark.parametrize("name", NAMES)
def test_every_field_refuses_a_value_of_another_type(name: str) -> None:
    dataset = datasets()[name]
    specs = fields_of(dataset)
    lists = tuple(f"{field}." for field, spec in specs.items() if spec.type is FieldType.OBJECT)
    for field in specs:
        if not field.startswith(lists):
            with pytest.raises(SchemaError):
                check(sample(name, **{field: {"not": "this"}}), dataset.dataset)


@pytest.mark.parametrize(
    "field",
    ["@timestamp", "event.id", "event.created", "data_stream.namespace", "observer.name", "event.start"],
)
def test_event_without_an_always_field_is_refused(field: str) -> None:
    with pytest.raises(SchemaError, match=field.rpartition(".")[2]):
        check(sample("dns", **{field: None}))


def test_arp_needs_no_addresses() -> None:
    event = sample("arp")
    for name in ("source", "destination", "client", "server"):
        event.pop(name)
    check(event, "network_traffic.arp")


@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1"])
def test_addresses_of_both_versions_are_valid(address: str) -> None:
    check(sample("dns", **{"source.ip": address}))


@pytest.mark.parametrize(
    "address", ["nonsense", "", "192.0.2.256", "192.0.2.1/24", "fe80::1%eth0", " 192.0.2.1"]
)
def test_what_elasticsearch_takes_for_no_address_is_refused(address: str) -> None:
    with pytest.raises(SchemaError, match=r"source\.ip"):
        check(sample("dns", **{"source.ip": address}))


@pytest.mark.parametrize(
    "time", ["2026-01-02 03:04:05Z", "2026-01-02T03:04:05", "1767323045", "2026-01-02T03:04:05.1234567890Z"]
)
def test_time_in_another_form_is_refused(time: str) -> None:
    with pytest.raises(SchemaError, match="@timestamp"):
        check(sample("dns", **{"@timestamp": time}))


def test_scalar_where_a_list_belongs_and_the_other_way_round_is_refused() -> None:
    with pytest.raises(SchemaError, match=r"dns\.resolved_ip"):
        check(sample("dns", **{"dns.resolved_ip": "192.0.2.1"}))
    with pytest.raises(SchemaError, match=r"dns\.question\.name"):
        check(sample("dns", **{"dns.question.name": ["www.example.com"]}))


def test_event_of_another_dataset_is_refused() -> None:
    with pytest.raises(SchemaError):
        check(sample("http"))


def test_number_beyond_64_bits_is_refused() -> None:
    with pytest.raises(SchemaError, match=r"source\.bytes"):
        check(sample("dns", **{"source.bytes": 2**63}))


def test_unknown_dataset_has_no_validator() -> None:
    with pytest.raises(SchemaError, match=r"network_traffic\.nothing"):
        validator("network_traffic.nothing")


def test_validator_is_made_once() -> None:
    assert validator("network_traffic.dns") is validator("network_traffic.dns")
