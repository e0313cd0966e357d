"""What Arkime calls the sessions of its captures, and what we call them: flows, and the datasets of their events."""

import json
import shutil
from collections import Counter, defaultdict

import pytest

from schemas.events import Event, get
from tests.captures import captures
from tests.integration.test_decode_captures import decoded

pytestmark = [
    pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed"),
]
Ends = frozenset[tuple[str, int | None]]

# Labels of packets without a flow, of what carries a flow, and of rules of that project's test configuration.
NOT_COMPARED = {
    *(
        "corrupt-ether",
        "corrupt-ip",
        "unknown-ip",
        "unknown-ether",
        "arp",
        "lldp",
        "isis",
        "xid",
        "mpls",
        "pppoe",
    ),
    *("tlsrulestest", "iprulztest", "socksipset"),
}
OURS = {
    "icmp": ("icmp", "ipv6-icmp"),
    "isakmp": ("ike",),
    "postgresql": ("pgsql",),
    "oracle": ("tns",),
    "ipfix": ("netflow",),
    "dhcp": ("dhcpv4",),
    "s7comm-plus": ("s7comm", "s7comm-plus"),
    "vxlan-gpe": ("vxlan",),
    "cassandra": ("cassandra", "thrift"),  # on 9160 it is Thrift
    "http": ("http", "http2"),
    # applications of HTTP by their paths
    **dict.fromkeys(("adcs-web", "adcs-ndes", "adcs-cep", "adcs-ces", "rpc-over-http", "winrm"), ("http",)),
    # interfaces of DCE/RPC by their UUIDs
    **dict.fromkeys(
        (
            *(
                "drsuapi",
                "samr",
                "netlogon",
                "svcctl",
                "srvsvc",
                "atsvc",
                "winreg",
                "efsrpc",
                "efsr",
                "wkssvc",
            ),
            *("lsarpc", "dssetup", "epmapper", "itaskscheduler", "iremunknown", "iremunknown2"),
            "isystemactivator",
        ),
        ("dcerpc",),
    ),
}
# Labels of which some session has none of ours, and why.
MISSED = {
    "dnp3": "datagrams made up with wrong checksums",
    "stun": "RSP/1.0 and RSP/2.0, texts with the word on STUN's port, which are no messages of STUN",
    **dict.fromkeys(("camel", "sccp"), "user parts of SS7 in an M3UA message that is cut short"),
    "vxlan-gpe": "GRE around it names the tunnel",
    "udp": "an outer datagram whose inner packet is the flow",
    "icmp": "likewise",
    "http": "a session that begins in a body; SIP's port with HTTP's words",
}


def ends(event: Event) -> Ends:
    return frozenset(
        (event[side]["ip"], event[side].get("port") or None) for side in ("source", "destination")
    )


def labels(events: list[Event]) -> dict[Ends, set[str]]:
    """Everything that a flow and its events are called, by both ends."""
    found: dict[Ends, set[str]] = defaultdict(set)
    for event in events:
        if "ip" in event.get("source", {}) and "ip" in event.get("destination", {}):
            names = {event["event"]["dataset"].partition(".")[2], event["network"].get("transport", "")}
            names |= {event["network"].get("protocol", ""), get(event, "netflight.tunnel.type") or ""}
            names |= set(get(event, "netflight.flow.protocols") or ())
            if get(event, "tls.next_protocol") == "h2":
                names.add("http2")
            found[ends(event)] |= names
    return found


def test_sessions_are_called_what_arkime_calls_them() -> None:
    folder = captures() / "arkime"
    expected = json.loads((folder / "expected.json").read_bytes())
    compared, misses = 0, Counter[str]()
    for name, sessions in expected.items():
        ours = labels(decoded()[str(folder / "captures" / name)])
        for session in sessions:
            sides = [session[side] for side in ("source", "destination")]
            if any("ip" not in side for side in sides):
                continue
            called = ours.get(frozenset((side["ip"], side.get("port") or None) for side in sides), set())
            for label in set(session["protocols"]) - NOT_COMPARED:
                compared += 1
                misses[label] += not called & {label, *OURS.get(label, ())}
    missed = +misses
    assert compared > 1350
    assert set(missed) <= set(MISSED)
    assert missed.total() / compared < 0.015, missed
