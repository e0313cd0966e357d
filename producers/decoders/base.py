"""The generic decoder: a dataset's YAML is enough to turn a layer of tshark's tree into a unit.

A protocol whose structure YAML cannot say subclasses Decoder and overrides `units`, and where request and
response tell something only together, `complete`.
"""

from collections.abc import Callable, Iterator
from typing import Any, ClassVar, NamedTuple, TypeVar

from producers.decoders.convert import CONVERTERS, choice
from producers.decoders.per_flow import PerFlow
from producers.decoders.tree import Columns, Tree, collect, split
from producers.decoders.unit import Place, Role, Unit
from schemas.errors import SchemaError
from schemas.model import Condition, Dataset, Of, Transaction

S = TypeVar("S")


class _Column(NamedTuple):
    """One ECS field, ready to be read from tshark's columns."""

    name: str
    tshark: tuple[str, ...]
    convert: Callable[[str], object]
    array: bool
    distinct: bool
    of: Of


class Decoder:
    """Turns a layer into units, by the dataset's YAML.

    With `any_side` a response may come from the side that sent the request: its key says the side. With
    `units_change` what units tell goes on to change with later packets, so they must be made where they are kept.
    With `bodies` its messages go on after their heads: `extra` of the units says how (`bodies.BodyTracker`).
    """

    any_side: ClassVar[bool] = False
    units_change: ClassVar[bool] = False
    bodies: ClassVar[bool] = False

    def __init__(self, dataset: Dataset) -> None:
        if dataset.transaction is None or dataset.tshark is None:
            raise SchemaError(f"{dataset.name}: nothing to decode without tshark: and transaction:")
        self.dataset = dataset
        self.transaction: Transaction = dataset.transaction
        self._each = dataset.tshark.each
        self._per_flow: list[PerFlow[Any]] = []
        self._columns = [_column(dataset, name) for name in dataset.fields if dataset.fields[name].tshark]
        self._columns_of = {role: _columns_of(role, self._columns) for role in Role}
        self._wanted = self._all_wanted()

    @property
    def has_outcome(self) -> bool:
        """Whether an event says how it went: all but single units of which the dataset does not say what is success."""
        said = self.transaction
        return said.kind != "single" or said.ok is not None or said.error is not None

    def extra_fields(self) -> frozenset[str]:
        """Names of tshark fields that `units` reads beyond those of the YAML."""
        return frozenset()

    def per_flow(self, make: Callable[[], S]) -> PerFlow[S]:
        """A state per flow, which `make` makes and which is forgotten when another source begins."""
        states = PerFlow(make)
        self._per_flow.append(states)
        return states

    def begin(self) -> None:
        """Forget what is remembered of flows: the packets of another source begin."""
        for states in self._per_flow:
            states.clear()

    def units(self, layer: Tree, protocol: str, place: Place) -> Iterator[Unit]:
        """Yield the units in one occurrence of the dataset's layer (`protocol` of them) in a packet."""
        for tree in split(layer, self._each) if self._each else (layer,):
            columns = self.columns(tree)
            role = self.role(columns, place)
            if role is not None:
                fields = self.read(columns, role)
                status = self.status(columns, role, place)
                yield Unit(role, fields, place, protocol, self.key(columns), status)

    def complete(self, fields: dict[str, Any], request: Unit | None, response: Unit | None) -> None:
        """Add to the merged fields of an event what request and response tell together."""

    def match(self, request: Unit, response: Unit) -> bool:  # noqa: ARG002  # for subclasses
        """Whether the response belongs to the request, whose key is the same."""
        return True

    def interim(self, response: Unit) -> bool:  # noqa: ARG002  # for subclasses
        """Whether the final response to the same request is still to come."""
        return False

    def speaks_alone(self, response: Unit) -> bool:  # noqa: ARG002  # for subclasses
        """Whether the server sent it unasked, as a greeting or a message to a subscriber."""
        return False

    def begins_anew(self, unit: Unit, parts: list[Unit]) -> bool:  # noqa: ARG002  # for subclasses
        """Whether a part is the first one of another connection on the same flow (with `again`)."""
        return False

    def told_all(self, parts: list[Unit]) -> bool:  # noqa: ARG002  # for subclasses
        """Whether a connection has told all that it will tell."""
        return False

    def tellings(self, parts: list[Unit]) -> Iterator[list[Unit]]:
        """The parts of each event that a connection makes: one of all of them, unless a subclass knows better."""
        yield parts

    def summarise(self, parts: list[Unit], fields: dict[str, Any]) -> str:  # noqa: ARG002  # for subclasses
        """Add what a connection's parts tell together to their merged fields; return OK, Error or nothing."""
        return ""

    def client_is_initiator(self, parts: list[Unit]) -> bool:  # noqa: ARG002  # for subclasses
        """Whether the flow's initiator is the connection's client."""
        return True

    def columns(self, layer: Tree) -> Columns:
        """The values of every field that is wanted, by tshark's names."""
        return collect(layer, self._wanted)

    def role(self, columns: Columns, place: Place) -> Role | None:
        """The unit's part in its transaction; None where it is neither request nor response."""
        transaction = self.transaction
        if transaction.kind == "single":
            return Role.SINGLE
        if transaction.kind in ("connection", "stream"):
            return Role.PART
        if _holds(transaction.request, columns, place):
            return Role.REQUEST
        if _holds(transaction.response, columns, place):
            return Role.RESPONSE
        return None

    def status(self, columns: Columns, role: Role, place: Place) -> str:
        """OK or Error, as the dataset says of such a response; nothing where it does not say, or has nothing to say."""
        ok, error, neither = self.transaction.ok, self.transaction.error, self.transaction.neither
        if role is Role.REQUEST or _holds(neither, columns, place):
            return ""
        if _holds(ok, columns, place):
            return "OK"
        if _holds(error, columns, place):
            return "Error"
        if ok is not None and error is None:
            return "Error" if ok.field in columns else ""  # a value that is there, and is none of success
        return "OK" if error is not None and ok is None else ""

    def key(self, columns: Columns) -> tuple[str, ...]:
        """The values that request and response have in common."""
        return tuple(columns[name][0] if name in columns else "" for name in self.transaction.key)

    def read(self, columns: Columns, role: Role) -> dict[str, Any]:
        """The ECS fields that the YAML reads from tshark's columns for a unit of this role."""
        fields: dict[str, Any] = {}
        for column in self._columns_of[role]:
            for name in column.tshark:
                if name in columns:
                    value = _convert(column, columns[name])
                    if value is not None:
                        fields[column.name] = value
                        break
        return fields

    def _all_wanted(self) -> frozenset[str]:
        wanted = {name for column in self._columns for name in column.tshark}
        wanted.update(self.transaction.key)
        said = self.transaction
        conditions = (said.request, said.response, said.ok, said.error, said.neither)
        wanted.update(condition.field for condition in conditions if condition and condition.field)
        return frozenset(wanted) | self.extra_fields()


