"""Complete flow records of a capture: our engine against nfstream.

Both read the same file from the page cache and make every flow's record, once with all of the machine's cores and once
held on one. nfstream runs in its lightest configuration for plain flow records: no protocol recognition, no
statistics, our timeouts, and as many meters as it chooses for the machine (on one core: one). Start-up and compiled
code are not timed on our side, nor is Python's start on theirs.
"""

import contextlib
import io
import os
import sys
import time
from pathlib import Path
from typing import Any

from bench.support import captures
from bench.support.measure import in_child, in_turn, tell
from bench.support.report import Options, Report, Row

_TIMEOUTS = {"idle_timeout": 300, "active_timeout": 1800}
_NFSTREAM = {
    "n_dissections": 0,
    "statistical_analysis": False,
    "splt_analysis": 0,
    **_TIMEOUTS,
}


def run(options: Options) -> Report:
    """Packets per second of both, and their ratio: how many times faster ours is, with all cores and on one."""
    path = captures.named(options.capture) if options.capture else captures.bulk()
    captures.warm(path)
    cores = len(os.sched_getaffinity(0))
    free = _compared(path, cores, options.runs)
    alone = _compared(path, 1, options.runs)
    ours, theirs, ratio = free["ours"], free["theirs"], free["ratio"]
    figures = {
        "bench": "engine",
        "capture": str(path),
        "packets": ours["packets"],
        "packets_per_second": alone["ours"]["packets_per_second"],
        "bits_per_second": round(ours["bytes"] * 8 / alone["ours"]["seconds"]),
        **free,
        "one_core": alone,
    }
    rows = [
        Row(f"packets/s, {cores} cores", *_told("packets_per_second", ours, theirs), f"{ratio:.1f}"),
        Row(
            "packets/s, one core",
            *_told("packets_per_second", alone["ours"], alone["theirs"]),
            f"{alone['ratio']:.1f}",
        ),
        Row(f"seconds, {cores} cores", f"{ours['seconds']:.3f}", f"{theirs['seconds']:.3f}"),
        Row("processor seconds", f"{ours['cpu_seconds']:.2f}", f"{theirs['cpu_seconds']:.2f}"),
        Row("flows", *_told("flows", ours, theirs)),
        Row("packets in flows", *_told("in_flows", ours, theirs)),
        Row("Gb/s, one core", f"{figures['bits_per_second'] / 1e9:.1f}"),
    ]
    return Report(f"engine: {ours['packets']:,} packets of {path.name}", figures, rows)


def _compared(path: Path, cores: int, runs: int) -> dict[str, Any]:
    """Both sides in turn, each in a process that has so many cores."""
    meters = 1 if cores == 1 else 0  # 0: nfstream chooses
    ours, theirs = in_turn(
        lambda: in_child("bench.engine", "ours", str(path), cores=cores),
        lambda: in_child("bench.engine", "theirs", str(path), str(meters), cores=cores),
        runs,
    )
    for side in (ours, theirs):
        side["packets_per_second"] = round(ours["packets"] / side["seconds"])
    ratio = round(theirs["seconds"] / ours["seconds"], 2)
    theirs = {"name": theirs.pop("name"), "options": {**_NFSTREAM, "n_meters": meters}, **theirs}
    return {"cores": cores, "ratio": ratio, "ours": ours, "theirs": theirs}


def _told(name: str, ours: dict[str, Any], theirs: dict[str, Any]) -> tuple[str, str]:
    return f"{ours[name]:,}", f"{theirs[name]:,}"


def ours(path: str) -> dict[str, Any]:
    """Read the capture and make all its flow records, once."""
    from producers.engine.engine import FlowEngine  # noqa: PLC0415  # each side's process loads only its own
    from producers.sources.opening import open_path  # noqa: PLC0415  # as above

    for block in open_path(path).blocks():  # compiled code is loaded, the file is opened for the first time
        cold = FlowEngine()
        cold.feed(block)
        all(cold.close())
        break
    flows = in_flows = size = 0
    begin, cpu = time.perf_counter(), _cpu_seconds()
    engine = FlowEngine()
    for block in open_path(path).blocks():
        size += int(block.wire.sum())
        for _, (flow, final) in engine.feed(block).records:
            if final:
                flows += 1
                in_flows += flow.source_packets + flow.destination_packets
    for flow, final in engine.close():
        if final:
            flows += 1
            in_flows += flow.source_packets + flow.destination_packets
    spent = {"seconds": time.perf_counter() - begin, "cpu_seconds": _cpu_seconds() - cpu}
    packets = engine.accounting.read
    return {**spent, "packets": packets, "bytes": size, "flows": flows, "in_flows": in_flows}


def theirs(path: str, meters: str) -> dict[str, Any]:
    """The same by nfstream."""
    import nfstream  # type: ignore[import-untyped]  # noqa: PLC0415  # as above

    flows = in_flows = 0
    begin, cpu = time.perf_counter(), _cpu_seconds()
    with contextlib.redirect_stdout(io.StringIO()):  # it tells there how many meters it takes
        for flow in nfstream.NFStreamer(source=path, n_meters=int(meters), **_NFSTREAM):
            flows += 1
            in_flows += flow.bidirectional_packets
    spent = {"seconds": time.perf_counter() - begin, "cpu_seconds": _cpu_seconds() - cpu}
    return {**spent, "flows": flows, "in_flows": in_flows, "name": f"nfstream {nfstream.__version__}"}


def _cpu_seconds() -> float:
    """Processor time of this process and its ended children: what a busy machine does not change."""
    return sum(os.times()[:4])


if __name__ == "__main__":
    tell(ours(sys.argv[2]) if sys.argv[1] == "ours" else theirs(*sys.argv[2:]))
