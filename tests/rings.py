"""What the recorder's tests share: batches as the engine makes them, a clock, what is in a ring."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from producers.engine.community_id import community_id
from producers.engine.kernel.layout import FACTS, RECORD, Kind
from producers.engine.kernel.parse import new_datagrams, parse
from producers.engine.model import Flow, FlowRecord
from producers.recorder.carve import BEGINNING, END, Carved, Ring
from producers.sources.opening import open_path
from producers.sources.packet import Block, RawPacket, block_of
from tests.packets import ethernet, ip, read, tcp, udp

SECOND = 10**9


@dataclass(slots=True, eq=False)
class Decided:
    """A batch whose packets were parsed and got one verdict; nobody asks it for flows."""

    block: Block
    facts: NDArray[Any]
    records: list[tuple[int, FlowRecord]] = field(default_factory=list)

    def flow(self, index: int) -> Flow | None:
        raise NotImplementedError


class Parser:
    """Parses blocks with the kernel, in their order."""

    def __init__(self) -> None:
        self._datagrams = new_datagrams()

    def batch(self, block: Block, verdict: int = RECORD) -> Decided:
        facts = np.zeros(len(block), dtype=FACTS)
        links = np.array([each.linktype for each in block.interfaces], dtype=np.int32)
        columns = (block.offset, block.captured, block.wire, block.time_ns, block.interface)
        parse(block.buffer, *columns, links, facts, self._datagrams)
        facts["verdict"] = verdict
        return Decided(block, facts)


def batches(path: Path, verdict: int = RECORD) -> Iterator[Decided]:
    """A capture's batches."""
    parser = Parser()
    for block in open_path(str(path)).blocks():
        if len(block):
            yield parser.batch(block, verdict)


def batch_of(packets: Sequence[RawPacket], verdict: int = RECORD) -> Decided:
    """A batch of packets that stand one by one."""
    return Parser().batch(block_of(packets), verdict)


def key_of(row: Any) -> bytes:
    """A row of FACTS as the flow's key (producers.engine.keys)."""
    width = 4 if row["version"] == 4 else 16
    ends = b"".join(
        (int(row[f"{side}_high"]) << 64 | int(row[f"{side}_low"])).to_bytes(16, "big")[16 - width :]
        for side in ("source", "destination")
    )
    ports = b"".join(int(row[f"{side}_port"]).to_bytes(2, "big") for side in ("source", "destination"))
    return bytes([int(row["protocol"])]) + ends + (ports if row["ported"] else b"")


def ids_of(batch: Decided) -> list[str]:
    """The Community ID of each packet, empty where it is in no flow; by the engine's Python, not the recorder."""
    return [community_id(key_of(row)) if row["kind"] == Kind.FLOW else "" for row in batch.facts]


def conversation(host: int, port: int, count: int, *, start_ns: int, size: int = 1000) -> list[RawPacket]:
    """Packets of one TCP connection, a millisecond apart, there and back."""
    inside, outside = f"10.0.{host >> 8}.{host & 255}", "192.0.2.1"
    return [
        RawPacket(
            number + 1,
            start_ns + number * 1_000_000,
            1,
            ethernet(
                ip(outside, inside, 6, tcp(443, port, 0x18, number, bytes(size)))
                if number % 2
                else ip(inside, outside, 6, tcp(port, 443, 0x18, number, bytes(size)))
            ),
            94 + size,
            "lan0",
        )
        for number in range(count)
    ]


def id_of(packets: Sequence[RawPacket]) -> str:
    """The Community ID of a conversation's first packet."""
    return ids_of(batch_of(packets[:1]))[0]


def datagram(host: int, time_ns: int, payload: bytes = b"?", interface: str = "lan0") -> RawPacket:
    """One UDP packet."""
    data = ethernet(ip(f"10.1.{host >> 8}.{host & 255}", "192.0.2.53", 17, udp(4000, 53, payload)))
    return RawPacket(1, time_ns, 1, data, len(data), interface)


def carved(
    folder: Path, identity: str, from_ns: int = BEGINNING, to_ns: int = END
) -> tuple[list[RawPacket], Carved]:
    """A flow's packets out of a ring, read back by the readers of captures."""
    pieces: list[bytes] = []
    found = Ring(folder).carve(identity, pieces.append, from_ns, to_ns)
    return (read(b"".join(pieces)) if pieces else []), found


def bare(packets: Sequence[RawPacket]) -> list[tuple[int, int, bytes, int, str]]:
    """What must come back of packets: everything but their number in a file."""
    return [(p.time_ns, p.linktype, p.data, p.wire_length, p.interface) for p in packets]


def ring_bytes(folder: Path, part: str = "segments") -> int:
    """What a part of a ring takes on disk."""
    return sum(path.stat().st_size for path in (folder / part).iterdir())
