"""Accumulators of values: how many distinct ones, their quantiles, which are frequent and how they are spread.

Each is exact while there are few values, and then an estimate in bounded memory with a known error. Distinct and
Quantiles depend on the multiset of values alone; Frequencies beyond its capacity depends on their sequence.
"""

import math
from base64 import b64decode, b64encode
from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import accumulate
from math import ceil, log2
from typing import Any

import numpy as np
import orjson
from datasketches import hll_sketch, hll_union, tgt_hll_type
from ddsketch.mapping import LogarithmicMapping

from streams.core.accumulators import numbers

# Three standard deviations of HyperLogLog's error with 2**12 registers: 3 * 1.04 / sqrt(2**12), a little more
# in the range where it passes from counting to estimating.
DISTINCT_ERROR = 0.05
QUANTILE_ERROR = 0.01

# Frequencies keeps so many values, and so many characters of each; and in all so many bytes of JSON, since a
# state is one Kafka message.
CAPACITY = 4096
MAX_CHARACTERS = 256
MAX_BYTES = 1 << 18

_LG_REGISTERS = 12
_REGISTERS = 2
_INT64 = 1 << 63
_WHOLE_FLOATS = float(1 << 53)

# Quantiles tells numbers apart between these; nearer to zero is zero, beyond is the bound. So the state has at
# most 3,340 buckets for each sign. The offset makes all buckets of positive numbers positive.
_SMALLEST, _LARGEST = 1e-9, 1e20
_OFFSET = 1 << 12
_MAPPING = LogarithmicMapping(QUANTILE_ERROR, offset=_OFFSET)
_BUCKETS_PER_OCTAVE = 1 / log2(_MAPPING.gamma)

# Frequencies adds up c * log2(c) in whole units of this, so that the order of adding does not matter.
_UNITS_PER_BIT = 1 << 20


def _texts(value: Any) -> list[str]:
    """The values of a field or list as text; None, empty text and objects are no values."""
    values = value if type(value) is list else (value,)
    return [text for text in map(_text, values) if text]


def _text(value: Any) -> str:
    """A value as text, the same for a number as int, whole float or text; empty for what is no value."""
    if type(value) is int:
        return str(value) if -_INT64 <= value < _INT64 else hex(value)
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        whole = value.is_integer() and abs(value) <= _WHOLE_FLOATS
        return str(int(value)) if whole else repr(value)
    return ""


class Distinct:
    """How many distinct values, by HyperLogLog (Flajolet et al., AofA 2007) of Apache DataSketches.

    Up to 384 values are counted one by one. Beyond that the standard error is 1.6 % (1.04 / sqrt(4096)).
    A sketch that only ever grew estimates by history (HIP, Cohen, KDD 2014), which depends on the order of values;
    one that was merged cannot. So all are read and dumped as if merged with themselves: the registers are
    the same, the estimator is the composite one, a function of the registers alone.
    """

    def zero(self) -> Any:
        """An empty sketch."""
        return hll_sketch(_LG_REGISTERS, tgt_hll_type.HLL_8)

    def add(self, state: Any, value: Any, /) -> Any:
        """Take in a value, or every value of a list."""
        if type(value) is str:
            try:
                state.update(value)
            except TypeError:  # a lone surrogate: no UTF-8
                state.update(_text(value))
        elif type(value) is int:
            state.update(_text(value))
        elif value is not None:
            for text in _texts(value):
                state.update(text)
        return state

    def merge(self, state: Any, other: Any, /) -> Any:
        """The sketch of both."""
        return _union(state, other)

    def dump(self, state: Any, /) -> str:
        """The compact serialisation in base64, its list of values in order: equal for equal multisets."""
        packed: bytes = _union(state, state).serialize_compact()
        mode, head = packed[7] & 3, 4 * (packed[0] & 0x3F)
        if mode != _REGISTERS:  # but a list or set of hashes
            packed = packed[:head] + np.sort(np.frombuffer(packed, "<u4", offset=head)).tobytes()
        return b64encode(packed).decode()

    def load(self, dumped: str, /) -> Any:
        """The sketch."""
        return hll_sketch.deserialize(b64decode(dumped))


def distinct(state: Any) -> int:
    """The estimate of a sketch of Distinct."""
    estimate: float = _union(state, state).get_estimate()
    return round(estimate)


