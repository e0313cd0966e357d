"""Small captures with known right answers, and public ones of attacks: mail, files, chat, databases, RPC, ICMPv6."""

import shutil
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from schemas.events import Event, get
from tests.captures import captures, faults
from tests.decoding import decode

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
