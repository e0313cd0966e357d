"""The stream of flows that `bench streams` measures with: valid, the same every time, adding up."""

import orjson

from bench.support.flow_stream import DATASET, flow_stream
from bench.support.group import best
from schemas.events import get, parse_timestamp
from schemas.jsonschema import validator


def test_the_events_are_valid_and_tell_what_is_counted_of_them() -> None:
    for made in flow_stream(500, keys=3):
        event = orjson.loads(made.value)
        validator(DATASET)(event)
        start = parse_timestamp(event["@timestamp"]) // 60_000_000_000 * 60_000_000_000
        protocol = get(event, "network.protocol") or "unknown"
        assert made.place == (start, protocol, get(event, "network.transport"))
        assert (made.packets, made.bytes) == (get(event, "network.packets"), get(event, "network.bytes"))
        assert made.key.decode() == get(event, "source.ip")
        assert made.final is get(event, "flow.final")
        assert len(made.value) < 1_100


def test_the_stream_is_the_same_every_time_and_goes_over_ten_minutes() -> None:
    first, again = (list(flow_stream(2_000)) for _ in range(2))
    assert first == again
    assert len({made.place[0] for made in first}) in {10, 11}
    assert len({orjson.loads(made.value)["event"]["id"] for made in first}) == 2_000


def test_more_keys_are_more_names_of_protocols() -> None:
    few, many = ({made.place[1:] for made in flow_stream(5_000, keys=keys)} for keys in (1, 10))
    assert (len(few), few < many) == (20, True)
    assert len(many) > 150


def test_the_best_run_is_the_one_with_the_highest_rate() -> None:
    runs = [{"seconds": 1.0, "events_per_second": 10}, {"seconds": 2.0, "events_per_second": 20}]
    assert best(runs) == {**runs[1], "runs": runs}
