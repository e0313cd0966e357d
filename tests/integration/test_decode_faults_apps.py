"""Small captures with known right answers, and public ones of attacks: mail, files, chat, databases, RPC, ICMPv6."""

import random
import shutil
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from schemas.events import Event, get
from tests.captures import captures, faults
from tests.conversations import CONVERSATIONS, cut
from tests.decoding import decode
from tests.packets import Packet, Turn, conversation, datagrams, pcap

pytestmark = [
    pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed"),
    pytest.mark.timeout(300),
]


@cache
def events(path: Path) -> tuple[Event, ...]:
    decoded = decode([path])
    assert decoded.outcome.errors == []
    assert decoded.outcome.telemetry.labels("undecoded") == {}
    return tuple(decoded.events)


def of(path: Path, *names: str) -> list[Event]:
    wanted = {f"network_traffic.{name}" for name in names}
    return [event for event in events(path) if event["event"]["dataset"] in wanted]


def values(found: list[Event], field: str) -> list[Any]:
    return [value for event in found if (value := get(event, field)) is not None]


def test_chunks_are_accepted_messages_with_their_headers() -> None:
    found = of(faults() / "smtp_bdat.pcap", "smtp")
    mails = [event for event in found if event["event"]["action"] == "smtp_message"]
    assert [mail["event"]["outcome"] for mail in mails] == ["success"] * 4
    assert values(mails, "email.message_id") == ["b1@x"] * 4
    assert values(mails, "email.subject") == ["chunk"] * 4
    assert values(mails, "netflight.smtp.size") == [80] * 4
    commands = Counter(values(found, "netflight.smtp.command"))
    assert commands == {"EHLO": 4, "QUIT": 4}
    assert len(found) == len(mails) + 8 + 4  # and a greeting each


def test_a_line_in_two_segments_is_one_message() -> None:
    path = faults() / "ftp_imap_irc.pcap"
    said = of(path, "irc")
    assert values(said, "netflight.irc.command") == ["NICK", "USER", "001", "JOIN", "PRIVMSG"]
    assert get(said[3], "netflight.irc.channel") == ["#ch"]
    commands = values(of(path, "imap"), "netflight.imap.command")
    assert commands == ["LOGIN", "FETCH", "IDLE", "LOGOUT"]
    assert values(of(path, "ftp"), "netflight.ftp.data.port") == [45_000, 45_002]
    assert of(path, "anomaly") == []


def test_each_command_has_one_reply_of_resp3() -> None:
    path = faults() / "mqtt5_resp3.pcap"
    found = of(path, "redis")
    told = [
        (event.get("query"), get(event, "netflight.redis.reply_type"), get(event, "redis.return_value"))
        for event in found
    ]
    assert told == [
        ("HELLO 3", "map", "{server: redis, proto: 3, mode: standalone}"),
        ("AUTH user [redacted]", "string", "OK"),
        ("SMEMBERS", "set", "[a, b]"),
        ("GET a", "null", "nil"),
        ("GET b", "double", "3.14"),
        (None, "push", "[message, ch, hi]"),
        ("PING", "string", "PONG"),
    ]
    kinds = values(of(path, "mqtt"), "netflight.mqtt.type")
    assert kinds == ["connect", "publish", "publish", "publish", "disconnect"]


def attack(name: str) -> Path:
    (path,) = (captures() / "attacks").glob(name)
    return path


def test_rpc_calls_that_use_a_number_again_are_told_with_their_lengths() -> None:
    first = of(attack("CVE-2022-24491.pcap"), "nfs")
    assert Counter(values(first, "netflight.nfs.procedure_name")) == {"DUMP": 74, "SET": 73}
    assert max(values(first, "netflight.nfs.verifier_bytes")) == 392
    last = of(attack("CVE-2022-24497.pcap"), "nfs")[-1]
    assert get(last, "netflight.nfs.procedure_name") == "DUMP"
    assert get(last, "netflight.nfs.call_bytes") == 448
    assert get(last, "netflight.nfs.verifier_bytes") == 400
    assert last["event"]["outcome"] == "unknown"
    answers = of(attack("CVE-2022-26937-exploited.pcap"), "nfs")
    assert values(answers, "netflight.nfs.procedure_name") == ["GETPORT", "GETADDR", "TEST_MSG"]
    assert max(map(len, values(answers, "netflight.nfs.address"))) > 2000


