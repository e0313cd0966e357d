"""`python -m sinks NAME`: one sink, with settings from the environment; what a container starts."""

import argparse
import sys
from pathlib import Path

from runtime.errors import NetflightError
from runtime.lifecycle import stop_on_signals
from runtime.settings import Settings
from runtime.telemetry import setup_logging
from sinks.registry import DESTINATIONS
from sinks.runner import run_sink


def main() -> int:
    """Run one sink until it is told to stop; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m sinks", description="Deliver the topics of a namespace.")
    parser.add_argument("name", choices=sorted(DESTINATIONS))
    parser.add_argument("--until-idle", type=float, metavar="SECONDS", help="end when idle for so long")
    parser.add_argument("--summary", type=Path, metavar="FILE", help="write the counts as JSON")
    given = parser.parse_args()
    setup_logging()
    try:
        with stop_on_signals() as stop:
            run_sink(
                given.name, Settings.load(), stop=stop, summary=given.summary, until_idle=given.until_idle
            )
    except NetflightError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
