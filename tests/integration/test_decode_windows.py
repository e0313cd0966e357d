"""SMB, DCE/RPC, NTLM, Kerberos, LDAP, RDP and RFB in every capture that has them, against tshark's own columns.

tshark is asked to put TCP segments in order, as the pool asks it: what comes after a hole in a connection is not
dissected by either.
"""

import shutil
import subprocess
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from schemas.events import Event, get
from schemas.model import datasets
from tests.captures import captures
from tests.decoding import everything

pytestmark = [
    pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed"),
]
ROOT = Path(__file__).resolve().parents[2]
PUBLIC = (
    *("arkime/captures/arkime_synthetic.pcap", "arkime/captures/dcerpc_synthetic.pcap"),
    *(
        "arkime/captures/krb5-tcp.pcap",
        "arkime/captures/krb5-udp.pcap",
        "arkime/captures/ldap-and-search.pcap",
    ),
    *("arkime/captures/ntlm_synthetic.pcap", "arkime/captures/smb-smb1-ascii.pcap"),
    *("arkime/captures/smb-smbclient.pcap", "arkime/captures/smbtorture-ntlmssp.pcap"),
    *("arkime/captures/smbtorture-ntlmssp-moloch-crash.pcap", "ja4/captures/latest.pcapng"),
    *("protocols/DCERPC.pcap", "protocols/HARTIP.pcap", "protocols/LDAP_KRB5.pcap", "protocols/NTLM.pcap"),
    *("protocols/Netlogon.pcap", "protocols/PROFINET.pcap", "protocols/Syslog.pcap", "protocols/TLS.pcap"),
    "protocols/Telnet.pcap",
)
SAMPLES = ("krb5", "ldap", "rdp", "rfb", "smb")
COLUMNS = (
    *("frame.number", "frame.protocols", "tcp.stream", "smb2.flags.response", "smb2.cmd", "smb2.nt_status"),
    *("smb.flags.response", "smb.nt_status", "dcerpc.pkt_type", "dcerpc.opnum"),
    *("ntlmssp.messagetype", "ntlmssp.auth.username", "kerberos.msg_type", "kerberos.error_code"),
    *("kerberos.CNameString", "ldap.protocolOp", "ldap.resultCode", "rdp.rt_cookie", "vnc.server_proto_ver"),
    *("vnc.client_proto_ver", "vnc.desktop_name", "smb2.filename"),
)
Row = dict[str, list[str]]


@cache
def paths() -> tuple[str, ...]:
    public = [str(captures() / name) for name in PUBLIC]
    return (*public, *(str(ROOT / "samples" / name / "capture.pcap") for name in SAMPLES))


@cache
def rows() -> dict[str, list[Row]]:
    """Every packet of these protocols, by capture: the values of each column."""
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(paths(), pool.map(_rows, paths()), strict=True))


def _rows(path: str) -> list[Row]:
    asked = [part for name in COLUMNS for part in ("-e", name)]
    wanted = "smb || smb2 || dcerpc || ntlmssp || kerberos || ldap || rdp || vnc"
    argv = [
        "tshark",
        "-n",
        "-r",
        path,
        "-o",
        # A segment is lost in one of them, and this tshark would wait for it.
        f"tcp.reassemble_out_of_order:{'FALSE' if path.endswith('/DCERPC.pcap') else 'TRUE'}",
        "-Y",
        wanted,
        "-T",
        "fields",
    ]
    done = subprocess.run(
        [*argv, "-E", "occurrence=a", "-E", "aggregator=\x1f", *asked],
        capture_output=True,
        text=True,
        errors="replace",
        check=True,
    )
    lines = (line.split("\t") for line in done.stdout.splitlines())
    return [
        {name: cell.split("\x1f") if cell else [] for name, cell in zip(COLUMNS, cells, strict=True)}
        for cells in lines
    ]


def events() -> dict[str, list[Event]]:
    told = everything()
    return {path: told[path] for path in paths()}


def of(dataset: str, path: str) -> list[Event]:
    return [event for event in events()[path] if event["event"]["dataset"] == f"network_traffic.{dataset}"]


def told(dataset: str, path: str, field: str) -> Counter[Any]:
    """The values of a field in the events of a dataset."""
    return Counter(value for event in of(dataset, path) if (value := get(event, field)) is not None)


def values(path: str, name: str) -> list[str]:
    return [value for row in rows()[path] for value in row[name]]


# Responses whose request is not in the capture are events, too.
ORPHANS = {
    ("protocols/DCERPC.pcap", "smb"): 1,  # it begins within a session setup
    ("arkime/captures/arkime_synthetic.pcap", "ldap"): 1,  # a response to a bind, alone on its connection
    ("arkime/captures/dcerpc_synthetic.pcap", "dcerpc"): 1,  # a bind is refused that was accepted before
}


# Who logs in to SMTP, IMAP and POP3 with NTLM in ntlm_synthetic.pcap: tshark shows only the text that it is in.
MAIL_LOGINS = ("jack", "kate", "liam")


