import socket
from collections.abc import Iterator

import pytest

from runtime.errors import ConfigError, UsageError
from runtime.settings import Settings
from schemas.topics import topic
from sinks.base import Message, RetryLater
from sinks.registry import DESTINATIONS, destination

NAMES = sorted(DESTINATIONS)


@pytest.fixture
def nowhere() -> Iterator[Settings]:
    """Settings that lead to a port where nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        yield Settings(elasticsearch={"urls": [url]})


@pytest.mark.parametrize("name", NAMES)
def test_unreachable_destination_asks_to_be_tried_later(name: str, nowhere: Settings) -> None:
    target = destination(name, nowhere)
    message = Message(topic("default", "dns"), 0, 0, None, b"{}")
    with pytest.raises(RetryLater):
        target.check()
    with pytest.raises(RetryLater) as later:
        target.deliver([message])
    assert later.value.reason
    assert "127.0.0.1" in str(later.value)
    target.close()


@pytest.mark.parametrize("name", NAMES)
def test_nothing_to_deliver_is_nothing_to_do(name: str, nowhere: Settings) -> None:
    target = destination(name, nowhere)
    assert list(target.deliver([])) == []
    target.close()
    target.close()


@pytest.mark.parametrize("name", NAMES)
def test_limits_let_a_batch_be_made(name: str, nowhere: Settings) -> None:
    limits = destination(name, nowhere).limits
    assert limits.messages >= 1
    assert limits.bytes >= 1
    assert limits.seconds > 0


def test_unknown_destination_is_named_with_those_that_there_are() -> None:
    with pytest.raises(UsageError, match=r"sink nowhere.*elasticsearch"):
        destination("nowhere", Settings())


def test_url_that_is_none_is_a_settings_error() -> None:
    with pytest.raises(ConfigError, match=r"elasticsearch\.urls"):
        destination("elasticsearch", Settings(elasticsearch={"urls": ["not a url"]}))
