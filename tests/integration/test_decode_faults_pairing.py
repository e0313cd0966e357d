"""Answers stay with their requests: small captures with the right answers, and every kind of them begun anywhere."""

import random
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.events import Event, get
from tests.captures import captures, faults
from tests.decoding import SAMPLES, decode

pytestmark = [
    pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed"),
    pytest.mark.timeout(600),
]
# Datasets whose responses have no number of their own: the fields that tell requests apart, and those that tell
# responses apart.
ORDERED = {
    "http": (
        ("http.request.method", "url.original", "netflight.http.stream"),
        ("http.response", "netflight.http.response"),
    ),
    "redis": (("redis.query", "netflight.redis.inline"), ("redis.return_value", "redis.error")),
    "ftp": (
        ("netflight.ftp.command", "netflight.ftp.argument"),
        ("netflight.ftp.code", "netflight.ftp.text"),
    ),
    "pop3": (
        ("netflight.pop3.command", "netflight.pop3.argument"),
        ("netflight.pop3.indicator", "netflight.pop3.text"),
    ),
    "imap": (
        ("netflight.imap.tag", "netflight.imap.command"),
        ("netflight.imap.status", "netflight.imap.text"),
    ),
    "memcached": (("query", "method"), ("memcache.response",)),
    "pgsql": (("pgsql.query", "method"), ("netflight.pgsql.tags", "pgsql.num_rows", "pgsql.error_code")),
    "mysql": (("mysql.query", "method"), ("mysql.affected_rows", "mysql.num_rows", "mysql.error_code")),
    "tds": (("netflight.tds.query", "method", "resource"), ("netflight.tds.num_rows", "error.code")),
    "krb5": (
        ("netflight.krb5.request_type", "netflight.krb5.service"),
        ("netflight.krb5.ticket", "error.code"),
    ),
    "modbus": (("netflight.modbus.transaction_id",), ("netflight.modbus.response", "error.code")),
    "smtp": (
        ("netflight.smtp.command", "netflight.smtp.argument"),
        ("netflight.smtp.code", "netflight.smtp.text"),
    ),
}
# Captures of them; from the begin of each so many different numbers of packets are cut off, the same ones in every run.
CAPTURES = (
    *(
        "samples/redis",
        "samples/ftp",
        "samples/mailbox",
        "samples/memcached",
        "samples/pgsql",
        "samples/mysql",
    ),
    *("samples/krb5", "samples/smtp", "samples/web"),
)
CUTS = 3


def _http(name: str, port: int | None = None) -> dict[str, tuple[int | None, str]]:
    events = decode([faults() / f"{name}.pcap"]).events
    return {
        f"{event['source']['port']}{get(event, 'url.path')}": (
            get(event, "http.response.status_code"),
            event["event"]["outcome"],
        )
        for event in events
        if event["event"]["dataset"] == "network_traffic.http"
        and (port is None or event["source"]["port"] == port)
    }


def test_an_answer_that_was_not_read_shifts_no_other() -> None:
    told = _http("http_offbyone")
    assert told["56201/m0"] == (None, "unknown")
    assert told["56202/g2"] == (None, "unknown")
    right = {f"56201/m{n}": (200 + n, "success") for n in range(1, 6)}
    right |= {f"56202/g{n}": (200 + n, "success") for n in (0, 1, 3, 4, 5)}
    assert {name: told[name] for name in right} == right


def test_captures_that_begin_within_an_answer() -> None:
    told = _http("midstream")
    assert told == {
        "56101/mid": (None, "unknown"),
        "56101/mid2": (201, "success"),
        "56102/mid": (None, "unknown"),
        "56102/mid2": (201, "success"),
        "56103/mid": (200, "success"),
        "56104/big": (200, "success"),
        "56104/n0": (200, "success"),
        "56104/n1": (201, "success"),
        "56104/n2": (202, "success"),
    }


def test_modbus_answers_are_those_of_their_transactions() -> None:
    for name, missing in (("modbus_noloss", 0), ("modbus_loss_req", 1)):
        events = decode([faults() / f"{name}.pcap"]).events
        told = [event for event in events if event["event"]["dataset"] == "network_traffic.modbus"]
        outcomes = Counter(event["event"]["outcome"] for event in told)
        assert outcomes["failure"] == 0, name
        assert outcomes["success"] + outcomes["unknown"] == len(told)
        if not missing:
            assert outcomes == {"success": 40}


def _identity(event: Event) -> tuple[str, ...] | None:
    """What tells a request from others: its dataset, connection, time, and what it asks for."""
    name = event["event"]["dataset"].removeprefix("network_traffic.")
    if name not in ORDERED:
        return None
    asked = [str(get(event, field)) for field in ORDERED[name][0]]
    if all(text == "None" for text in asked):
        return None
    return (name, str(get(event, "network.community_id")), event["event"]["start"], *asked)


def _answers(events: list[Event]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Every request of a dataset without numbers, and what is said of its response."""
    for event in events:
        identity = _identity(event)
        if identity is not None:
            fields = ORDERED[identity[0]][1]
            said = [get(event, field) for field in fields]
            yield identity, str(said) if any(value is not None for value in said) else ""


def cut(source: Path, target: Path, packets: int) -> int:
    """Write a pcap without its first packets; return how many it had."""
    data = source.read_bytes()
    order: str = "big" if data[:4] in (b"\xa1\xb2\xc3\xd4", b"\xa1\xb2\x3c\x4d") else "little"
    begins, at = [24], 24
    while at + 16 <= len(data):
        at += 16 + int.from_bytes(data[at + 8 : at + 12], order)  # type: ignore[arg-type]
        begins.append(at)
    target.write_bytes(data[:24] + data[begins[min(packets, len(begins) - 1)] :])
    return len(begins) - 1


def strayed(source: Path, folder: Path, cuts: list[int]) -> list[str]:
    """The requests of a capture that another response is given to when its first packets are missing."""
    whole: dict[tuple[str, ...], list[str]] = {}
    for identity, answer in _answers(decode([source]).events):
        whole.setdefault(identity, []).append(answer)
    wrong = []
    copies = []
    for packets in cuts:
        copy = folder / f"{packets}-{source.parent.name}-{source.name}"
        cut(source, copy, packets)
        copies.append(copy)
    by_copy: dict[str, list[Event]] = {str(copy): [] for copy in copies}
    for event in decode(copies).events:
        by_copy[event["log"]["file"]["path"]].append(event)
    for path, events in by_copy.items():
        for identity, answer in _answers(events):
            if answer and answer not in whole.get(identity, [answer]):
                wrong.append(f"{path}: {identity} got {answer}, not {whole[identity]}")
    return wrong


def _capture(name: str) -> Path:
    return (SAMPLES.parent if name.startswith("samples/") else captures()) / name / "capture.pcap"


@pytest.mark.parametrize("name", CAPTURES)
def test_a_capture_that_begins_later_gives_no_answer_to_another_request(name: str, tmp_path: Path) -> None:
    source = _capture(name)
    packets = cut(source, tmp_path / "all.pcap", 0)
    chosen = random.Random(name).sample(range(1, packets), CUTS)
    assert strayed(source, tmp_path, sorted(chosen)) == []
