"""Protocols on ports of their own choice: recorded connections, moved to another port, give the same events."""

import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from struct import pack

import pytest

from schemas.events import Event, get
from tests.captures import captures
from tests.connections import connection
from tests.decoding import FLOW, check, decode
from tests.packets import ethernet, ip, pcap, udp

pytestmark = [
    pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed"),
]
SAMPLES = Path(__file__).resolve().parents[2] / "samples"
PORT = 23_456
TCP, UDP = 6, 17
# What is told of a connection before both sides have shown what it is: the server's greeting, or a client's first line.
FIRST = {"ftp": 8, "imap": 5, "pop3": 4, "irc": 6}
# Connections of memcached and Redis that begin with a command, or a form, that is in no list.
UNSEEN = {"memcached": 8, "redis": 5}


def moved(source: Path, target: Path, port: int, protocol: int = TCP) -> Path:
    """A copy of a capture of Ethernet with another port."""
    data = bytearray(source.read_bytes())
    at = 24
    while at < len(data):
        length, frame = int.from_bytes(data[at + 8 : at + 12], "little"), at + 16
        for place in (frame + 34, frame + 36) if data[frame + 23] == protocol else ():
            if data[place : place + 2] == pack(">H", port):
                data[place : place + 2] = pack(">H", PORT)
        at = frame + length
    target.write_bytes(data)
    return target


def told(name: str, events: Sequence[Event]) -> Counter[str]:
    """What a dataset's events say of their protocol."""
    chosen = [event for event in events if event["event"]["dataset"] == f"network_traffic.{name}"]
    return Counter(str(get(event, f"netflight.{name}") or get(event, name)) for event in chosen)


def called(events: Sequence[Event]) -> list[list[str]]:
    """What the flows are called, in their order."""
    flows = [event for event in events if event["event"]["dataset"] == FLOW and event["flow"]["final"]]
    return [get(event, "netflight.flow.protocols") or [] for event in flows]


@pytest.mark.parametrize(
    ("sample", "name", "port", "protocol"),
    [
        ("amqp", "amqp", 5672, TCP),
        ("enip", "enip", 44_818, TCP),
        ("ftp", "ftp", 21, TCP),
        ("iec104", "iec104", 2404, TCP),
        ("irc", "irc", 6667, TCP),
        ("kafka", "kafka", 9092, TCP),
        ("ldap", "ldap", 389, TCP),
        ("mailbox", "imap", 143, TCP),
        ("mailbox", "pop3", 110, TCP),
        ("memcached", "memcached", 11_211, TCP),
        ("mongodb", "mongodb", 27_017, TCP),
        ("mqtt", "mqtt", 1883, TCP),
        ("mysql", "mysql", 3306, TCP),
        ("pgsql", "pgsql", 5432, TCP),
        ("redis", "redis", 6379, TCP),
        ("s7comm", "s7comm", 102, TCP),
        ("smtp", "smtp", 25, TCP),
        ("snmp", "snmp", 161, UDP),
        ("ssh", "ssh", 22, TCP),
    ],
)
def test_another_port_gives_the_same_events(
    sample: str, name: str, port: int, protocol: int, tmp_path: Path
) -> None:
    source = SAMPLES / sample / "capture.pcap"
    wanted = decode([source]).events
    found = decode([moved(source, tmp_path / "moved.pcap", port, protocol)])
    check(found)
    before, after = told(name, wanted), told(name, found.events)
    assert (
        after <= before or name in FIRST
    )  # what follows from a first line is missing, too: a nick, an answer's command
    assert before.total() - after.total() <= FIRST.get(name, 0) + UNSEEN.get(name, 0)
    assert before
    if name not in UNSEEN:
        names = Counter(protocols[0] for protocols in called(wanted) if name in protocols)
        assert Counter(protocols[0] for protocols in called(found.events) if name in protocols) == names


def test_another_port_of_dnp3_gives_the_same_events(tmp_path: Path) -> None:
    source = captures() / "arkime" / "captures" / "dnp3_synthetic.pcap"
    wanted = told("dnp3", decode([source]).events)
    found = told("dnp3", decode([moved(source, tmp_path / "moved.pcap", 20_000)]).events)
    assert found == wanted
    assert wanted


