"""DNS trees with what servers, and those who pretend to be, put into them."""

from typing import Any

import pytest

from producers.decoders.tree import Tree
from producers.decoders.unit import Unit
from schemas.events import get
from tests.trees import decoder, event, flow, place, units

ON = flow("udp", 53)


def message(response: int, **sections: Any) -> Tree:
    flags = {"dns.flags.response": str(response), "dns.flags.opcode": "0", "dns.flags.rcode": "0"}
    asked = {
        "a.example: type A, class IN": {
            "dns.qry.name": "a.example",
            "dns.qry.type": "1",
            "dns.qry.class": "0x0001",
        }
    }
    return {"dns.id": "0x1234", "dns.flags_tree": flags, "Queries": asked, **sections}


def record(kind: int, **fields: Any) -> Tree:
    return {
        "dns.resp.name": "a.example",
        "dns.resp.type": str(kind),
        "dns.resp.class": "0x0001",
        "dns.resp.ttl": "60",
        **fields,
    }


def one(layer: Tree, *, forward: bool = True) -> Unit:
    (found,) = units("dns", layer, place(ON, forward=forward))
    return found


def test_records_of_equal_labels_and_of_all_kinds_stay_apart() -> None:
    answers = {
        "a.example: type A, class IN, addr 192.0.2.9": [
            record(1, **{"dns.a": "192.0.2.9"}),
            record(1, **{"dns.a": "192.0.2.8"}),
        ],
        "a.example: type AAAA, class IN": record(28, **{"dns.aaaa": "2001:db8::9"}),
        "a.example: type MX, class IN": record(
            15, **{"dns.mx.preference": "10", "dns.mx.mail_exchange": "m.example"}
        ),
        "a.example: type TXT, class IN": record(16, **{"dns.txt": ["one, two", "three"]}),
        "a.example: type CAA, class IN": record(
            257,
            **{
                "dns.caa.flags": "0x80",
                "dns.caa.issue": "ca.example",
                "dns.caa.issue_tree": {"dns.caa.tag": "issue", "dns.caa.value": "ca.example"},
            },
        ),
        "a.example: type NULL": record(10),
        "text": "no record",
    }
    fields = one(message(1, Answers=answers), forward=False).fields
    said = [(answer["type"], answer.get("data")) for answer in fields["dns.answers"]]
    assert said == [
        ("A", "192.0.2.9"),
        ("A", "192.0.2.8"),
        ("AAAA", "2001:db8::9"),
        ("MX", "10 m.example"),
        ("TXT", "one, two three"),
        ("CAA", '128 issue "ca.example"'),
        ("NULL", None),
    ]
    assert fields["dns.resolved_ip"] == ["192.0.2.9", "192.0.2.8", "2001:db8::9"]


def test_what_is_no_address_or_number_is_left_out() -> None:
    answers = {
        "x": record(1, **{"dns.a": "not an address"}),
        "y": {**record(1), "dns.resp.ttl": "99999999999999999999", "dns.resp.type": "nonsense"},
    }
    unit = one(message(1, Answers=answers), forward=False)
    assert "dns.resolved_ip" not in unit.fields
    assert "ttl" not in unit.fields["dns.answers"][1]
    event("dns", response=unit)


def test_the_extended_response_code_counts() -> None:
    option = {
        "<Root>: type OPT": {"dns.resp.name": "<Root>", "dns.resp.type": "41", "dns.resp.ext_rcode": "0x01"}
    }
    unit = one(message(1, **{"Additional records": option}), forward=False)
    assert (unit.fields["dns.response_code"], unit.status) == ("BADVERS", "Error")
    usual = {"<Root>: type OPT": {**option["<Root>: type OPT"], "dns.resp.ext_rcode": "0x00"}}
    assert (
        one(message(1, **{"Additional records": usual}), forward=False).fields["dns.response_code"]
        == "NOERROR"
    )


def test_the_zone_of_an_update_is_its_question() -> None:
    layer = message(0)
    layer["Zone"] = layer.pop("Queries")
    assert one(layer).fields["dns.question.name"] == "a.example"


def test_a_response_without_a_question_answers_any_query() -> None:
    refusal = message(1)
    del refusal["Queries"]
    asked, refused = one(message(0)), one(refusal, forward=False)
    assert decoder("dns").match(asked, refused)
    other = message(1)
    other["Queries"] = {"b": {"dns.qry.name": "b.example", "dns.qry.type": "1"}}
    assert not decoder("dns").match(asked, one(other, forward=False))
    told = event("dns", request=asked, response=refused)
    assert (get(told, "dns.question.name"), get(told, "network_traffic.status")) == ("a.example", "OK")


def test_names_differ_in_case_only_by_the_asker_s_choice() -> None:
    answer = message(1)
    answer["Queries"] = {"A": {"dns.qry.name": "A.eXample", "dns.qry.type": "1", "dns.qry.class": "0x0001"}}
    assert decoder("dns").match(one(message(0)), one(answer, forward=False))


@pytest.mark.parametrize("section", ["text", [], ["text"], {"x": "y"}, {"x": ["y", {"z": "w"}]}])
def test_sections_that_are_none(section: Any) -> None:
    layer = message(1, Answers=section, **{"Additional records": section})
    layer["Queries"] = section
    unit = one(layer, forward=False)
    assert not {"dns.answers", "dns.question.name"} & set(unit.fields)
    event("dns", response=unit)


def test_repeated_messages_and_headless_ones_are_no_units() -> None:
    assert units("dns", message(0, **{"dns.retransmission": "1"}), place(ON)) == []
    assert units("dns", {"dns.id": "0x1"}, place(ON)) == []


def test_names_are_told_as_they_are_and_cut_where_they_are_too_long() -> None:
    layer = message(0)
    layer["Queries"] = {
        "q": {"dns.qry.name": "a\\.b\x00\u0001." * 2000, "dns.qry.type": "65280", "dns.qry.class": "0x8001"}
    }
    told = event("dns", request=one(layer))
    assert len(told["dns"]["question"]["name"]) == 8191
    assert told["netflight"]["field"]["truncated"] == ["dns.question.name"]
    assert (told["dns"]["question"]["type"], told["dns"]["question"]["class"]) == ("65280", "IN")
