"""SSH: banners and key exchange offers of both sides; HASSH computed from the offers as they were sent.

What is said after the key exchange is encrypted, but not how long it is: `ssh_login` infers from that who got in.
"""

import hashlib
from collections.abc import Iterator
from typing import Any

from producers.decoders.base import Decoder
from producers.decoders.convert import number
from producers.decoders.datasets.ssh_login import Login, Segment, login
from producers.decoders.tree import Columns, Tree
from producers.decoders.unit import Place, Role, Unit

NEWKEYS = "21"
_LENGTH = "ssh.packet_length"
_LEAST_PACKET = 16  # RFC 4253, section 6
_MAX_SIZES = 24  # of each side that an event has
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
        return frozenset(
            {
                "ssh.packet_length",
                "ssh.protocol",
                "ssh.message_code",
                _HOST_KEY,
                *_CLIENT_OFFER,
                *_SERVER_OFFER,
            }
        )

    def units(self, layer: Tree, protocol: str, place: Place) -> Iterator[Unit]:
        """One part per layer that tells something in clear."""
        columns = self.columns(layer)
        side = "client" if place.from_initiator else "server"
        fields: dict[str, Any] = {}
        part: dict[str, Any] = {}
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
            rest = place.length - sum(4 + (number(text) or 0) for text in columns.get(_LENGTH, []))
            if rest >= _LEAST_PACKET:  # what follows in the same segment is encrypted
                part["size"] = rest
                part["sequence"] = (place.sequence + place.length - rest) & 0xFFFFFFFF
        if fields or part:
            yield Unit(Role.PART, fields, place, protocol, hashes=hashes, extra=(side, part))

    def summarise(self, parts: list[Unit], fields: dict[str, Any]) -> str:
        """Add what both sides' parts tell together."""
        told: dict[str, dict[str, Any]] = {"client": {}, "server": {}}
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
        segments = _segments(parts)
        for side in told:
            sizes = [each.size for each in segments if (each.side == "client") == (side == "client")]
            if sizes:
                fields[f"netflight.ssh.{side}.packet_sizes"] = sizes[:_MAX_SIZES]
        found = login(segments) if encrypted and version in ("2.0", "1.99") else Login()
        if found.attempts:
            fields["netflight.ssh.auth.attempts"] = found.attempts
        if found.result:
            fields["netflight.ssh.auth.inferred"] = found.result
        return {"success": "OK", "failure": "Error"}.get(found.result, "")

    def told_all(self, parts: list[Unit]) -> bool:
        """Whether the login has succeeded, or as much was seen after the key exchange as is looked at."""
        segments = _segments(parts)
        if len(segments) >= 2 * _MAX_SIZES:
            return True
        return bool(segments) and segments[-1].side == "server" and login(segments).result == "success"


def _segments(parts: list[Unit]) -> list[Segment]:
    """The encrypted segments of a connection, in order; what was sent again is left out."""
    expected: dict[str, int] = {}
    found = []
    for unit in parts:
        side, part = unit.extra
        if "size" not in part:
            continue
        size, begin = part["size"], part["sequence"]
        before = expected.get(side, begin)
        if (before - begin) & 0xFFFFFFFF and (before - begin) & 0xFFFFFFFF < 1 << 31:
            continue
        found.append(Segment(side, size, lost=begin != before or unit.place.hole))
        expected[side] = (begin + size) & 0xFFFFFFFF
    return found


def hassh(columns: Columns, offer: tuple[str, ...]) -> str:
    """HASSH: the MD5 of the offer's algorithm lists joined by semicolons (salesforce/hassh, version 1.1)."""
    text = ";".join(columns.get(name, [""])[0] for name in offer)
    return hashlib.md5(text.encode("utf-8", "replace"), usedforsecurity=False).hexdigest()


def _agreed(client: str, server: str) -> str:
    """The first algorithm of the client's that the server has too (RFC 4253, section 7.1)."""
    offered = set(server.split(","))
    return next((name for name in client.split(",") if name and name in offered), "")
