"""Network services: events against tshark's filters and columns; the default policy against decoding all."""

import re
import shutil
import subprocess
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from schemas.events import Event, get
from tests.captures import captures
from tests.decoding import everything

pytestmark = [
    pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed"),
]
SAMPLES = Path(__file__).resolve().parents[2] / "samples"
ARKIME, MALCOLM = "arkime/captures", "protocols"
PUBLIC = (
    *(
        f"{ARKIME}/{name}.pcap"
        for name in ("arkime_synthetic", "bt-udp", "IKEv2", "ospf", "snmpv3_synthetic")
    ),
    *(f"{ARKIME}/{name}.pcap" for name in ("stun-ice-testcall", "v6-http", "wireshark-dhcpv6")),
    *(f"{MALCOLM}/{name}.pcap" for name in ("NTP", "STUN", "Synchrophasor", "TLS")),
)
OURS = ("snmp", "nbns", "bittorrent")

# What is one event each, by a display filter: messages, or requests of protocols whose every answer was asked for.
SINGLES = {
    "mdns": "mdns",
    "dhcpv6": "dhcpv6",
    "igmp": "igmp",
    "syslog": "syslog",
    "ssdp": "ssdp",
    "bgp": "bgp.type",
    "ospf": "ospf",
    "wireguard": "wg.type == 1",
}
# Protocols that pair by an id, with the filter and the columns that say the id and which of both a message is.
NAMES = {
    "nbns": ("nbns", "nbns.id", "nbns.flags.response"),
    "llmnr": ("llmnr && !dns.retransmission", "dns.id", "dns.flags.response"),
}
# Connections, by the stream that shows them.
CONNECTIONS = {
    "socks": "socks.version && !icmp",
    "openvpn": "openvpn.opcode in {1, 2, 7, 8, 10}",
}


def paths() -> list[str]:
    own = [str(SAMPLES / name / "capture.pcap") for name in OURS]
    return [*(str(captures() / name) for name in PUBLIC), *own]


def of(name: str) -> dict[str, list[Event]]:
    told = everything()
    return {
        path: [event for event in told[path] if event["event"]["dataset"] == f"network_traffic.{name}"]
        for path in paths()
    }


def counts(name: str) -> dict[str, int]:
    return {path: len(events) for path, events in of(name).items() if events}


@cache
def layers(path: str) -> set[str]:
    """The layers that tshark shows in a capture: other filters need not be tried."""
    argv = ["tshark", "-n", "-r", path, "-T", "fields", "-e", "frame.protocols"]
    said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    return {name for line in {*said.splitlines()} for name in line.split(":")}


@cache
def rows(path: str, where: str, *fields: str) -> list[tuple[str, ...]]:
    """tshark's columns of the packets that match; a packet quoted in an ICMP error is none of its own."""
    if not layers(path) & {*re.findall(r"[a-z][a-z0-9-]*", where)}:
        return []
    argv = [
        "tshark",
        "-n",
        "-r",
        path,
        "-Y",
        f"({where}) && !icmp && !icmpv6",
        "-T",
        "fields",
        "-E",
        "occurrence=a",
    ]
    for field in fields or ("frame.number",):
        argv += ["-e", field]
    said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    return [tuple(line.split("\t")) for line in said.splitlines()]


@pytest.mark.parametrize("name", [*SINGLES])
def test_every_message_is_an_event(name: str) -> None:
    wanted = {path: len(rows(path, SINGLES[name])) for path in paths()}
    if name == "bgp":  # several messages in a segment
        wanted = {
            path: sum(len(row[0].split(",")) for row in rows(path, SINGLES[name], "bgp.type"))
            for path in paths()
        }
    assert counts(name) == {path: count for path, count in wanted.items() if count}


@pytest.mark.parametrize("name", [*CONNECTIONS])
def test_every_connection_is_an_event(name: str) -> None:
    wanted = {path: {*rows(path, CONNECTIONS[name], "tcp.stream", "udp.stream")} for path in paths()}
    assert counts(name) == {path: len(streams) for path, streams in wanted.items() if streams}


def pairs(requests: Counter[Any], responses: Counter[Any]) -> int:
    """How many events there are where every request meets at most one response of the same key."""
    return sum(max(requests[key], responses[key]) for key in requests | responses)


def test_nbns_and_llmnr_pair_by_id() -> None:
    for name, (where, key, answer) in NAMES.items():
        wanted = {}
        for path in paths():
            sides: tuple[Counter[Any], Counter[Any]] = Counter(), Counter()
            for identity, is_answer, *ends in rows(
                path,
                where,
                key,
                answer,
                "ip.src",
                "ipv6.src",
                "udp.srcport",
                "ip.dst",
                "ipv6.dst",
                "udp.dstport",
            ):
                sides[int(is_answer)][identity, *(ends[3:] if int(is_answer) else ends[:3])] += 1
            wanted[path] = pairs(*sides)
        assert counts(name) == {path: count for path, count in wanted.items() if count}


