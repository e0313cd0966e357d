"""Brokers, calls and remote procedures against tshark's own counting, over all captures that have them."""

import shutil
import subprocess
from collections import Counter
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from samples.record.case import COUNTS
from samples.record.scenes_rpc import SCENES
from schemas.events import Event, get
from tests.captures import captures
from tests.decoding import everything

pytestmark = [
    pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed"),
]
SAMPLES = Path(__file__).resolve().parents[2] / "samples"
PUBLIC = (
    *("arkime/captures/arkime_synthetic.pcap", "arkime/captures/cassandra1.pcap"),
    *("arkime/captures/gtp-iphone.pcap", "arkime/captures/kafka.pcap", "arkime/captures/mqtt_synthetic.pcap"),
    *("arkime/captures/radius.pcap", "arkime/captures/thrift.pcap", "protocols/NFS.pcap"),
)
DATASETS = ("kafka", "mqtt", "amqp", "sip", "rtp", "nfs", "radius", "thrift")
REQUESTS = tuple(name for name in DATASETS if name != "rtp")


@cache
def paths() -> tuple[Path, ...]:
    found = [captures() / name for name in PUBLIC]
    return (*found, *sorted(path for name in SCENES for path in (SAMPLES / name).glob("capture.*")))


@cache
def decoded() -> dict[Path, list[Event]]:
    told = everything()
    return {path: told[str(path)] for path in paths()}


@cache
def speaking(dataset: str) -> tuple[Path, ...]:
    """The captures with a protocol by tshark; in all others there must be no event of it."""
    named = {"nfs": "rpc"}.get(dataset, dataset)
    found = tuple(path for path in paths() if named in protocols()[path])
    assert not any(of(path, dataset) for path in paths() if path not in found)
    return found


@cache
def protocols() -> dict[Path, set[str]]:
    return {
        path: {name for row in columns(path, "tcp || udp", "frame.protocols") for name in row[0].split(":")}
        for path in paths()
    }


def of(path: Path, dataset: str) -> list[Event]:
    return [event for event in decoded()[path] if event["event"]["dataset"] == f"network_traffic.{dataset}"]


def columns(path: Path, shown: str, *fields: str) -> list[list[str]]:
    """tshark's columns of the frames that a display filter shows, each with all occurrences."""
    argv = ["tshark", "-n", "-r", str(path), "-Y", shown, "-T", "fields", "-E", "aggregator=|"]
    argv += [part for field in fields for part in ("-e", field)]
    done = subprocess.run(argv, capture_output=True, check=True, text=True)
    return [line.split("\t") for line in done.stdout.splitlines()]


def values(path: Path, shown: str, field: str) -> Counter[str]:
    return Counter(value for row in columns(path, shown, field) for value in row[0].split("|") if value)


def ours(events: Iterable[Event], field: str) -> Counter[str]:
    counts: Counter[str] = Counter()
    for event in events:
        value: Any = get(event, field)
        counts.update(map(str, value if isinstance(value, list) else [] if value is None else [value]))
    return counts


@pytest.mark.parametrize("dataset", REQUESTS)
def test_there_are_as_many_events_as_tshark_counts_requests(dataset: str) -> None:
    theirs = {
        path.parts[-2:]: sum(count.measure(path) for count in COUNTS[dataset]) for path in speaking(dataset)
    }
    mine = {path.parts[-2:]: sum(_asked(event) for event in of(path, dataset)) for path in speaking(dataset)}
    assert mine == theirs
    assert sum(mine.values()) >= 8


def _asked(event: Event) -> bool:
    """Whether the event has a request: its sender is the source, and sent something."""
    return bool(event["source"]["packets"])


