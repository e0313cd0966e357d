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
    alerts: tuple[str, ...] = ()  # titles of the rules that must find something; no other may


@dataclass(frozen=True)
class Count:
    """Frames that match a display filter; with `by`, the distinct values of these fields among them.

    With `every`, all values of this field in them: a frame may hold several.
    """

    filter: str
    by: tuple[str, ...] = ()
    either_way: bool = False  # A to B and B to A are the same
    every: str = ""

    def __str__(self) -> str:
        if self.every:
            return f"tshark -Y '{self.filter}', every {self.every}"
        return f"tshark -Y '{self.filter}'" + (f", distinct {' '.join(self.by)}" if self.by else "")

    def measure(self, capture: Path) -> int:
        """The count in a capture."""
        fields = (self.every,) if self.every else self.by or ("frame.number",)
        which = "a" if self.every else "f"
        argv = [
            "tshark",
            "-n",
            "-r",
            str(capture),
            "-Y",
            self.filter,
            "-T",
            "fields",
            "-E",
            f"occurrence={which}",
        ]
        for name in fields:
            argv += ["-e", name]
        rows = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()
        if self.every:
            return sum(len(row.split(",")) for row in rows)
        return len({"\t".join(sorted(row.split("\t"))) if self.either_way else row for row in rows})


QUERY = ("ip.src", "ipv6.src", "udp.srcport", "tcp.srcport", "dns.id")

COUNTS: dict[str, tuple[Count, ...]] = {
    "flow": (
        Count("tcp && !icmp && !icmpv6", ("tcp.stream",)),
        Count("udp && !icmp && !icmpv6", ("udp.stream",)),
        Count("icmp", ("ip.src", "ip.dst"), either_way=True),
    ),
    "dns": (Count("dns.flags.response == 0 && !icmp && !icmpv6", QUERY),),
    "http": (Count("http.request"), Count("http2.headers.method", every="http2.headers.method")),
    "tls": (Count("tls.handshake.type == 1 || tls.handshake.type == 2", ("tcp.stream",)),),
    "ssh": (Count("ssh.protocol", ("tcp.stream",)),),
    "icmp": (Count("(icmp && icmp.type != 0) || (icmpv6 && icmpv6.type != 129)"),),
    "arp": (Count("arp.opcode == 1"),),
    "dhcpv4": (Count("dhcp"),),
}
PACKETS = {
    "read": Count("frame"),
    "in_flows": Count("ip || ipv6"),
    "not_ip": Count("!ip && !ipv6"),
    "malformed": Count("_ws.malformed"),
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
    lines += [f"  {name}: {count.measure(capture)}  # {count}" for name, count in PACKETS.items()]
    lines.append("events:")
    for dataset in case.counted:
        parts = [(count, count.measure(capture)) for count in COUNTS[dataset]]
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
