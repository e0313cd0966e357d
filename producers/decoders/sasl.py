"""SASL's PLAIN (RFC 4616), which many protocols carry: a user and a password in clear."""

from producers.decoders.secrets import Credentials


def octets(text: str) -> bytes:
    """The bytes of a field as tshark writes them (`0a:1b`); nothing where it is none."""
    try:
        return bytes.fromhex(text.replace(":", ""))
    except ValueError:
        return b""


def plain(response: bytes, mechanism: str = "PLAIN") -> Credentials | None:
    """The credentials in a PLAIN response, `authorize-id NUL user NUL password`; None where it is no such thing."""
    parts = response.split(b"\0")
    if len(parts) != 3 or not parts[1]:
        return None
    user, secret = (part.decode("utf-8", "replace") for part in parts[1:])
    return Credentials(user, secret, mechanism)
