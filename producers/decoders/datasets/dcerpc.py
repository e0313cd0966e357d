"""DCE/RPC ([C706] chapter 12, [MS-RPCE]): binds and calls; what a flow has bound tells which interface is called."""

from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

from producers.decoders.base import Decoder
from producers.decoders.convert import number
from producers.decoders.ntstatus import nt_status
from producers.decoders.rpc import interface_name, layer_interface, method_name, operation_name
from producers.decoders.rpc_arguments import arguments
from producers.decoders.tables import name_of
from producers.decoders.tree import Columns, Tree, collect, holders, texts
from producers.decoders.unit import Place, Role, Unit

_CALLS, _BINDS = frozenset({0, 2, 3, 6}), frozenset({11, 12, 13, 14, 15})
_BINDING = {11: "bind", 12: "bind", 13: "bind", 14: "alter_context", 15: "alter_context"}
_NOTICES = {8: "cancel", 17: "shutdown", 18: "cancel", 19: "orphaned"}
_REQUEST, _RESPONSE, _BIND, _BIND_ACK, _ALTER = 0, 2, 11, 12, 14
_FLOWS, _CONTEXTS = 4096, 64  # of which it is known what is bound
_LATE = 16  # calls of a flow whose arguments wait for the answer
_ENDPOINT = "endpoint"
# How interfaces call what an operation returns: an NT status, or a code of Windows.
_NT, _WINDOWS = (".rc", ".status"), (".werror", ".werr.rc", ".dos.rc")
# Codes of Windows that end a listing: NO_MORE_FILES, NO_MORE_ITEMS; and those that say how much room the answer needs,
# for the next call: INSUFFICIENT_BUFFER, MORE_DATA. The endpoint mapper's lookup ends with EPT_S_NOT_REGISTERED.
_ENDS, _GOES_ON, _NOT_REGISTERED = frozenset({18, 259}), frozenset({122, 234}), 0x16C9_A0D6
_RETURNS_WINDOWS = frozenset({"svcctl", "drsuapi", "spoolss", "epmapper", "mgmt", "dnsserver"})


class DcerpcDecoder(Decoder):
    """Units of PDUs. A call of several fragments is one request with its first and one response with its last."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._bound: OrderedDict[int, dict[str, str]] = OrderedDict()
        self._late = self.per_flow(dict[str, dict[str, Any]])

    def extra_fields(self) -> frozenset[str]:
        """Where fragments begin and end, what is bound, and faults."""
        return frozenset(
            {
                *("dcerpc.cn_flags.first_frag", "dcerpc.cn_flags.last_frag", "dcerpc.dg_flags1_frag"),
                *("dcerpc.dg_flags1_last_frag", "dcerpc.dg_frag_num", "dcerpc.dg_act_id", "dcerpc.dg_if_id"),
                *("dcerpc.cn_bind_to_uuid", "dcerpc.cn_bind_if_ver", "dcerpc.cn_bind_if_ver_minor"),
                *("dcerpc.cn_sec_addr", "dcerpc.cn_status", "dcerpc.dg_status"),
            }
        )

    def units(self, layer: Tree, protocol: str, place: Place) -> Iterator[Unit]:
        """One unit per bind, call, answer and notice; further fragments, keep-alives, a bind's third leg are none."""
        inner = next(((n, layer[n]) for n in self._beside if isinstance(layer.get(n), dict)), None)
        own = layer if inner is None else {name: tree for name, tree in layer.items() if name != inner[0]}
        columns = self.columns(own)
        kind = number(_first(columns, "dcerpc.pkt_type"))
        role = self.role(columns, place) or Role.SINGLE
        if kind not in _CALLS | _BINDS | _NOTICES.keys():
            return
        if not _tells(columns, role):
            if kind == _REQUEST and inner is not None:
                self._keep(columns, inner, place)
            return
        unit = Unit(role, self.read(columns, role), place, protocol, _key(columns, kind, place))
        unit.status = self.status(columns, role, place) if role is Role.RESPONSE else ""
        said = _BINDING.get(kind) or _NOTICES.get(kind) or "call"
        unit.fields["netflight.dcerpc.type"] = said
        bound = self._of_flow(place)
        if kind in (_BIND, _ALTER):
            _bind(unit, own, bound)
        elif kind in _BINDS:
            _bound(unit, columns, bound)
        elif kind in _CALLS:
            self._called(unit, columns, own, inner)
        yield unit

    def _called(self, unit: Unit, columns: Columns, own: Tree, inner: tuple[str, Tree] | None) -> None:
        """Tell what a call or its answer says; `inner` is the interface's layer, where tshark has one."""
        name, tree = inner or ("", own)
        _call(unit, columns, self._of_flow(unit.place), layer_interface(name))
        asks = unit.role is Role.REQUEST
        unit.fields |= _arguments(unit, tree, returned=not asks)
        if inner is not None:
            _mapping(unit, tree)
        if asks:
            return
        unit.fields |= self._late.of(unit.place).pop(_first(columns, "dcerpc.cn_call_id"), {})
        if number(_first(columns, "dcerpc.pkt_type")) == _RESPONSE:
            _returned(unit, tree if inner is not None else {})
        else:
            _fault(unit, columns)

    def _keep(self, columns: Columns, inner: tuple[str, Tree], place: Place) -> None:
        """Keep the arguments of a call of several fragments, which tshark shows with the last, for its answer."""
        name, opnum = layer_interface(inner[0]), number(_first(columns, "dcerpc.opnum"))
        told = arguments(inner[1], name, -1 if opnum is None else opnum, returned=False)
        kept = self._late.of(place)
        if told:
            if len(kept) >= _LATE:
                del kept[next(iter(kept))]
            kept[_first(columns, "dcerpc.cn_call_id")] = told

    @property
    def _beside(self) -> tuple[str, ...]:
        return self.dataset.tshark.beside if self.dataset.tshark else ()

    def _of_flow(self, place: Place) -> dict[str, str]:
        """What is bound on a flow: UUIDs by context id and by name, and the endpoint."""
        uid = -1 if place.flow is None else place.flow.uid
        known = self._bound.setdefault(uid, {})
        self._bound.move_to_end(uid)
        if len(self._bound) > _FLOWS:
            self._bound.popitem(last=False)
        return known


