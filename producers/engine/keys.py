"""A flow's key: protocol, source address, destination address and, where it has them, two ports, as bytes.

The length tells the rest: 9 or 13 bytes for IPv4, 33 or 37 for IPv6, without or with ports. For ICMP the two
ports are Community ID's: the type and its answer's type, or the type and the code where no answer exists.
"""

import socket
from collections.abc import Mapping
from typing import NamedTuple

ICMP, TCP, UDP, ICMPV6, SCTP = 1, 6, 17, 58, 132


def _both_ways(pairs: Mapping[int, int]) -> dict[int, int]:
    return {**pairs, **{answer: query for query, answer in pairs.items()}}


# a query's type -> its answer's type: RFC 792, 950, 1256; RFC 4443, 2710, 4861, 4620, 6275
_ICMP_QUERIES = {8: 0, 13: 14, 15: 16, 17: 18, 10: 9}
_ICMPV6_QUERIES = {128: 129, 130: 131, 133: 134, 135: 136, 139: 140, 144: 145}
_ANSWERS = {ICMP: _both_ways(_ICMP_QUERIES), ICMPV6: _both_ways(_ICMPV6_QUERIES)}
_ECHOES = {ICMP: frozenset({0, 14, 16, 18}), ICMPV6: frozenset({129, 145})}


class Endpoints(NamedTuple):
    """A key, taken apart. Ports are None where the protocol has none, or the packet did not show them."""

    protocol: int
    version: int
    source: bytes
    destination: bytes
    source_port: int | None
    destination_port: int | None


def split(key: bytes) -> Endpoints:
    """Take a key apart; for ICMP the ports are the types."""
    width = 4 if len(key) <= 13 else 16
    source, destination, ports = key[1 : 1 + width], key[1 + width : 1 + 2 * width], key[1 + 2 * width :]
    version = 4 if width == 4 else 6
    if not ports:
        return Endpoints(key[0], version, source, destination, None, None)
    source_port, destination_port = int.from_bytes(ports[:2], "big"), int.from_bytes(ports[2:], "big")
    return Endpoints(key[0], version, source, destination, source_port, destination_port)


def opposite(key: bytes) -> bytes | None:
    """The key of the packets that go the other way; None for an ICMP type that nothing answers."""
    if is_one_way(key):
        return None
    width = 4 if len(key) <= 13 else 16
    ports = key[1 + 2 * width :]
    return key[:1] + key[1 + width : 1 + 2 * width] + key[1 : 1 + width] + ports[2:] + ports[:2]


def is_one_way(key: bytes) -> bool:
    """Whether this is an ICMP message that is no query and no answer."""
    return key[0] in _ANSWERS and len(key) in {13, 37} and key[-3] not in _ANSWERS[key[0]]


def is_answer(key: bytes) -> bool:
    """Whether this ICMP message only ever answers, so that its receiver began."""
    return key[0] in _ECHOES and len(key) in {13, 37} and key[-3] in _ECHOES[key[0]]


def answer_type(protocol: int, kind: int) -> int | None:
    """The ICMP type that answers `kind` (or that it answers); None if there is none."""
    return _ANSWERS[protocol].get(kind)


def address_text(address: bytes) -> str:
    """An address as text: dotted quad, or RFC 5952."""
    return socket.inet_ntop(socket.AF_INET if len(address) == 4 else socket.AF_INET6, address)
