"""BitTorrent: the handshake of peers (BEP 3, BEP 10) and the distributed hash table (BEP 5)."""

import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

from producers.decoders.base import Decoder
from producers.decoders.convert import CONVERTERS, ip, number
from producers.decoders.related import MAX_ITEMS
from producers.decoders.tree import Tree, find_all, holders, layers_of, texts
from producers.decoders.unit import Place, Role, Unit

# Bits of the eight reserved bytes, from the right (BEP 4).
_EXTENSIONS = {0: "dht", 2: "fast", 4: "nat_traversal", 20: "extension_protocol", 63: "azureus"}
# Peer ids of the common form begin with the program and its version: -qB4520- (BEP 20).
_PROGRAM = re.compile(rb"-([A-Za-z]{2})([0-9A-Za-z]{4})-")
_PROGRAMS = {
    "AZ": "Vuze",
    "BC": "BitComet",
    "BI": "BiglyBT",
    "BT": "BitTorrent",
    "DE": "Deluge",
    "FW": "FrostWire",
    "KT": "KTorrent",
    "LT": "libtorrent",
    "lt": "libTorrent",
    "qB": "qBittorrent",
    "TR": "Transmission",
    "TL": "Tribler",
    "UM": "uTorrent for Mac",
    "UT": "uTorrent",
    "UW": "uTorrent Web",
    "WW": "WebTorrent",
    "A2": "aria2",
}
_ROLES = {"q": Role.REQUEST, "r": Role.RESPONSE, "e": Role.RESPONSE}
_hex = CONVERTERS["hex"]


class BittorrentDecoder(Decoder):
    """Units of handshakes and of DHT messages. Each side of a connection sends one handshake."""

    def units(self, layer: Tree, protocol: str, place: Place) -> Iterator[Unit]:
        """One unit per handshake or DHT message; pieces are none."""
        unit = _dht(layer, place) if protocol == "bt-dht" else _handshake(layer, place)
        if unit is not None:
            unit.protocol = protocol
            yield unit


def _handshake(layer: Tree, place: Place) -> Unit | None:
    shaken = next(iter(holders(layer, "bittorrent.info_hash")), None)
    if shaken is None:
        return None
    side = "client" if place.from_initiator else "server"
    fields: dict[str, Any] = {
        "netflight.bittorrent.kind": "handshake",
        "netflight.bittorrent.info_hash": _hex((texts(shaken["bittorrent.info_hash"]) or [""])[0]),
    }
    peer = (texts(shaken.get("bittorrent.peer_id")) or [""])[0].replace(":", "")
    if peer:
        fields[f"netflight.bittorrent.{side}.peer_id"] = peer
        program = _program(peer)
        if program:
            fields[f"netflight.bittorrent.{side}.software"] = program
    reserved = (texts(shaken.get("bittorrent.reserved")) or [""])[0].replace(":", "")
    if re.fullmatch(r"[0-9a-f]{16}", reserved):
        bits = int(reserved, 16)
        fields[f"netflight.bittorrent.{side}.extensions"] = [
            name for bit, name in _EXTENSIONS.items() if bits >> bit & 1
        ]
    known = {name: value for name, value in fields.items() if value}
    role = Role.REQUEST if place.from_initiator else Role.RESPONSE
    return Unit(role, known, place, "", ("handshake",), "OK" if role is Role.RESPONSE else "")


def _program(peer: str) -> str:
    """The program that a peer id names, with its version as written: `qBittorrent 4520`."""
    try:
        raw = bytes.fromhex(peer)
    except ValueError:
        return ""
    found = _PROGRAM.match(raw)
    if found is None:
        return ""
    short, version = (part.decode("ascii") for part in found.groups())
    return f"{_PROGRAMS.get(short, short)} {version}"


def _dht(layer: Tree, place: Place) -> Unit | None:
    message = _dictionary(layer)
    role = _ROLES.get(_text(message.get("y")))
    if role is None:
        return None
    kind = _text(message.get("y"))
    fields: dict[str, Any] = {
        "netflight.bittorrent.kind": "dht",
        "netflight.bittorrent.dht.method": _text(message.get("q")),
    }
    identity = "netflight.bittorrent.dht." + ("node_id" if kind == "q" else "responder_id")
    said = message.get("a" if kind == "q" else "r")
    inner = _dictionary(said) if isinstance(said, dict) else {}
    fields[identity] = _text(inner.get("id"))
    fields["netflight.bittorrent.dht.target"] = _text(inner.get("target"))
    fields["netflight.bittorrent.info_hash"] = _text(inner.get("info_hash"))
    side = "client" if kind == "q" else "server"
    fields[f"netflight.bittorrent.{side}.version"] = _text(message.get("v"))
    if kind == "q":
        fields["netflight.bittorrent.dht.port"] = number(_text(inner.get("port")))
    fields["netflight.bittorrent.dht.nodes"] = _contacts(layer, "bt-dht.node")
    fields["netflight.bittorrent.dht.peers"] = _contacts(layer, "bt-dht.peer")
    if kind == "e":
        fields.update(_error(layer))
    known = {name: value for name, value in fields.items() if value not in ("", None, [])}
    status = {"r": "OK", "e": "Error"}.get(kind, "")
    return Unit(role, known, place, "", ("dht", _text(message.get("t"))), status)


def _dictionary(tree: Tree) -> dict[str, Any]:
    """A bencoded dictionary as tshark shows it: entries of a name with a text, a number or something larger."""
    found: dict[str, Any] = {}
    for entry in layers_of(tree.get("bt-dht.bencoded.dict_entry", ())):
        said = texts(entry.get("bt-dht.bencoded.string"))
        if not said:
            continue
        name = said[0]
        whole = entry.get("bt-dht.bencoded.dict")
        value = texts(entry.get("bt-dht.bencoded.int")) or said[1:]
        found.setdefault(name, whole if isinstance(whole, dict) else value[0] if value else "")
    return found


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _contacts(layer: Tree, kind: str) -> list[str]:
    """Addresses with their ports of nodes or peers."""
    found = []
    for tree in islice(find_all(layer, kind), MAX_ITEMS):
        address = ip((texts(tree.get("bt-dht.ip")) or texts(tree.get("bt-dht.ip6")) or [""])[0])
        port = (texts(tree.get("bt-dht.port")) or [""])[0]
        if address:
            found.append(f"[{address}]:{port}" if ":" in address else f"{address}:{port}")
    return found


def _error(layer: Tree) -> dict[str, Any]:
    """An error's number and words, which are a list (BEP 5)."""
    for entry in layers_of(layer.get("bt-dht.bencoded.dict_entry", ())):
        if texts(entry.get("bt-dht.bencoded.string"))[:1] == ["e"]:
            codes = [
                code
                for tree in holders(entry, "bt-dht.bencoded.int")
                for code in texts(tree["bt-dht.bencoded.int"])
            ]
            words = [
                word
                for tree in layers_of(entry.get("bt-dht.bencoded.list", ()))
                for word in texts(tree.get("bt-dht.bencoded.string"))
            ]
            return {"error.code": (codes or [""])[0], "error.message": (words or [""])[0]}
    return {}
