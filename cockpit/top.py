"""`netflight top`: the worker's open windows, from its table's changelog: it is asked nothing."""

import contextlib
import re
import time
from collections.abc import Iterable
from typing import Any

import orjson
import typer
from confluent_kafka import KafkaException
from rich.live import Live

from cockpit.changelog import Changelog, Row
from cockpit.keyboard import keys
from cockpit.pipeline import position
from cockpit.terminal import stderr, stdout
from cockpit.top_screen import View, frame, selected
from runtime.errors import UsageError
from runtime.kafka import ANSWER_SECONDS, admin, consumer, require_broker
from runtime.settings import Settings
from schemas.topics import topic
from streams.app import app_id, parts_changelog
from streams.core.live import LiveWindows, as_json
from streams.core.statistics import Statistic, load_statistics
from streams.rules_tools import RULES

_LOOK_SECONDS = 0.2
_ONCE_LINES = 24
_FIRST = "traffic_by_protocol"


def run_top(settings: Settings, statistic: str | None, interval: float, *, once: bool, json: bool) -> None:
    """Show the windows until `q` or Ctrl-C; once where asked to, or where nobody watches.

    Raises BrokerError without a broker, UsageError for an unknown statistic or where no worker has run.
    """
    worker = settings.worker
    folders = [RULES / "statistics", *worker.more_statistics]
    known = load_statistics(folders, worker.window, worker.statistics)
    if statistic is not None and statistic not in known:
        raise UsageError(f"statistic {statistic}: there is none", f"one of {', '.join(known)}")
    changelog = _changelog(settings)
    try:
        top = Top(settings, known, statistic, changelog)
        if json:
            typer.echo(orjson.dumps(top.as_json()))
        elif once or not stdout.is_terminal:
            for name in top.names():
                stdout.print(frame(top.live, top.view(name), stdout.width, _ONCE_LINES, keys=False))
        else:
            _watch(top, interval)
    finally:
        changelog.close()


class Top:
    """The windows so far, and what is chosen of them."""

    def __init__(
        self, settings: Settings, known: dict[str, Statistic], only: str | None, changelog: Changelog
    ) -> None:
        """Reads all that there is."""
        self.live = LiveWindows(known if only is None else {only: known[only]})
        self._settings = settings
        self._known = known
        self._only = only
        self._changelog = changelog
        self._lag = _Lag(settings)
        self._name = only or (_FIRST if _FIRST in known else next(iter(known)))
        self._start_ns: int | None = None
        with stderr.status("reading the windows") if stderr.is_terminal else contextlib.nullcontext():
            for rows in changelog.until_now():
                self._take(rows)

    def names(self) -> list[str]:
        """The statistics to choose from: that which was asked for, else those that have windows, else the first."""
        return [self._only] if self._only else self.live.counted() or [self._name]

    def look(self, seconds: float) -> None:
        """Take in what comes within `seconds`."""
        self._take(self._changelog.read(seconds))

    def _take(self, rows: Iterable[Row]) -> None:
        for row in rows:
            self.live.take(row.key, row.value)

    def press(self, key: str) -> bool:
        """Do what a key says; False where it means the end."""
        names = self.names()
        place = names.index(self._name) if self._name in names else 0
        step = {"n": 1, "tab": 1, "p": -1}.get(key)
        if step is not None:
            self._name, self._start_ns = names[(place + step) % len(names)], None
        elif key in {"left", "right"} and (windows := self.live.windows(self._name)):
            moved = selected(windows, self._start_ns) + (1 if key == "right" else -1)
            newest = moved >= len(windows) - 1
            self._start_ns = None if newest else windows[max(moved, 0)].start_ns
        return key != "q"

    def view(self, name: str | None = None) -> View:
        """What is chosen, now."""
        names = self.names()
        name = name or (self._name if self._name in names else names[0])
        statistic = self._known[name]
        return View(
            namespace=self._settings.namespace,
            statistic=statistic,
            number=names.index(name) + 1,
            of=len(names),
            start_ns=self._start_ns,
            to_read=self._lag.events(statistic.dataset.topic),
            now_ns=time.time_ns(),
        )

    def as_json(self) -> dict[str, Any]:
        """The open windows of each statistic, and the one that closed last."""
        told = []
        for name in self.names():
            statistic = self._known[name]
            windows = self.live.current(name)
            told.append(
                {
                    "statistic": name,
                    "to_read": self._lag.events(statistic.dataset.topic),
                    "windows": [as_json(self.live, statistic, window) for window in windows],
                }
            )
        return {"namespace": self._settings.namespace, "statistics": told}


class _Lag:
    """How many messages the worker has still to read, by its committed offsets."""

    def __init__(self, settings: Settings) -> None:
        self._namespace = settings.namespace
        self._client = consumer(settings.kafka, app_id(settings.namespace), "netflight-top")
        self._left = 0

    def events(self, name: str) -> int:
        """Of a topic's events; what was known last where the broker does not answer."""
        with contextlib.suppress(KafkaException):
            self._left, _ = position(self._client, [topic(self._namespace, name)])
        return self._left


def _watch(top: Top, interval: float) -> None:
    """The screen, until a key or Ctrl-C ends it."""
    drawn = 0.0
    with (
        contextlib.suppress(KeyboardInterrupt),
        keys() as typed,
        Live(console=stdout, screen=True, auto_refresh=False) as screen,
    ):
        while True:
            pressed = typed()
            if not all(top.press(key) for key in pressed):
                return
            if pressed or time.monotonic() - drawn >= interval:
                drawn = time.monotonic()
                screen.update(
                    frame(top.live, top.view(), stdout.width, stdout.height, keys=True), refresh=True
                )
            top.look(_LOOK_SECONDS)


def _changelog(settings: Settings) -> Changelog:
    require_broker(settings.kafka)
    pattern = re.compile(re.escape(parts_changelog("X")).replace("X", "(.+)"))
    topics = admin(settings.kafka, "netflight-top").list_topics(timeout=ANSWER_SECONDS).topics
    if parts_changelog(settings.namespace) not in topics:
        others = sorted(found[1] for name in topics if (found := pattern.fullmatch(name)))
        raise UsageError(
            f"namespace {settings.namespace}: no worker has run there",
            f"--namespace names one: {', '.join(others)}"
            if others
            else "netflight up starts one, or netflight worker",
        )
    return Changelog(settings.kafka, parts_changelog(settings.namespace), "netflight-top")
