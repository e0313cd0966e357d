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


PEER = """\
import sys, time
import libtorrent as lt

role, torrent, folder, other = sys.argv[1:5]
session = lt.session({
    "listen_interfaces": "0.0.0.0:6881", "enable_lsd": False, "enable_upnp": False, "enable_natpmp": False,
    "enable_dht": True, "dht_bootstrap_nodes": "", "dht_restrict_routing_ips": False, "dht_restrict_search_ips": False,
    "dht_ignore_dark_internet": False, "allow_multiple_connections_per_ip": True,
    "enable_outgoing_utp": False, "enable_incoming_utp": False, "in_enc_policy": 2, "out_enc_policy": 2,
    "alert_mask": 0,
})
session.add_dht_node((other, 6881))
wanted = lt.add_torrent_params()
wanted.ti, wanted.save_path = lt.torrent_info(torrent), folder
handle = session.add_torrent(wanted)
if role == "seed":
    print("seeding", flush=True)
    time.sleep(600)
else:
    handle.connect_peer((other, 6881))
    end = time.monotonic() + 20
    while not handle.status().is_seeding and time.monotonic() < end:
        time.sleep(0.2)
    session.dht_get_peers(handle.info_hash())
    time.sleep(3)
    sys.exit(0 if handle.status().is_seeding else 1)
"""

TORRENT = """\
import sys
import libtorrent as lt

files = lt.file_storage()
lt.add_files(files, sys.argv[1])
made = lt.create_torrent(files, 16384, lt.create_torrent.v1_only)
lt.set_piece_hashes(made, sys.argv[2])
open(sys.argv[3], "wb").write(lt.bencode(made.generate()))
"""


def torrent(host: Host, other: Host) -> tuple[str, str]:
    """A torrent of one small file, seeded by a host for the other; the script of a peer and the torrent."""
    shared = host.write("shared/notes.txt", "left to whom it may concern\n" * 40)
    made = host.folder / "notes.torrent"
    host.run("python3", str(host.write("make.py", TORRENT)), str(shared), str(shared.parent), str(made))
    peer = host.write("peer.py", PEER)
    address = other.run("hostname", "-I").split()[0]
    host.start("python3", str(peer), "seed", str(made), str(shared.parent), address)
    wait_for(lambda: host.listening(6881), "libtorrent")
    return str(peer), str(made)
