"""The mail family (SMTP, FTP, IMAP, POP3, Telnet, IRC, TFTP) over all captures that have it, against tshark's columns.

Our events are made of tshark's trees; the counts here are of its columns, and of the bytes of the packets.
"""

import json
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
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
NAMES = ("ftp", "imap", "irc", "pop3", "smtp", "telnet", "tftp")
ARKIME = (
    *("arkime_synthetic", "ntlm_synthetic", "ftp", "imap-tag", "pop3-tag", "mpls-basic", "socks5-smtp-503"),
    *("smtp-data-250", "smtp-data-521", "smtp-decrypted", "smtp-moloch-bof", "smtp-nospaces"),
    *("smtp-originating", "smtp-rcpt-553", "smtp-subject-8859-b", "smtp-subject-8859-multi"),
    *("smtp-subject-8859-q", "smtp-subject-encoded-empty", "smtp-subject-gb2312-b"),
    *("smtp-subject-multi-nospace", "smtp-subject-utf8-mixed", "smtp-subject-utf8-q"),
    *("smtp-subject-windows", "smtp-zip"),
)
PROTOCOLS = ("IRC", "TFTP", "Telnet", "Modbus")
OWN = ("smtp", "mailbox", "ftp", "irc")


@cache
def paths() -> tuple[Path, ...]:
    folder = captures()
    return (
        *(folder / "arkime" / "captures" / f"{name}.pcap" for name in ARKIME),
        *(folder / "protocols" / f"{name}.pcap" for name in PROTOCOLS),
        *(SAMPLES / name / "capture.pcap" for name in OWN),
    )


@cache
def decoded() -> dict[Path, list[Event]]:
    """The events of the family by capture."""
    told = everything()
    return {
        path: [
            e for e in told[str(path)] if e["event"]["dataset"].partition(".")[2] in (*NAMES, "credentials")
        ]
        for path in paths()
    }


# Conversations on ports of their own choice: tshark by itself does not find them.
ELSEWHERE = {"IRC": 8000, "smtp-decrypted": 2525}


def of(name: str, path: Path) -> list[Event]:
    """The events of a dataset in a capture, but for those on ports of their own choice."""
    own = ELSEWHERE.get(path.stem)
    return [
        event
        for event in decoded()[path]
        if event["event"]["dataset"] == f"network_traffic.{name}"
        and (own is None or own not in (event["source"].get("port"), event["destination"].get("port")))
    ]


FIELDS = (
    *("frame.number", "tcp.stream", "udp.stream", "tcp.dstport", "tcp.payload", "imf.message_id"),
    *("smtp.req.command", "smtp.response.code", "smtp.auth.password"),
    *("ftp.response.code", "ftp.request.command", "ftp.request.arg", "ftp.passive.port", "ftp.epsv.port"),
    *("ftp.active.port", "ftp.eprt.port", "imap.response_tag", "imap.response_to"),
    *("pop.request.command", "pop.request.parameter", "pop.response.indicator"),
    *("irc.request.command", "irc.response.command", "telnet", "smtp", "ftp"),
    *("tftp.opcode", "tftp.source_file", "tftp.destination_file", "tftp.error.code"),
)
Row = dict[str, list[str]]


@cache
def rows(path: Path) -> list[Row]:
    """The values of FIELDS in each frame of the family, as tshark's columns have them."""
    condition = "smtp || ftp || imap || pop || irc || telnet || tftp"
    command = ["tshark", "-n", "-r", str(path), "-Y", condition, "-T", "fields", "-E", "separator=/t"]
    command += ["-E", "aggregator=,", "-o", "tcp.reassemble_out_of_order:TRUE"]
    command += [part for name in FIELDS for part in ("-e", name)]
    text = subprocess.run(command, capture_output=True, check=True).stdout.decode("utf-8", "replace")
    found = []
    for line in text.splitlines():
        columns = [[value for value in column.split(",") if value] for column in line.split("\t")]
        found.append(dict(zip(FIELDS, columns, strict=False)))
    return found


def values(path: Path, *fields: str) -> list[str]:
    return [value for row in rows(path) for field in fields for value in row.get(field, ())]


