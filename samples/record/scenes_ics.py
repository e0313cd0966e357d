"""Scenes of industrial protocols: a control centre and a station, an engineer's computer and a PLC."""

from __future__ import annotations

from typing import TYPE_CHECKING

from samples.record import servers_ics
from samples.record.case import Case
from samples.record.lab import Tap

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from samples.record.lab import Lab

IEC104 = {"event.dataset": "network_traffic.iec104"}
ENIP = {"event.dataset": "network_traffic.enip"}
S7COMM = {"event.dataset": "network_traffic.s7comm"}


def iec104(lab: Lab, out: Path) -> Case:
    """A control centre interrogates a station, reads, switches, sets a value that is refused; the station reports."""
    station = lab.host("station", "192.0.2.10/24")
    centre = lab.host("centre", "192.0.2.101/24")
    with Tap(lab, out):
        servers_ics.iec104(station)
        centre.run(servers_ics.PYTHON, servers_ics.program(centre, "centre.py", servers_ics.IEC104_CENTRE))
    return Case(
        title="IEC 60870-5-104: interrogation, clock, a read, a switch, a set-point refused, spontaneous values",
        recorded="c104 2.2.1 from PyPI (lib60870-C) on both sides: a station with five points, and a control centre.",
        packages=("python3",),
        counted=("iec104",),
        contains=[
            {**IEC104, "netflight.iec104.type": "C_SC_NA_1", "netflight.ics.operation": "control"},
            {**IEC104, "netflight.iec104.type": "C_SE_NC_1", "network_traffic.status": "Error"},
        ],
    )


def enip(lab: Lab, out: Path) -> Case:
    """A client lists identities and services, reads and writes tags, asks for a tag that is not there."""
    plc = lab.host("plc", "192.0.2.10/24")
    client = lab.host("client1", "192.0.2.101/24")
    cpppo = (servers_ics.PYTHON, "-m", "cpppo.server.enip.client", "-a", "192.0.2.10:44818", "--print")
    with Tap(lab, out):
        servers_ics.enip(plc)
        client.run(*cpppo, "--list-identity", "SPEED[0-3]", ok=None)
        client.run(*cpppo, "SPEED[1]=(DINT)42", "LEVEL[0-1]=(REAL)1.5,2.5", "SPEED[0-3]", "LEVEL", ok=None)
        client.run(*cpppo, "--multiple", "500", "SPEED[2]=(DINT)7", "SPEED[0-3]", "@1/1/7", ok=None)
        client.run(*cpppo, "NOTHING", ok=None)
    return Case(
        title="EtherNet/IP: identity, tags read and written, several services in one packet, a tag that is not there",
        recorded="cpppo 5.2.5 from PyPI on both sides: a controller with three tags, and its client.",
        packages=("python3",),
        counted=("enip",),
        contains=[{**ENIP, "netflight.ics.operation": "write"}],
    )


def s7comm(lab: Lab, out: Path) -> Case:
    """An engineer's computer reads and writes a PLC, asks what it is, stops it and starts it."""
    plc = lab.host("plc", "192.0.2.10/24")
    engineer = lab.host("engineer", "192.0.2.101/24")
    with Tap(lab, out):
        servers_ics.s7comm(plc)
        engineer.run(servers_ics.PYTHON, servers_ics.program(engineer, "work.py", servers_ics.S7_ENGINEER))
    return Case(
        title="S7: data blocks and flags read and written, a block that is not there, what the PLC is, stop and start",
        recorded="python-snap7 3.3.0 from PyPI on both sides: a PLC with a data block and flags, and its client.",
        packages=("python3",),
        counted=("s7comm",),
        contains=[{**S7COMM, "netflight.s7comm.function": "PLC Stop", "netflight.ics.operation": "control"}],
    )


SCENES: dict[str, Callable[[Lab, Path], Case]] = {"iec104": iec104, "enip": enip, "s7comm": s7comm}
