"""Anomalies: tshark's expert information of severity error, packets without sound headers, TCP in trouble."""

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cache, lru_cache
from importlib import resources
from typing import Any, NamedTuple

import yaml

from producers.decoders.base import Decoder
from producers.decoders.convert import number
from producers.decoders.protocols import PROTOCOL_NAMES
from producers.decoders.records import ERROR, LAYER
from producers.decoders.tree import Tree
from producers.decoders.unit import Place, Role, Unit
from producers.engine.model import Flow

_MALFORMED, _CHECKSUM = 7, 1
# epan/proto.h, PI_GROUP_MASK: the uppermost byte
_GROUPS = (
    *("", "checksum", "sequence", "response", "request", "undecoded", "reassemble", "malformed", "debug"),
    *("protocol", "security", "comment", "decryption", "assumption", "deprecated", "receive", "interface"),
    "dissector bug",
)
_MAX_MESSAGE = 200
# A connection is in trouble from so many segments on, if they are so large a share of its packets.
_LEAST, _SHARE = 20, 0.05
_LEAST_WINDOWS = 5
_LEAST_MISSED, _MISSED_SHARE = 1 << 16, 0.05


class AnomalyDecoder(Decoder):
    """A unit per expert item of severity error. `layer` is one `_ws.expert`, with what `LAYER` says it is about."""

    def units(self, layer: Tree, protocol: str, place: Place) -> Iterator[Unit]:
        """One unit, for what is an error."""
        if protocol != "_ws.expert" or number(_text(layer, "_ws.expert.severity")) != ERROR:
            return
        message = _text(layer, "_ws.expert.message")[:_MAX_MESSAGE]
        group = (number(_text(layer, "_ws.expert.group")) or 0) >> 24
        about = _text(layer, LAYER)
        fields = {
            "netflight.anomaly.kind": "malformed" if group == _MALFORMED else "protocol",
            "netflight.anomaly.protocol": PROTOCOL_NAMES.get(about, about),
            "netflight.anomaly.severity": "error",
            "netflight.anomaly.group": _GROUPS[group] if 0 < group < len(_GROUPS) else str(group),
            "netflight.anomaly.message": message,
        }
        if group == _CHECKSUM or misread(about, message):
            return
        told = {name: value for name, value in fields.items() if value}
        yield Unit(Role.SINGLE, told, place, about or protocol, key=(about, message))

    def complete(self, fields: dict[str, Any], request: Unit | None, response: Unit | None) -> None:  # noqa: ARG002  # the base's
        """How many packets the event stands for."""
        fields["netflight.anomaly.count"] = (request.extra if request is not None else None) or 1


class _Misread(NamedTuple):
    """Messages that are tshark's misunderstanding: of which layers, and by which pattern."""

    protocols: tuple[str, ...]
    message: re.Pattern[str]


@cache
def _misreadings() -> tuple[_Misread, ...]:
    text = resources.files("producers.decoders").joinpath("misread.yaml").read_text(encoding="utf-8")
    return tuple(
        _Misread(tuple(entry["protocol"]), re.compile(entry.get("message", "")))
        for entry in yaml.safe_load(text)
    )


@lru_cache(maxsize=1 << 12)
def misread(protocol: str, message: str) -> bool:
    """Whether an error that tshark reports of a layer is its misunderstanding of ordinary traffic (misread.yaml)."""
    return any(
        entry.message.search(message) and any(fnmatchcase(protocol, name) for name in entry.protocols)
        for entry in _misreadings()
    )


def broken(place: Place) -> Unit:
    """The unit of a packet whose headers are cut off or contradict themselves, so that it belongs to no flow."""
    message = "the headers are cut off or contradict themselves"
    return Unit(Role.SINGLE, _of("packet", "ip", "error", message), place, "ip", key=("", message))


def troubles(flow: Flow, path: str) -> list[Unit]:
    """What is wrong with a connection by its record's counters, each as a unit; frame 0 stands for all of it."""
    packets = flow.source_packets + flow.destination_packets
    size = flow.source_bytes + flow.destination_bytes
    found = [
        ("segments were sent again", flow.retransmits, _LEAST, _SHARE * packets),
        ("segments came out of order", flow.out_of_order, _LEAST, _SHARE * packets),
        ("segments said that nothing more can be taken", flow.zero_windows, _LEAST_WINDOWS, 0),
        ("bytes were never seen", flow.missed_bytes, _LEAST_MISSED, _MISSED_SHARE * size),
    ]
    place = Place(0, flow.end_ns, flow, True, 0, flow.interface, path)  # a field of a tuple
    return [
        Unit(
            Role.SINGLE,
            _of("tcp", "tcp", "warning", message) | {"netflight.anomaly.count": count},
            place,
            "tcp",
        )
        for message, count, least, share in found
        if count >= max(least, share)
    ]


def _of(kind: str, protocol: str, severity: str, message: str) -> dict[str, Any]:
    return {
        "netflight.anomaly.kind": kind,
        "netflight.anomaly.protocol": protocol,
        "netflight.anomaly.severity": severity,
        "netflight.anomaly.message": message,
    }


def _text(layer: Tree, name: str) -> str:
    value = layer.get(name)
    return value if isinstance(value, str) else ""
