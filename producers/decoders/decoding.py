"""A tshark's records become answers: the units of a packet, and the protocols that it was seen to carry.

An answer is made of plain values, for another process: `restored` turns what it tells into units again.
"""

import logging
from collections.abc import Iterator
from typing import Any

from producers.decoders.base import Decoder
from producers.decoders.places import Holes, packed_flow, unpacked_flow
from producers.decoders.plan import DecodePlan
from producers.decoders.records import Reader, Splitter
from producers.decoders.secrets import Credentials
from producers.decoders.unit import Place, Role, Unit

Answer = tuple[tuple[str, ...], list[Any]]
"""The protocols of a packet's flow, none where they are those of its packet before, and what is told of the packet.

That is, each with the number of its decoder: units, and layers whose units only make sense where they are kept; and
texts, which say why something is not told.
"""
NOTHING: Answer = ((), [])

SURPRISES = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""What a fault in a decoder raises."""

MISPLACED = "it belongs to another IP packet than its flow: a tunnel that tshark or the engine does not know"
"""Why a layer is not decoded."""

_REMEMBERED = 1 << 16
_ROLES = {role.value: role for role in Role}
_OF_A_LAYER = 3  # items of a layer; a unit has more

_log = logging.getLogger(__name__)


class Decoding:
    """Reads the records of one tshark, in the packets' order."""

    def __init__(self, plan: DecodePlan) -> None:
        self.splitter = Splitter(plan.nested, plan.unread)
        self._by_layer = plan.by_layer
        self._numbers = {decoder.dataset.name: number for number, decoder in enumerate(plan.decoders)}
        self._reader = Reader(frozenset(plan.by_layer), plan.nested, plan.bare, plan.beside)
        self._told: dict[int, tuple[str, ...]] = {}
        self._holes = Holes()

    def answer(self, record: bytes, place: Place) -> Answer:
        """What a record says of the packet that was seen at `place`."""
        if not place.hole and not self._holes:
            return self._answer(record, place)
        flow, forward = place.flow, place.from_initiator
        hole = self._holes.lies_before(flow, forward, hole=place.hole, read=True)
        names, told = self._answer(record, place if hole == place.hole else place._replace(hole=hole))
        if hole and not told:
            self._holes.lies_before(flow, forward, hole=True, read=False)
        return names, told

    def _answer(self, record: bytes, place: Place) -> Answer:
        reading = self._reader.read(record, place.depth)
        if reading is None:
            return (), ["record"]
        flow = place.flow
        names: tuple[str, ...] = ()
        if flow is not None:
            names = reading.protocols[flow.tunnel is not None]
            if names and self._told.get(flow.uid) == names:
                names = ()
            elif names:
                if len(self._told) >= _REMEMBERED:
                    self._told.clear()
                self._told[flow.uid] = names
        told: list[Any] = [MISPLACED] if reading.misplaced else []
        if not reading.layers:
            return (names, told) if names or told else NOTHING
        found: list[tuple[int, Unit]] = []
        for name, layer in reading.layers:
            decoder = self._by_layer[name]
            number = self._numbers[decoder.dataset.name]
            if decoder.units_change:
                told += [_plain(of, unit, place) for of, unit in found]
                told.append((number, name, layer))
                found = []
                continue
            try:
                found += [(number, unit) for unit in decoder.units(layer, name, place)]
            except SURPRISES as error:
                told.append(surprise(decoder, error))
        # Only now, because a layer may add to what one before it has told.
        told += [_plain(number, unit, place) for number, unit in found]
        return names, told


def surprise(decoder: Decoder, error: Exception) -> str:
    """What is said of a fault in a decoder: one packet must not end a capture."""
    _log.debug("%s: decoder failed", decoder.dataset.name, exc_info=error)
    return f"the {decoder.dataset.name} decoder failed ({type(error).__name__})"


def _plain(number: int, unit: Unit, place: Place) -> tuple[Any, ...]:
    """A unit as plain values, as far as its decoder uses such; where it was seen is told only if not at `place`."""
    return (
        number,
        unit.role.value,
        unit.fields,
        unit.protocol,
        unit.key,
        unit.status,
        unit.scope,
        unit.hosts,
        unit.hashes,
        unit.addresses,
        unit.endpoints,
        [tuple(each) for each in unit.credentials],
        unit.extra,
        unit.doubtful,
        None if unit.place is place else _elsewhere(unit.place, place),
    )


def _elsewhere(where: Place, place: Place) -> tuple[Any, ...]:
    """Another place than the packet's, in plain values; the flow is nothing if it is the packet's."""
    same = where.flow is place.flow or (where.flow and place.flow and where.flow.uid == place.flow.uid)
    return (None if same else packed_flow(where.flow), *where[:2], *where[3:6], *where[7:10])


def restored(item: tuple[Any, ...], place: Place, decoders: tuple[Decoder, ...]) -> Iterator[Unit]:
    """The units of an item of an answer; what their decoder raises passes through."""
    if len(item) == _OF_A_LAYER:
        number, name, layer = item
        yield from decoders[number].units(layer, name, place)
        return
    (
        _,
        role,
        fields,
        protocol,
        key,
        status,
        scope,
        hosts,
        hashes,
        addresses,
        endpoints,
        shown,
        extra,
        doubtful,
        where,
    ) = item
    if where is not None:
        flow, frame, time_ns, forward, length, interface, *tcp = where
        flow = unpacked_flow(flow) or place.flow
        place = Place(frame, time_ns, flow, forward, length, interface, place.path, *tcp)
    credentials = [Credentials(*each) for each in shown]
    yield Unit(
        *(_ROLES[role], fields, place, protocol, key, status, scope),
        *(hosts, hashes, addresses, endpoints, credentials, extra, doubtful),
    )