def _column(dataset: Dataset, name: str) -> _Column:
    spec = dataset.fields[name]
    if spec.convert not in CONVERTERS:
        raise SchemaError(
            f"{dataset.name}.yaml: fields.{name}.convert: there is no converter {spec.convert!r}"
        )
    convert = choice(spec.names) if spec.names else CONVERTERS[spec.convert]
    return _Column(name, spec.tshark, convert, spec.array, spec.distinct, spec.of)


def _columns_of(role: Role, columns: list[_Column]) -> list[_Column]:
    """The columns that are read from a unit of this role."""
    skip = {Role.REQUEST: Of.RESPONSE, Role.RESPONSE: Of.REQUEST}.get(role)
    return [column for column in columns if column.of is not skip]


def _convert(column: _Column, values: list[str]) -> object:
    if not column.array:
        return column.convert(values[0])
    converted = [value for value in map(column.convert, values) if value is not None]
    if column.distinct:
        converted = list(dict.fromkeys(converted))
    return converted or None


def _holds(condition: Condition | None, columns: Columns, place: Place) -> bool:
    if condition is None:
        return False
    if condition.side and (condition.side == "client") != place.from_initiator:
        return False
    if not condition.field:
        return True
    if condition.field not in columns:
        return False
    return not condition.values or columns[condition.field][0] in condition.values
