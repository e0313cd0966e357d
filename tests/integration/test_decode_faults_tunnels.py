"""Events of what is in tunnels: the innermost addresses, the outermost beside them, nothing of another IP packet."""

import shutil
import subprocess
from itertools import pairwise
from pathlib import Path
from struct import pack
from typing import NamedTuple

import pytest

from producers.decoders.decoding import MISPLACED
from schemas.events import Event, get
from tests.captures import faults
from tests.decoding import FLOW, Decoded, check, decode, everything
from tests.encapsulations import LINKS, TUNNELS
from tests.packets import enhanced, ethernet, interface, ip, section, udp

pytestmark = [
    pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed"),
    pytest.mark.timeout(600),
]
DNS, ICMP = "network_traffic.dns", "network_traffic.icmp"
QUESTION = bytes.fromhex("010000010000000000000765786d61706c6503636f6d0000010001")
OUTER, INNER = ("192.0.2.1", "192.0.2.2"), ("10.1.1.1", "10.1.1.2")


def query(port: int) -> bytes:
    """A DNS query from a port, which is its id, too: tshark takes equal ids on a frame relay for one query."""
    return ip(*INNER, 17, udp(port, 53, pack(">H", port) + QUESTION))


def decoded(tmp_path: Path, frames: list[tuple[int, bytes]]) -> Decoded:
    """What comes of frames of several link types."""
    linktypes = sorted({linktype for linktype, _ in frames})
    out = section() + b"".join(interface(linktype=linktype) for linktype in linktypes)
    for stamp, (linktype, data) in enumerate(frames, 1):
        out += enhanced(linktypes.index(linktype), stamp, data, len(data))
    path = tmp_path / "made.pcapng"
    path.write_bytes(out)
    found = decode([path])
    check(found)
    return found


def of(dataset: str, events: list[Event]) -> list[Event]:
    """The events of a dataset."""
    return [event for event in events if event["event"]["dataset"] == dataset]


def ends(event: Event) -> tuple[str, str]:
    """The addresses of an event."""
    return event["source"]["ip"], event["destination"]["ip"]


@pytest.mark.parametrize(
    ("name", "kind", "inner"),
    [
        ("vxlan_gbp", "vxlan", ("10.9.0.1", "10.9.0.53")),
        ("l2tpv2", "l2tp", ("192.0.2.10", "192.0.2.53")),
    ],
)
def test_a_query_in_a_tunnel_has_the_inner_addresses(name: str, kind: str, inner: tuple[str, str]) -> None:
    events = decode([faults() / f"{name}.pcap"]).events
    assert sorted(event["event"]["dataset"] for event in events) == [DNS, FLOW]
    for event in events:
        assert ends(event) == inner
        assert get(event, "netflight.tunnel.type") == kind
        assert get(event, "netflight.tunnel.source.ip") == "10.1.0.1"
        assert get(event, "netflight.tunnel.destination.ip") == "10.1.0.2"


def test_a_query_in_every_tunnel_and_on_every_link_is_one_event(tmp_path: Path) -> None:
    frames = []
    for port, link in enumerate(LINKS.values(), 10_000):
        frames.append((link.linktype, link.frame(query(port))))
    for port, (_, wrap) in enumerate(TUNNELS.values(), 20_000):
        frames.append((1, ethernet(wrap(query(port), OUTER))))
    found = decoded(tmp_path, frames)
    queries = of(DNS, found.events)
    assert {ends(event) for event in found.events} == {INNER}
    ports = sorted(event["source"]["port"] for event in queries)
    assert ports == [*range(10_000, 10_000 + len(LINKS)), *range(20_000, 20_000 + len(TUNNELS))]
    kinds = {event["source"]["port"]: get(event, "netflight.tunnel.type") for event in queries}
    assert [kinds[port] for port in ports if port >= 20_000] == [kind for kind, _ in TUNNELS.values()]
    assert {kinds[port] for port in ports if port < 20_000} == {None}
    assert found.outcome.telemetry.labels("undecoded") == {}


