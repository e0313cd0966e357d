"""Who somebody says to be in HTTP: Authorization fields (RFC 9110, section 11) and what stands before a host's @."""

import base64
import binascii
import re
from typing import NamedTuple

from producers.decoders.secrets import Credentials

# IANA's authentication schemes, and those of Microsoft and Amazon: what else stands there may be a secret itself.
_SCHEMES = {
    name.lower(): name
    for name in (
        *("Basic", "Bearer", "Concealed", "Digest", "DPoP", "GNAP", "HOBA", "Mutual", "Negotiate", "NTLM"),
        *("OAuth", "PrivateToken", "SCRAM-SHA-1", "SCRAM-SHA-256", "vapid", "AWS4-HMAC-SHA256"),
    )
}
_USERNAME = re.compile(r'\busername="((?:[^"\\]|\\.){1,1024})"')
_MAX = 4096


class Authorization(NamedTuple):
    """The scheme by its registered name, the user where he is named in clear, and credentials in clear."""

    scheme: str = ""
    user: str = ""
    credentials: Credentials | None = None


def authorization(text: str, *, proxy: bool = False) -> Authorization:
    """What the value of an Authorization or Proxy-Authorization field tells; nothing of schemes that are not known."""
    scheme, rest = scheme_of(text), text.strip().partition(" ")[2]
    if scheme == "Basic":
        user, secret = _basic(rest.strip()[:_MAX])
        mechanism = "Proxy Basic" if proxy else scheme
        shown = Credentials(user, secret, mechanism) if user or secret else None
        return Authorization(scheme, user, shown)
    if scheme == "Digest":
        named = _USERNAME.search(rest[:_MAX])
        return Authorization(scheme, named[1].replace('\\"', '"') if named else "")
    return Authorization(scheme)


def scheme_of(text: str) -> str:
    """The scheme of an Authorization field's value by its registered name; empty where it is not known."""
    return _SCHEMES.get(text.strip().partition(" ")[0].lower(), "")


def _basic(text: str) -> tuple[str, str]:
    """User and password (RFC 7617, section 2)."""
    try:
        decoded = base64.b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        return "", ""
    user, _, secret = decoded.decode("utf-8", "replace").partition(":")
    return user, secret


def user_info(text: str) -> str:
    """What stands before the @ of an authority (RFC 3986, section 3.2.1), in a URL or alone."""
    authority = text.partition("://")[2] or text.removeprefix("//")
    return re.split(r"[/?#]", authority, maxsplit=1)[0].rpartition("@")[0]
