"""Attacks on Windows in public captures: the fields that show each of them are in its events."""

import shutil
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest

from schemas.events import get
from tests.captures import captures
from tests.decoding import Decoded, check, decode

pytestmark = pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")

RPC, SMB, KRB5, NTLM, LDAP = (
    "netflight.dcerpc.",
    "netflight.smb.",
    "netflight.krb5.",
    "netflight.ntlm.",
    "netflight.ldap.",
)
ARGUMENT, TRANSACTION = f"{RPC}argument.", f"{SMB}transaction."
ZEROS = "0000000000000000"
SETTINGS_INI = [r"\\192.168.0.15\test\Settings.ini"]


def zerologon(computer: str, **more: str) -> dict[str, Any]:
    """What an event of a client credential of zeros has."""
    told = {
        "method": "NetrServerAuthenticate3",
        "argument.client_credential": ZEROS,
        "argument.computer": computer,
    }
    return {f"{RPC}{name}": value for name, value in (told | more).items()}


CREDENTIAL_TAKEN = {"status": "STATUS_SUCCESS"}
DOUBLE_PULSAR = {f"{SMB}command": "TRANSACTION2", f"{SMB}status": "STATUS_NOT_IMPLEMENTED"}
ETERNAL_BLUE = [
    {f"{SMB}command": "NT_TRANSACT", f"{TRANSACTION}data_bytes": 66512},
    {f"{SMB}command": "TRANSACTION2_SECONDARY", f"{TRANSACTION}begun_as": "NT_TRANSACT"},
]
ETERNAL_ROMANCE = {
    f"{SMB}command": "TRANSACTION",
    f"{TRANSACTION}data_bytes": 21504,
    f"{TRANSACTION}timeout": 1,
}

