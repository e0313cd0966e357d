"""ONC RPC (RFC 5531) and what it carries: NFS (RFC 1094, 1813, 7530), mount, port mapper (RFC 1833), lock manager."""

from collections import deque
from collections.abc import Iterator
from typing import Any

from producers.decoders.base import Decoder
from producers.decoders.convert import choice, number
from producers.decoders.state import Bounded
from producers.decoders.tree import Columns, Tree
from producers.decoders.unit import Place, Role, Unit

_NFS = 100_003
_LAYERS = {_NFS: "nfs", 100_000: "portmap", 100_005: "mount", 100_021: "nlm"}
_FLAVORS = {0: "none", 1: "unix", 2: "short", 3: "des", 6: "rpcsec_gss"}
_ACCEPTED = {
    0: "success",
    1: "prog_unavail",
    2: "prog_mismatch",
    3: "proc_unavail",
    4: "garbage_args",
    5: "system_err",
}
_DENIED = {0: "rpc_mismatch", 1: "auth_error"}
_NFS3 = (
    *("NULL", "GETATTR", "SETATTR", "LOOKUP", "ACCESS", "READLINK", "READ", "WRITE", "CREATE", "MKDIR"),
    *("SYMLINK", "MKNOD", "REMOVE", "RMDIR", "RENAME", "LINK", "READDIR", "READDIRPLUS", "FSSTAT"),
    *("FSINFO", "PATHCONF", "COMMIT"),
)
_NFS2 = (
    *("NULL", "GETATTR", "SETATTR", "ROOT", "LOOKUP", "READLINK", "READ", "WRITECACHE", "WRITE", "CREATE"),
    *("REMOVE", "RENAME", "LINK", "SYMLINK", "MKDIR", "RMDIR", "READDIR", "STATFS"),
)
_PROCEDURES = {
    ("portmap", 2): ("NULL", "SET", "UNSET", "GETPORT", "DUMP", "CALLIT"),
    **{
        ("portmap", version): (
            *("NULL", "SET", "UNSET", "GETADDR", "DUMP", "CALLIT", "GETTIME", "UADDR2TADDR", "TADDR2UADDR"),
            *("GETVERSADDR", "INDIRECT", "GETADDRLIST", "GETSTAT")[: 0 if version == 3 else None],
        )
        for version in (3, 4)
    },
    **{("mount", version): ("NULL", "MNT", "DUMP", "UMNT", "UMNTALL", "EXPORT") for version in (1, 2, 3)},
    **{
        ("nlm", version): (
            *("NULL", "TEST", "LOCK", "CANCEL", "UNLOCK", "GRANTED", "TEST_MSG", "LOCK_MSG", "CANCEL_MSG"),
            *("UNLOCK_MSG", "GRANTED_MSG", "TEST_RES", "LOCK_RES", "CANCEL_RES", "UNLOCK_RES"),
            *("GRANTED_RES", "", "", "", "", "SHARE", "UNSHARE", "NM_LOCK", "FREE_ALL"),
        )
        for version in (1, 3, 4)
    },
    ("nfs", 2): _NFS2,
    ("nfs", 3): _NFS3,
}
_COPIED = {
    "nfs.opcode": "network_traffic.nfs.opcode",
    "nfs.status": "network_traffic.nfs.status",
    "rpc.auth_flavor": "network_traffic.nfs.rpc.auth_flavor",
    "rpc.cred.uid": "network_traffic.nfs.rpc.cred.uid",
}
# A reply says of these what tshark has of the first call of its number, which an attacker uses again.
_OF_CALLS = ("netflight.nfs.program", "netflight.nfs.program_version", "netflight.nfs.procedure")
_CALLED = ("rpc.program", "rpc.programversion", "rpc.procedure")
_MAX_CALLS = 1000
_SIGNS = ("rpc.msgtyp", "rpc.replystat", "rpc.state_accept", "rpc.state_reject")


class _Calls:
    """The calls of a flow: which were made, and how many with a number wait for a reply."""

    def __init__(self) -> None:
        self._made: Bounded[tuple[str, ...], bool] = Bounded(_MAX_CALLS)
        self._waiting: Bounded[str, int] = Bounded(_MAX_CALLS)

    def is_repeated(self, role: Role, columns: Columns, size: int) -> bool:
        """Whether a message was sent before: a call of the same size for the same, or one more reply to it."""
        number_ = _first(columns, "rpc.xid")
        waiting = self._waiting.get(number_, 0)
        if role is Role.RESPONSE:
            self._waiting[number_] = max(waiting - 1, 0)
            return waiting == 0
        call = (number_, *(_first(columns, name) for name in _CALLED), str(size))
        if call in self._made:
            return True
        self._made[call] = True
        self._waiting[number_] = waiting + 1
        return False


