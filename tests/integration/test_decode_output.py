"""Where the lines of `netflight decode` go: a reader that leaves early, a disk that is full."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import PATIENCE

pytestmark = pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")
ROOT = Path(__file__).resolve().parents[2]
DECODE = (sys.executable, "-m", "cockpit", "decode", "-q")
SMALL, LARGE = ROOT / "samples" / "web" / "capture.pcap", ROOT / "samples" / "office_day" / "capture.pcap"


@pytest.mark.parametrize("capture", [SMALL, LARGE], ids=["within a buffer", "beyond it"])
def test_a_reader_that_leaves_early_is_no_error(capture: Path) -> None:
    child = subprocess.Popen(
        [*DECODE, capture], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    child.stdout.close()
    _, said = child.communicate(timeout=PATIENCE)
    assert (child.returncode, said) == (0, "")


@pytest.mark.parametrize("capture", [SMALL, LARGE], ids=["within a buffer", "beyond it"])
def test_a_full_disk_is_one_line_that_says_what_to_do(capture: Path) -> None:
    done = subprocess.run(
        [*DECODE, capture, "-o", "/dev/full"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    said = "the events are not complete (make room and run the same command again)"
    assert done.stderr.splitlines() == [f"error: /dev/full: No space left on device; {said}"]


def test_names_that_are_not_utf_8_are_escaped_and_stop_nothing(tmp_path: Path) -> None:
    captures, data = tmp_path / "captures", SMALL.read_bytes()
    captures.mkdir()
    for name, content in [
        ("a\udcff.pcap", data),
        ("b.pcap", data),
        ("c\udcfe.pcap", data[:100]),
        ("d\udcfd", b"-"),
    ]:
        (captures / name).write_bytes(content)
    output, summary = tmp_path / "events\udcfc", tmp_path / "summary\udcfb"
    argv = [*DECODE[:-1], captures, "-o", output, "--summary", summary]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1  # one of the captures is cut off
    assert r"error: c\xfe.pcap: truncated at packet 2" in done.stderr
    paths = {event["log"]["file"]["path"] for event in map(json.loads, output.read_bytes().splitlines())}
    assert paths == {rf"{captures}/a\xff.pcap", f"{captures}/b.pcap", rf"{captures}/c\xfe.pcap"}
    told = json.loads(summary.read_bytes())
    assert [item["path"] for item in told["skipped"]] == [rf"{captures}/d\xfd"]
    assert told["captures"] == 3