def _union(one: Any, other: Any) -> Any:
    union = hll_union(_LG_REGISTERS)
    union.update(one)
    union.update(other)
    return union.get_result(tgt_hll_type.HLL_8)


class Quantiles:
    """A field's numbers in buckets that grow by 2 %: DDSketch (Masson et al., VLDB 2019) without collapsing.

    The state counts by bucket; in order of buckets the numbers are in order. A quantile is off by 1 % at most,
    between 1e-9 and 1e20 on either side of zero.
    """

    def zero(self) -> dict[int, int]:
        """No numbers."""
        return {}

    def add(self, state: dict[int, int], value: Any, /) -> dict[int, int]:
        """Count a number, or every number of a list."""
        if value is None:
            return state
        for number in (value,) if type(value) is int else numbers(value):
            at = bucket(number)
            try:
                state[at] += 1
            except KeyError:
                state[at] = 1
        return state

    def merge(self, state: dict[int, int], other: dict[int, int], /) -> dict[int, int]:
        """The counts of both."""
        for at, count in other.items():
            state[at] = state.get(at, 0) + count
        return state

    def dump(self, state: dict[int, int], /) -> list[int]:
        """Bucket, count, bucket, count, in order of buckets."""
        return [number for at in sorted(state) for number in (at, state[at])]

    def load(self, dumped: list[int], /) -> dict[int, int]:
        """The counts by bucket."""
        return dict(zip(dumped[::2], dumped[1::2], strict=True))


def bucket(number: float) -> int:
    """The bucket of a number: LogarithmicMapping's key, written out because this is called for every event."""
    if _SMALLEST <= number <= _LARGEST:
        return ceil(log2(number) * _BUCKETS_PER_OCTAVE) + _OFFSET
    if number < 0:
        return -bucket(-number)
    return 0 if number < _SMALLEST else bucket(_LARGEST)


def quantile(state: dict[int, int], q: float) -> float | None:
    """The number at rank q * (n - 1) of n numbers, rounded down; None of no numbers."""
    if not state:
        return None
    buckets = sorted(state)
    running = list(accumulate(state[at] for at in buckets))
    found = buckets[bisect_right(running, int(q * (running[-1] - 1)))]
    return math.copysign(_MAPPING.value(abs(found)), found) if found else 0.0


@dataclass(slots=True)
class Counts:
    """What Frequencies keeps: counts by value, and of what it dropped, how much.

    A value of `counts` had its count of events since it came in, and before that at most `late[value]` (0 where
    missing) more; one that is not there had at most `bound`. `dropped` is how many events were of dropped values,
    `spread` their c * log2(c) over the dropped counts c, in units; `seen` sketches all values once one was dropped.
    `size` is how many bytes of JSON the values are.
    """

    counts: dict[str, int] = field(default_factory=dict)
    late: dict[str, int] = field(default_factory=dict)
    bound: int = 0
    dropped: int = 0
    spread: int = 0
    seen: Any = None
    size: int = 0


