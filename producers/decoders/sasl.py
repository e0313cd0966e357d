"""SASL: what a login shows of user and password, in bytes or in base64 (RFC 4616, RFC 2195, RFC 7628)."""

import binascii
import re

from producers.decoders.secrets import Credentials

_OAUTH_USER = re.compile(r"(?:user=|,a=)([^,\x01]*)")
_OAUTH_TOKEN = re.compile(r"auth=\w+ ([^\x01]*)", re.IGNORECASE)


class Sasl:
    """A login under way. `user` is the name as soon as it was said."""

    def __init__(self, mechanism: str) -> None:
        self.mechanism = mechanism.upper()
        self.user = ""
        self._asked = False

    def feed(self, text: str) -> Credentials | None:
        """Take what the client says, in base64; the credentials once they are whole."""
        said = decoded(text) if text else None
        if said is None:
            return None
        if self.mechanism == "PLAIN":
            return self._plain(said)
        if self.mechanism == "LOGIN":
            return self._login(said)
        if self.mechanism == "CRAM-MD5":
            self.user = said.rpartition(" ")[0]
        elif self.mechanism in ("XOAUTH2", "OAUTHBEARER"):
            user, token = _OAUTH_USER.search(said), _OAUTH_TOKEN.search(said)
            self.user = user[1] if user else ""
            return Credentials(self.user, token[1], self.mechanism) if token else None
        return None

    def _plain(self, said: str) -> Credentials | None:
        found = plain(said.encode())
        self.user = found.user if found else ""
        return found

    def _login(self, said: str) -> Credentials | None:
        if not self._asked:
            self._asked, self.user = True, said
            return None
        return Credentials(self.user, said, "LOGIN")


def is_answer(text: str) -> bool:
    """Whether a line can be what a client says in a login: one word, in base64; commands have arguments."""
    return " " not in text.strip()


def decoded(text: str) -> str | None:
    """What base64 says, as text; None where it is none."""
    try:
        return binascii.a2b_base64(text.strip(), strict_mode=True).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        return None


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
