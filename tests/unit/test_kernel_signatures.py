"""Signatures by magic, structure and checksums, and by what both sides say; what only resembles them has none."""

import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from producers.engine.kernel.layout import NAMING, Signature
from tests.streams import TCP, UDP, Packet, hello, record, rows, signature

NONE = Signature.NONE
GREETING = bytes.fromhex("434e584e01000001000004000700000032020000bcb1a7b1") + b"host::\0"
BIND = bytes.fromhex(
    "05000b03100000004800000001000000b810b810000000000100000000000100785734123412cdabef000123456789ac"
    "01000000045d888aeb1cc9119fe808002b10486002000000"
)
LDAP_BIND = bytes.fromhex("300c020101600702010304008000")
LDAP_SEARCH = (
    bytes.fromhex("302502010163200400") + bytes.fromhex("0a01000a0100020100020100010100870b") + b"objectClass"
)
LDAP_STARTTLS = bytes.fromhex("301d02010177188016") + b"1.3.6.1.4.1.1466.20037"
SNMP_V2 = bytes.fromhex("302602010104067075626c6963a019020165020100020100300e300c06082b060102010101000500")
SNMP_V3 = bytes.fromhex("303e020103301102044a69f2d20203010000040104020103041030")
DNP3 = bytes.fromhex("056405c001000004e921")
COMMAND_FRAME = bytes.fromhex("aa41001201906553f11a000000000005842c")
CONNECT = bytes.fromhex(
    "003a000001000000013b012c0c412000ffff4f98000000010001003a00000000818100000000"
) + bytes(20)
S7_PLUS = bytes.fromhex("0300001502f0807203000a04aabbccdd3100000000")
VERSION = (
    bytes.fromhex("f9beb4d9") + b"version".ljust(12, b"\0") + bytes.fromhex("64000000358d4932") + bytes(100)
)
MYSQL = bytes.fromhex("4a0000000a") + b"8.0.36\0" + bytes(66)
START_UP = bytes.fromhex("0000002200030000") + b"user\0alice\0database\0shop\0\0"
MONGO = struct.pack("<iiiiiBi", 46, 7, 0, 2013, 0, 0, 25) + bytes(21)
FIND_NODE = b"d1:q9:find_node1:rd2:id20:abcdefghij0123456789e1:t2:aa1:y1:re"

STREAMS = [
    (GREETING, Signature.ADB),
    (b"000Chost:version", Signature.ADB),
    (bytes.fromhex("020100000000000a") + b"build\nnode", Signature.AEROSPIKE),
    (b"AMQP\0\0\x09\x01", Signature.AMQP),
    (b"AMQP\0\1\0\0", Signature.AMQP),
    (VERSION, Signature.BITCOIN),
    (b"BSYNC\0\0\0\0:d5:nonce16:", Signature.BITTORRENT),
    (BIND, Signature.DCERPC),
    (DNP3, Signature.DNP3),
    (LDAP_BIND, Signature.LDAP),
    (LDAP_SEARCH, Signature.LDAP),
    (LDAP_STARTTLS, Signature.LDAP),
    (MONGO, Signature.MONGODB),
    (bytes.fromhex("100e00044d5154540402003c0002") + b"me", Signature.MQTT),
    (bytes.fromhex("101000064d514973647003") + bytes(8), Signature.MQTT),
    (MYSQL, Signature.MYSQL),
    (b"HELF" + struct.pack("<I", 32) + bytes(24), Signature.OPCUA),
    (START_UP, Signature.PGSQL),
    (bytes.fromhex("0000000804d2162f"), Signature.PGSQL),
    (b"*1\r\n$4\r\nPING\r\n", Signature.REDIS),
    (S7_PLUS, Signature.S7COMM_PLUS),
    (COMMAND_FRAME, Signature.SYNCHROPHASOR),
    (CONNECT, Signature.TNS),
    (b"220 mail.example.com ESMTP Postfix\r\n", Signature.SMTP),
]
DATAGRAMS = [
    (SNMP_V2, Signature.SNMP),
    (SNMP_V3, Signature.SNMP),
    (DNP3, Signature.DNP3),
    (COMMAND_FRAME, Signature.SYNCHROPHASOR),
    (FIND_NODE, Signature.BITTORRENT),
]
DIALOGUES = [
    (b"\x05\x01\x00", b"\x05\x00", Signature.SOCKS),
    (b"\x05\x02\x00\x02", b"\x05\xff", Signature.SOCKS),
    (bytes.fromhex("040101bb0a000001") + b"me\0", bytes.fromhex("005a01bb0a000001"), Signature.SOCKS),
    (
        bytes.fromhex("040101bb00000001") + b"\0a.example\0",
        bytes.fromhex("005b000000000000"),
        Signature.SOCKS,
    ),
    (b"220 Greetings\r\n", b"EHLO a\r\n", Signature.SMTP),
    (b"ehlo a\r\n", b"250-b\r\n250 OK\r\n", Signature.SMTP),
    (b"220 Welcome\r\n", b"USER anonymous\r\n", Signature.FTP),
    (b"+OK ready\r\n", b"CAPA\r\n", Signature.POP3),
    (b"* OK ready\r\n", b"a001 LOGIN alice secret\r\n", Signature.IMAP),
    (b"* OK ready\r\n", b'1 ID ("name" "x")\r\n', Signature.IMAP),
    (b"NICK alice\r\nUSER alice 0 * :a\r\n", b":irc.example 001 alice :Welcome\r\n", Signature.IRC),
    (b"CAP LS 302\r\n", b":irc.example CAP * LS :sasl\r\n", Signature.IRC),
    (b":irc.example NOTICE * :*** Looking up\r\n", b"NICK alice\r\n", Signature.IRC),
]