def test_stun_pairs_by_transaction() -> None:
    wanted = {}
    for path in paths():
        sides: tuple[Counter[Any], Counter[Any]] = Counter(), Counter()
        alone = 0
        for kind, old, identity, old_identity in rows(
            path,
            "stun.type || classicstun.type",
            "stun.type",
            "classicstun.type",
            "stun.id",
            "classicstun.id",
        ):
            number = int(kind or old, 16)
            if number & 0x0110 == 0x0010:
                alone += 1
            else:
                sides[bool(number & 0x0100)][identity or old_identity] += 1
        wanted[path] = pairs(*sides) + alone
    assert counts("stun") == {path: count for path, count in wanted.items() if count}


def test_ike_version_2_pairs_by_cookie_and_message() -> None:
    wanted = {}
    for path in paths():
        sides: tuple[Counter[Any], Counter[Any]] = Counter(), Counter()
        for answer, *key in rows(
            path,
            "isakmp.version == 0x20",
            "isakmp.flag_r",
            "isakmp.ispi",
            "isakmp.messageid",
            "isakmp.exchangetype",
            "udp.stream",
        ):
            sides[int(answer)][tuple(key)] += 1
        wanted[path] = pairs(*sides)
    found = {
        path: sum(get(event, "netflight.ike.version") == "2.0" for event in events)
        for path, events in of("ike").items()
    }
    assert found == wanted


def test_snmp_pairs_by_request() -> None:
    wanted = {}
    for path in paths():
        sides: tuple[Counter[Any], Counter[Any]] = Counter(), Counter()
        alone = 0
        for kind, identity, message, reportable, *ends in rows(
            path,
            "snmp",
            "snmp.data",
            "snmp.request_id",
            "snmp.msgID",
            "snmp.v3.flags.report",
            "ip.src",
            "ip.dst",
        ):
            if kind in ("4", "7"):
                alone += 1
            else:
                answer = kind in ("2", "8") or (not kind and reportable == "0")
                sides[answer][frozenset(ends), message or identity] += 1
        wanted[path] = pairs(*sides) + alone
    assert counts("snmp") == {path: count for path, count in wanted.items() if count}


def test_ntp_pairs_by_the_time_of_the_request() -> None:
    """Control and private messages pair by their sequence, implementation and request."""
    wanted = {}
    columns = ("ntp.flags.mode", "ntp.xmt", "ntp.org", "udp.stream", "ntp.ctrl.flags2.r", "ntp.ctrl.sequence")
    private = ("ntp.priv.flags.r", "ntp.priv.impl", "ntp.priv.reqcode", "ntp.ctrl.flags2.opcode")
    for path in paths():
        sides: tuple[Counter[Any], Counter[Any]] = Counter(), Counter()
        alone = 0
        for mode, sent, origin, stream, control, sequence, answer, impl, code, opcode in rows(
            path, "ntp", *columns, *private
        ):
            if mode in ("3", "4"):
                sides[mode == "4"][stream, origin if mode == "4" else sent] += 1
            elif mode == "6":
                sides[int(control)][stream, mode, sequence, opcode] += 1
            elif mode == "7":
                sides[int(answer)][stream, mode, impl, code] += 1
            else:
                alone += 1
        wanted[path] = pairs(*sides) + alone
    assert counts("ntp") == {path: count for path, count in wanted.items() if count}


def test_values_are_those_of_tshark_s_columns() -> None:
    """Chosen values, per capture, each as often as in tshark's columns."""
    compared = 0
    for name, field, where, column in (
        ("wireguard", "netflight.wireguard.client.index", "wg.type == 1", "wg.sender"),
        ("dhcpv6", "netflight.dhcpv6.transaction_id", "dhcpv6", "dhcpv6.xid"),
        ("ospf", "netflight.ospf.router_id", "ospf", "ospf.srcrouter"),
        ("ssdp", "http.request.method", "ssdp && http.request.method", "http.request.method"),
        ("nbns", "dns.question.name", "nbns.flags.response == 0", "nbns.name"),
        ("socks", "netflight.socks.destination.domain", "socks.remote_name", "socks.remote_name"),
        ("bgp", "netflight.bgp.router_id", "bgp.type == 1", "bgp.open.identifier"),
        ("snmp", "user.name", 'snmp.v3.flags.report == 1 && snmp.msgUserName != ""', "snmp.msgUserName"),
        ("syslog", "log.syslog.facility.code", "syslog.facility", "syslog.facility"),
        ("igmp", "netflight.igmp.version", "igmp", "igmp.version"),
    ):
        for path, events in of(name).items():
            asked = [
                event for event in events if get(event, "dns.type") != "answer" or event["source"]["packets"]
            ]
            found = Counter(str(value) for event in asked if (value := get(event, field)) is not None)
            wanted = Counter(row[0].split(",")[0] for row in rows(path, where, column))
            assert found == wanted, (name, field, path)
            compared += sum(wanted.values())
    assert compared > 100
