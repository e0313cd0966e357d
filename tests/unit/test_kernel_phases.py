"""Signatures and parts, case by case."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from producers.engine.kernel.layout import Part, Signature
from producers.engine.kernel.phases_state import MISSES
from tests.streams import (
    UDP,
    Packet,
    chunked,
    hello,
    parts,
    record,
    rows,
    segments,
    signature,
    ssh_packet,
)

NONE, UNKNOWN, HEAD, BODY, ENCRYPTED = Part
REQUEST = b"GET /a HTTP/1.1\r\nHost: b\r\n\r\n"
APPLICATION_DATA = record(23, b"x" * 5000)


def response(body: bytes, status: bytes = b"200 OK", fields: bytes = b"") -> bytes:
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n%s\r\n%s" % (status, len(body), fields, body)


def conversation(*turns: bytes) -> list[Packet]:
    """The turns in segments; those at even places are the initiator's."""
    sequences = [1000, 2**32 - 900]
    packets = []
    for turn, stream in enumerate(turns):
        side = turn % 2
        packets += segments(side == 0, stream, sequences[side])
        sequences[side] += len(stream)
    return packets


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (REQUEST, Signature.HTTP),
        (b"HTTP/1.0 404 Not Found\r\n\r\n", Signature.HTTP),
        (b"POST /" + b"long/" * 400, Signature.HTTP),
        (b"CONNECT a:443 HTTP/1.1\r\n\r\n", Signature.HTTP),
        (b"OPTIONS rtsp://a/b RTSP/1.0\r\n\r\n", Signature.NONE),
        (b"RETR /etc/passwd\r\n", Signature.NONE),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Signature.HTTP2),
        (hello(), Signature.TLS),
        (hello(2), Signature.TLS),
        (hello(11), Signature.NONE),
        (bytes.fromhex("802e0103010015000000100000040000050000") + b"c" * 29, Signature.TLS),
        (b"SSH-2.0-x\r\n", Signature.SSH),
        (b"\x13BitTorrent protocol" + bytes(48), Signature.BITTORRENT),
        (bytes.fromhex("00000045ff534d4272000000"), Signature.SMB),
        (bytes.fromhex("00000045fe534d4240000000"), Signature.SMB),
        (bytes.fromhex("030000130ee000000000000100080003000000"), Signature.RDP),
        (bytes.fromhex("0300000b06e00000000000"), Signature.NONE),
        (b"INVITE sip:a@b SIP/2.0\r\n", Signature.SIP),
        (b"SIP/2.0 200 OK\r\n\r\n", Signature.SIP),
        (bytes.fromhex("000100002112a442") + bytes(12), Signature.STUN),
        (b"220 files\r\n", Signature.NONE),
        (b"G", Signature.NONE),
    ],
)
def test_streams_are_recognised_by_their_first_bytes(payload: bytes, expected: Signature) -> None:
    assert signature([Packet(True, payload)]) == expected