def told(events: list[Event], field: str) -> Counter[str]:
    found: Counter[str] = Counter()
    for event in events:
        value = get(event, field)
        found.update(
            str(item) for item in (value if isinstance(value, list) else [value]) if item is not None
        )
    return found


# tshark takes what comes before the greeting, and with the end of a message, for data; of a split line it sees halves.
BEYOND_TSHARK = {
    "smtp-decrypted": Counter({"QUIT": 2}),
    "smtp-moloch-bof": Counter({"HELO": 1, "MAIL": 1, "RCPT": 1, "QUIT": 1}),
    "smtp-subject-multi-nospace": Counter({"EHLO": 1, "MAIL": 1, "RCPT": 1}),
    "smtp-subject-utf8-q": Counter({"QUIT": 1}),
    "smtp-subject-windows": Counter({"EHLO": 1, "MAIL": 1, "RCPT": 1}),
}
LINES_OF_IRC = {"354": 5, "352": 1, "372": 1, "OE": -1}


def test_smtp_commands_mails_and_replies() -> None:
    """Every command that is told, every MAIL, every recipient, every refusal, every message with an id."""
    total = 0
    for path in paths():
        ours = of("smtp", path)
        sent = Counter(value.upper() for value in values(path, "smtp.req.command"))
        sent += BEYOND_TSHARK.get(path.stem, Counter())
        mails = [event for event in ours if event["event"]["action"] == "smtp_message"]
        assert len(mails) == sent["MAIL"], path
        recipients = sum(len(get(event, "netflight.smtp.recipients") or ()) for event in mails)
        assert recipients == sent["RCPT"], path
        for verb in ("MAIL", "RCPT", "DATA", "BDAT"):
            del sent[verb]
        cut = Counter(verb[:4] for verb in told(ours, "netflight.smtp.command").elements())
        assert cut == Counter(verb[:4] for verb in sent.elements()), (
            path
        )  # tshark has four letters of STARTTLS
        with_id = sum(bool(row.get("smtp") and row.get("imf.message_id")) for row in rows(path))
        assert sum("message_id" in event.get("email", {}) for event in mails) == with_id, path
        refusals = sum(code >= "400" for code in values(path, "smtp.response.code"))
        codes = told(ours, "netflight.smtp.code")
        refused = sum(number for code, number in codes.items() if code >= "400")
        assert refused + told(ours, "netflight.smtp.rcpt_refused").total() == refusals, path
        total += len(ours)
    assert total > 100


def arkime_sessions() -> Iterator[tuple[Path, dict[str, Any]]]:
    expected = json.loads((captures() / "arkime" / "expected.json").read_bytes())
    for path in paths():
        for session in expected.get(path.name, ()):
            if session.get("email") and 25 in (session["source"]["port"], session["destination"]["port"]):
                yield path, session


EMAIL = {
    "subject": ("email.subject",),
    "id": ("email.message_id",),
    "src": ("netflight.smtp.mail_from", "email.from.address"),
    "dst": ("netflight.smtp.rcpt_to", "netflight.smtp.rcpt_refused", "email.to.address"),
    "smtpHello": ("netflight.smtp.helo", "netflight.smtp.argument"),
    "filename": ("email.attachments.file.name",),
}
# Arkime keeps a space before the subject, cuts a long name, joins encoded words otherwise, and guesses a charset.
TOLD_OTHERWISE = {
    "smtp-moloch-bof.pcap": 2,
    "smtp-subject-multi-nospace.pcap": 1,
    "smtp-subject-windows.pcap": 1,
}


def test_arkime_s_mails() -> None:
    compared, misses = 0, set()
    for path, session in arkime_sessions():
        ours: dict[str, set[str]] = {}
        for event in of("smtp", path):
            if event["network"]["community_id"] != session["community_id"]:
                continue
            for name, fields in EMAIL.items():
                found = ours.setdefault(name, set())
                for field in fields:
                    found |= {value.lower() for value in told([event], field)}
                files = [item["file"].get("name", "") for item in get(event, "email.attachments") or ()]
                ours.setdefault("filename", set()).update(name.lower() for name in files)
        for name, wanted in session["email"].items():
            for value in wanted:
                compared += 1
                if name in EMAIL and not any(
                    value.lower() == said or value.lower()[:8000] == said[:8000]
                    for said in ours.get(name, ())
                ):
                    misses.add((path.name, name, value[:60]))
    assert compared > 75
    assert Counter(name for name, _, _ in misses) == TOLD_OTHERWISE


