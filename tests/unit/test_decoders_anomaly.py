"""Anomalies by hand: expert items, what is past the limit, flows in trouble."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.decoders.datasets.anomaly import LAYER, troubles
from producers.decoders.records import Reader
from producers.decoders.transactions import LimitTracker, tracker_for
from tests.trees import decoder, event, flow, place, units

EXPERT = {
    "_ws.expert.message": "Malformed Packet (Exception occurred)",
    "_ws.expert.severity": "8388608",
    "_ws.expert.group": "117440512",
}


def test_an_error_is_told_and_a_warning_is_not() -> None:
    (unit,) = units("anomaly", {**EXPERT, LAYER: "dhcp"}, place(flow("udp")), "_ws.expert")
    told = event("anomaly", request=unit)["netflight"]["anomaly"]
    assert told == {
        "kind": "malformed",
        "protocol": "dhcpv4",
        "severity": "error",
        "group": "malformed",
        "message": "Malformed Packet (Exception occurred)",
        "count": 1,
    }
    warning = {**EXPERT, "_ws.expert.severity": "6291456"}
    assert units("anomaly", warning, place(flow()), "_ws.expert") == []


@pytest.mark.parametrize(
    ("layer", "message", "group", "kept"),
    [
        ("ssh", "Invalid key length: 1190", 150_994_944, False),
        ("ssh", "Malformed Packet (Exception occurred)", 117_440_512, False),
        ("image-gif", "Malformed Packet (Exception occurred)", 117_440_512, False),
        ("kafka", "Malformed Packet (Exception occurred)", 117_440_512, False),
        ("irc", "Prefix missing ending <space>", 117_440_512, False),
        ("igmp", "Bad checksum [should be 0x0e9a]", 16_777_216, False),
        ("dns", "Malformed Packet (Exception occurred)", 117_440_512, True),
        ("tls", "Vector length 5 is too large", 150_994_944, True),
    ],
)
def test_what_tshark_misreads_is_no_anomaly(layer: str, message: str, group: int, kept: bool) -> None:  # noqa: FBT001  # a case
    item = {**EXPERT, "_ws.expert.message": message, "_ws.expert.group": str(group), LAYER: layer}
    assert bool(units("anomaly", item, place(flow()), "_ws.expert")) == kept


@given(
    st.dictionaries(
        st.sampled_from([*EXPERT, LAYER]), st.sampled_from(["", "x", "-1", "9" * 30, ["8388608"]])
    )
)
def test_strange_items_raise_nothing(layer: dict[str, object]) -> None:
    assert len(units("anomaly", layer, place(flow()), "_ws.expert")) <= 1


def test_the_reader_says_what_an_item_is_about() -> None:
    record = (
        b'{"_source": {"layers": {"tcp": {"filtered": "tcp"}, "_ws.malformed": {"_ws.expert": '
        b'{"_ws.expert.severity": "8388608"}}, "dns": {"a": "1"}}}}'
    )
    reading = Reader(frozenset({"_ws.malformed", "_ws.expert", "dns"}), frozenset({"_ws.expert"})).read(
        record
    )
    assert reading is not None
    assert [layer[LAYER] for name, layer in reading.layers if name == "_ws.expert"] == ["dns"]


def test_a_flow_has_so_many_events_of_a_message_and_one_for_the_rest() -> None:
    tracker, on = tracker_for(decoder("anomaly")), flow()
    assert isinstance(tracker, LimitTracker)
    told = []
    for frame in range(1, 31):
        for _ in range(2):  # twice in a packet is once
            (unit,) = units("anomaly", {**EXPERT, LAYER: "dns"}, place(on, frame), "_ws.expert")
            told += tracker.add(unit)
    assert len(told) == 10
    (rest,) = tracker.end(on)
    built = event("anomaly", request=rest.request, response=rest.response)
    assert built["netflight"]["anomaly"]["count"] == 20
    assert built["netflight"]["frame"] == {"first": 11, "last": 30}
    assert list(tracker.close()) == []


@pytest.mark.parametrize(
    ("counters", "wanted"),
    [
        ({"retransmits": 19}, []),
        ({"retransmits": 20}, [20]),
        ({"retransmits": 20, "source_packets": 401}, []),
        ({"zero_windows": 5, "out_of_order": 30}, [30, 5]),
        ({"source_missed_bytes": 1 << 16, "source_bytes": 1 << 20}, [1 << 16]),
        ({"source_missed_bytes": 1 << 16, "source_bytes": 1 << 22}, []),
    ],
)
def test_trouble_begins_at_its_thresholds(counters: dict[str, int], wanted: list[int]) -> None:
    found = troubles(replace(flow(), **counters), "")
    assert [unit.fields["netflight.anomaly.count"] for unit in found] == wanted