def test_answers_meet_their_requests() -> None:
    """As many events have an answer as tshark counts answers: none stands alone, none is lost."""
    wanted = {
        "kafka": ("kafka && kafka.request_frame || kafka.request_missing", "kafka.correlation_id"),
        "radius": ("radius.rsp && !radius.dup", "radius.id"),
        "nfs": ("rpc.msgtyp == 1", "rpc.xid"),
        "thrift": ("thrift.mtype in {2, 3}", "thrift.seq_id"),
        "sip": ("sip.Status-Code >= 200 && sip.resend == 0", "sip.Status-Code"),
    }
    for dataset, (shown, field) in wanted.items():
        answered = {
            path.parts[-2:]: sum(bool(event["destination"]["packets"]) for event in of(path, dataset))
            for path in speaking(dataset)
        }
        theirs = {path.parts[-2:]: values(path, shown, field).total() for path in speaking(dataset)}
        assert answered == theirs, dataset


@pytest.mark.parametrize(
    ("dataset", "ours_in", "shown", "theirs_in"),
    [
        ("kafka", "netflight.kafka.client_id", "kafka", "kafka.client_id"),
        ("kafka", "netflight.kafka.api_version", "kafka", "kafka.request.version"),
        ("mqtt", "netflight.mqtt.client_id", "mqtt", "mqtt.clientid"),
        ("mqtt", "netflight.mqtt.topic", "mqtt", "mqtt.topic"),
        ("mqtt", "user.name", "mqtt", "mqtt.username"),
        ("amqp", "amqp.body-size", "amqp", "amqp.header.body-size"),
        ("amqp", "netflight.amqp.virtual_host", "amqp", "amqp.method.arguments.virtual_host"),
        ("sip", "sip.method", "sip.Method", "sip.Method"),
        ("sip", "sip.code", "sip.Status-Code >= 200", "sip.Status-Code"),
        ("sip", "sip.uri.original", "sip.Method", "sip.r-uri"),
        ("radius", "user.name", "radius.req && !radius.dup", "radius.User_Name"),
        ("radius", "netflight.radius.accounting.session_id", "radius", "radius.Acct_Session_Id"),
        ("nfs", "rpc.cred.machinename", "rpc", "rpc.auth.machinename"),
        ("nfs", "netflight.nfs.procedure", "rpc.msgtyp == 0", "rpc.procedure"),
        ("nfs", "netflight.nfs.port", "portmap && rpc.msgtyp == 1", "portmap.port"),
        ("thrift", "thrift.method", "thrift.mtype in {1, 4}", "thrift.method"),
    ],
)
def test_values_are_those_of_tshark_s_columns(dataset: str, ours_in: str, shown: str, theirs_in: str) -> None:
    total: Counter[str] = Counter()
    for path in speaking(dataset):
        theirs = values(path, shown, theirs_in)
        assert ours(of(path, dataset), ours_in) == theirs, path
        total += theirs
    assert total


def test_streams_are_those_of_tshark() -> None:
    seen = 0
    for path in speaking("rtp"):
        rows = columns(path, "rtp && !icmp && !icmpv6", "ip.src", "ipv6.src", "udp.srcport", "rtp.ssrc")
        streams = {(*(ends.split("|")[-1] for ends in row[:3]), row[3]) for row in rows}
        told = [event for event in of(path, "rtp") if get(event, "netflight.rtp.packets_seen")]
        assert Counter(row[3].removeprefix("0x") for row in streams) == ours(told, "netflight.rtp.ssrc"), path
        assert all(get(event, "netflight.rtp.call_id") for event in told)
        reports = values(path, "rtcp", "rtcp.pt").total()
        assert len(of(path, "rtp")) - len(told) == reports
        seen += len(told)
    assert seen == 4


def test_no_secret_is_in_an_event() -> None:
    passwords = {"guess"}
    for path in speaking("mqtt"):
        passwords |= set(values(path, "mqtt", "mqtt.passwd"))
    for path in speaking("amqp"):
        for response in values(path, "amqp", "amqp.method.arguments.response"):
            passwords.add(bytes.fromhex(response).split(b"\0")[2].decode())
    assert len(passwords) > 4
    for path in paths():
        for event in decoded()[path]:
            text = str(event)
            assert not any(f"'{password}'" in text for password in passwords)