def _tells(columns: Columns, role: Role) -> bool:
    """Whether the PDU is whole, the first fragment of a request, or the last one of an answer."""
    if "dcerpc.cn_flags.first_frag" in columns:
        side = "last" if role is Role.RESPONSE else "first"
        return _first(columns, f"dcerpc.cn_flags.{side}_frag") in ("1", "True")
    if _first(columns, "dcerpc.dg_flags1_frag") not in ("1", "True"):
        return True
    if role is Role.RESPONSE:
        return _first(columns, "dcerpc.dg_flags1_last_frag") in ("1", "True")
    return number(_first(columns, "dcerpc.dg_frag_num")) == 0


def _key(columns: Columns, kind: int, place: Place) -> tuple[str, ...]:
    """What a request has in common with its answer; that to a datagram may come from another port, on another flow."""
    if "dcerpc.dg_act_id" in columns:
        return ("datagram", _first(columns, "dcerpc.dg_act_id"), _first(columns, "dcerpc.dg_seqnum"))
    flow = "" if place.flow is None else str(place.flow.uid)
    return (_BINDING.get(kind, "call"), flow, _first(columns, "dcerpc.cn_call_id"))


def _bind(unit: Unit, layer: Tree, bound: dict[str, str]) -> None:
    """Tell what is bound, and remember it by context id and by name."""
    names: list[str] = []
    for context in holders(layer, "dcerpc.cn_ctx_id"):
        wanted = frozenset({"dcerpc.cn_bind_to_uuid", "dcerpc.cn_bind_if_ver", "dcerpc.cn_bind_if_ver_minor"})
        said = collect(context, wanted)
        uuid = _first(said, "dcerpc.cn_bind_to_uuid").lower()
        if not uuid:
            continue
        name = interface_name(uuid)
        names.append(name or uuid)
        if len(bound) < _CONTEXTS:
            bound[next(iter(texts(context.get("dcerpc.cn_ctx_id"))), "")] = uuid
            bound[name or uuid] = uuid
        if len(names) == 1:
            _interface(unit, name, uuid)
            version = [_first(said, f"dcerpc.cn_bind_if_ver{part}") for part in ("", "_minor")]
            unit.fields["netflight.dcerpc.interface_version"] = ".".join(filter(None, version))
    if names:
        unit.fields["netflight.dcerpc.interfaces"] = list(dict.fromkeys(names))


