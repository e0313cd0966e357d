"""Servers of the scenes of network services: SNMP, NetBIOS names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from samples.record.lab import wait_for

if TYPE_CHECKING:
    from samples.record.lab import Host

SNMPD_CONF = """\
agentaddress udp:161
sysName router1
sysDescr a router in a laboratory
sysContact ops@example.com
rocommunity public
rwcommunity w3st-wing
createUser watcher SHA "watch-the-watchers" AES "nobody-reads-this"
rouser watcher authpriv
createUser plain
rouser plain noauth
"""
SNMPTRAPD_CONF = "disableAuthorization yes\n"


def snmp(host: Host) -> None:
    """Snmpd with a community that reads, one that writes, and two users; its persistent state is the host's own."""
    conf = host.write("snmpd.conf", SNMPD_CONF)
    state = f"SNMP_PERSISTENT_DIR={host.folder}"
    host.start("env", state, "snmpd", "-f", "-Lo", "-C", "-c", str(conf), "-I", "-smux")
    wait_for(lambda: host.listening(161, "udp"), "snmpd")


def traps(host: Host) -> None:
    """snmptrapd, which takes every trap and answers informs."""
    conf = host.write("snmptrapd.conf", SNMPTRAPD_CONF)
    state = f"SNMP_PERSISTENT_DIR={host.folder}"
    host.start("env", state, "snmptrapd", "-f", "-Lo", "-C", "-c", str(conf), "udp:162")
    wait_for(lambda: host.listening(162, "udp"), "snmptrapd")


SMB_CONF = """\
[global]
netbios name = FILESERVER
workgroup = OFFICE
interfaces = eth0
bind interfaces only = yes
local master = no
nmbd bind explicit broadcast = no
pid directory = {folder}
lock directory = {folder}
state directory = {folder}
cache directory = {folder}
private dir = {folder}
ncalrpc dir = {folder}
log file = {folder}/nmbd.log
"""


def netbios(host: Host) -> None:
    """nmbd: the name FILESERVER in the group OFFICE."""
    conf = host.write("smb.conf", SMB_CONF.format(folder=host.folder))
    host.start("nmbd", "-F", "--no-process-group", "-s", str(conf))
    wait_for(lambda: host.listening(137, "udp"), "nmbd")
