"""Arguments of DCE/RPC calls: as tshark shows them, and in NDR where it shows bytes alone."""

from struct import pack
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.decoders.rpc import _known, method_name, operation_name
from producers.decoders.rpc_arguments import MAX_ARGUMENTS, MAX_TEXT, arguments
from schemas.model import datasets
from tests.trees import decoder, event, flow, place, units

ARGUMENT = "netflight.dcerpc.argument."
POINTER = pack("<I", 0x20000)
TEXTS = st.text(st.characters(codec="utf-16-le", exclude_characters="\0"), min_size=2, max_size=40)


def text(value: str) -> bytes:
    """A conformant and varying string of NDR, which ends with zero, padded to four bytes."""
    raw = f"{value}\0".encode("utf-16-le")
    data = pack("<III", len(raw) // 2, 0, len(raw) // 2) + raw
    return data + bytes(-len(data) % 4)


def stub(data: bytes) -> dict[str, Any]:
    return {"dcerpc.stub_data": data.hex(":")}


def of_call(interface: str, opnum: int, data: bytes) -> dict[str, Any]:
    fields = arguments(stub(data), interface, opnum, returned=False)
    return {name.removeprefix(ARGUMENT): value for name, value in fields.items() if name.startswith(ARGUMENT)}


def test_names_of_arguments_that_tshark_dissects() -> None:
    tree = {
        "svcctl.opnum": "12",
        "Policy Handle": {"svcctl.hnd": "01:01:01"},
        "Service Name: A": {"dcerpc.array.max_count": "2", "svcctl.servicename": "A"},
        "Binary": {"svcctl.binarypathname": r"%COMSPEC% /C whoami"},
        "svcctl.password": "hunter2",
        "svcctl.access_mask": "0x000f01ff",
        "Names": [{"samr.samr_LookupNames.names": "krbtgt"}, {"samr.samr_LookupNames.names": "DC1"}],
    }
    fields = arguments(tree, "svcctl", 12, returned=False)
    assert fields == {
        f"{ARGUMENT}service": "A",
        f"{ARGUMENT}binary_path": r"%COMSPEC% /C whoami",
        f"{ARGUMENT}account": ["krbtgt", "DC1"],
        "netflight.dcerpc.arguments": [
            *("servicename=A", r"binarypathname=%COMSPEC% /C whoami", "names=krbtgt", "names=DC1"),
        ],
    }
    assert arguments(tree, "samr", 13, returned=True) == {
        "netflight.dcerpc.returned": ["A", r"%COMSPEC% /C whoami", "krbtgt", "DC1"]
    }


@pytest.mark.parametrize("challenge", ["00:00:00:00:00:00:00:00", "5b:12:00:9c:10:20:30:40"])
def test_zeros_of_zerologon_are_seen(challenge: str) -> None:
    tree = {"netlogon.clientcred": challenge, "netlogon.computer_name": "DC1", "netlogon.acct_name": "DC1$"}
    fields = arguments(tree, "netlogon", 26, returned=False)
    assert fields[f"{ARGUMENT}client_credential"] == challenge.replace(":", "")
    assert (fields[f"{ARGUMENT}account"], fields[f"{ARGUMENT}computer"]) == (["DC1$"], "DC1")


def test_calls_that_tshark_does_not_dissect_go_by_their_layout() -> None:
    assert of_call("ITaskSchedulerService", 1, POINTER + text("\\A") + text("<Task/>") + pack("<I", 6)) == {
        "task": "\\A",
        "task_definition": "<Task/>",
    }
    assert of_call("ITaskSchedulerService", 1, bytes(4) + text("<Task/>")) == {"task_definition": "<Task/>"}
    change = bytes(20) + pack("<III", 0xFFFFFFFF, 2, 0xFFFFFFFF)
    assert of_call("svcctl", 11, change + POINTER + text(r"C:\a.exe")) == {"binary_path": r"C:\a.exe"}
    assert of_call("svcctl", 11, change + bytes(4) + POINTER + text("group")) == {}
    assert of_call("efsrpc", 4, text(r"\\192.0.2.7\a")) == {"path": [r"\\192.0.2.7\a"]}


@pytest.mark.parametrize(("level", "size"), [(2, 24), (3, 44), (4, 52), (6, 88), (8, 136)])
@pytest.mark.parametrize(("interface", "opnum"), [("spoolss", 89), ("spoolss", 9), ("iremotewinspool", 39)])
def test_a_printer_driver_has_its_files(interface: str, opnum: int, level: int, size: int) -> None:
    texts = ["name", "Windows x64", r"C:\UNIDRV.DLL", r"\\192.0.2.7\a\evil.dll", r"C:\kernelbase.dll"]
    data = POINTER + text(r"\\DC1") + pack("<III", level, level, 1)
    data += bytes(-len(data) % 8) if level > 4 else b""
    data += pack("<I5I", 3, *(5 * [1])) + bytes(size - 24) + b"".join(map(text, texts))
    assert of_call(interface, opnum, data) == {
        "server": r"\\DC1",
        "driver": "name",
        "driver_path": r"C:\UNIDRV.DLL",
        "data_file": r"\\192.0.2.7\a\evil.dll",
        "config_file": r"C:\kernelbase.dll",
    }


@given(st.lists(TEXTS.filter(str.isprintable), max_size=5), st.binary(max_size=20))
def test_texts_of_unknown_calls_are_found(texts: list[str], rest: bytes) -> None:
    data = b"".join(map(text, texts)) + rest
    found = arguments(stub(data), "unheard of", 3, returned=False).get("netflight.dcerpc.arguments", [])
    assert found[: len(texts)] == [f"string={each}" for each in texts]


@given(
    st.sampled_from(["svcctl", "spoolss", "ITaskSchedulerService", "efsrpc", "x"]),
    st.integers(0, 90),
    st.binary(),
)
def test_whatever_bytes_a_call_has_nothing_fails(interface: str, opnum: int, data: bytes) -> None:
    arguments(stub(data), interface, opnum, returned=False)


def test_texts_are_cut_and_few() -> None:
    data = b"".join(text("x" * 5000) for _ in range(MAX_ARGUMENTS + 5))
    (shown,) = arguments(stub(data), "", 0, returned=False).values()
    assert len(shown) == MAX_ARGUMENTS
    assert {len(each) for each in shown} == {MAX_TEXT + len("string=")}


def test_arguments_are_in_the_event_and_can_be_left_out() -> None:
    specs = datasets()["dcerpc"].fields
    assert {spec.content for name, spec in specs.items() if name.startswith(ARGUMENT)} == {"rpc_arguments"}
    layer = {"dcerpc.pkt_type": "0", "dcerpc.cn_flags.first_frag": "1", "dcerpc.opnum": "0"}
    (call,) = units(
        "dcerpc", {**layer, "efs": {"efs.EfsRpcOpenFileRaw.FileName": r"\\a\b"}}, place(flow(port=445))
    )
    assert call.fields["netflight.dcerpc.method"] == "EfsRpcOpenFileRaw"
    told = event("dcerpc", request=call)["netflight"]["dcerpc"]
    assert told["argument"] == {"path": [r"\\a\b"]}


def test_arguments_of_a_call_in_fragments_are_in_its_event() -> None:
    call, on = decoder("dcerpc"), flow(port=445)

    def pdu(kind: int, first: int, last: int, **inner: Any) -> list[Any]:
        flags = {"dcerpc.cn_flags.first_frag": str(first), "dcerpc.cn_flags.last_frag": str(last)}
        layer = {"dcerpc.pkt_type": str(kind), "dcerpc.cn_call_id": "2", "dcerpc.opnum": "1", "flags": flags}
        return list(call.units(layer | inner, "dcerpc", place(on, forward=kind == 0)))

    (request,) = pdu(0, 1, 0)
    assert pdu(0, 0, 0) == []
    data = POINTER + text("\\A") + text("<Task>" + 3000 * "x" + "</Task>")
    assert pdu(0, 0, 1, taskschedulerservice=stub(data)) == []
    (response,) = pdu(2, 1, 1)
    told = event("dcerpc", request=request, response=response)["netflight"]["dcerpc"]
    assert told["argument"]["task"] == "\\A"
    assert told["argument"]["task_definition"].endswith("</Task>")
    (response,) = pdu(2, 1, 1)
    assert not any(name.startswith(ARGUMENT) for name in response.fields)


def test_operations_have_names_of_samba_and_of_microsoft() -> None:
    for interface, opnum, operation, method in [
        ("samr", 64, "Connect5", "SamrConnect5"),
        ("samr", 73, "ChangePasswordUser4", "SamrUnicodeChangePasswordUser4"),
        ("svcctl", 45, "CreateServiceWOW64W", "RCreateServiceWOW64W"),
        ("netlogon", 26, "NetrServerAuthenticate3", "NetrServerAuthenticate3"),
        ("drsuapi", 3, "DsGetNCChanges", "DRSGetNCChanges"),
        ("spoolss", 89, "AddPrinterDriverEx", "RpcAddPrinterDriverEx"),
        ("dnsserver", 10, "DnssrvUpdateRecord3", "DnssrvUpdateRecord3"),
        ("winstation_rpc", 15, "RpcWinStationShutdownSystem", "RpcWinStationShutdownSystem"),
        ("ICertRequestD", 3, "Request", "Request"),
        ("IWbemServices", 24, "ExecMethod", "ExecMethod"),
        ("FileServerVssAgent", 8, "IsPathSupported", "IsPathSupported"),
    ]:
        assert (operation_name(interface, opnum), method_name(interface, opnum)) == (operation, method)
    assert method_name("samr", 4000) == method_name("unheard of", 1) == operation_name("unheard of", 1) == ""


def test_every_interface_with_names_has_a_uuid() -> None:
    known = _known()
    named = set(known["operations"]) | set(known["methods"])
    assert named <= set(known["uuids"].values())
    for methods in known["methods"].values():
        assert all(isinstance(number, int) and isinstance(name, str) for number, name in methods.items())
