"""`python -m streams`: a worker with settings from the environment; the command line is `./netflight worker`."""

import sys

from runtime.errors import NetflightError
from runtime.settings import Settings
from runtime.telemetry import setup_logging
from streams.app import run_worker


def main() -> int:
    """Run a worker; return the exit code."""
    setup_logging("WARNING")
    try:
        return run_worker(Settings.load())
    except NetflightError as error:
        sys.stderr.write(f"worker: {error}\n")
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
