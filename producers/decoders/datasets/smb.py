"""SMB: commands of SMB2 ([MS-SMB2]) and SMB1 ([MS-CIFS], [MS-SMB]), each with its response, their files and shares."""

import re
from collections.abc import Iterator
from typing import Any

from producers.decoders.base import Decoder
from producers.decoders.convert import ip, number
from producers.decoders.ntstatus import PENDING, NtStatus, nt_status
from producers.decoders.tables import name_of, name_or_number
from producers.decoders.tree import Columns, Tree
from producers.decoders.unit import Place, Role, Unit

# [MS-SMB2] section 2.2.1.2
_COMMANDS2 = (
    *("NEGOTIATE", "SESSION_SETUP", "LOGOFF", "TREE_CONNECT", "TREE_DISCONNECT", "CREATE", "CLOSE", "FLUSH"),
    *("READ", "WRITE", "LOCK", "IOCTL", "CANCEL", "ECHO", "QUERY_DIRECTORY", "CHANGE_NOTIFY", "QUERY_INFO"),
    *("SET_INFO", "OPLOCK_BREAK"),
)
_UNSOLICITED2 = str((1 << 64) - 1)  # the message id of an oplock break that nobody asked for
_NONE1 = "65535"  # no tree; as a multiplex id: an oplock break that nobody asked for
# Requests of SMB1 that have no response of their own: NT_CANCEL, and what goes on with a transaction.
_ALONE1, _SECONDARY1 = frozenset({0xA4}), frozenset({0x26, 0x33, 0xA1})
_TRANSACTIONS1, _MAX_TRANSACTIONS = frozenset({0x25, 0x32, 0xA0}), 64
_CREATES, _READS, _WRITES = (
    frozenset({"CREATE", "NT_CREATE_ANDX"}),
    frozenset({"READ", "READ_ANDX"}),
    frozenset({"WRITE", "WRITE_ANDX"}),
)
_BLOCK = re.compile(r"^.* (?:Request|Response) \(0x([0-9a-f]{2})\)$")
_HANDLE = "GUID handle File: "  # tshark's label of a handle that it has seen opened
_DISPOSITIONS = ("supersede", "open", "create", "open_if", "overwrite", "overwrite_if")
_ACTIONS = ("superseded", "opened", "created", "overwritten")
_ACCESS = (
    *("read", "write", "append", "read_ea", "write_ea", "execute", "delete_child", "read_attributes"),
    *("write_attributes", "delete", "read_control", "write_dac", "write_owner", "synchronize"),
    *(
        "system_security",
        "maximum_allowed",
        "generic_all",
        "generic_execute",
        "generic_write",
        "generic_read",
    ),
)
_OPTIONS = (
    *("directory", "write_through", "sequential_only", "non_directory", "random_access", "delete_on_close"),
    *("open_by_fileid", "backup_intent", "open_reparse_point", "open_no_recall"),
)
_SHARING = ("read", "write", "delete")
_REFERRALS = frozenset({"FSCTL_DFS_GET_REFERRALS", "FSCTL_DFS_GET_REFERRALS_EX", "GET_DFS_REFERRAL"})
_FLAGS = {
    "netflight.smb.access": ("smb.access.", _ACCESS),
    "netflight.smb.options": ("smb.nt.create_options.", _OPTIONS),
    "netflight.smb.share_access": ("smb.share.access.", _SHARING),
}
_INFO = {
    "smb2.file_info.infolevel": "windows.smb_file_info",
    "smb2.fs_info.infolevel": "windows.smb_fs_info",
    "smb2.sec_info.infolevel": "windows.smb_security_info",
    "smb2.find.infolevel": "windows.smb_find_info",
}


