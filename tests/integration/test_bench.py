"""Short runs of the benchmarks: both sides run, count the same packets and tell their figures; no speed is tested."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import orjson
import pytest

from bench.support.measure import in_child
from bench.support.record_bulk import PROGRAMS, record_bulk
from tests.damage import capinfos

pytestmark = [
    pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed"),
]
ROOT = Path(__file__).resolve().parents[2]
DAY = ROOT / "samples" / "office_day" / "capture.pcap"
PACKETS, IN_FLOWS = 3_263, 3_233  # case.yaml of the sample
MIB = 1 << 20


def bench(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [ROOT / "netflight", "bench", *arguments], capture_output=True, text=True, check=False
    )


def figures(*arguments: str | Path) -> dict[str, Any]:
    done = bench(*arguments, "--json", "--runs", "1")
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = orjson.loads(done.stdout.splitlines()[-1])
    return told


def test_engine_tells_the_flows_of_both_sides_and_their_ratio() -> None:
    told = figures("engine", "--capture", DAY)
    assert (told["bench"], told["capture"], told["packets"]) == ("engine", str(DAY), PACKETS)
    ours, theirs = told["ours"], told["theirs"]
    assert theirs["name"] == "nfstream 6.6.0"
    assert ours["in_flows"] == IN_FLOWS
    assert 0 < theirs["in_flows"] <= ours["in_flows"]
    assert min(ours["flows"], theirs["flows"]) > 0
    assert told["ratio"] == pytest.approx(theirs["seconds"] / ours["seconds"], rel=0.01)
    alone = told["one_core"]
    assert alone["cores"] == 1
    assert alone["theirs"]["options"]["n_meters"] == 1
    assert alone["ratio"] == pytest.approx(alone["theirs"]["seconds"] / alone["ours"]["seconds"], rel=0.01)
    assert told["packets_per_second"] == pytest.approx(PACKETS / alone["ours"]["seconds"], rel=0.01)
    assert told["bits_per_second"] > 0


def test_producer_tells_the_seconds_of_both_sides_and_their_ratio() -> None:
    told = figures("producer", "--capture", DAY)
    assert (told["bench"], told["capture"], told["packets"]) == ("producer", str(DAY), PACKETS)
    assert told["fields"] == 60
    assert told["ratio"] == pytest.approx(told["ours"]["seconds"] / told["theirs"]["seconds"], rel=0.01)
    assert "bulk_ratio" not in told


def test_a_table_is_for_people() -> None:
    done = bench("engine", "--capture", DAY, "--runs", "1")
    assert done.returncode == 0, done.stderr
    assert "packets/s" in done.stdout
    assert "theirs" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["nosuch"],
            "error: bench nosuch: there is no such benchmark (one of engine, memory, producer, streams)",
        ),
        (["engine", "--capture", "no.pcap"], "error: no.pcap: no such file (--capture names a capture file)"),
    ],
)
def test_what_cannot_be_measured_is_one_line(arguments: list[str], line: str) -> None:
    done = bench(*arguments, "--json")
    assert (done.returncode, done.stdout, done.stderr.splitlines()[-1]) == (2, "", line)


def test_the_list_names_every_benchmark() -> None:
    listed = [line.split()[0] for line in bench().stdout.splitlines() if not line.startswith(" ")]
    assert listed == ["engine", "memory", "producer", "streams"]


def test_memory_stays_flat_over_a_looped_capture() -> None:
    told = in_child("bench.memory", "looped", str(DAY), "3000000")
    assert told["closes"]
    assert told["packets"] >= 3_000_000
    assert len(told["samples"]) == 3
    assert told["growth_bytes"] < 8 * MIB


def test_open_flows_take_less_than_a_kilobyte_each() -> None:
    flows = 200_000
    none, many = (in_child("bench.memory", "concurrent", str(number)) for number in (1_000, flows))
    assert (many["complete"], many["ended_early"], many["closes"]) == (flows, 0, True)
    assert many["open_bytes"] - none["open_bytes"] < flows * 800


@pytest.mark.skipif(os.geteuid() != 0, reason="recording needs root")
@pytest.mark.skipif(
    any(shutil.which(name) is None for name in PROGRAMS), reason=f"needs {', '.join(PROGRAMS)}"
)
def test_the_bulk_capture_is_recorded_whole(tmp_path: Path) -> None:
    path = tmp_path / "bulk.pcap"
    record_bulk(path, packets=5_000)
    assert capinfos([path])[path].packets >= 5_000
    assert [entry.name for entry in tmp_path.iterdir()] == ["bulk.pcap"]
    argv = ["tshark", "-n", "-r", path, "-Y", "tls.handshake.type == 2 && frame.cap_len == frame.len"]
    assert "Server Hello" in subprocess.run(argv, capture_output=True, text=True, check=True).stdout
