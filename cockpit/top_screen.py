"""What `netflight top` shows of a statistic: one window's groups, the windows beside it, how far the worker is."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cockpit.terminal import printable
from schemas.events import NANOSECONDS
from streams.core.live import LiveWindow, LiveWindows, leading
from streams.core.statistics import Statistic

_WINDOWS = 4
_BAR = 8
_GAP, _GROUP, _SHARE = 2, 13, _BAR + 5
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_LONGEST_NAME, _LONGEST_VALUE = 40, 20
_FIXED_LINES = 10
_FEWEST_GROUPS = 3


@dataclass(frozen=True)
class View:
    """What is looked at: a statistic, its place among those there are, and the window (None: the newest).

    `to_read` is how many events the worker has still to read; `now_ns` is what the clock says.
    """

    namespace: str
    statistic: Statistic
    number: int
    of: int
    start_ns: int | None
    to_read: int
    now_ns: int


def selected(windows: Sequence[LiveWindow], start_ns: int | None) -> int:
    """The place of the window that begins at `start_ns`, or what is nearest to it; the last where it is None."""
    if start_ns is None:
        return len(windows) - 1
    return min(range(len(windows)), key=lambda place: abs(windows[place].start_ns - start_ns))


def frame(live: LiveWindows, view: View, width: int, height: int, *, keys: bool) -> RenderableType:
    """The screen, of at most `height` lines; measures that its width has no room for are left out."""
    windows = live.windows(view.statistic.name)
    lines: list[RenderableType] = [_head(view)]
    if not windows:
        lines += [Text(), Text("  nothing is counted yet: waiting for the worker", style="dim")]
        return Group(*lines)
    place = selected(windows, view.start_ns)
    lines_about = _FIXED_LINES + (1 if view.statistic.forget_ns else 0)
    rows = max(_FEWEST_GROUPS, height - lines_about - min(len(windows), _WINDOWS))
    lines += [_about(live, view, windows[place]), Text()]
    lines.append(_groups(live, view.statistic, windows[place], rows, width))
    lines += [Text(), _beside(live, view.statistic, windows, place)]
    if keys:
        other = "n, p: other statistics   " if view.of > 1 else ""
        lines.append(Text(f"{other}←, →: earlier, later   q: quit", style="dim"))
    return Group(*lines)


def _head(view: View) -> RenderableType:
    line = Table.grid(expand=True)
    line.add_column(no_wrap=True, overflow="ellipsis")
    line.add_column(justify="right", no_wrap=True)
    title = view.statistic.name.replace("_", " ").capitalize()
    of = f", {view.number} of {view.of} statistics" if view.of > 1 else ""
    line.add_row(
        Text.assemble((title, "bold"), (f"  in {view.namespace}{of}", "dim")),
        Text(f"{_moment(view.now_ns, view.now_ns)} UTC", style="dim"),
    )
    return line


def _about(live: LiveWindows, view: View, window: LiveWindow) -> RenderableType:
    """The window, and how far the worker is."""
    progress = live.progress(view.statistic.name)
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(no_wrap=True, overflow="ellipsis")
    state = ("closed", "green") if window.closed else ("open", "yellow")
    grid.add_row("window", Text.assemble(f"{_span(window, view.now_ns)} UTC  ", state))
    if progress:
        behind = span((view.now_ns - progress.lowest_ns) / NANOSECONDS)
        ahead = progress.highest_ns - progress.lowest_ns
        apart = f", partitions {span(ahead / NANOSECONDS)} apart" if ahead else ""
        grid.add_row(
            "watermark", f"{_moment(progress.lowest_ns, view.now_ns)} UTC, {behind} behind the clock{apart}"
        )
    else:
        grid.add_row("watermark", "none yet")
    if view.statistic.forget_ns:
        grid.add_row("results", "only those groups that no earlier window had")
    grid.add_row("to read", f"{view.to_read:,} events" if view.to_read else "nothing")
    return grid


def _groups(
    live: LiveWindows, statistic: Statistic, window: LiveWindow, rows: int, width: int
) -> RenderableType:
    """The heaviest groups of a window, the share of each, and what the others are together."""
    groups, total = live.ranking(window)
    names, lead = statistic.measures.names, leading(statistic)
    whole = _whole([values[lead] for _, values in groups], total[lead])
    longest = groups[0][1][lead] / whole if groups and whole else 0.0
    shown = groups if len(groups) <= rows else groups[: rows - 1]
    lines = [([printable(str(part), _LONGEST_NAME) for part in group], values) for group, values in shown]
    if more := groups[len(shown) :]:
        blank = [""] * (len(statistic.groups) - 1)
        values = live.merged(window, [group for group, _ in more])
        lines.append(([f"{len(more):,} more", *blank], values))
    told = [[amount(name, value) for name, value in zip(names, values, strict=True)] for _, values in lines]
    titles = _titles(names)
    room = width - len(statistic.groups) * (_GROUP + _GAP) - (_SHARE + _GAP if whole else 0)
    places = _fitting([_wide([titles[n], *(row[n] for row in told)]) for n in range(len(names))], lead, room)
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), expand=True, header_style="dim")
    for title in _titles(statistic.groups):
        table.add_column(title, overflow="ellipsis", ratio=1, min_width=_GROUP)
    for place in places:
        style = "bold" if place == lead else ""
        table.add_column(titles[place], justify="right", no_wrap=True, style=style)
    if whole:
        table.add_column("share", no_wrap=True, width=_SHARE)
    for number, ((parts, values), row) in enumerate(zip(lines, told, strict=True)):
        share = [bar(values[lead] / whole, longest)] if whole else []
        style = "dim" if number >= len(shown) else ""
        table.add_row(*parts, *(row[place] for place in places), *share, style=style)
    return table


def _wide(texts: Sequence[str]) -> int:
    """The width of a column with these texts."""
    return max(len(line) for text in texts for line in text.split("\n")) + _GAP


def _fitting(widths: Sequence[int], lead: int, room: int) -> list[int]:
    """The columns that there is room for: the leading one, and the others from the first on."""
    left, places = room - widths[lead], [lead]
    for place in [place for place in range(len(widths)) if place != lead]:
        if widths[place] > left:
            break
        left -= widths[place]
        places.append(place)
    return sorted(places)


def _whole(parts: Sequence[Any], total: Any) -> float:
    """The total, if it is what the parts add up to: of greatest values or distinct ones there are no shares; else 0."""
    if not isinstance(total, int | float) or not all(isinstance(part, int | float) for part in parts):
        return 0.0
    return float(total) if total > 0 and math.isclose(sum(parts), total) else 0.0


def _beside(
    live: LiveWindows, statistic: Statistic, windows: Sequence[LiveWindow], place: int
) -> RenderableType:
    """Some windows around the one that is shown: how many groups, and what leads."""
    first = max(0, min(place - 1, len(windows) - _WINDOWS))
    lead = leading(statistic)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    for justify in ("left", "left", "left", "right", "right"):
        table.add_column(justify=justify, no_wrap=True)
    for number in range(first, min(first + _WINDOWS, len(windows))):
        window = windows[number]
        groups, total = live.ranking(window)
        table.add_row(
            "▶" if number == place else " ",
            _span(window, window.start_ns),
            Text("closed", "green") if window.closed else Text("open", "yellow"),
            f"{len(groups):,} group{'' if len(groups) == 1 else 's'}",
            amount(statistic.measures.names[lead], total[lead]),
            style="" if number == place else "dim",
        )
    return table


def _titles(names: Sequence[str]) -> list[str]:
    """Fields' names short enough for a column: the last word, and what is before it above where that is needed."""
    last = [name.rpartition(".")[2] for name in names]
    short = []
    for name, word in zip(names, last, strict=True):
        above = name.split(".")[-2:-1]
        whole = [*above, word] if last.count(word) > 1 or word == "ip" else [word]
        short.append("\n".join(whole).replace("_", "\n"))
    return short


