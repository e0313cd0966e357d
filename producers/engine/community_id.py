"""Community ID version 1, seed 0: one name for a flow that other tools give it too.

Specification: https://github.com/corelight/community-id-spec.
"""

from binascii import b2a_base64
from functools import lru_cache
from hashlib import sha1
from struct import Struct

from producers.engine.keys import is_one_way, split

_SEED = b"\0\0"
_tail = Struct(">BxHH").pack


@lru_cache(maxsize=1 << 16)
def community_id(key: bytes) -> str:
    """The Community ID of a flow's key (producers.engine.keys), the same for both directions."""
    protocol, _version, source, destination, source_port, destination_port = split(key)
    ports = None if source_port is None or destination_port is None else (source_port, destination_port)
    return of_ends(protocol, source, destination, ports, one_way=is_one_way(key))


def of_ends(
    protocol: int, source: bytes, destination: bytes, ports: tuple[int, int] | None, *, one_way: bool
) -> str:
    """The same of a key that is taken apart; `one_way` is an ICMP message that is no query and no answer."""
    if ports is None:
        if destination < source:
            source, destination = destination, source
        name = _SEED + source + destination + bytes((protocol, 0))
    elif one_way or (source, ports[0]) <= (destination, ports[1]):
        name = _SEED + source + destination + _tail(protocol, ports[0], ports[1])
    else:
        name = _SEED + destination + source + _tail(protocol, ports[1], ports[0])
    return "1:" + b2a_base64(sha1(name, usedforsecurity=False).digest(), newline=False).decode("ascii")
