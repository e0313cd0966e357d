"""Wall time of `./netflight decode` over that of one bare tshark that prints 60 fields of the same capture.

Both start from nothing, read the file from the page cache and throw away what they print. Without a capture
named, once for a mix of protocols (`ratio`) and once for a million packets of web downloads (`bulk_ratio`).
"""

from functools import partial
from pathlib import Path
from typing import Any

from bench.support import captures
from bench.support.measure import ROOT, in_turn, wall_time
from bench.support.report import Options, Report, Row

FIELDS = (Path(__file__).parent / "support" / "fields.txt").read_text().split()
"""The fields that tshark prints: what is common to packets, and the best known ones of a dozen protocols."""


def run(options: Options) -> Report:
    """The ratios, with both sides of each in seconds: below 1, `./netflight decode` is faster."""
    if options.capture:
        compared = {"": _compare(captures.named(options.capture), options.runs)}
    else:
        compared = {"": _compare(captures.mixed(), options.runs)}
    if options.bulk or not options.capture:
        compared["bulk_"] = _compare(captures.bulk(), options.runs)
    figures: dict[str, Any] = {"bench": "producer", "fields": len(FIELDS)}
    rows = []
    for prefix, found in compared.items():
        figures |= {f"{prefix}{name}": value for name, value in found.items()}
        name = Path(found["capture"]).name
        ours, theirs = found["ours"]["seconds"], found["theirs"]["seconds"]
        rows.append(Row(f"{name}, seconds", f"{ours:.2f}", f"{theirs:.2f}", f"{found['ratio']:.3f}"))
        packets = found["packets"]
        rows.append(Row(f"{name}, packets/s", f"{packets / ours:,.0f}", f"{packets / theirs:,.0f}"))
    return Report("producer: netflight decode against tshark with 60 fields", figures, rows)


def _compare(path: Path, runs: int) -> dict[str, Any]:
    captures.warm(path)
    decode: list[str | Path] = [ROOT / "netflight", "decode", path, "--quiet", "--output", "/dev/null"]
    dissect: list[str | Path] = ["tshark", "-n", "-r", path, "-T", "fields"]
    for name in FIELDS:
        dissect += ["-e", name]
    ours, theirs = in_turn(partial(wall_time, decode), partial(wall_time, dissect), runs)
    return {
        "capture": str(path),
        "packets": captures.count_packets(path),
        "ratio": round(ours["seconds"] / theirs["seconds"], 4),
        "ours": ours,
        "theirs": theirs,
    }
