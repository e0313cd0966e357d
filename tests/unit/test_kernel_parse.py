"""The native parser against the twin: every field of every packet, whatever the bytes and wherever they lie."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from struct import pack
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from producers.engine.kernel.layout import FACTS, TUNNELS, Fragment, Kind
from producers.engine.kernel.parse import Datagrams, new_datagrams, parse
from producers.engine.keys import split
from producers.engine.twin import parse as twin
from producers.engine.twin.fragments import Fragments
from producers.engine.twin.ip import Segment, segment
from producers.engine.twin.links import LINKS, Trace
from producers.sources.opening import expand, open_path
from producers.sources.packet import Block, RawPacket, block_of
from tests.captures import captures
from tests.packets import ethernet, raw
from tests.unit.test_engine_parse import FRAMES as LINK_FRAMES
from tests.unit.test_engine_parse import TUNNELS as TUNNELLED

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "samples"
FRAMES = [
    *LINK_FRAMES.values(),
    *((1, ethernet(packet)) for packets in TUNNELLED.values() for packet in packets),
    *((228, packet) for packets in TUNNELLED.values() for packet in packets if packet[0] >> 4 == 4),
]


def rows(block: Block, datagrams: Datagrams | None = None) -> NDArray[Any]:
    facts = np.full(len(block) * FACTS.itemsize, 0xA5, np.uint8).view(FACTS)  # a row is used again and again
    buffer = block.buffer.view()
    buffer.flags.writeable = False
    linktypes = np.array([linktype for _, linktype in block.interfaces], np.int32)
    columns = buffer, block.offset, block.captured, block.wire, block.time_ns, block.interface
    parse(*columns, linktypes, facts, datagrams or new_datagrams())
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


def innermost(packet: RawPacket) -> Segment:
    """The twin's innermost IP packet, from its parts."""
    found = segment(LINKS[packet.linktype](packet.data, 0, None), packet.data, packet.wire_length)
    assert found is not None
    for _ in range(twin.MAX_NESTING):
        deeper = twin._unwrap(found, packet.data, packet.wire_length)  # noqa: SLF001 - the oracle's one step
        if deeper is None:
            break
        found = deeper[1]
    return found


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
        assert row["protocol"] == row["version"] == row["ported"] == row["length"] == 0
        assert row["transport"] == row["payload"] == -1
        assert row["shard"] == 0 or parsed == twin.MALFORMED
        return
    inner = innermost(packet)
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
    assert (row["tcp_flags"], row["sequence"], row["window"], row["length"]) == parsed[1:5]
    assert (row["acknowledgement"], row["ttl"]) == parsed[6:8]
    assert row["fragment"] == piece
    if piece == Fragment.LATER:
        assert row["transport"] == -1
    else:
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
        total += all_agree(block_of(list(block)) for block in open_path(path).blocks())
    assert total > 60_000
