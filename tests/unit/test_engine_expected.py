"""Flows of public captures against another project's sessions (see docs/flows.md for what differs and why)."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from producers.engine.model import Flow, FlowRecord
from producers.sources.opening import expand, open_path
from tests.captures import captures
from tests.engines import Both

End = tuple[str, int]
Tuple = tuple[str, int, frozenset[End]]  # capture, protocol, both ends in no order
KNOWN_DIFFERENCES = {
    "arkime_synthetic.pcap": 7,
    "single-packets.pcap": 1,
    "socks5-http-302-frag.pcap": 1,
    "wireshark-dhcp.pcap": 1,
    "wireshark-dhcpv6.pcap": 1,
}


def flows_of(path: Path) -> tuple[list[Flow], Both]:
    engine = Both()
    flows = []
    for block in open_path(str(path)).blocks():
        flows += [item.flow for item in engine.feed(block) if isinstance(item, FlowRecord) and item.final]
    return flows + [record.flow for record in engine.close()], engine


@cache
def expected() -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = json.loads(
        (captures() / "arkime" / "expected.json").read_bytes()
    )
    return found


@cache
def ours() -> dict[str, list[Flow]]:
    return {name: flows_of(captures() / "arkime" / "captures" / name)[0] for name in expected()}


def sessions() -> Iterator[tuple[Tuple, dict[str, Any]]]:
    for name, found in expected().items():
        for session in found:
            if session["ip_protocol"] in {6, 17}:
                ends = frozenset(
                    (session[side]["ip"], session[side]["port"]) for side in ("source", "destination")
                )
                yield (name, session["ip_protocol"], ends), session


@cache
def counted() -> dict[Tuple, Counter[End]]:
    """Packets that each end sent, by 5-tuple; sessions of one 5-tuple are added up."""
    counts: dict[Tuple, Counter[End]] = defaultdict(Counter)
    for name, flows in ours().items():
        for flow in flows:
            if flow.source_port is not None and flow.destination_port is not None:
                source, destination = (
                    (flow.source_ip, flow.source_port),
                    (flow.destination_ip, flow.destination_port),
                )
                count = counts[name, flow.ip_protocol, frozenset((source, destination))]
                count[source] += flow.source_packets
                count[destination] += flow.destination_packets
    return counts


def theirs() -> dict[Tuple, Counter[End]]:
    counts: dict[Tuple, Counter[End]] = defaultdict(Counter)
    for key, session in sessions():
        for side in ("source", "destination"):
            end = session[side]
            counts[key][end["ip"], end["port"]] += end["packets"]
    return counts


def test_packet_counts_both_ways_agree_on_nearly_all_five_tuples() -> None:
    wanted = theirs()
    different = [key for key, count in wanted.items() if +count != +counted().get(key, Counter())]
    assert len(wanted) > 500
    assert 1 - len(different) / len(wanted) >= 0.97
    assert Counter(name for name, _, _ in different) == KNOWN_DIFFERENCES


def test_every_community_id_agrees() -> None:
    flows: dict[Tuple, set[str]] = defaultdict(set)
    for name, found in ours().items():
        for flow in found:
            ends = frozenset(
                ((flow.source_ip, flow.source_port or 0), (flow.destination_ip, flow.destination_port or 0))
            )
            flows[name, flow.ip_protocol, ends].add(flow.community_id)
    compared = [
        (flows[key], session["community_id"])
        for key, session in sessions()
        if key in flows and session.get("community_id")
    ]
    assert len(compared) > 500
    assert [pair for pair in compared if pair[0] != {pair[1]}] == []


@pytest.mark.parametrize("folder", ["arkime/captures", "ja4/captures", "protocols"])
def test_every_packet_of_every_capture_is_accounted_for(folder: str) -> None:
    found = expand([str(captures() / folder)])
    assert found.captures
    assert found.skipped == []
    for path in found.captures:
        flows, engine = flows_of(Path(path))
        assert engine.accounting.closes(), path
        assert (
            sum(flow.source_packets + flow.destination_packets for flow in flows)
            == engine.accounting.in_flows
        )
        names = [(flow.community_id, flow.start_ns, flow.ordinal) for flow in flows]
        assert len(set(names)) == len(names), path
