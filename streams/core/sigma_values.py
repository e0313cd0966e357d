"""Sigma values as tests on one value of an event: `value_test(SigmaString("a*"))("Abc")` is True.

Semantics are those of the Sigma specification 2.0: strings ignore case unless `cased`, `*` and `?` are
wildcards, a regular expression may match anywhere, numbers compare as numbers.
"""

import ipaddress
import math
import operator
import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from sigma.types import (
    CompareOperators,
    SigmaBool,
    SigmaCasedString,
    SigmaCIDRExpression,
    SigmaCompareExpression,
    SigmaExpansion,
    SigmaNumber,
    SigmaRegularExpression,
    SigmaString,
    SigmaTimestampPart,
    SigmaType,
    SpecialChars,
    TimestampPart,
)

from schemas.events import NANOSECONDS, parse_timestamp

Test = Callable[[Any], bool]

_COMPARE: dict[CompareOperators, Callable[[float, float], bool]] = {
    CompareOperators.LT: operator.lt,
    CompareOperators.LTE: operator.le,
    CompareOperators.GT: operator.gt,
    CompareOperators.GTE: operator.ge,
    CompareOperators.NEQ: operator.ne,
}

_PARTS: dict[TimestampPart, Callable[[datetime], int]] = {
    TimestampPart.MINUTE: lambda day: day.minute,
    TimestampPart.HOUR: lambda day: day.hour,
    TimestampPart.DAY: lambda day: day.day,
    TimestampPart.WEEK: lambda day: day.isocalendar().week,
    TimestampPart.MONTH: lambda day: day.month,
    TimestampPart.YEAR: lambda day: day.year,
}


class UnsupportedError(ValueError):
    """A Sigma construct that has no meaning on single events here."""


def text(value: Any) -> str:
    """A value as Sigma compares it: booleans and numbers as JSON writes them."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def value_test(value: SigmaType) -> Test:
    """The test for one value; raises UnsupportedError for what has none (placeholders, backend queries)."""
    for kind, build in _BUILDERS:
        if isinstance(value, kind):
            return build(value)
    raise UnsupportedError(f"{type(value).__name__} has no meaning here")


def keyword_test(value: SigmaType) -> Test:
    """The test of a keyword, which matches anywhere inside a value."""
    if isinstance(value, SigmaString):
        inside = SpecialChars.WILDCARD_MULTI + value + SpecialChars.WILDCARD_MULTI
        return _string(inside, ignore_case=not isinstance(value, SigmaCasedString))
    if isinstance(value, SigmaNumber) and not isinstance(value, SigmaTimestampPart):
        return _string(SigmaString(f"*{value.number}*"), ignore_case=True)
    if isinstance(value, SigmaRegularExpression):
        return _regex(value)
    raise UnsupportedError(f"{type(value).__name__} cannot be a keyword")


def _string(value: SigmaString, *, ignore_case: bool) -> Test:
    parts = [
        p for i, p in enumerate(value.s) if not (i and p is value.s[i - 1] is SpecialChars.WILDCARD_MULTI)
    ]
    if any(not isinstance(part, str | SpecialChars) for part in parts):
        raise UnsupportedError(f"the placeholder in {value.original!r} was not filled in")
    many = SpecialChars.WILDCARD_MULTI
    fold: Callable[[str], str] = str.lower if ignore_case else str
    words = [fold(part) for part in parts if isinstance(part, str)]
    shape = ["*" if part is many else "?" if isinstance(part, SpecialChars) else "s" for part in parts]
    if (simple := _simple("".join(shape), words[0] if words else "", fold)) is not None:
        return simple
    pattern = "".join(
        re.escape(fold(part)) if isinstance(part, str) else (".*" if part is many else ".") for part in parts
    )
    compiled = re.compile(pattern, re.DOTALL)
    return lambda found: compiled.fullmatch(fold(text(found))) is not None


def _simple(shape: str, word: str, fold: Callable[[str], str]) -> Test | None:
    """The shapes that need no regular expression, which are most."""
    shapes: dict[str, Test] = {
        "": lambda found: found == "",
        "*": lambda _found: True,
        "s": lambda found: fold(text(found)) == word,
        "s*": lambda found: fold(text(found)).startswith(word),
        "*s": lambda found: fold(text(found)).endswith(word),
        "*s*": lambda found: word in fold(text(found)),
    }
    return shapes.get(shape)


def _boolean(value: bool) -> Test:  # noqa: FBT001 - the value is the argument
    name = text(value)
    return lambda found: found is value or (isinstance(found, str) and found.lower() == name)


def _number(value: float) -> Test:
    name = str(value)

    def test(found: Any) -> bool:
        if isinstance(found, bool):
            return False
        return bool(found == value) if isinstance(found, int | float) else text(found) == name

    return test


def _regex(value: SigmaRegularExpression) -> Test:
    flags = re.NOFLAG
    for flag in value.flags:
        flags |= SigmaRegularExpression.sigma_to_python_flags[flag]
    search = re.compile(str(value.regexp), flags).search
    return lambda found: search(text(found)) is not None


@lru_cache(maxsize=65_536)
def _address(value: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(value)
    except ValueError:
        return None


def _network(value: SigmaCIDRExpression) -> Test:
    network = value.network

    def test(found: Any) -> bool:
        address = _address(found) if isinstance(found, str) else None
        return address is not None and address in network

    return test


def _as_number(found: Any) -> float | None:
    if isinstance(found, bool):
        return None
    try:
        number = float(found)
    except (TypeError, ValueError):
        return None
    return None if math.isnan(number) else number


def _compare(value: SigmaCompareExpression) -> Test:
    limit, holds = value.number.number, _COMPARE[value.op]
    if isinstance(value.number, SigmaTimestampPart):
        part = _PARTS[value.number.timestamp_part]
        return lambda found: (day := _day(found)) is not None and holds(part(day), limit)

    def test(found: Any) -> bool:
        number = found if type(found) is int else _as_number(found)
        return number is not None and holds(number, limit)

    return test


def _timestamp_part(value: SigmaTimestampPart) -> Test:
    part, wanted = _PARTS[value.timestamp_part], value.number
    return lambda found: (day := _day(found)) is not None and part(day) == wanted


def _day(found: Any) -> datetime | None:
    try:
        return datetime.fromtimestamp(parse_timestamp(text(found)) // NANOSECONDS, UTC)
    except (ValueError, OverflowError):
        return None


def _expansion(value: SigmaExpansion) -> Test:
    tests = tuple(value_test(item) for item in value.values)
    return lambda found: any(test(found) for test in tests)


# The first kind that fits: a cased string is a string too, a part of a time a number.
_BUILDERS: tuple[tuple[type[SigmaType], Callable[[Any], Test]], ...] = (
    (SigmaCasedString, lambda value: _string(value, ignore_case=False)),
    (SigmaString, lambda value: _string(value, ignore_case=True)),
    (SigmaBool, lambda value: _boolean(bool(value))),
    (SigmaTimestampPart, _timestamp_part),
    (SigmaNumber, lambda value: _number(value.number)),
    (SigmaRegularExpression, _regex),
    (SigmaCIDRExpression, _network),
    (SigmaCompareExpression, _compare),
    (SigmaExpansion, _expansion),
)
