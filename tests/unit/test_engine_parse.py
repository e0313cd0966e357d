"""Frames of every link type and encapsulation give the innermost packet; any bytes give an answer."""

from struct import pack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from producers.engine.keys import split
from producers.engine.model import FlowRecord, Tunnel
from producers.engine.twin.links import LINKS
from producers.engine.twin.network import Trace
from producers.engine.twin.parse import MALFORMED, NOT_IP, parse, trace
from producers.engine.twin.tunnels import UDP_PORTS
from producers.sources.packet import RawPacket
from tests.engines import Both, final
from tests.packets import address, ethernet, ip, raw, tcp, udp

INNER4 = ip("10.1.1.1", "10.1.1.2", 17, udp(1111, 2222, b"inner"))
INNER6 = ip("2001:db8::1", "2001:db8::2", 6, tcp(1111, 2222, 2))
SNAP4 = b"\xaa\xaa\x03\0\0\0\x08\0" + INNER4
OUTER = ("192.0.2.1", "192.0.2.2")
WIFI = b"\x08\x01\0\0" + bytes(18) + b"\0\0"

FRAMES = {
    "null, little": (0, b"\x02\0\0\0" + INNER4),
    "null, big": (0, b"\0\0\0\x02" + INNER4),
    "null, ipv6 of macOS": (0, b"\x1e\0\0\0" + INNER6),
    "loop": (108, b"\0\0\0\x18" + INNER6),
    "ethernet": (1, ethernet(INNER4)),
    "ethernet with ipv6": (1, ethernet(INNER6)),
    "802.1q": (1, ethernet(pack(">HH", 5, 0x0800) + INNER4, 0x8100)),
    "802.1ad, three tags": (
        1,
        ethernet(pack(">HHHHHH", 5, 0x9100, 6, 0x8100, 7, 0x86DD) + INNER6, 0x88A8),
    ),
    "802.3 with snap": (1, ethernet(SNAP4, len(SNAP4))),
    "802.3 with llc of ip": (1, ethernet(b"\x06\x06\x03" + INNER4, 60)),
    "mpls, two labels": (1, ethernet(b"\0\x01\0\xff\0\x02\x01\xff" + INNER4, 0x8847)),
    "mpls, pseudowire": (1, ethernet(b"\0\x01\x01\xff" + bytes(4) + ethernet(INNER6), 0x8847)),
    "mpls, pseudowire without a control word": (
        1,
        ethernet(b"\0\x01\x01\xff" + b"\x1a" + ethernet(INNER4)[1:], 0x8848),
    ),
    "vn-tag": (1, ethernet(bytes(4) + b"\x08\0" + INNER4, 0x8926)),
    "e-tag": (1, ethernet(bytes(6) + b"\x86\xdd" + INNER6, 0x893F)),
    "cisco metadata": (1, ethernet(b"\1\1\0\1\0\0\x08\0" + INNER4, 0x8909)),
    "provider backbone": (1, ethernet(bytes(4) + ethernet(INNER4), 0x88E7)),
    "service header": (1, ethernet(b"\x0f\xc6\x01\x01" + bytes(20) + INNER4, 0x894F)),
    "pppoe": (1, ethernet(b"\x11\0\0\x01" + pack(">HH", len(INNER4) + 2, 0x21) + INNER4, 0x8864)),
    "ppp": (9, b"\xff\x03\0\x21" + INNER4),
    "ppp, compressed": (50, b"\x57" + INNER6),
    "ppp over ethernet": (51, b"\x11\0\0\x01\0\x40\0\x57" + INNER6),
    "raw": (101, INNER6),
    "raw of bsd": (12, INNER4),
    "ipv4": (228, INNER4),
    "ipv6": (229, INNER6),
    "hdlc": (104, b"\x0f\0\x08\0" + INNER4),
    "frame relay, nlpid": (107, b"\x18\x41\x03\xcc" + INNER4),
    "frame relay, snap": (107, b"\x18\x41\x03\0\x80\0\0\0\x86\xdd" + INNER6),
    "frame relay, cisco": (107, b"\x18\x41\x08\0" + INNER4),
    "cooked": (113, b"\0\0\0\1\0\6" + bytes(8) + b"\x08\0" + INNER4),
    "cooked, vlan": (113, b"\0\0\0\1\0\6" + bytes(8) + b"\x81\0\0\5\x86\xdd" + INNER6),
    "cooked 2": (276, b"\x86\xdd" + bytes(9) + b"\6" + bytes(8) + INNER6),
    "802.11": (105, WIFI + SNAP4),
    "802.11, qos and four addresses": (105, b"\x88\x03" + WIFI[2:] + bytes(8) + SNAP4),
    "802.11, aggregated": (105, b"\x88\x01" + WIFI[2:] + b"\x80\0" + bytes(14) + SNAP4),
    "radiotap": (127, b"\0\0\x08\0\0\0\0\0" + WIFI + SNAP4),
    "radiotap, padded": (
        127,
        b"\0\0\x11\0\x03\0\0\0" + bytes(8) + b"\x20" + b"\x88\x01" + WIFI[2:] + bytes(4) + SNAP4,
    ),
    "prism": (119, b"\x44\0\0\0\x90\0\0\0" + bytes(136) + WIFI + SNAP4),
    "avs": (119, b"\x80\x21\x10\x01\0\0\0\x40" + bytes(56) + WIFI + SNAP4),
    "ppi": (192, b"\0\0\x08\0\x69\0\0\0" + WIFI + SNAP4),
    "null, ppp": (0, b"\xff\x03\0\x21" + INNER4),
    "atm, llc": (100, SNAP4),
    "atm, sunos": (11, SNAP4),
    "classical ip over atm": (106, INNER4),
    "classical ip over atm, linux": (19, INNER4),
    "classical ip over atm, bsd": (16, INNER6),
    "classical ip over atm, nt": (18, INNER4),
    "pf": (117, b"\x3d\x02" + bytes(62) + INNER4),
    "pf, ipv6 of openbsd": (117, b"\x64\x18" + bytes(98) + INNER6),
    "pf, old": (17, b"\0\0\0\2" + bytes(24) + INNER4),
    "enc": (109, b"\2\0\0\0" + bytes(8) + INNER4),
    "hdlc with direction": (112, b"\x8f\0\x86\xdd" + INNER6),
    "ppp with direction": (204, b"\1\xff\x03\0\x57" + INNER6),
    "fibre channel": (122, bytes(16) + SNAP4),
    "firewire": (138, bytes(16) + b"\x08\0" + INNER4),
    "avs, its own number": (163, b"\x80\x21\x10\x01\0\0\0\x40" + bytes(56) + WIFI + SNAP4),
    "fabricpath": (1, ethernet(b"\x04\x01" + ethernet(pack(">HH", 7, 0x0800) + INNER4, 0x8100), 0x8903)),
    "trill": (1, ethernet(b"\0\x40" + bytes(4 + 4) + ethernet(INNER4), 0x22F3)),
    "hsr": (1, ethernet(bytes(4) + b"\x08\0" + INNER4, 0x892F)),
    "802.1cb": (1, ethernet(bytes(4) + b"\x86\xdd" + INNER6, 0xF1C1)),
    "macsec, not encrypted": (1, ethernet(b"\x20" + bytes(13) + b"\x08\0" + INNER4, 0x88E5)),
    "jumbo llc": (1, ethernet(SNAP4, 0x8870)),
    "802.11 of centrino": (1, ethernet(WIFI + SNAP4, 0x2452)),
    "service header twice": (
        1,
        ethernet(b"\x0f\xc6\x01\x04" + bytes(20) + b"\x0f\xc2\x02\x01" + bytes(4) + INNER4, 0x894F),
    ),
    "mpls, associated channel": (1, ethernet(b"\0\x01\x01\xff\x10\0\0\x21" + INNER4, 0x8847)),
    "mpls, pseudowire with a length": (1, ethernet(b"\0\x01\x01\xff\0\x2a\0\1" + ethernet(INNER4), 0x8847)),
    "mpls, pseudowire to an address of zeros": (
        1,
        ethernet(b"\0\x01\x01\xff" + bytes(2) + ethernet(INNER4)[2:], 0x8847),
    ),
    "nflog": (239, b"\x02\0\0\0\x05\0\x0a\0x\0\0\0" + pack("<HH", len(INNER4) + 4, 9) + INNER4),
}


