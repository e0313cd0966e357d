"""The captures that benchmarks run on when none is named: made once, kept in the cache folder, re-used.

Beside each lies a manifest, written last, that says how it was made; one of another recipe is made again.
"""

from collections.abc import Callable
from pathlib import Path

import orjson

from bench.support.mixed import make_mixed
from bench.support.record_bulk import record_bulk
from producers.sources.opening import open_path
from runtime.errors import NetflightError, UsageError
from runtime.settings import cache_dir

BULK_PACKETS = 1_000_000
MIXED_PACKETS = 200_000


def bulk() -> Path:
    """At least a million packets of web downloads; recorded if it is not there, which needs root and a minute."""
    return _kept("bulk", 1, BULK_PACKETS, record_bulk)


def mixed() -> Path:
    """At least 200,000 packets of all protocols there are captures of; made if it is not there, within seconds."""
    return _kept("mixed", 1, MIXED_PACKETS, make_mixed)


def named(path: Path) -> Path:
    """A capture that was named on the command line; UsageError if there is none."""
    if not path.is_file():
        raise UsageError(f"{path}: no such file", "--capture names a capture file")
    return path


def count_packets(path: Path) -> int:
    """How many packets our own sources read from a capture."""
    return sum(len(block) for block in open_path(str(path)).blocks())


def warm(path: Path) -> None:
    """Read the file, so that it is in the page cache for whoever comes first."""
    with path.open("rb") as stream:
        while stream.read(1 << 22):
            pass


def _kept(name: str, recipe: int, packets: int, make: Callable[[Path, int], None]) -> Path:
    folder = cache_dir() / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    path, manifest = folder / f"{name}.pcap", folder / f"{name}.json"
    if path.is_file() and manifest.is_file():
        made = orjson.loads(manifest.read_bytes())
        if made.get("recipe") == recipe and made.get("bytes") == path.stat().st_size:
            return path
    manifest.unlink(missing_ok=True)
    make(path, packets)
    found = count_packets(path)
    if found < packets:
        raise NetflightError(
            f"{path}: {found:,} packets, {packets:,} were wanted", "run the same command again"
        )
    manifest.write_bytes(orjson.dumps({"recipe": recipe, "packets": found, "bytes": path.stat().st_size}))
    return path
