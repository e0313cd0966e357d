"""The native parser against the twin: every field of every packet, whatever the bytes and wherever they lie."""

import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from struct import pack
from typing import Any

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from producers.engine.kernel.fragments import LIFETIME_NS, MAX_DATAGRAMS, Datagrams, new_datagrams
from producers.engine.kernel.layout import FACTS, TUNNELS, Fragment, Kind
from producers.engine.kernel.parse import parse
from producers.engine.keys import split
from producers.engine.twin import parse as twin
from producers.engine.twin.fragments import Fragments
from producers.engine.twin.ip import Segment, segment
from producers.engine.twin.links import LINKS
from producers.engine.twin.network import Trace
from producers.sources.opening import expand, open_path
from producers.sources.packet import Block, RawPacket, block_of
from runtime.settings import cache_dir
from tests.captures import captures
from tests.packets import ethernet, ip, raw, tcp, udp
from tests.unit.test_engine_parse import DAMAGED, IP_LIKE, UDP_LIKE
from tests.unit.test_engine_parse import FRAMES as LINK_FRAMES
from tests.unit.test_engine_parse import TUNNELS as TUNNELLED

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "samples"
FRAMES = [
    *LINK_FRAMES.values(),
    *((1, ethernet(packet)) for packets in TUNNELLED.values() for packet in packets),
    *((228, packet) for packets in TUNNELLED.values() for packet in packets if packet[0] >> 4 == 4),
]


def frozen(column: NDArray[Any]) -> NDArray[Any]:
    """As the engine passes it on: numba compiles for columns that may be written and for others apart."""
    view = column.view()
    view.flags.writeable = False
    return view


def rows(block: Block, datagrams: Datagrams | None = None) -> NDArray[Any]:
    facts = np.full(len(block) * FACTS.itemsize, 0xA5, np.uint8).view(FACTS)  # a row is used again and again
    parse(
        frozen(block.buffer),
        frozen(block.offset),
        frozen(block.captured),
        frozen(block.wire),
        frozen(block.time_ns),
        frozen(block.interface),
        np.array([linktype for _, linktype in block.interfaces], np.int32),
        facts,
        datagrams or new_datagrams(),
    )
    return facts


def one(linktype: int, data: bytes) -> Any:
    return rows(block_of([raw(data, linktype=linktype)]))[0]


def address(row: Any, side: str) -> bytes:
    whole = int(row[f"{side}_high"]) << 64 | int(row[f"{side}_low"])
    version = row["outer_version" if side.startswith("outer") else "version"]
    return whole.to_bytes(4 if version == 4 else 16, "big")


def key(row: Any) -> bytes:
    ports = pack(">HH", row["source_port"], row["destination_port"]) if row["ported"] else b""
    return bytes((row["protocol"],)) + address(row, "source") + address(row, "destination") + ports


def innermost(packet: RawPacket) -> tuple[Segment, int]:
    """The twin's innermost IP packet, from its parts, and how many there are."""
    found, depth = segment(LINKS[packet.linktype](packet.data, 0, None), packet.data, packet.wire_length), 1
    assert found is not None
    for _ in range(twin.MAX_NESTING):
        deeper = twin._unwrap(found, packet.data, packet.wire_length)  # noqa: SLF001 - the oracle's one step
        if deeper is None:
            break
        found, depth = deeper[1], depth + 1
    return found, depth


def mac(packet: RawPacket, at: int) -> bytes:
    return packet.data[at : at + 6] if at >= 0 else b""


