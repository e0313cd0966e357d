"""Real servers and clients of industrial protocols, from PyPI: small programs that a Python with the packages runs.

`NETFLIGHT_RECORD_PYTHON` names that Python: `pip install c104 cpppo python-snap7 asyncua` in an environment of its own.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from samples.record.lab import wait_for

if TYPE_CHECKING:
    from samples.record.lab import Host

PYTHON = os.environ.get("NETFLIGHT_RECORD_PYTHON", "python3")

IEC104_STATION = """\
import time
import c104

server = c104.Server(ip="192.0.2.10", port=2404)
station = server.add_station(common_address=47)
voltage = station.add_point(io_address=11, type=c104.Type.M_ME_NC_1)
breaker = station.add_point(io_address=12, type=c104.Type.M_SP_TB_1)
tap = station.add_point(io_address=13, type=c104.Type.M_ST_NA_1)
voltage.value = 110.5
station.add_point(io_address=16, type=c104.Type.C_SC_NA_1)
setpoint = station.add_point(io_address=17, type=c104.Type.C_SE_NC_1)


def refuse(point: c104.Point, previous_info: c104.Information, message: c104.IncomingMessage) -> c104.ResponseState:
    return c104.ResponseState.FAILURE


setpoint.on_receive(callable=refuse)
server.start()
while not server.has_active_connections:
    time.sleep(0.1)
time.sleep(3)
voltage.value = 111.25
voltage.transmit(cause=c104.Cot.SPONTANEOUS)
breaker.value = True
breaker.transmit(cause=c104.Cot.SPONTANEOUS)
time.sleep(60)
"""

IEC104_CENTRE = """\
import time
import c104

client = c104.Client()
connection = client.add_connection(ip="192.0.2.10", port=2404, init=c104.Init.NONE)
station = connection.add_station(common_address=47)
voltage = station.add_point(io_address=11, type=c104.Type.M_ME_NC_1)
breaker = station.add_point(io_address=16, type=c104.Type.C_SC_NA_1)
setpoint = station.add_point(io_address=17, type=c104.Type.C_SE_NC_1)
client.start()
while not connection.is_connected:
    time.sleep(0.1)
connection.unmute()
while connection.is_muted:
    time.sleep(0.1)
time.sleep(0.5)
connection.interrogation(common_address=47, cause=c104.Cot.ACTIVATION, qualifier=c104.Qoi.STATION)
connection.clock_sync(common_address=47)
voltage.read()
breaker.value = True
breaker.transmit(cause=c104.Cot.ACTIVATION)
setpoint.value = 42.5
setpoint.transmit(cause=c104.Cot.ACTIVATION)
connection.test(common_address=47)
connection.interrogation(common_address=99, cause=c104.Cot.ACTIVATION, qualifier=c104.Qoi.STATION)
time.sleep(4)
connection.mute()
time.sleep(0.5)
client.stop()
"""

S7_PLC = """\
import time
from snap7.server import Server
from snap7.type import SrvArea

server = Server()
server.register_area(SrvArea.DB, 1, bytearray(range(64)))
server.register_area(SrvArea.MK, 0, bytearray(64))
server.start(tcp_port=102)
time.sleep(120)
"""

S7_ENGINEER = """\
import snap7
from snap7.type import Area, Block

client = snap7.Client()
client.connect("192.0.2.10", 0, 1, 102)


def attempt(what, *arguments):
    try:
        print(what.__name__, what(*arguments), flush=True)
    except Exception as error:
        print(what.__name__, error, flush=True)


attempt(client.db_read, 1, 4, 8)
attempt(client.db_write, 1, 10, bytearray(b"netflight"))
attempt(client.read_area, Area.MK, 0, 2, 4)
attempt(client.db_read, 9, 0, 4)
attempt(client.get_cpu_info)
attempt(client.list_blocks)
attempt(client.get_plc_datetime)
attempt(client.plc_stop)
attempt(client.plc_hot_start)
attempt(client.full_upload, Block.DB, 1)
client.disconnect()
"""


def program(host: Host, name: str, text: str) -> str:
    """Write a Python program into the host's folder; return its path."""
    return str(host.write(name, text))


def iec104(host: Host) -> None:
    """Run a controlled station on 192.0.2.10 with five points below the common address 47."""
    host.start(PYTHON, program(host, "station.py", IEC104_STATION))
    wait_for(lambda: host.listening(2404), "the station")


def enip(host: Host) -> None:
    """Run cpppo's controller with three tags."""
    host.start(
        PYTHON,
        "-m",
        "cpppo.server.enip",
        "-a",
        "0.0.0.0:44818",
        "SPEED=DINT[8]",
        "LEVEL=REAL[4]",
        "NAME=SSTRING",
    )
    wait_for(lambda: host.listening(44818), "the controller")


def s7comm(host: Host) -> None:
    """Run a PLC of python-snap7 with a data block and flags."""
    host.start(PYTHON, program(host, "plc.py", S7_PLC))
    wait_for(lambda: host.listening(102), "the PLC")
