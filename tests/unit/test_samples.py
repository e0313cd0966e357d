"""The sample captures as recorded: small, complete, counted right, and nothing of the machine in them."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from samples.record.readme import table
from samples.record.scenes import SCENES

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
NAMES = sorted(SCENES)
needs_tshark = pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")


def case(name: str) -> dict[str, Any]:
    told: dict[str, Any] = yaml.safe_load((SAMPLES / name / "case.yaml").read_text())
    return told


def rows(name: str, *argv: str) -> list[str]:
    command = ["tshark", "-n", "-r", str(SAMPLES / name / case(name)["capture"]), *argv]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def test_the_samples_are_those_of_the_recorder() -> None:
    assert sorted(path.parent.name for path in SAMPLES.glob("*/case.yaml")) == NAMES


def test_all_samples_together_are_below_five_megabytes() -> None:
    sizes = {path: path.stat().st_size for path in SAMPLES.glob("*/capture.*")}
    assert len(sizes) == len(NAMES)
    assert max(sizes.values()) < 1_000_000
    assert sum(sizes.values()) < 5_000_000


def test_both_capture_formats_are_there() -> None:
    assert {path.suffix for path in SAMPLES.glob("*/capture.*")} == {".pcap", ".pcapng"}


def test_the_readme_has_the_table_of_today() -> None:
    assert table(SAMPLES) in (SAMPLES / "README.md").read_text()


@pytest.mark.parametrize("name", NAMES)
def test_a_case_says_what_must_come_out(name: str) -> None:
    told = case(name)
    assert {"title", "recorded", "capture", "packets", "events", "contains"} <= set(told)
    assert (SAMPLES / name / told["capture"]).is_file()
    packets = told["packets"]
    assert packets["read"] == packets["in_flows"] + packets["not_ip"] + packets["malformed"]
    assert all(re.fullmatch(r"network_traffic\.\w+", dataset) for dataset in told["events"])
    assert all(isinstance(count, int) and count > 0 for count in told["events"].values())
    assert told["contains"]
    assert all(event["event.dataset"].startswith("network_traffic.") for event in told["contains"])


@needs_tshark
@pytest.mark.parametrize("name", NAMES)
def test_tshark_counts_as_many_packets(name: str) -> None:
    times = [float(row) for row in rows(name, "-T", "fields", "-e", "frame.time_epoch")]
    assert len(times) == case(name)["packets"]["read"]
    assert times == sorted(times)
    assert times[-1] - times[0] < 60, "an idle time-out would split the flows that are counted"


@needs_tshark
@pytest.mark.parametrize("name", NAMES)
def test_checksums_and_sizes_are_those_of_a_cable(name: str) -> None:
    check = [word for layer in ("ip", "tcp", "udp") for word in ("-o", f"{layer}.check_checksum:TRUE")]
    wrong = " || ".join(f"{layer}.checksum.status == 0" for layer in ("ip", "tcp", "udp", "icmp", "icmpv6"))
    assert rows(name, *check, "-Y", f"{wrong} || frame.len > 1514") == []


@needs_tshark
@pytest.mark.parametrize("name", NAMES)
def test_addresses_are_from_documentation_ranges_and_locally_administered(name: str) -> None:
    fields = ("-T", "fields", "-E", "occurrence=f", "-e", "ip.src", "-e", "ipv6.src", "-e", "eth.src")
    allowed = re.compile(
        r"(192\.0\.2\.\d+|198\.51\.100\.\d+|0\.0\.0\.0)?\t(2001:db8:[0-9a-f:]+|fe80:[0-9a-f:]+)?\t02:00:[0-9a-f:]+"
    )
    assert [row for row in rows(name, *fields) if not allowed.fullmatch(row)] == []


def test_no_private_key_is_kept() -> None:
    kept = [path for path in SAMPLES.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert [path.name for path in kept if b"PRIVATE KEY-----" in path.read_bytes()] == []