def test_ftp_commands_are_the_lines_of_clients() -> None:
    """tshark names the first command of a packet only: so they are counted in the bytes."""
    total = 0
    for path in paths():
        ours = of("ftp", path)
        of_clients = [row for row in rows(path) if row.get("ftp") and row.get("ftp.request.command")]
        lines = sum(bytes.fromhex(row["tcp.payload"][0]).count(b"\n") for row in of_clients)
        assert told(ours, "netflight.ftp.command").total() == lines, path
        codes = told(ours, "netflight.ftp.code") + told(ours, "netflight.ftp.preliminary_code")
        assert set(codes) == set(values(path, "ftp.response.code")), path
        ports = ("ftp.passive.port", "ftp.epsv.port", "ftp.active.port", "ftp.eprt.port")
        assert told(ours, "netflight.ftp.data.port") == Counter(values(path, *ports)), path
        total += lines
    assert total > 50


def test_imap_commands_meet_their_responses() -> None:
    total = 0
    for path in paths():
        ours = of("imap", path)
        tags = Counter(tag for tag in values(path, "imap.response_tag") if tag not in ("+", ")"))
        both = [e for e in ours if get(e, "netflight.imap.command") and get(e, "netflight.imap.status")]
        assert told(both, "netflight.imap.tag") == tags, path
        # tshark does not pair what follows a command with literals
        assert len(both) >= len(values(path, "imap.response_to")), path
        total += len(both)
    assert total > 15


def test_pop3_commands_and_replies() -> None:
    total = 0
    for path in paths():
        ours = of("pop3", path)
        sent = [verb for verb in values(path, "pop.request.command") if re.fullmatch("[A-Z]{3,4}", verb)]
        assert told(ours, "netflight.pop3.command") == Counter(sent), path
        indicators = Counter(values(path, "pop.response.indicator"))
        assert told(ours, "netflight.pop3.indicator") == indicators, path
        total += len(ours)
    assert total > 15


def test_irc_messages() -> None:
    total = 0
    for path in paths():
        said = values(path, "irc.request.command", "irc.response.command")
        commands = Counter(text.upper() for text in said if re.fullmatch(r"[A-Za-z]+|\d{3}", text))
        if path.stem == "IRC":
            commands.update(LINES_OF_IRC)
            commands = +commands
        assert told(of("irc", path), "netflight.irc.command") == commands, path
        total += commands.total()
    assert total > 150


def test_telnet_connections_and_tftp_requests() -> None:
    for path in paths():
        streams = {row["tcp.stream"][0] for row in rows(path) if row.get("telnet")}
        assert len(of("telnet", path)) == len(streams), path
        asked = [row for row in rows(path) if row.get("tftp.opcode", [])[:1] in (["1"], ["2"])]
        told_apart = {
            str((row["udp.stream"], row["tftp.source_file"], row["tftp.destination_file"])) for row in asked
        }
        assert len(of("tftp", path)) == len(told_apart), path  # one asks again
        errors = told(of("tftp", path), "netflight.tftp.error.code")
        assert errors == Counter(values(path, "tftp.error.code")), path


SECRETS = ("secretpassword", "M0d1c0nF14G", "capture", "barrymanilow", "guess-1", "passwd")


def test_no_event_has_a_secret() -> None:
    """Neither those of the public captures nor those of the samples, which tshark tells: as they are or in base64."""
    secrets = set(SECRETS)
    for path in paths():
        secrets |= set(values(path, "smtp.auth.password"))
        for row in rows(path):
            if row.get("ftp.request.command") == ["PASS"]:
                secrets |= set(row["ftp.request.arg"])
            if row.get("pop.request.command") == ["PASS"]:
                secrets |= set(row["pop.request.parameter"])
    assert len(secrets) > 8
    text = json.dumps([event for events in decoded().values() for event in events])
    assert [secret for secret in secrets if len(secret) > 4 and f'"{secret}"' in text] == []
    assert text.count("[redacted]") > 20