class SmbDecoder(Decoder):
    """Units of SMB. What tshark knows of a session, a tree and a handle is read from each message."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._transactions = self.per_flow(dict[str, str])

    def extra_fields(self) -> frozenset[str]:
        """What tells the command, its outcome, its dialects and its file."""
        flags = {f"{prefix}{name}" for prefix, names in _FLAGS.values() for name in names}
        return frozenset(
            {
                *(
                    "smb2.cmd",
                    "smb2.nt_status",
                    "smb2.dialect",
                    "smb2.filename",
                    "smb2.eof",
                    "smb2.olb.length",
                ),
                *("smb2.write.count", "smb2.ioctl.function", "smb2.create.disposition", "smb2.create.action"),
                *("smb2.class", *_INFO, "smb.cmd", "smb.mid", "smb.pid", "smb.nt_status", "smb.error_class"),
                *(
                    "smb.error_code",
                    "smb.flags.response",
                    "smb.dialect.name",
                    "smb.dialect.index",
                    "smb.file",
                ),
                *(
                    "smb.old_file",
                    "smb.native_os",
                    "smb.native_lanman",
                    "smb.primary_domain",
                    "smb.trans2.cmd",
                ),
                *("smb.nt.function", "smb.create.disposition", "smb.create.action", "smb.file.rw.length"),
                *("smb.pd", "smb.data_disp", *flags),
            }
        )

    def units(self, layer: Tree, protocol: str, place: Place) -> Iterator[Unit]:
        """One unit per command; what is encrypted has none."""
        if protocol == "smb2":
            columns = self.columns(layer)
            command = number(_first(columns, "smb2.cmd"))
            if command is not None:
                yield self._unit2(columns, command, layer, place)
            return
        for command, tree in _blocks(layer):
            unit = self._unit1(self.columns(tree), command, place)
            if unit is not None:
                yield unit

    def interim(self, response: Unit) -> bool:
        """Whether the server only says that it will answer later ([MS-SMB2] section 3.3.4.2)."""
        return isinstance(response.extra, NtStatus) and response.extra.value == PENDING

    def complete(self, fields: dict[str, Any], request: Unit | None, response: Unit | None) -> None:
        """Name the dialect of SMB1 that the response chose among those of the request."""
        index = response.extra if response else None
        offered = request.fields.get("netflight.smb.dialects", []) if request else []
        if isinstance(index, int) and 0 <= index < len(offered):
            fields["netflight.smb.dialect"] = offered[index]

    def _unit2(self, columns: Columns, command: int, layer: Tree, place: Place) -> Unit:
        name = _COMMANDS2[command] if 0 <= command < len(_COMMANDS2) else str(command)
        role = self.role(columns, place) or Role.SINGLE
        identity = _first(columns, "smb2.msg_id")
        if name == "CANCEL" or identity == _UNSOLICITED2:
            role = Role.SINGLE
        # A client that offers SMB2 in an SMB1 negotiation is answered in SMB2, as if it had sent message 0.
        key = ("NEGOTIATE",) if name == "NEGOTIATE" and number(identity) == 0 else ("2", identity)
        fields = self.read(columns, role)
        fields |= {"netflight.smb.version": "2", "netflight.smb.command": name}
        unit = Unit(role, fields, place, "smb2", key)
        if role is Role.RESPONSE:
            _answer(unit, nt_status(_first(columns, "smb2.nt_status")))
            _response2(fields, columns, name)
        else:
            _request2(fields, columns, name)
        _file(fields, _path2(columns, layer, name, role))
        _hosts(unit)
        return unit

    def _unit1(self, columns: Columns, command: int, place: Place) -> Unit | None:
        answers = _first(columns, "smb.flags.response") in ("1", "True")
        identity = _first(columns, "smb.mid")
        begun_as = "" if answers else self._begun_as(command, identity, place)
        if (command in _SECONDARY1 and not begun_as) or (answers and _goes_on(columns)):
            return None
        role = Role.RESPONSE if answers else Role.REQUEST
        slot = _first(columns, "smb.trans_name").upper().startswith("\\MAILSLOT\\")
        if command in _ALONE1 or command in _SECONDARY1 or identity == _NONE1 or slot:
            role = Role.SINGLE
        name = name_or_number("windows.smb_command", command)
        fields = self.read(columns, role)
        fields |= {"netflight.smb.version": "1", "netflight.smb.command": name}
        _put(fields, "netflight.smb.transaction.begun_as", begun_as)
        if not fields.get("netflight.smb.signature", "").strip("0"):
            fields.pop("netflight.smb.signature", None)
        if fields.get("netflight.smb.tree_id") == _NONE1:  # none
            del fields["netflight.smb.tree_id"]
        key = ("NEGOTIATE",) if name == "NEGOTIATE" else ("1", identity, _first(columns, "smb.pid"), name)
        unit = Unit(role, fields, place, "smb", key)
        if role is Role.RESPONSE:
            _answer(unit, nt_status(_first(columns, "smb.nt_status")))
            _dos_error(unit, columns)
            _response1(unit, columns, name)
        else:
            _request1(fields, columns, name)
        _hosts(unit)
        return unit

    def _begun_as(self, command: int, identity: str, place: Place) -> str:
        """The command of the first part of a transaction that goes on as one of another kind, told once; else nothing.

        Windows took the second kind's word for how long the data is (MS17-010).
        """
        begun = self._transactions.of(place)
        if command in _TRANSACTIONS1:
            if len(begun) >= _MAX_TRANSACTIONS and identity not in begun:
                del begun[next(iter(begun))]
            begun[identity] = name_or_number("windows.smb_command", command)
        elif command in _SECONDARY1 and begun.get(identity):
            expected = f"{begun[identity]}_SECONDARY"
            if expected != name_or_number("windows.smb_command", command):
                return begun.pop(identity)
        return ""


def _blocks(layer: Tree) -> Iterator[tuple[int, Tree]]:
    """The commands of a message of SMB1, each with the header: an AndX chain has several."""
    header = layer.get("SMB Header")
    found = False
    for label, block in layer.items():
        told = _BLOCK.match(label)
        if told and isinstance(block, dict):
            found = True
            yield int(told[1], 16), {"SMB Header": header, label: block}
    command = number(str(header.get("smb.cmd"))) if isinstance(header, dict) and not found else None
    if command is not None:
        yield command, layer


def _goes_on(columns: Columns) -> bool:
    """Whether a response of SMB1 is not the first part of a transaction's answer."""
    return any(number(_first(columns, name)) for name in ("smb.pd", "smb.data_disp"))