def ends(linktype: int, data: bytes) -> tuple[int, bytes, int | None]:
    parsed = parse(linktype, data, len(data))
    assert not isinstance(parsed, int), parsed
    taken = split(parsed[0])
    return taken.protocol, taken.source, taken.source_port


@pytest.mark.parametrize("name", FRAMES)
def test_every_link_type_is_passed_over(name: str) -> None:
    linktype, data = FRAMES[name]
    expected = (17, address("10.1.1.1"), 1111) if INNER4 in data else (6, address("2001:db8::1"), 1111)
    assert ends(linktype, data) == expected


def test_every_link_type_has_a_frame_here() -> None:
    assert {linktype for linktype, _ in FRAMES.values()} | {14} == set(LINKS)


def gre(flags: int, kind: int, options: bytes, payload: bytes) -> bytes:
    return ip(*OUTER, 47, pack(">HH", flags, kind) + options + payload)


def over_udp(port: int, payload: bytes) -> bytes:
    return ip(*OUTER, 17, udp(40000, port, payload))


ETHER4 = ethernet(INNER4)
TUNNELS = {
    "gre": [
        gre(0, 0x0800, b"", INNER4),
        gre(0xB000, 0x86DD, bytes(12), INNER6),
        gre(0, 0x6558, b"", ETHER4),
        gre(0, 0x88BE, b"", ETHER4),
        gre(0x1000, 0x88BE, bytes(12), ETHER4),
        gre(0x1000, 0x22EB, bytes(16), ETHER4),
        gre(0x1000, 0x22EB, bytes(15) + b"\x01" + bytes(8), ETHER4),
        gre(0x3081, 0x880B, bytes(12), b"\xff\x03\0\x21" + INNER4),
        gre(0, 0x8847, b"", b"\0\x01\x01\xff" + INNER4),
        gre(0, 0x883E, bytes(4), INNER4),
        gre(0, 0x6400, b"", ETHER4),
        gre(0, 0x6559, b"", b"\x18\x41\x03\xcc" + INNER4),
        gre(0, 0x880B, b"", b"\xff\x03\0\x21" + INNER4),
        gre(0, 0x894F, b"", b"\x0f\xc2\x02\x02" + bytes(4) + INNER6),
        gre(0x1000, 0x88BE, bytes(4) + b"\x20" + bytes(11), ETHER4),
        gre(0x4000, 0x0800, bytes(4) + b"\x08\0\0\x04" + bytes(4) + bytes(4), INNER4),
        gre(0, 0x8200, b"", b"\x88\x01" + WIFI[2:] + b"\0\0" + SNAP4),
        gre(0, 0x8210, b"", b"\x88\x02" + WIFI[2:] + b"\x80\0" + bytes(14) + SNAP4),
        over_udp(4754, pack(">HH", 0x2000, 0x0800) + bytes(4) + INNER4),
    ],
    "ipip": [
        ip(*OUTER, 4, INNER4),
        ip(*OUTER, 41, INNER6),
        ip("2001:db8::a", "2001:db8::b", 4, INNER4),
        ip("2001:db8::a", "2001:db8::b", 41, INNER6),
    ],
    "etherip": [ip(*OUTER, 97, b"\x30\0" + ETHER4)],
    "mpls": [ip(*OUTER, 137, b"\0\x01\x01\xff" + INNER4)],
    "vxlan": [
        over_udp(4789, b"\x08" + bytes(7) + ETHER4),
        over_udp(4789, b"\x88\x48\x12\x34" + bytes(4) + ETHER4),
        over_udp(8472, b"\xff" + bytes(7) + ethernet(pack(">HH", 7, 0x0800) + INNER4, 0x8100)),
        over_udp(4790, b"\x0c\0\0\x04" + bytes(4) + b"\x0f\xc2\x02\x03" + bytes(4) + ETHER4),
        over_udp(4790, b"\x0c\0\0\x05" + bytes(4) + b"\0\x01\x01\xff" + INNER4),
        over_udp(4790, b"\x0c\0\0\x01" + bytes(4) + INNER4),
        over_udp(4790, b"\x0c\0\0\x03" + bytes(4) + ETHER4),
    ],
    "geneve": [
        over_udp(6081, b"\x01\0\x65\x58" + bytes(8) + ETHER4),
        over_udp(6081, b"\0\0\x86\xdd" + bytes(4) + INNER6),
    ],
    "gtp": [
        over_udp(2152, b"\x30\xff" + bytes(6) + INNER4),
        over_udp(2123, b"\x32\xff" + bytes(10) + INNER6),
        over_udp(3386, b"\x1e\xff" + bytes(18) + INNER4),
        over_udp(2152, b"\x34\xff" + bytes(9) + b"\x85\x01\0\0\0" + INNER4),
    ],
    "teredo": [
        over_udp(3544, INNER6),
        over_udp(3544, b"\0\x01\0\0" + bytes(9) + b"\0\0" + bytes(6) + INNER6),
    ],
    "l2tp": [
        over_udp(1701, b"\x00\x02\0\x07\0\x09\xff\x03\0\x21" + INNER4),
        over_udp(1701, b"\x4a\x02" + bytes(10) + b"\0\x02\0\0\0\x21" + INNER4),
    ],
    "lisp": [
        over_udp(4341, b"\xc0" + bytes(7) + INNER4),
        over_udp(4342, b"\x80\0\0\0" + INNER4),
    ],
    "capwap": [
        over_udp(5247, b"\0\x10\0\0" + bytes(4) + ETHER4),
        over_udp(5247, b"\0\x20\x03\x10" + bytes(12) + b"\x01\x88" + WIFI[2:] + b"\0\0" + SNAP4),
        over_udp(5247, b"\0\x10\x43\0" + bytes(4) + WIFI + SNAP4),
    ],
    "tzsp": [
        over_udp(37008, b"\1\0\0\1\0\x0a\1\5\1" + ETHER4),
        over_udp(37008, b"\1\1\0\x12\1" + WIFI + SNAP4),
    ],
    "pim": [ip(*OUTER, 103, b"\x21\0\0\0" + bytes(4) + INNER4)],
    "ethernet": [ip("2001:db8::a", "2001:db8::b", 143, ETHER4)],
    "ayiya": [over_udp(5072, b"\x41\x50\x01\x29" + bytes(4 + 16 + 20) + INNER6)],
}


