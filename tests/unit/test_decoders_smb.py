"""SMB: chains, compounds, what is waited for, and what is no event; trees as tshark prints them."""

from typing import Any

from producers.decoders.unit import Role, Unit
from tests.trees import decoder, event, flow, place, units

FLOW = flow(port=445)


def header2(command: int, *, response: bool, message: int = 5, status: str = "0x00000000") -> dict[str, Any]:
    told = {
        "smb2.cmd": str(command),
        "smb2.flags_tree": {"smb2.flags.response": "1" if response else "0"},
        "smb2.msg_id": str(message),
        "smb2.tid_tree": {"smb2.tree": "\\\\files1\\public", "smb2.share_type": "0x01"},
        "smb2.sesid": "0x0000000000000001",
    }
    return {"SMB2 Header": told | ({"smb2.nt_status": status} if response else {})}


def header1(*, response: bool, message: int = 7) -> dict[str, Any]:
    told = {"smb.cmd": "0x73", "smb.flags_tree": {"smb.flags.response": "1" if response else "0"}}
    return {"SMB Header": told | {"smb.mid": str(message), "smb.pid": "99", "smb.nt_status": "0x00000000"}}


def one(layer: dict[str, Any], protocol: str = "smb2", *, forward: bool = True) -> Unit:
    (unit,) = units("smb", layer, place(FLOW, forward=forward), protocol)
    return unit


def test_a_chain_of_smb1_has_an_event_per_command() -> None:
    layer = header1(response=False) | {
        "Session Setup AndX Request (0x73)": {
            "smb.cmd": "0x75",
            "smb.account": "alice",
            "smb.primary_domain": "EXAMPLE",
        },
        "Tree Connect AndX Request (0x75)": {"smb.cmd": "0xff", "smb.path": "\\\\FILES1\\PUBLIC"},
    }
    setup, connect = units("smb", layer, place(FLOW), "smb")
    assert setup.fields["netflight.smb.command"] == "SESSION_SETUP_ANDX"
    assert setup.fields["user.domain"] == "EXAMPLE"
    assert connect.fields["netflight.smb.share"] == "\\\\FILES1\\PUBLIC"
    assert connect.hosts == ["FILES1"]
    assert setup.key != connect.key


def test_pending_is_not_the_answer() -> None:
    answer = header2(5, response=True, status="0x00000103")
    assert decoder("smb").interim(one(answer, forward=False))
    assert not decoder("smb").interim(one(header2(5, response=True), forward=False))


def test_what_failed() -> None:
    denied = one(header2(5, response=True, status="0xc0000022"), forward=False)
    assert (denied.status, denied.fields["error.message"]) == ("Error", "STATUS_ACCESS_DENIED")
    more = one(header2(1, response=True, status="0xc0000016"), forward=False)
    assert (more.status, "error.code" in more.fields) == ("", False)
    end = one(header2(14, response=True, status="0x80000006"), forward=False)
    assert (end.status, end.fields["netflight.smb.status"]) == ("OK", "STATUS_NO_MORE_FILES")
    strange = one(header2(5, response=True, status="0xdeadbeef"), forward=False)
    assert (strange.status, strange.fields["netflight.smb.status"]) == ("Error", "0xdeadbeef")


def test_a_file_is_known_by_its_handle() -> None:
    layer = header2(9, response=False) | {
        "Write Request (0x09)": {
            "smb2.write_length": "4",
            "smb2.file_offset": "8",
            "GUID handle File: drafts\\report.docx": {"smb2.fid": "00-1"},
            "smb2.write_data": "70:61:73:73",
        }
    }
    told = event("smb", request=one(layer))
    assert told["file"] == {"path": "drafts\\report.docx", "name": "report.docx", "extension": "docx"}
    assert told["netflight"]["smb"]["offset"] == 8
    assert "70:61" not in str(told)


def test_a_cancel_and_a_break_stand_alone() -> None:
    assert one(header2(12, response=False)).role is Role.SINGLE
    assert one(header2(18, response=True, message=2**64 - 1), forward=False).role is Role.SINGLE
    mail = {"Trans Request (0x25)": {"smb.trans_name": "\\MAILSLOT\\BROWSE"}}
    assert one(header1(response=False) | mail, "smb").role is Role.SINGLE


def test_smb1_negotiates_what_smb2_answers() -> None:
    offer = {"Negotiate Protocol Request (0x72)": {"smb.dialect.name": ["NT LM 0.12", "SMB 2.???"]}}
    asked = one(header1(response=False, message=0) | offer, "smb")
    answered = one(header2(0, response=True, message=0) | {"x": {"smb2.dialect": "0x02ff"}}, forward=False)
    assert asked.key == answered.key
    told = event("smb", request=asked, response=answered)
    assert told["netflight"]["smb"]["dialect"] == "SMB 2.???"


def test_the_dialect_of_smb1_is_an_index_into_the_offer() -> None:
    offer = {"Negotiate Protocol Request (0x72)": {"smb.dialect.name": ["LANMAN1.0", "NT LM 0.12"]}}
    asked = one(header1(response=False) | offer, "smb")
    for index, wanted in (("1", "NT LM 0.12"), ("65535", None)):
        chosen = {"Negotiate Protocol Response (0x72)": {"smb.dialect.index": index}}
        answered = one(header1(response=True) | chosen, "smb", forward=False)
        assert event("smb", request=asked, response=answered)["netflight"]["smb"].get("dialect") == wanted


def test_dos_errors_and_parts_of_answers() -> None:
    answer = header1(response=True)
    del answer["SMB Header"]["smb.nt_status"]
    answer["SMB Header"] |= {"smb.error_class": "0x01", "smb.error_code": "0x0005"}
    unit = one(answer | {"Open AndX Response (0x2d)": {}}, "smb", forward=False)
    assert (unit.status, unit.fields["error.code"]) == ("Error", "1/5")
    further = header1(response=True) | {"Trans2 Response (0x32)": {"smb.data_disp": "100"}}
    assert units("smb", further, place(FLOW, forward=False), "smb") == []


def test_an_encrypted_message_is_no_event() -> None:
    assert (
        units(
            "smb", {"SMB2 Transform Header": {"smb2.header.transform.signature": "00"}}, place(FLOW), "smb2"
        )
        == []
    )


def test_a_transaction_that_goes_on_as_one_of_another_kind_is_told_once() -> None:
    def part(command: int, label: str, message: int = 7, **more: str) -> dict[str, Any]:
        return header1(response=False, message=message) | {f"{label} Request (0x{command:02x})": more}

    smb, where = decoder("smb"), place(FLOW)

    def read(layer: dict[str, Any]) -> list[Unit]:
        return list(smb.units(layer, "smb", where))

    (begun,) = read(part(0xA0, "NT Trans", **{"smb.tdc": "66512"}))
    assert begun.fields["netflight.smb.transaction.data_bytes"] == 66512
    assert read(part(0xA1, "NT Trans Secondary")) == []
    assert read(part(0x33, "Trans2 Secondary", 8)) == []  # of a transaction whose beginning was not seen
    (other,) = read(part(0x33, "Trans2 Secondary"))
    assert other.role is Role.SINGLE
    assert other.fields["netflight.smb.command"] == "TRANSACTION2_SECONDARY"
    assert other.fields["netflight.smb.transaction.begun_as"] == "NT_TRANSACT"
    assert read(part(0x33, "Trans2 Secondary")) == []
    read(part(0x32, "Trans2"))
    assert read(part(0x33, "Trans2 Secondary")) == []
