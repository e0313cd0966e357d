"""The ring keeps to its quota, age and priority, survives crashes, and gives back what was recorded."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from producers.engine.kernel.layout import RECORD, RECORD_HEADERS
from producers.recorder.carve import Ring
from producers.recorder.keeping import JOURNAL, Keep, append, kept_ids
from producers.recorder.recorder import Recorder
from producers.recorder.segment import places
from producers.sources.packet import RawPacket
from runtime.errors import UsageError
from tests.packets import ethernet, ip, udp
from tests.rings import SECOND, bare, batch_of, carved, conversation, datagram, id_of, ring_bytes
from tests.waiting import wait_until

MIB = 1 << 20


class Clock:
    def __init__(self) -> None:
        self.now_ns = 1_700_000_000 * SECOND

    def __call__(self) -> int:
        return self.now_ns


def record(folder: Path, *batches: list[RawPacket], verdict: int = RECORD, quota: int = 64 * MIB) -> Recorder:
    """Record batches with a recorder of its own, and close it."""
    recorder = Recorder(folder, quota, wait=True)
    for packets in batches:
        recorder.write(batch_of(packets, verdict))
    recorder.close()
    return recorder


def test_gives_back_a_flow_among_others(tmp_path: Path) -> None:
    flows = [conversation(host, 4000 + host, 50, start_ns=host * SECOND) for host in range(20)]
    mixed = sorted((packet for flow in flows for packet in flow), key=lambda packet: packet.time_ns % SECOND)
    recorder = record(tmp_path, mixed[:500], mixed[500:])
    assert recorder.summary() == {"packets": 1000, "bytes": recorder.summary()["bytes"], "unrecorded": {}}
    for flow in flows:
        packets, found = carved(tmp_path, id_of(flow))
        assert bare(packets) == bare(flow)
        assert (found.packets, found.captured_bytes) == (50, sum(len(packet.data) for packet in flow))
        assert (found.first_ns, found.last_ns) == (flow[0].time_ns, flow[-1].time_ns)
        assert found.damaged == 0


def test_gives_back_a_span_of_time_both_ends_included(tmp_path: Path) -> None:
    flow = conversation(1, 4000, 100, start_ns=5 * SECOND)
    record(tmp_path, flow)
    packets, _ = carved(tmp_path, id_of(flow), flow[10].time_ns, flow[20].time_ns)
    assert bare(packets) == bare(flow[10:21])
    packets, found = carved(tmp_path, id_of(flow), 0, SECOND)
    assert (packets, found.packets) == ([], 0)


def test_carves_from_the_segment_that_is_being_written(tmp_path: Path) -> None:
    flow = conversation(1, 4000, 100, start_ns=0)
    recorder = Recorder(tmp_path, 64 * MIB, wait=True)
    recorder.write(batch_of(flow))
    recorder.flush()
    assert not Ring(tmp_path).holdings()[0].finished
    assert bare(carved(tmp_path, id_of(flow))[0]) == bare(flow)
    recorder.close()
    assert Ring(tmp_path).holdings()[0].finished


def test_a_verdict_says_what_is_recorded(tmp_path: Path) -> None:
    flow = conversation(1, 4000, 6, start_ns=0, size=300)
    batch = batch_of(flow)
    batch.facts["verdict"] = [RECORD, RECORD_HEADERS, 0, RECORD | RECORD_HEADERS, 1, RECORD_HEADERS]
    recorder = Recorder(tmp_path, 64 * MIB, wait=True)
    recorder.write(batch)
    recorder.close()
    packets, _ = carved(tmp_path, id_of(flow))
    assert [p.time_ns for p in packets] == [flow[n].time_ns for n in (0, 1, 3, 5)]
    assert [len(p.data) for p in packets] == [354, 54, 354, 54]
    assert all(flow[0].data[:12] in p.data[:12] + p.data[6:12] + p.data[:6] for p in packets)
    assert {p.wire_length for p in packets} == {394}


def test_headers_of_what_has_no_payload_are_the_first_bytes(tmp_path: Path) -> None:
    arp = RawPacket(1, 5, 1, bytes(12) + b"\x08\x06" + bytes(400), 414, "")
    record(tmp_path, [arp], verdict=RECORD_HEADERS)
    assert Ring(tmp_path).holdings()[0].totals.packets == 1
    assert ring_bytes(tmp_path) < 400


def test_interfaces_keep_their_names_and_link_types(tmp_path: Path) -> None:
    first = [datagram(1, 1, interface="eth0"), datagram(1, 2, interface="")]
    raw = first[0].data[14:]
    second = [RawPacket(1, 3, 101, raw, len(raw), "tun0"), datagram(1, 4, interface="eth0")]
    record(tmp_path, first, second)
    packets, found = carved(tmp_path, id_of(first))
    assert bare(packets) == bare(first + second)
    assert found.segments == 2  # a new interface begins a segment


def test_a_link_type_that_pcapng_cannot_have_is_counted(tmp_path: Path) -> None:
    good = datagram(1, 1)
    recorder = record(tmp_path, [good, RawPacket(2, 2, 1 << 20, b"?" * 60, 60, "odd")])
    assert recorder.summary()["packets"] == 1
    assert recorder.summary()["unrecorded"] == {"a link type that pcapng has no number for": 1}


def test_the_quota_holds_and_the_oldest_go_first(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, 2 * MIB, wait=True)
    for host in range(100):
        recorder.write(batch_of(conversation(host, 4000, 100, start_ns=host * SECOND)))
        recorder.flush()
        assert ring_bytes(tmp_path) <= 2 * MIB
    recorder.close()
    assert 1.5 * MIB < ring_bytes(tmp_path) <= 2 * MIB
    there = [bool(carved(tmp_path, id_of(conversation(host, 4000, 1, start_ns=0)))[0]) for host in range(100)]
    assert there == sorted(there)
    assert there[0] is False
    assert there[99] is True
    assert sum(there) == 18  # of 109 KB each


def test_small_packets_count_with_their_index(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, MIB, wait=True)
    for number in range(60):
        recorder.write(batch_of([datagram(host, number * SECOND + host) for host in range(500)]))
        recorder.flush()
        assert ring_bytes(tmp_path) <= MIB
    recorder.close()
    assert ring_bytes(tmp_path) > MIB / 2


def test_a_quota_that_was_lowered_is_kept_to_at_once(tmp_path: Path) -> None:
    record(tmp_path, *[conversation(host, 4000, 100, start_ns=0) for host in range(40)], quota=8 * MIB)
    assert ring_bytes(tmp_path) > 3 * MIB
    record(tmp_path, quota=MIB)
    assert ring_bytes(tmp_path) <= MIB


def test_a_quota_that_holds_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="quota of 1,000 bytes"):
        Recorder(tmp_path, 1000)


def test_old_packets_go(tmp_path: Path) -> None:
    clock = Clock()
    old, new = (conversation(host, 4000, 10, start_ns=0) for host in (1, 2))
    recorder = Recorder(tmp_path, 64 * MIB, max_age=3600, wait=True, clock=clock)
    recorder.write(batch_of(old))
    recorder.flush()
    clock.now_ns += 1800 * SECOND
    wait_until(
        lambda: len(list((tmp_path / "segments").glob("*.index"))) == 1
    )  # a segment is not written to for long
    recorder.write(batch_of(new))
    recorder.flush()
    assert carved(tmp_path, id_of(old))[0]
    clock.now_ns += 1900 * SECOND
    wait_until(lambda: not carved(tmp_path, id_of(old))[0])
    assert carved(tmp_path, id_of(new))[0]
    recorder.close()


def overrun(recorder: Recorder, hosts: range) -> None:
    """Record so much that what was there before is gone."""
    for host in hosts:
        recorder.write(batch_of(conversation(host, 5000, 100, start_ns=1000 * SECOND)))
    recorder.flush()


def test_kept_flows_outlive_the_ring_with_the_packets_to_come(tmp_path: Path) -> None:
    flow, other = conversation(1, 4000, 60, start_ns=0), conversation(2, 4000, 60, start_ns=0)
    recorder = Recorder(tmp_path, 2 * MIB, wait=True)
    recorder.write(batch_of(flow[:20] + other[:20]))
    recorder.keep(id_of(flow), 0, flow[49].time_ns)
    overrun(recorder, range(100, 150))
    recorder.write(batch_of(flow[20:] + other[20:]))
    overrun(recorder, range(150, 200))
    recorder.close()
    packets, found = carved(tmp_path, id_of(flow))
    assert bare(packets) == bare(flow[:50])
    assert (found.segments, found.kept_segments) == (2, 2)
    assert carved(tmp_path, id_of(other))[0] == []
    assert ring_bytes(tmp_path) <= 2 * MIB
    record(tmp_path, quota=2 * MIB)
    assert bare(carved(tmp_path, id_of(flow))[0]) == bare(flow[:50])


def test_a_running_recorder_hears_of_what_others_ask_to_keep(tmp_path: Path) -> None:
    flow = conversation(1, 4000, 20, start_ns=0)
    recorder = Recorder(tmp_path, 2 * MIB, wait=True)
    recorder.write(batch_of(flow))
    recorder.flush()
    with (tmp_path / JOURNAL).open("ab") as journal:
        journal.write(b'{"community_id": "torn')  # by a crash
    append(tmp_path, Keep(id_of(flow), 0, SECOND, time.time_ns()))
    time.sleep(2.2)
    overrun(recorder, range(100, 150))
    recorder.close()
    assert bare(carved(tmp_path, id_of(flow))[0]) == bare(flow)
    assert [keep.community_id for keep in kept_ids(tmp_path)] == [id_of(flow)]


def test_what_is_kept_has_a_quota_too(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, 2 * MIB, kept_quota_bytes=300_000, wait=True)
    flows = [conversation(host, 4000, 100, start_ns=0) for host in range(6)]
    for number, flow in enumerate(flows):
        recorder.keep(id_of(flow), 0, SECOND)
        recorder.write(batch_of(flow))
        overrun(recorder, range(1000 + 40 * number, 1040 + 40 * number))
        assert ring_bytes(tmp_path, "kept") <= 300_000
    recorder.close()
    assert [bool(carved(tmp_path, id_of(flow))[0]) for flow in flows] == [False] * 4 + [True] * 2


def test_more_than_the_kept_quota_is_kept_as_far_as_it_goes(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, 2 * MIB, kept_quota_bytes=50_000, wait=True)
    flow = conversation(1, 4000, 100, start_ns=0)
    recorder.keep(id_of(flow), 0, SECOND)
    recorder.write(batch_of(flow))
    overrun(recorder, range(100, 140))
    recorder.close()
    packets, _ = carved(tmp_path, id_of(flow))
    assert 30 < len(packets) < 50
    assert bare(packets) == bare(flow[: len(packets)])
    assert ring_bytes(tmp_path, "kept") <= 50_000


def test_what_was_asked_long_ago_is_forgotten(tmp_path: Path) -> None:
    clock = Clock()
    recorder = Recorder(tmp_path, 2 * MIB, max_age=3600, wait=True, clock=clock)
    for host in range(12_000):
        append(tmp_path, Keep(f"1:{host:027d}=", 0, SECOND, clock.now_ns))
    recorder.write(batch_of(conversation(1, 4000, 10, start_ns=0)))
    recorder.flush()
    clock.now_ns += 3 * 86_400 * SECOND
    wait_until(lambda: (tmp_path / JOURNAL).stat().st_size == 0)
    recorder.close()


def test_a_restart_keeps_the_ring(tmp_path: Path) -> None:
    flow = conversation(1, 4000, 30, start_ns=0)
    for start in range(0, 30, 10):
        record(tmp_path, flow[start : start + 10])
    packets, found = carved(tmp_path, id_of(flow))
    assert bare(packets) == bare(flow)
    assert found.segments == 3
    assert [place.number for place in places(tmp_path / "segments")] == [1, 2, 3]


def test_two_recorders_on_one_ring(tmp_path: Path) -> None:
    first = Recorder(tmp_path, 2 * MIB)
    with pytest.raises(UsageError, match=rf"another recorder writes here \(process {os.getpid()}\)"):
        Recorder(tmp_path, 2 * MIB)
    first.close()
    Recorder(tmp_path, 2 * MIB).close()


CRASHING = """
import sys
from pathlib import Path
from producers.recorder.recorder import Recorder
from tests.rings import batch_of, conversation
recorder = Recorder(Path(sys.argv[1]), 64 << 20, wait=True)
for number in range(40):
    recorder.write(batch_of(conversation(number, 4000, 100, start_ns=0)))
