"""Trees as tshark prints them, written by hand, and what a decoder makes of them."""

from producers.decoders.base import Decoder
from producers.decoders.builder import EventBuilder
from producers.decoders.registry import decoder_for
from producers.decoders.transactions import Transaction
from producers.decoders.tree import Tree
from producers.decoders.unit import Place, Unit
from producers.engine.model import Flow
from schemas.events import Event
from schemas.jsonschema import validator
from schemas.model import datasets


def flow(transport: str = "tcp", port: int = 80) -> Flow:
    """A flow from 192.0.2.1:40000 to 192.0.2.2."""
    number = {"tcp": 6, "udp": 17}[transport]
    return Flow(transport, number, 4, "192.0.2.1", "192.0.2.2", 40_000, port, "1:x", 0, 0)


def place(on: Flow | None, frame: int = 1, *, forward: bool = True, time_ns: int = 0) -> Place:
    """Where a unit of a hand-made packet was seen."""
    return Place(frame, time_ns, on, forward, 10, "", "")


def decoder(name: str) -> Decoder:
    """The decoder of a dataset."""
    return decoder_for(datasets()[name])


def units(name: str, layer: Tree, where: Place, protocol: str = "") -> list[Unit]:
    """The units that a dataset's decoder reads from a layer."""
    return list(decoder(name).units(layer, protocol or name, where))


def event(
    name: str, *, request: Unit | None = None, response: Unit | None = None, parts: tuple[Unit, ...] = ()
) -> Event:
    """The event of a transaction, which is valid."""
    built = EventBuilder("default", "test").transaction(decoder(name), Transaction(request, response, parts))
    validator(built["event"]["dataset"])(built)
    return built
