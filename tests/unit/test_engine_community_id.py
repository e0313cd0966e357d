"""Community ID against the specification's published values."""

import pytest

from producers.engine.community_id import community_id
from producers.engine.keys import opposite
from producers.engine.protocols import transport_name
from tests.engines import final
from tests.packets import address, ethernet, ip, raw, tcp, udp

A, B = "192.168.0.89", "192.168.0.1"
LINK, NEAR = ("fe80::200:86ff:fe05:80da", "fe80::260:97ff:fe07:69ea")
SITE, SITE_NEAR = ("3ffe:507:0:1:200:86ff:fe05:80da", "3ffe:507:0:1:260:97ff:fe07:69ea")
PUBLISHED = [
    (6, "128.232.110.120", "66.35.250.204", 34855, 80, "1:LQU9qZlK+B5F3KDmev6m5PMibrg="),
    (6, "66.35.250.204", "128.232.110.120", 80, 34855, "1:LQU9qZlK+B5F3KDmev6m5PMibrg="),
    (6, "10.0.0.1", "10.0.0.2", 10, 11569, "1:SXBGMX1lBOwhhoDrZynfROxnhnM="),
    (17, "192.168.1.52", "8.8.8.8", 54585, 53, "1:d/FP5EW3wiY1vCndhwleRRKHowQ="),
    (17, "8.8.8.8", "192.168.1.52", 53, 54585, "1:d/FP5EW3wiY1vCndhwleRRKHowQ="),
    (132, "192.168.170.8", "192.168.170.56", 7, 80, "1:jQgCxbku+pNGw8WPbEc/TS/uTpQ="),
    (132, "192.168.170.56", "192.168.170.8", 80, 7, "1:jQgCxbku+pNGw8WPbEc/TS/uTpQ="),
    (1, A, B, 8, 0, "1:X0snYXpgwiv9TZtqg64sgzUn6Dk="),
    (1, B, A, 0, 8, "1:X0snYXpgwiv9TZtqg64sgzUn6Dk="),
    (1, B, A, 0, 20, "1:X0snYXpgwiv9TZtqg64sgzUn6Dk="),
    (1, A, B, 20, 0, "1:3o2RFccXzUgjl7zDpqmY7yJi8rI="),
    (1, A, B, 20, 1, "1:tz/fHIDUHs19NkixVVoOZywde+I="),
    (58, LINK, NEAR, 135, 0, "1:dGHyGvjMfljg6Bppwm3bg0LO8TY="),
    (58, NEAR, LINK, 136, 0, "1:dGHyGvjMfljg6Bppwm3bg0LO8TY="),
    (58, SITE_NEAR, SITE, 3, 0, "1:NdobDX8PQNJbAyfkWxhtL2Pqp5w="),
    (58, SITE, SITE_NEAR, 3, 0, "1:/OGBt9BN1ofenrmSPWYicpij2Vc="),
]


@pytest.mark.parametrize(("protocol", "source", "destination", "one", "two", "expected"), PUBLISHED)
def test_a_packet_gets_the_published_id(  # noqa: PLR0917
    protocol: int, source: str, destination: str, one: int, two: int, expected: str
) -> None:
    ports = one.to_bytes(2, "big") + two.to_bytes(2, "big")
    icmp = bytes((one % 256, two % 256)) + bytes(6)
    payload = {6: tcp(one, two, 16), 17: udp(one, two), 132: ports + bytes(20)}.get(protocol, icmp)
    packet = raw(ethernet(ip(source, destination, protocol, payload)))
    (flow,) = final([packet])
    assert flow.community_id == expected
    ported = protocol not in {1, 58}
    assert (flow.source_port is not None) == ported
    assert flow.transport == {6: "tcp", 17: "udp", 132: "sctp", 1: "icmp", 58: "ipv6-icmp"}[protocol]


def test_protocols_without_ports_are_the_same_both_ways() -> None:
    key = bytes((50,)) + address("10.0.0.1") + address("10.0.0.2")
    back = opposite(key)
    assert back == bytes((50,)) + address("10.0.0.2") + address("10.0.0.1")
    assert community_id(key) == community_id(back)


def test_protocol_names_are_the_registry_s_keywords() -> None:
    named = {
        number: transport_name(number) for number in (0, 2, 47, 50, 51, 88, 89, 103, 112, 115, 132, 139, 145)
    }
    assert list(named.values()) == (
        ["hopopt", "igmp", "gre", "esp", "ah", "eigrp", "ospf", "pim", "vrrp", "l2tp", "sctp", "hip", "nsh"]
    )
    assert transport_name(253) == "ip-253"
