"""How long tests wait for a state. It bounds a test that hangs, and says nothing of how fast anything is."""

import time
from collections.abc import Callable

PATIENCE = 600.0
"""Seconds: a slow machine is a normal machine, so this is far beyond what any state takes there."""
_POLL = 0.05


def wait_until(claim: Callable[[], bool], what: str = "it did not happen") -> None:
    """Wait until `claim` holds; fails the test with `what` after PATIENCE."""
    deadline = time.monotonic() + PATIENCE
    while not claim():
        assert time.monotonic() < deadline, f"{what} within {PATIENCE:.0f} s"
        time.sleep(_POLL)
