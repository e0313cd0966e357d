"""A disk that is full stops the recording, and nothing else: a small tmpfs, filled by somebody else."""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from producers.recorder.carve import Ring
from producers.recorder.recorder import Recorder
from tests.rings import SECOND, bare, batch_of, carved, conversation, id_of
from tests.waiting import PATIENCE

MIB = 1 << 20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a tmpfs needs root")
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "netflight-test", str(folder)],
        check=False,
        capture_output=True,
        text=True,
    )
    if mounted.returncode != 0:
        pytest.skip(f"mounting a tmpfs is not allowed here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_stops_the_recording_until_there_is_room(disk: Path) -> None:
    told: list[str] = []
    ring = disk / "ring"
    recorder = Recorder(ring, 64 * MIB, segment_bytes=MIB, wait=True, tell=told.append)
    filling = disk / "filling"
    filling.write_bytes(bytes(4 * MIB))
    flows = [conversation(host, 4000, 100, start_ns=host * SECOND) for host in range(60)]  # 6.5 MB in all
    for flow in flows[:50]:
        recorder.write(batch_of(flow))
        recorder.flush()
    assert len(told) == 1
    assert "No space left on device" in told[0]
    assert str(ring) in told[0]
    before = recorder.summary()
    assert before["unrecorded"] == {"No space left on device": 5000 - before["packets"]}
    assert before["packets"] >= 3000
    stored = before["packets"] // 100
    filling.unlink()
    deadline = time.monotonic() + PATIENCE
    while len(told) < 2:
        assert time.monotonic() < deadline, "it does not go on"
        time.sleep(0.1)
    assert f"recording goes on; {5000 - before['packets']:,} packets were not recorded" in told[1]
    for flow in flows[50:]:
        recorder.write(batch_of(flow))
    recorder.close()
    for flow in flows[:stored] + flows[50:]:
        assert bare(carved(ring, id_of(flow))[0]) == bare(flow)
    assert sum(holding.totals.packets for holding in Ring(ring).holdings()) == recorder.summary()["packets"]


def test_closing_on_a_full_disk_keeps_what_is_there(disk: Path) -> None:
    told: list[str] = []
    recorder = Recorder(disk / "ring", 64 * MIB, wait=True, tell=told.append)
    flow = conversation(1, 4000, 100, start_ns=0)
    recorder.write(batch_of(flow))
    recorder.flush()
    with pytest.raises(OSError, match="No space"):
        (disk / "filling").write_bytes(bytes(16 * MIB))
    recorder.close()
    assert len(told) == 1
    assert bare(carved(disk / "ring", id_of(flow))[0]) == bare(flow)
    (disk / "filling").unlink()
    Recorder(disk / "ring", 64 * MIB).close()
    assert [holding.finished for holding in Ring(disk / "ring").holdings()] == [True]