def test_options_and_routing_headers_of_icmpv6_are_told() -> None:
    (advertised,) = of(attack("pi3_poc.pcap"), "icmp")
    lengths = get(advertised, "netflight.icmp.router.dns_option_lengths")
    assert lengths[0] == 8  # an even one
    assert {"type": 25, "length": 8} in get(advertised, "netflight.icmp.options")
    ordinary = values(of(attack("RS-RA.pcap"), "icmp"), "netflight.icmp.router.dns_option_lengths")
    assert ordinary == [[3]]
    routed = of(attack("ipv6_rh0_poc.pcap"), "icmp")
    assert values(routed, "netflight.icmp.routing.type") == [0]
    assert values(routed, "netflight.icmp.routing.segments_left") == [1]


@pytest.mark.parametrize(
    ("name", "user", "field", "value"),
    [
        ("a30789ce*", "shipping@oceanskylogistics.in", "email.subject", "PW_admin/USER-PC"),
        ("db9f075c*", "cnc@trisquarespl.com", "email.subject", "PW_admin/DESKTOP-JGLLJLD"),
        (
            "f9421792*",
            "husband@elquijotebanquetes.com",
            "file.name",
            "PW_admin-USER-PC_2024_03_07_19_00_36.html",
        ),
    ],
)
def test_stolen_passwords_are_seen_on_their_way(name: str, user: str, field: str, value: str) -> None:
    found = of(attack(name), "ftp", "smtp", "credentials")
    assert value in values(found, field)
    assert user in values(found, "user.name")
    shown = [event for event in found if event["event"]["dataset"] == "network_traffic.credentials"]
    assert {get(event, "netflight.credentials.secret") for event in shown} == {"[redacted]"}


PORTS = {"ftp": 21, "imap": 143, "irc": 6667, "memcached": 11_211, "pop3": 110, "redis": 6379, "smtp": 25}


def played(folder: Path, packets: list[Packet]) -> list[Event]:
    """The events of packets, but for flows and for what is unusual about their TCP."""
    path = folder / f"{len(list(folder.iterdir()))}.pcap"
    path.write_bytes(pcap(packets))
    found = [event for event in events(path) if event["event"]["dataset"] != "network_traffic.flow"]
    return [event for event in found if get(event, "netflight.anomaly.kind") != "tcp"]  # segments sent twice


def said(found: list[Event]) -> list[dict[str, Any]]:
    """What events say, but for when and in which packets."""
    told = []
    for event in found:
        kept = {name: value for name, value in event.items() if name not in ("@timestamp", "log")}
        kept["event"] = {name: event["event"].get(name) for name in ("dataset", "action", "outcome")}
        kept["netflight"] = {name: value for name, value in event["netflight"].items() if name != "frame"}
        for side in ("source", "destination", "client", "server", "network"):
            kept.pop(side, None)
        told.append(kept)
    return sorted(told, key=str)


@pytest.mark.parametrize("name", PORTS)
def test_wherever_segments_are_cut_the_events_are_the_same(name: str, tmp_path: Path) -> None:
    """Each conversation in one segment a turn, in segments cut anywhere, and with segments sent twice."""
    turns, chance = CONVERSATIONS[name], random.Random(name)
    size = sum(len(text) for _, text in turns)
    packets = conversation(PORTS[name], turns)
    for number in range(1, 4):
        pieces = list(cut(turns, chance.sample(range(1, size), 12 * number)))
        at = packets[-1][0] + 3600 * 10**9
        packets += conversation(PORTS[name], pieces, source=40_000 + number, start_ns=at, repeat=number % 3)
    found = played(tmp_path, packets)
    by_port: dict[int, list[Event]] = {}
    for event in found:
        if event["event"]["dataset"] == "network_traffic.file":  # what a mail carries is found elsewhere
            continue
        ports = {event["source"].get("port"), event["destination"].get("port")}
        (port,) = ports - {PORTS[name]}
        by_port.setdefault(port, []).append(event)
    whole = said(by_port[40_000])
    assert len(whole) >= 4
    assert {event["event"]["dataset"] for event in whole} <= {
        f"network_traffic.{name}",
        "network_traffic.credentials",
    }
    for number in range(1, 4):
        assert said(by_port[40_000 + number]) == whole, number
    assert "hidden" not in str(found)