@pytest.mark.parametrize(("kind", "packet"), [(kind, packet) for kind in TUNNELS for packet in TUNNELS[kind]])
def test_every_encapsulation_gives_the_inner_flow_and_names_the_outer(kind: str, packet: bytes) -> None:
    (flow,) = final([raw(ethernet(packet))])
    assert flow.source_ip == ("10.1.1.1" if INNER4 in packet else "2001:db8::1")
    assert (flow.source_port, flow.destination_port) == (1111, 2222)
    assert flow.tunnel is not None
    assert flow.tunnel.kind == kind
    assert flow.tunnel.source_ip in {"192.0.2.1", "2001:db8::a"}


def test_nested_tunnels_name_the_outermost() -> None:
    packet = ip("198.51.100.1", "198.51.100.2", 47, pack(">HH", 0, 0x0800) + TUNNELS["vxlan"][0])
    (flow,) = final([raw(ethernet(packet))])
    assert flow.source_ip == "10.1.1.1"
    assert flow.tunnel == Tunnel("gre", "198.51.100.1", "198.51.100.2")


@pytest.mark.parametrize(
    "packet",
    [
        gre(0, 0x0800, b"", b"\x45 too short"),
        gre(0, 0x2001, b"", INNER4),
        gre(0x4000, 0x0800, bytes(4) + b"\x08\0\0\xff" + bytes(4), INNER4),
        over_udp(1701, b"\xc8\x02\0\x0c" + bytes(8)),
        over_udp(1701, b"\0\x03\0\0" + bytes(4) + INNER4),
        over_udp(5247, b"\1\x10\0\0" + bytes(4) + ETHER4),
        over_udp(5247, b"\0\x10\0\x80" + bytes(4) + ETHER4),
        over_udp(2123, b"\x48\x20" + bytes(10) + INNER4),
        over_udp(2152, b"\x32\xfe" + bytes(10) + INNER4),
        over_udp(37008, b"\1\4\0\1\1" + ETHER4),
        ip(*OUTER, 103, b"\x21\0\0\0\x40" + bytes(3) + INNER4),
        ip(*OUTER, 4, b""),
        over_udp(4789, b"\x08" + bytes(7) + ethernet(b"arp", 0x0806)),
        over_udp(4789, b"no vxlan"),
        over_udp(2152, b"\x32\x01" + bytes(6)),
        over_udp(3544, b""),
        over_udp(5072, bytes(8)),
    ],
)
def test_an_undecodable_payload_stays_with_the_outer_flow(packet: bytes) -> None:
    (flow,) = final([raw(ethernet(packet))])
    assert flow.source_ip == "192.0.2.1"
    assert flow.tunnel is None