@pytest.mark.parametrize(("payload", "expected"), STREAMS)
def test_streams_are_recognised(payload: bytes, expected: Signature) -> None:
    assert signature([Packet(False, payload)]) == expected
    assert expected in NAMING


@pytest.mark.parametrize(("payload", "expected"), DATAGRAMS)
def test_datagrams_are_recognised(payload: bytes, expected: Signature) -> None:
    assert signature([Packet(True, payload)], UDP) == expected


@pytest.mark.parametrize(("said", "answer", "expected"), DIALOGUES)
def test_dialogues_are_recognised_by_both_sides(said: bytes, answer: bytes, expected: Signature) -> None:
    for first in (True, False):
        found = rows([Packet(first, said), Packet(not first, answer)])["signature"].tolist()
        assert found == [NONE, expected]
        assert signature([Packet(first, said), Packet(first, answer)]) == NONE
        assert signature([Packet(first, said), Packet(not first, b"?"), Packet(not first, answer)]) == NONE


@pytest.mark.parametrize(
    "payload",
    [
        GREETING[:20] + b"\xbc\xb1\xa7\xb0" + GREETING[24:],  # another complement
        GREETING[:23],
        b"000Dhost:version",
        b"000ghost:version",
        bytes.fromhex("020100000000000b") + b"build\nnode",
        b"AMQP\0\0\x09\x02",
        VERSION[:4] + b"ver\0ion".ljust(12, b"\0") + VERSION[16:],
        VERSION[:4] + b"VERSION".ljust(12, b"\0") + VERSION[16:],
        BIND[:8] + b"\x49" + BIND[9:],  # a fragment of another length
        BIND[:2] + b"\x00" + BIND[3:],  # a request: anything may look like one
        DNP3[:-1] + b"\x22",
        COMMAND_FRAME[:-1] + b"\x2d",
        COMMAND_FRAME[:-1],
        LDAP_BIND[:7] + b"\x01\x01\x05\x04\x00\x80\x00",
        MONGO[:8] + b"\1" + MONGO[9:],
        b"\x10\x0e\x00\x04MQTS\x04\x02\x00\x3c\x00\x02me",
        MYSQL[:5] + b"abc" + MYSQL[8:],
        MYSQL + b"\0",
        b"HELF" + struct.pack("<I", 33) + bytes(24),
        START_UP + b"\0",
        b"*1\r\n+PONG\r\n....",
        S7_PLUS[:7] + b"\x32" + S7_PLUS[8:],
        CONNECT + b"\0",
        CONNECT[:4] + b"\x06" + CONNECT[5:],
        b"220 Greetings\r\nESMTP",
    ],
)
def test_near_misses_have_no_signature(payload: bytes) -> None:
    assert signature([Packet(True, payload)]) == NONE