def test_what_only_tshark_unwraps_is_not_given_the_outer_addresses(tmp_path: Path) -> None:
    """swIPe, which the engine does not know: the query is inside, the flow is the outer one."""
    inner = ip("2001:db8::1", "2001:db8::2", 17, udp(5_300, 53, b"\0\1" + QUESTION))
    found = decoded(tmp_path, [(1, ethernet(ip(*OUTER, 53, inner)))])
    assert of(DNS, found.events) == []
    (flow,) = of(FLOW, found.events)
    assert ends(flow) == OUTER
    assert get(flow, "network.protocol") != "dns"
    assert found.outcome.telemetry.labels("undecoded") == {MISPLACED: 1}


def test_an_error_about_a_tunnel_belongs_to_the_addresses_between_which_it_was_sent(tmp_path: Path) -> None:
    quoted = TUNNELS["gre"][1](query(5_300), OUTER)
    error = b"\3\1\0\0" + bytes(4) + quoted
    plain, tunnelled = ip("203.0.113.9", OUTER[0], 1, error), ip("203.0.113.9", INNER[0], 1, error)
    found = decoded(tmp_path, [(1, ethernet(plain)), (1, ethernet(TUNNELS["vxlan"][1](tunnelled, OUTER)))])
    assert {ends(event) for event in of(ICMP, found.events)} == {
        ("203.0.113.9", OUTER[0]),
        ("203.0.113.9", INNER[0]),
    }
    assert of(DNS, found.events) == []


def test_a_query_in_the_fragments_of_a_tunnel_has_the_inner_addresses(tmp_path: Path) -> None:
    inner = query(5_300)
    datagram = udp(2152, 2152, b"\x30\xff" + pack(">H", len(inner)) + bytes(4) + inner)
    cuts = [0, 48, 72, len(datagram)]
    pieces = [
        ip(*OUTER, 17, datagram[begin:end], piece=begin // 8 | (0x2000 if end < len(datagram) else 0), name=9)
        for begin, end in pairwise(cuts)
    ]
    found = decoded(tmp_path, [(101, piece) for piece in pieces])
    assert [ends(event) for event in of(DNS, found.events)] == [INNER]
    assert {ends(event) for event in found.events} == {INNER}


class Frame(NamedTuple):
    """The addresses of tshark's innermost IP header of a frame, what errors quote left out."""

    source: str
    destination: str


def frames_of(path: str) -> dict[int, Frame]:
    """What tshark says of each frame of a capture that has an IP header."""
    fields = ("frame.number", "ip.src", "ip.dst", "ipv6.src", "ipv6.dst", "frame.protocols")
    argv = ["tshark", "-n", "-r", path, "-T", "fields", *(part for name in fields for part in ("-e", name))]
    told = subprocess.run(argv, capture_output=True, text=True, errors="replace", check=False, timeout=300)
    found = {}
    for line in told.stdout.splitlines():
        number, *columns, protocols = line.split("\t")
        addresses = [column.split(",") for column in columns]
        counts, last = {"ip": 0, "ipv6": 0}, ""
        for name in protocols.split(":"):
            if name in counts:
                counts[name] += 1
                last = name
            elif name in {"icmp", "icmpv6"}:
                break  # what follows is quoted
        if last:
            source, destination = addresses[:2] if last == "ip" else addresses[2:]
            found[int(number)] = Frame(source[counts[last] - 1], destination[counts[last] - 1])
    return found


def test_every_event_has_the_addresses_of_its_frames_innermost_packet() -> None:
    """Of every public capture: tshark's innermost header of the frame in which an event begins, either way round."""
    seen, strangers = 0, []
    for path, events in everything().items():
        frames = frames_of(path)
        for event in events:
            first = get(event, "netflight.frame.first")
            pair = (get(event, "source.ip"), get(event, "destination.ip"))
            if first in frames and None not in pair and event["event"]["dataset"] != FLOW:
                seen += 1
                if set(pair) != set(frames[first]):
                    strangers.append((Path(path).name, event["event"]["dataset"], first, pair))
    assert strangers == []
    assert seen > 20_000


def test_the_flows_of_the_tunnels_that_are_recorded_are_those_inside() -> None:
    """Of the public captures with tunnels: the address pairs that tshark finds innermost, and no others."""
    tunnelled = {
        path: events
        for path, events in everything().items()
        if any(get(event, "netflight.tunnel.type") for event in events)
    }
    assert len(tunnelled) > 5
    for path, events in tunnelled.items():
        pairs = {frozenset(frame) for frame in frames_of(path).values()}
        assert {frozenset(ends(event)) for event in of(FLOW, events)} == pairs, path