def test_ipv6_extensions_and_authentication_headers_are_passed_over() -> None:
    segment = tcp(1111, 2222, 2)
    for protocol, extensions in (
        (0, b"\x2b\0" + bytes(6) + b"\x3c\x01" + bytes(14) + b"\x06\0" + bytes(6)),
        (51, b"\x06\x04" + bytes(22)),
        (44, b"\x06" + bytes(7)),
    ):
        packet = ip("2001:db8::1", "2001:db8::2", protocol, extensions + segment)
        assert ends(229, packet) == (6, address("2001:db8::1"), 1111)
    assert ends(228, ip(*OUTER, 51, b"\x06\x04" + bytes(22) + segment)) == (6, address("192.0.2.1"), 1111)


def test_ipv4_options_are_passed_over() -> None:
    packet = (
        b"\x46\0" + pack(">H", 44) + INNER4[4:9] + b"\x06" + INNER4[10:20] + bytes(4) + tcp(1111, 2222, 2)
    )
    assert ends(228, packet) == (6, address("10.1.1.1"), 1111)


@pytest.mark.parametrize(
    ("linktype", "data", "verdict"),
    [
        (1, b"", NOT_IP),
        (1, bytes(13), NOT_IP),
        (1, ethernet(bytes(28), 0x0806), NOT_IP),
        (1, ethernet(b"\x42\x42\x03" + bytes(35), 38), NOT_IP),
        (1, ethernet(b"\xfe\xfe\x03" + bytes(35), 38), NOT_IP),
        (1, ethernet(bytes(40), 0x88CC), NOT_IP),
        (105, b"\x80\0" + bytes(60), NOT_IP),
        (105, b"\x08\x41" + WIFI[2:] + SNAP4, NOT_IP),
        (147, INNER4, NOT_IP),
        (1, ethernet(INNER4[:19], 0x0800), MALFORMED),
        (1, ethernet(INNER4, 0x86DD), MALFORMED),
        (1, ethernet(b"\x44" + INNER4[1:], 0x0800), MALFORMED),
        (1, ethernet(INNER4[:27], 0x0800), MALFORMED),
        (1, ethernet(INNER6[:59], 0x86DD), MALFORMED),
        (101, b"\x99" + bytes(40), MALFORMED),
        (101, b"", MALFORMED),
        (228, ip(*OUTER, 6, tcp(1, 2, 2)[:12] + b"\x40" + bytes(7)), MALFORMED),
        (229, ip("::1", "::2", 0, b"\0\0" + bytes(6)) + bytes(200), MALFORMED),
    ],
)
def test_what_is_no_ip_and_what_is_damaged_ip_are_told_apart(
    linktype: int, data: bytes, verdict: int
) -> None:
    assert parse(linktype, data, len(data)) == verdict


