"""TFTP: a request with its first answer, which comes from a port of its own (RFC 1350, RFC 2347)."""

from collections import OrderedDict
from collections.abc import Iterator
from typing import Any, NamedTuple

from producers.decoders.base import Decoder
from producers.decoders.convert import number
from producers.decoders.tree import Tree, holders, texts
from producers.decoders.unit import Place, Role, Unit
from schemas.model import Dataset

_READ, _WRITE, _DATA, _ACK, _ERROR, _OACK = range(1, 7)
_ANSWERS = {_DATA: "data", _ACK: "acknowledgement", _ERROR: "error", _OACK: "option acknowledgement"}
_MAX_OPEN = 16_384
"""Requests that wait for their first answer, or have had it; the oldest is forgotten."""
_MAX_OPTIONS = 32
_SOON_NS = 10_000_000_000

_Key = tuple[str, ...]


class _Asked(NamedTuple):
    """A request without an answer."""

    operation: str
    name: str
    place: Place


class TftpDecoder(Decoder):
    """Units of requests and first answers. What follows in a transfer is none: it is in the flow of its ports."""

    def __init__(self, dataset: Dataset) -> None:
        super().__init__(dataset)
        self._open: OrderedDict[_Key, _Asked] = OrderedDict()

    def units(self, layer: Tree, protocol: str, place: Place) -> Iterator[Unit]:
        """A unit for a request that is no repetition, one for the first answer to it."""
        kind = number((texts(layer.get("tftp.opcode")) or [""])[0])
        if place.flow is None:
            return
        if kind in (_READ, _WRITE):
            unit = self._request(layer, kind == _READ, protocol, place)
        elif kind in _ANSWERS:
            unit = self._answer(layer, kind, protocol, place)
        else:
            return
        if unit is not None:
            yield unit

    def _request(self, layer: Tree, reads: bool, protocol: str, place: Place) -> Unit | None:  # noqa: FBT001  # of two
        name = (texts(layer.get("tftp.source_file" if reads else "tftp.destination_file")) or [""])[0]
        operation = "read" if reads else "write"
        key = _ends(place, from_client=True)
        again = self._open.get(key)
        if again is not None and again[:2] == (operation, name) and _follows(again.place, place):
            return None  # the client asks again: it has heard nothing
        self._open.pop(key, None)
        self._open[key] = _Asked(operation, name, place)
        if len(self._open) > _MAX_OPEN:
            self._open.popitem(last=False)
        fields: dict[str, Any] = {"netflight.tftp.operation": operation}
        if name:
            fields["file.path"] = name
            fields["file.name"] = name.replace("\\", "/").rpartition("/")[2] or name
        mode = texts(layer.get("tftp.type"))
        if mode:
            fields["netflight.tftp.mode"] = mode[0].lower()
        options = _options(layer)
        if options:
            fields["netflight.tftp.options"] = options
        return Unit(Role.REQUEST, fields, place, protocol, key)

    def _answer(self, layer: Tree, kind: int, protocol: str, place: Place) -> Unit | None:
        key = _ends(place, from_client=False)
        flow, asked = place.flow, self._open.pop(key, None)
        if flow is None or asked is None or not _follows(asked.place, place):
            return None
        port = flow.source_port if place.from_initiator else flow.destination_port
        fields: dict[str, Any] = {"netflight.tftp.answer": _ANSWERS[kind]}
        if port is not None:
            fields["netflight.tftp.transfer_port"] = port
        code = number((texts(layer.get("tftp.error.code")) or [""])[0])
        if kind == _ERROR and code is not None:
            fields["netflight.tftp.error.code"] = code
            message = texts(layer.get("tftp.error.message"))
            if message and message[0]:
                fields["netflight.tftp.error.message"] = message[0]
        accepted = _options(layer)
        if accepted:
            fields["netflight.tftp.accepted_options"] = accepted
        # The answer begins a flow of its own; its event is of the request's.
        there = place._replace(flow=asked.place.flow, from_initiator=not asked.place.from_initiator)
        return Unit(Role.RESPONSE, fields, there, protocol, key, "Error" if kind == _ERROR else "OK")


def _follows(before: Place, place: Place) -> bool:
    """Whether a packet is a later one of the same capture, soon enough to belong to a request."""
    soon = place.time_ns - before.time_ns < _SOON_NS
    return place.path == before.path and place.frame > before.frame and soon


def _ends(place: Place, *, from_client: bool) -> _Key:
    """Client's address and port with the server's address: all that a transfer keeps of its request (RFC 1350, 4)."""
    flow = place.flow
    if flow is None:
        return ()
    source, destination = (flow.source_ip, flow.source_port), (flow.destination_ip, flow.destination_port)
    if not place.from_initiator:
        source, destination = destination, source
    client, server = (source, destination) if from_client else (destination, source)
    return client[0], str(client[1]), server[0]


def _options(layer: Tree) -> list[str]:
    """The options as `name=value` (RFC 2347)."""
    return [
        f"{name}={value}"
        for tree in holders(layer, "tftp.option.name")
        for name, value in zip(
            texts(tree.get("tftp.option.name")), texts(tree.get("tftp.option.value")), strict=False
        )
    ][:_MAX_OPTIONS]