@pytest.mark.parametrize(
    ("turns", "name"),
    [
        ((b"Gh0st" + b"\x20\0\0\0" + b"\x40\0\0\0" + b"x\x9c" + bytes(17),), "gh0st"),
        ((b'{"id": 1, "method": "mining.subscribe", "params": []}\n',), "stratum"),
        ((b"--splunk-cooked-mode-v3--" + bytes(300),), "splunk"),
        ((b"hrpc\x09\0\0" + bytes(20),), "hadoop"),
        ((b"HBas\0P" + bytes(20),), "hbase"),
        ((b"2W\0\0\0\x0a2C\0\0\0\x10" + bytes(16),), "lumberjack"),
        ((b"\x1b%-12345X@PJL INFO ID\r\n",), "pjl"),
        ((b"ZBXD\x01\x0a\0\0\0\0\0\0\0agent.ping",), "zabbix"),
        ((b"", b"@RSYNCD: 31.0\n"), "rsync"),
        ((b"JRMI\0\2K",), "rmi"),
        ((b"OPTIONS rtsp://192.0.2.2/a RTSP/1.0\r\nCSeq: 1\r\n\r\n",), "rtsp"),
        ((b"0030git-upload-pack /a.git\0host=git.example.com\0",), "git"),
        ((b"", b"200 news.example.com NNTP ready\r\n"), "nntp"),
        ((b"<?xml version='1.0'?><stream:stream to='example.com' xmlns='jabber:client'>",), "xmpp"),
        ((b"\xff" * 16 + b"\x00\x1d\x01\x04\xfd\xe8\x00\xb4\xc0\x00\x02\x01\x00",), "bgp"),
    ],
)
def test_a_connection_is_called_by_its_first_bytes(
    turns: tuple[bytes, ...], name: str, tmp_path: Path
) -> None:
    (tmp_path / "a.pcap").write_bytes(connection(*turns, port=PORT))
    found = decode([tmp_path / "a.pcap"])
    check(found)
    assert called(found.events) == [[name]]


SOCKS5 = (b"\5\1\0", b"\5\0", bytes.fromhex("05010001c6336407") + pack(">H", 8080), b"\5\0\0\1" + bytes(6))
GET = (b"GET /a HTTP/1.1\r\nHost: www.example.com\r\n\r\n", b"HTTP/1.1 204 No Content\r\n\r\n")


def test_what_goes_through_a_proxy_is_decoded(tmp_path: Path) -> None:
    (tmp_path / "a.pcap").write_bytes(connection(*SOCKS5, *GET, port=PORT))
    found = decode([tmp_path / "a.pcap"])
    check(found)
    assert called(found.events) == [["socks", "http"]]
    (socks,) = [event for event in found.events if event["event"]["dataset"] == "network_traffic.socks"]
    assert socks["netflight"]["socks"]["destination"] == {"ip": "198.51.100.7", "port": 8080}
    (http,) = [event for event in found.events if event["event"]["dataset"] == "network_traffic.http"]
    assert http["http"]["response"]["status_code"] == 204


@pytest.mark.parametrize(
    "turns",
    [
        (b"\5\1\0\0", b"\5\0"),
        (b"\5\1\x40", b"\5\0"),
        (b"HELLO a\r\n", b"250 OK\r\n"),
        (b"", b"220 ready\r\n", b"", b"USER alice\r\n"),  # nobody else said it
        (b"NICK alice\r\n", b"no such command\r\n"),
        (b"get a\r\n", b"<html>"),
        (b"*1\r\n+a\r\n.......", b"?"),
        (b"Gh0st" + bytes(20), b"?"),
        (b"\x00\x00\x00\x23\x00\x03\x00\x00user\0alice\0database\0shop\0\0", b"?"),
    ],
)
def test_what_only_resembles_a_protocol_is_not_called_so(turns: tuple[bytes, ...], tmp_path: Path) -> None:
    (tmp_path / "a.pcap").write_bytes(connection(*turns, port=PORT))
    found = decode([tmp_path / "a.pcap"])
    check(found)
    assert called(found.events) == [[]]


def test_ntlm_in_a_mail_login_is_told() -> None:
    found = decode([captures() / "arkime" / "captures" / "ntlm_synthetic.pcap"]).events
    ports = Counter(
        event["destination"]["port"]
        for event in found
        if event["event"]["dataset"] == "network_traffic.ntlm"
        and event["destination"]["port"] in {25, 110, 143}
    )
    assert ports == {25: 1, 110: 1, 143: 1}


def test_datagrams_of_dnp3_with_a_wrong_checksum_are_nothing(tmp_path: Path) -> None:
    right = bytes.fromhex("056405c001000004e921")
    for payload, expected in ((right, ["dnp3"]), (right[:-1] + b"\x22", [])):
        packet = ethernet(ip("192.0.2.1", "192.0.2.2", UDP, udp(40_000, PORT, payload)))
        (tmp_path / "a.pcap").write_bytes(pcap([(10**9, packet, len(packet))]))
        assert called(decode([tmp_path / "a.pcap"]).events) == [expected]
