"""Names of DNS messages by their bytes: escaped as RFC 4343 has it, and found again in what tshark shows."""

from struct import pack
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.decoders.convert import PLACEHOLDERS
from producers.decoders.dns_data import data_of
from producers.decoders.dns_names import Names, message_in, names_in, presentation
from producers.decoders.tree import Tree
from schemas.events import get
from tests.trees import event, flow, place, units

LABELS = st.lists(st.binary(min_size=1, max_size=63), min_size=1, max_size=4)
ID = b"\x12\x34"


def wire(labels: list[bytes]) -> bytes:
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def query(labels: list[bytes], kind: int = 1) -> bytes:
    return ID + pack(">HHHHH", 0x100, 1, 0, 0, 0) + wire(labels) + pack(">HH", kind, 1)


def shown(labels: list[bytes]) -> str:
    """About what tshark 4.0 shows: C's escapes for control characters, U+FFFD for what is no UTF-8."""
    text = b".".join(labels).decode("utf-8", "replace")
    return "".join(f"\\{ord(c):03o}" if c < " " or c == "\x7f" else c for c in text)


def asked(labels: list[bytes], **more: Any) -> Tree:
    question = {"dns.qry.name": shown(labels), "dns.qry.type": "1", "dns.qry.class": "0x0001"}
    flags = {"dns.flags.response": "0", "dns.flags.opcode": "0"}
    return {"dns.id": "0x1234", "dns.flags_tree": flags, "Queries": {"x": question}, **more}


@given(LABELS)
def test_any_name_is_read_from_the_message_whatever_bytes_it_holds(labels: list[bytes]) -> None:
    layer = {"dns.id": "0x1234"}
    for text in (False, True):
        names = Names(layer, query(labels), text=text)
        assert names.of(shown(labels)) == presentation(labels, text=text)
        assert names.errors == []


@given(LABELS)
def test_presentation_is_printing_ascii_and_loses_nothing(labels: list[bytes]) -> None:
    name = presentation(labels)
    assert all("!" <= letter <= "~" for letter in name)
    read: list[bytearray] = [bytearray()]
    place_ = 0
    while place_ < len(name):
        if name[place_] == ".":
            read.append(bytearray())
            place_ += 1
        elif name[place_] != "\\":
            read[-1] += name[place_].encode()
            place_ += 1
        elif name[place_ + 1].isdecimal():
            read[-1].append(int(name[place_ + 1 : place_ + 4]))
            place_ += 4
        else:
            read[-1] += name[place_ + 1].encode()
            place_ += 2
    assert [bytes(label) for label in read] == labels


@given(st.binary(max_size=300))
def test_any_bytes_are_taken_for_a_message(data: bytes) -> None:
    assert len(list(names_in(data))) < 5000
    Names({"dns.id": "0x1234"}, ID + data).of("\ufffd.example")


@pytest.mark.parametrize(
    ("labels", "name", "domain"),
    [
        ([b"\xff\x80a", b"t", b"example", b"com"], "\\255\\128a.t.example.com", "example.com"),
        ([b"a.b", b"example", b"com"], "a\\.b.example.com", "example.com"),
        ([b"a\\b c", b"example", b"co", b"uk"], "a\\\\b\\032c.example.co.uk", "example.co.uk"),
        ([b"\xff", b"com"], "\\255.com", "\\255.com"),
        ([b"<Root>", b"example", b"com"], "<Root>.example.com", "example.com"),
    ],
)
def test_domain_comes_from_the_last_labels(labels: list[bytes], name: str, domain: str) -> None:
    where = place(flow("udp", 53))._replace(message=query(labels))
    (unit,) = units("dns", asked(labels), where)
    built = event("dns", request=unit)
    assert get(built, "dns.question.name") == name
    assert get(built, "dns.question.registered_domain") == domain
    assert get(built, "related.hosts") == [name]


def test_without_the_message_what_tshark_lost_stays_unknown() -> None:
    (unit,) = units("dns", asked([b"\xff\ta", b"example", b"com"]), place(flow("udp", 53)))
    assert unit.fields["dns.question.name"] == "\ufffd\\009a.example.com"


def test_message_after_its_length_is_found_in_a_segment_with_others() -> None:
    one, other = query([b"\xfe", b"example"]), b"\x56\x78" + query([b"b"])[2:]
    segment = b"".join(pack(">H", len(each)) + each for each in (other, one))
    layer = {"dns.id": "0x1234", "dns.length": str(len(one))}
    assert message_in(segment, layer) == one
    assert message_in(segment[:20], layer) == b""
    assert Names(layer, segment).of("\ufffd.example") == "\\254.example"


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ("<Name contains a pointer that loops>", "compression_loop"),
        ("<Unknown extended label>", "unknown_label"),
        ("<Name too long>", "name_too_long"),
    ],
)
def test_placeholder_of_tshark_s_is_no_name_and_its_reason_is_named(said: str, error: str) -> None:
    layer = asked([b"a"])
    layer["Queries"]["x"]["dns.qry.name"] = said
    (unit,) = units("dns", layer, place(flow("udp", 53)))
    built = event("dns", request=unit)
    assert get(built, "dns.question.name") is None
    assert get(built, "netflight.dns.name_errors") == [error]
    assert said in PLACEHOLDERS


def test_pointers_that_loop_end() -> None:
    looping = ID + pack(">HHHHH", 0x100, 1, 0, 0, 0) + b"\x01a\xc0\x0c" + pack(">HH", 1, 1)
    assert list(names_in(looping)) == []


@pytest.mark.parametrize(
    ("kind", "fields", "data"),
    [
        (
            "LOC",
            {
                "version": "0",
                "size": "18",
                "horizontal_precision": "22",
                "vertical_precision": "19",
                "latitude": "2332887285",
                "longitude": "2146974720",
                "altitude": "9999800",
            },
            "51 30 3.637 N 0 8 28.928 W -2.00m 1.00m 10000.00m 10.00m",
        ),
        (
            "TLSA",
            {
                "certificate_usage": "3",
                "selector": "1",
                "matching_type": "1",
                "certificate_association_data": "aa:0b",
            },
            "3 1 1 AA0B",
        ),
        (
            "NAPTR",
            {
                "order": "100",
                "preference": "10",
                "flags": "u",
                "service": "E2U+sip",
                "regex": "!^.*$!sip:a@b.example!",
                "replacement": "<Root>",
            },
            '100 10 "u" "E2U+sip" "!^.*$!sip:a@b.example!" .',
        ),
        (
            "DS",
            {"key_id": "0x3039", "algorithm": "13", "digest_type": "2", "digest": "0a:0b"},
            "12345 13 2 0A0B",
        ),
    ],
)
def test_data_of_records_is_in_presentation_format(kind: str, fields: dict[str, str], data: str) -> None:
    record = {f"dns.{kind.lower()}.{name}": value for name, value in fields.items()}
    assert data_of({"dns.resp.type": "0", **record}, kind, Names({})) == data


def test_types_in_a_bitmap_are_named_after_the_next_name() -> None:
    record = {"dns.resp.type": ["47", "1", "28"], "dns.nsec.next_domain_name": "b.example"}
    assert data_of(record, "NSEC", Names({})) == "b.example A AAAA"


def test_data_of_unknown_types_is_in_hexadecimal() -> None:
    assert data_of({"dns.resp.type": "65280", "dns.data": "01:ff"}, "65280", Names({})) == "\\# 2 01ff"
