"""Credentials in clear: what a decoder tells of them, and how secrets stay out of events."""

from typing import NamedTuple

REDACTED = "[redacted]"


class Secret(str):
    """A field's text that is a secret: an event has REDACTED in its place unless the operator says otherwise."""

    __slots__ = ()


class Credentials(NamedTuple):
    """A user name, and the secret with it if there is one, that anybody on the way can read.

    `mechanism` is how they were sent, in the protocol's words: `PLAIN`, `Basic`, `USER/PASS`, `community`.
    """

    user: str
    secret: str = ""
    mechanism: str = ""
    domain: str = ""

    def fields(self) -> dict[str, object]:
        """The fields of their event."""
        told: dict[str, object] = {
            "message": "cleartext credentials seen",
            "user.name": self.user,
            "user.domain": self.domain,
            "netflight.credentials.mechanism": self.mechanism,
            "netflight.credentials.secret": Secret(self.secret),
        }
        return {name: value for name, value in told.items() if value}
