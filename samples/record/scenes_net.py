"""Scenes of network services: SNMP, NetBIOS names."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from samples.record import servers_net
from samples.record.case import Case
from samples.record.lab import Lab, Tap

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SYSTEM = "1.3.6.1.2.1.1"
LINK_DOWN = "1.3.6.1.6.3.1.1.5.3"


def snmp(lab: Lab, out: Path) -> Case:
    """Reading, walking, writing and being refused, in all versions; traps and an inform."""
    agent = lab.host("router1", "192.0.2.1/24")
    manager = lab.host("manager", "192.0.2.20/24")
    servers_net.snmp(agent)
    servers_net.traps(manager)
    common = ("-r", "0", "-t", "2", "-m", "", "-On")
    state = ("env", f"SNMP_PERSISTENT_DIR={manager.folder}/asking")
    secure = ("-v3", "-u", "watcher", "-l", "authPriv", "-a", "SHA", "-x", "AES")
    keys = ("-A", "watch-the-watchers", "-X", "nobody-reads-this")
    with Tap(lab, out):
        for program, *words in (
            ("snmpget", "-v1", "-c", "public", f"{SYSTEM}.5.0", f"{SYSTEM}.6.0"),
            ("snmpget", "-v1", "-c", "public", f"{SYSTEM}.99.0"),
            ("snmpget", "-v2c", "-c", "public", f"{SYSTEM}.5.0", f"{SYSTEM}.99.0"),
            ("snmpgetnext", "-v2c", "-c", "public", SYSTEM),
            ("snmpbulkget", "-v2c", "-c", "public", "-Cn0", "-Cr4", f"{SYSTEM}.3"),
            ("snmpset", "-v2c", "-c", "w3st-wing", "1.3.6.1.2.1.1.6.0", "s", "rack 8"),
            ("snmpset", "-v2c", "-c", "public", "1.3.6.1.2.1.1.4.0", "s", "nobody"),
            ("snmpget", "-v2c", "-c", "guessed", f"{SYSTEM}.5.0"),
            ("snmpget", "-v3", "-u", "plain", "-l", "noAuthNoPriv", f"{SYSTEM}.5.0"),
            ("snmpget", *secure, *keys, f"{SYSTEM}.5.0"),
            ("snmpget", "-v3", "-u", "nobody", "-l", "noAuthNoPriv", f"{SYSTEM}.5.0"),
        ):
            at = next((n for n, word in enumerate(words) if word.startswith("1.3.6")), len(words))
            said = (*common, *words[:at], "192.0.2.1", *words[at:])
            manager.run(*state, program, *said, ok=None)
        told = ("env", f"SNMP_PERSISTENT_DIR={agent.folder}/telling", "snmptrap", "-m", "")
        old = ("1.3.6.1.4.1.8072.3.2.10", "192.0.2.1", "2", "0", "4711")
        agent.run(*told, "-v1", "-c", "public", "192.0.2.20", *old, "1.3.6.1.2.1.2.2.1.1.2", "i", "2")
        new = ("-v2c", "-c", "public", "192.0.2.20", "4711", LINK_DOWN, "1.3.6.1.2.1.2.2.1.1.2", "i", "2")
        agent.run(*told, *new)
        agent.run(*told, "-Ci", *new)
    events: list[dict[str, Any]] = [
        {
            "netflight.snmp.version": "1",
            "error.code": "noSuchName",
            "netflight.snmp.oids": [f"{SYSTEM}.99.0"],
        },
        {"netflight.snmp.pdu_type": "set-request", "event.outcome": "success"},
        {"netflight.snmp.pdu_type": "trap", "netflight.snmp.trap.generic": "linkDown"},
        {"netflight.snmp.pdu_type": "informRequest", "event.outcome": "success"},
        {"netflight.snmp.version": "3", "user.name": "watcher", "netflight.snmp.security_level": "authPriv"},
    ]
    return Case(
        title="SNMP: versions 1, 2c and 3; reads, writes, refusals, traps",
        recorded="Net-SNMP's tools asked its agent; the agent's side told a trap receiver of a link that went down.",
        packages=("snmp", "snmpd", "snmptrapd"),
        counted=("snmp", "arp"),
        contains=[{"event.dataset": "network_traffic.snmp"} | event for event in events],
    )


def nbns(lab: Lab, out: Path) -> Case:
    """A file server claims its names; another host asks for them, for one that is missing, and for all of them."""
    server = lab.host("fileserver", "192.0.2.30/24")
    client = lab.host("client1", "192.0.2.101/24")
    conf = client.write(
        "smb.conf", f"[global]\nlock directory = {client.folder}\nprivate dir = {client.folder}\n"
    )
    with Tap(lab, out):
        servers_net.netbios(server)
        time.sleep(4)  # it claims each name three times
        ask = ("nmblookup", "-s", str(conf), "-B", "192.0.2.255")
        client.run(*ask, "FILESERVER#20", ok=None)
        client.run(*ask, "OFFICE#00", ok=None)
        client.run(*ask, "MISSING", ok=None)
        client.run("nmblookup", "-s", str(conf), "-A", "192.0.2.30", ok=None)
        client.run("nmblookup", "-s", str(conf), "-U", "192.0.2.30", "-R", "MISSING", ok=None)
    events: list[dict[str, Any]] = [
        {
            "dns.question.name": "FILESERVER<20>",
            "dns.resolved_ip": ["192.0.2.30"],
            "event.outcome": "success",
        },
        {"dns.op_code": "REGISTRATION", "netflight.nbns.name": "FILESERVER"},
        {"dns.question.type": "NBSTAT", "netflight.nbns.names": ["FILESERVER"]},
        {"dns.question.name": "MISSING<00>", "event.outcome": "failure"},
    ]
    return Case(
        title="NetBIOS names: claimed, found, missing, listed",
        recorded="Samba's nmbd claimed its names by broadcast; nmblookup asked for them.",
        packages=("samba", "samba-common-bin"),
        counted=("nbns", "arp"),
        contains=[{"event.dataset": "network_traffic.nbns"} | event for event in events],
    )


def bittorrent(lab: Lab, out: Path) -> Case:
    """A peer finds another one, gets a small file from it, and asks the distributed hash table for more peers."""
    seed = lab.host("seed", "192.0.2.40/24")
    leech = lab.host("leech", "192.0.2.41/24")
    with Tap(lab, out):
        peer, torrent = servers_net.torrent(seed, leech)
        (leech.folder / "got").mkdir()
        leech.run("python3", peer, "leech", torrent, str(leech.folder / "got"), "192.0.2.40", seconds=60)
    events: list[dict[str, Any]] = [
        {"netflight.bittorrent.kind": "handshake", "event.outcome": "success"},
        {"netflight.bittorrent.dht.method": "get_peers"},
    ]
    return Case(
        title="BitTorrent: a handshake, a small file, the distributed hash table",
        recorded="Two peers, both libtorrent from Python; one has a file of a kilobyte that the other one gets.",
        packages=("python3-libtorrent",),
        counted=("bittorrent",),
        contains=[{"event.dataset": "network_traffic.bittorrent"} | event for event in events],
    )


SCENES: dict[str, Callable[[Lab, Path], Case]] = {"snmp": snmp, "nbns": nbns, "bittorrent": bittorrent}
