"""The mixed capture's other addresses: new flows, the same checksums."""

import socket
from collections.abc import Iterator
from struct import unpack

import pytest

from bench.support.mixed import readdressed
from tests.packets import ethernet, ip, udp

FRAMES = {
    "IPv4": ethernet(ip("10.1.0.3", "198.51.100.7", 17, udp(40_000, 53, b"query"))),
    "IPv6": ethernet(ip("2001:db8::5", "2001:db8:1::ffff", 17, udp(40_000, 53, b"query"))),
    "a VLAN": ethernet(
        b"\x00\x07\x08\x00" + ip("10.1.0.3", "198.51.100.7", 17, udp(40_000, 53, b"query")), 0x8100
    ),
}


def addresses(frame: bytes) -> Iterator[bytes]:
    start = 18 if frame[12:14] == b"\x81\x00" else 14
    if frame[start] >> 4 == 6:
        yield from (frame[start + 8 : start + 24], frame[start + 24 : start + 40])
    else:
        yield from (frame[start + 12 : start + 16], frame[start + 16 : start + 20])


def one_complement_sum(data: bytes) -> int:
    return sum(unpack(f">{len(data) // 2}H", data)) % 0xFFFF


@pytest.mark.parametrize("name", FRAMES)
def test_every_round_has_addresses_of_its_own_and_the_same_checksums(name: str) -> None:
    frame = FRAMES[name]
    rounds = [readdressed(frame, number) for number in range(100)]
    assert rounds[0] == frame
    for place in (0, 1):
        each = [list(addresses(other))[place] for other in rounds]
        assert len(set(each)) == len(rounds)
        assert len({one_complement_sum(address) for address in each}) == 1
    assert {len(other) for other in rounds} == {len(frame)}


@pytest.mark.parametrize("target", ["224.0.0.251", "255.255.255.255", "ff02::fb"])
def test_multicast_stays(target: str) -> None:
    source = "2001:db8::5" if ":" in target else "192.0.2.1"
    other = readdressed(ethernet(ip(source, target, 17, udp(5353, 5353, b"query"))), 3)
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    found = [socket.inet_ntop(family, address) for address in addresses(other)]
    assert found[1] == target
    assert found[0] != source


@pytest.mark.parametrize(
    "frame", [b"", bytes(14), ethernet(b"\x45" + bytes(10)), ethernet(bytes(30), 0x0806)]
)
def test_what_has_no_whole_ip_header_stays(frame: bytes) -> None:
    assert readdressed(frame, 7) == frame
