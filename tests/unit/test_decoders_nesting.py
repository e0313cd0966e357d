"""Layers of a packet with several IP headers: each is decoded only for the IP packet that it belongs to."""

from typing import Any

import orjson
import pytest

from producers.decoders.nesting import nesting_of, placed
from producers.decoders.records import Reader

WANTED = frozenset({"dns", "icmp", "_ws.malformed"})


def record(names: str, *, repaired: bool = False) -> bytes:
    """A record of layers, of which those that are wanted say at which place they stand."""
    found: dict[str, list[Any]] = {}
    for place, name in enumerate(names.split()):
        found.setdefault(name, []).append({"at": str(place)} if name in WANTED else 0)
    layers = {name: values if len(values) > 1 else values[0] for name, values in found.items()}
    if repaired:
        return orjson.dumps({"_source": {"layers": layers}})
    several = sum(name in {"ip", "ipv6"} for name in names.split()) > 1
    return orjson.dumps([0, layers, names.split()] if several else [0, layers])


def told(names: str, depth: int, *, repaired: bool = False) -> tuple[list[str], bool]:
    """Where the layers stand that are decoded, and whether others were left out."""
    reading = Reader(WANTED).read(record(names, repaired=repaired), depth)
    assert reading is not None
    return [layer["at"] for _, layer in reading.layers], reading.misplaced


@pytest.mark.parametrize(
    ("names", "depth", "told_of"),
    [
        ("eth ip udp dns", 1, (["3"], False)),
        ("eth ip udp dns", 2, ([], True)),
        ("eth ip udp dns", 0, ([], True)),
        ("eth arp", 0, ([], False)),
        ("eth ip udp vxlan eth ip udp dns", 2, (["7"], False)),
        ("eth ip udp vxlan eth ip udp dns", 1, ([], True)),
        ("eth ip udp vxlan eth ip udp dns", 3, ([], True)),
        ("eth ip ipv6 udp dns", 2, (["4"], False)),
        ("eth ip udp dns gre ip udp dns", 2, (["7"], True)),
        ("eth ip udp dns gre ip udp dns", 1, (["3"], True)),
        ("eth ip udp dns dns gre ip udp", 2, ([], True)),
        ("eth ip icmp ip udp dns", 1, (["2"], False)),
        ("eth ip gre ip icmp ip udp dns", 2, (["4"], False)),
        ("eth ip gre ip icmp ip udp dns", 1, ([], True)),
        ("eth ip udp _ws.malformed", 0, (["3"], False)),
        ("eth ip udp _ws.malformed", 2, ([], True)),
        ("eth ip udp data", 2, ([], False)),
    ],
)
def test_only_the_layers_of_the_flows_own_ip_packet_are_decoded(
    names: str, depth: int, told_of: tuple[list[str], bool]
) -> None:
    assert told(names, depth) == told_of


def test_a_record_that_could_not_be_made_compact_is_read_with_care() -> None:
    assert told("eth ip udp vxlan eth ip udp dns", 2, repaired=True) == (["7"], False)
    assert told("eth ip udp vxlan eth ip udp dns", 1, repaired=True) == ([], True)
    assert told("eth ip udp dns", 1, repaired=True) == (["3"], False)


def test_what_is_remembered_of_a_record_is_for_its_depth() -> None:
    reader, names = Reader(WANTED), record("eth ip udp tls")
    for depth in (1, 2, 1):
        reading = reader.read(names, depth)
        assert reading is not None
        assert reading.protocols[0] == (("tls",) if depth == 1 else ())


def test_the_protocols_of_an_outer_flow_are_those_before_what_is_inside() -> None:
    reading = Reader(WANTED).read(record("eth ip udp l2tp ppp ip udp dns"), 1)
    assert reading is not None
    assert reading.protocols[0] == ("l2tp", "ppp")


def test_layers_of_which_the_number_is_not_as_the_names_say_are_left_out() -> None:
    nesting = nesting_of(("eth", "ip", "dns", "gre", "ip", "dns"))
    assert placed({"dns": [{"a": "1"}]}, nesting, 2) == ({}, {"dns": [{"a": "1"}]})


def held(*addresses: str) -> tuple[list[str], bool]:
    """Where the layers stand that are decoded of what an A-MSDU of IP packets holds, in GRE."""
    parts = {f"subframe {number}": {"ip": {"ip.src": each}} for number, each in enumerate(addresses)}
    layers = {"ip": 0, "gre": 0, "wlan": 0, "wlan_aggregate": parts, "dns": {"at": "5"}}
    reading = Reader(WANTED).read(orjson.dumps([0, layers]), 2)
    assert reading is not None
    return [layer["at"] for _, layer in reading.layers], reading.misplaced


def test_what_an_aggregate_of_one_packet_holds_is_decoded_and_of_several_it_is_not() -> None:
    assert held("10.0.0.1") == (["5"], False)
    assert held("10.0.0.1", "10.0.0.2") == ([], True)


def test_a_sample_of_traffic_is_not_what_its_flow_said() -> None:
    assert told("eth ip udp sflow dns", 1) == ([], False)