def _answer(unit: Unit, status: NtStatus | None) -> None:
    unit.extra = status
    if status is None:
        return
    unit.fields["netflight.smb.status"] = status.name
    unit.fields["netflight.smb.status_code"] = status.code
    unit.status = status.outcome
    if unit.status == "Error":
        _fail(unit, status.code, status.name)


_DOS_ENDS = frozenset({"1/18", "1/234", "1/259"})  # no more files, more data, no more items: no errors


def _dos_error(unit: Unit, columns: Columns) -> None:
    """The status of a server that does not speak NT status ([MS-CIFS] section 2.2.2.4)."""
    kind = number(_first(columns, "smb.error_class"))
    if kind is None:
        return
    code = f"{kind}/{number(_first(columns, 'smb.error_code')) or 0}"
    unit.fields["netflight.smb.status"] = code if kind else "STATUS_SUCCESS"
    unit.status = "OK"
    if kind and code not in _DOS_ENDS:
        _fail(unit, code, f"DOS error class {kind}, code {code.partition('/')[2]}")


def _fail(unit: Unit, code: str, message: str) -> None:
    unit.status = "Error"
    unit.fields["error.code"], unit.fields["error.message"] = code, message


def _request2(fields: dict[str, Any], columns: Columns, name: str) -> None:
    if name == "NEGOTIATE":
        dialects = [_dialect(text) for text in columns.get("smb2.dialect", ())]
        _put(fields, "netflight.smb.dialects", [text for text in dialects if text])
    elif name == "CREATE":
        _create(fields, columns, "smb2.create.disposition")
    elif name == "IOCTL":
        code = number(_first(columns, "smb2.ioctl.function"))
        if code is not None:
            _put(fields, "netflight.smb.function", name_of("windows.fsctl", code) or f"0x{code:08x}")
    elif name in ("QUERY_INFO", "SET_INFO", "QUERY_DIRECTORY"):
        _put(fields, "netflight.smb.info_class", _info(columns))
        if name == "SET_INFO":  # of a rename or a link
            _put(fields, "file.target_path", _first(columns, "smb2.filename"))


def _response2(fields: dict[str, Any], columns: Columns, name: str) -> None:
    if name == "NEGOTIATE":
        _put(fields, "netflight.smb.dialect", _dialect(_first(columns, "smb2.dialect")))
    elif name == "CREATE":
        _created(fields, columns, "smb2.create.action", "smb2.eof")
    elif name == "READ":
        _put(fields, "netflight.smb.bytes", number(_first(columns, "smb2.olb.length")))
    elif name == "WRITE":
        _put(fields, "netflight.smb.bytes", number(_first(columns, "smb2.write.count")))
    elif name == "QUERY_DIRECTORY" and "smb2.filename" in columns:
        _put(fields, "netflight.smb.entries", len(columns["smb2.filename"]))


def _request1(fields: dict[str, Any], columns: Columns, name: str) -> None:
    if name == "NEGOTIATE":
        _put(fields, "netflight.smb.dialects", columns.get("smb.dialect.name", []))
    elif name == "SESSION_SETUP_ANDX":
        _software(fields, columns, "client")
        if "smb.account" in columns:
            _put(fields, "user.domain", _first(columns, "smb.primary_domain"))
    elif name in _CREATES:
        _create(fields, columns, "smb.create.disposition")
    elif name == "TRANSACTION2":
        _put(
            fields, "netflight.smb.subcommand", _named("windows.smb_transaction2", columns, "smb.trans2.cmd")
        )
    elif name == "NT_TRANSACT":
        _put(
            fields, "netflight.smb.subcommand", _named("windows.smb_nt_transact", columns, "smb.nt.function")
        )
    renamed = name in ("RENAME", "NT_RENAME") and "smb.old_file" in columns
    _file(fields, _first(columns, "smb.old_file" if renamed else "smb.file"))
    if renamed:
        _put(fields, "file.target_path", _first(columns, "smb.file"))


