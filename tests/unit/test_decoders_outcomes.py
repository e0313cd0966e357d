"""What is no failure: exchanges that go on, listings that end, what was not read, and what nobody answered."""

from typing import Any

import pytest

from producers.decoders.bson import value_of
from producers.decoders.datasets.dcerpc import _returned
from producers.decoders.ntstatus import nt_status
from producers.decoders.registry import decoder_for
from producers.decoders.unit import Role, Unit
from schemas.events import Event
from schemas.model import datasets
from tests.trees import decoder, event, flow, place, units


def outcome(built: Event) -> str:
    return str(built["event"]["outcome"])


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("0x00000000", "OK"),
        ("0x00000103", "OK"),  # pending, which is interim
        ("0x80000006", "OK"),  # no more files
        ("0x80000005", "OK"),  # buffer overflow
        ("0x8000001a", "OK"),  # no more entries
        ("0xc0000011", "OK"),  # end of file
        ("0xc0000016", ""),  # more processing required
        ("0xc0000023", ""),  # buffer too small
        ("0xc0000257", ""),  # path not covered
        ("0xc0000022", "Error"),
        ("0xc0000034", "Error"),
        ("0xdeadbeef", "Error"),
    ],
)
def test_nt_statuses(code: str, status: str) -> None:
    found = nt_status(code)
    assert found is not None
    assert found.outcome == status


@pytest.mark.parametrize(
    ("interface", "operation", "code", "status"),
    [
        ("svcctl", "", "0x00000000", "OK"),
        ("svcctl", "", "0x000000ea", ""),  # more data
        ("svcctl", "", "0x0000007a", ""),  # insufficient buffer
        ("svcctl", "", "0x00000103", "OK"),  # no more items
        ("svcctl", "", "0x00000005", "Error"),
        ("epmapper", "Lookup", "0x16c9a0d6", "OK"),
        ("epmapper", "Map", "0x16c9a0d6", "Error"),
    ],
)
def test_codes_of_windows(interface: str, operation: str, code: str, status: str) -> None:
    unit = Unit(Role.RESPONSE, {}, place(flow(), forward=False), "dcerpc")
    unit.fields = {"netflight.dcerpc.interface": interface, "netflight.dcerpc.operation": operation}
    _returned(unit, {f"{interface}.rc": code})
    assert (unit.status, "error.code" in unit.fields) == (status, status == "Error")


def krb5(code: str | None, *padata: str) -> Event:
    request = {
        "kerberos.as_req_element": {
            "kerberos.msg_type": "10",
            "kerberos.padata_tree": {
                "kerberos.PA_DATA_element": [{"kerberos.padata_type": kind} for kind in padata]
            },
        }
    }
    error: dict[str, Any] = {"kerberos.msg_type": "30"} | ({"kerberos.error_code": code} if code else {})
    (asked,) = units("krb5", request, place(flow(port=88)), "kerberos")
    (said,) = units(
        "krb5", {"kerberos.krb_error_element": error}, place(flow(port=88), forward=False), "kerberos"
    )
    return event("krb5", request=asked, response=said)


@pytest.mark.parametrize(
    ("code", "padata", "wanted"),
    [
        ("25", (), "unknown"),  # pre-authentication required
        ("52", (), "unknown"),  # too big for UDP
        ("52", ("2",), "success"),  # the same, to one who has proved who he is
        ("68", (), "unknown"),  # another realm
        ("24", ("2",), "failure"),
        ("6", (), "failure"),
        ("14", (), "failure"),
        (None, (), "unknown"),  # the code was not read
    ],
)
def test_kerberos(code: str | None, padata: tuple[str, ...], wanted: str) -> None:
    assert outcome(krb5(code, *padata)) == wanted


