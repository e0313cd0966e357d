"""What must come out of a sample: told by the scene, counted by tshark, written as case.yaml."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


class CaseError(Exception):
    """tshark's count differs from what the scene knows it sent."""


@dataclass(frozen=True)
class Case:
    """A scene's own account of what it put on the wire."""

    title: str
    recorded: str
    packages: tuple[str, ...]  # Debian packages of the programs that speak
    counted: tuple[str, ...]  # datasets whose events tshark can count
    sent: dict[str, int] = field(default_factory=dict)  # the same, known from what was sent
    contains: list[dict[str, Any]] = field(default_factory=list)
    counts: dict[str, tuple[Count, ...]] = field(
        default_factory=dict
    )  # of datasets that COUNTS does not have
    mistaken: str = ""  # a protocol whose sound packets tshark calls malformed
    alerts: tuple[str, ...] = ()  # titles of the rules that must find something; no other may


@dataclass(frozen=True)
class Count:
    """Frames that match a display filter; with `by`, the distinct values of these fields among them.

    With `each`, all values of these fields, several in a frame too: those among `values` (without: any) that are not
    among `but`. With `lines`, the lines in the bytes of that field. `options` are tshark's.
    """

    filter: str
    by: tuple[str, ...] = ()
    either_way: bool = False  # A to B and B to A are the same
    each: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    but: tuple[str, ...] = ()
    lines: str = ""
    options: tuple[str, ...] = ()

    def __str__(self) -> str:
        said = " ".join(("tshark", *self.options, f"-Y '{self.filter}'"))
        if self.lines:
            return f"{said}, lines in {self.lines}"
        if self.each:
            among = f" of {', '.join(self.values)}" if self.values else ""
            return f"{said}, each {' '.join(self.each)}{among}" + (
                f" but {' '.join(self.but)}" if self.but else ""
            )
        return said + (f", distinct {' '.join(self.by)}" if self.by else "")

    def measure(self, capture: Path) -> int:
        """The count in a capture."""
        fields = self.by or self.each or (self.lines or "frame.number",)
        argv = ["tshark", "-n", *self.options, "-r", str(capture), "-Y", self.filter, "-T", "fields"]
        argv += ["-E", "occurrence=a" if self.each else "occurrence=f", "-E", "aggregator=|"]
        for name in fields:
            argv += ["-e", name]
        rows = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()
        if self.lines:
            return sum(bytes.fromhex(row).count(b"\n") for row in rows)
        if self.each:
            found = [
                value for row in rows for column in row.split("\t") for value in column.split("|") if value
            ]
            return sum((not self.values or value in self.values) and value not in self.but for value in found)
        return len({"\t".join(sorted(row.split("\t"))) if self.either_way else row for row in rows})


QUERY = ("ip.src", "ipv6.src", "udp.srcport", "tcp.srcport", "dns.id")

