"""What is read from the rows of the table `parts`: the windows as they are, whatever the partitions and shapes."""

import random
from pathlib import Path
from typing import Any

from schemas.events import NANOSECONDS, Event, get
from streams.core.live import LiveWindow, LiveWindows, as_json, leading
from streams.core.statistics import Declaration, Statistic, compile_statistic
from streams.core.windows import PartitionWindows, Taken
from tests.events import sample

SECOND = NANOSECONDS
GROUPS = ("network.protocol", "network.transport")


def statistic(name: str = "some", **more: Any) -> Statistic:
    declared = {
        "title": "Some",
        "description": "Of the tests.",
        "dataset": "flow",
        "emits": "traffic_by_protocol",
        "where": {"flow.final": True},
        "group_by": {name: name for name in GROUPS},
        "measures": {"netflight.flows": "count", "network.bytes": {"sum": "network.bytes"}},
        "window": 10,
        **more,
    }
    return compile_statistic(name, Declaration.model_validate(declared), 60, Path(f"{name}.yaml"))


def flow(protocol: str, size: int = 1, *, final: bool = True) -> Event:
    fields = {"network.protocol": protocol, "network.transport": "tcp", "network.bytes": size}
    return sample("flow", **fields, **{"flow.final": final})


class Worker:
    """Source partitions that count, and what their changelog tells."""

    def __init__(self, *statistics: Statistic, lateness: float = 0.0, partitions: int = 2) -> None:
        self.live = LiveWindows({one.name: one for one in statistics})
        self.parts = [PartitionWindows("flow", n, statistics, lateness) for n in range(partitions)]
        self.offset = 0

    def event(self, partition: int, second: float, event: Event) -> None:
        self.offset += 1
        self.parts[partition].absorb(event, round(second * SECOND), self.offset, Taken())
        self._tell(self.parts[partition].flush()[0])

    def forget(self, partition: int) -> None:
        part = self.parts[partition]
        self._tell([*part.hand_on(part.due()), *part.forget()])

    def _tell(self, writes: list[Any]) -> None:
        for key, value in writes:
            self.live.take(key, value)

    def groups(self, name: str = "some") -> list[dict[Any, Any]]:
        return [
            {group[0]: tuple(values) for group, values in self.live.ranking(window).groups}
            for window in self.live.windows(name)
        ]


def test_a_window_is_the_sum_over_the_partitions_heaviest_group_first() -> None:
    worker = Worker(statistic())
    worker.event(0, 1, flow("tls", 5))
    worker.event(1, 2, flow("tls", 7))
    worker.event(1, 3, flow("dns", 100))
    worker.event(0, 4, flow("dns", 1000, final=False))
    (window,) = worker.live.windows("some")
    assert (window.start_ns, window.end_ns, window.closed) == (0, 10 * SECOND, False)
    groups, total = worker.live.ranking(window)
    assert groups == [(("dns", "tcp"), [1, 100]), (("tls", "tcp"), [2, 12])]
    assert total == [3, 112]
    assert worker.live.merged(window, [("tls", "tcp")]) == [2, 12]


def test_a_later_row_replaces_the_one_before_also_in_a_window_that_was_looked_at() -> None:
    worker = Worker(statistic())
    for size, expected in ((5, 5), (6, 11)):
        worker.event(0, 1, flow("tls", size))
        assert worker.groups() == [{"tls": (expected // 5, expected)}]


def test_a_window_is_closed_when_every_partition_that_counts_in_it_is_past_its_end() -> None:
    worker = Worker(statistic())
    worker.event(0, 1, flow("tls"))
    worker.event(1, 2, flow("tls"))
    worker.event(0, 31, flow("tls"))
    assert [window.closed for window in worker.live.windows("some")] == [False, False]
    assert worker.live.progress("some") == (0, 30 * SECOND, 2)
    worker.event(1, 32, flow("tls"))
    assert [window.closed for window in worker.live.windows("some")] == [True, False]


def test_current_are_the_open_windows_and_the_one_that_closed_last() -> None:
    worker = Worker(statistic(), lateness=15, partitions=1)
    for second in (1, 11, 21, 31, 41):
        worker.event(0, second, flow("tls"))
    assert [window.start_ns // SECOND for window in worker.live.current("some")] == [10, 20, 30, 40]


def test_a_forgotten_window_is_gone() -> None:
    worker = Worker(statistic(grace=20), partitions=1)
    worker.event(0, 1, flow("tls"))
    worker.event(0, 45, flow("tls"))
    worker.forget(0)
    assert [window.start_ns // SECOND for window in worker.live.windows("some")] == [40]


def test_rows_of_unknown_statistics_are_passed_over() -> None:
    worker = Worker(statistic("some"), statistic("other"))
    worker.live = LiveWindows({"some": statistic("some")})
    worker.event(0, 1, flow("tls"))
    assert worker.live.counted() == ["some"]


def test_hopping_windows_are_made_of_panes() -> None:
    worker = Worker(statistic(window={"hopping": {"size": 20, "step": 10}}))
    worker.event(0, 5, flow("tls", 1))
    worker.event(1, 15, flow("tls", 2))
    assert [window.start_ns // SECOND for window in worker.live.windows("some")] == [-10, 0, 10]
    assert worker.groups() == [{"tls": (1, 1)}, {"tls": (2, 3)}, {"tls": (1, 2)}]


def test_of_sessions_the_newest_of_each_group_is_shown_while_it_lasts() -> None:
    worker = Worker(statistic(window={"session": {"gap": 10}}))
    worker.event(0, 1, flow("tls", 1))
    worker.event(0, 100, flow("tls", 2))
    worker.event(1, 107, flow("tls", 3))
    worker.event(1, 50, flow("dns", 4))
    assert worker.live.windows("some") == [LiveWindow("some", 100 * SECOND, 107 * SECOND, closed=False)]
    assert worker.groups() == [{"tls": (2, 5)}]


def test_whatever_the_order_and_the_partition_the_sums_are_the_same() -> None:
    draw = random.Random(3)
    events = [
        (draw.uniform(0, 60), flow(draw.choice(["tls", "dns"]), draw.randrange(99))) for _ in range(300)
    ]
    expected: dict[tuple[int, str], int] = {}
    for second, event in events:
        place = (int(second // 10), get(event, "network.protocol"))
        expected[place] = expected.get(place, 0) + get(event, "network.bytes")
    worker = Worker(statistic(), lateness=60)
    for second, event in events:
        worker.event(draw.randrange(2), second, event)
    found = {
        (window.start_ns // (10 * SECOND), group[0]): values[1]
        for window in worker.live.windows("some")
        for group, values in worker.live.ranking(window).groups
    }
    assert found == expected


def test_the_measure_that_ranks_is_that_of_top_else_bytes_else_the_first() -> None:
    ranked = {"by": "netflight.flows", "limit": 1, "rank": "netflight.rank"}
    talkers = {"emits": "top_talkers", "group_by": {"host.ip": "source.ip"}}
    assert leading(statistic()) == 1
    assert leading(statistic(**talkers, top=ranked)) == 0
    assert leading(statistic(measures={"netflight.flows": "count"})) == 0


def test_as_json_names_the_fields() -> None:
    worker = Worker(statistic(), partitions=1)
    worker.event(0, 1, flow("tls", 5))
    told = as_json(worker.live, statistic(), worker.live.windows("some")[0])
    assert told["groups"] == [
        {
            "network.protocol": "tls",
            "network.transport": "tcp",
            "netflight.flows": 1,
            "network.bytes": 5,
        }
    ]
    assert (told["start_ns"], told["closed"], told["watermark_ns"]) == (0, False, 0)
