"""Where the lines of `netflight decode` go: a reader that leaves early, a disk that is full."""

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