@pytest.mark.parametrize(
    ("name", "macs", "vlans"),
    [
        ("802.1ad, three tags", ("020000000002", "020000000001"), (5, 6, 7)),
        ("802.1q", ("020000000002", "020000000001"), (5,)),
        ("provider backbone", ("020000000002", "020000000001"), ()),
        ("cooked, vlan", ("", ""), (5,)),
        ("802.11", ("000000000000", "000000000000"), ()),
        ("raw", ("", ""), ()),
    ],
)
def test_addresses_and_tags_are_those_of_the_frame(
    name: str, macs: tuple[str, str], vlans: tuple[int, ...]
) -> None:
    linktype, data = FRAMES[name]
    notes = Trace()
    trace(linktype, data, len(data), notes)
    assert (notes.source_mac.hex(), notes.destination_mac.hex()) == macs
    assert notes.vlan_ids == vlans


@given(st.integers(0, 65535), st.binary(max_size=200), st.sampled_from([6, 17, 47, 132, 1]))
def test_the_quick_way_and_the_long_way_agree(name: int, payload: bytes, protocol: int) -> None:
    data = ethernet(ip("10.0.0.1", "10.0.0.2", protocol, payload, name=name))
    assert parse(1, data, len(data)) == trace(1, data, len(data), Trace())


