"""What the decoders of industrial protocols share: operations, names of numbers, sides by port, framing layers."""

from collections import deque
from collections.abc import Collection
from typing import Any

from producers.decoders.base import Decoder
from producers.decoders.convert import number
from producers.decoders.tree import Columns, Tree
from producers.decoders.unit import Place, Role
from schemas.model import Dataset

OPERATION = "netflight.ics.operation"


class IcsDecoder(Decoder):
    """A decoder whose dataset says in `names:` of OPERATION which functions read, write, control ..."""

    def __init__(self, dataset: Dataset) -> None:
        super().__init__(dataset)
        self._operations = frozenset(dataset.fields[OPERATION].names.values())
        self._names = {name: spec.names for name, spec in dataset.fields.items() if spec.names}

    def read(self, columns: Columns, role: Role) -> dict[str, Any]:
        """As every decoder; a function that the dataset does not know is the operation `other`."""
        fields = super().read(columns, role)
        if OPERATION in fields and fields[OPERATION] not in self._operations:
            fields[OPERATION] = "other"
        return fields

    def operation(self, code: int | None) -> str:
        """The operation of a function."""
        return self._names[OPERATION].get(-1 if code is None else code, "other")

    def name(self, field: str, code: int | None) -> str | None:
        """The name of a number by the field's `names:`, the number where it has none."""
        return None if code is None else self._names[field].get(code, str(code))


class Framing:
    """The layers of one packet that frame those of another name, which tshark tells after all of the first.

    What is kept is of one packet.
    """

    def __init__(self) -> None:
        self._packet: tuple[str, int] = ("", 0)
        self._layers: deque[Tree] = deque()

    def put(self, layer: Tree, place: Place) -> None:
        """Keep a framing layer."""
        if self._packet != (place.path, place.frame):
            self._packet = (place.path, place.frame)
            self._layers.clear()
        self._layers.append(layer)

    def take(self, place: Place) -> Tree:
        """The framing layer of the next framed one; an empty tree where there is none."""
        if self._packet != (place.path, place.frame) or not self._layers:
            return {}
        return self._layers.popleft()


def to_server(place: Place, ports: Collection[int]) -> bool:
    """Whether a packet goes to one of a protocol's ports; where both or no end has one, to the flow's responder."""
    flow = place.flow
    if flow is None:
        return place.from_initiator
    by_port = flow.destination_port in ports
    if by_port == (flow.source_port in ports):
        return place.from_initiator
    return by_port == place.from_initiator


def to_many(place: Place) -> bool:
    """Whether a packet goes to a multicast address, or to one that looks like a broadcast."""
    flow = place.flow
    if flow is None or not place.from_initiator:
        return False
    address = flow.destination_ip
    if flow.ip_version == 6:
        return address.startswith("ff")
    return address.endswith(".255") or 224 <= (number(address.partition(".")[0]) or 0) < 240


def first(columns: Columns, name: str) -> str:
    """The first value of a field, or nothing."""
    return columns[name][0] if name in columns else ""


def without_nothing(values: dict[str, Any]) -> dict[str, Any]:
    """The values that say something."""
    return {name: value for name, value in values.items() if value not in (None, "", [])}