def agree(packet: RawPacket, row: Any, fragments: Fragments, block: list[RawPacket]) -> None:
    """Whether a row says what the twin says of its packet."""
    notes = Trace()
    parsed = twin.trace(packet.linktype, packet.data, packet.wire_length, notes)
    assert twin.parse(packet.linktype, packet.data, packet.wire_length) == parsed
    assert row["slot"] == -1
    assert row["verdict"] == row["rule"] == row["uid"] == row["number"] == 0
    assert mac(packet, row["source_mac"]) == notes.source_mac
    assert mac(packet, row["destination_mac"]) == notes.destination_mac
    assert tuple(row["vlan"][: row["vlans"]]) == notes.vlan_ids[:4]
    assert row["vlan"][row["vlans"] :].tolist() == [0] * (4 - row["vlans"])
    if isinstance(parsed, int):
        assert row["kind"] == (Kind.NOT_IP if parsed == twin.NOT_IP else Kind.MALFORMED)
        assert row["depth"] == row["protocol"] == row["version"] == row["ported"] == row["length"] == 0
        assert row["transport"] == row["payload"] == -1
        assert row["shard"] == 0 or parsed == twin.MALFORMED
        return
    inner, depth = innermost(packet)
    piece = (
        Fragment.NONE
        if inner.fragment is None
        else Fragment.FIRST
        if inner.fragment.first
        else Fragment.LATER
    )
    if parsed[5]:
        parsed = fragments.whole(parsed, packet.time_ns, block)
    assert row["kind"] == Kind.FLOW
    assert row["shard"] != 0
    assert key(row) == parsed[0]
    assert (row["tcp_flags"], row["sequence"], row["window"]) == parsed[1:4]
    assert row["length"] == min(parsed[4], 2**31 - 1)
    assert (row["acknowledgement"], row["ttl"]) == parsed[6:8]
    assert row["fragment"] == piece
    if piece == Fragment.LATER:
        assert row["transport"] == -1
    else:
        assert row["depth"] == depth
        assert row["payload"] == inner.payload
        assert 0 <= row["transport"] <= row["payload"]
    outermost = segment(LINKS[packet.linktype](packet.data, 0, None), packet.data, packet.wire_length)
    assert outermost is not None
    ends = split(outermost.key)
    assert address(row, "outer_source") == ends.source
    assert address(row, "outer_destination") == ends.destination
    assert TUNNELS[row["tunnel"]] == (notes.outer[0] if notes.outer else "")
    assert notes.outer is None or notes.outer[1] == outermost.key


def all_agree(blocks: Iterable[Block]) -> int:
    """How many packets of blocks that follow each other were compared; each says what the twin says."""
    datagrams, fragments, count = new_datagrams(), Fragments(), 0
    for block in blocks:
        facts, packets = rows(block, datagrams), list(block)
        for packet, row in zip(packets, facts, strict=True):
            try:
                agree(packet, row, fragments, packets)
            except AssertionError as error:
                error.add_note(f"{packet!r}\n{ {name: row[name] for name in FACTS.names or ()} }")
                raise
        count += len(packets)
    return count


def junked(packets: Sequence[RawPacket], junk: int) -> Block:
    """A block of packets with bytes between them that belong to none."""
    block = block_of(packets)
    gap = bytes((junk,)) * 96
    block.buffer = np.frombuffer(gap + b"".join(p.data + gap for p in packets), np.uint8)
    block.offset = block.offset + 96 * np.arange(1, len(packets) + 1)
    return block


@pytest.mark.parametrize("junk", [0x00, 0x45, 0x60, 0xFF])
def test_every_frame_cut_at_every_byte_is_read_as_by_the_twin(junk: int) -> None:
    packets = [
        RawPacket(1, 0, linktype, data[:length], len(data), "")
        for linktype, data in FRAMES
        for length in range(len(data) + 1)
    ]
    assert all_agree([junked(packets, junk)]) > 5_000


def public_captures() -> list[str]:
    folders = captures(), SAMPLES
    return [path for folder in folders for path in expand([str(folder)]).captures]


def test_every_packet_of_the_public_captures_is_read_as_by_the_twin() -> None:
    total = 0
    for path in public_captures():
        total += all_agree(open_path(path).blocks())
    assert total > 60_000


def damaged(chance: random.Random, frame: tuple[int, bytes]) -> RawPacket:
    """A frame with some bits flipped or bytes cut, or taken for one of another link type."""
    linktype, data = frame
    changed = bytearray(data)
    for _ in range(chance.choice([0, 1, 1, 2, 4])):
        at = min(chance.randrange(len(changed)), chance.randrange(len(changed)))  # headers more often
        changed[at] = chance.choice([changed[at] ^ 1 << chance.randrange(8), chance.randrange(256), 0, 0xFF])
    if chance.random() < 0.2:
        del changed[chance.randrange(len(changed)) :]
    if chance.random() < 0.05:
        linktype = chance.choice([*LINKS, 147])
    wire = chance.choice([len(data), len(changed), 0, 2**32 - 1])
    return RawPacket(1, chance.randrange(5) * LIFETIME_NS // 2, linktype, bytes(changed), wire, "")


def damaged_blocks(seed: int, frames: Sequence[tuple[int, bytes]], count: int) -> Iterable[Block]:
    chance = random.Random(seed)
    for _ in range(count):
        yield junked([damaged(chance, chance.choice(frames)) for _ in range(200)], chance.randrange(256))


@pytest.mark.parametrize("seed", range(4))
def test_damaged_frames_of_every_kind_are_read_as_by_the_twin(seed: int) -> None:
    assert all_agree(damaged_blocks(seed, FRAMES, 30)) == 6_000


def test_damaged_packets_of_the_public_captures_are_read_as_by_the_twin() -> None:
    chance, frames = random.Random(7), []
    for path in public_captures():
        packets = [packet for block in open_path(path).blocks() for packet in block]
        frames += [(p.linktype, p.data) for p in chance.sample(packets, min(20, len(packets))) if p.data]
    assert all_agree(damaged_blocks(8, frames, 40)) == 8_000


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([*LINKS, 147]),
            st.one_of(st.binary(max_size=150), IP_LIKE, UDP_LIKE, DAMAGED),
            st.integers(-(2**63), 2**63 - 1),
            st.integers(0, 2**32 - 1),
        ),
        max_size=12,
    )
)
def test_any_bytes_are_read_as_by_the_twin(frames: list[tuple[int, bytes, int, int]]) -> None:
    packets = [RawPacket(1, time_ns, linktype, data, wire, "") for linktype, data, time_ns, wire in frames]
    assert all_agree([junked(packets, 0x45)]) == len(packets)


