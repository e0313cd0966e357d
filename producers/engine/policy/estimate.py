"""What a policy would do with captures: packets and bytes per rule, without tshark."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from producers.engine.engine import FlowEngine
from producers.engine.policy.generate import COUNTERS
from producers.engine.policy.policy import Policy
from producers.sources.packet import Source
from runtime.errors import NetflightError


@dataclass
class Estimate:
    """`rules` has what every rule took, by its name and the columns of COUNTERS; `total` all packets.

    `ignored` are packets that drop rules took, `seconds` what the engine needed, `errors` what was wrong
    with captures; what was read before is in the figures.
    """

    rules: dict[str, dict[str, int]] = field(default_factory=dict)
    total: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTERS, 0))
    ignored: int = 0
    seconds: float = 0.0
    errors: list[NetflightError] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """The estimate as `netflight policy check --json` tells it."""
        return {
            "rules": self.rules,
            "total": self.total,
            "ignored": self.ignored,
            "seconds": round(self.seconds, 3),
            "errors": [str(error) for error in self.errors],
        }


def estimate(policy: Policy, sources: Iterable[Source]) -> Estimate:
    """Run captures through the engine with a policy, each with a flow table of its own."""
    result = Estimate()
    for source in sources:
        engine = FlowEngine(policy=policy)
        try:
            for block in source.blocks():
                started = time.perf_counter()
                engine.feed_rows(block)
                result.seconds += time.perf_counter() - started
                result.total["packets"] += len(block)
                result.total["bytes"] += int(block.wire.sum())
        except NetflightError as error:
            result.errors.append(error)
        result.ignored += engine.accounting.ignored
    result.rules = policy.figures()
    for column in COUNTERS[2:]:
        result.total[column] = sum(figures[column] for figures in result.rules.values())
    return result
