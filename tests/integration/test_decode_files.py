"""Files against what tshark exports from the same captures, anomalies against tshark's expert information.

Both put together streams by their own code. Every difference is listed here with its reason.
"""

import email
import hashlib
import subprocess
import threading
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest

from producers.decoders.tshark import asked
from producers.run import Runner
from runtime.settings import Settings
from schemas.events import Event
from tests.captures import captures
from tests.decoding import Decoded, decode

pytestmark = pytest.mark.integration

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
FILE, ANOMALY = "network_traffic.file", "network_traffic.anomaly"


class Difference(NamedTuple):
    """How many objects only tshark has, and how many whole files only we have."""

    theirs: int
    ours: int
    why: str


HTTP = {
    "arkime/captures/80211http.pcap": Difference(2, 0, "forms (x-www-form-urlencoded) are no files"),
    "arkime/captures/http-100-continue.pcap": Difference(0, 0, ""),
    "arkime/captures/http-content-gzip.pcap": Difference(0, 0, ""),
    "arkime/captures/http-content-zip.pcap": Difference(0, 0, ""),
    "arkime/captures/http-no-length.pcap": Difference(0, 0, ""),
    "arkime/captures/http-post-upload.pcap": Difference(1, 1, "a form is told as the file that is in it"),
    "arkime/captures/gre-erspan-vxlan.pcap": Difference(0, 0, ""),
    "arkime/captures/sctp-www.pcap": Difference(4, 0, "HTTP over SCTP"),
    "arkime/captures/socks5-http-302-frag.pcap": Difference(1, 0, "TCP segments in IP fragments"),
    "arkime/captures/socks5-reverse.pcap": Difference(0, 0, ""),
    "protocols/HTTP.pcap": Difference(2, 0, "forms are no files"),
    "protocols/LDAP_KRB5.pcap": Difference(1, 0, "a form is no file"),
    "protocols/NTLM.pcap": Difference(
        6, 15, "the capture has lost segments: tshark goes on within a response that ended"
    ),
    "web": Difference(1, 0, "a form is no file"),
    "files": Difference(2, 2, "a range is no whole file; a form is told as the files that are in it"),
}
SMB = {
    "files": Difference(0, 0, ""),
    "arkime/captures/smb-smbclient.pcap": Difference(1, 0, "SMB 1"),
    "protocols/DCERPC.pcap": Difference(1, 0, "half of the file was read: tshark exports what it has"),
    "protocols/LDAP_KRB5.pcap": Difference(1, 0, "a named pipe"),
}
MAILS = ("smtp-zip", "smtp-moloch-bof", "smtp-data-521", "smtp-subject-8859-b", "smtp-subject-utf8-q")


def _capture(name: str) -> Path:
    return captures() / name if "/" in name else SAMPLES / name / "capture.pcap"


def _exported(capture: Path, kind: str, folder: Path) -> list[bytes]:
    """The objects that tshark puts together from a capture."""
    order = ("-o", "tcp.reassemble_out_of_order:TRUE")
    argv = ["tshark", "-n", *order, "-r", str(capture), "-q", "--export-objects", f"{kind},{folder}"]
    subprocess.run(argv, check=True, capture_output=True)
    return [path.read_bytes() for path in sorted(folder.iterdir())]


def _files(decoded: Decoded, source: str) -> list[Event]:
    found = [e for e in decoded.events if e["event"]["dataset"] == FILE]
    return [e for e in found if e["netflight"]["file"]["source"] == source]


def _hashes(events: list[Event]) -> Counter[str]:
    return Counter(e["file"]["hash"]["md5"] for e in events if "hash" in e["file"])


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


@pytest.mark.parametrize(
    ("kind", "source", "name", "expected"),
    [
        *(("http", "HTTP", name, expected) for name, expected in HTTP.items()),
        *(("smb", "SMB", name, expected) for name, expected in SMB.items()),
    ],
)
def test_files_are_those_that_tshark_exports(
    tmp_path: Path, kind: str, source: str, name: str, expected: Difference
) -> None:
    capture = _capture(name)
    theirs = Counter(map(_md5, _exported(capture, kind, tmp_path)))
    ours = _hashes(_files(decode([capture]), source))
    same = (ours & theirs).total()
    assert (theirs.total() - same, ours.total() - same) == (expected.theirs, expected.ours), expected.why
    assert same or expected.theirs


def test_attachments_are_those_that_pythons_mail_parser_finds(tmp_path: Path) -> None:
    for number, name in enumerate(MAILS):
        capture = _capture(f"arkime/captures/{name}.pcap")
        (tmp_path / str(number)).mkdir()
        parts = [
            part
            for raw in _exported(capture, "imf", tmp_path / str(number))
            for part in email.message_from_bytes(raw).walk()
            if not part.is_multipart()
        ]
        attached = [part for part in parts if part.get_filename() or part.get_content_maintype() != "text"]
        wanted = Counter(_md5(part.get_payload(decode=True)) for part in attached)  # type: ignore[arg-type]
        found = _hashes(_files(decode([capture]), "SMTP"))
        if name == "smtp-moloch-bof":  # its file's name has no end, so that Python finds none
            assert (found.total(), wanted.total()) == (1, 0)
        else:
            assert found == wanted, name


