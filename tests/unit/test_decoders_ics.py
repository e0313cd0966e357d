"""Industrial protocols: several messages in a packet, what is told late, secrets, and trees that nobody expects."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from producers.decoders.tree import Tree
from producers.decoders.unit import Role, Unit
from schemas.model import datasets
from tests.trees import decoder, event, flow, place, units

DATASETS = ("bacnet", "dnp3", "enip", "iec104", "modbus", "opcua", "profinet", "s7comm")
OPERATION = "netflight.ics.operation"


def header(transaction: str, unit: str = "1") -> Tree:
    return {"mbtcp.trans_id": transaction, "mbtcp.prot_id": "0", "mbtcp.unit_id": unit}


def test_each_modbus_function_of_a_segment_has_its_own_header() -> None:
    modbus, where = decoder("modbus"), place(flow(port=502))
    for transaction in ("7", "8"):
        assert list(modbus.units(header(transaction), "mbtcp", where)) == []
    told = [
        unit
        for function in ("3", "6")
        for unit in modbus.units({"modbus.func_code": function, "modbus.data": "00:0b"}, "modbus", where)
    ]
    assert [unit.key for unit in told] == [("7", "1"), ("8", "1")]
    assert [unit.fields[OPERATION] for unit in told] == ["read", "write"]
    assert told[1].fields["netflight.modbus.request.values"] == [11]


def test_a_modbus_header_of_another_packet_is_forgotten() -> None:
    modbus, on = decoder("modbus"), flow(port=502)
    list(modbus.units(header("7"), "mbtcp", place(on, 1)))
    (unit,) = modbus.units({"modbus.func_code": "3"}, "modbus", place(on, 2))
    assert unit.key == ("", "")


@pytest.mark.parametrize(
    ("function", "data", "count", "values"),
    [
        ("5", "ff:00", "", [1]),
        ("5", "00:00", "", [0]),
        ("15", "cd:01", "10", [1, 0, 1, 1, 0, 0, 1, 1, 1, 0]),
        ("15", "cd", "4000", [1, 0, 1, 1, 0, 0, 1, 1]),  # claims more than it has
        ("6", "zz", "", None),
    ],
)
def test_coils_are_read_off_the_data_of_a_write(
    function: str, data: str, count: str, values: list[int] | None
) -> None:
    tree = {"modbus.func_code": function, "modbus.data": data, "modbus.bit_cnt": count}
    (unit,) = units("modbus", tree, place(flow(port=502)))
    assert unit.fields.get("netflight.modbus.request.values") == values


def test_a_modbus_exception_is_an_error_with_its_name() -> None:
    where = place(flow(port=502), 2, forward=False)
    (unit,) = units("modbus", {"modbus.func_code": "99", "modbus.exception_code": "1"}, where)
    told = event("modbus", response=unit)
    assert told["error"] == {"code": "1", "message": "Illegal function"}
    assert told["network_traffic"]["status"] == "Error"
    assert told["netflight"]["ics"]["operation"] == "other"


def cip(service: str, symbol: str = "", *, of: str = "", answer: bool = False) -> Tree:
    path = {"cip.symbol": symbol} if symbol else {"cip.class": of}
    return {
        "cip.service_tree": {"cip.rr": "0x01" if answer else "0x00", "cip.sc": service},
        "Request Path: X": path,
    }


def enip_header(context: str) -> Tree:
    items = {"enip.cpf.typeid": "0x00b2", "enip.cpf.typeid_tree": {"enip.cpf.length": "9"}}
    return {"enip.command": "0x006f", "enip.context": context, "enip.cpf.itemcount_tree": items}


def test_what_the_connection_manager_sends_on_is_told_when_its_layer_comes() -> None:
    enip, where = decoder("enip"), place(flow(port=44818))
    for context in ("01", "02"):
        assert list(enip.units(enip_header(context), "enip", where)) == []
    sent_on, plain = (
        unit
        for message in (cip("0x52", of="0x06"), cip("0x4d", "LEVEL"))
        for unit in enip.units(message, "cip", where)
    )
    assert list(enip.units({"Embedded": {"cip": cip("0x4c", "SPEED")}}, "cipcm", where)) == []
    assert sent_on.key[1] == "01"
    assert sent_on.fields["netflight.enip.cip.service"] == "Read Tag"
    assert sent_on.fields["netflight.enip.cip.tag"] == "SPEED"
    assert plain.fields["netflight.enip.cip.service"] == "Write Tag"
    assert plain.fields[OPERATION] == "write"


def test_the_strongest_of_several_services_names_the_operation() -> None:
    enip, where = decoder("enip"), place(flow(port=44818))
    list(enip.units(enip_header("01"), "enip", where))
    packet = cip("0x0a", of="0x02") | {"1": {"cip": cip("0x4c", "A")}, "2": {"cip": cip("0x4d", "B")}}
    (unit,) = enip.units(packet, "cip", where)
    assert unit.fields["netflight.enip.cip.services"] == ["Read Tag", "Write Tag"]
    assert unit.fields["netflight.enip.cip.tags"] == ["A", "B"]
    assert unit.fields[OPERATION] == "write"


def test_a_list_identity_to_all_waits_for_nobody() -> None:
    on = flow("udp", 44818)
    on.destination_ip = "192.0.2.255"
    (unit,) = units("enip", {"enip.command": "0x0063"}, place(on))
    assert unit.role is Role.SINGLE


def opcua_login(algorithm: str) -> Unit:
    body = {"opcua.UserName": "u", "opcua.Password": "70:77", "opcua.EncryptionAlgorithm": algorithm}
    tree = {
        "opcua.transport.type": "MSG",
        "opcua.transport.chunk": "F",
        "opcua.security.rqid": "4",
        "Service": {"opcua.servicenodeid.numeric": "467", "ActivateSessionRequest": {"Token": body}},
    }
    (unit,) = units("opcua", tree, place(flow(port=4840)))
    return unit


def test_a_password_is_told_as_credentials_only_where_it_is_in_clear() -> None:
    (credentials,) = opcua_login("").credentials
    assert credentials == ("u", "pw", "UserName", "")
    assert opcua_login("http://www.w3.org/2001/04/xmlenc#rsa-oaep").credentials == []
    assert "pw" not in opcua_login("").fields.values()


def test_the_authentication_token_is_no_node() -> None:
    secret, node = {"opcua.nodeid.numeric": "1004"}, {"opcua.nodeid.nsindex": "2", "opcua.nodeid.string": "a"}
    body = {"RequestHeader: X": {"AuthenticationToken: NodeId": secret}, "[0]: X": {"NodeId: NodeId": node}}
    tree = {
        "opcua.transport.type": "MSG",
        "opcua.transport.chunk": "F",
        "Service": {"opcua.servicenodeid.numeric": "631", "ReadRequest": body},
    }
    (unit,) = units("opcua", tree, place(flow(port=4840)))
    assert unit.fields["netflight.opcua.nodes"] == ["ns=2;s=a"]


def test_an_encrypted_message_is_not_read() -> None:
    tree = {
        "opcua.transport.type": "MSG",
        "opcua.transport.chunk": "F",
        "Service": {"opcua.servicenodeid.numeric": "4711", "opcua.UserName": "x"},
    }
    (unit,) = units("opcua", tree, place(flow(port=4840)))
    assert unit.fields == {"netflight.opcua.encrypted": True}


def test_a_bacnet_password_is_credentials_and_in_no_field() -> None:
    tree = {
        "bacapp.type": "0",
        "bacapp.confirmed_service": "20",
        "reinitialized State Of Device:  coldstart (0)": {},
        "Password: UTF-8 'it's 4'": {},
    }
    (unit,) = units("bacnet", tree, place(flow("udp", 47808)), "bacapp")
    assert unit.credentials == [("", "it's 4", "reinitializeDevice", "")]
    assert unit.fields["netflight.bacnet.state"] == "coldstart"
    assert "it's 4" not in str(unit.fields)


def test_bacnet_stations_are_the_same_from_both_sides() -> None:
    bacnet, on = decoder("bacnet"), flow("udp", 47808)
    list(bacnet.units({"bacnet.dnet": "13", "bacnet.dadr_mstp": "61"}, "bacnet", place(on)))
    (asked,) = bacnet.units({"bacapp.type": "0", "bacapp.invoke_id": "9"}, "bacapp", place(on))
    back = place(on, 2, forward=False)
    list(bacnet.units({"bacnet.snet": "13", "bacnet.sadr_mstp": "61"}, "bacnet", back))
    (answered,) = bacnet.units({"bacapp.type": "2", "bacapp.invoke_id": "9"}, "bacapp", back)
    assert asked.key == answered.key
    assert answered.fields["netflight.bacnet.destination.network"] == 13


def test_order_numbers_of_a_plc() -> None:
    tree = {
        "s7comm.header": {"s7comm.header.rosctr": "7", "s7comm.header.pduref": "8"},
        "s7comm.param": {"s7comm.param.userdata.type": "8", "s7comm.param.userdata.funcgroup": "4"},
        "s7comm.data": {"s7comm.szl.xy11.0001.anz": "6ES7 315-2EH14-0AB0"},
    }
    (unit,) = units("s7comm", tree, place(flow(port=102), forward=False))
    assert unit.role is Role.RESPONSE
    assert unit.fields["netflight.s7comm.order_numbers"] == ["6ES7 315-2EH14-0AB0"]


def test_a_negative_confirmation_is_an_error() -> None:
    tree = {
        **{
            f"iec60870_asdu.{name}": text
            for name, text in (("typeid", "46"), ("causetx", "7"), ("nega", "1"))
        },
        "IOA: 5": {"iec60870_asdu.ioa": "5", "x": {"iec60870_asdu.dco.on": "2", "iec60870_asdu.dco.se": "1"}},
    }
    (unit,) = units("iec104", tree, place(flow(port=2404), forward=False), "iec60870_asdu")
    assert unit.status == "Error"
    assert unit.fields["netflight.iec104.objects"] == [{"address": 5, "value": "on", "select": True}]


def keys() -> list[str]:
    """Every field of tshark's that a decoder of the family reads, and what trees hang below."""
    found = {"cip", "dnp3.al.obj_tree", "enip.cpf.itemcount_tree", "enip.cpf.typeid_tree", "Password: '"}
    for name in DATASETS:
        found |= decoder(name)._wanted  # noqa: SLF001  # the fields that matter
    return sorted(
        found | {"dnp3.al.obj", "pn_dcp.option", "s7comm.param.item", "bvlc.function", "ReadRequest"}
    )


leaves = st.one_of(
    st.sampled_from(["0", "1", "7", "0x6f", "-1", "99999999999999999999", "", "a:b", "²"]),
    st.text(max_size=4),
)
trees = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(keys()), inner, max_size=8)
    ),
)


@settings(max_examples=25, deadline=None)
@given(st.dictionaries(st.sampled_from(keys()), trees, max_size=12), st.booleans(), st.booleans())
def test_no_tree_makes_a_decoder_fail(tree: dict[str, Any], forward: bool, with_flow: bool) -> None:  # noqa: FBT001
    where = place(flow() if with_flow else None, forward=forward)
    for name in DATASETS:
        spec = datasets()[name].tshark
        assert spec is not None
        reads = decoder(name)
        for protocol in spec.protocols:
            told = list(reads.units(tree, protocol, where))
            if told:
                event(name, request=told[0])