def piece4(name: int, bits: int, protocol: int = 17, payload: bytes = b"") -> bytes:
    return ip(
        "10.0.0.1", "10.0.0.2", protocol, payload or udp(1000 + name, 53, bytes(8)), piece=bits, name=name
    )


def piece6(name: int, bits: int, payload: bytes = b"") -> bytes:
    header = pack(">BBHI", 17, 0, bits, name)
    return ip("2001:db8::1", "2001:db8::2", 44, header + (payload or udp(2000 + name, 53, bytes(8))))


NAMES = st.integers(1, 3)
PIECES = st.one_of(
    st.builds(piece4, NAMES, st.sampled_from([0x2000, 0x2001, 0x0002, 0x4000])),
    st.builds(piece6, NAMES, st.sampled_from([0x0001, 0x0009, 0x0010, 0x0000])),
)
NESTED = st.one_of(  # a piece in a datagram that is in pieces itself
    st.builds(
        piece4, NAMES, st.sampled_from([0x2000, 0x0001]), st.just(4), PIECES.filter(lambda p: p[0] == 0x45)
    ),
    st.builds(piece4, NAMES, st.just(0x2000), st.just(50), st.just(bytes(20))),
)
TIMES = st.sampled_from([0, 1, LIFETIME_NS, LIFETIME_NS + 1, 2 * LIFETIME_NS, -(2**63), 2**63 - 1])


@settings(max_examples=300, deadline=None)
@given(st.lists(st.lists(st.tuples(st.one_of(PIECES, NESTED), TIMES), max_size=8), max_size=5))
def test_fragments_follow_their_datagram_as_by_the_twin(blocks: list[list[tuple[bytes, int]]]) -> None:
    all_agree(
        block_of([raw(ethernet(packet), time_ns) for packet, time_ns in block]) for block in blocks if block
    )


def test_a_later_fragment_has_its_datagrams_ports_before_and_after_the_first() -> None:
    later, first = ethernet(piece4(1, 0x0002)), ethernet(piece4(1, 0x2000))
    facts = rows(block_of([raw(later), raw(first), raw(later)]))
    assert facts["fragment"].tolist() == [Fragment.LATER, Fragment.FIRST, Fragment.LATER]
    assert facts["source_port"].tolist() == [1001] * 3
    assert facts["ported"].tolist() == [1] * 3
    assert facts["transport"].tolist() == [-1, 34, -1]
    assert facts["payload"].tolist() == [34, 42, 34]
    assert len(set(facts["shard"].tolist())) == 1


def test_past_a_number_of_datagrams_the_oldest_is_forgotten() -> None:
    chance, names = random.Random(3), MAX_DATAGRAMS + 800
    begun = [chance.randrange(names) for _ in range(2 * names)]
    blocks = [
        block_of([raw(ethernet(piece4(name, 0x2000))) for name in begun[:names]]),
        block_of([raw(ethernet(piece4(name, 0x2000))) for name in begun[names:]]),
        block_of([raw(ethernet(piece4(name, 0x0002))) for name in range(names)]),
    ]
    assert all_agree(blocks) == 3 * names
    datagrams = new_datagrams()
    told = [rows(block, datagrams) for block in blocks][-1]
    assert Counter(told["ported"].tolist())[1] == MAX_DATAGRAMS


