"""Measures as data: what a statistic computes of a group's events, and the accumulators it takes.

Measures share what they have in common: a mean is a sum and a count of numbers, two quantiles of a field are read
from one sketch, the top values and the entropy of a field from the same counts.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from streams.core.accumulators import Accumulator, Count, Exact, Greatest, Least, Numbers, Sum, quotient
from streams.core.sketches import (
    CAPACITY,
    DISTINCT_ERROR,
    QUANTILE_ERROR,
    Distinct,
    Frequencies,
    Quantiles,
    distinct,
    entropy,
    heaviest,
    quantile,
)

KINDS = ("count", "sum", "min", "max", "mean", "distinct", "top", "quantile", "entropy", "rate", "ratio")
DEFAULT_LIMIT = 10

_NUMERIC = {"sum", "min", "max", "mean", "quantile", "rate"}
_FORMS = "`count`, or one of " + ", ".join(KINDS[1:]) + " with its field"

FieldName = Annotated[str, Field(min_length=1)]


class MeasureSpec(BaseModel):
    """One declared measure: `count`, or a kind with the field it reads.

    `{top: FIELD, limit: 10}`: the values with most events. `{quantile: FIELD, q: 0.95}`. `{entropy: FIELD}`: Shannon's,
    in bits. `{rate: count}` or `{rate: FIELD}`: events, or the field's sum, per second of the window.
    `{ratio: [A, B]}`: of two other measures that are counts or sums; 0 where B is 0.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    count: bool = False
    sum: FieldName | None = None
    min: FieldName | None = None
    max: FieldName | None = None
    mean: FieldName | None = None
    distinct: FieldName | None = None
    top: FieldName | None = None
    quantile: FieldName | None = None
    entropy: FieldName | None = None
    rate: FieldName | None = None
    ratio: tuple[FieldName, FieldName] | None = None
    limit: int | None = Field(default=None, ge=1, le=1000)
    q: float | None = Field(default=None, ge=0, le=1)

    @model_validator(mode="before")
    @classmethod
    def _by_name(cls, data: Any) -> Any:
        match data:
            case "count":
                return {"count": True}
            case str():
                raise ValueError(f"{data!r} is no measure; a measure is {_FORMS}")
        return data

    @model_validator(mode="after")
    def _one(self) -> "MeasureSpec":
        kinds = [kind for kind in KINDS if getattr(self, kind)]
        if len(kinds) != 1:
            found = " and ".join(kinds) or "nothing"
            raise ValueError(f"a measure is {_FORMS}; this has {found}")
        if self.limit is not None and not self.top:
            raise ValueError(f"limit belongs to top, not to {kinds[0]}")
        if self.q is not None and not self.quantile:
            raise ValueError(f"q belongs to quantile, not to {kinds[0]}")
        if self.quantile and self.q is None:
            raise ValueError("quantile: which one? q from 0 to 1, such as {quantile: FIELD, q: 0.95}")
        return self

    @property
    def kind(self) -> str:
        """The one of KINDS that it is."""
        return next(kind for kind in KINDS if getattr(self, kind))

    @property
    def field(self) -> str | None:
        """The field that it reads; None for `count`, a rate of events and a ratio."""
        if self.count or self.ratio or self.rate == "count":
            return None
        return str(getattr(self, self.kind))

    @property
    def fields(self) -> tuple[str, ...]:
        """The input fields: one or none."""
        return (self.field,) if self.field else ()

    @property
    def numeric(self) -> bool:
        """Whether only numbers in its field say anything to it."""
        return self.kind in _NUMERIC


Read = Callable[[Sequence[Any], float], Any]


@dataclass(frozen=True, slots=True)
class Measures:
    """Compiled measures: a group's state is a list with the state of each accumulator.

    `inputs` are the fields that the accumulators read, None for a count of events. `additive`: all accumulators are
    counts and sums, so `+` merges their states. `errors` says by name how far a result can be off: relative to
    the true one for `distinct` (three standard deviations) and `quantile`; for `top`, how many events a count can
    lack, relative to all events of the group; None where the result is exact. `top` and `entropy` are exact up to
    CAPACITY values; beyond it no bound on `entropy` is known in advance (inf; `sketches.entropy` says more).
    """

    names: tuple[str, ...]
    inputs: tuple[str | None, ...]
    accumulators: tuple[Accumulator, ...]
    errors: Mapping[str, float | None]
    additive: bool
    _reads: tuple[Read, ...]

    def zero(self) -> list[Any]:
        """The state of a group without events."""
        return [accumulator.zero() for accumulator in self.accumulators]

    def results(self, states: Sequence[Any], seconds: float) -> list[Any]:
        """The results in order of `names`, for a window of so many seconds.

        Numbers; for `top` a list of {"value": str, "count": int}, heaviest first; None where no event had the field
        (0 for `sum`, `distinct`, `rate` and `ratio`), and for `rate` where a session is a moment. An int that JSON's
        64 bits cannot hold comes as a float.
        """
        return [read(states, seconds) for read in self._reads]

    def merge(self, into: list[Any], other: Sequence[Any]) -> None:
        """Add the states of `other` to those of `into`, in place."""
        for place, accumulator in enumerate(self.accumulators):
            into[place] = accumulator.merge(into[place], other[place])

    def dump(self, states: Sequence[Any]) -> list[Any]:
        """The states as orjson writes them."""
        return [accumulator.dump(state) for accumulator, state in zip(self.accumulators, states, strict=True)]

    def load(self, dumped: Sequence[Any]) -> list[Any]:
        """The states that were dumped: they go on as if they never had been."""
        return [accumulator.load(state) for accumulator, state in zip(self.accumulators, dumped, strict=True)]