@pytest.mark.parametrize("name", ["ftp", "imap", "irc", "pop3", "smtp"])
def test_on_a_port_of_its_own_choice_nothing_of_a_conversation_is_lost(name: str, tmp_path: Path) -> None:
    """What was said first is there, too, though it is known what it is from the answer to it on alone."""
    turns = CONVERSATIONS[name]
    usual = said(played(tmp_path, conversation(PORTS[name], turns)))
    elsewhere = said(played(tmp_path, conversation(8765, turns)))
    wanted = [event for event in usual if event["event"]["dataset"] != "network_traffic.file"]
    assert elsewhere == wanted


def mqtt(kind: int, body: bytes) -> bytes:
    return bytes([kind, len(body)]) + body


def text(said: bytes) -> bytes:
    return len(said).to_bytes(2, "big") + said


@pytest.mark.parametrize("port", [1883, 8899])
def test_mqtt_of_version_3_1_and_several_packets_in_a_segment(port: int, tmp_path: Path) -> None:
    connect = mqtt(
        0x10, text(b"MQIsdp") + bytes([3, 0xC2, 0, 60]) + text(b"me") + text(b"alice") + text(b"hidden")
    )
    publish = mqtt(0x30, text(b"a/b") + b"x")
    twice = mqtt(0x34, text(b"c/d") + b"\0\7" + b"y")
    turns = [
        (True, connect),
        (False, mqtt(0x20, b"\0\0")),
        (True, publish + twice + mqtt(0x82, b"\0\x08" + text(b"#") + b"\1") + publish),
        (False, mqtt(0x50, b"\0\7") + mqtt(0x90, b"\0\x08\1")),
        (True, mqtt(0x62, b"\0\7")),
        (False, mqtt(0x70, b"\0\7")),
        (True, mqtt(0xC0, b"") + mqtt(0xE0, b"")),
    ]
    found = [
        e
        for e in played(tmp_path, conversation(port, turns))
        if e["event"]["dataset"] == "network_traffic.mqtt"
    ]
    told = Counter((get(e, "netflight.mqtt.type"), e["event"]["outcome"]) for e in found)
    assert told == {
        ("connect", "success"): 1,
        ("publish", "unknown"): 2,
        ("publish", "success"): 1,
        ("subscribe", "success"): 1,
        ("pingreq", "unknown"): 1,
        ("disconnect", "unknown"): 1,
    }
    first = next(e for e in found if get(e, "netflight.mqtt.type") == "connect")
    assert get(first, "netflight.mqtt.version") == "3.1"
    assert get(first, "user.name") == "alice"
    assert "hidden" not in str(found)


def test_llmnr_over_tcp(tmp_path: Path) -> None:
    name = b"\4host\0"
    asked = b"\x12\x34\0\0\0\1\0\0\0\0\0\0" + name + b"\0\1\0\1"
    answered = (
        b"\x12\x34\x80\0\0\1\0\1\0\0\0\0" + name + b"\0\1\0\1" + name + b"\0\1\0\1\0\0\0\x1e\0\4\xc0\0\2\5"
    )
    turns = [(True, text(asked)[:5]), (True, text(asked)[5:]), (False, text(answered))]
    (event,) = [e for e in played(tmp_path, conversation(5355, turns)) if "llmnr" in e["event"]["dataset"]]
    assert get(event, "dns.question.name") == "host"
    assert get(event, "dns.resolved_ip") == ["192.0.2.5"]


def packet(number: int, body: bytes) -> bytes:
    """A packet of MySQL."""
    return len(body).to_bytes(3, "little") + bytes([number]) + body


def sized(said: bytes) -> bytes:
    return bytes([len(said)]) + said


