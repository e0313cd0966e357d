"""AMQP 0-9-1: methods with their answers, and messages: a method, then the head of its content (section 2.3.5).

The specification's table of methods says which are answered, and by which.
"""

from collections.abc import Iterator
from typing import Any

from producers.decoders.base import Decoder
from producers.decoders.convert import number
from producers.decoders.sasl import octets, plain
from producers.decoders.tree import Columns, Tree
from producers.decoders.unit import Place, Role, Unit

_METHOD, _HEADER = "1", "2"
_SYNCHRONOUS = {
    (10, 10): "connection.start",
    (10, 20): "connection.secure",
    (10, 30): "connection.tune",
    (10, 40): "connection.open",
    (10, 50): "connection.close",
    (20, 10): "channel.open",
    (20, 20): "channel.flow",
    (20, 40): "channel.close",
    (30, 10): "access.request",
    (40, 10): "exchange.declare",
    (40, 20): "exchange.delete",
    (40, 30): "exchange.bind",
    (40, 40): "exchange.unbind",
    (50, 10): "queue.declare",
    (50, 20): "queue.bind",
    (50, 30): "queue.purge",
    (50, 40): "queue.delete",
    (50, 50): "queue.unbind",
    (60, 10): "basic.qos",
    (60, 20): "basic.consume",
    (60, 30): "basic.cancel",
    (60, 110): "basic.recover",
    (85, 10): "confirm.select",
    (90, 10): "tx.select",
    (90, 20): "tx.commit",
    (90, 30): "tx.rollback",
}
# An answer's number is one more, but for a few.
_ANSWERS = {(one, two + 1): (one, two) for one, two in _SYNCHRONOUS} | {
    (40, 51): (40, 40),
    (60, 111): (60, 110),
}
_GET, _GET_OK, _GET_EMPTY = (60, 70), (60, 71), (60, 72)
_WITH_CONTENT = {(60, 40): "basic.publish", (60, 50): "basic.return", (60, 60): "basic.deliver"}
_ALONE = {
    (60, 80): "basic.ack",
    (60, 90): "basic.reject",
    (60, 100): "basic.recover-async",
    (60, 120): "basic.nack",
    (10, 60): "connection.blocked",
    (10, 61): "connection.unblocked",
}
_REFUSALS = ((60, 90), (60, 120))
_CLOSES = ((10, 50), (20, 40))
_START_OK, _RETURN = (10, 11), (60, 50)
_ANSWER_NAMES = {_GET_OK: "basic.get-ok", _GET_EMPTY: "basic.get-empty"}
_FINE = 200
_COPIED = {"amqp.method": "network_traffic.amqp.method", "amqp.queue": "network_traffic.amqp.queue"}
# What the side that answers says first: its arguments must not stand for those of the request.
_OF_CLOSE = ("amqp.class-id", "amqp.method-id")