def amount(name: str, value: Any) -> str:
    """A measure's value as a person reads it: bytes with a unit, numbers with separators, the heaviest of values."""
    if value is None:
        return "-"
    if isinstance(value, list):
        first = value[0]["value"] if value else "-"
        return printable(f"{first} +{len(value) - 1}" if len(value) > 1 else str(first), _LONGEST_VALUE)
    if name.endswith("bytes"):
        return size(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.2f}"


def size(value: float) -> str:
    """A number of bytes with a binary unit and three digits: 3.42 GiB."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if value < 1000 or unit == "TiB":
            break
        value /= 1024
    digits = 0 if unit == "B" or value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{digits}f} {unit}"


def span(seconds: float) -> str:
    """A span of time with its two largest units: `5 m 31 s`."""
    left = max(0, round(seconds))
    told: list[str] = []
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        number, left = divmod(left, length)
        if number or told or unit == "s":
            told.append(f"{number} {unit}")
    return " ".join(told[:2])


def bar(share: float, longest: float) -> Text:
    """A share of one as per cent, and as a bar that is full where it is `longest` or more."""
    eighths = round(min(max(share / longest, 0), 1) * _BAR * 8) if longest > 0 else 0
    full, rest = divmod(eighths, 8)
    drawn = ("█" * full + (_EIGHTHS[rest] if rest else "")).ljust(_BAR)
    return Text.assemble((drawn, "cyan"), f"{share * 100:4.0f}%")


def _span(window: LiveWindow, near_ns: int) -> str:
    return f"{_moment(window.start_ns, near_ns)} - {_moment(window.end_ns, window.start_ns)}"


def _moment(time_ns: int, near_ns: int) -> str:
    """A time in UTC; with its day where that is not the day of `near_ns`."""
    at, near = (datetime.fromtimestamp(ns // NANOSECONDS, UTC) for ns in (time_ns, near_ns))
    return f"{at:%H:%M:%S}" if at.date() == near.date() else f"{at:%Y-%m-%d %H:%M:%S}"
