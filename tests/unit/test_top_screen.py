"""The screen of `netflight top`: within 80 columns and 24 lines, whatever the statistic."""

import pytest
from rich.console import Console

from cockpit.top_screen import View, amount, frame, size, span
from schemas.events import NANOSECONDS
from streams.core.live import LiveWindows
from streams.core.statistics import Statistic, load_statistics
from streams.core.windows import PartitionWindows, Taken
from streams.rules_tools import RULES
from tests.events import START_NS, sample

STATISTICS = load_statistics([RULES / "statistics"], 60.0)
MINUTE = 60 * NANOSECONDS


def screen(statistic: Statistic, groups: int, *, width: int = 80, height: int = 24) -> list[str]:
    """The lines shown of six windows with so many clients each."""
    live = LiveWindows({statistic.name: statistic})
    part = PartitionWindows(statistic.dataset.name, 0, [statistic], 0)
    for number in range(6 * groups):
        time_ns = START_NS + number % 6 * MINUTE
        address = f"10.0.{number // 256}.{number % 256}"
        fields = {"source.ip": address, "destination.ip": address, "network.bytes": number + 1}
        if statistic.dataset.name == "flow":
            fields["network.direction"] = "internal"
        if statistic.dataset.name == "tls":
            fields |= {
                "netflight.tls.client.ja4": f"t13d{number:06}",
                "tls.client.ja3": f"{number}",
                "tls.server.ja3s": "1",
            }
        event = sample(statistic.dataset.name, **fields)
        part.absorb(event, time_ns, number, Taken())
    for key, value in part.flush()[0]:
        live.take(key, value)
    view = View("default", statistic, 1, 2, None, 1_234, START_NS + 600 * NANOSECONDS)
    console = Console(width=width, color_system=None)
    with console.capture() as shown:
        console.print(frame(live, view, width, height, keys=True))
    return shown.get().splitlines()


@pytest.mark.parametrize("name", STATISTICS)
@pytest.mark.parametrize("groups", [1, 40])
def test_every_statistic_fits_a_small_terminal(name: str, groups: int) -> None:
    lines = screen(STATISTICS[name], groups)
    assert len(lines) <= 24
    assert max(len(line) for line in lines) <= 80
    assert lines[0].startswith(name.replace("_", " ").capitalize())
    assert "…" not in "".join(lines[4:7])
    assert lines[-1].startswith("n, p: other statistics")


def test_what_does_not_fit_is_told_together() -> None:
    lines = screen(STATISTICS["top_talkers"], 40)
    assert any(" more " in line for line in lines)
    assert any("100%" not in line and "%" in line for line in lines)


def test_without_rows_it_says_what_it_waits_for() -> None:
    live = LiveWindows(STATISTICS)
    view = View("default", STATISTICS["top_talkers"], 1, 1, None, 0, START_NS)
    console = Console(width=80, color_system=None)
    with console.capture() as shown:
        console.print(frame(live, view, 80, 24, keys=False))
    assert "nothing is counted yet" in shown.get()


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 B"), (999, "999 B"), (1_000, "0.98 KiB"), (1 << 20, "1.00 MiB"), (123 << 30, "123 GiB")],
)
def test_sizes_have_three_digits_and_a_binary_unit(number: int, text: str) -> None:
    assert size(number) == text


def test_values_are_told_as_what_they_are() -> None:
    heaviest = [{"value": "a.example", "count": 3}, {"value": "b.example", "count": 1}]
    assert amount("top.peers", heaviest) == "a.example +1"
    assert [amount("netflight.flows", value) for value in (None, 1_234_567, 0.5)] == [
        "-",
        "1,234,567",
        "0.50",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"), [(-1, "0 s"), (59, "59 s"), (331, "5 m 31 s"), (90_061, "1 d 1 h")]
)
def test_spans_have_two_units(seconds: float, text: str) -> None:
    assert span(seconds) == text
