"""MQTT: what of a control packet depends on its kind, and what acknowledges it (OASIS MQTT 3.1.1 and 5.0)."""

from collections.abc import Iterator
from typing import Any

from producers.decoders.base import Decoder
from producers.decoders.convert import choice, number
from producers.decoders.secrets import Credentials
from producers.decoders.tree import Columns, Tree
from producers.decoders.unit import Place, Role, Unit

CONNECT, CONNACK, PUBLISH, PUBREC, PUBREL, SUBACK = 1, 2, 3, 5, 6, 9
_FAILED = 0x80
# What an acknowledgement is about. PUBREC is followed by PUBCOMP (section 4.3.3), which is the one that counts.
_ABOUT = {
    CONNACK: CONNECT,
    4: PUBLISH,
    PUBREC: PUBLISH,
    7: PUBLISH,
    SUBACK: 8,
    11: 10,
    13: 12,
    **{kind: kind for kind in (CONNECT, PUBLISH, 8, 10, 12)},
}
# Return codes of version 3 (MQTT 3.1.1, section 3.2.2.3).
_RETURNED = {
    0: "Accepted",
    1: "Unacceptable protocol version",
    2: "Identifier rejected",
    3: "Server unavailable",
    4: "Bad user name or password",
    5: "Not authorized",
}


class MqttDecoder(Decoder):
    """Units of control packets. What releases a message (PUBREL) says nothing new, and is none."""

    def extra_fields(self) -> frozenset[str]:
        """The password, the message, and the flags of the will."""
        return frozenset(
            {
                *("mqtt.passwd", "mqtt.msg", "mqtt.msgid", "mqtt.conflag.willflag"),
                *("mqtt.conflag.qos", "mqtt.conflag.retain", "mqtt.conack.val", "mqtt.suback.qos"),
            }
        )

    def units(self, layer: Tree, protocol: str, place: Place) -> Iterator[Unit]:
        """One unit per control packet."""
        columns = self.columns(layer)
        kind = number(columns.get("mqtt.msgtype", [""])[0])
        if kind is None or kind == PUBREL:
            return
        role = self.role(columns, place) or Role.SINGLE
        fields = self.read(columns, role)
        if kind == PUBLISH:
            if fields.get("netflight.mqtt.qos") == [0]:
                role = Role.SINGLE  # nobody acknowledges it
            fields["netflight.mqtt.payload_bytes"] = _length(columns.get("mqtt.msg", [""])[0])
        unit = Unit(role, fields, place, protocol)
        unit.key = (str(_ABOUT.get(kind, kind)), *columns.get("mqtt.msgid", ())[:1])
        if kind == CONNECT:
            _add_login(unit, columns)
        codes = fields.get("netflight.mqtt.reason_code", [])
        if role is Role.RESPONSE or codes:
            unit.status = "Error" if any(code >= _FAILED for code in codes) else "OK"
        if codes:
            fields["netflight.mqtt.reason"] = self._reason(kind, codes[0])
        if "mqtt.conack.val" in columns and codes != [0]:
            unit.status = "Error"
            if codes:
                fields["netflight.mqtt.reason"] = choice(_RETURNED)(str(codes[0]))
        unit.extra = kind == PUBREC and unit.status == "OK"
        yield unit

    def interim(self, response: Unit) -> bool:
        """Whether a message of quality 2 is received, and not yet released."""
        return bool(response.extra)

    def _reason(self, kind: int, code: int) -> object:
        if kind == SUBACK and code < _FAILED:
            return f"Granted QoS {code}"
        return choice(self.dataset.fields["netflight.mqtt.reason"].names)(str(code))


def _add_login(unit: Unit, columns: Columns) -> None:
    """Add the will of a CONNECT, and its credentials."""
    fields: dict[str, Any] = unit.fields
    if columns.get("mqtt.conflag.willflag") in (["1"], ["True"]):
        fields["netflight.mqtt.will.qos"] = number(columns.get("mqtt.conflag.qos", ["0"])[0]) or 0
        fields["netflight.mqtt.will.retain"] = columns.get("mqtt.conflag.retain") in (["1"], ["True"])
    if "mqtt.passwd" in columns:
        user = str(fields.get("user.name", ""))
        unit.credentials.append(Credentials(user, columns["mqtt.passwd"][0], "MQTT"))


def _length(octets: str) -> int:
    """How many bytes tshark's text of them (`0a:1b`) stands for."""
    return (len(octets) + 1) // 3