@pytest.mark.parametrize(
    ("payload", "expected", "part"),
    [
        (b"\xc3\x00\x00\x00\x01\x08" + bytes(1194), Signature.QUIC, HEAD),
        (b"\xc3\xff\x00\x00\x1d\x08" + bytes(1194), Signature.QUIC, HEAD),
        (b"\xc3\x12\x34\x56\x78\x08" + bytes(1194), Signature.NONE, UNKNOWN),
        (bytes.fromhex("16feff0000000000000000000401000000"), Signature.DTLS, HEAD),
        (bytes.fromhex("17fefd0001000000000001000401000000"), Signature.DTLS, ENCRYPTED),
        (bytes.fromhex("17fefd0001000000000001000501000000"), Signature.NONE, UNKNOWN),
        (bytes.fromhex("000100002112a442") + bytes(12), Signature.STUN, UNKNOWN),
        (b"\x01\0\0\0" + bytes(144), Signature.WIREGUARD, HEAD),
        (b"\x01\0\0\0" + bytes(145), Signature.NONE, UNKNOWN),
        (b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe", Signature.BITTORRENT, UNKNOWN),
        (b"REGISTER sip:a SIP/2.0\r\n", Signature.SIP, UNKNOWN),
        (b"M-SEARCH * HTTP/1.1\r\n\r\n", Signature.NONE, UNKNOWN),
    ],
)
def test_datagrams_are_recognised(payload: bytes, expected: Signature, part: Part) -> None:
    row = rows([Packet(True, payload)], UDP)[0]
    assert (Signature(row["signature"]), Part(row["part"])) == (expected, part)


@pytest.mark.parametrize("protocol", [6, 17])
@pytest.mark.parametrize("port", [53, 5353, 5355])
def test_dns_is_known_by_either_port(protocol: int, port: int) -> None:
    query = bytes.fromhex("000100000001000000000000") + b"\x01a\x00\x00\x01\x00\x01"
    assert signature([Packet(True, query)], protocol, (port, 9)) == Signature.DNS
    assert signature([Packet(False, query)], protocol, (9, port)) == Signature.DNS


def test_another_protocol_on_the_port_of_dns_is_recognised_all_the_same() -> None:
    assert signature([Packet(True, hello())], ports=(9, 53)) == Signature.TLS


def test_rdp_without_negotiation_is_known_by_its_port() -> None:
    assert (
        signature([Packet(True, bytes.fromhex("0300000b06e00000000000"))], ports=(9, 3389)) == Signature.RDP
    )


def test_no_payload_has_no_part() -> None:
    assert parts([Packet(True, b"")]) == [NONE]
    assert parts([Packet(True, b"")], UDP) == [NONE]


def test_tls_is_head_until_application_data_begins() -> None:
    server = hello(2) + record(22, b"\x0b" + b"c" * 4000)
    packets = conversation(
        hello(),
        server,
        record(20, b"\1") + record(22, b"f" * 40),
        record(20, b"\1") + record(22, b"f" * 40),
        APPLICATION_DATA,
        APPLICATION_DATA,
    )
    assert parts(packets) == [HEAD] * 6 + [ENCRYPTED] * 8


def test_a_segment_with_handshake_and_application_data_is_head() -> None:
    assert parts(conversation(hello(), hello(2) + APPLICATION_DATA)) == [HEAD, HEAD, *[ENCRYPTED] * 3]


def test_a_record_that_crosses_segments_may_begin_with_handshake_and_be_large() -> None:
    certificates = record(22, b"c" * 16000)
    packets = conversation(hello(), hello(2) + certificates)
    assert set(parts(packets)) == {HEAD}


def test_tls_begins_after_starttls() -> None:
    packets = conversation(b"EHLO a\r\n", b"250 STARTTLS\r\n", b"STARTTLS\r\n", b"220 go\r\n", hello())
    packets += segments(False, hello(2) + APPLICATION_DATA, 2**32 - 900 + 22)
    assert parts(packets) == [*[UNKNOWN] * 4, HEAD, HEAD, *[ENCRYPTED] * 3]


def test_tls_begins_after_an_rdp_connection_request() -> None:
    request = bytes.fromhex("030000130ee000000000000100080003000000")
    confirmation = bytes.fromhex("030000130ed000001234000200080002000000")
    packets = conversation(request, confirmation, hello(), hello(2))
    assert parts(packets) == [UNKNOWN, UNKNOWN, HEAD, HEAD]
    assert signature(packets) == Signature.TLS


def test_a_second_handshake_on_the_connection_is_head_again() -> None:
    packets = conversation(hello(), hello(2), APPLICATION_DATA, APPLICATION_DATA, hello(), hello(2))
    assert parts(packets)[-2:] == [HEAD, HEAD]


def test_tls_in_mid_stream_is_known_by_records_that_follow_each_other() -> None:
    found = rows(
        segments(True, b"tail of a record" * 50 + APPLICATION_DATA, size=800)
        + segments(True, APPLICATION_DATA * 4, 1000 + 5805)
    )
    assert Signature(found["signature"][0]) == Signature.NONE
    assert Signature(found["signature"][-1]) == Signature.TLS
    assert Part(found["part"][-1]) == ENCRYPTED
    assert HEAD not in found["part"]


def test_what_only_looks_like_application_data_is_not_taken_for_tls() -> None:
    packets = [Packet(True, b"\x17\x03\x03\x00\x20" + b"z" * 100, 1000 + 105 * at) for at in range(100)]
    assert set(parts(packets)) == {UNKNOWN}
    assert signature(packets) == Signature.NONE


def test_ssh_is_head_up_to_newkeys() -> None:
    stream = b"SSH-2.0-a\r\n" + ssh_packet(20, 1500) + ssh_packet(31, 300) + ssh_packet(21, 12)
    packets = conversation(stream, stream + b"e" * 6000)
    assert parts(packets) == [HEAD, HEAD, HEAD, HEAD, *[ENCRYPTED] * 4]


def test_http_bodies_are_passed_over() -> None:
    packets = conversation(
        REQUEST, response(b"x" * 5000), REQUEST, response(b""), REQUEST, response(b"y" * 2000)
    )
    assert parts(packets) == [HEAD, HEAD, BODY, BODY, BODY, HEAD, HEAD, HEAD, HEAD, BODY]


def test_the_end_of_a_body_with_the_next_head_is_head() -> None:
    stream = response(b"x" * 2000) + response(b"y" * 2000)
    assert parts(conversation(REQUEST + REQUEST, stream)) == [HEAD, HEAD, HEAD, BODY]


@pytest.mark.parametrize("size", [1, 100, 1446, 4096])
def test_chunks_are_followed(size: int) -> None:
    chunky = b"HTTP/1.1 200 OK\r\ntransfer-ENCODING: gzip, Chunked\r\n\r\n" + chunked(b"x" * 3000, size)
    packets = conversation(REQUEST, chunky, REQUEST, chunky + response(b"z" * 2000))
    found = parts(packets)
    first = -(-len(chunky) // 1448)
    assert found[: first + 1] == [HEAD, HEAD, *[BODY] * (first - 1)]
    assert found[first + 1 : first + 3] == [HEAD, HEAD]
    at = first + 2 + len(chunky) // 1448
    assert found[at] == HEAD
    assert set(found[first + 3 : at]) <= {BODY}
    assert set(found[at + 1 :]) == {BODY}


def test_trailers_belong_to_the_body() -> None:
    stream = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\nContent-Length: 99\r\n\r\n"
    )
    head = stream.index(b"5\r\n")
    packets = [
        *conversation(REQUEST),
        *segments(False, stream[:head], 0),
        *segments(False, stream[head:], head),
    ]
    packets += segments(False, response(b""), len(stream))
    assert parts(packets) == [HEAD, HEAD, BODY, HEAD]


@pytest.mark.parametrize(
    "status", [b"204 No Content", b"304 Not Modified", b"100 Continue", b"103 Early Hints"]
)
def test_responses_without_a_body(status: bytes) -> None:
    empty = b"HTTP/1.1 %s\r\nContent-Length: 4000\r\n\r\n" % status
    packets = [
        *conversation(REQUEST),
        *segments(False, empty, 0),
        *segments(False, response(b"x" * 2000), len(empty)),
    ]
    assert parts(packets) == [HEAD, HEAD, HEAD, BODY]


def test_the_answer_to_head_has_no_body() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n"
    asked = b"HEAD /a HTTP/1.1\r\n\r\n" + REQUEST
    assert parts(conversation(asked, answer + response(b"x" * 1500))) == [HEAD, HEAD, BODY]


def test_without_a_length_the_body_lasts_until_the_connection_ends() -> None:
    stream = b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * 100_000
    found = parts(conversation(REQUEST, stream))
    assert found == [HEAD, HEAD, *[BODY] * (len(found) - 2)]


def test_a_head_at_a_segments_beginning_ends_what_was_taken_for_a_body() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n"
    packets = [
        Packet(False, answer, 0),
        Packet(False, answer, len(answer)),
        Packet(False, b"x" * 99, 2 * len(answer)),
    ]
    assert parts(packets) == [HEAD, HEAD, BODY]


def test_tls_begins_after_connect() -> None:
    packets = conversation(
        b"CONNECT a:443 HTTP/1.1\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n", hello(), hello(2) + APPLICATION_DATA
    )
    assert parts(packets) == [HEAD, HEAD, HEAD, HEAD, *[ENCRYPTED] * 3]
    assert signature(packets) == Signature.TLS


def test_a_refused_connect_is_no_tunnel() -> None:
    packets = conversation(b"CONNECT a:443 HTTP/1.1\r\n\r\n", response(b"x" * 3000, b"407 Auth"))
    assert parts(packets) == [HEAD, HEAD, BODY, BODY]


def test_after_switching_protocols_nothing_is_known() -> None:
    packets = conversation(REQUEST, b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\n\r\n", b"\x81\x05hello")
    assert parts(packets) == [HEAD, HEAD, UNKNOWN]
    assert rows(packets)["signature"].tolist() == [Signature.HTTP, Signature.HTTP, Signature.NONE]


def test_quic_packets_with_short_headers_are_encrypted() -> None:
    long, short = b"\xc3\x00\x00\x00\x01\x08" + bytes(1194), b"\x43" + bytes(1200)
    found = parts([Packet(True, long), Packet(False, long), Packet(True, short), Packet(False, short)], UDP)
    assert found == [HEAD, HEAD, ENCRYPTED, ENCRYPTED]


def test_wireguard_in_mid_stream_is_known_by_its_counter() -> None:
    packets = [Packet(True, struct.pack("<IIQ", 4, 7, at) + bytes(80)) for at in range(20)]
    found = parts(packets, UDP)
    assert set(found[:7]) == {UNKNOWN}
    assert set(found[8:]) == {ENCRYPTED}


def rtp(sequence: int, payload_type: int = 0, source: int = 99) -> Packet:
    return Packet(True, struct.pack(">BBHII", 0x80, payload_type, sequence % 65536, 0, source) + bytes(160))


def test_rtp_is_known_by_a_steady_source() -> None:
    found = rows([rtp(65530 + at) for at in range(20)], UDP)
    assert set(found["part"][:7]) == {UNKNOWN}
    assert set(found["part"][8:]) == {BODY}
    assert Signature(found["signature"][-1]) == Signature.RTP


def test_lost_and_late_packets_do_not_hide_a_steady_source() -> None:
    numbers = [*range(12), 14, 13, 15, 20, 21, 22, 21, 23, 24]
    assert parts([rtp(number) for number in numbers], UDP)[-2:] == [BODY, BODY]


@pytest.mark.parametrize("numbers", [[17, 18, 17, 19, 20, 18], [20], [16, 17, 18, 19, 20, 21], [300, 20, 40]])
def test_what_only_resembles_a_serial_number_is_not_taken_for_media(numbers: list[int]) -> None:
    """BACnet, whose packets have the first two bytes of RTP and their length where it counts."""
    found = rows([rtp(number, 10) for number in numbers * 60], UDP)
    assert set(found["part"]) == {UNKNOWN}
    assert set(found["signature"]) == {Signature.NONE}


def test_dialled_digits_and_reports_among_speech_are_not_passed_over() -> None:
    report = Packet(True, struct.pack(">BBHI", 0x80, 200, 6, 99) + bytes(20))
    packets = [*[rtp(at) for at in range(20)], report, rtp(20), rtp(21, 101), rtp(22, 101)]
    assert parts(packets, UDP)[-4:] == [UNKNOWN, BODY, UNKNOWN, UNKNOWN]


def test_stun_dtls_and_media_share_a_flow() -> None:
    stun = Packet(True, bytes.fromhex("000100002112a442") + bytes(12))
    handshake = Packet(False, bytes.fromhex("16feff0000000000000000000401000000"))
    found = rows([stun, handshake, *[rtp(at, 111) for at in range(12)], stun, handshake], UDP)
    assert found["part"].tolist() == [UNKNOWN, HEAD, *[UNKNOWN] * 7, *[BODY] * 5, UNKNOWN, HEAD]


def test_random_packets_are_not_taken_for_media() -> None:
    packets = [rtp(at * 7919, source=at * 104729 % 997) for at in range(200)]
    assert set(parts(packets, UDP)) == {UNKNOWN}


def test_a_retransmission_keeps_its_part() -> None:
    packets = conversation(REQUEST, response(b"x" * 9000))
    again = [*packets, packets[3], packets[1], packets[-1]]
    assert parts(again)[-3:] == [BODY, UNKNOWN, BODY]


def test_a_hole_in_a_body_loses_nothing() -> None:
    packets = conversation(REQUEST, response(b"x" * 9000) + response(b"y" * 3000))
    packets.insert(5, packets.pop(3))
    found = parts(packets)
    assert found.count(HEAD) == 3
    assert set(found) == {HEAD, BODY}


def test_a_hole_over_a_head_makes_what_follows_unknown_until_a_segment_begins_with_one() -> None:
    first, second = segments(False, response(b"x" * 3000), 0), segments(False, response(b"y" * 3000), 3039)
    packets = [
        Packet(True, REQUEST, 0),
        *first[:-1],
        *second[1:],
        *segments(False, response(b"z" * 3000), 6078),
    ]
    assert parts(packets) == [HEAD, HEAD, BODY, UNKNOWN, UNKNOWN, HEAD, BODY, BODY]


@pytest.mark.parametrize(
    ("begin", "bulk"), [([Packet(True, hello(), 0)], ENCRYPTED), ([Packet(True, REQUEST, 0)], BODY)]
)
def test_bulk_behind_a_hole_does_not_stay_unknown(begin: list[Packet], bulk: Part) -> None:
    packets = begin + [Packet(True, b"." * 100, 5000 + 100 * at) for at in range(3 * MISSES)]
    found = parts(packets)
    assert found[1 : MISSES + 1] == [UNKNOWN] * MISSES
    assert found[MISSES + 1 :] == [bulk] * (2 * MISSES)


def test_payload_that_was_not_captured_is_gone_by_its_length() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 2500\r\n\r\n"
    packets = [
        Packet(True, REQUEST, 0),
        Packet(False, head + b"x" * 10, 0, wire=len(head) + 1000),
        Packet(False, b"x" * 10, len(head) + 1000, wire=1500),
        Packet(True, REQUEST, len(REQUEST)),
        Packet(False, response(b"y" * 10), len(head) + 2500),
    ]
    assert parts(packets) == [HEAD, HEAD, BODY, HEAD, HEAD]


@settings(max_examples=300)
@given(
    payloads=st.lists(
        st.tuples(
            st.booleans(),
            st.integers(0, 300),
            st.one_of(
                st.binary(max_size=40),
                st.sampled_from(
                    [REQUEST, hello(), hello(2), b"SSH-2.0-a\r\n", response(b"xyz"), APPLICATION_DATA]
                ),
            ),
            st.integers(0, 60),
        ),
        max_size=30,
    ),
    protocol=st.sampled_from([6, 17, 132]),
)
def test_any_bytes_have_a_part(payloads: list[tuple[bool, int, bytes, int]], protocol: int) -> None:
    packets = [Packet(side, data, at, wire=len(data) + more) for side, at, data, more in payloads]
    for packet, part in zip(packets, parts(packets, protocol), strict=True):
        assert (part == NONE) == (packet.wire == 0)
