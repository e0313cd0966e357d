"""The real servers for the tests that ask for them: one stack a session, started when the first test wants it."""

import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from cockpit.stack import Stack, up
from runtime.kafka import admin, delete_topics
from runtime.settings import KafkaSettings

INTEGRATION = Path(__file__).parent / "integration"

# What CI says depends on the commit alone; everybody else looks for new examples each time.
hypothesis.settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    hypothesis.settings.load_profile("ci")


_SERVERS = frozenset({"stack", "second"})


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs servers, and say which tests stay together where several processes share the work.

    Those that use the session's servers are one group, so that the servers run once, and the longest, so it comes
    first; of the others, those of a file are one, which share its fixtures.
    """
    for item in items:
        if INTEGRATION in item.path.parents:
            item.add_marker("integration")
        group = "servers" if _uses_servers(item) else item.path.stem
        item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=lambda item: not _uses_servers(item))


def _uses_servers(item: pytest.Item) -> bool:
    return item.path.stem == "test_demo" or not _SERVERS.isdisjoint(getattr(item, "fixturenames", ()))


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """A running Kafka and Elasticsearch of this session's own; a test that kills one starts it again."""
    with up("test", ephemeral=True) as running:
        yield running


@pytest.fixture
def kafka(stack: Stack) -> KafkaSettings:
    """How to reach the session's Kafka."""
    return KafkaSettings(bootstrap=stack.kafka_bootstrap)


@pytest.fixture
def elasticsearch_url(stack: Stack) -> str:
    """Where the session's Elasticsearch is."""
    return stack.elasticsearch_url


@pytest.fixture
def namespace(request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace no other test has. Its topics are deleted afterwards; its documents go with the stack."""
    words = re.sub(r"[^a-z0-9]+", "_", request.node.name.lower()).strip("_")
    name = f"t{secrets.token_hex(4)}_{words}"[:63].rstrip("_")
    yield name
    if "stack" in request.fixturenames:
        running: Stack = request.getfixturevalue("stack")
        settings = KafkaSettings(bootstrap=running.kafka_bootstrap)
        if not running.part_alive("kafka"):
            running.start_server("kafka")
        topics = admin(settings, "test-cleaning").list_topics(timeout=10).topics
        ours = [topic for topic in topics if name in topic]
        if ours:
            delete_topics(settings, ours)
