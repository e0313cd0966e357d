"""SSH: banners and key exchange offers of both sides; HASSH computed from the offers as they were sent."""

import hashlib
from collections.abc import Iterator
from typing import Any

from producers.decoders.base import Decoder
from producers.decoders.tree import Columns, Tree
from producers.decoders.unit import Place, Role, Unit

NEWKEYS = "21"
_KEX = "ssh.kex_algorithms"
_HOST_KEY = "ssh.server_host_key_algorithms"
_CLIENT_OFFER = (
    _KEX,
    "ssh.encryption_algorithms_client_to_server",
    "ssh.mac_algorithms_client_to_server",
    "ssh.compression_algorithms_client_to_server",
)
_SERVER_OFFER = (
    _KEX,
    "ssh.encryption_algorithms_server_to_client",
    "ssh.mac_algorithms_server_to_client",
    "ssh.compression_algorithms_server_to_client",
)


class SshDecoder(Decoder):
    """Parts of a connection: banner, key exchange offer, switch to new keys, of either side."""

    def extra_fields(self) -> frozenset[str]:
        """Banner, algorithms and message numbers."""
        return frozenset({"ssh.protocol", "ssh.message_code", _HOST_KEY, *_CLIENT_OFFER, *_SERVER_OFFER})

    def units(self, layer: Tree, protocol: str, place: Place) -> Iterator[Unit]:
        """One part per layer that tells something in clear."""
        columns = self.columns(layer)
        side = "client" if place.from_initiator else "server"
        fields: dict[str, Any] = {}
        part: dict[str, str] = {}
        banner = columns.get("ssh.protocol", [""])[0]
        if banner:
            fields[f"netflight.ssh.{side}.software"] = banner
            version = banner.split("-", 2)
            if len(version) == 3 and version[0] == "SSH":
                part["version"] = version[1]
        hashes = []
        if _KEX in columns:
            fingerprint = hassh(columns, _CLIENT_OFFER if side == "client" else _SERVER_OFFER)
            fields[f"netflight.ssh.{side}.hassh"] = fingerprint
            hashes = [fingerprint]
            part["kex"] = columns[_KEX][0]
            part["host_key"] = columns.get(_HOST_KEY, [""])[0]
        if NEWKEYS in columns.get("ssh.message_code", []):
            part["newkeys"] = "1"
        if fields or part:
            yield Unit(Role.PART, fields, place, protocol, hashes=hashes, extra=(side, part))

    def summarise(self, parts: list[Unit], fields: dict[str, Any]) -> str:
        """Add what both sides' parts tell together. How the login went is encrypted."""
        told: dict[str, dict[str, str]] = {"client": {}, "server": {}}
        for unit in parts:
            side, part = unit.extra
            for name, value in part.items():
                told[side].setdefault(name, value)
        client, server = told["client"], told["server"]
        version = server.get("version") or client.get("version")
        if version:
            fields["netflight.ssh.version"] = version
        for name, field in (("kex", "kex_algorithm"), ("host_key", "host_key_algorithm")):
            agreed = _agreed(client.get(name, ""), server.get(name, ""))
            if agreed:
                fields[f"netflight.ssh.{field}"] = agreed
        encrypted = "newkeys" in client and "newkeys" in server
        fields["netflight.ssh.encrypted"] = encrypted
        return ""

    def told_all(self, parts: list[Unit]) -> bool:
        """Whether both sides have switched to new keys: the rest is encrypted."""
        switched = {unit.extra[0] for unit in parts if "newkeys" in unit.extra[1]}
        return len(switched) == 2


def hassh(columns: Columns, offer: tuple[str, ...]) -> str:
    """HASSH: the MD5 of the offer's algorithm lists joined by semicolons (salesforce/hassh, version 1.1)."""
    text = ";".join(columns.get(name, [""])[0] for name in offer)
    return hashlib.md5(text.encode("utf-8", "replace"), usedforsecurity=False).hexdigest()


def _agreed(client: str, server: str) -> str:
    """The first algorithm of the client's that the server has too (RFC 4253, section 7.1)."""
    offered = set(server.split(","))
    return next((name for name in client.split(",") if name and name in offered), "")
