"""NTLM ([MS-NLMP]): the three messages of a handshake, wherever they stand."""

from collections.abc import Iterator
from typing import Any

from producers.decoders.base import Decoder
from producers.decoders.convert import number
from producers.decoders.secrets import Secret
from producers.decoders.tree import Columns, Tree
from producers.decoders.unit import Place, Unit

_NEGOTIATE, _CHALLENGE, _AUTHENTICATE = 1, 2, 3
# [MS-NLMP] section 2.2.2.5; the last message has what both sides settled on.
_FLAGS = {
    "ntlmssp.negotiatesign": "sign",
    "ntlmssp.negotiateseal": "seal",
    "ntlmssp.negotiatelmkey": "lm_key",
    "ntlmssp.negotiatentlm": "ntlm",
    "ntlmssp.negotiateanonymous": "anonymous",
    "ntlmssp.negotiatealwayssign": "always_sign",
    "ntlmssp.negotiatentlm2": "extended_session_security",
    "ntlmssp.negotiateidentify": "identify",
    "ntlmssp.negotiatekeyexch": "key_exchange",
    "ntlmssp.negotiate128": "128",
    "ntlmssp.negotiate56": "56",
}
_VERSION = ("ntlmssp.version.major", "ntlmssp.version.minor", "ntlmssp.version.build_number")
_V1_BYTES = 24  # of a response of NTLM version 1; those of version 2 are longer


class NtlmDecoder(Decoder):
    """Units of NTLM messages; a negotiate message, or one that was there already, begins another handshake."""

    def extra_fields(self) -> frozenset[str]:
        """The message's type, its flags, the version and the response."""
        return frozenset({"ntlmssp.messagetype", "ntlmssp.auth.ntresponse", *_FLAGS, *_VERSION})

    def units(self, layer: Tree, protocol: str, place: Place) -> Iterator[Unit]:
        """One unit per message; what only signs or seals is none."""
        columns = self.columns(layer)
        kind = number(_first(columns, "ntlmssp.messagetype"))
        if kind not in (_NEGOTIATE, _CHALLENGE, _AUTHENTICATE):
            return
        unit = next(super().units(layer, protocol, place))
        unit.extra = kind
        side = "server" if kind == _CHALLENGE else "client"
        version = [_first(columns, name) for name in _VERSION]
        if all(version):
            unit.fields[f"netflight.ntlm.{side}_version"] = ".".join(version)
        if kind == _AUTHENTICATE:
            _authenticate(unit.fields, columns)
        yield unit

    def begins_anew(self, unit: Unit, parts: list[Unit]) -> bool:
        """Whether the message cannot follow those before it."""
        return bool(unit.extra <= parts[-1].extra)

    def told_all(self, parts: list[Unit]) -> bool:
        """Whether the client has authenticated."""
        return bool(parts[-1].extra == _AUTHENTICATE)

    def client_is_initiator(self, parts: list[Unit]) -> bool:
        """Whether the flow's initiator is the one who authenticates."""
        first = parts[0]
        return first.place.from_initiator is not (first.extra == _CHALLENGE)


def _authenticate(fields: dict[str, Any], columns: Columns) -> None:
    flags = [name for field, name in _FLAGS.items() if _first(columns, field) in ("1", "True")]
    if flags:
        fields["netflight.ntlm.flags"] = flags
    response = _first(columns, "ntlmssp.auth.ntresponse").replace(":", "")
    size = len(response) // 2
    anonymous = "user.name" not in fields and size < _V1_BYTES
    fields["netflight.ntlm.version"] = (
        "anonymous" if anonymous else "NTLMv1" if size <= _V1_BYTES else "NTLMv2"
    )
    if response and not anonymous:
        fields["netflight.ntlm.response"] = Secret(response)


def _first(columns: Columns, name: str) -> str:
    return columns[name][0] if name in columns else ""
