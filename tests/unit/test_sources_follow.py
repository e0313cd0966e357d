"""A folder that captures are being written to: their order, growth, and what goes wrong on the way."""

import gzip
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from producers.sources.follow import FollowSource
from producers.sources.opening import open_folder
from runtime.errors import CaptureError, UsageError
from tests.packets import enhanced, interface, pcap, read, section
from tests.waiting import PATIENCE

if TYPE_CHECKING:
    from producers.sources.packet import RawPacket


def capture(*numbers: int) -> bytes:
    """A capture whose packets carry these numbers."""
    packets = (enhanced(0, 10**15 + number, number.to_bytes(8, "big"), 60) for number in numbers)
    return section() + interface() + b"".join(packets)


class Follower(threading.Thread):
    """Follows a folder and keeps what came."""

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        self.told: list[str] = []
        self.source = FollowSource(folder, self.told.append)
        self.packets: list[RawPacket] = []
        self.empty = 0
        self.error: CaptureError | None = None
        self.start()

    def run(self) -> None:
        try:
            for block in self.source.blocks():
                self.packets += block
                self.empty += not len(block)
        except CaptureError as error:
            self.error = error

    @property
    def numbers(self) -> list[int]:
        return [int.from_bytes(packet.data, "big") for packet in self.packets]

    def wait_for(self, count: int) -> None:
        until = time.monotonic() + PATIENCE
        while len(self.packets) < count:
            assert time.monotonic() < until, self.numbers
            time.sleep(0.01)


@pytest.fixture
def follower(tmp_path: Path) -> Iterator[Follower]:
    read(capture(1))  # the scanner is compiled before anybody waits
    following = Follower(tmp_path)
    yield following
    following.source.stop()
    following.join(PATIENCE)
    assert not following.is_alive()


def end(follower: Follower) -> None:
    follower.source.stop()
    follower.join(PATIENCE)


def put(path: Path, content: bytes) -> None:
    """A file that is there with all it holds at once."""
    hidden = path.with_name(f".{path.name}")
    hidden.write_bytes(content)
    hidden.rename(path)


def test_files_are_one_capture_in_the_order_of_their_change_then_of_their_names(tmp_path: Path) -> None:
    read(capture(1))
    for name, content, seconds in [
        ("ring_10.pcapng", capture(3), 2_000),
        ("ring_9.pcapng", capture(2), 2_000),
        ("z.pcapng.gz", gzip.compress(capture(0, 1)), 1_000),
        ("a.pcapng", capture(4, 5), 3_000),
    ]:
        (tmp_path / name).write_bytes(content)
        os.utime(tmp_path / name, (seconds, seconds))
    follower = Follower(tmp_path)
    follower.wait_for(6)
    end(follower)
    assert follower.numbers == list(range(6))
    assert [packet.frame for packet in follower.packets] == list(range(1, 7))
    assert (follower.error, follower.told) == (None, [])
    assert (follower.source.path, follower.source.live) == (str(tmp_path), True)


def test_the_newest_is_followed_as_it_grows_until_a_newer_one_comes(
    tmp_path: Path, follower: Follower
) -> None:
    whole = capture(*range(100))
    cut = len(whole) // 2 + 7
    put(tmp_path / "one.pcapng", whole[:cut])
    follower.wait_for(40)
    with (tmp_path / "one.pcapng").open("ab") as growing:
        growing.write(whole[cut : cut + 100])
        growing.flush()
        follower.wait_for(50)
        (tmp_path / "two.pcapng").touch()  # begun, but not yet a capture: the first is still the newest
        time.sleep(0.3)
        growing.write(whole[cut + 100 :])
    follower.wait_for(100)
    (tmp_path / "two.pcapng").write_bytes(pcap([(0, (100).to_bytes(8, "big"), 60)]))
    follower.wait_for(101)
    time.sleep(0.3)
    end(follower)
    assert follower.numbers == list(range(101))
    assert follower.empty > 0
    assert follower.error is None


def test_what_cannot_be_read_is_told_and_the_rest_still_comes(tmp_path: Path, follower: Follower) -> None:
    put(tmp_path / "1.pcapng", capture(1, 2)[:-5])
    put(tmp_path / "notes.txt", b"these are notes and no packets")
    put(tmp_path / "2.pcapng", capture(3))
    follower.wait_for(2)
    put(tmp_path / "3.pcap", pcap([(0, b"", 0)])[:-8])
    put(tmp_path / "4.pcapng", capture(4))
    follower.wait_for(3)
    end(follower)
    assert follower.numbers == [1, 3, 4]
    assert any("notes.txt: not a capture" in told for told in follower.told)
    assert "1.pcapng: truncated at packet 2" in " ".join(follower.told)
    assert follower.error is not None
    assert "2 captures were not read to their end" in str(follower.error)


def test_a_file_that_grows_after_its_turn_is_told(tmp_path: Path, follower: Follower) -> None:
    put(tmp_path / "a.pcapng", capture(1))
    follower.wait_for(1)
    put(tmp_path / "b.pcapng", capture(2))
    follower.wait_for(2)
    with (tmp_path / "a.pcapng").open("ab") as late:
        late.write(capture(3))
    end(follower)
    assert follower.numbers == [1, 2]
    assert str(follower.error).startswith("a.pcapng: grew after a newer capture was there")


