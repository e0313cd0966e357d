"""EtherNet/IP and the CIP messages in it (CIP Networks Library, volumes 1 and 2).

tshark tells the encapsulations of a packet, then its CIP messages, then what the connection manager carries: an
encapsulation with a CIP message waits for it, and a message that is sent on gets its content with the last of them.
"""

from collections import deque
from collections.abc import Iterator
from typing import Any

from producers.decoders.convert import CONVERTERS, number
from producers.decoders.ics import OPERATION, Framing, IcsDecoder, first, to_many, to_server, without_nothing
from producers.decoders.tree import Columns, Tree, collect, find_all, texts
from producers.decoders.unit import Place, Role, Unit
from schemas.model import Dataset

_PORTS = frozenset({44818, 2221})
_COMMAND = 0x1000
_UNCONNECTED, _CONNECTED = 0x6F, 0x70
_UNANSWERED = frozenset({0x00, 0x66})
_CONNECTION_MANAGER, _UNCONNECTED_SEND, _MULTIPLE = 6, 0x52, 0x0A
# Tags, templates and PCCC, which share the numbers of services with the connection manager.
_TAG_CLASSES = frozenset({0x67, 0x6B, 0x6C})
_PARTIAL = 6  # the rest of a long answer is to be asked for
_OF_MANAGER, _OF_TAGS, _FIRST_OF_CLASS = 0x100, 0x200, 0x4B
_CHANGING = ("control", "write", "program", "configure")
_HEADER = frozenset(
    {
        *(
            "enip.command",
            "enip.session",
            "enip.context",
            "enip.status",
            "enip.lir.vendor",
            "enip.lir.devtype",
        ),
        *("enip.lir.revision", "enip.cpf.cai.connid", "cip.seq"),
    }
)
_PATH = frozenset({"cip.class", "cip.instance", "cip.attribute", "cip.symbol", "cip.data"})
_DATA_ITEMS = ("0x00b1", "0x00b2")
_hexadecimal = CONVERTERS["hex"]


