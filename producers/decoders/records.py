"""tshark's output, cut into records and read.

Many packets carry no layer that a dataset reads, and packets with the same layers then have the same record, byte for
byte: what such a record says is remembered by its bytes.
"""

import json
import re
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from producers.decoders.nesting import NONE, ONE, Nesting, names_of, nesting_of, placed, with_held
from producers.decoders.protocols import HOLDING, NETWORKS, QUOTING, TRANSPORTS, application_protocols
from producers.decoders.tree import Tree, find_all, find_within, layers_of

if TYPE_CHECKING:
    from producers.decoders.regroup import Regrouper

ERROR = 0x0080_0000
"""The severity `error` of expert information (epan/proto.h, PI_ERROR)."""
WITHIN = "netflight.within"
"""Under which name a nested layer tells the names of all that it stands in, the outermost first."""
LAYER = "netflight.layer"
"""Under which name an item of expert information tells the layer that it is about."""

ANY_DEPTH = -1
"""Whatever IP packet of a packet a layer belongs to."""
INSTEAD = "netflight_instead"
"""The layer of `recognise.lua` that precedes what replaces the layers that tshark made of a packet by its port."""

_RECORD_END = b"\n  }"
_LONE_SURROGATE = re.compile(r"[\ud800-\udfff]")
_REMEMBERED = 4096
_SHORT = 2048
_EXPERT, _MALFORMED = "_ws.expert", "_ws.malformed"
# What a record has to have in it for a nested layer to be looked for: of expert information, that of severity error.
_SIGNS = {_EXPERT: (f"{_EXPERT}.severity", f'"{ERROR}"')}
_ALL_SIGNS = -1


class Splitter:
    """Cuts tshark's output into records, wherever it was cut on its way, and makes them compact.

    Of the layers `nested` each record says whether it may have them. The fields in `unread` are left out.
    """

    def __init__(self, nested: Iterable[str] = (), unread: Iterable[str] = ()) -> None:
        self._signs = [_SIGNS.get(name, (name, "")) for name in sorted(nested)]
        self._unread = tuple(unread)
        self._parts: list[bytes] = []
        self._last = b""
        self._regrouper: Regrouper | None = None

    def push(self, data: bytes) -> list[bytes]:
        """Take output in; return the records that are complete: each ends with a brace at two spaces."""
        self._parts.append(data)
        seam = self._last + data
        self._last = seam[1 - len(_RECORD_END) :]
        if _RECORD_END not in seam:  # a long record is put together once, however many parts it comes in
            return []
        whole = b"".join(self._parts)
        end = whole.rfind(_RECORD_END) + len(_RECORD_END)
        self._parts = [whole[end:]]
        if self._regrouper is None:
            from producers.decoders.regroup import Regrouper  # noqa: PLC0415  # loads numba, while tshark starts

            self._regrouper = Regrouper(self._signs, self._unread)
        return self._regrouper.records(whole[:end])


class Reading(NamedTuple):
    """What a record says: the layers to be decoded, outermost first, and the application protocols.

    `protocols` is by whether the flow is tunnelled. `depth` is how many IP headers the packet has. `misplaced`: layers
    to be decoded were left out because they belong to another IP packet than the one asked for.
    """

    layers: tuple[tuple[str, Tree], ...]
    protocols: tuple[tuple[str, ...], tuple[str, ...]]
    depth: int = 1
    misplaced: bool = False


