"""Holds every destination of the registry to sinks/base.py, on the real thing."""

from collections.abc import Callable
from typing import NamedTuple

import orjson
import pytest

from runtime.settings import KafkaSettings, Settings
from schemas.topics import topic
from sinks.base import Message, Verdict
from sinks.registry import DESTINATIONS, destination
from tests.events import sample
from tests.integration.sinking import documents, ids, sink_settings


class Bench(NamedTuple):
    """How to look into a destination: the ids of what it holds, and whether it can tell a duplicate."""

    held: Callable[[Settings], list[str]]
    knows_duplicates: bool


BENCHES = {"elasticsearch": Bench(documents, knows_duplicates=True)}


@pytest.fixture
def settings(namespace: str, kafka: KafkaSettings, elasticsearch_url: str) -> Settings:
    return sink_settings(namespace, kafka, elasticsearch_url)


def messages(settings: Settings, values: list[bytes]) -> list[Message]:
    return [Message(topic(settings.namespace, "dns"), 0, i, None, value) for i, value in enumerate(values)]


def test_every_destination_has_a_bench() -> None:
    assert set(BENCHES) == set(DESTINATIONS)


@pytest.mark.parametrize("name", sorted(BENCHES))
def test_verdicts_come_in_order_and_say_what_is_held(name: str, settings: Settings) -> None:
    events = [sample("dns", settings.namespace, number) for number in range(3)]
    good = [orjson.dumps(event) for event in events]
    target = destination(name, settings)
    target.check()
    target.check()
    results = target.deliver(messages(settings, [good[0], b"{nope", good[1], b"", good[2]]))
    verdicts = [result.verdict for result in results]
    yes, no = Verdict.DELIVERED, Verdict.REJECTED
    assert verdicts == [yes, no, yes, no, yes]
    assert all(result.reason and result.error for result in results if result.verdict is no)
    assert BENCHES[name].held(settings) == ids(events)
    target.close()


@pytest.mark.parametrize("name", sorted(BENCHES))
def test_delivered_twice_is_held_once(name: str, settings: Settings) -> None:
    events = [sample("dns", settings.namespace, number) for number in range(3)]
    target = destination(name, settings)
    target.check()
    batch = messages(settings, [orjson.dumps(event) for event in events])
    target.deliver(batch)
    again = Verdict.DUPLICATE if BENCHES[name].knows_duplicates else Verdict.DELIVERED
    assert [result.verdict for result in target.deliver(batch)] == [again] * 3
    # Twice in one batch, too.
    twice = messages(settings, [orjson.dumps(sample("dns", settings.namespace, 9))] * 2)
    assert [result.verdict for result in target.deliver(twice)] == [Verdict.DELIVERED, again]
    if BENCHES[name].knows_duplicates:
        assert BENCHES[name].held(settings) == ids([*events, sample("dns", settings.namespace, 9)])
    target.close()