class NfsDecoder(Decoder):
    """Units of calls and replies.

    tshark shows RPC and the program's part as two layers of a packet, first all of the one, then all of the other:
    the first waits for the second, as far as there is one, until the next packet.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._held: deque[tuple[str, Unit]] = deque()
        self._calls = self.per_flow(_Calls)

    def extra_fields(self) -> frozenset[str]:
        """What says who calls, how it went, and which operation of NFS 4 matters."""
        return frozenset(
            {
                *(
                    *_SIGNS,
                    *_CALLED,
                    "rpc.xid",
                    "rpc.auth.flavor",
                    "rpc.auth.gid",
                    "rpc.auth.length",
                    "rpc.fraglen",
                ),
                *("rpc.authgss.token_length", "nfs.main_opcode", "nfs.status", "mount.status"),
            }
        )

    def units(self, layer: Tree, protocol: str, place: Place) -> Iterator[Unit]:
        """The call or reply of a layer, once all of it is there; calls sent again are none."""
        while self._held and self._held[0][1].place is not place:
            yield self._held.popleft()[1]
        columns = self.columns(layer)
        if protocol == "rpc":
            role = self.role(columns, place)
            if role is None:
                return
            repeated = self._calls.of(place).is_repeated(role, columns, _size(columns, place))
            if repeated and "rpc.dup" in layer:  # the same call again
                return
            unit = self._message(columns, role, place)
            program = number(_first(columns, "rpc.program"))
            if program in _LAYERS and _first(columns, "rpc.state_accept") in ("", "0"):
                self._held.append((_LAYERS[program], unit))
            else:
                yield unit
            return
        for number_, (name, unit) in enumerate(self._held):
            if name == protocol:
                del self._held[number_]
                self._add_program(unit, columns, protocol)
                yield unit
                return

    def complete(self, fields: dict[str, Any], request: Unit | None, response: Unit | None) -> None:
        """Say of a call what it was itself, and add the names that public rules ask for."""
        if request is not None and response is not None:
            fields.update({name: request.fields[name] for name in _OF_CALLS if name in request.fields})
            name = request.fields.get("netflight.nfs.procedure_name")
            if name:
                fields["netflight.nfs.procedure_name"] = name
        for name, copy in _COPIED.items():
            if name in fields:
                fields[copy] = fields[name]

    def _message(self, columns: Columns, role: Role, place: Place) -> Unit:
        fields = self.read(columns, role)
        unit = Unit(role, fields, place, "rpc", self.key(columns))
        if "rpc.xid" in fields:
            fields["rpc.xid"] = str(fields["rpc.xid"]).removeprefix("0x")
        side = "call" if role is Role.REQUEST else "reply"
        fields[f"netflight.nfs.{side}_bytes"] = _size(columns, place)
        if role is Role.REQUEST:
            verifier = columns.get("rpc.authgss.token_length") or columns.get("rpc.auth.length", [])[1:]
            size = number(verifier[0]) if verifier else None
            if size:
                fields["netflight.nfs.verifier_bytes"] = size
            flavor = number(_first(columns, "rpc.auth.flavor"))
            if flavor is not None:
                fields["rpc.auth_flavor"] = _FLAVORS.get(flavor, str(flavor))
            groups = [
                value for text in columns.get("rpc.auth.gid", ()) if (value := number(text)) is not None
            ]
            if groups:
                fields["rpc.cred.gid"] = groups[0]
            if groups[1:]:
                fields["rpc.cred.gids"] = groups[1:]
            return unit
        said = _first(columns, "rpc.state_accept")
        names = _ACCEPTED if said else _DENIED
        outcome = choice(names)(said or _first(columns, "rpc.state_reject"))
        if outcome is not None:
            fields["rpc.status"] = outcome
            unit.status = "OK" if outcome == "success" else "Error"
        return unit

    def _add_program(self, unit: Unit, columns: Columns, protocol: str) -> None:
        """Add what the program's own layer says."""
        fields = unit.fields
        unit.protocol = protocol
        for name, value in self.read(columns, unit.role).items():
            fields.setdefault(name, value)
        version: int = fields.get("netflight.nfs.program_version", 0)
        procedure = fields.get("netflight.nfs.procedure", -1)
        names = _PROCEDURES.get((protocol, version), ())
        name = names[procedure] if 0 <= procedure < len(names) else ""
        if protocol == "nfs":
            fields["nfs.version"] = version
            if version == 4:
                name = self._operation(columns, procedure)
        if name:
            fields["nfs.opcode" if protocol == "nfs" else "netflight.nfs.procedure_name"] = name
        if unit.role is Role.RESPONSE and any(
            columns.get(status, ["0"])[0] != "0" for status in ("nfs.status", "mount.status")
        ):
            unit.status = "Error"

    def _operation(self, columns: Columns, procedure: int) -> str:
        """The operation of an NFS 4 call that tshark deems its main one, or the first of them."""
        if procedure == 0:
            return "NULL"
        main = _first(columns, "nfs.main_opcode") or _first(columns, "nfs.opcode")
        return str(choice(self.dataset.fields["netflight.nfs.opcodes"].names)(main) or "COMPOUND")


def _size(columns: Columns, place: Place) -> int:
    """The bytes of a message: of its fragments (RFC 5531, section 11), or of its datagram."""
    fragments = [size for size in map(number, columns.get("rpc.fraglen", ())) if size is not None]
    return sum(fragments) if fragments else place.length


def _first(columns: Columns, name: str) -> str:
    return columns[name][0] if name in columns else ""
