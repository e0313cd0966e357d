"""Databases against tshark's own columns: how many units, and what they say, in every capture that has them."""

import shutil
import subprocess
from collections import Counter
from functools import cache
from pathlib import Path
from typing import NamedTuple

import orjson
import pytest

from schemas.events import Event, get
from tests.captures import captures
from tests.decoding import everything

pytestmark = [
    pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed"),
]
SAMPLES = Path(__file__).resolve().parents[2] / "samples"
NAMES = ("cassandra", "memcached", "mongodb", "mysql", "pgsql", "redis", "tds")
DATASETS = {f"network_traffic.{name}" for name in NAMES}
ARKIME = "arkime/captures/"
PUBLIC = {
    "mysql": ("arkime_synthetic", "no-syn-ack", "mysql-allow", "mysql-deny", "mysql-tls"),
    "pgsql": ("arkime_synthetic", "postgres-badpass", "postgres-good", "postgres-no-sslrequest"),
    "tds": ("arkime_synthetic", "ntlm_synthetic", "tds5", "tds7"),
}
OPTIONS = ("-o", "mongo.tcp.port:27017-27019", "-o", "tcp.reassemble_out_of_order:TRUE")
SECRETS = ("correct-horse-7", "hunter2", "hunter3", "wrong")  # of the samples


class Asked(NamedTuple):
    """A field, and which of its values are requests (or greetings); without values: any."""

    dataset: str
    filter: str
    field: str
    values: tuple[str, ...] = ()


REQUESTS = (
    Asked("mysql", "mysql.command || mysql.login_request || mysql.server_greeting", "frame.number"),
    Asked(
        "pgsql",
        "pgsql",
        "pgsql.type",
        ("Startup message", "SSL request", "Simple query", "Execute", "Termination"),
    ),
    Asked("pgsql", 'pgsql.type == "Parse" && !(pgsql.type == "Execute")', "frame.number"),
    Asked(
        "redis",
        "tcp.dstport == 6379 && !resp.reassembled_in_next_frame",
        "resp.array.length",
    ),
    Asked("redis", "tcp.dstport == 6379 && resp.fragment", "resp.fragment"),
    Asked("redis", 'tcp.srcport == 6379 && resp.bulk_string.value == "message"', "frame.number"),
    Asked("memcached", "memcache && (tcp.dstport == 11211 || udp.dstport == 11211)", "frame.number"),
    Asked("mongodb", "mongo.response_to == 0", "mongo.request_id"),
    Asked("cassandra", "cql", "cql.opcode", ("1", "5", "7", "9", "10", "11", "12", "13", "15")),
    # Messages of one packet, and the first packet of a login in two.
    Asked("tds", "!(tds.type == 4) && (tds.status.eom == 1 || tds.type == 2)", "frame.number"),
)
# Events beyond the requests that tshark shows.
ALONE = {
    ("memcached", "memcached/capture.pcap"): 4,  # four commands in one packet, and two in another
    # The challenge of an SSPI login has the type of what the client sends.
    ("tds", "arkime/captures/ntlm_synthetic.pcap"): -1,
}


@cache
def paths(dataset: str) -> dict[str, Path]:
    """The captures that have a dataset's protocol, by name."""
    names = [f"{ARKIME}{name}.pcap" for name in PUBLIC.get(dataset, ())]
    found = {name: captures() / name for name in names}
    if dataset == "tds":
        return found | {"protocols/TDS.pcap": captures() / "protocols" / "TDS.pcap"}
    return found | {f"{dataset}/capture.pcap": SAMPLES / dataset / "capture.pcap"}


@cache
def chosen() -> dict[str, Path]:
    return {name: path for dataset in NAMES for name, path in paths(dataset).items()}


@cache
def columns(path: Path, which: str, field: str) -> list[list[str]]:
    """The values of a field in the frames that match, as tshark's columns tell them."""
    command = [
        "tshark",
        "-n",
        *OPTIONS,
        "-r",
        str(path),
        "-Y",
        which,
        "-T",
        "fields",
        "-E",
        "aggregator=\x1f",
    ]
    command += ["-e", field]
    lines = subprocess.run(command, capture_output=True, check=True, text=True).stdout.splitlines()
    return [[value for value in line.split("\x1f") if value] for line in lines]


@cache
def decoded() -> dict[str, list[Event]]:
    told = everything()
    return {name: told[str(path)] for name, path in chosen().items()}


def of(dataset: str, name: str) -> list[Event]:
    return [e for e in decoded()[name] if e["event"]["dataset"] == f"network_traffic.{dataset}"]


def test_there_are_as_many_events_as_requests() -> None:
    """In every capture, for every dataset."""
    counted: Counter[tuple[str, str]] = Counter()
    for asked in REQUESTS:
        for name, path in paths(asked.dataset).items():
            values = [value for row in columns(path, asked.filter, asked.field) for value in row]
            counted[asked.dataset, name] += sum(not asked.values or value in asked.values for value in values)
    wanted = {key: count + ALONE.get(key, 0) for key, count in counted.items() if count or key in ALONE}
    told = {(dataset, name): len(of(dataset, name)) for dataset in NAMES for name in chosen()}
    assert {key: count for key, count in told.items() if count} == wanted
    assert sum(wanted.values()) > 200


