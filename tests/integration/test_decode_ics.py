"""Industrial protocols in public captures and samples: the units in the events against tshark's columns."""

import shutil
import subprocess
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path
from typing import Any

import orjson
import pytest

from producers.decoders.tshark import PREFERENCES
from schemas.events import Event, get
from tests.captures import captures
from tests.decoding import everything

pytestmark = [
    pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed"),
]
SAMPLES = Path(__file__).resolve().parents[2] / "samples"
# Of each dataset: captures with its protocol, the display filter of its packets, the fields that each unit has once.
UNITS: dict[str, tuple[tuple[str, ...], str, tuple[str, ...]]] = {
    "modbus": (
        ("arkime/captures/modbus.pcap", "protocols/Modbus.pcap", "arkime/captures/arkime_synthetic.pcap"),
        "modbus",
        ("modbus.func_code",),
    ),
    "dnp3": (
        ("protocols/DNP3.pcap", "arkime/captures/dnp3_synthetic.pcap"),
        "dnp3.al.func || dnp3.ctl.prifunc in {0, 1, 2, 9} || dnp3.ctl.secfunc",
        ("dnp3.al.func", "dnp3.ctl.prifunc", "dnp3.ctl.secfunc"),
    ),
    "s7comm": (
        ("arkime/captures/s7comm_synthetic.pcap", "arkime/captures/arkime_synthetic.pcap", "s7comm"),
        "s7comm",
        ("s7comm.header.rosctr",),
    ),
    "enip": (("arkime/captures/arkime_synthetic.pcap", "enip"), "enip", ("enip.command",)),
    "opcua": (
        ("protocols/OPCUA-Binary.pcap", "arkime/captures/opcua_synthetic.pcap"),
        "opcua",
        ("opcua.transport.type",),
    ),
    "bacnet": (
        (
            "protocols/BACnet_device_control.pcap",
            "arkime/captures/bacnet-stack-services.pcap",
            "arkime/captures/arkime_synthetic.pcap",
        ),
        "bacapp",
        ("bacapp.type",),
    ),
    "iec104": (
        ("iec104",),
        "iec60870_asdu || iec60870_104.utype",
        ("iec60870_asdu.typeid", "iec60870_104.utype"),
    ),
    "profinet": (
        ("protocols/PROFINET.pcap",),
        "pn_dcp || pn_io_device || pn_io_controller",
        ("pn_dcp.service_type", "pn_io.opnum"),
    ),
}
USER_DATA = frozenset({"3", "4"})  # DNP3's link functions that carry messages, which are counted as such
VALUES = (
    ("modbus", "netflight.modbus.function_code", "modbus.func_code"),
    ("modbus", "netflight.modbus.unit_id", "mbtcp.unit_id"),
    ("dnp3", "netflight.dnp3.source", "dnp3.src"),
    ("dnp3", "netflight.dnp3.sequence", "dnp3.al.seq"),
    ("s7comm", "netflight.s7comm.pdu_reference", "s7comm.header.pduref"),
    ("enip", "netflight.enip.identity.product_name", "enip.lir.name"),
    ("opcua", "netflight.opcua.request_id", "opcua.security.rqid"),
    ("opcua", "user.name", "opcua.UserName"),
    ("bacnet", "netflight.bacnet.invoke_id", "bacapp.invoke_id"),
    ("iec104", "netflight.iec104.common_address", "iec60870_asdu.addr"),
    ("profinet", "netflight.profinet.transaction_id", "pn_dcp.xid"),
)
CASES = [(name, capture) for name, (paths, _, _) in UNITS.items() for capture in paths]


def path(capture: str) -> Path:
    return captures() / capture if "/" in capture else SAMPLES / capture / "capture.pcap"


@cache
def decoded(capture: str) -> dict[str, list[Event]]:
    """The events of a capture by dataset."""
    events: dict[str, list[Event]] = defaultdict(list)
    for event in everything()[str(path(capture))]:
        events[event["event"]["dataset"].partition(".")[2]].append(event)
    return events


# Units of segments that come again, which this tshark dissects twice; they are left out before ours.
AGAIN = {("dnp3", "protocols/DNP3.pcap"): 3, ("enip", "enip"): 1}


@cache
def columns(capture: str, shown: str, *fields: str) -> list[list[list[str]]]:
    """What tshark's columns say of the packets that a filter shows."""
    command = ["tshark", "-n", "-r", str(path(capture)), "-Y", shown, "-T", "fields", "-E", "separator=|"]
    command += (
        ["-d", "tcp.port==20001,dnp3"] if capture == "protocols/DNP3.pcap" else []
    )  # which is ours to find
    command += [word for name, value in PREFERENCES.items() for word in ("-o", f"{name}:{value}")]
    command += [word for field in fields for word in ("-e", field)]
    lines = subprocess.run(command, capture_output=True, check=True, text=True).stdout.splitlines()
    return [[column.split(",") if column else [] for column in line.split("|")] for line in lines]


def units(event: Event) -> int:
    """How many units are in an event: two where both sides have said something."""
    ends = [get(event, f"{end}.packets") for end in ("source", "destination")]
    if ends == [None, None]:
        frames = event["netflight"]["frame"]
        return 1 + (frames["first"] != frames["last"])
    return sum(1 for packets in ends if packets)


@pytest.mark.parametrize(("name", "capture"), CASES)
def test_events_have_the_units_that_tshark_shows(name: str, capture: str) -> None:
    _, shown, fields = UNITS[name]
    rows = columns(capture, shown, *fields)
    counted = Counter(
        fields[place]
        for row in rows
        for place, values in enumerate(row)
        for value in values
        if not (fields[place] == "dnp3.ctl.prifunc" and value in USER_DATA)
    )
    events = decoded(capture)[name]
    assert sum(map(units, events)) + AGAIN.get((name, capture), 0) == counted.total() > 0


@pytest.mark.parametrize(("name", "field", "column"), VALUES)
def test_values_are_those_of_tsharks_columns(name: str, field: str, column: str) -> None:
    captures_of, shown, _ = UNITS[name]
    compared = 0
    for capture in captures_of:
        told: dict[int, Any] = {}
        for frames, values in columns(capture, shown, "frame.number", column):
            told[int(frames[0])] = values
        for event in decoded(capture)[name]:
            value = get(event, field)
            if value is not None:
                frames = event["netflight"]["frame"]
                assert str(value) in told[frames["first"]] + told[frames["last"]], event["netflight"]
                compared += 1
    assert compared > 0


def test_no_password_is_in_an_event() -> None:
    for capture, secret in (
        ("protocols/OPCUA-Binary.pcap", "password"),
        ("arkime/captures/bacnet-stack-services.pcap", "wireshark"),
    ):
        for events in decoded(capture).values():
            assert [event for event in events if f'"{secret}"' in orjson.dumps(event).decode()] == []