class EnipDecoder(IcsDecoder):
    """Units of commands that carry no CIP message, and of CIP messages."""

    def __init__(self, dataset: Dataset) -> None:
        super().__init__(dataset)
        self._headers = Framing()
        self._sent_on: deque[Unit] = deque()
        self._packet: tuple[str, int] = ("", 0)

    def extra_fields(self) -> frozenset[str]:
        """Header, identity, and a message's service and status."""
        return _HEADER | {"cip.rr", "cip.sc", "cip.genstat"}

    def units(self, layer: Tree, protocol: str, place: Place) -> Iterator[Unit]:
        """One unit per command without a CIP message, one per message."""
        if self._packet != (place.path, place.frame):
            self._packet = (place.path, place.frame)
            self._sent_on.clear()
        if protocol == "enip":
            if _carries_message(layer):
                self._headers.put(layer, place)
            else:
                yield from self._of_command(layer, place)
        elif protocol == "cip":
            yield from self._of_message(layer, self._headers.take(place), place)
        elif self._sent_on:
            inner = next(iter(find_all(layer, "cip")), None)
            unit = self._sent_on.popleft()
            if inner is not None:
                self._read_message(inner, unit.fields, Role.REQUEST)
                data = first(collect(layer, frozenset({"cip.data"})), "cip.data")
                unit.fields.update(
                    without_nothing({"netflight.enip.cip.data": _hexadecimal(data) if data else None})
                )

    def _of_command(self, layer: Tree, place: Place) -> Iterator[Unit]:
        columns = self.columns(layer)
        command = number(first(columns, "enip.command"))
        if command is None:
            return
        identity = "enip.lir.vendor" in columns
        role = Role.REQUEST if to_server(place, _PORTS) and not identity else Role.RESPONSE
        fields = self.read(columns, role) | self._identity(columns)
        fields[OPERATION] = self.operation(_COMMAND + command)
        status = self._encapsulated(columns, role, fields)
        if role is Role.REQUEST and (command in _UNANSWERED or to_many(place)):
            role = Role.SINGLE  # answers to many come on flows of their own
        yield Unit(role, without_nothing(fields), place, "enip", _key(columns), status)

    def _of_message(self, layer: Tree, header: Tree, place: Place) -> Iterator[Unit]:
        columns = self.columns({"enip": header, "cip": {k: v for k, v in layer.items() if k != "cip"}})
        service = number(first(columns, "cip.sc"))
        if service is None:
            return
        role = Role.RESPONSE if first(columns, "cip.rr") in ("0x01", "1", "True") else Role.REQUEST
        fields = self.read(columns, role)
        self._read_message(layer, fields, role)
        status = self._encapsulated(columns, role, fields)
        code = number(first(columns, "cip.genstat"))
        if role is Role.RESPONSE and code and code != _PARTIAL:
            status = "Error"
            fields["error.code"] = str(code)
            fields["error.message"] = self.name("netflight.enip.cip.status", code)
        fields["netflight.enip.cip.connection_id"] = first(columns, "enip.cpf.cai.connid")
        unit = Unit(role, without_nothing(fields), place, "enip", _key(columns), status)
        if role is Role.REQUEST and fields.get("netflight.enip.cip.service") == self._unconnected_send():
            unit.fields["netflight.enip.cip.sent_on"] = True
            self._sent_on.append(unit)
        yield unit

    def _unconnected_send(self) -> str | None:
        return self.name("netflight.enip.cip.service", _OF_MANAGER + _UNCONNECTED_SEND)

    def _encapsulated(self, columns: Columns, role: Role, fields: dict[str, Any]) -> str:
        """Read the session and, of a response, the status of the encapsulation."""
        session = first(columns, "enip.session")
        if number(session):
            fields["netflight.enip.session"] = session
        if role is Role.REQUEST:
            return ""
        code = number(first(columns, "enip.status"))
        if code:
            fields["error.code"] = f"0x{code:04x}"
            fields["error.message"] = fields.get("netflight.enip.status")
        return "Error" if code else "OK"

    def _identity(self, columns: Columns) -> dict[str, Any]:
        """What List Identity tells beyond what the YAML reads."""
        revision = number(first(columns, "enip.lir.revision"))
        base = "netflight.enip.identity"
        return {
            f"{base}.vendor": self.name(f"{base}.vendor", number(first(columns, "enip.lir.vendor"))),
            f"{base}.device_type": self.name(
                f"{base}.device_type", number(first(columns, "enip.lir.devtype"))
            ),
            f"{base}.revision": None if revision is None else f"{revision >> 8}.{revision & 0xFF}",
        }

    def _read_message(self, message: Tree, fields: dict[str, Any], role: Role) -> None:
        """Read service, path, and of a Multiple Service Packet the services in it."""
        inner = [item for item in find_all(message, "cip") if item is not message]
        code, path = _service(message)
        base = "netflight.enip.cip"
        fields[f"{base}.service"] = self.name(f"{base}.service", code)
        fields[OPERATION] = self.operation(code)
        if role is Role.RESPONSE:
            return  # a response has no path; tshark shows the request's
        told = {
            f"{base}.class": self.name(f"{base}.class", number(first(path, "cip.class"))),
            f"{base}.instance": first(path, "cip.instance"),
            f"{base}.attribute": first(path, "cip.attribute"),
            f"{base}.tag": ".".join(path.get("cip.symbol", ())),
        }
        for name, value in told.items():
            if value:
                fields[name] = value
            else:
                fields.pop(name, None)
        if inner and code == _MULTIPLE:
            services = [_service(item) for item in inner]
            fields[f"{base}.services"] = [self.name(f"{base}.service", each) for each, _ in services]
            tags = [".".join(each["cip.symbol"]) for _, each in services if "cip.symbol" in each]
            fields.update(without_nothing({f"{base}.tags": tags}))
            done = {self.operation(each) for each, _ in services}
            fields[OPERATION] = next(
                (each for each in _CHANGING if each in done), "read" if "read" in done else "other"
            )


def _key(columns: Columns) -> tuple[str, ...]:
    """What a response repeats: the sender's context, on a connection the sequence; other commands answer in order."""
    command = number(first(columns, "enip.command"))
    if command == _CONNECTED and "cip.seq" in columns:
        return ("connected", first(columns, "cip.seq"))
    if command == _UNCONNECTED:
        return ("unconnected", first(columns, "enip.context"), first(columns, "enip.session"))
    return (str(command),)


def _service(message: Tree) -> tuple[int | None, Columns]:
    """The number by which the dataset names a message's service, and its path."""
    own = {key: value for key, value in message.items() if key.startswith(("Request Path", "cip.service"))}
    path = collect(own, _PATH | {"cip.sc"})
    code = number(first(path, "cip.sc"))
    of_class = number(first(path, "cip.class"))
    if code is not None and code >= _FIRST_OF_CLASS:
        if "cip.symbol" in path or of_class in _TAG_CLASSES:
            code += _OF_TAGS
        elif of_class == _CONNECTION_MANAGER:
            code += _OF_MANAGER
    return code, path


def _carries_message(layer: Tree) -> bool:
    """Whether an encapsulation has a data item that is not empty."""
    for items in find_all(layer, "enip.cpf.itemcount_tree"):
        kinds, trees = texts(items.get("enip.cpf.typeid")), find_all(items, "enip.cpf.typeid_tree")
        sizes = (number(str(tree.get("enip.cpf.length"))) for tree in trees)
        if any(kind in _DATA_ITEMS and size for kind, size in zip(kinds, sizes, strict=False)):
            return True
    return False
