"""Files, folders and pipes: what is opened, what is skipped, and the one line for what is neither."""

import gzip
import os
import random
import threading
import tracemalloc
from pathlib import Path

import pytest
import zstandard

from producers.sources.opening import expand, open_path
from producers.sources.packet import RawPacket, Source
from producers.sources.reading import BLOCK_PACKETS, WINDOW
from producers.sources.stdin import StdinSource
from runtime.errors import CaptureError, NotACaptureError, UsageError
from tests.packets import enhanced, interface, pcap, read, section

PACKETS = [(10**18 + number * 1000, bytes([number % 256]) * 70, 70) for number in range(2_500)]
CAPTURE = pcap(PACKETS)


def collect(source: Source, into: list[RawPacket]) -> None:
    for block in source.blocks():
        into += block


def packets(source: Source) -> list[RawPacket]:
    return [packet for block in source.blocks() for packet in block]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "late.pcapng").write_bytes(section() + interface())
    (tmp_path / "a.pcap").write_bytes(CAPTURE)
    (tmp_path / "c.gz").write_bytes(gzip.compress(CAPTURE))
    (tmp_path / "d.zst").write_bytes(zstandard.compress(CAPTURE))
    (tmp_path / "notes.txt").write_text("no capture")
    (tmp_path / "none").touch()
    (tmp_path / "cut.gz").write_bytes(gzip.compress(CAPTURE)[:11])
    (tmp_path / "other.gz").write_bytes(gzip.compress(b"no capture either"))
    os.mkfifo(tmp_path / "pipe")
    return tmp_path


def test_a_folder_is_its_captures_sorted_and_the_rest_is_named(folder: Path) -> None:
    found = expand([str(folder)])
    names = [Path(path).relative_to(folder).as_posix() for path in found.captures]
    assert names == ["a.pcap", "b/late.pcapng", "c.gz", "d.zst"]
    assert {Path(path).name: reason for path, reason in found.skipped} == {
        "cut.gz": "the gzip data is cut off",
        "none": "empty, not a capture",
        "notes.txt": "not a capture",
        "other.gz": "not a capture",
        "pipe": "not a regular file",
    }


def test_what_is_named_stays_so_that_the_others_are_still_read(folder: Path) -> None:
    named = [str(folder / "notes.txt"), str(folder / "missing"), "-", str(folder / "a.pcap")]
    assert expand(named) == (named, [])


@pytest.mark.parametrize(
    ("name", "kind", "line"),
    [
        ("notes.txt", NotACaptureError, "notes.txt: not a capture (pcap and pcapng are read"),
        ("none", NotACaptureError, "none: empty, not a capture"),
        ("missing", UsageError, "missing: no such file"),
        ("a.pcap/inside", UsageError, "inside: no such file"),
        ("empty", UsageError, "empty: no capture in this folder"),
    ],
)
def test_each_bad_path_is_one_clear_line(folder: Path, name: str, kind: type[Exception], line: str) -> None:
    (folder / "empty").mkdir()
    (path,) = expand([str(folder / name)]).captures
    with pytest.raises(kind) as error:
        open_path(path)
    assert line in str(error.value)
    assert "\n" not in str(error.value)


def test_a_header_without_packets_is_a_capture(tmp_path: Path) -> None:
    for name, content in {"pcap": pcap([]), "pcapng": section() + interface()}.items():
        path = tmp_path / name
        path.write_bytes(content)
        assert packets(open_path(str(path))) == []


def test_the_same_packets_come_from_file_gzip_pipe_and_named_pipe(folder: Path) -> None:
    expected = packets(open_path(str(folder / "a.pcap")))
    assert len(expected) == len(PACKETS)
    assert packets(open_path(str(folder / "c.gz"))) == expected
    assert packets(open_path(str(folder / "d.zst"))) == expected

    def write(path: Path | int, content: bytes) -> None:
        with open(path, "wb") as stream:  # noqa: PTH123  (also a descriptor)
            stream.write(content)

    for content in (CAPTURE, gzip.compress(CAPTURE), zstandard.compress(CAPTURE)):
        reader, writer = os.pipe()
        thread = threading.Thread(target=write, args=(writer, content), daemon=True)
        thread.start()
        with open(reader, "rb") as stream:  # noqa: PTH123  (a descriptor)
            assert packets(StdinSource(stream)) == expected
        thread.join()
    thread = threading.Thread(target=write, args=(folder / "pipe", CAPTURE), daemon=True)
    thread.start()
    assert packets(open_path(str(folder / "pipe"))) == expected
    thread.join()


def test_a_pipe_hands_on_what_has_come_before_it_ends() -> None:
    reader, writer = os.pipe()
    os.write(writer, CAPTURE[: 24 + 86 * 3 + 10])
    with open(reader, "rb") as stream:  # noqa: PTH123  (a descriptor)
        blocks = StdinSource(stream).blocks()
        assert len(next(blocks)) == 3
        os.write(writer, CAPTURE[24 + 86 * 3 + 10 : 24 + 86 * 5])
        assert len(next(blocks)) == 2
        os.close(writer)
        assert list(blocks) == []