class AmqpDecoder(Decoder):
    """Units of method frames and of content heads; bodies and heartbeats are none.

    A message's method waits for the head of its content, which comes from the same side.
    """

    any_side = True

    def extra_fields(self) -> frozenset[str]:
        """The kind of frame, and what a login and a close say."""
        about = "amqp.method.arguments"
        return frozenset(
            {"amqp.type", f"{about}.response", f"{about}.class_id", f"{about}.method_id", "amqp.header.class"}
        )

    def units(self, layer: Tree, protocol: str, place: Place) -> Iterator[Unit]:
        """The units of one frame: a close can be the answer to what failed, and something to be answered."""
        columns = self.columns(layer)
        fields = self.read(columns, Role.SINGLE)
        unit = Unit(Role.SINGLE, fields, place, protocol)
        channel, side = columns.get("amqp.channel", [""])[0], str(place.from_initiator)
        kind = columns.get("amqp.type", [""])[0]
        if kind == _HEADER and "amqp.header.body-size" in columns:
            unit.role, unit.key = Role.RESPONSE, ("content", side, channel)
            unit.extra = _HEADER
            yield unit
        if kind != _METHOD:
            return
        method = (_number(columns, "amqp.method.class"), _number(columns, "amqp.method.method"))
        other = str(not place.from_initiator)
        if method in _CLOSES:
            yield from self._failed(columns, fields, unit, (other, channel))
        if not self._place(unit, method, (side, channel), (other, channel)):
            return
        if method == _START_OK:
            login = plain(octets(columns.get("amqp.method.arguments.response", [""])[0]))
            if login is not None:
                fields["user.name"] = login.user
                unit.credentials.append(login)
        yield unit

    def match(self, request: Unit, response: Unit) -> bool:
        """Whether the answer belongs to the request: the head of a message fetched follows its method."""
        method = request.fields.get("amqp.method")
        if response.extra == _HEADER:
            response.status = "Error" if method == "basic.return" else "OK"
        if method != "basic.get":
            return response.extra not in (_GET_OK, _GET_EMPTY)
        if response.extra != _GET_OK:
            return bool(
                response.extra == _GET_EMPTY or (response.extra == _HEADER and request.extra == _GET_OK)
            )
        request.extra = _GET_OK
        for name, value in response.fields.items():
            request.fields.setdefault(name, value)
        return True

    def interim(self, response: Unit) -> bool:
        """Whether the head of the message that was fetched is still to come."""
        return bool(response.extra == _GET_OK)

    def complete(self, fields: dict[str, Any], request: Unit | None, response: Unit | None) -> None:
        """Add the names that public rules ask for; a content's head alone has no method."""
        if request is None and response is not None and response.extra == _HEADER:
            fields["amqp.method"] = "content-header"
        for name, copy in _COPIED.items():
            if name in fields:
                fields[copy] = fields[name]

    def _place(
        self, unit: Unit, method: tuple[int, int], own: tuple[str, str], other: tuple[str, str]
    ) -> bool:
        """Set role, key and status of a method's unit; whether the method is known at all."""
        fields = unit.fields
        if method in _SYNCHRONOUS:
            fields["amqp.method"] = _SYNCHRONOUS[method]
            if not fields.get("amqp.no-wait"):
                unit.role, unit.key = Role.REQUEST, (fields["amqp.method"], *own)
            if method in _CLOSES and fields.get("amqp.reply-code", _FINE) != _FINE:
                _add_error(unit)
        elif method in _ANSWERS:
            asked = _SYNCHRONOUS[_ANSWERS[method]]
            fields["amqp.method"] = f"{asked}-ok"
            unit.role, unit.key, unit.status = Role.RESPONSE, (asked, *other), "OK"
        elif method == _GET:
            fields["amqp.method"] = "basic.get"
            unit.role, unit.key = Role.REQUEST, ("content", *other)
        elif method in _ANSWER_NAMES:
            fields["amqp.method"] = _ANSWER_NAMES[method]
            unit.role, unit.key, unit.extra, unit.status = Role.RESPONSE, ("content", *own), method, "OK"
        elif method in _WITH_CONTENT:
            fields["amqp.method"] = _WITH_CONTENT[method]
            unit.role, unit.key = Role.REQUEST, ("content", *own)
            if method == _RETURN:
                _add_error(unit)
        elif method in _ALONE:
            fields["amqp.method"] = _ALONE[method]
            unit.status = "Error" if method in _REFUSALS else "OK"
        else:
            return False
        return True

    @staticmethod
    def _failed(
        columns: Columns, fields: dict[str, Any], unit: Unit, other: tuple[str, str]
    ) -> Iterator[Unit]:
        """The answer that a close is to the method that it names, where that one waits for an answer."""
        about = tuple(_number(columns, f"amqp.method.arguments.{part}_id") for part in ("class", "method"))
        asked = "basic.get" if about == _GET else _SYNCHRONOUS.get((about[0], about[1]), "")
        if asked:
            told = {name: value for name, value in fields.items() if name not in _OF_CLOSE}
            own = str(unit.place.from_initiator)
            key = ("content", own, other[1]) if about == _GET else (asked, *other)
            failed = Unit(Role.RESPONSE, told, unit.place, unit.protocol, key)
            _add_error(failed)
            failed.extra = _GET_EMPTY if about == _GET else None
            failed.status = "Error"
            yield failed


def _add_error(unit: Unit) -> None:
    """Say what a reply code means (section 1.2) where it is an error."""
    code = unit.fields.get("amqp.reply-code")
    if code is not None:
        unit.fields["error.code"] = str(code)
    if "amqp.reply-text" in unit.fields:
        unit.fields["error.message"] = unit.fields["amqp.reply-text"]


def _number(columns: Columns, name: str) -> int:
    return number(columns.get(name, [""])[0]) or 0