def _bound(unit: Unit, columns: Columns, bound: dict[str, str]) -> None:
    """Tell the endpoint that the server names, and whether it took anything."""
    endpoint = _first(columns, "dcerpc.cn_sec_addr").strip("\0")
    if endpoint:
        bound[_ENDPOINT] = endpoint
    _endpoint(unit, bound)
    results = unit.fields.get("netflight.dcerpc.results", [])
    if results and "acceptance" not in results:
        unit.status = "Error"
        unit.fields["error.message"] = str(results[0])
    elif "netflight.dcerpc.reject_reason" in unit.fields:
        unit.fields["error.message"] = unit.fields["netflight.dcerpc.reject_reason"]


def _call(unit: Unit, columns: Columns, bound: dict[str, str], decoded: str) -> None:
    """Tell which operation of which interface is called: the one that tshark decodes, or the one that is bound."""
    uuid = _first(columns, "dcerpc.dg_if_id").lower() or bound.get(_first(columns, "dcerpc.cn_ctx_id"), "")
    name = interface_name(uuid)
    if decoded and decoded != name:
        name, uuid = decoded, bound.get(decoded, "")
    _interface(unit, name, uuid)
    _endpoint(unit, bound)
    number_of = unit.fields.get("netflight.dcerpc.opnum", -1)
    for field, named in (("operation", operation_name), ("method", method_name)):
        said = named(name, number_of)
        if said:
            unit.fields[f"netflight.dcerpc.{field}"] = said


def _arguments(unit: Unit, layer: Tree, *, returned: bool) -> dict[str, Any]:
    """What the event tells of a call's arguments or results."""
    interface, opnum = (unit.fields.get(f"netflight.dcerpc.{name}") for name in ("interface", "opnum"))
    return arguments(layer, str(interface or ""), -1 if opnum is None else opnum, returned=returned)


def _interface(unit: Unit, name: str, uuid: str) -> None:
    if name or uuid:
        unit.fields["netflight.dcerpc.interface"] = name or uuid
    if uuid:
        unit.fields["netflight.dcerpc.uuid"] = uuid


def _endpoint(unit: Unit, bound: dict[str, str]) -> None:
    if _ENDPOINT in bound:
        unit.fields["netflight.dcerpc.endpoint"] = bound[_ENDPOINT]


def _mapping(unit: Unit, layer: Tree) -> None:
    """What the endpoint mapper is asked for and answers: the first tower's interface and port ([C706] appendix L)."""
    found = collect(layer, frozenset({"epm.uuid", "epm.proto.tcp_port"}))
    names = [name for name in map(interface_name, found.get("epm.uuid", ())) if name]
    if names:
        unit.fields["netflight.dcerpc.mapped.interface"] = names[0]
    ports = [port for port in map(number, found.get("epm.proto.tcp_port", ())) if port]
    if ports:
        unit.fields["netflight.dcerpc.mapped.port"] = ports[0]


def _returned(unit: Unit, layer: Tree) -> None:
    """The status that an operation returned, where tshark decodes its results."""
    for field, value in layer.items():
        code = number(value) if isinstance(value, str) else None
        if code is None or field.count(".") > 2:
            continue
        windows = unit.fields.get("netflight.dcerpc.interface") in _RETURNS_WINDOWS
        if field.endswith(_WINDOWS) or (windows and field.endswith(_NT)):
            _status(unit, code, name_of("windows.werror", code) or "", _outcome(unit, code))
        elif field.endswith(_NT):
            status = nt_status(value)
            if status is not None:
                _status(unit, code, status.name, status.outcome)


def _outcome(unit: Unit, code: int) -> str:
    """What a code of Windows says of a call."""
    if code in _GOES_ON:
        return ""
    lookup = str(unit.fields.get("netflight.dcerpc.operation", "")).lower().endswith("lookup")
    ended = code in _ENDS or (code == _NOT_REGISTERED and lookup)
    return "Error" if code and not ended else "OK"


def _fault(unit: Unit, columns: Columns) -> None:
    code = number(_first(columns, "dcerpc.cn_status") or _first(columns, "dcerpc.dg_status"))
    if code is not None:
        _status(unit, code, name_of("windows.rpc_status", code) or "", "Error")


def _status(unit: Unit, value: int, name: str, outcome: str) -> None:
    code = f"0x{value:08x}"
    unit.fields["netflight.dcerpc.status"], unit.fields["netflight.dcerpc.status_code"] = name or code, code
    unit.status = outcome
    if outcome == "Error":
        unit.fields["error.code"], unit.fields["error.message"] = code, name or code


def _first(columns: Columns, name: str) -> str:
    return columns[name][0] if name in columns else ""
