"""Our readers against tshark's: the same frames, the same times, the same lengths."""

import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path

import pytest

from producers.sources.opening import expand, open_path
from tests.captures import captures

SECOND = 10**9
Frame = tuple[int, int, int]  # nanoseconds, length on the wire, captured length

pytestmark = pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")


def tshark(path: str) -> list[tuple[Decimal, int, int]]:
    fields = ["-e", "frame.time_epoch", "-e", "frame.len", "-e", "frame.cap_len"]
    command = ["tshark", "-n", "-r", path, "-T", "fields", *fields]
    lines = subprocess.run(command, capture_output=True, check=True, text=True).stdout.splitlines()
    return [(Decimal(time), int(wire), int(captured)) for time, wire, captured in map(str.split, lines)]


def ours(path: str) -> list[Frame]:
    packets = [packet for block in open_path(path).blocks() for packet in block]
    assert [packet.frame for packet in packets] == list(range(1, len(packets) + 1))
    return [(packet.time_ns, packet.wire_length, len(packet.data)) for packet in packets]


def sample() -> list[str]:
    """All pcapng files, and every third of the others."""
    every = expand([str(captures())]).captures
    return [path for number, path in enumerate(every) if path.endswith("ng") or number % 3 == 0]


def test_frames_times_and_lengths_are_tshark_s() -> None:
    paths = sample()
    with ThreadPoolExecutor(2) as pool:
        answers = dict(zip(paths, pool.map(tshark, paths), strict=True))
    assert sum(map(len, answers.values())) > 10_000
    for path, wanted in answers.items():
        got = ours(path)
        assert [frame[1:] for frame in got] == [frame[1:] for frame in wanted], path
        # tshark prints a fraction of a second beyond its range as it stands; ours carries it over
        times = [
            (mine[0], int(time[0] * SECOND)) for mine, time in zip(got, wanted, strict=True) if plain(time[0])
        ]
        assert [mine for mine, _ in times] == [theirs for _, theirs in times], path
        assert len(times) >= len(got) * 0.9


def plain(time: Decimal) -> bool:
    """Whether tshark's time has nine digits of fraction at most."""
    exponent = time.as_tuple().exponent
    return time >= 0 and isinstance(exponent, int) and exponent >= -9


@pytest.mark.parametrize("form", ["pcap", "nsecpcap", "modpcap", "pcapng"])
def test_what_editcap_writes_is_read_the_same(tmp_path: Path, form: str) -> None:
    source = captures() / "arkime" / "captures" / "bigendian.pcap"
    copy = tmp_path / f"copy.{form}"
    subprocess.run(["editcap", "-F", form, source, copy], check=True, capture_output=True)
    assert ours(str(copy)) == ours(str(source))
    assert ours(str(copy))