recorder.flush()
print("stored", flush=True)
while True:
    recorder.write(batch_of(conversation(99, 4000, 100, start_ns=0)))
"""


def test_a_killed_recorder_loses_nothing_that_was_stored(tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", CRASHING, str(tmp_path)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "stored\n"
    time.sleep(0.2)
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    record(tmp_path)
    assert all(holding.finished for holding in Ring(tmp_path).holdings())
    for number in range(40):
        flow = conversation(number, 4000, 100, start_ns=0)
        assert bare(carved(tmp_path, id_of(flow))[0]) == bare(flow)


def test_a_segment_cut_anywhere_is_whole_again_up_to_there(tmp_path: Path) -> None:
    flow = conversation(1, 4000, 40, start_ns=0)
    record(tmp_path / "whole", flow)
    (place,) = places(tmp_path / "whole" / "segments")
    whole = place.path.read_bytes()
    length = len(whole) - 40 * 1088  # the head
    chance = random.Random(4)
    for cut in [
        0,
        1,
        length - 1,
        length,
        length + 1,
        len(whole) - 1,
        *(chance.randrange(len(whole)) for _ in range(12)),
    ]:
        shutil.rmtree(tmp_path / "cut", ignore_errors=True)
        shutil.copytree(tmp_path / "whole", tmp_path / "cut")
        (torn,) = places(tmp_path / "cut" / "segments")
        torn.path.write_bytes(whole[:cut])
        left = max(0, (cut - length) // 1088)
        before, _ = carved(tmp_path / "cut", id_of(flow))
        assert bare(before)[:left] == bare(flow[:left])
        record(tmp_path / "cut")
        packets, found = carved(tmp_path / "cut", id_of(flow))
        assert bare(packets) == bare(flow[:left])
        assert found.damaged == 0
        assert not left or torn.path.stat().st_size == length + left * 1088


def test_an_open_segment_is_read_without_its_numbers_too(tmp_path: Path) -> None:
    flow = conversation(1, 4000, 40, start_ns=0)
    recorder = Recorder(tmp_path, 64 * MIB, wait=True)
    for start in (0, 20):
        recorder.write(batch_of(flow[start : start + 20]))
        recorder.flush()
    (place,) = places(tmp_path / "segments")
    whole = place.numbers.read_bytes()
    assert len(whole) == 2 * (12 + 20 * 12)
    for kept in (whole, whole[:300], whole[:100], whole[:30] + b"?" + whole[31:], b""):
        place.numbers.write_bytes(kept)
        assert bare(carved(tmp_path, id_of(flow))[0]) == bare(flow)
    place.numbers.unlink()
    assert bare(carved(tmp_path, id_of(flow))[0]) == bare(flow)
    recorder.close()


def test_a_fragment_of_an_earlier_segment_keeps_its_flow_after_a_crash(tmp_path: Path) -> None:
    whole = udp(4000, 53, bytes(range(64)))
    pieces = [
        RawPacket(n + 1, n, 1, data, len(data), "lan0")
        for n, data in enumerate(
            (
                ethernet(ip("10.0.0.1", "192.0.2.53", 17, whole[:40], piece=0x2000)),
                ethernet(ip("10.0.0.1", "192.0.2.53", 17, whole[40:], piece=5)),
            )
        )
    ]
    recorder = Recorder(tmp_path, 64 * MIB, wait=True)
    recorder.write(batch_of(pieces))
    recorder.flush()
    (place,) = places(tmp_path / "segments")
    numbers = place.numbers.read_bytes()
    recorder.close()
    place.index.unlink()
    place.numbers.write_bytes(numbers)  # as kill -9 leaves them
    record(tmp_path)
    assert not place.numbers.exists()
    assert bare(carved(tmp_path, id_of(pieces[:1]))[0]) == bare(pieces)


def test_a_damaged_index_is_done_without(tmp_path: Path) -> None:
    flow = conversation(1, 4000, 40, start_ns=0)
    record(tmp_path, flow)
    (place,) = places(tmp_path / "segments")
    data = bytearray(place.index.read_bytes())
    data[70] ^= 1
    place.index.write_bytes(data)
    assert bare(carved(tmp_path, id_of(flow))[0]) == bare(flow)


def test_damaged_packets_are_left_out_and_counted(tmp_path: Path) -> None:
    flow = conversation(1, 4000, 40, start_ns=0)
    record(tmp_path, flow)
    (place,) = places(tmp_path / "segments")
    data = bytearray(place.path.read_bytes())
    data[-1088 * 30] ^= 0xFF  # the type of the eleventh packet's block
    data[-4] ^= 0xFF  # the last one's length
    place.path.write_bytes(data)
    packets, found = carved(tmp_path, id_of(flow))
    assert found.damaged == 2
    assert bare(packets) == bare(flow[:10] + flow[11:39])


def test_a_crash_between_copy_and_deletion_doubles_nothing(tmp_path: Path) -> None:
    flow = conversation(1, 4000, 20, start_ns=0)
    recorder = Recorder(tmp_path, 2 * MIB, wait=True)
    recorder.write(batch_of(flow))
    recorder.keep(id_of(flow), 0, SECOND)
    recorder.flush()
    recorder.close()
    shutil.copytree(tmp_path / "segments", tmp_path / "before")
    recorder = Recorder(tmp_path, 2 * MIB, wait=True)
    overrun(recorder, range(100, 140))
    recorder.close()
    (deleted,) = places(tmp_path / "before")
    assert not (tmp_path / "segments" / deleted.path.name).exists()
    for path in (deleted.path, deleted.index):
        shutil.copy(path, tmp_path / "segments")
    assert bare(carved(tmp_path, id_of(flow))[0]) == bare(flow)
    record(tmp_path, quota=2 * MIB)
    assert not (tmp_path / "segments" / deleted.path.name).exists()
    packets, found = carved(tmp_path, id_of(flow))
    assert bare(packets) == bare(flow)
    assert found.kept_segments == 1


def test_a_copy_that_was_not_finished_is_made_again(tmp_path: Path) -> None:
    flow = conversation(1, 4000, 20, start_ns=0)
    record(tmp_path, flow, quota=2 * MIB)
    (place,) = places(tmp_path / "segments")
    (tmp_path / "kept" / place.path.name).write_bytes(place.path.read_bytes()[:3000])
    recorder = Recorder(tmp_path, 2 * MIB, wait=True)
    recorder.keep(id_of(flow), 0, SECOND)
    overrun(recorder, range(100, 140))
    recorder.close()
    assert bare(carved(tmp_path, id_of(flow))[0]) == bare(flow)


def test_a_folder_that_is_gone_stops_the_recording_and_nothing_else(tmp_path: Path) -> None:
    told: list[str] = []
    folder, away = tmp_path / "ring", tmp_path / "away"
    recorder = Recorder(folder, 2 * MIB, wait=True, tell=told.append)
    flow = conversation(1, 4000, 30, start_ns=0)
    recorder.write(batch_of(flow[:10]))
    recorder.flush()
    folder.rename(away)
    wait_until(lambda: bool(told))
    recorder.write(batch_of(flow[10:20]))
    recorder.flush()
    assert len(told) == 1
    assert str(folder) in told[0]
    assert "packets are not recorded" in told[0]
    assert sum(recorder.summary()["unrecorded"].values()) == 10
    away.rename(folder)
    wait_until(lambda: len(told) == 2)
    assert "recording goes on; 10 packets were not recorded" in told[1]
    recorder.write(batch_of(flow[20:]))
    recorder.close()
    assert recorder.summary()["packets"] == 20
    assert bare(carved(folder, id_of(flow))[0]) == bare(flow[:10] + flow[20:])


def test_a_live_recorder_does_not_wait_for_a_slow_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write

    def slow(file: int, data: bytes) -> int:
        time.sleep(0.3)
        return write(file, data)

    batch = batch_of(conversation(1, 4000, 1000, start_ns=0))
    recorder = Recorder(tmp_path, 64 * MIB, backlog_bytes=3 * MIB)
    monkeypatch.setattr("producers.recorder.segment.os.write", slow)
    began = time.monotonic()
    for _ in range(20):
        recorder.write(batch)
    assert time.monotonic() - began < 0.3
    recorder.close()
    told = recorder.summary()
    assert told["unrecorded"]["the disk is too slow"] + told["packets"] == 20_000
    assert told["packets"] >= 2000


def test_times_before_1970_become_0(tmp_path: Path) -> None:
    packet = datagram(1, -5)
    record(tmp_path, [packet])
    assert [p.time_ns for p in carved(tmp_path, id_of([packet]))[0]] == [0]


def test_a_folder_without_a_ring(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no packet ring"):
        Ring(tmp_path)


def test_wireshark_reads_an_empty_verdict_as_nothing(tmp_path: Path) -> None:
    record(tmp_path, conversation(1, 4000, 10, start_ns=0), verdict=0)
    assert places(tmp_path / "segments") == []
    assert np.array(Ring(tmp_path).holdings()).size == 0