def _seen(path: str, name: str) -> list[str]:
    """The values of a column in packets of protocols that some dataset asks for: NTLM stands inside of others."""
    asked = {
        protocol for dataset in datasets().values() if dataset.tshark for protocol in dataset.tshark.protocols
    }
    return [
        value
        for row in rows()[path]
        if (asked - {"ntlmssp"}) & set(row["frame.protocols"][0].split(":"))
        for value in row[name]
    ]


def _orphans(path: str, dataset: str) -> int:
    return sum(
        number for (name, of_what), number in ORPHANS.items() if of_what == dataset and path.endswith(name)
    )


@pytest.fixture(params=range(len(PUBLIC) + len(SAMPLES)), ids=[*PUBLIC, *SAMPLES])
def path(request: pytest.FixtureRequest) -> str:
    return paths()[request.param]


class TestEvery:
    def test_smb_requests(self, path: str) -> None:
        requests = [*values(path, "smb2.flags.response"), *values(path, "smb.flags.response")]
        asked = sum(value in ("0", "False") for value in requests)
        assert len(of("smb", path)) == asked + _orphans(path, "smb")

    def test_smb_statuses(self, path: str) -> None:
        codes = Counter(f"0x{int(code, 0):08x}" for code in values(path, "smb2.nt_status"))
        del codes["0x00000103"]  # pending
        second = [event for event in of("smb", path) if get(event, "netflight.smb.status_code")]
        answers = [row for row in rows()[path] if row["smb.flags.response"] in (["1"], ["True"])]
        codes += Counter(f"0x{int(code, 0):08x}" for row in answers for code in row["smb.nt_status"])
        assert Counter(get(event, "netflight.smb.status_code") for event in second) == codes

    def test_dcerpc_requests_and_operations(self, path: str) -> None:
        kinds = [kind for kind in values(path, "dcerpc.pkt_type") if kind in ("0", "11", "14", "18", "19")]
        assert len(of("dcerpc", path)) == len(kinds) + _orphans(path, "dcerpc")
        calls = [row for row in rows()[path] if row["dcerpc.pkt_type"] == ["0"]]
        told_of = [e for e in of("dcerpc", path) if get(e, "netflight.dcerpc.type") == "call"]
        numbers = Counter(get(e, "netflight.dcerpc.opnum") for e in told_of)
        assert numbers == Counter(int(row["dcerpc.opnum"][0]) for row in calls)

    def test_ntlm_users(self, path: str) -> None:
        logins = MAIL_LOGINS if path.endswith("ntlm_synthetic.pcap") else ()
        handshakes = _seen(path, "ntlmssp.messagetype").count("0x00000003") + len(logins)
        assert len([e for e in of("ntlm", path) if get(e, "netflight.ntlm.version")]) == handshakes
        users = Counter(name for name in _seen(path, "ntlmssp.auth.username") if name != "NULL")
        assert told("ntlm", path, "user.name") == users + Counter(logins)

    def test_krb5_requests_and_errors(self, path: str) -> None:
        first = [row["kerberos.msg_type"][0] for row in rows()[path] if row["kerberos.msg_type"]]
        assert len(of("krb5", path)) == sum(kind in ("10", "12", "14") for kind in first)
        assert told("krb5", path, "error.code") == Counter(values(path, "kerberos.error_code"))

    def test_ldap_requests_and_results(self, path: str) -> None:
        asked = sum(int(op) in {0, 2, 3, 6, 8, 10, 12, 14, 16, 23} for op in values(path, "ldap.protocolOp"))
        assert len(of("ldap", path)) == asked + _orphans(path, "ldap")
        assert told("ldap", path, "netflight.ldap.result") == Counter(
            map(int, values(path, "ldap.resultCode"))
        )

    def test_rdp_cookies(self, path: str) -> None:
        assert told("rdp", path, "netflight.rdp.cookie") == Counter(values(path, "rdp.rt_cookie"))

    def test_rfb_versions_and_desktops(self, path: str) -> None:
        versions = ("vnc.server_proto_ver", "vnc.client_proto_ver")
        streams = {row["tcp.stream"][0] for row in rows()[path] if any(row[name] for name in versions)}
        assert len(of("rfb", path)) == len(streams)
        assert told("rfb", path, "netflight.rfb.desktop.name") == Counter(values(path, "vnc.desktop_name"))


def test_files_that_are_opened() -> None:
    asked: Counter[str] = Counter()
    opened: Counter[str] = Counter()
    for path in paths():
        for row in rows()[path]:
            if row["smb2.cmd"] == ["5"] and row["smb2.flags.response"] in (["0"], ["False"]):
                asked.update(name for name in row["smb2.filename"] if name)
        opened.update(
            event["file"]["path"]
            for event in of("smb", path)
            if get(event, "netflight.smb.command") == "CREATE" and get(event, "file.path")
        )
    assert sum(asked.values()) > 20
    assert opened == asked


def test_default_policy_told_it_all() -> None:
    """Enough of each dataset that the comparisons above compare something."""
    counts = Counter(event["event"]["dataset"] for path in paths() for event in events()[path])
    least = {"smb": 550, "dcerpc": 200, "ntlm": 40, "krb5": 15, "ldap": 40, "rdp": 3, "rfb": 3}
    assert {name: counts[f"network_traffic.{name}"] >= least[name] for name in least} == dict.fromkeys(
        least, True
    )