@pytest.mark.parametrize(
    ("dataset", "which", "field", "ours"),
    [
        ("mysql", "mysql.query", "mysql.query", "mysql.query"),
        ("mysql", "mysql.user", "mysql.user", "user.name"),
        ("mysql", "mysql.error_code", "mysql.error_code", "mysql.error_code"),
        ("mysql", "mysql.version", "mysql.version", "netflight.mysql.server.version"),
        ("mysql", "mysql.affected_rows", "mysql.affected_rows", "mysql.affected_rows"),
        ("pgsql", 'pgsql.type == "Simple query"', "pgsql.query", "pgsql.query"),
        ("pgsql", "pgsql.code && !(pgsql.type == Notice)", "pgsql.code", "pgsql.error_code"),
        ("redis", "resp.error", "resp.error", "redis.error"),
        ("mongodb", "mongo.response_to == 0", "mongo.request_id", "netflight.mongodb.request_id"),
        ("cassandra", "cql.opcode == 7", "cql.string", "cassandra.request.query"),
        ("cassandra", "cql.result.rows.row_count", "cql.result.rows.row_count", None),
        ("cassandra", "cql.error_code", "cql.error_code", "cassandra.response.error.code"),
        ("memcached", "memcache.command && tcp.dstport == 11211", "memcache.key", "memcache.request.keys"),
        ("memcached", "memcache.magic == 129", "memcache.status", "memcache.response.status_code"),
        ("tds", "tds.query", "tds.query", "netflight.tds.query"),
        ("tds", "tds.rpc.name", "tds.rpc.name", "netflight.tds.procedures"),
    ],
)
def test_events_say_what_tshark_says(dataset: str, which: str, field: str, ours: str | None) -> None:
    """Each value of tshark's is in an event, and as often; passwords are hidden, statements prepared told again."""
    ours = ours or "cassandra.response.result.rows.num_rows"
    wanted: Counter[str] = Counter()
    told: Counter[str] = Counter()
    for name, path in paths(dataset).items():
        for row in columns(path, which, field):
            wanted.update(plain(value) for value in row)
        for event in of(dataset, name):
            value = get(event, ours)
            if value is not None:
                told.update(plain(str(each)) for each in (value if isinstance(value, list) else [value]))
    hidden = {value for value in wanted if any(secret in value for secret in SECRETS)}
    missing = {value: count - told[value] for value, count in wanted.items() if told[value] < count}
    assert set(missing) == hidden
    assert wanted


def plain(value: str) -> str:
    """A value as text, numbers in decimal, without spaces around it and without tshark's escapes."""
    value = value.strip().replace("\\n", "\n").replace('\\"', '"')
    return str(int(value, 16)) if value.startswith("0x") else value


def test_rows_are_counted() -> None:
    """A result set over many packets: tshark's rows are the event's."""
    mysql, pgsql = chosen()["mysql/capture.pcap"], chosen()["pgsql/capture.pcap"]
    rows = sum(len(row) for row in columns(mysql, "mysql.row.text", "mysql.row.text"))
    told = [event for event in of("mysql", "mysql/capture.pcap") if get(event, "mysql.num_rows") is not None]
    text = [event for event in told if get(event, "netflight.mysql.command") == "COM_QUERY"]
    assert sum(event["mysql"]["num_rows"] * width(event) for event in text) == rows
    kinds = [kind for row in columns(pgsql, "pgsql", "pgsql.type") for kind in row]
    found = [get(event, "pgsql.num_rows") or 0 for event in of("pgsql", "pgsql/capture.pcap")]
    assert sum(found) == kinds.count("Data row")


def width(event: Event) -> float:
    """Columns of a row; of several statements at once, which have one row each, their mean."""
    return event["mysql"]["num_fields"] / (2 if ";" in event["mysql"]["query"] else 1)


def test_no_secret_is_in_an_event() -> None:
    for name in chosen():
        if "/capture.pcap" in name:
            for event in decoded()[name]:
                text = orjson.dumps(event).decode()
                assert not any(secret in text for secret in SECRETS[:3]), text


def test_credentials_are_seen() -> None:
    """Each in clear, once per flow."""
    found = Counter(
        (name.split("/")[-2], get(event, "netflight.credentials.mechanism"))
        for name in chosen()
        for event in decoded()[name]
        if event["event"]["dataset"] == "network_traffic.credentials"
    )
    assert found["mysql", "statement"] == 2
    assert found["pgsql", "cleartext"] == 1
    assert found["pgsql", "statement"] == 1
    assert found["redis", "AUTH"] == 5  # one in a line by itself
    assert (found["redis", "ACL"], found["redis", "CONFIG"]) == (1, 1)
    assert found["cassandra", "statement"] == 1
    assert (found["captures", "TDS5"], found["captures", "TDS7"]) == (1, 1)