class Reader:
    """Reads records; `wanted` are the layers that somebody decodes, `nested` those that stand inside of others, too.

    Of the layers in `bare` those are read, too, in which tshark shows nothing. `beside` are by the name of a wanted
    layer those that are put into it.
    """

    def __init__(
        self,
        wanted: frozenset[str],
        nested: frozenset[str] = frozenset(),
        bare: frozenset[str] = frozenset(),
        beside: Mapping[str, Collection[str]] | None = None,
    ) -> None:
        self._wanted, self._empty, self._beside = wanted, bare, beside or {}
        self._nested = tuple((name, 1 << bit) for bit, name in enumerate(sorted(nested)))
        self._bare: dict[bytes, Reading] = {}
        self._named: dict[tuple[str, ...], tuple[tuple[str, ...], tuple[str, ...]]] = {}
        self._nestings: dict[tuple[str, ...], Nesting] = {}

    def read(self, record: bytes, depth: int = ANY_DEPTH) -> Reading | None:
        """What a record says; None where it is no record of tshark's.

        `depth` counts IP headers from the frame's beginning: what does not belong to that one is left out.
        """
        known = self._bare.get(record)
        if known is not None and depth in {ANY_DEPTH, known.depth}:
            return known
        signs, found, names = layers(record)
        if found is None:
            return None
        if INSTEAD in found:
            found = _proven(found)
            names = names and [name for name in names if name in found]
        nesting = self._nesting(found, names)
        if depth != ANY_DEPTH and (depth != nesting.depth or nesting.names):
            return self._partial(found, signs, nesting, depth)
        reading = Reading(self._asked_for(found, found, signs), self._protocols(tuple(found)), nesting.depth)
        if not reading.layers and len(record) < _SHORT:
            if len(self._bare) >= _REMEMBERED:
                self._bare.clear()
            self._bare[record] = reading
        return reading

    def _partial(self, found: Tree, signs: int, nesting: Nesting, depth: int) -> Reading:
        """What a record says of the IP packet at a depth, where that is not all that it says."""
        kept, left = placed(found, nesting, depth)
        innermost = depth == nesting.depth
        told = self._asked_for(kept, found if innermost or not depth else kept, signs)
        misplaced = any(
            layers_of(value, bare=name in self._empty) for name, value in left.items() if name in self._wanted
        )
        protocols = self._protocols(tuple(found) if innermost else nesting.names_to(depth))
        return Reading(told, protocols, nesting.depth, misplaced)

    def _asked_for(self, found: Tree, around: Tree, signs: int) -> tuple[tuple[str, Tree], ...]:
        """The layers to be decoded, and those that stand in others: expert information anywhere in `around`."""
        telling = self._telling(found)
        if signs:
            for name, sign in self._nested:
                if signs & sign:
                    telling += _experts(around) if name == _EXPERT else self._inside(found, name)
        return tuple(telling)

    def _nesting(self, found: Tree, names: list[str] | None) -> Nesting:
        if not HOLDING.isdisjoint(found):
            names = with_held(found, names or names_of(found))
        if names is None:
            return ONE if "ip" in found or "ipv6" in found else NONE
        key = tuple(names)
        known = self._nestings.get(key)
        if known is None:
            if len(self._nestings) >= _REMEMBERED:
                self._nestings.clear()
            known = self._nestings[key] = nesting_of(key)
        return known

    def _telling(self, found: Tree) -> list[tuple[str, Tree]]:
        telling = []
        for name, value in found.items():
            if name in self._wanted:
                own = layers_of(value, bare=name in self._empty)
                if name in self._beside:
                    own = _joined(own, {n: layers_of(found[n]) for n in self._beside[name] if n in found})
                telling += [(name, layer) for layer in own]
            if name in QUOTING:
                break  # what follows is quoted in the error, and was not sent by anybody
        return telling

    @staticmethod
    def _inside(found: Tree, name: str) -> list[tuple[str, Tree]]:
        """The layers of a name that stand in others, but for what errors quote."""
        telling = []
        for outer, value in found.items():
            if outer in QUOTING:
                break
            if outer != name:
                for tree in layers_of(value):
                    for layer, path in find_within(tree, name):
                        telling.append((name, {**layer, WITHIN: [outer, *path]}))
        return telling

    def _protocols(self, names: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        known = self._named.get(names)
        if known is None:
            if len(self._named) >= _REMEMBERED:
                self._named.clear()
            plain, tunnelled = (application_protocols(names, tunnelled=inside) for inside in (False, True))
            known = self._named[names] = (tuple(plain), tuple(tunnelled))
        return known


def _proven(found: Tree) -> Tree:
    """The layers up to the transport, and those that stand in place of what tshark made of the segment by its port."""
    names = list(found)
    at = names.index(INSTEAD)
    below = max((place for place in range(at) if names[place] in TRANSPORTS), default=-1)
    return {name: found[name] for name in (*names[: below + 1], *names[at + 1 :])}


def _joined(own: list[Tree], others: dict[str, list[Tree]]) -> list[Tree]:
    """Layers with those beside them: the only one with all, several with those of the same place if as many."""
    joined = []
    for place, layer in enumerate(own):
        among = {name: trees[place] for name, trees in others.items() if len(trees) == len(own)}
        joined.append({**layer, **among} if among else layer)
    return joined


def _experts(found: Tree) -> list[tuple[str, Tree]]:
    """Expert information anywhere, each item with the name of the layer that it is about."""
    telling = []
    about = ""
    names = list(found)
    for place, (outer, value) in enumerate(found.items()):
        if outer in QUOTING:
            break
        about = outer if outer != _MALFORMED else about
        after = names[place + 1] if place + 1 < len(names) else "_"
        if outer == _MALFORMED and about in TRANSPORTS and not after.startswith("_"):
            about = after  # equal layers stand where the last of them was
        for tree in layers_of(value):
            telling += [(_EXPERT, {**item, LAYER: about}) for item in find_all(tree, _EXPERT)]
    return telling


def layers(record: bytes) -> tuple[int, Tree | None, list[str] | None]:
    """The signs of a record, its layers and, if it has several IP headers, all names of layers in their order.

    The layers are None where it is no record of tshark's. Bytes that are no UTF-8 and halves of surrogate pairs become
    U+FFFD; raw control characters stay.
    """
    tree: object
    try:
        # One that could not be made compact may have equal keys.
        tree = orjson.loads(record) if record.startswith(b"[") else _repaired(record)
    except orjson.JSONDecodeError:
        tree = _repaired(record)
    if isinstance(tree, list) and len(tree) in {2, 3}:
        signs, found, *names = tree
        return (signs, found, names[0] if names else None) if isinstance(found, dict) else (0, None, None)
    source = tree.get("_source") if isinstance(tree, dict) else None
    found = source.get("layers") if isinstance(source, dict) else None
    if not isinstance(found, dict):
        return 0, None, None
    names = names_of(found)
    return _ALL_SIGNS, found, names if sum(name in NETWORKS for name in names) > 1 else None


def _repaired(record: bytes) -> object:
    try:
        tree = json.loads(record.decode("utf-8", "replace"), strict=False, object_pairs_hook=_grouped)
        text = json.dumps(tree, ensure_ascii=False)
        return json.loads(_LONE_SURROGATE.sub("\ufffd", text))
    except (ValueError, RecursionError):
        return None


def _grouped(pairs: list[tuple[str, Any]]) -> Tree:
    """An object in which equal keys have become one with a list."""
    values: dict[str, list[Any]] = {}
    for key, value in pairs:
        values.setdefault(key, []).append(value)
    return {key: found if len(found) > 1 else found[0] for key, found in values.items()}