@pytest.mark.parametrize(
    ("name", "columns", "status"),
    [
        ("ldap", {"ldap.resultCode": ["0"]}, "OK"),
        ("ldap", {"ldap.resultCode": ["6"]}, "OK"),
        ("ldap", {"ldap.resultCode": ["14"]}, ""),
        ("ldap", {"ldap.resultCode": ["10"]}, ""),
        ("ldap", {"ldap.resultCode": ["49"]}, "Error"),
        ("ldap", {}, ""),  # no code was read
        ("radius", {"radius.code": ["11"]}, ""),
        ("radius", {"radius.code": ["2"]}, "OK"),
        ("radius", {"radius.code": ["3"]}, "Error"),
        ("modbus", {"modbus.exception_code": ["5"]}, ""),
        ("modbus", {"modbus.exception_code": ["6"]}, "Error"),
        ("modbus", {}, "OK"),
        ("nbns", {}, ""),
    ],
)
def test_conditions_of_datasets(name: str, columns: dict[str, list[str]], status: str) -> None:
    made = decoder_for(datasets()[name])
    assert made.status(columns, Role.RESPONSE, place(flow(), forward=False)) == status
    assert made.status(columns, Role.REQUEST, place(flow())) == ""


def test_the_end_of_a_walk_in_snmp_version_1() -> None:
    answer = {"snmp.data": "2", "snmp.request_id": "1", "snmp.error_status": "2"}
    for asked, wanted in (("1", "unknown"), ("0", "failure")):
        (request,) = units("snmp", {"snmp.data": asked, "snmp.request_id": "1"}, place(flow("udp", 161)))
        (response,) = units("snmp", answer, place(flow("udp", 161), forward=False))
        assert outcome(event("snmp", request=request, response=response)) == wanted


REDIS = "netflight_stream_redis"


def test_a_redirection_in_a_cluster_is_no_failure() -> None:
    where = place(flow(port=6379), forward=False)
    for said, wanted in (("MOVED 3999 192.0.2.1:6381", ""), ("ASK 1 192.0.2.1:1", ""), ("ERR no", "Error")):
        layer = {f"{REDIS}.client": "0", f"{REDIS}.bytes": f"-{said}\r\n".encode().hex(":")}
        assert units("redis", layer, where, REDIS)[0].status == wanted


@pytest.mark.parametrize(
    ("codes", "status"), [([79], ""), ([27], ""), ([79, 3], "Error"), ([0], "OK"), ([15], "Error")]
)
def test_consumers_that_join_again(codes: list[int], status: str) -> None:
    layer = {"kafka.correlation_id": "1", "kafka.error": [str(code) for code in codes]}
    (unit,) = units("kafka", layer, place(flow(port=9092), forward=False))
    assert (unit.role, unit.status) == (Role.RESPONSE, status)


@pytest.mark.parametrize(
    ("notified", "status"),
    [
        (["14"], "Error"),
        (["17"], ""),
        (["16390"], ""),
        (["16388", "16389"], "OK"),
        (["24", "17"], "Error"),
        ([], "OK"),
    ],
)
def test_key_exchanges_that_are_tried_again(notified: list[str], status: str) -> None:
    layer = {
        "isakmp.version": "0x20",
        "isakmp.flag_r": "1",
        "isakmp.ispi": "1",
        "isakmp.notify.msgtype": notified,
    }
    (unit,) = units("ike", layer, place(flow("udp", 500), forward=False), "isakmp")
    assert (unit.role, unit.status) == (Role.RESPONSE, status)


def test_a_client_that_nobody_answers_has_not_failed() -> None:
    (reset,) = units("openvpn", {"openvpn.opcode": "0x07"}, place(flow("udp", 1194)))
    assert outcome(event("openvpn", parts=(reset,))) == "unknown"


def test_the_last_element_of_a_long_answer_says_whether_it_is_ok() -> None:
    for text, wanted in (("1", 1), ("0", 0)):
        assert value_of({"mongo.element.type": "1", "mongo.element.value.double": text}) == wanted


@pytest.mark.parametrize(
    ("description", "level", "wanted"),
    [("0", "2", "unknown"), ("0", "1", "unknown"), ("90", "2", "unknown"), ("40", "2", "failure")],
)
def test_farewells_of_tls_are_no_failures(description: str, level: str, wanted: str) -> None:
    record = {"tls.alert_message": {"tls.alert_message.level": level, "tls.alert_message.desc": description}}
    made = decoder("tls")
    found = list(
        made.units({"tls.record": {"tls.record.content_type": "21", **record}}, "tls", place(flow()))
    )
    assert found
    assert outcome(event("tls", parts=tuple(found))) == wanted
