"""The real servers for the tests that ask for them: one stack a session, started when the first test wants it."""

import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from xdist.scheduler import LoadScopeScheduling

from cockpit.stack import Stack, up
from runtime.kafka import admin, delete_topics
from runtime.settings import KafkaSettings

INTEGRATION = Path(__file__).parent / "integration"

# What CI says depends on the commit alone; everybody else looks for new examples each time. How long an example
# takes is the machine's affair.
hypothesis.settings.register_profile("ci", derandomize=True, deadline=None)
hypothesis.settings.register_profile("anybody", deadline=None)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "anybody")


# The files whose tests use the session's servers, or start servers of their own.
SERVERS = frozenset(
    f"test_{name}"
    for name in (
        *(
            "demo",
            "kibana",
            "pipeline",
            "publisher",
            "sink_contract",
            "sink_elasticsearch",
            "stack",
            "statistics",
            "top",
            "transport",
            "worker",
        ),
        *("bench_streams", "recorder_alerts", "worker_exact", "worker_rules"),
    )
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs servers or tools."""
    for item in items:
        if INTEGRATION in item.path.parents:
            item.add_marker("integration")
        if "stack" in getattr(item, "fixturenames", ()) and item.path.stem not in SERVERS:
            raise pytest.UsageError(
                f"{item.path.name} uses the servers: name it in SERVERS of tests/conftest.py"
            )
        if item.path.stem in SERVERS:
            item.add_marker("servers")


class _Scheduling(LoadScopeScheduling):  # type: ignore[misc]  # its base has no types
    """Tests of a file stay in one process, which shares its fixtures; so do all that decode."""

    def _split_scope(self, nodeid: str) -> str:
        file = Path(nodeid.partition("::")[0]).stem
        return "decoding" if file.startswith("test_decode_") else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> LoadScopeScheduling:
    """How several processes share the suite (`--dist loadscope`)."""
    return _Scheduling(config, log)


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """A running Kafka and Elasticsearch of this session's own; a test that kills one starts it again."""
    with up("test", ephemeral=True, quick=True) as running:
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