def test_a_file_that_is_deleted_while_it_is_read_is_read_to_its_end(
    tmp_path: Path, follower: Follower
) -> None:
    with (tmp_path / "a.pcapng").open("wb", buffering=0) as growing:
        growing.write(capture(1))
        follower.wait_for(1)
        (tmp_path / "a.pcapng").unlink()
        growing.write(capture(2))
        follower.wait_for(2)
    put(tmp_path / "a.pcapng", capture(3))  # the name again: another file
    follower.wait_for(3)
    end(follower)
    assert follower.numbers == [1, 2, 3]
    assert follower.error is None


def test_only_one_folder_can_be_followed(tmp_path: Path) -> None:
    file = tmp_path / "a.pcapng"
    file.write_bytes(capture(1))
    for paths in ([str(file)], [str(tmp_path), str(tmp_path)], [str(tmp_path / "missing")], []):
        with pytest.raises(UsageError, match="--follow"):
            open_folder(paths, print)
    assert open_folder([str(tmp_path)], print).path == str(tmp_path)


def test_what_is_renamed_or_compressed_after_it_was_read_is_not_read_again(
    tmp_path: Path, follower: Follower
) -> None:
    put(tmp_path / "a.pcap", pcap([(0, number.to_bytes(8, "big"), 60) for number in range(200)]))
    follower.wait_for(200)
    (tmp_path / "a.pcap").rename(tmp_path / "a.pcap.1")
    with (tmp_path / "a.pcap").open("wb", buffering=0) as growing:
        growing.write(pcap([(1, (200).to_bytes(8, "big"), 60)]))
        follower.wait_for(201)
        packed = gzip.compress((tmp_path / "a.pcap.1").read_bytes())
        with (tmp_path / "a.pcap.1.gz").open("wb", buffering=0) as slow:
            for begin in range(0, len(packed), 97):
                slow.write(packed[begin : begin + 97])
                follower.source.newer()
        (tmp_path / "a.pcap.1").unlink()
        assert not follower.source.newer()  # so that the newest goes on
        growing.write(pcap([(1, (201).to_bytes(8, "big"), 60)])[24:])
        follower.wait_for(202)
    end(follower)
    assert follower.numbers == list(range(202))
    assert (follower.error, follower.told) == (None, [])


@pytest.mark.parametrize("files", [1, 2, 3])
def test_a_ring_that_overwrites_its_files_in_place_is_read_round_by_round(
    tmp_path: Path, follower: Follower, files: int
) -> None:
    for number in range(8):
        with (tmp_path / f"ring{number % files}").open("wb", buffering=0) as file:  # the same inode again
            file.write(capture())
            file.write(capture(*range(10 * number, 10 * number + 10))[len(capture()) :])
            follower.wait_for(10 * number + 10)
    end(follower)
    assert follower.numbers == list(range(80))
    assert [packet.frame for packet in follower.packets] == list(range(1, 81))
    assert follower.error is None


def test_the_rest_of_a_file_that_was_copied_and_truncated_is_read_from_the_copy(
    tmp_path: Path, follower: Follower
) -> None:
    whole = capture(*range(100))
    with (tmp_path / "a.pcapng").open("wb", buffering=0) as growing:
        growing.write(whole[: 28 + 20 + 40 * 60])
        follower.wait_for(50)
        put(tmp_path / "a.pcapng.1", whole)
        growing.truncate(0)
        growing.seek(0)
        follower.wait_for(100)
        growing.write(capture(100))
        follower.wait_for(101)
    end(follower)
    assert follower.numbers == list(range(101))
    assert [packet.frame for packet in follower.packets] == list(range(1, 102))


def test_a_capture_that_was_overwritten_before_its_turn_is_told(tmp_path: Path) -> None:
    read(capture(1))
    told: list[str] = []
    for name, number in [("a", 1), ("b", 2)]:
        put(tmp_path / name, capture(number))
    os.utime(tmp_path / "a", (1, 1))
    source = FollowSource(tmp_path, told.append)
    blocks = source.blocks()
    assert [packet.data[-1] for packet in next(blocks)] == [1]
    put(tmp_path / "c", capture(4))
    with (tmp_path / "b").open("wb") as again:
        again.write(capture(3))
    numbers: list[int] = []
    while len(numbers) < 2:
        numbers += [packet.data[-1] for packet in next(blocks)]
    source.stop()
    with pytest.raises(CaptureError, match="b: overwritten before it was read"):
        list(blocks)
    assert sorted(numbers) == [3, 4]


@pytest.mark.parametrize("pack", [gzip.compress, bytes])
def test_a_capture_that_is_there_twice_is_read_once(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    read(capture(1))
    (tmp_path / "a").write_bytes(capture(1, 2))
    (tmp_path / "b").write_bytes(pack(capture(1, 2)))
    (tmp_path / "c").hardlink_to(tmp_path / "a")
    follower = Follower(tmp_path)
    follower.wait_for(2)
    put(tmp_path / "d", capture(3))
    follower.wait_for(3)
    end(follower)
    assert follower.numbers == [1, 2, 3]
