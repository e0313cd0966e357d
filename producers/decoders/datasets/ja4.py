"""JA4 of a TLS client hello (FoxIO, BSD-3-Clause; github.com/FoxIO-LLC/ja4, technical_details/JA4.md)."""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

_VERSIONS = {
    0x0304: "13",
    0x0303: "12",
    0x0302: "11",
    0x0301: "10",
    0x0300: "s3",
    0x0002: "s2",
    0xFEFF: "d1",
    0xFEFD: "d2",
    0xFEFC: "d3",
}
_SERVER_NAME, _ALPN = 0x0000, 0x0010
_NOTHING = "000000000000"


class ClientHello(NamedTuple):
    """What JA4 looks at. Numbers are as on the wire, GREASE included; `alpn` is the first protocol's bytes."""

    transport: str
    version: int
    supported_versions: Sequence[int]
    ciphers: Sequence[int]
    extensions: Sequence[int]
    signature_algorithms: Sequence[int]
    alpn: bytes


def is_grease(value: int) -> bool:
    """Whether a 16-bit value is one of RFC 8701's."""
    return value & 0x0F0F == 0x0A0A and value >> 8 == value & 0xFF


def ja4(hello: ClientHello) -> str:
    """The fingerprint; `transport` is `t` for TCP, `q` for QUIC, `d` for DTLS."""
    ciphers = [value for value in hello.ciphers if not is_grease(value)]
    extensions = [value for value in hello.extensions if not is_grease(value)]
    versions = [value for value in hello.supported_versions if not is_grease(value)]
    version = _VERSIONS.get(_newest(versions) if versions else hello.version, "00")
    name = "d" if _SERVER_NAME in extensions else "i"
    head = f"{hello.transport}{version}{name}{min(len(ciphers), 99):02d}{min(len(extensions), 99):02d}"
    hashed_ciphers = _hash(_hex(sorted(ciphers))) if ciphers else _NOTHING
    kept = sorted(value for value in extensions if value not in (_SERVER_NAME, _ALPN))
    algorithms = [value for value in hello.signature_algorithms if not is_grease(value)]
    text = _hex(kept) + (f"_{_hex(algorithms)}" if algorithms else "")
    hashed_extensions = _hash(text) if text else _NOTHING
    return f"{head}{_alpn(hello.alpn)}_{hashed_ciphers}_{hashed_extensions}"


def _newest(versions: list[int]) -> int:
    # DTLS counts down: 1.2 is 0xfefd, 1.0 is 0xfeff.
    return min(versions) if min(versions) >= 0xFE00 else max(versions)


def _alpn(protocol: bytes) -> str:
    if not protocol:
        return "00"
    if protocol[0] > 0x7F:
        return "99"
    first, last = chr(protocol[0]), chr(protocol[-1])
    if first.isascii() and first.isalnum() and last.isascii() and last.isalnum():
        return first + last
    digits = protocol.hex()
    return digits[0] + digits[-1]


def _hex(values: Sequence[int]) -> str:
    return ",".join(f"{value:04x}" for value in values)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:12]
