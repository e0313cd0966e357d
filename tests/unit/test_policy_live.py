"""A policy is read again when its file has changed, and a broken version is refused."""

import logging
import os
import time
from pathlib import Path

import numpy as np
import pytest

from producers.engine.kernel.layout import DECODE, FACTS, RECORD
from producers.engine.policy import policy as module
from producers.engine.policy.policy import LivePolicy, load_policy
from producers.engine.policy.source import PolicyError
from producers.sources.packet import RawPacket, block_of

BLOCK = block_of([RawPacket(1, 0, 1, b"\0" * 60, 60, "eth0")])


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETFLIGHT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(module, "_LOOK_SECONDS", 0.0)
    file = tmp_path / "live.yaml"
    write(file, "{decode: all, record: none}")
    return file


def write(path: Path, then: str) -> None:
    draft = path.with_suffix(".part")
    draft.write_text(f"rules: [{{name: one, then: {then}}}]\n")
    draft.replace(path)


def verdict(policy: LivePolicy) -> int:
    facts = np.zeros(1, FACTS)
    policy.admit(facts, BLOCK)
    policy.decide(facts, BLOCK)
    return int(facts["verdict"][0])


def until(policy: LivePolicy, wanted: int) -> None:
    end = time.monotonic() + 60
    while verdict(policy) != wanted:
        assert time.monotonic() < end, f"the verdict is still {verdict(policy)}"
        time.sleep(0.05)


def test_a_changed_file_is_read_again_and_counts_go_on(path: Path) -> None:
    policy = LivePolicy(path)
    assert verdict(policy) == DECODE
    write(path, "{decode: none, record: full}")
    until(policy, RECORD)
    figures = policy.figures()["one"]
    assert figures["packets"] == figures["decoded_packets"] + figures["recorded_packets"]
    assert figures["decoded_packets"] >= 1
    assert figures["recorded_packets"] >= 1


def test_a_broken_version_is_refused(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    policy = LivePolicy(path)
    with caplog.at_level(logging.WARNING):
        write(path, "{decode: al}")
        end = time.monotonic() + 60
        while not caplog.messages:
            assert verdict(policy) == DECODE
            assert time.monotonic() < end
    assert caplog.messages[0].startswith("live.yaml:1:36: there is no 'al' here (did you mean all?)")
    assert "the policy as it was stays" in caplog.messages[0]
    assert verdict(policy) == DECODE
    write(path, "{decode: all, record: full}")
    until(policy, DECODE | RECORD)


def test_a_file_that_is_gone_changes_nothing(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    policy = LivePolicy(path)
    path.unlink()
    end = time.monotonic() + 60
    while not caplog.messages:
        assert verdict(policy) == DECODE
        assert time.monotonic() < end
    assert "no such policy" in caplog.messages[0]
    assert verdict(policy) == DECODE


def test_the_first_version_has_to_be_right(path: Path) -> None:
    write(path, "dropp")
    with pytest.raises(PolicyError, match=r"live.yaml:1:27: there is no action 'dropp'"):
        LivePolicy(path)


def test_compiled_code_is_found_again(path: Path) -> None:
    first = load_policy(path)
    folder = Path(os.environ["NETFLIGHT_CACHE"]) / "policies"
    (file,) = folder.glob("*/rules.py")
    stamp = file.stat().st_mtime_ns
    assert file.read_text() == first.source
    assert load_policy(path).source == first.source
    assert file.stat().st_mtime_ns == stamp, "numba compiles again for a file that was written again"