def test_mysql_s_query_attributes_field_list_and_several_results(tmp_path: Path) -> None:
    capabilities = (0x083B0208).to_bytes(4, "little")  # with CLIENT_QUERY_ATTRIBUTES
    greeting = b"\x0a8.0.33\0\7\0\0\0abcdefgh\0\xff\xff\xff\2\0\xff\xdf\x15" + bytes(10)
    greeting += b"ijklmnopqrst\0mysql_native_password\0"
    login = (
        capabilities
        + bytes(4)
        + b"\xff"
        + bytes(23)
        + b"bob\0"
        + sized(b"x" * 20)
        + b"d\0mysql_native_password\0"
    )
    well, eof, more = b"\0\0\0\2\0\0\0", b"\xfe\0\0\2\0", b"\xfe\0\0\x0a\0"
    column = (
        b"".join(map(sized, (b"def", b"d", b"t", b"t", b"a", b"a"))) + b"\x0c\x3f\0\x0b\0\0\0\3\0\0\0\0\0"
    )

    def result(start: int, rows: int, end: bytes) -> bytes:
        parts = [b"\1", column, eof, *[sized(b"1")] * rows, end]
        return b"".join(packet(start + number, part) for number, part in enumerate(parts))

    attributes = (
        b"\3\2\1\0\1\xfd\0"
        + sized(b"trace")
        + b"\xfd\0"
        + sized(b"password")
        + sized(b"abc")
        + sized(b"hidden")
    )
    turns = [
        (False, packet(0, greeting)),
        (True, packet(1, login)),
        (False, packet(2, well)),
        (True, packet(0, attributes + b"SELECT 2")),
        (False, result(1, 1, eof)),
        (True, packet(0, b"\4t\0%")),
        (False, packet(1, column + b"\xfb") + packet(2, column + b"\xfb") + packet(3, eof)),
        (True, packet(0, b"\3\0\1CALL p()")),
        (False, result(1, 1, more) + result(6, 2, more) + packet(12, well)),
        (True, packet(0, b"\x0e")),
        (False, packet(1, well)),
    ]
    found = [e for e in played(tmp_path, conversation(3306, turns)) if "mysql" in e["event"]["dataset"]]
    told = [
        (e.get("query") or e["method"], get(e, "mysql.num_fields"), get(e, "mysql.num_rows")) for e in found
    ]
    assert told[2:] == [("SELECT 2", 1, 1), ("FIELD_LIST", 2, 0), ("CALL p()", 2, 3), ("PING", None, None)]
    assert get(found[2], "netflight.mysql.query_attributes") == ["trace=abc", "password=[redacted]"]
    assert found[3]["path"] == "d.t"
    assert [e["event"]["outcome"] for e in found[1:]] == ["success"] * 5


def tlv(tag: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return bytes([tag, *([len(body)] if len(body) < 128 else [0x81, len(body)])]) + body


def snmp(number: int, flags: int, scoped: bytes) -> bytes:
    """A message of SNMPv3 (RFC 3412, 6; RFC 3414, 2.4)."""
    engine, mark = (
        tlv(4, bytes.fromhex("80001f8880e9630000d61ff449")),
        tlv(4, bytes(12) if flags & 1 else b""),
    )
    security = tlv(
        0x30,
        engine,
        tlv(2, b"\4"),
        tlv(2, b"\x64"),
        tlv(4, b"operator"),
        mark,
        tlv(4, bytes(8 * (flags >> 1 & 1))),
    )
    head = tlv(0x30, tlv(2, bytes([number])), tlv(2, b"\5\xdc"), tlv(4, bytes([flags])), tlv(2, b"\3"))
    return tlv(0x30, tlv(2, b"\3"), head, tlv(4, security), scoped)


def scoped(kind: int, value: bytes) -> bytes:
    bindings = tlv(0x30, tlv(0x30, tlv(6, bytes([0x2B, 6, 1, 2, 1, 1, 5, 0])), value))
    pdu = tlv(kind, tlv(2, b"\x4d"), tlv(2, b"\0"), tlv(2, b"\0"), bindings)
    return tlv(0x30, tlv(4, b"engine"), tlv(4, b"bridge1"), pdu)


def test_what_of_snmp_version_3_is_readable(tmp_path: Path) -> None:
    secret = tlv(4, b"\x99" * 40)
    turns: list[Turn] = [
        (True, snmp(1, 5, scoped(0xA0, b"\5\0"))),
        (False, snmp(1, 1, scoped(0xA2, tlv(4, b"router1")))),
        (True, snmp(2, 7, secret)),
        (False, snmp(2, 3, secret)),
        (True, snmp(3, 0, scoped(0xA7, tlv(4, b"router2")))),
    ]
    found = played(tmp_path, datagrams(161, turns))
    assert [e["event"]["outcome"] for e in found] == ["success", "unknown", "unknown"]
    assert values(found, "netflight.snmp.security_level") == ["authNoPriv", "authPriv", "noAuthNoPriv"]
    assert values(found, "user.name") == ["operator"] * 3
    assert values(found, "netflight.snmp.engine_id") == ["80001f8880e9630000d61ff449"] * 3
    assert values(found, "netflight.snmp.context") == ["bridge1"] * 2
    assert values(found, "netflight.snmp.pdu_type") == ["get-request", "snmpV2-trap"]
    bound = [each[0].get("value") for each in values(found, "netflight.snmp.variables")]
    assert bound == ["router1", "router2"]
