"""Our readers against tshark's: the same frames, the same times, the same lengths."""

import random
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from struct import pack

import pytest

from producers.sources.errors import max_packet
from producers.sources.opening import expand, open_path
from runtime.errors import CaptureError
from tests.captures import captures
from tests.packets import pcap

SECOND = 10**9
SAMPLE = Path(__file__).resolve().parents[2] / "samples" / "web" / "capture.pcap"
Frame = tuple[int, int, int]  # nanoseconds, length on the wire, captured length

pytestmark = pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")


def tshark(path: str, *, damaged: bool = False) -> list[tuple[Decimal, int, int]]:
    fields = ["-e", "frame.time_epoch", "-e", "frame.len", "-e", "frame.cap_len"]
    command = ["tshark", "-n", "-r", path, "-T", "fields", *fields]
    done = subprocess.run(command, capture_output=True, check=not damaged, text=True)
    assert damaged == (done.returncode != 0), done.stderr
    lines = done.stdout.splitlines()
    return [(Decimal(time), int(wire), int(captured)) for time, wire, captured in map(str.split, lines)]


def ours(path: str) -> list[Frame]:
    packets = [packet for block in open_path(path).blocks() for packet in block]
    assert [packet.frame for packet in packets] == list(range(1, len(packets) + 1))
    return [(packet.time_ns, packet.wire_length, len(packet.data)) for packet in packets]


def sample() -> list[str]:
    """Every third pcapng file, and every seventh of the others."""
    every = expand([str(captures())]).captures
    return [path for number, path in enumerate(every) if number % (3 if path.endswith("ng") else 7) == 0]


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


@pytest.mark.parametrize("form", ["pcap", "nsecpcap", "modpcap", "pcapng"])
def test_of_a_capture_cut_off_as_much_is_read(tmp_path: Path, form: str) -> None:
    whole, cut = tmp_path / f"whole.{form}", tmp_path / f"cut.{form}"
    subprocess.run(["editcap", "-F", form, SAMPLE, whole], check=True, capture_output=True)
    content = whole.read_bytes()
    cut.write_bytes(content[: len(content) * 9 // 10])
    wanted = tshark(str(cut), damaged=True)
    got, error = until_damage(str(cut))
    assert [frame[1:] for frame in got] == [frame[1:] for frame in wanted]
    assert f"truncated at packet {len(wanted) + 1:,} " in error


@pytest.mark.parametrize("chance", range(6))
def test_of_a_damaged_capture_as_much_is_read(tmp_path: Path, chance: int) -> None:
    """A length made absurd: both stop at the same packet."""
    lengths = random.Random(chance)
    whole, bad = tmp_path / "whole.pcap", tmp_path / "bad.pcap"
    form = "pcapng" if chance % 2 else "pcap"
    subprocess.run(["editcap", "-F", form, SAMPLE, whole], check=True, capture_output=True)
    content = bytearray(whole.read_bytes())
    packets = [packet for block in open_path(str(whole)).blocks() for packet in block]
    victim = packets[lengths.randrange(1, len(packets))].data
    place = content.rindex(victim) - 8
    content[place : place + 4] = pack("<I", lengths.choice([262_145, 2**31, 2**32 - 1, 2**24]))
    bad.write_bytes(content)
    wanted = tshark(str(bad), damaged=True)
    got, error = until_damage(str(bad))
    assert got
    assert [frame[1:] for frame in got] == [frame[1:] for frame in wanted]
    assert "is not possible" in error


def until_damage(path: str) -> tuple[list[Frame], str]:
    """What is read before the error, and the error."""
    got: list[Frame] = []
    try:
        for block in open_path(path).blocks():
            got += [(packet.time_ns, packet.wire_length, len(packet.data)) for packet in block]
    except CaptureError as error:
        return got, str(error)
    pytest.fail(f"{path} is not found to be damaged")


@pytest.mark.parametrize(
    ("linktype", "longest"),
    [(1, 262_144), (189, 128 << 20), (279, 8 << 20)],
)
def test_the_longest_packet_believed_is_wireshark_s(tmp_path: Path, linktype: int, longest: int) -> None:
    assert max_packet(linktype) == longest
    for length in (longest, longest + 1):
        path = tmp_path / "long.pcap"
        with path.open("wb") as capture:
            capture.write(pcap([], linktype=linktype) + pack("<IIII", 1, 1, length, length))
            capture.truncate(24 + 16 + length)
        told = subprocess.run(["capinfos", "-c", path], check=False, capture_output=True)
        assert (told.returncode == 0) == (length == longest)
        if length == longest:
            assert [frame[1:] for frame in ours(str(path))] == [(length, length)]
        else:
            assert f"a packet of {length:,} bytes is not possible" in until_damage(str(path))[1]
