"""OPC UA over TCP in its binary encoding (OPC 10000-6, sections 5.2 and 7.1)."""

from collections.abc import Iterator
from typing import Any

from producers.decoders.convert import number
from producers.decoders.ics import OPERATION, IcsDecoder, first, to_server, without_nothing
from producers.decoders.secrets import Credentials
from producers.decoders.tree import Columns, Tree, collect, find_all, holders
from producers.decoders.unit import Place, Role, Unit

_PORTS = frozenset({4840})
_TRANSPORT = {"HEL": 1, "ACK": 2, "ERR": 3, "RHE": 4}
_HELLO, _ERROR = "HEL", "ERR"
_FINAL = "F"
_BAD = 2
_HEADERS = ("RequestHeader", "ResponseHeader")
# What a request names its nodes; never the authentication token, which is as good as a password.
_NODES = frozenset(
    {
        *(
            "NodeId",
            "ObjectId",
            "MethodId",
            "ParentNodeId",
            "RequestedNewNodeId",
            "StartingNode",
            "SourceNodeId",
        ),
        *("TargetNodeId",),
    }
)
_IDENTIFIERS = {"numeric": "i", "string": "s", "guid": "g", "bytestring": "b"}
_BUILTIN = frozenset(
    f"opcua.{name}"
    for name in (
        *(
            "Boolean",
            "SByte",
            "Byte",
            "Int16",
            "UInt16",
            "Int32",
            "UInt32",
            "Int64",
            "UInt64",
            "Float",
            "Double",
        ),
        *("String", "DateTime", "Guid", "ByteString", "loctext.Text"),
    )
)
_WITH_VALUES = frozenset({"WriteRequest", "CallRequest", "ReadResponse", "PublishResponse", "CallResponse"})
_OF_BODY = frozenset(
    {
        *(
            "opcua.EndpointUrl",
            "opcua.ApplicationUri",
            "opcua.SessionName",
            "opcua.UserName",
            "opcua.Password",
        ),
        *("opcua.EncryptionAlgorithm", "opcua.MessageSecurityMode", "opcua.StatusCode", "opcua.AttributeId"),
        *("opcua.SecurityPolicyUri", "opcua.Results"),
    }
)


