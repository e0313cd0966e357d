"""Kerberos, LDAP, NTLM, RDP, RFB and DCE/RPC: what their decoders make of trees as tshark prints them."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from producers.decoders.convert import CONVERTERS
from producers.decoders.rpc import interface_name, layer_interface, operation_name
from producers.decoders.secrets import Secret
from producers.decoders.transactions import tracker_for
from producers.decoders.unit import Role, Unit
from tests.trees import decoder, event, flow, place, units

SAMR = "12345778-1234-abcd-ef00-0123456789ac"


def ldap(operation: int, inner: dict[str, Any], message: int = 2) -> dict[str, Any]:
    told = {"ldap.messageID": str(message), "ldap.protocolOp": str(operation), "ldap.protocolOp_tree": inner}
    return {"ldap.LDAPMessage_element": told}


def test_ldap_messages_of_one_packet_are_told_one_by_one() -> None:
    first, second = ldap(3, {"ldap.baseObject": "dc=a"}), ldap(2, {}, 3)
    both = {"ldap.LDAPMessage_element": [*first.values(), *second.values()]}
    search, unbind = units("ldap", both, place(flow(port=389)))
    assert (search.role, search.fields["netflight.ldap.dn"]) == (Role.REQUEST, "dc=a")
    assert (unbind.role, unbind.fields["netflight.ldap.operation"]) == (Role.SINGLE, "unbind")


def test_ldap_passwords_are_credentials() -> None:
    (simple,) = units("ldap", ldap(0, {"ldap.name": "cn=a", "ldap.simple": "s3cret"}), place(None))
    assert simple.credentials[0][:3] == ("cn=a", "s3cret", "simple")
    plain = {"ldap.mechanism": "PLAIN", "ldap.credentials": "00:62:6f:62:00:70:77"}
    (unit,) = units("ldap", ldap(0, plain), place(None))
    assert unit.credentials[0][:3] == ("bob", "pw", "PLAIN")
    for said in (simple, unit):
        assert "s3cret" not in str(event("ldap", request=said))
    (anonymous,) = units("ldap", ldap(0, {"ldap.name": "", "ldap.simple": ""}), place(None))
    assert anonymous.credentials == []


@pytest.mark.parametrize(("asked", "secret"), [("(uid=bob)", False), ("(userPassword=hello)", True)])
def test_ldap_filters_for_passwords_are_secrets(asked: str, secret: bool) -> None:  # noqa: FBT001  # a parameter
    inner = {"ldap.searchRequest_element": {f"Filter: {asked}": {"ldap.filter": "3"}}}
    (unit,) = units("ldap", ldap(3, inner), place(None))
    assert unit.fields["netflight.ldap.filter"] == asked
    assert isinstance(unit.fields["netflight.ldap.filter"], Secret) is secret


def test_ldap_filters_longer_than_a_label_are_put_together() -> None:
    leaves = [f"(cn={letter * 100})" for letter in "abc"]
    inside = {f"Filter: {leaf}": {"ldap.and_item": "3"} for leaf in leaves}
    whole = f"(&{''.join(leaves)})"
    node = {"ldap.filter_tree": {f"and: {whole[:233]}": {"ldap.and_tree": inside}}}
    inner = {"ldap.searchRequest_element": {f"Filter: {whole[:232]}": node}}
    (unit,) = units("ldap", ldap(3, inner), place(None))
    assert unit.fields["netflight.ldap.filter"] == whole


def test_ldap_entries_are_counted_until_the_result() -> None:
    reader, where = decoder("ldap"), place(flow(port=389), forward=False)
    for operation in (4, 4, 19):
        assert list(reader.units(ldap(operation, {}), "ldap", where)) == []
    (done,) = reader.units(ldap(5, {"ldap.resultCode": "0"}), "ldap", where)
    assert (done.fields["netflight.ldap.entries"], done.fields["netflight.ldap.references"]) == (2, 1)
    (again,) = reader.units(ldap(5, {"ldap.resultCode": "32"}), "ldap", where)
    assert (again.fields["netflight.ldap.entries"], again.status) == (0, "Error")


def ntlm(kind: int, **fields: str) -> dict[str, Any]:
    return {"ntlmssp.messagetype": f"0x0000000{kind}"} | {
        f"ntlmssp.{n}": value for n, value in fields.items()
    }


def test_ntlm_handshakes_follow_each_other_on_a_flow() -> None:
    reader, on = decoder("ntlm"), flow(port=80)
    tracker = tracker_for(reader)
    ended = []
    for kind, forward in (
        (1, True),
        (2, False),
        (3, True),
        (1, True),
        (1, True),
        (2, False),
        (3, True),
        (3, True),
    ):
        for unit in reader.units(ntlm(kind), "ntlmssp", place(on, forward=forward)):
            ended += list(tracker.add(unit))
    assert [[unit.extra for unit in told.parts] for told in ended] == [[1, 2, 3], [1, 2, 3], [3]]


def test_ntlm_responses_are_secrets() -> None:
    layer = ntlm(3) | {"ntlmssp.auth.username": "alice", "ntlmssp.auth.ntresponse": ":".join(["ab"] * 60)}
    (unit,) = units("ntlm", layer, place(flow()))
    told = event("ntlm", parts=(unit,))
    assert told["netflight"]["ntlm"]["response"] == "[redacted]"
    assert told["netflight"]["ntlm"]["version"] == "NTLMv2"
    (nobody,) = units("ntlm", ntlm(3) | {"ntlmssp.auth.username": "NULL"}, place(flow()))
    assert nobody.fields["netflight.ntlm.version"] == "anonymous"


def test_krb5_reads_the_request_and_not_the_ticket_in_it() -> None:
    ticket = {"kerberos.sname_element": {"t": {"kerberos.SNameString": ["krbtgt", "EXAMPLE.COM"]}}}
    layer = {
        "kerberos.tgs_req_element": {
            "kerberos.msg_type": "12",
            "kerberos.padata_tree": {
                "kerberos.PA_DATA_element": {
                    "kerberos.padata_type": "1",
                    "x": {"kerberos.ticket_element": ticket},
                }
            },
            "kerberos.req_body_element": {
                "kerberos.realm": "EXAMPLE.COM",
                "kerberos.sname_element": {"t": {"kerberos.SNameString": ["cifs", "files1"]}},
                "t": {"kerberos.ENCTYPE": ["23", "-133", "bad"]},
                "kerberos.till": "Sep 13, 2037 02:48:05.000000000 UTC",
            },
        }
    }
    (unit,) = units("krb5", layer, place(flow(port=88)), "kerberos")
    told = event("krb5", request=unit)["netflight"]["krb5"]
    assert told["service"] == "cifs/files1"
    assert told["etypes"] == ["arcfour-hmac-md5", "arcfour-hmac-old"]
    assert (told["preauthentication"], told["till"]) == (["PA-TGS-REQ"], "2037-09-13T02:48:05Z")


def test_rdp_passwords_in_clear_are_credentials() -> None:
    layer = {
        "rdp.userName": "alice",
        "rdp.password": "hunter2",
        "rdp.domain": "EXAMPLE",
        "rdp.client.address": "::1",
    }
    (unit,) = units("rdp", layer, place(flow(port=3389)))
    assert unit.credentials[0] == ("alice", "hunter2", "RDP", "EXAMPLE")
    assert "hunter2" not in str(event("rdp", parts=(unit,)))
    assert units("rdp", {"rdp.sendData": {"rdp.fastpathPDULength": "3"}}, place(None)) == []


def test_rdp_refusals() -> None:
    (asked,) = units("rdp", {"rdp.negReq.requestedProtocols": "0x0000000b"}, place(flow()))
    (refused,) = units("rdp", {"rdp.negFailure.failureCode": "0x00000005"}, place(flow(), forward=False))
    assert decoder("rdp").told_all([asked, refused])
    told = event("rdp", parts=(asked, refused))
    assert told["netflight"]["rdp"]["requested_protocols"] == ["tls", "credssp", "credssp_ex"]
    assert (told["network_traffic"]["status"], told["error"]["message"]) == (
        "Error",
        "HYBRID_REQUIRED_BY_SERVER",
    )


def test_rfb_server_that_calls_its_viewer() -> None:
    (server,) = units("rfb", {"vnc.server_proto_ver": "003.008"}, place(flow(port=5500)), "vnc")
    assert not decoder("rfb").client_is_initiator([server])
    told = event("rfb", parts=(server,))
    assert told["source"]["ip"] == "192.0.2.2"


def rpc(kind: int, **more: Any) -> dict[str, Any]:
    flags = {"dcerpc.cn_flags.first_frag": "1", "dcerpc.cn_flags.last_frag": "1"}
    return {"dcerpc.ver": "5", "dcerpc.pkt_type": str(kind), "flags": flags, "dcerpc.cn_call_id": "1"} | more


def context(number: int, uuid: str) -> dict[str, Any]:
    return {
        "dcerpc.cn_ctx_id": str(number),
        "syntax": {"dcerpc.cn_bind_to_uuid": uuid, "dcerpc.cn_bind_if_ver": "1"},
    }


def test_dcerpc_calls_what_is_bound() -> None:
    reader, on = decoder("dcerpc"), flow(port=135)
    bind = rpc(11, items={"dcerpc.cn_ctx_item": [context(0, SAMR), context(1, "0" * 8)]})
    (bound,) = reader.units(bind, "dcerpc", place(on))
    assert bound.fields["netflight.dcerpc.interfaces"] == ["samr", "0" * 8]
    answer = rpc(12) | {"dcerpc.cn_sec_addr": "\\PIPE\\samr", "dcerpc.cn_ack_result": "2"}
    (refused,) = reader.units(answer, "dcerpc", place(on, forward=False))
    assert (refused.status, refused.fields["error.message"]) == ("Error", "provider rejection")
    call = rpc(0) | {"dcerpc.cn_ctx_id": "0", "dcerpc.opnum": "64"}
    (called,) = reader.units(call, "dcerpc", place(on))
    assert called.fields["netflight.dcerpc.operation"] == "Connect5"
    assert called.fields["netflight.dcerpc.endpoint"] == "\\PIPE\\samr"


def test_dcerpc_fragments_are_one_call() -> None:
    middle = rpc(0)
    middle["flags"] = {"dcerpc.cn_flags.first_frag": "0", "dcerpc.cn_flags.last_frag": "1"}
    assert units("dcerpc", middle, place(None)) == []
    begun = rpc(2)
    begun["flags"] = {"dcerpc.cn_flags.first_frag": "1", "dcerpc.cn_flags.last_frag": "0"}
    assert units("dcerpc", begun, place(None)) == []


def test_dcerpc_returns_and_faults() -> None:
    (denied,) = units("dcerpc", rpc(2) | {"samr": {"samr.status": "0xc0000022"}}, place(None, forward=False))
    assert (denied.status, denied.fields["error.message"]) == ("Error", "STATUS_ACCESS_DENIED")
    (gone,) = units(
        "dcerpc", rpc(2) | {"srvsvc": {"srvsvc.werror": "0x00000005"}}, place(None, forward=False)
    )
    assert (gone.status, gone.fields["netflight.dcerpc.status"]) == ("Error", "WERR_ACCESS_DENIED")
    (fault,) = units("dcerpc", rpc(3) | {"dcerpc.cn_status": "0x00000005"}, place(None, forward=False))
    assert fault.fields["error.message"] == "nca_s_fault_access_denied"


def test_names_of_interfaces() -> None:
    assert interface_name(SAMR) == layer_interface("samr") == "samr"
    assert operation_name("netlogon", 26) == "NetrServerAuthenticate3"
    assert operation_name("nothing", 1) == interface_name("nothing") == ""


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Nov 23, 2026 12:37:23.000000000 UTC", "2026-11-23T12:37:23Z"),
        ("Nov  3, 2026 12:37:23.120000000 UTC", "2026-11-03T12:37:23.120000Z"),
        ("Not representable", None),
        ("", None),
    ],
)
def test_times(text: str, wanted: str | None) -> None:
    assert CONVERTERS["time"](text) == wanted


NAMES = st.sampled_from(
    [
        *(
            "kerberos.as_req_element",
            "kerberos.req_body_element",
            "kerberos.msg_type",
            "kerberos.cname_element",
        ),
        *("ldap.LDAPMessage_element", "ldap.protocolOp", "ldap.searchRequest_element", "Filter: (&(a=b))"),
        *(
            "and: (a=b)",
            "ntlmssp.messagetype",
            "rdp.negReq.requestedProtocols",
            "rdp.rt_cookie",
            "dcerpc.pkt_type",
        ),
        *(
            "dcerpc.cn_ctx_id",
            "dcerpc.opnum",
            "samr",
            "epm",
            "SMB Header",
            "Negotiate Protocol Request (0x72)",
        ),
        *(
            "smb2.cmd",
            "smb2.flags.response",
            "smb2.nt_status",
            "smb.flags.response",
            "smb.dialect.index",
            "smb.mid",
        ),
    ]
)
TEXTS = st.sampled_from(
    ["", "0", "1", "3", "5", "12", "18446744073709551616", "0xffffffff", "-1", "NULL", "x\0y"]
)
TREES = st.recursive(
    TEXTS | st.lists(TEXTS, max_size=3),
    lambda inner: st.dictionaries(NAMES, inner | st.lists(inner, max_size=3), max_size=5),
    max_leaves=20,
)


@settings(deadline=None, max_examples=60)
@given(tree=st.dictionaries(NAMES, TREES, max_size=6))
def test_strange_trees_are_told_or_not_and_nothing_is_raised(tree: dict[str, Any]) -> None:
    layers = {"smb": ("smb", "smb2"), "krb5": ("kerberos",), "ntlm": ("ntlmssp",), "rfb": ("vnc",)}
    for name in ("smb", "dcerpc", "ntlm", "krb5", "ldap", "rdp", "rfb"):
        for protocol in layers.get(name, (name,)):
            for unit in units(name, tree, place(flow()), protocol):
                _told(name, unit)


def _told(name: str, unit: Unit) -> None:
    if unit.role is Role.PART:
        event(name, parts=(unit,))
    elif unit.role is Role.RESPONSE:
        event(name, response=unit)
    else:
        event(name, request=unit)


def entry(name: str, **attributes: list[bytes]) -> dict[str, Any]:
    """An entry of a search with its attributes."""
    items = [
        {"ldap.type": kind, "ldap.vals_tree": {"ldap.AttributeValue": [value.hex(":") for value in values]}}
        for kind, values in attributes.items()
    ]
    told = {
        "ldap.objectName": name,
        "ldap.attributes_tree": {"ldap.PartialAttributeList_item_element": items},
    }
    return ldap(4, {"ldap.searchResEntry_element": told})


def found(*entries: dict[str, Any]) -> Unit:
    where, searching = place(flow(port=389), forward=False), decoder("ldap")
    for each in entries:
        assert list(searching.units(each, "ldap", where)) == []
    (done,) = searching.units(ldap(5, {"ldap.resultCode": "0"}), "ldap", where)
    return done


def test_what_a_search_finds_is_shown_without_secrets() -> None:
    fields = found(
        entry("cn=a", cn=[b"a"], userPassword=[b"s3cret"], objectSid=[b"\1\5\0\xff"], pwdLastSet=[b"13"]),
        entry("cn=b", javaCodeBase=[b"http://192.0.2.7/"], description=["é\n".encode()]),
    ).fields
    assert fields["netflight.ldap.entries"] == 2
    assert fields["netflight.ldap.found.dns"] == ["cn=a", "cn=b"]
    assert fields["netflight.ldap.found.attributes"] == [
        *("cn", "userPassword", "objectSid", "pwdLastSet", "javaCodeBase", "description"),
    ]
    assert fields["netflight.ldap.found.values"] == [
        *(
            "cn=a",
            "userPassword=[redacted]",
            "pwdLastSet=13",
            "javaCodeBase=http://192.0.2.7/",
            "description=é\n",
        ),
    ]


def test_what_a_search_finds_is_bounded() -> None:
    many = [entry(f"cn={number}", **{f"a{number}": [b"x" * 5000] * 3}) for number in range(100)]
    fields = found(*many).fields
    shown = [fields[f"netflight.ldap.found.{name}"] for name in ("dns", "attributes", "values")]
    assert list(map(len, shown)) == [32, 64, 64]
    assert max(map(len, shown[2])) == len("a10=") + 512
    assert fields["netflight.ldap.entries"] == 100


TICKET = {
    "kerberos.realm": "EXAMPLE.COM",
    "kerberos.sname_element": {"kerberos.sname_string_tree": {"kerberos.SNameString": ["cifs", "files1"]}},
    "kerberos.enc_part_element": {"kerberos.etype": "23", "kerberos.kvno": "2"},
}


@pytest.mark.parametrize(
    ("within", "mechanism", "carrier"),
    [
        (["smb2", "smb2.security_blob_tree", "gss-api", "spnego"], "SPNEGO", "smb"),
        (["ldap", "gss-api"], "GSS-API", "ldap"),
        (["dcerpc", "dcerpc.auth_info"], "Kerberos", "dcerpc"),
    ],
)
def test_a_ticket_that_is_shown_to_a_service(within: list[str], mechanism: str, carrier: str) -> None:
    on = flow(port=445)
    shown = {"kerberos.msg_type": "14", "kerberos.ticket_element": TICKET}
    layer = {"kerberos.ap_req_element": shown, "netflight.within": within}
    (request,) = units("krb5", layer, place(on), "kerberos")
    answer = {"kerberos.ap_rep_element": {"kerberos.msg_type": "15"}}
    (response,) = units("krb5", answer, place(on, forward=False), "kerberos")
    assert units("krb5", answer, place(on), "kerberos") == []  # the client's third leg
    told = event("krb5", request=request, response=response)
    assert told["event"]["outcome"] == "success"
    assert told["netflight"]["krb5"] == {
        "request_type": "AP",
        "service": "cifs/files1",
        "ticket": {"realm": "EXAMPLE.COM", "etype": "arcfour-hmac-md5", "kvno": 2},
        "mechanism": mechanism,
        "carrier": carrier,
    }
