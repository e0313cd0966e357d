"""The watermark of one source partition: event time up to which it is taken to be complete.

It is the newest event time seen less the allowed lateness, rounded down to a step (the shortest window), so
that it moves seldom enough to be kept and told. It never moves back.
"""

from dataclasses import dataclass


@dataclass(slots=True)
class Watermark:
    """`value` is the watermark in nanoseconds, None before the first event. All times are nanoseconds."""

    lateness_ns: int
    step_ns: int
    value: int | None = None

    def observe(self, time_ns: int) -> bool:
        """Take an event's time in; return whether the watermark moved."""
        reached = (time_ns - self.lateness_ns) // self.step_ns * self.step_ns
        if self.value is not None and reached <= self.value:
            return False
        self.value = reached
        return True

    def passed(self, time_ns: int) -> bool:
        """Whether everything before `time_ns` is taken to be there."""
        return self.value is not None and self.value >= time_ns