# By capture: events with these values are among its events.
SHOWN: dict[str, list[dict[str, Any]]] = {
    "CVE-2020-1472_exploit_win2016.pcap": [
        zerologon("BAS-AD-02", status="STATUS_ACCESS_DENIED"),
        zerologon("BAS-AD-02", **CREDENTIAL_TAKEN),
        {f"{RPC}method": "NetrServerReqChallenge", f"{ARGUMENT}client_challenge": ZEROS},
        {f"{RPC}method": "NetrServerPasswordSet2", f"{ARGUMENT}server": r"\\BAS-AD-02"},
    ],
    "CVE-2020-1472_exploit_win2019.pcap": [
        zerologon("BAS-AD-01", **CREDENTIAL_TAKEN),
        {f"{RPC}method": "NetrServerPasswordSet2"},
    ],
    "CVE-2020-1472_test_win2016.pcap": [zerologon("BAS-AD-02", **CREDENTIAL_TAKEN)],
    "CVE-2020-1472_test_win2019.pcap": [zerologon("BAS-AD-01", **CREDENTIAL_TAKEN)],
    "UnPatchedDCOpenFileRaw.pcapng": [
        {
            f"{RPC}method": "EfsRpcOpenFileRaw",
            f"{RPC}endpoint": r"\pipe\lsass",
            f"{ARGUMENT}path": SETTINGS_INI,
            f"{RPC}status": "WERR_BAD_NETPATH",
        },
        {"user.name": "ADDS-2-2019$", "destination.ip": "192.168.0.15"},
        {f"{RPC}method": "DRSGetNCChanges"},
        {
            f"{KRB5}request_type": "AP",
            f"{KRB5}carrier": "dcerpc",
            f"{KRB5}ticket.etype": "aes256-cts-hmac-sha1-96",
        },
    ],
    "PatchedDCUnauthenticatedTry.pcapng": [
        {
            f"{RPC}method": method,
            f"{ARGUMENT}path": SETTINGS_INI,
            f"{RPC}status": "WERR_ACCESS_DENIED",
        }
        for method in ("EfsRpcOpenFileRaw", "EfsRpcEncryptFileSrv")
    ],
    # SMB3 is encrypted in these: what shows is the domain controller that logs in at the attacker's machine.
    "PatchedDCAuthenticatedTryWithAllVulnerableRPCFunctions.pcapng": [
        {"user.name": "ADDS-2019$", "destination.ip": "192.168.0.15", f"{NTLM}target": "SMB3"}
    ],
    "PatchedDCAuthenticatedTryWithRpcEncryptFileSrv.pcapng": [
        {"user.name": "ADDS-2019$", "destination.ip": "192.168.0.15"}
    ],
    "PatchedDCAuthenticatedTryWithRpcOpenFileRawUsingEFSRPCNamePipeInsteadOfLSARPC.pcapng": [
        {"user.name": "ADDS-2019$", "destination.ip": "192.168.0.15"}
    ],
    # Arguments are sealed in these.
    "PrintNightmare.pcap": [{f"{RPC}method": "RpcAddPrinterDriverEx", f"{RPC}auth.level": "privacy"}],
    "packetcapture_1.pcap": [
        {f"{RPC}method": "RpcAddPrinterDriverEx", f"{RPC}status": "nca_s_fault_access_denied"}
    ],
    "packetcapture_2.pcap": [{f"{RPC}method": "RpcAddPrinterDriverEx"}],
    "cve-2021-1675.pcap": [{f"{SMB}command": "CREATE", "file.path": "shell-cmd.dll"}],
    "cve-2022-26809-4.pcap": [
        {
            f"{RPC}method": "EfsRpcDecryptFileSrv",
            f"{ARGUMENT}path": [r"\\192.168.56.104\share\1.txt"],
            f"{RPC}endpoint": r"\pipe\lsass",
        }
    ],
    "successful.pcap": [{f"{RPC}interface": "srvsvc", f"{RPC}opnum": 74, "event.outcome": "success"}],
    "unsuccessful.pcap": [
        {f"{RPC}interface": "srvsvc", f"{RPC}opnum": 74, f"{RPC}status": "nca_s_fault_access_denied"}
    ],
    "eternalblue-success-unpatched-win7.pcap": [
        *ETERNAL_BLUE,
        DOUBLE_PULSAR | {f"{SMB}message_id": "82"},
    ],
    "metasploit-ms017-010-win7x64.pcap": ETERNAL_BLUE,
    "wannacry.pcap": [*ETERNAL_BLUE, DOUBLE_PULSAR | {f"{SMB}message_id": "82"}],
    "doublepulsar-backdoor-connect-win7.pcap": [
        DOUBLE_PULSAR | {f"{SMB}message_id": "81", f"{SMB}signature": "794b5da400000000"},
        {f"{SMB}subcommand": "SESSION_SETUP", f"{SMB}message_id": "65", f"{TRANSACTION}timeout": 15581047},
    ],
    "eternalchampion.pcap": [
        {f"{SMB}command": "NT_TRANSACT", f"{SMB}subcommand": "RENAME", f"{TRANSACTION}data_bytes": 4304}
    ],
    "eternalromance-doublepulsar-meterpreter.pcap": [
        ETERNAL_ROMANCE,
        DOUBLE_PULSAR | {f"{SMB}message_id": "82"},
    ],
    "eternalromance-success-2008r2.pcap": [ETERNAL_ROMANCE, {f"{SMB}pipe": "lsarpc"}],
    "smb_mimikatz_copy_to_host.pcap": [
        {
            f"{SMB}share": r"\\admin-pc\c$",
            "file.path": r"temp\mimikatz.exe",
            f"{SMB}command": "READ",
        },
        {
            f"{KRB5}request_type": "AP",
            f"{KRB5}mechanism": "SPNEGO",
            f"{KRB5}carrier": "smb",
            f"{KRB5}service": "cifs/admin-pc.contoso.local",
            f"{KRB5}ticket.realm": "CONTOSO.LOCAL",
        },
    ],
    "esteemedaudit-failed-XPSP2.pcap": [
        {"netflight.rdp.client.build": 6001, "netflight.rdp.channels": ["rdpdr"]}
    ],
    "log4j-attack.pcap": [
        {
            f"{LDAP}found.values": [
                *("javaClassName=foo", "javaCodeBase=http://203.0.113.217:8000/"),
                *("objectClass=javaNamingReference", "javaFactory=Exploit"),
            ]
        }
    ],
}


@cache
def decoded(name: str) -> Decoded:
    return decode([captures() / "attacks" / name])


def cases() -> Iterator[tuple[str, dict[str, Any]]]:
    return ((name, wanted) for name, each in SHOWN.items() for wanted in each)


@pytest.mark.parametrize(("name", "wanted"), cases())
def test_an_attack_shows_in_the_events(name: str, wanted: dict[str, Any]) -> None:
    events = decoded(name).events
    assert any(all(get(event, field) == value for field, value in wanted.items()) for event in events)


@pytest.mark.parametrize("name", SHOWN)
def test_its_events_are_as_the_schemas_say(name: str) -> None:
    assert decoded(name).outcome.errors == []
    assert decoded(name).outcome.telemetry.labels("undecoded") == {}
    check(decoded(name))
