"""Whether a Sigma condition can ever hold for events of a dataset: which of its parts have values there at all.

Every part that reads a field with values can be true or false; one that reads a field without them is false, and so is
a comparison with null where another dataset of the same logsource has the field. Parts are taken one by one, so a
condition that contradicts itself is still called possible.
"""

from typing import Any, NamedTuple

from sigma.conditions import (
    ConditionAND,
    ConditionFieldEqualsValueExpression,
    ConditionNOT,
    ConditionOR,
    ConditionValueExpression,
)
from sigma.types import SigmaExists, SigmaFieldReference, SigmaNull

from streams.core.sigma_values import value_test
from streams.core.taxonomy import Derived, Entry, known_fields


class _Can(NamedTuple):
    hold: bool
    fail: bool


_ALWAYS, _NEVER, _EITHER = (
    _Can(hold=True, fail=False),
    _Can(hold=False, fail=True),
    _Can(hold=True, fail=True),
)


class Reach:
    """Which conditions can hold, for the rules of one logsource."""

    def __init__(self, entry: Entry) -> None:
        self._entry = entry
        self._of = {name: frozenset(known_fields((name,))) for name in entry.datasets}
        self._any = frozenset().union(*self._of.values())

    def possible(self, node: Any, dataset: str) -> bool:
        """Whether a node of pySigma's condition tree can hold for an event of a dataset."""
        return self._can(node, dataset).hold

    def _can(self, node: Any, dataset: str) -> _Can:
        match node:
            case ConditionAND():
                parts = [self._can(part, dataset) for part in node.args]
                return _Can(all(part.hold for part in parts), any(part.fail for part in parts))
            case ConditionOR():
                parts = [self._can(part, dataset) for part in node.args]
                return _Can(any(part.hold for part in parts), all(part.fail for part in parts))
            case ConditionNOT():
                (inner,) = (self._can(part, dataset) for part in node.args)
                return _Can(inner.fail, inner.hold)
            case ConditionFieldEqualsValueExpression():
                return self._field(node, dataset)
            case ConditionValueExpression():
                return _EITHER
        return _NEVER

    def _field(self, node: ConditionFieldEqualsValueExpression, dataset: str) -> _Can:
        meaning, value = self._entry.fields.get(node.field), node.value
        if isinstance(meaning, Derived):
            return _constant(meaning, value, filled=meaning.field in self._of[dataset])
        if self._filled(node.field, dataset):
            return self._filled_reference(value, dataset)
        wants_nothing = isinstance(value, SigmaNull) or (isinstance(value, SigmaExists) and not bool(value))
        elsewhere = any(target in self._any for target in self._entry.targets(node.field))
        return _ALWAYS if wants_nothing and not elsewhere else _NEVER

    def _filled(self, name: str, dataset: str) -> bool:
        return any(target in self._of[dataset] for target in self._entry.targets(name))

    def _filled_reference(self, value: Any, dataset: str) -> _Can:
        if isinstance(value, SigmaFieldReference) and not self._filled(value.field, dataset):
            return _NEVER
        return _EITHER


def _constant(meaning: Derived, value: Any, *, filled: bool) -> _Can:
    """What holds of a name with a fixed meaning; a comparison that `value_test` cannot make was refused before."""
    if meaning.constant is None:
        return _EITHER if filled else _NEVER
    if isinstance(value, SigmaNull):
        return _NEVER
    if isinstance(value, SigmaExists):
        return _ALWAYS if bool(value) else _NEVER
    if isinstance(value, SigmaFieldReference):
        return _EITHER
    return _ALWAYS if value_test(value)(meaning.constant) else _NEVER