def compile_measures(declared: Mapping[str, MeasureSpec]) -> Measures:
    """The accumulators of declared measures, each once, and how results are read from them.

    Raises ValueError where a ratio names what is no count or sum of the same statistic.
    """
    shared = _Shared()
    reads = tuple(_reader(name, spec, declared, shared) for name, spec in declared.items())
    return Measures(
        names=tuple(declared),
        inputs=tuple(name for _, name in shared.places),
        accumulators=tuple(kind() for kind, _ in shared.places),
        errors={name: _error(spec) for name, spec in declared.items()},
        additive=all(kind in {Count, Sum} for kind, _ in shared.places),
        _reads=reads,
    )


class _Shared:
    """The accumulators so far, by kind and field."""

    def __init__(self) -> None:
        self.places: dict[tuple[type[Accumulator], str | None], int] = {}

    def place(self, kind: type[Accumulator], field: str | None) -> int:
        return self.places.setdefault((kind, field), len(self.places))


def _reader(name: str, spec: MeasureSpec, declared: Mapping[str, MeasureSpec], shared: _Shared) -> Read:
    if spec.ratio:
        above, below = (_operand(name, part, declared, shared) for part in spec.ratio)
        return lambda states, _: _divided(states[above], states[below]) if states[below] else 0.0
    if spec.mean:
        total, number = shared.place(Sum, spec.mean), shared.place(Numbers, spec.mean)
        return lambda states, _: _divided(states[total], states[number]) if states[number] else None
    if spec.rate:
        amount = shared.place(Sum if spec.field else Count, spec.field)
        return lambda states, seconds: float(_number(states[amount])) / seconds if seconds else None
    return _plain_reader(spec, shared)


def _plain_reader(spec: MeasureSpec, shared: _Shared) -> Read:
    """The reader of a measure that is read from one accumulator."""
    limit, q = spec.limit or DEFAULT_LIMIT, spec.q or 0.0
    kinds: dict[str, tuple[type[Accumulator], Callable[[Any], Any]]] = {
        "count": (Count, _number),
        "sum": (Sum, _number),
        "min": (Least, _number),
        "max": (Greatest, _number),
        "distinct": (Distinct, distinct),
        "top": (Frequencies, lambda state: heaviest(state, limit)),
        "quantile": (Quantiles, lambda state: quantile(state, q)),
        "entropy": (Frequencies, entropy),
    }
    kind, read = kinds[spec.kind]
    place = shared.place(kind, spec.field)
    return lambda states, _: read(states[place])


def _operand(name: str, part: str, declared: Mapping[str, MeasureSpec], shared: _Shared) -> int:
    if part not in declared:
        raise ValueError(f"{name}: ratio of {part}: no such measure; there are {', '.join(declared)}")
    spec = declared[part]
    if spec.count:
        return shared.place(Count, None)
    if spec.sum:
        return shared.place(Sum, spec.sum)
    raise ValueError(f"{name}: ratio of {part}: a ratio is of counts and sums, and this is a {spec.kind}")


def _error(spec: MeasureSpec) -> float | None:
    errors = {
        "distinct": DISTINCT_ERROR,
        "quantile": QUANTILE_ERROR,
        "top": 2 / CAPACITY,
        "entropy": math.inf,
    }
    return errors.get(spec.kind)


def _number(state: Any) -> Any:
    """A state as a number of an event."""
    if isinstance(state, Exact):
        return float(state)
    if type(state) is int and not -(1 << 63) <= state < (1 << 63):
        return quotient(state, 1)
    return state


def _divided(above: Any, below: Any) -> float:
    one, other = (Exact(0, 0) + part for part in (above, below))
    return quotient(one.numerator << other.shift, other.numerator << one.shift)
