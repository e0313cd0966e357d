"""tshark's output, cut into records and read.

Most packets carry no layer that a dataset reads, and packets with the same layers then have the same record, byte for
byte: what such a record says is remembered by its bytes.
"""

import json
import re
from typing import NamedTuple

import orjson

from producers.decoders.protocols import QUOTING, application_protocols
from producers.decoders.tree import Tree, layers_of

_RECORD_END = b"\n  }"
_LONE_SURROGATE = re.compile(r"[\ud800-\udfff]")
_REMEMBERED = 4096
_SHORT = 2048


class Splitter:
    """Cuts tshark's output into records, wherever it was cut on its way."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._scanned = 0

    def push(self, data: bytes) -> list[bytes]:
        """Take output in; return the records that are complete: each ends with a brace at two spaces."""
        buffer, records, start = self._buffer, [], 0
        buffer += data
        end = buffer.find(_RECORD_END, max(self._scanned - len(_RECORD_END), 0))
        while end >= 0:
            begin = buffer.find(b"{", start, end)
            records.append(bytes(buffer[begin : end + len(_RECORD_END)]))
            start = end + len(_RECORD_END)
            end = buffer.find(_RECORD_END, start)
        del buffer[:start]
        self._scanned = len(buffer)
        return records


class Reading(NamedTuple):
    """What a record says: the layers to be decoded, outermost first, and the application protocols.

    `protocols` is by whether the flow is tunnelled.
    """

    layers: tuple[tuple[str, Tree], ...]
    protocols: tuple[tuple[str, ...], tuple[str, ...]]


class Reader:
    """Reads records; `wanted` are the layers that somebody decodes."""

    def __init__(self, wanted: frozenset[str]) -> None:
        self._wanted = wanted
        self._bare: dict[bytes, Reading] = {}
        self._named: dict[tuple[str, ...], tuple[tuple[str, ...], tuple[str, ...]]] = {}

    def read(self, record: bytes) -> Reading | None:
        """What a record says; None where it is no record of tshark's."""
        known = self._bare.get(record)
        if known is not None:
            return known
        found = layers(record)
        if found is None:
            return None
        reading = Reading(tuple(self._telling(found)), self._protocols(tuple(found)))
        if not reading.layers and len(record) < _SHORT:
            if len(self._bare) >= _REMEMBERED:
                self._bare.clear()
            self._bare[record] = reading
        return reading

    def _telling(self, found: Tree) -> list[tuple[str, Tree]]:
        telling = []
        for name, value in found.items():
            if name in self._wanted:
                telling += [(name, layer) for layer in layers_of(value)]
            if name in QUOTING:
                break  # what follows is quoted in the error, and was not sent by anybody
        return telling

    def _protocols(self, names: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        known = self._named.get(names)
        if known is None:
            if len(self._named) >= _REMEMBERED:
                self._named.clear()
            plain, tunnelled = (application_protocols(names, tunnelled=inside) for inside in (False, True))
            known = self._named[names] = (tuple(plain), tuple(tunnelled))
        return known


def layers(record: bytes) -> Tree | None:
    """The layers of a record; None where it is no record of tshark's.

    Bytes that are no UTF-8 and halves of surrogate pairs become U+FFFD; raw control characters stay.
    """
    try:
        tree = orjson.loads(record)
    except orjson.JSONDecodeError:
        tree = _repaired(record)
    source = tree.get("_source") if isinstance(tree, dict) else None
    found = source.get("layers") if isinstance(source, dict) else None
    return found if isinstance(found, dict) else None


def _repaired(record: bytes) -> object:
    try:
        tree = json.loads(record.decode("utf-8", "replace"), strict=False)
        text = json.dumps(tree, ensure_ascii=False)
        return json.loads(_LONE_SURROGATE.sub("\ufffd", text))
    except (ValueError, RecursionError):
        return None
