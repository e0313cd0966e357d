"""Memory of the decision engine: over 20 million packets, and with a million flows open at once.

The first part reads a capture again and again, each time later, and looks at the resident memory after every
million packets: it must not grow. The second opens flow after flow, TCP by TCP, until a million are open, and
answers each once. Resident memory is the whole process: Python, numba, the source, the table.
"""

import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from struct import pack
from typing import Any

import numpy as np

from bench.support import captures
from bench.support.measure import in_child, peak_bytes, resident_bytes, tell
from bench.support.report import Options, Report, Row
from producers.engine.engine import FlowEngine
from producers.sources.opening import open_path
from producers.sources.packet import Block, Interface

LOOPED_PACKETS = 20_000_000
FLOWS = 1_000_000
LIMIT_BYTES = 1 << 30
MILLION = 1_000_000
_MIB = 1 << 20
_PAUSE_NS = 3600 * 10**9  # between two readings: every flow of the one before is over
_PER_BLOCK = 8_192
_ETHERNET = 1


def run(options: Options) -> Report:
    """Resident memory of both parts, in bytes; `growth_bytes` is what came after the first million packets."""
    path = captures.named(options.capture) if options.capture else captures.mixed()
    looped = in_child("bench.memory", "looped", str(path), str(LOOPED_PACKETS))
    concurrent = in_child("bench.memory", "concurrent", str(FLOWS))
    rows = [
        Row("after the first million packets, MiB", _mib(looped["first_bytes"])),
        Row(f"after {looped['packets']:,}, MiB", _mib(looped["last_bytes"])),
        Row("grown by, MiB", _mib(looped["growth_bytes"])),
        Row(f"with {concurrent['flows']:,} flows open, MiB", _mib(concurrent["peak_bytes"])),
    ]
    figures = {
        "bench": "memory",
        "capture": str(path),
        "growth_bytes": looped["growth_bytes"],
        "peak_bytes": concurrent["peak_bytes"],
        "limit_bytes": LIMIT_BYTES,
        "looped": looped,
        "concurrent": concurrent,
    }
    return Report(f"memory: {path.name}, looped", figures, rows)


def looped(path: str, packets: int) -> dict[str, Any]:
    """Feed the capture again and again until there were `packets`; resident bytes after each million."""
    engine, records = FlowEngine(), 0
    samples: list[int] = []
    for block in _again_and_again(path):
        records += len(engine.feed(block).records)
        read = engine.accounting.read
        if read // MILLION > len(samples):
            samples.append(resident_bytes())
        if read >= packets:
            break
    records += sum(1 for _ in engine.close())
    samples = samples or [resident_bytes()]
    return {
        "packets": engine.accounting.read,
        "records": records,
        "closes": engine.accounting.closes(),
        "first_bytes": samples[0],
        "last_bytes": samples[-1],
        "growth_bytes": max(samples) - samples[0],
        "samples": samples,
    }


def concurrent(flows: int) -> dict[str, Any]:
    """Open `flows` flows, answer each, end them all; the process's peak of resident bytes on the way."""
    engine = FlowEngine(max_flows=flows)
    early = sum(len(engine.feed(block).records) for block in _conversations(flows))
    open_bytes = resident_bytes()
    complete = sum(
        flow.source_packets == flow.destination_packets == 1 and flow.end_reason == "end"
        for flow, _ in engine.close()
    )
    return {
        "flows": flows,
        "ended_early": early,
        "complete": complete,
        "closes": engine.accounting.closes(),
        "open_bytes": open_bytes,
        "peak_bytes": peak_bytes(),
    }


def _again_and_again(path: str) -> Iterator[Block]:
    """The capture's blocks without end, each reading later than the one before."""
    shift_ns = first_ns = 0
    for reading in count():
        latest_ns, first_frame = 0, 1
        for block in open_path(path).blocks():
            if not len(block):
                continue
            if reading == 0 and latest_ns == 0:
                first_ns = int(block.time_ns[0])
            latest_ns = max(latest_ns, int(block.time_ns.max()))
            yield replace(block, time_ns=block.time_ns + shift_ns, first_frame=first_frame)
            first_frame += len(block)
        shift_ns += latest_ns - first_ns + _PAUSE_NS


def _conversations(flows: int) -> Iterator[Block]:
    """A SYN for each flow, then its SYN-ACK, from as many addresses: within a few seconds of packet time."""
    sent = 0
    for flags in (0x02, 0x12):
        frame = np.frombuffer(_segment(flags), dtype=np.uint8)
        for begin in range(0, flows, _PER_BLOCK):
            numbers = np.arange(begin, min(begin + _PER_BLOCK, flows), dtype=np.uint32)
            yield _block(frame, numbers, sent, answer=flags == 0x12)
            sent += len(numbers)


def _block(frame: np.ndarray[Any, np.dtype[np.uint8]], numbers: Any, sent: int, *, answer: bool) -> Block:
    """One packet a number: the client's address is 10.0.0.0 plus the number."""
    frames = np.tile(frame, (len(numbers), 1))
    client = (np.uint32(10 << 24) + numbers).astype(">u4").view(np.uint8).reshape(-1, 4)
    frames[:, slice(30, 34) if answer else slice(26, 30)] = client
    length = frames.shape[1]
    lengths = np.full(len(numbers), length, dtype=np.int64)
    return Block(
        first_frame=sent + 1,
        buffer=frames.ravel(),
        time_ns=1_700_000_000 * 10**9 + (sent + np.arange(len(numbers), dtype=np.int64)) * 1_000,
        offset=np.arange(len(numbers), dtype=np.int64) * length,
        captured=lengths,
        wire=lengths,
        interface=np.zeros(len(numbers), dtype=np.int32),
        interfaces=(Interface("", _ETHERNET),),
    )


def _segment(flags: int) -> bytes:
    """An Ethernet frame with a TCP segment without payload between 10.0.0.0 and 192.0.2.80, port 443."""
    ports, addresses = (40_000, 443), (bytes([10, 0, 0, 0]), bytes([192, 0, 2, 80]))
    if flags == 0x12:
        ports, addresses = ports[::-1], addresses[::-1]
    ethernet = bytes(12) + b"\x08\x00"
    ip = pack(">BBHHHBBH", 0x45, 0, 40, 0, 0, 64, 6, 0) + b"".join(addresses)
    return ethernet + ip + pack(">HHIIBBHHH", *ports, 1, 1 if flags == 0x12 else 0, 0x50, flags, 65_535, 0, 0)


def _mib(size: int) -> str:
    return f"{size / _MIB:,.1f}"


if __name__ == "__main__":
    part, *arguments = sys.argv[1:]
    tell(looped(arguments[0], int(arguments[1])) if part == "looped" else concurrent(int(arguments[0])))