COUNTS: dict[str, tuple[Count, ...]] = {
    "flow": (
        Count("tcp && !icmp && !icmpv6", ("tcp.stream",)),
        Count("udp && !icmp && !icmpv6", ("udp.stream",)),
        Count("icmp", ("ip.src", "ip.dst"), either_way=True),
    ),
    "dns": (Count("dns.flags.response == 0 && !icmp && !icmpv6", QUERY),),
    "http": (Count("http.request"), Count("http2.headers.method", each=("http2.headers.method",))),
    "tls": (Count("tls.handshake.type == 1 || tls.handshake.type == 2", ("tcp.stream",)),),
    "ssh": (Count("ssh.protocol", ("tcp.stream",)),),
    "icmp": (Count("(icmp && icmp.type != 0) || (icmpv6 && icmpv6.type != 129)"),),
    "arp": (Count("arp.opcode == 1"),),
    "dhcpv4": (Count("dhcp"),),
    "smtp": (
        Count("smtp.response.code == 220"),
        Count("smtp.req.command", each=("smtp.req.command",), but=("RCPT", "DATA")),
    ),
    "ftp": (
        Count("tcp.dstport == 21 && tcp.len > 0", lines="tcp.payload"),
        Count("ftp.response.code == 220"),
    ),
    "imap": (
        Count("imap.isrequest == 0", each=("imap.response_tag",), but=("+", ")")),
        Count('imap.line contains "* OK [CAPABILITY"'),
    ),
    "pop3": (
        Count('pop.request.command matches "^[A-Z]{3,4}$"'),
        Count('pop.response.description contains "ready"'),
    ),
    "irc": (Count("irc", each=("irc.request.command", "irc.response.command")),),
    "snmp": (
        Count("snmp.data in {0, 1, 3, 4, 5, 6, 7}"),
        Count("snmp.encryptedPDU && snmp.v3.flags.report == 1"),
    ),
    "bittorrent": (
        Count("bittorrent.info_hash", ("tcp.stream",)),
        Count('bt-dht.bencoded.string == "q" && bt-dht.bencoded.string == "a" && !icmp'),
    ),
    "nbns": (Count("nbns.flags.response == 0"),),
    "iec104": (
        Count("iec60870_104.utype in {1, 4, 16}"),
        Count("iec60870_asdu && !(iec60870_asdu.causetx in {7, 9})"),
    ),
    "enip": (Count("enip && (tcp.dstport == 44818 || udp.dstport == 44818)"),),
    "s7comm": (Count("s7comm.header.rosctr == 1"), Count("s7comm.param.userdata.type == 4")),
    "smb": (Count("smb2.flags.response == 0 || smb.flags.response == 0"),),
    "dcerpc": (Count("dcerpc.pkt_type in {0, 11, 14}"),),
    "ntlm": (Count("ntlmssp.messagetype == 3"),),
    "ldap": (Count("ldap.protocolOp in {0, 2, 3, 6, 8, 10, 12, 14, 16, 23}"),),
    "krb5": (Count("kerberos.msg_type == 10 || kerberos.msg_type == 12"),),
    "rdp": (Count("rdp", ("tcp.stream",)),),
    "rfb": (Count("vnc", ("tcp.stream",)),),
}
PACKETS = {
    "read": Count("frame"),
    "in_flows": Count("ip || ipv6"),
    "not_ip": Count("!ip && !ipv6"),
    "malformed": Count("_ws.malformed && !tcp && !udp"),  # what tshark says of a protocol above is not meant
}


def render(case: Case, capture: Path) -> str:
    """The text of case.yaml; CaseError where tshark and the scene disagree."""
    lines = [
        "# Written by samples/record. Counts are tshark's, by the filter beside each.",
        f"title: {json.dumps(case.title)}",
        "recorded: >-",
        *(f"  {line}" for line in _wrapped(f"{case.recorded} Programs: {_versions(case.packages)}.")),
        f"capture: {capture.name}",
        "packets:",
    ]
    packets = dict(PACKETS)
    if case.mistaken:
        packets["malformed"] = Count(f"_ws.malformed && !{case.mistaken}")
    lines += [f"  {name}: {count.measure(capture)}  # {count}" for name, count in packets.items()]
    lines.append("events:")
    for dataset in case.counted:
        parts = [(count, count.measure(capture)) for count in case.counts.get(dataset) or COUNTS[dataset]]
        total = sum(number for _, number in parts)
        if case.sent.get(dataset, total) != total:
            raise CaseError(f"{dataset}: sent {case.sent[dataset]}, tshark counts {total}")
        why = " + ".join(str(count) for count, number in parts if number or len(parts) == 1)
        known = "; as many were sent" if dataset in case.sent else ""
        lines.append(f"  network_traffic.{dataset}: {total}  # {why}{known}")
    lines.append("contains:")
    lines += [f"  - {json.dumps(event)}" for event in case.contains]
    lines.append("alerts:" if case.alerts else "alerts: []")
    lines += [f"  - {title}" for title in case.alerts]
    return "\n".join(lines) + "\n"


def _versions(packages: tuple[str, ...]) -> str:
    argv = ["dpkg-query", "-W", "-f", "${Package} ${Version}, ", *packages]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.rstrip(", ")


def _wrapped(text: str, width: int = 100) -> list[str]:
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append("")
        lines[-1] += f" {word}" if lines[-1] else word
    return lines