@pytest.mark.parametrize(
    "payload",
    [
        SNMP_V2[:4] + b"\x02" + SNMP_V2[5:],  # version 2 was never used
        SNMP_V2[:13] + b"\xb0" + SNMP_V2[14:],
        FIND_NODE[:-1] + b"f",
        FIND_NODE[:-7] + b"1:z1:re",
        b"d" + FIND_NODE[3:],
    ],
)
def test_near_misses_among_datagrams_have_no_signature(payload: bytes) -> None:
    assert signature([Packet(True, payload)], UDP) == NONE


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (b"\x05\x01\x00\x00", b"\x05\x00"),
        (b"\x05\x02\x00\x00", b"\x05\x00"),
        (b"\x05\x01\x00", b"\x05\x00\x00"),
        (b"\x05\x01\x00", b"\x04\x00"),
        (bytes.fromhex("040101bb0a000001") + b"me", bytes.fromhex("005a01bb0a000001")),
        (bytes.fromhex("040101bb0a000001") + b"me\0", bytes.fromhex("005f01bb0a000001")),
        (b"220 Welcome\r\n", b"250 OK\r\n"),
        (b"+OK ready\r\n", b"*1\r\n$4\r\n"),
        (b"* OK ready\r\n", b"a001 SELECTED\r\n"),
        (b"NICK alice\r\n", b"HELLO alice\r\n"),
        (b"USER alice\r\n", b"331 Password\r\n"),
    ],
)
def test_half_a_dialogue_has_no_signature(said: bytes, answer: bytes) -> None:
    assert signature([Packet(True, said), Packet(False, answer)]) == NONE


def test_a_client_of_a_proxy_may_not_wait() -> None:
    request = bytes.fromhex("050100014a7d83670050")
    assert (
        signature([Packet(True, b"\x05\1\0"), Packet(True, request), Packet(False, b"\5\0")])
        == Signature.SOCKS
    )


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", Signature.HTTP),
        (hello(), Signature.TLS),
        (b"SSH-2.0-x\r\n", Signature.SSH),
    ],
)
def test_what_goes_through_a_proxy_is_recognised(payload: bytes, expected: Signature) -> None:
    packets = [Packet(True, b"\x05\1\0"), Packet(False, b"\5\0"), Packet(True, payload)]
    assert rows(packets)["signature"].tolist() == [NONE, Signature.SOCKS, expected]


@pytest.mark.parametrize("payload", [STREAMS[0][0], LDAP_BIND, START_UP, MYSQL, b"220 a ESMTP\r\n"])
def test_tls_may_begin_where_it_was_asked_for(payload: bytes) -> None:
    assert signature([Packet(True, payload), Packet(False, hello())]) == Signature.TLS


def test_nothing_but_tls_begins_where_only_tls_may() -> None:
    packets = [
        Packet(True, b"220 a ESMTP\r\n"),
        Packet(True, b"GET / HTTP/1.1\r\n\r\n"),
        Packet(True, GREETING),
    ]
    assert signature(packets) == Signature.SMTP


def test_names_of_signatures() -> None:
    assert Signature.S7COMM_PLUS.label == "s7comm-plus"
    assert Signature.HTTP2.label == "http2"


BEGINNINGS = [payload[:4] for payload, _ in STREAMS + DATAGRAMS]


@given(
    payload=st.one_of(
        st.binary(min_size=1, max_size=80),
        st.builds(
            bytes.__add__, st.sampled_from([begin[:2] for begin in BEGINNINGS]), st.binary(max_size=60)
        ),
    ),
    protocol=st.sampled_from([TCP, UDP]),
)
@example(record(23, b"x" * 20), TCP)
def test_random_bytes_have_no_name(payload: bytes, protocol: int) -> None:
    assert signature([Packet(True, payload)], protocol) not in NAMING


@given(
    payload=st.sampled_from(STREAMS + DATAGRAMS).map(lambda case: case[0]),
    cut=st.integers(0, 120),
    more=st.integers(0, 200),
)
def test_what_was_not_captured_is_not_read(payload: bytes, cut: int, more: int) -> None:
    for protocol in (TCP, UDP):
        rows([Packet(True, payload[:cut], wire=len(payload[:cut]) + more)], protocol)