def _response1(unit: Unit, columns: Columns, name: str) -> None:
    fields = unit.fields
    if name == "NEGOTIATE":
        unit.extra = number(_first(columns, "smb.dialect.index"))
    elif name == "SESSION_SETUP_ANDX":
        _software(fields, columns, "server")
    elif name in _CREATES:
        _created(fields, columns, "smb.create.action", "smb.end_of_file")
    elif name in _READS | _WRITES:
        _put(fields, "netflight.smb.bytes", number(_first(columns, "smb.file.rw.length")))


def _software(fields: dict[str, Any], columns: Columns, side: str) -> None:
    said = [_first(columns, name) for name in ("smb.native_os", "smb.native_lanman")]
    _put(fields, f"netflight.smb.{side}_os", "; ".join(text for text in said if text))


def _create(fields: dict[str, Any], columns: Columns, disposition: str) -> None:
    told = number(_first(columns, disposition))
    if told is not None:
        named = _DISPOSITIONS[told] if 0 <= told < len(_DISPOSITIONS) else str(told)
        fields["netflight.smb.disposition"] = named
    for field, (prefix, names) in _FLAGS.items():
        _put(fields, field, [name for name in names if _first(columns, f"{prefix}{name}") in ("1", "True")])


def _created(fields: dict[str, Any], columns: Columns, action: str, size: str) -> None:
    told = number(_first(columns, action))
    if told is None:
        return  # it was not opened
    told &= 0x7FFF  # the top bit says that there is an oplock
    fields["netflight.smb.create_action"] = _ACTIONS[told] if told < len(_ACTIONS) else str(told)
    _put(fields, "file.size", number(_first(columns, size)))


def _path2(columns: Columns, layer: Tree, name: str, role: Role) -> str:
    """The path of the file that a message of SMB2 is about: named in it, or known from its handle."""
    named = _first(columns, "smb2.filename")
    if name == "CREATE" and role is Role.REQUEST:
        return named
    if name == "IOCTL" and "smb.file" in columns:
        return _first(columns, "smb.file")  # a referral of the distributed file system is asked for
    for block in layer.values():
        for label in block if isinstance(block, dict) else ():
            if str(label).startswith(_HANDLE):
                return str(label).removeprefix(_HANDLE)
    return ""


def _file(fields: dict[str, Any], path: str) -> None:
    """Tell the file; on IPC$ it is a named pipe."""
    name = path.rstrip("\\").rpartition("\\")[2]
    if not name:
        return
    fields["file.path"], fields["file.name"] = path, name
    stem, _, extension = name.rpartition(".")
    if stem and extension:
        fields["file.extension"] = extension
    share = str(fields.get("netflight.smb.share", ""))
    on_pipes = fields.get("netflight.smb.share_type") == "pipe" or share.upper().endswith("\\IPC$")
    if on_pipes and not _REFERRALS & {
        fields.get("netflight.smb.function"),
        fields.get("netflight.smb.subcommand"),
    }:
        fields["netflight.smb.pipe"] = path.removeprefix("\\").removeprefix("PIPE\\")


def _hosts(unit: Unit) -> None:
    """The server that the share's name begins with."""
    share = str(unit.fields.get("netflight.smb.share", ""))
    host = share[2:].partition("\\")[0] if share.startswith("\\\\") else ""
    address = ip(host)
    if address:
        unit.addresses = [address]
    elif host:
        unit.hosts = [host]


def _info(columns: Columns) -> str:
    return next((told for field, table in _INFO.items() if (told := _named(table, columns, field))), "")


def _named(table: str, columns: Columns, field: str) -> str:
    value = number(_first(columns, field))
    return "" if value is None else name_or_number(table, value)


def _dialect(text: str) -> str:
    value = number(text)
    return "" if value is None else name_of("windows.smb_dialect", value) or text


def _first(columns: Columns, name: str) -> str:
    return columns[name][0] if name in columns else ""


def _put(fields: dict[str, Any], name: str, value: Any) -> None:
    if value not in ("", None, []):
        fields[name] = value