@pytest.mark.parametrize(
    "layer",
    [
        pack(">I", 1) + ethernet(b"\0", 0x88E7)[:14],
        pack(">HH", 1, 0x8100),
        b"\0\x01\0\xff",
        b"\0\x01\x01\xff" + b"\x10" + ethernet(b"\0", 0x8847)[1:14],
    ],
)
def test_frames_within_frames_without_end_are_given_up(layer: bytes) -> None:
    for kind in (0x88E7, 0x8100, 0x8847):
        assert parse(1, ethernet(layer * 10_000, kind), 65_000) == NOT_IP


def test_tunnels_without_end_are_given_up_at_a_depth() -> None:
    packet = INNER4
    for number in range(200):
        packet = ip(f"10.0.{number}.1", "10.0.0.2", 4, packet)
    parsed = parse(228, packet, len(packet))
    assert not isinstance(parsed, int)
    assert split(parsed[0]).protocol == 4


IP_LIKE = st.builds(
    lambda outer, protocol, payload: ethernet(ip(*outer, protocol, payload)),
    st.sampled_from([OUTER, ("2001:db8::1", "2001:db8::2")]),
    st.sampled_from([0, 1, 4, 6, 17, 41, 43, 44, 47, 51, 58, 60, 97, 103, 132, 137, 143]),
    st.binary(max_size=120),
)
UDP_LIKE = st.builds(
    lambda port, payload: ethernet(over_udp(port, payload)),
    st.sampled_from(list(UDP_PORTS)),
    st.binary(max_size=120),
)
DAMAGED = st.builds(
    lambda frame, at, junk: (
        frame[1][: at % len(frame[1])] + junk + frame[1][at % len(frame[1]) + len(junk) :]
    ),
    st.sampled_from(list(FRAMES.values())),
    st.integers(0, 200),
    st.binary(max_size=3),
)


@settings(max_examples=400)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([*LINKS, 147]),
            st.one_of(st.binary(max_size=150), IP_LIKE, UDP_LIKE, DAMAGED),
            st.integers(-10, 2**62),
            st.integers(0, 2**32 - 1),
        ),
        max_size=12,
    )
)
def test_any_bytes_at_any_time_are_accounted_for(frames: list[tuple[int, bytes, int, int]]) -> None:
    packets = [
        RawPacket(number, time_ns, linktype, data, wire, "any")
        for number, (linktype, data, time_ns, wire) in enumerate(frames, 1)
    ]
    engine = Both(max_flows=4)
    out = [*engine.feed(packets), *engine.close()]
    decided = [item for item in out if not isinstance(item, FlowRecord)]
    finals = [item.flow for item in out if isinstance(item, FlowRecord) and item.final]
    assert [number for number, _, _ in decided] == list(range(len(packets)))
    assert engine.accounting.closes()
    assert engine.accounting.read == len(packets)
    assert engine.accounting.in_flows == sum(
        flow.source_packets + flow.destination_packets for flow in finals
    )
    assert engine.open_flows == 0
    assert len({(flow.community_id, flow.start_ns, flow.ordinal) for flow in finals}) == len(finals)
