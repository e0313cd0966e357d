"""Waiting longer after every failure, up to a limit, and never in step with others."""

import random


class Backoff:
    """Exponential back-off with full jitter: the n-th wait is between half and all of `first` * 2**n."""

    def __init__(self, first: float = 0.25, most: float = 15.0) -> None:
        self.first = first
        self.most = most
        self.failures = 0

    def next(self, at_least: float = 0.0) -> float:
        """Seconds to wait after one more failure."""
        full = min(self.most, self.first * 2 ** min(self.failures, 30))
        self.failures += 1
        return max(at_least, random.uniform(full / 2, full))  # noqa: S311 - jitter, no secret

    def reset(self) -> None:
        """Begin again after a success."""
        self.failures = 0