class Frequencies:
    """Events by value: exact until CAPACITY or MAX_BYTES is full, then the lighter half of the values is dropped.

    The dropping is Misra-Gries' (1982) in the batches of Anderson et al. (IMC 2017), and merging is that of Agarwal
    et al. (PODS 2012); a count is from when its value came in, as in Lossy Counting (Manku and Motwani, VLDB 2002).
    So no count is too high, and none short by more than `bound`: at most 2 / n of all events where n values fill
    the state, that is CAPACITY of them unless they are longer than 64 bytes. What is kept depends on the sequence of
    values, and of merges, not on where it was dumped and loaded.
    """

    def zero(self) -> Counts:
        """No events."""
        return Counts()

    def add(self, state: Counts, value: Any, /) -> Counts:
        """Count a value, or every value of a list; of longer text the first MAX_CHARACTERS."""
        if value is None:
            return state
        if type(value) is str:
            if value in state.counts:
                state.counts[value] += 1
                return state
        elif type(value) is int:
            _count(state, _text(value))
            return state
        for text in _texts(value):
            _count(state, text)
        return state

    def merge(self, state: Counts, other: Counts, /) -> Counts:
        """The counts of both; the bounds add up."""
        if state.bound or other.bound:
            state.seen = _union(_seen(state), _seen(other))
            state.late = {
                value: late
                for value in state.counts.keys() | other.counts
                if (late := _missed(state, value) + _missed(other, value))
            }
        counts = state.counts
        for value, count in other.counts.items():
            if value not in counts:
                state.size += _size(value)
            counts[value] = counts.get(value, 0) + count
        state.bound += other.bound
        state.dropped += other.dropped
        state.spread += other.spread
        while len(counts) > CAPACITY or state.size > MAX_BYTES:
            _prune(state)
        return state

    def dump(self, state: Counts, /) -> list[Any]:
        """The counts in order of values; what was dropped, if anything was."""
        counts = {value: state.counts[value] for value in sorted(state.counts)}
        if not state.bound:
            return [counts]
        late = [state.late.get(value, 0) for value in counts]
        return [counts, late, state.bound, state.dropped, state.spread, Distinct().dump(state.seen)]

    def load(self, dumped: list[Any], /) -> Counts:
        """The counts."""
        state = Counts(dict(dumped[0]))
        if state.counts:
            brackets_and_commas = len(state.counts) + 1
            state.size = len(orjson.dumps(list(state.counts))) - brackets_and_commas
        if len(dumped) > 1:
            _, late, state.bound, state.dropped, state.spread, seen = dumped
            state.late = {value: most for value, most in zip(state.counts, late, strict=True) if most}
            state.seen = Distinct().load(seen)
        return state


def heaviest(state: Counts, limit: int) -> list[dict[str, Any]] | None:
    """The values with most events, heaviest first, then by value; None of no events."""
    found = sorted(state.counts.items(), key=lambda item: (-item[1], item[0]))[:limit]
    return [{"value": value, "count": count} for value, count in found] or None


def entropy(state: Counts) -> float | None:
    """Shannon's entropy of the values in bits; None of no events.

    Exact while nothing was dropped. Then the lesser of two estimates: each dropped count taken for a value of its own
    (never too low; too high by r * (1.45 + log2(m)) bits at most, where r is the share of events that were dropped
    and m the most events of one value), and the dropped events spread evenly over the values that are not kept,
    whose number Distinct estimates. Measured: 0.1 bits off for evenly spread values, 0.6 for a million events of
    300,000 values with Zipf's frequencies.
    """
    total = sum(state.counts.values()) + state.dropped
    if not total:
        return None
    kept = math.fsum(count * log2(count) for count in state.counts.values())
    apart = state.spread / _UNITS_PER_BIT
    if state.dropped:
        others = max(distinct(state.seen) - len(state.counts), 1)
        apart = max(apart, state.dropped * log2(max(state.dropped / others, 1.0)))
    return max(log2(total) - (kept + apart) / total, 0.0)


def _count(state: Counts, text: str) -> None:
    value = text[:MAX_CHARACTERS]
    counts = state.counts
    if value in counts:
        counts[value] += 1
        return
    size = _size(value)
    while counts and (len(counts) >= CAPACITY or state.size + size > MAX_BYTES):
        _prune(state)
    counts[value] = 1
    state.size += size
    if state.bound:
        state.late[value] = state.bound
        state.seen.update(value)


def _prune(state: Counts) -> None:
    """Drop the lighter half of the values, by what each is sure to have had beyond `bound`, up to their median.

    At least half of the values have as much as the median, so `bound` grows by one for so many events.
    """
    state.seen = _seen(state)
    counts, bound = state.counts, state.bound
    sure = {value: count + state.late.get(value, 0) - bound for value, count in counts.items()}
    median = sorted(sure.values(), reverse=True)[min(len(sure), CAPACITY) // 2]
    for value, weight in sure.items():
        if weight <= median:
            count = counts.pop(value)
            state.late.pop(value, None)
            state.dropped += count
            state.spread += round(count * log2(count) * _UNITS_PER_BIT)
            state.size -= _size(value)
    state.bound += median


def _size(value: str) -> int:
    """The bytes of a value in JSON."""
    return len(orjson.dumps(value))


def _missed(state: Counts, value: str) -> int:
    return state.late.get(value, 0) if value in state.counts else state.bound


def _seen(state: Counts) -> Any:
    """The sketch of all values; as long as none was dropped, they are all there."""
    if state.seen is not None:
        return state.seen
    seen = Distinct().zero()
    for value in state.counts:
        seen.update(value)
    return seen
