"""Record samples: `samples/record/record.sh [NAME...]`, all of them without a name."""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from samples.record.case import CaseError, render
from samples.record.lab import Lab, LabError
from samples.record.readme import refresh
from samples.record.scenes import SCENES

SAMPLES = Path(__file__).resolve().parents[1]
PCAPNG = ("dhcp", "ping", "port_scan")  # both formats are among the samples
TRIES = 4
LIMIT = 1_000_000  # bytes; a sample is cloned with the repository


def main() -> int:
    """Record the samples named on the command line; exit code 0, or 1 if one could not be recorded."""
    parser = argparse.ArgumentParser(prog="record.sh", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(SCENES)}; default: all")
    names = parser.parse_args().names or list(SCENES)
    if unknown := [name for name in names if name not in SCENES]:
        parser.error(f"no such sample: {', '.join(unknown)} (known: {', '.join(SCENES)})")
    # SIGTERM unwinds like Ctrl-C does, so that namespaces and servers are taken down.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    failed = 0
    for name in names:
        print(f"{name}: recording", flush=True)  # noqa: T201
        try:
            path = attempt(name)
        except (LabError, CaseError, subprocess.SubprocessError) as error:
            print(f"{name}: {error}", file=sys.stderr)  # noqa: T201
            failed += 1
        else:
            print(f"{name}: {path.relative_to(SAMPLES)}, {path.stat().st_size} bytes", flush=True)  # noqa: T201
    refresh(SAMPLES)
    return min(failed, 1)


def attempt(name: str) -> Path:
    """Record one sample, again when a program resent something: udhcpc at times misses an answer that is too fast."""
    for _ in range(TRIES - 1):
        try:
            return record(name)
        except CaseError as error:
            print(f"{name}: {error}; once more", file=sys.stderr)  # noqa: T201
    return record(name)


def record(name: str) -> Path:
    """Record one sample and put its capture and case.yaml in place; the old ones stay if that fails."""
    with tempfile.TemporaryDirectory(prefix="netflight-record-") as folder:
        raw, ordered = Path(folder) / "raw.pcap", Path(folder) / "ordered.pcap"
        with Lab() as lab:
            case = SCENES[name](lab, raw)
        capture = Path(folder) / ("capture.pcapng" if name in PCAPNG else "capture.pcap")
        # Two CPUs may hand over their packets out of order, by microseconds.
        subprocess.run(["reordercap", str(raw), str(ordered)], check=True, capture_output=True)
        # editcap and not dumpcap writes the pcapng: dumpcap puts the machine's CPU and kernel into it.
        kind = "pcapng" if name in PCAPNG else "pcap"
        subprocess.run(["editcap", "-F", kind, str(ordered), str(capture)], check=True, capture_output=True)
        if capture.stat().st_size > LIMIT:
            raise LabError(f"capture of {capture.stat().st_size} bytes, more than {LIMIT}")
        text = render(case, capture)
        target = SAMPLES / name
        target.mkdir(exist_ok=True)
        for old in target.glob("capture.*"):
            old.unlink()
        (target / capture.name).write_bytes(capture.read_bytes())
        (target / "case.yaml").write_text(text)
        return target / capture.name


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
