"""Accumulators of numbers: what counts and sums keep, exactly, one value at a time.

An accumulator's state is a function of the values that were added: of their multiset here, whatever their order,
and wherever it was dumped, loaded and merged in between.
"""

import math
import sys
from dataclasses import dataclass
from typing import Any, Protocol

_GREATEST = sys.float_info.max
_INT64 = range(-(1 << 63), 1 << 63)


class Accumulator(Protocol):
    """How a state begins, grows, is put together and becomes JSON.

    `add` and `merge` return the state to go on with, which may be their first argument, changed. They never
    change or keep a mutable part of the second.
    """

    def zero(self) -> Any:
        """The state before any value."""

    def add(self, state: Any, value: Any, /) -> Any:
        """The state with a field's value, or every value of a list; None adds nothing (but see Count)."""

    def merge(self, state: Any, other: Any, /) -> Any:
        """The state of the values of both."""

    def dump(self, state: Any, /) -> Any:
        """The state as orjson writes it, the same for equal states."""

    def load(self, dumped: Any, /) -> Any:
        """The state that was dumped: it goes on as if it never had been."""


@dataclass(frozen=True, slots=True)
class Exact:
    """A sum of floats without rounding: numerator / 2**shift. Float addition would depend on its order."""

    numerator: int
    shift: int

    def __add__(self, other: "int | float | Exact") -> "Exact":
        if isinstance(other, Exact):
            numerator, shift = other.numerator, other.shift
        else:
            numerator, denominator = other.as_integer_ratio()
            shift = denominator.bit_length() - 1
        if shift <= self.shift:
            return Exact(self.numerator + (numerator << (self.shift - shift)), self.shift)
        return Exact((self.numerator << (shift - self.shift)) + numerator, shift)

    __radd__ = __add__

    def __float__(self) -> float:
        return quotient(self.numerator, 1 << self.shift)


def quotient(above: int, below: int) -> float:
    """The float nearest to a quotient; the greatest, or least, where it is beyond."""
    try:
        return above / below
    except OverflowError:
        return _GREATEST if (above < 0) == (below < 0) else -_GREATEST


def numbers(value: Any) -> list[int | float]:
    """The finite numbers in a field's value or list of values; a bool is no number, -0.0 is 0.0."""
    values = value if type(value) is list else (value,)
    return [
        item + 0.0 if type(item) is float else item
        for item in values
        if type(item) is int or (type(item) is float and math.isfinite(item))
    ]


class Count:
    """How many events: every `add` is one, whatever the value."""

    def zero(self) -> int:
        """No events."""
        return 0

    def add(self, state: int, _value: Any, /) -> int:
        """One more."""
        return state + 1

    def merge(self, state: int, other: int, /) -> int:
        """Both."""
        return state + other

    def dump(self, state: int, /) -> Any:
        """The number."""
        return state

    def load(self, dumped: Any, /) -> int:
        """The number."""
        return int(dumped)


class Numbers(Count):
    """How many numbers a field had."""

    def add(self, state: int, value: Any, /) -> int:
        """One more for every number."""
        if type(value) is int:
            return state + 1
        return state if value is None else state + len(numbers(value))


class Sum:
    """What a field's numbers add up to: an int of any size, or an Exact once there was a float."""

    def zero(self) -> int:
        """Nothing."""
        return 0

    def add(self, state: Any, value: Any, /) -> Any:
        """Add a number, or every number of a list."""
        if type(value) is int:
            return state + value
        if value is None:
            return state
        for number in numbers(value):
            if type(number) is float and type(state) is int:
                state = Exact(state, 0)
            state = state + number
        return state

    def merge(self, state: Any, other: Any, /) -> Any:
        """Both."""
        return state + other

    def dump(self, state: Any, /) -> Any:
        """The number; beyond 64 bits, where JSON ends, and with a fraction as hexadecimal text."""
        if isinstance(state, Exact):
            return f"{state.numerator:x}/{state.shift}"
        return _dump_number(state)

    def load(self, dumped: Any, /) -> Any:
        """The number, exactly."""
        if isinstance(dumped, str) and "/" in dumped:
            numerator, _, shift = dumped.partition("/")
            return Exact(int(numerator, 16), int(shift))
        return _load_number(dumped)


class Least:
    """The least number of a field, None before there was one. Of equal numbers, the int."""

    def zero(self) -> None:
        """No number yet."""
        return

    def add(self, state: Any, value: Any, /) -> Any:
        """The lesser of the two."""
        if type(value) is int:
            return value if state is None or value <= state else state
        if value is None:
            return state
        for number in numbers(value):
            if state is None or number < state or (number == state and type(number) is int):
                state = number
        return state

    def merge(self, state: Any, other: Any, /) -> Any:
        """The lesser of the two."""
        return self.add(state, other)

    def dump(self, state: Any, /) -> Any:
        """The number, as hexadecimal text beyond 64 bits; or None."""
        return _dump_number(state)

    def load(self, dumped: Any, /) -> Any:
        """The number or None."""
        return _load_number(dumped)


class Greatest(Least):
    """The greatest number of a field, None before there was one. Of equal numbers, the int."""

    def add(self, state: Any, value: Any, /) -> Any:
        """The greater of the two."""
        if type(value) is int:
            return value if state is None or value >= state else state
        if value is None:
            return state
        for number in numbers(value):
            if state is None or number > state or (number == state and type(number) is int):
                state = number
        return state


def _dump_number(number: Any) -> Any:
    return f"{number:x}" if type(number) is int and number not in _INT64 else number


def _load_number(dumped: Any) -> Any:
    return int(dumped, 16) if isinstance(dumped, str) else dumped
