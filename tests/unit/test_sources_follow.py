"""A folder that captures are being written to: their order, growth, and what goes wrong on the way."""

import gzip
import os
import threading
import time
from collections.abc import Iterator
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
