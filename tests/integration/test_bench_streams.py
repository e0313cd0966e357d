"""A short run of `bench streams`: both sides count right and tell their figures; no speed is tested."""

import subprocess
from pathlib import Path

import orjson
import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_both_sides_tell_their_figures() -> None:
    done = subprocess.run(
        [ROOT / "netflight", "bench", "streams", "--json", "--events", "120000", "--runs", "1"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = orjson.loads(done.stdout.splitlines()[-1])
    ours, theirs = told["ours"], told["theirs"]
    assert told["ratio"] == pytest.approx(ours["events_per_second"] / theirs["events_per_second"], rel=0.02)
    assert told["events_per_second"] == ours["events_per_second"]
    for side in (ours, theirs):
        assert len(side["runs"]) == 1
        assert min(side[name] for name in ("seconds", "cpu_us_per_event", "rss_bytes", "changelog_rows")) > 0
    assert list(told["keys"]) == ["1", "10", "100"]
    assert [keys["rows"] for keys in told["keys"].values()] == sorted(
        keys["rows"] for keys in told["keys"].values()
    )
    assert told["recovery"]["rows"] == told["keys"]["100"]["changelog_rows"]
    assert told["recovery"]["seconds"] > 0