def test_the_quick_way_and_the_long_way_agree() -> None:
    """A second tag that is not there for the quick way changes nothing but the tags."""
    ends4, ends6 = ("10.0.0.1", "10.0.0.2"), ("2001:db8::1", "2001:db8::2")
    for ends in (ends4, ends6):
        for protocol, payload in ((6, tcp(1, 2, 0x18, 7, b"abc")), (17, udp(1, 2, b"abc"))):
            packet = ip(*ends, protocol, payload)
            kind = 0x86DD if packet[0] >> 4 == 6 else 0x0800
            plain, tagged, twice = (
                one(1, ethernet(tags + packet, outer))
                for outer, tags in (
                    (kind, b""),
                    (0x8100, pack(">HH", 0xF005, kind)),
                    (0x88A8, pack(">HHHH", 9, 0x8100, 0xF005, kind)),
                )
            )
            assert tagged["vlan"].tolist() == [5, 0, 0, 0]
            assert twice["vlan"].tolist() == [9, 5, 0, 0]
            moved = {"vlan", "vlans", "transport", "payload"}
            for name in set(FACTS.names or ()) - moved:
                assert plain[name] == tagged[name] == twice[name], name
            assert plain["payload"] + 4 == tagged["payload"] == twice["payload"] - 4


def test_the_shard_is_one_both_ways_and_spread_evenly() -> None:
    chance = random.Random(5)
    addresses = [
        f"10.{chance.randrange(4)}.{chance.randrange(256)}.{chance.randrange(256)}" for _ in range(4_000)
    ]
    pairs = [*zip(addresses[::2], addresses[1::2], strict=True)]
    pairs += [
        (f"2001:db8::{one[3:].replace('.', ':')}", f"2001:db8::{two[3:].replace('.', ':')}")
        for one, two in pairs
    ]
    there = rows(block_of([raw(ethernet(ip(*pair, 17, udp(1, 2)))) for pair in pairs]))["shard"]
    back = rows(block_of([raw(ethernet(ip(*pair[::-1], 6, tcp(3, 4, 2)))) for pair in pairs]))["shard"]
    assert there.tolist() == back.tolist()
    assert len(set(there.tolist())) > 3_990
    for children in (2, 3, 4):
        shares = np.bincount(there % children) / len(there)
        assert abs(shares - 1 / children).max() < 0.03


def test_the_shard_is_that_of_the_outermost_addresses() -> None:
    inner = [ip("10.1.1.1", "10.1.1.2", 17, udp(1, 2)), ip("10.1.1.3", "10.1.1.4", 17, udp(1, 2))]
    outer = [ethernet(ip("192.0.2.1", "192.0.2.2", 4, packet)) for packet in inner]
    broken = ethernet(ip("192.0.2.2", "192.0.2.1", 6, b"short"))
    facts = rows(block_of([raw(frame) for frame in [*outer, broken, ethernet(b"arp", 0x0806)]]))
    assert facts["kind"].tolist() == [Kind.FLOW, Kind.FLOW, Kind.MALFORMED, Kind.NOT_IP]
    assert len(set(facts["shard"][:3].tolist())) == 1
    assert facts["shard"][3] == 0


def test_a_block_of_several_link_types_and_an_empty_one() -> None:
    packets = [raw(data, linktype=linktype) for linktype, data in LINK_FRAMES.values()]
    assert rows(block_of(packets))["kind"].tolist() == [Kind.FLOW] * len(packets)
    assert len(rows(block_of([]))) == 0


def read_alone() -> None:
    """Every frame, whole, cut and damaged, in a buffer that ends with it: run with numba's bounds checks on."""
    assert numba.config.BOUNDSCHECK
    block = block_of([raw(FRAMES[0][1])])
    block.interface += 1
    with pytest.raises(IndexError):
        rows(block)
    chance = random.Random(11)
    cut = [
        raw(data[:length], linktype=linktype) for linktype, data in FRAMES for length in range(len(data) + 1)
    ]
    datagrams = new_datagrams()
    for packet in [*cut, *(damaged(chance, chance.choice(FRAMES)) for _ in range(5_000))]:
        rows(block_of([packet]), datagrams)
    names = range(MAX_DATAGRAMS + 10)
    for bits in (0x2000, 0x0002):
        rows(block_of([raw(ethernet(piece4(name, bits))) for name in names]), datagrams)


def test_no_byte_beyond_a_packet_is_read() -> None:
    cache = cache_dir() / "boundscheck"  # numba does not tell apart what it compiled with and without
    done = subprocess.run(
        [sys.executable, "-c", "from tests.unit.test_kernel_parse import read_alone; read_alone()"],
        cwd=ROOT,
        env={**os.environ, "NUMBA_BOUNDSCHECK": "1", "NETFLIGHT_CACHE": str(cache)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