def test_files_over_ftp_are_what_the_data_connections_carried() -> None:
    capture = _capture("files")
    rows = _columns(capture, "tcp.port == 20 || tcp.port in {30000..30100}", "tcp.stream", "tcp.payload")
    carried: dict[str, bytes] = {}
    for stream, payload in rows:
        carried[stream] = carried.get(stream, b"") + bytes.fromhex(payload.replace(":", ""))
    wanted = Counter(_md5(data) for data in carried.values() if b"picture.png\r\n" not in data)
    assert _hashes(_files(decode([capture]), "FTP_DATA")) == wanted
    assert wanted.total() == 3


def test_damage_in_a_stream_is_told() -> None:
    for name, seen, missing in (("no-syn-ack", 1144, 103_384), ("twovlan", 3347, 101_201)):
        (event,) = _files(decode([_capture(f"arkime/captures/{name}.pcap")]), "HTTP")
        told = event["netflight"]["file"]
        assert (told["complete"], told["bytes_seen"], told["missing_bytes"]) == (False, seen, missing)
        assert "hash" not in event["file"]


ERRORS = (
    *("protocols/DHCP.pcap", "protocols/Telnet.pcap", "protocols/DNP3.pcap"),
    *("arkime/captures/snmpv3_synthetic.pcap", "arkime/captures/modbus.pcap", "protocols/DNS.pcap"),
)
# Layers that no dataset asks for, so that what stands in them is not seen.
UNASKED = ("IPv4 total length", "Bad length value", "New fragment overlaps")


@pytest.mark.parametrize("name", ERRORS)
def test_anomalies_are_tsharks_errors(name: str) -> None:
    capture = _capture(name)
    theirs = Counter(message for _, message in _errors(capture))
    ours: Counter[str] = Counter()
    for event in _decoded(capture, "all"):
        anomaly = event.get("netflight", {}).get("anomaly", {})
        if event["event"]["dataset"] == ANOMALY and anomaly["severity"] == "error":
            ours[anomaly["message"]] += anomaly["count"]
    missing = {message for message in theirs - ours if not message.startswith(UNASKED)}
    if "dnp3" not in asked().protocols:
        missing.discard("Negative number of items")
    assert (missing, ours - theirs) == (set(), Counter())


# Captures of which all errors are in producers/decoders/misread.yaml.
MISREAD = (
    *("arkime/captures/ssh2.pcap", "arkime/captures/sctp-www.pcap", "arkime/captures/socks5-reverse.pcap"),
    *("protocols/Netlogon.pcap", "protocols/NTP.pcap"),
)


@pytest.mark.parametrize("name", MISREAD)
def test_what_tshark_misreads_is_no_anomaly(name: str) -> None:
    capture = _capture(name)
    assert _errors(capture)
    for event in _decoded(capture, "all"):
        if event["event"]["dataset"] == ANOMALY:
            assert event["netflight"]["anomaly"]["severity"] == "warning"


def _errors(capture: Path) -> set[tuple[str, str]]:
    """Frame and message of every error in tshark's expert information, under the same preferences."""
    fields = ("frame.number", "_ws.expert.severity", "_ws.expert.message")
    rows = _columns(capture, "_ws.expert.severity == 8388608", *fields)
    return {
        (frame, message)
        for frame, severities, messages in rows
        for severity, message in zip(severities.split("|"), messages.split("|"), strict=True)
        if severity == "8388608"
    }


def _columns(capture: Path, query: str, *fields: str) -> list[list[str]]:
    preferences = {"tcp.reassemble_out_of_order": "TRUE"} | asked().preferences
    argv = ["tshark", "-n", "-r", str(capture), "-Y", query, "-T", "fields", "-E", "aggregator=|"]
    argv += [word for name, value in preferences.items() for word in ("-o", f"{name}:{value}")]
    argv += [word for name in fields for word in ("-e", name)]
    told = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    return [line.split("\t") for line in told.splitlines() if line.strip()]


def _decoded(capture: Path, policy: str) -> list[Event]:
    events: list[Event] = []
    Runner(Settings(), events.append, threading.Event(), policy=policy).run_paths([str(capture)])
    return events


def test_the_policy_changes_no_file() -> None:
    told = []
    for policy in ("default", "all"):
        events = _decoded(_capture("files"), policy)
        told.append([e["event"]["id"] for e in events if e["event"]["dataset"] in (FILE, ANOMALY)])
    assert told[0] == told[1]
    assert len(told[0]) > 10
