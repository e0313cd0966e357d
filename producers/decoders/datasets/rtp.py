"""RTP and RTCP (RFC 3550): streams by their first packets, reports one by one."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from producers.decoders.base import Decoder
from producers.decoders.convert import number
from producers.decoders.tree import Tree, collect, texts
from producers.decoders.unit import Place, Role, Unit

# The default policy gives the first packets of a flow: so few that a stream's event is the same by any policy.
_ENOUGH = 4
_CODECS = {
    0: "PCMU",
    3: "GSM",
    4: "G723",
    5: "DVI4",
    6: "DVI4",
    7: "LPC",
    8: "PCMA",
    9: "G722",
    10: "L16",
    11: "L16",
    12: "QCELP",
    13: "CN",
    14: "MPA",
    15: "G728",
    16: "DVI4",
    17: "DVI4",
    18: "G729",
    25: "CelB",
    26: "JPEG",
    28: "nv",
    31: "H261",
    32: "MPV",
    33: "MP2T",
    34: "H263",
}
_SEQUENCES = 1 << 16
_CALL = frozenset({"sip.call_id_generated"})
_REPORTED = frozenset({"rtcp.ssrc.identifier"})


class RtpDecoder(Decoder):
    """Units of RTP packets, which are parts of streams, and of RTCP packets."""

    def units(self, layer: Tree, protocol: str, place: Place) -> Iterator[Unit]:
        """One unit per packet."""
        call = collect(layer, _CALL).get("sip.call_id_generated", [])
        fields: dict[str, Any] = {"netflight.rtp.call_id": call[0]} if call and call[0] else {}
        if protocol == "rtcp":
            if "rtcp.pt" in layer:
                yield self._report(layer, fields, place)
            return
        source = _source(layer.get("rtp.ssrc"))
        kind, sequence, at = (
            number(str(layer.get(f"rtp.{name}"))) for name in ("p_type", "seq", "timestamp")
        )
        if not source or kind is None or sequence is None:
            return
        fields["netflight.rtp.ssrc"] = source
        fields["netflight.rtp.first_sequence"] = sequence
        if at is not None:
            fields["netflight.rtp.first_timestamp"] = at
        mixed = [found for text in texts(layer.get("rtp.csrc.item")) if (found := _source(text))]
        if mixed:
            fields["netflight.rtp.contributors"] = mixed
        key = (source, str(place.from_initiator))
        yield Unit(Role.PART, fields, place, protocol, key, extra=(kind, sequence))

    def told_all(self, parts: list[Unit]) -> bool:
        """Whether as many packets were seen as an event is made of."""
        return len(parts) >= _ENOUGH

    def summarise(self, parts: list[Unit], fields: dict[str, Any]) -> str:
        """Add the payload types, and how many packets were seen and missing; a repeated number is not missing."""
        kinds = list(dict.fromkeys(part.extra[0] for part in parts))
        sequences = [part.extra[1] for part in parts]
        steps = [(after - before) % _SEQUENCES for before, after in pairwise(sequences)]
        fields["netflight.rtp.payload_type"] = kinds
        names = list(dict.fromkeys(_CODECS[kind] for kind in kinds if kind in _CODECS))
        if names:
            fields["netflight.rtp.codec"] = names
        fields["netflight.rtp.packets_seen"] = len(parts)
        # A step of more than half the numbers is one back.
        fields["netflight.rtp.packets_missing"] = sum(
            step - 1 for step in steps if 1 < step < _SEQUENCES // 2
        )
        return ""

    def client_is_initiator(self, parts: list[Unit]) -> bool:
        """Whether the flow's initiator sends the stream: its sender is the source."""
        return parts[0].place.from_initiator

    def _report(self, layer: Tree, fields: dict[str, Any], place: Place) -> Unit:
        fields |= self.read(self.columns(layer), Role.SINGLE)
        about = [
            found
            for text in collect(layer, _REPORTED).get("rtcp.ssrc.identifier", ())
            if (found := _source(text))
        ]
        sender = _source(layer.get("rtcp.senderssrc"))
        if not sender and about:  # of what has no report, the first number is the sender's
            sender, about = about[0], about[1:]
        if sender:
            fields["netflight.rtp.ssrc"] = sender
        if about:
            fields["netflight.rtp.rtcp.about"] = about
        return Unit(Role.SINGLE, fields, place, "rtcp")


def _source(text: object) -> str:
    """A source's number as eight hexadecimal digits; nothing where it is none."""
    value = number(str(text))
    return f"{value:08x}" if value is not None and 0 <= value < 1 << 32 else ""
