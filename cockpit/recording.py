"""A recorder beside a capture: made from the settings, told of alerts, closed at the end."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cockpit.terminal import note
from runtime.settings import Settings
from runtime.telemetry import Telemetry

if TYPE_CHECKING:
    from producers.recorder.recorder import Recorder


@contextmanager
def recording(
    settings: Settings, telemetry: Telemetry, folder: Path | None = None, *, live: bool
) -> Iterator["Recorder"]:
    """Yield a recorder on the ring in `folder` (else the settings'); flows of alerts are kept while it is open.

    A live capture never waits for the disk, captures that stand still do. Raises UsageError where another
    recorder has the ring.
    """
    from producers.recorder.alerts import AlertKeeper
    from producers.recorder.recorder import Recorder

    wanted = settings.recorder
    recorder = Recorder(
        folder or ring_folder(settings),
        wanted.quota,
        wanted.max_age,
        wanted.kept_quota,
        wanted.segment,
        backlog_bytes=wanted.backlog,
        wait=not live,
        telemetry=telemetry,
        tell=note,
    )
    try:
        keeper = AlertKeeper(settings, recorder)
        try:
            yield recorder
        finally:
            keeper.close()
    finally:
        recorder.close()


def ring_folder(settings: Settings) -> Path:
    """The folder of the packet ring."""
    return settings.recorder.folder or settings.state / "ring"


def tell_recorded(recorder: "Recorder") -> None:
    """Say what was recorded, and what was not and why."""
    told = recorder.summary()
    note(f"{told['packets']:,} packets recorded in {recorder.folder}, {told['bytes']:,} bytes")
    for reason, packets in told["unrecorded"].items():
        note(f"{packets:,} packets not recorded: {reason}")
