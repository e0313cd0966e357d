"""Encapsulations in each other at random: engine, twin and tshark find the same innermost IP packet, however deep."""

import shutil
import subprocess
from itertools import pairwise
from pathlib import Path
from struct import pack
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from producers.engine.engine import FlowEngine
from producers.engine.model import Flow
from producers.sources.packet import RawPacket
from tests.encapsulations import LINKS, TEREDO, TUNNELS, Ends, over_udp, plain
from tests.engines import Both, as_block
from tests.packets import enhanced, interface, ip, section, udp

pytestmark = pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")

QUERY = bytes.fromhex("1234010000010000000000000765786d61706c6503636f6d0000010001")
ENDS4 = [("192.0.2.1", "192.0.2.2"), ("198.51.100.7", "198.51.100.8")]
ENDS6 = [("2001:db8:a::1", "2001:db8:b::2")]


class Stack(NamedTuple):
    """A DNS query in tunnels, outermost first, on a link."""

    link: str
    tunnels: tuple[tuple[str, Ends], ...]
    inner: Ends


class Seen(NamedTuple):
    """What tshark says of a frame: its innermost addresses and its protocols."""

    source: str
    destination: str
    protocols: str


def frame_of(stack: Stack, port: int) -> tuple[int, bytes]:
    """The link type and the bytes; the query comes from the port, so that each has a flow of its own."""
    packet = ip(*stack.inner, 17, udp(port, 53, QUERY))
    for name, ends in reversed(stack.tunnels):
        wrap = TUNNELS[name][1] if name in TUNNELS else over_udp(3544, TEREDO[name], plain)
        packet = wrap(packet, ends)
    link = LINKS[stack.link]
    return link.linktype, link.frame(packet)


def by_tshark(frames: list[tuple[int, bytes]], path: Path) -> list[Seen]:
    """The last addresses that tshark shows of each frame."""
    linktypes = sorted({linktype for linktype, _ in frames})
    out = section() + b"".join(interface(linktype=linktype) for linktype in linktypes)
    for stamp, (linktype, data) in enumerate(frames, 1):
        out += enhanced(linktypes.index(linktype), stamp, data, len(data))
    path.write_bytes(out)
    fields = ("ip.src", "ip.dst", "ipv6.src", "ipv6.dst", "frame.protocols")
    argv = [
        "tshark",
        "-n",
        "-r",
        str(path),
        "-T",
        "fields",
        *(part for name in fields for part in ("-e", name)),
    ]
    told = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=120).stdout.splitlines()
    found = []
    for line in told:
        *addresses, protocols = line.split("\t")
        last = [name for name in protocols.split(":") if name in {"ip", "ipv6"}][-1:]
        pair = addresses[2:] if last == ["ipv6"] else addresses[:2]
        found.append(Seen(*(column.split(",")[-1] for column in pair), protocols))
    return found


def by_engine(frames: list[tuple[int, bytes]]) -> list[Flow]:
    """The flow of each frame; the twin agrees."""
    packets = [
        RawPacket(1, stamp, linktype, data, len(data), "") for stamp, (linktype, data) in enumerate(frames, 1)
    ]
    Both().feed(packets)
    batch = FlowEngine().feed(as_block(packets))
    flows = [batch.flow(index) for index in range(len(packets))]
    assert None not in flows
    return [flow for flow in flows if flow is not None]


def check(stacks: list[Stack], path: Path) -> None:
    """Whether all say of each that it is the query."""
    frames = [frame_of(stack, port) for port, stack in enumerate(stacks, 10_000)]
    seen = by_tshark(frames, path)
    assert len(seen) == len(stacks)
    for port, (stack, told, flow) in enumerate(zip(stacks, seen, by_engine(frames), strict=True), 10_000):
        assert (told.source, told.destination) == stack.inner, (stack, told)
        assert told.protocols.endswith(":dns"), (stack, told)
        assert (flow.source_ip, flow.destination_ip, flow.source_port) == (*stack.inner, port), stack
        outermost = stack.tunnels[0] if stack.tunnels else None
        if outermost is None:
            assert flow.tunnel is None
        else:
            kind = TUNNELS[outermost[0]][0] if outermost[0] in TUNNELS else "teredo"
            assert flow.tunnel == (kind, *outermost[1]), stack


@pytest.mark.parametrize("inner", [ENDS4[0], ENDS6[0]])
def test_every_link_and_every_tunnel_alone(tmp_path: Path, inner: Ends) -> None:
    stacks = [Stack(link, (), inner) for link in LINKS]
    for ends in (ENDS4[1], ENDS6[0]):
        stacks += [Stack("ethernet", ((name, ends),), inner) for name in TUNNELS]
    if ":" in inner[0]:
        stacks += [Stack("ethernet", ((name, ENDS4[1]),), inner) for name in TEREDO]
    check(stacks, tmp_path / "alone.pcapng")


TUNNEL = st.tuples(st.sampled_from(list(TUNNELS)), st.sampled_from(ENDS4 + ENDS6))
BELOW_TEREDO = st.tuples(st.sampled_from(list(TEREDO)), st.sampled_from(ENDS4))
STACKS = st.one_of(
    st.builds(
        Stack,
        st.sampled_from(list(LINKS)),
        st.lists(TUNNEL, max_size=4).map(tuple),
        st.sampled_from(ENDS4 + ENDS6),
    ),
    st.builds(
        lambda link, tunnels, teredo: Stack(link, (*tunnels, teredo), ENDS6[0]),
        st.sampled_from(list(LINKS)),
        st.lists(TUNNEL, max_size=2),
        BELOW_TEREDO,
    ),
)


@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(STACKS, min_size=60, max_size=120))
def test_tunnels_in_tunnels_at_random(tmp_path_factory: pytest.TempPathFactory, stacks: list[Stack]) -> None:
    check(stacks, tmp_path_factory.mktemp("stacks") / "stacks.pcapng")


def test_a_tunnel_in_fragments_is_the_inner_flow(tmp_path: Path) -> None:
    """GTP in a datagram that comes in three pieces, in any order: tshark's last one shows the query."""
    inner = ip(*ENDS4[0], 17, udp(5_300, 53, QUERY))
    datagram = udp(2152, 2152, b"\x30\xff" + pack(">H", len(inner)) + bytes(4) + inner)
    cuts = [0, 48, 72, len(datagram)]
    pieces = [
        ip(
            *ENDS4[1],
            17,
            datagram[begin:end],
            piece=begin // 8 | (0x2000 if end < len(datagram) else 0),
            name=9,
        )
        for begin, end in pairwise(cuts)
    ]
    for order in ((0, 1, 2), (2, 0, 1), (1, 2, 0)):
        frames = [(101, pieces[number]) for number in order]
        flows = by_engine(frames)
        assert {(flow.source_ip, flow.source_port) for flow in flows} == {(ENDS4[0][0], 5_300)}
        assert by_tshark(frames, tmp_path / "pieces.pcapng")[-1].source == ENDS4[0][0]