def test_a_pipe_without_a_capture_is_one_clear_line() -> None:
    for content, line in (
        (b"", "stdin: empty"),
        (b"hello, world", "stdin: not a capture"),
        (b"\x0a", "not a"),
    ):
        reader, writer = os.pipe()
        os.write(writer, content)
        os.close(writer)
        with open(reader, "rb") as stream, pytest.raises(NotACaptureError, match=line):  # noqa: PTH123
            packets(StdinSource(stream))


@pytest.fixture
def long(tmp_path: Path) -> Path:
    path = tmp_path / "long.pcap"
    path.write_bytes(CAPTURE + CAPTURE[24:] * 20)
    return path


def test_blocks_are_of_bounded_size_and_progress_reaches_one(long: Path) -> None:
    source = open_path(str(long))
    assert source.progress == 0
    blocks = list(source.blocks())
    assert len(blocks[0]) == BLOCK_PACKETS
    assert all(0 < len(block) <= BLOCK_PACKETS for block in blocks)
    ends = [block.first_frame + len(block) for block in blocks]
    assert [block.first_frame for block in blocks] == [1, *ends[:-1]]
    assert ends[-1] == 1 + 21 * len(PACKETS)
    assert source.progress == 1
    assert source.path == str(long)


def test_a_packet_across_windows_is_whole(long: Path) -> None:
    capture = long.read_bytes()
    assert len(capture) > WINDOW
    expected = read(CAPTURE)
    got = [packet for block in open_path(str(long)).blocks() for packet in block]
    assert [packet.frame for packet in got] == list(range(1, 21 * len(PACKETS) + 1))
    assert [packet[1:] for packet in got] == [packet[1:] for packet in expected] * 21


def test_stop_ends_a_file_early_without_an_error(long: Path) -> None:
    source = open_path(str(long))
    count = 0
    for block in source.blocks():
        count += len(block)
        source.stop()
    assert count == BLOCK_PACKETS


PACKED = {"gzip": lambda data: gzip.compress(data, 1), "zstd": zstandard.compress}
CHANCE = random.Random(7)
NOISE = [(0, CHANCE.randbytes(70), 70) for _ in range(5_000)]


@pytest.mark.parametrize("kind", PACKED)
@pytest.mark.parametrize("keep", [0.5, 0.9])
def test_cut_off_compression_is_a_capture_error_after_its_packets(
    tmp_path: Path, kind: str, keep: float
) -> None:
    capture = pcap(NOISE)
    whole = PACKED[kind](capture)
    path = tmp_path / "capture"
    path.write_bytes(whole[: int(len(whole) * keep)])
    got: list[RawPacket] = []
    match = rf"capture: the {kind} data is cut off; the [0-9,]+ packets? before"
    with pytest.raises(CaptureError, match=match) as error:
        collect(open_path(str(path)), got)
    assert f"{len(got):,}" in str(error.value)
    assert got
    assert got == read(capture)[: len(got)]


@pytest.mark.parametrize("kind", PACKED)
def test_damaged_compression_is_a_capture_error_after_its_packets(tmp_path: Path, kind: str) -> None:
    capture = pcap(NOISE)
    if kind == "gzip":
        whole = gzip.compress(capture, 1)[:-8] + bytes(8)  # its checksum
    else:
        whole = zstandard.ZstdCompressor(write_checksum=True).compress(capture)[:-4] + bytes(4)
    path = tmp_path / "capture"
    path.write_bytes(whole)
    got: list[RawPacket] = []
    match = rf"capture: the {kind} data is damaged .* packets before"
    with pytest.raises(CaptureError, match=match) as error:
        collect(open_path(str(path)), got)
    assert f"the {len(got):,} packets" in str(error.value)
    assert len(got) > 500
    assert got == read(capture)[: len(got)]


def test_members_of_gzip_follow_each_other_and_padding_is_fine(tmp_path: Path) -> None:
    path = tmp_path / "capture.gz"
    path.write_bytes(gzip.compress(CAPTURE[:50_001]) + gzip.compress(CAPTURE[50_001:]) + bytes(64))
    assert len(packets(open_path(str(path)))) == len(PACKETS)


def test_frames_of_zstd_follow_each_other_and_skippable_ones_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "capture.zst"
    note = b"\x50\x2a\x4d\x18" + (5_000).to_bytes(4, "little") + bytes(5_000)
    frames = [zstandard.compress(CAPTURE[:3]), zstandard.compress(CAPTURE[3:50_001])]
    stream = zstandard.ZstdCompressor(level=19).compressobj()
    frames += [stream.compress(CAPTURE[50_001:]) + stream.flush()]
    path.write_bytes(note + note.join(frames) + note)
    assert len(packets(open_path(str(path)))) == len(PACKETS)


@pytest.mark.parametrize("kind", PACKED)
def test_a_packed_bomb_is_read_in_small_pieces(tmp_path: Path, kind: str) -> None:
    one = enhanced(0, 0, bytes(60_000), 60_000)
    path = tmp_path / "bomb"
    path.write_bytes(PACKED[kind](section() + interface() + one * 2_000))
    tracemalloc.start()
    count = sum(len(block) for block in open_path(str(path)).blocks())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 2_000
    assert peak < 48 << 20
