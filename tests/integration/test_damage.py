"""Whatever a capture holds, every packet is accounted for: public captures, 500 damaged ones, frames made at random.

A damaged capture that fails stays in pytest's folder of the test, under the name that the failure tells.
"""

import random
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from producers.engine.engine import FlowEngine
from producers.engine.kernel.layout import FACTS, Kind
from producers.engine.model import Accounting, FlowRecord
from producers.sources.opening import open_path
from producers.sources.packet import Block, RawPacket, block_of
from runtime.errors import CaptureError
from tests.captures import captures
from tests.damage import capinfos, damaged, records, undamaged
from tests.decoding import check, decode

pytestmark = [
    pytest.mark.skipif(shutil.which("editcap") is None, reason="tshark and editcap are not installed"),
    pytest.mark.timeout(method="thread"),  # a signal would not end native code that hangs
]
DAMAGED, PER_TEST, DECODED = 500, 50, 25
LARGEST = 1_000_000  # bytes of a capture that is damaged: small ones show as much
LINKTYPES = [0, 1, 9, 12, 14, 50, 51, 101, 105, 108, 109, 113, 127, 147, 228, 229, 276, 65_535]


def account(capture: Path) -> tuple[Accounting, str]:
    """Run a capture through the engine, check all that holds of any; its accounting, and the source's complaint."""
    engine, counted, complaint = FlowEngine(), 0, ""
    kinds = np.zeros(len(Kind), dtype=np.int64)
    try:
        for block in open_path(str(capture)).blocks():
            batch = engine.feed(block)
            kinds += np.bincount(batch.facts["kind"], minlength=len(Kind))
            assert len(batch.facts) == len(block)
            assert all(0 <= index <= len(block) for index, _ in batch.records)
            counted += packets_of(record for _, record in batch.records)
    except CaptureError as error:
        complaint = str(error)
        assert "\n" not in complaint
    counted += packets_of(engine.close())
    accounting = engine.accounting
    assert accounting.closes()
    assert counted == accounting.in_flows == kinds[Kind.FLOW]
    assert (accounting.not_ip, accounting.malformed) == (kinds[Kind.NOT_IP], kinds[Kind.MALFORMED])
    return accounting, complaint


def packets_of(records: Iterable[FlowRecord]) -> int:
    """Packets in the flows that are told to be over."""
    return sum(flow.source_packets + flow.destination_packets for flow, final in records if final)


def test_every_public_capture_is_accounted_for() -> None:
    paths = undamaged(captures())
    found = capinfos(paths)
    for path in paths:
        accounting, complaint = account(path)
        assert complaint == ""
        assert accounting.read == found[path].packets, path


@pytest.mark.parametrize("first", range(0, DAMAGED, PER_TEST))
def test_every_packet_of_a_damaged_capture_is_accounted_for(tmp_path: Path, first: int) -> None:
    paths = made(tmp_path, range(first, first + PER_TEST))
    found = capinfos(paths)
    for path in paths:
        accounting, complaint = account(path)
        read = accounting.read
        by_format, by_capinfos = records(path), found.get(path)
        # Wireshark guesses variants of pcap by the lengths of the first packets; we go by the magic number.
        assert by_format in {None, read}, path
        assert by_capinfos is None or read in {by_capinfos.packets, by_format}, path
        if by_capinfos is not None and by_capinfos.whole:
            assert complaint == "", path
        place = re.search(r"at packet ([\d,]+)", complaint)
        assert place is None or int(place[1].replace(",", "")) == read + 1, path
        path.unlink()


def test_damaged_captures_are_decoded_to_the_last_packet(tmp_path: Path) -> None:
    paths = made(tmp_path, range(1_000, 1_000 + DECODED))
    read = sum(account(path)[0].read for path in paths)
    decoded = decode(paths)
    check(decoded)
    assert decoded.outcome.accounting.read == read
    assert all(isinstance(error, CaptureError) for error in decoded.outcome.errors)


def made(folder: Path, seeds: range) -> list[Path]:
    """Damaged captures, one a seed."""
    sources = [path for path in undamaged(captures()) if path.stat().st_size < LARGEST]
    chance = random.Random(seeds.start)
    return [damaged(chance.choice(sources), folder, seed) for seed in seeds]


def mutated(packet: RawPacket, chance: random.Random, frame: int) -> RawPacket:
    """A packet with a few bits flipped near its beginning, cut short, with another link type or length."""
    data = bytearray(packet.data)
    for _ in range(chance.randrange(6)):
        if data:
            data[chance.randrange(min(len(data), 120))] ^= 1 << chance.randrange(8)
    if chance.random() < 0.3:
        del data[chance.randrange(len(data) + 1) :]
    linktype = chance.choice(LINKTYPES) if chance.random() < 0.1 else packet.linktype
    wire = chance.choice([packet.wire_length] * 4 + [0, len(data), 65_535, (1 << 32) - 1])
    return packet._replace(frame=frame, data=bytes(data), linktype=linktype, wire_length=wire)


def apart(packets: list[RawPacket], filler: int) -> Block:
    """A block whose packets lie apart in the buffer, with `filler` before, between and after them."""
    block = block_of(packets)
    gap = 64
    offset = np.cumsum(block.captured + gap, dtype=np.int64) - block.captured
    buffer = np.full(int(block.captured.sum()) + gap * (len(packets) + 1), filler, dtype=np.uint8)
    for packet, start in zip(packets, offset, strict=True):
        buffer[start : start + len(packet.data)] = np.frombuffer(packet.data, dtype=np.uint8)
    block.buffer, block.offset = buffer, offset
    return block


def test_no_packet_is_read_beyond_its_end() -> None:
    chance = random.Random(9)
    pool = [
        packet
        for path in undamaged(captures())
        for block in open_path(str(path)).blocks()
        for packet in block
    ]
    fields = [name for name in FACTS.names or () if name != "uid"]
    for _ in range(20):
        packets = [mutated(packet, chance, 1 + n) for n, packet in enumerate(chance.choices(pool, k=1_000))]
        seen = []
        for filler in (0x00, 0x45, 0xFF):
            engine = FlowEngine()
            facts = engine.feed(apart(packets, filler)).facts
            seen.append([facts[name].copy() for name in fields])
            packets_of(engine.close())
            assert engine.accounting.closes()
            assert engine.accounting.read == len(packets)
        for name, *columns in zip(fields, *seen, strict=True):
            assert np.array_equal(columns[0], columns[1]), name
            assert np.array_equal(columns[0], columns[2]), name


frames = st.builds(
    RawPacket,
    frame=st.just(1),
    time_ns=st.integers(-(1 << 63), (1 << 63) - 1),
    linktype=st.sampled_from(LINKTYPES) | st.integers(0, (1 << 26) - 1),
    data=st.binary(max_size=200),
    wire_length=st.integers(0, (1 << 32) - 1),
    interface=st.sampled_from(["", "eth0"]),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(frames, max_size=40))
def test_any_frames_of_any_link_type_are_accounted_for(packets: list[RawPacket]) -> None:
    engine = FlowEngine()
    numbered = [packet._replace(frame=1 + number) for number, packet in enumerate(packets)]
    counted = packets_of(record for _, record in engine.feed(block_of(numbered)).records)
    counted += packets_of(engine.advance(1 << 62)) + packets_of(engine.close())
    accounting = engine.accounting
    assert (accounting.read, accounting.in_flows) == (len(packets), counted)
    assert accounting.closes()