class OpcuaDecoder(IcsDecoder):
    """Units of OPC UA messages. One whose service is none that tshark knows is encrypted, and its content not read."""

    def extra_fields(self) -> frozenset[str]:
        """The transport's header, and what begins a body."""
        return frozenset(
            {
                *("opcua.transport.type", "opcua.transport.chunk", "opcua.transport.endpoint"),
                *(
                    "opcua.transport.error",
                    "opcua.servicenodeid.numeric",
                    "opcua.RequestHandle",
                    "opcua.ServiceResult",
                ),
            }
        )

    def units(self, layer: Tree, protocol: str, place: Place) -> Iterator[Unit]:
        """One unit per message; the chunks before the last are none."""
        columns = self.columns(layer)
        kind = first(columns, "opcua.transport.type")
        if kind in _TRANSPORT:
            yield self._of_transport(columns, kind, protocol, place)
        elif kind and first(columns, "opcua.transport.chunk") == _FINAL:
            yield self._of_service(layer, columns, protocol, place)

    def _of_transport(self, columns: Columns, kind: str, protocol: str, place: Place) -> Unit:
        role = {_HELLO: Role.REQUEST, "ACK": Role.RESPONSE}.get(kind, Role.SINGLE)
        fields: dict[str, Any] = self._named(_TRANSPORT[kind], role)
        fields["url.original"] = first(columns, "opcua.transport.endpoint")
        if kind == _ERROR:
            self._read_error(number(first(columns, "opcua.transport.error")) or 0, fields)
        status = "Error" if kind == _ERROR else "OK" if role is Role.RESPONSE else ""
        return Unit(role, without_nothing(fields), place, protocol, (_HELLO,), status)

    def _of_service(self, layer: Tree, columns: Columns, protocol: str, place: Place) -> Unit:
        code = number(first(columns, "opcua.servicenodeid.numeric"))
        service = self._names["netflight.opcua.service"].get(-1 if code is None else code, "")
        role = Role.REQUEST if _asks(service, place) else Role.RESPONSE
        fields = self.read(columns, role)
        fields["netflight.opcua.encrypted"] = not service
        unit = Unit(role, fields, place, protocol, ("MSG", first(columns, "opcua.security.rqid")))
        if service:
            fields |= self._named(code, role)
            fields["netflight.opcua.request_handle"] = number(first(columns, "opcua.RequestHandle"))
            body = next(iter(find_all(layer, service)), {})
            content = {key: value for key, value in body.items() if not key.startswith(_HEADERS)}
            read = self._read_request if role is Role.REQUEST else self._read_response
            read(unit, service, content)
        if role is Role.RESPONSE:
            result = number(first(columns, "opcua.ServiceResult")) or unit.extra or 0 if service else 0
            unit.status = "Error" if self._read_error(result, fields) else "OK" if service else ""
        elif service == "CloseSecureChannelRequest":
            unit.role = Role.SINGLE
        unit.fields = without_nothing(fields)
        return unit

    def _named(self, code: int | None, role: Role) -> dict[str, Any]:
        """Operation and service; what answers is named apart, too."""
        said = self.name("netflight.opcua.service", code)
        named = {OPERATION: self.operation(code), "netflight.opcua.service": said}
        return named | ({"netflight.opcua.response.service": said} if role is Role.RESPONSE else {})

    def _read_error(self, code: int, fields: dict[str, Any]) -> bool:
        """Read a status code; whether its severity is bad (OPC 10000-4, section 7.39)."""
        if code >> 30 != _BAD:
            return False
        fields["error.code"] = f"0x{code:08x}"
        fields["error.message"] = self.name("error.message", code & 0xFFFF0000)
        return True

    def _read_request(self, unit: Unit, service: str, body: Tree) -> None:
        found, fields = collect(body, _OF_BODY), unit.fields
        attributes = [
            self.name("netflight.opcua.attributes", number(t)) for t in found.get("opcua.AttributeId", ())
        ]
        told = {
            "url.original": first(found, "opcua.EndpointUrl"),
            "netflight.opcua.application_uri": first(found, "opcua.ApplicationUri"),
            "netflight.opcua.session_name": first(found, "opcua.SessionName"),
            "netflight.opcua.security.mode": self.name(
                "netflight.opcua.security.mode", number(first(found, "opcua.MessageSecurityMode"))
            ),
            "user.name": first(found, "opcua.UserName"),
            "netflight.opcua.identity": self._identity(body),
            "netflight.opcua.nodes": list(_nodes(body)),
            "netflight.opcua.attributes": list(dict.fromkeys(attributes)),
            "netflight.opcua.request.values": list(_values(body)) if service in _WITH_VALUES else [],
        }
        fields.update(without_nothing(told))
        if first(found, "opcua.Password") and not first(found, "opcua.EncryptionAlgorithm"):
            password = _text(first(found, "opcua.Password"))
            unit.credentials.append(Credentials(first(found, "opcua.UserName"), password, "UserName"))

    def _read_response(self, unit: Unit, service: str, body: Tree) -> None:
        found = collect(body, _OF_BODY)
        codes = [*found.get("opcua.StatusCode", ()), *found.get("opcua.Results", ())]
        numbers = [number(text) or 0 for text in codes]
        results = [self.name("error.message", code & 0xFFFF0000) for code in numbers]
        if numbers and all(code >> 30 == _BAD for code in numbers):
            unit.extra = numbers[0]  # the service went well, but nothing that it was asked for
        told = {
            "netflight.opcua.results": list(dict.fromkeys(results)),
            "netflight.opcua.response.values": list(_values(body)) if service in _WITH_VALUES else [],
            "netflight.opcua.offered.policies": _distinct(found, "opcua.SecurityPolicyUri"),
            "netflight.opcua.offered.endpoints": _distinct(found, "opcua.EndpointUrl"),
        }
        unit.fields.update(without_nothing(told))

    def _identity(self, body: Tree) -> str | None:
        """The kind of the token that identifies a user (OPC 10000-4, section 7.40)."""
        token = next(iter(find_all(body, "UserIdentityToken: ExtensionObject")), {})
        kind = next(iter(holders(token, "opcua.nodeid.numeric")), {})
        return self.name("netflight.opcua.identity", number(str(kind.get("opcua.nodeid.numeric"))))


def _asks(service: str, place: Place) -> bool:
    if service.endswith("Request"):
        return True
    return not service and to_server(place, _PORTS)


def _nodes(tree: Tree) -> Iterator[str]:
    """Node ids in the order of the packet, as text (OPC 10000-6, section 5.3.1.10)."""
    for key, value in tree.items():
        for item in value if isinstance(value, list) else (value,):
            if isinstance(item, dict):
                if key.partition(":")[0] in _NODES:
                    yield from _node(item)
                else:
                    yield from _nodes(item)


def _node(node: Tree) -> Iterator[str]:
    for name, letter in _IDENTIFIERS.items():
        identifier = node.get(f"opcua.nodeid.{name}")
        if isinstance(identifier, str):
            namespace = node.get("opcua.nodeid.nsindex")
            yield (f"ns={namespace};" if namespace not in (None, "0") else "") + f"{letter}={identifier}"


def _values(tree: Tree) -> Iterator[str]:
    """The built-in values below a tree, in the order of the packet."""
    for key, value in tree.items():
        for item in value if isinstance(value, list) else (value,):
            if isinstance(item, dict):
                yield from _values(item)
            elif key in _BUILTIN and isinstance(item, str):
                yield item


def _distinct(found: Columns, name: str) -> list[str]:
    """A field's values that say something, each once."""
    return [value for value in dict.fromkeys(found.get(name, ())) if value]


def _text(data: str) -> str:
    try:
        return bytes.fromhex(data.replace(":", "")).decode("utf-8", "replace")
    except ValueError:
        return data
