"""Community ID version 1, seed 0: one name for a flow that other tools give it too.

Specification: https://github.com/corelight/community-id-spec.
"""

import base64
import hashlib
from functools import lru_cache

from producers.engine.keys import is_one_way, split

_SEED = b"\0\0"


@lru_cache(maxsize=1 << 16)
def community_id(key: bytes) -> str:
    """The Community ID of a flow's key (producers.engine.keys), the same for both directions."""
    protocol, _version, source, destination, source_port, destination_port = split(key)
    if source_port is None or destination_port is None:
        first, second, ports = min(source, destination), max(source, destination), b""
    else:
        one, two = (source, source_port), (destination, destination_port)
        if two < one and not is_one_way(key):
            one, two = two, one
        first, second = one[0], two[0]
        ports = one[1].to_bytes(2, "big") + two[1].to_bytes(2, "big")
    digest = hashlib.sha1(
        _SEED + first + second + bytes((protocol, 0)) + ports, usedforsecurity=False
    ).digest()
    return "1:" + base64.b64encode(digest).decode("ascii")
