"""The line that says of an event what happened: by templates of which what is not there is left out."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.messages import MAX_MESSAGE, message_of, words_of
from schemas.model import datasets, fields_of
from tests.events import sample

PACKETS = sorted(name for name, dataset in datasets().items() if dataset.envelope == "packet")


@pytest.mark.parametrize("name", PACKETS)
def test_templates_name_fields_of_their_dataset(name: str) -> None:
    dataset = datasets()[name]
    known = fields_of(dataset)
    named = [
        ".".join(path) for word in words_of(dataset.message) for paths, _ in word.fields for path in paths
    ]
    assert [field for field in named if field not in known] == []
    assert not re.search(r"[{}]", message_of(sample(name), dataset))
    assert message_of(sample(name), dataset).strip()


def test_what_is_not_there_is_left_out() -> None:
    dns = datasets()["dns"]
    event = {"dns": {"question": {"name": "a.example", "type": "A"}, "resolved_ip": []}}
    assert message_of(event, dns) == "DNS A a.example"
    event["dns"]["resolved_ip"] = [f"192.0.2.{number}" for number in range(7)]
    assert message_of(event, dns).endswith(" 192.0.2.0,192.0.2.1,192.0.2.2,192.0.2.3,192.0.2.4,...")
    assert message_of({}, dns) == "DNS"


def test_the_first_of_alternatives_that_is_there_is_used() -> None:
    mysql = datasets()["mysql"]
    assert message_of({"method": "SELECT"}, mysql) == "MySQL SELECT"
    assert message_of({"method": "SELECT", "query": "SELECT 1"}, mysql) == "MySQL SELECT 1"


@given(st.text(max_size=3000))
def test_a_message_is_capped(name: str) -> None:
    message = message_of({"dns": {"question": {"name": name}}}, datasets()["dns"])
    assert len(message) <= MAX_MESSAGE
    assert message.startswith("DNS ")
