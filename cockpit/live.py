"""Sources that go on until they are stopped: an interface, or a folder that is being written to."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from cockpit.terminal import note
from runtime.errors import UsageError
from runtime.settings import Settings

if TYPE_CHECKING:
    from producers.sources.packet import Source

Follow = Annotated[
    bool,
    typer.Option("--follow", help="Go on with a folder that captures are being written to, until Ctrl-C."),
]


def live_source(
    settings: Settings,
    paths: Sequence[str] | None,
    interface: str | None,
    capture_filter: str,
    *,
    follow: bool,
) -> "Source | None":
    """The interface, or the folder to follow; None where captures are to be read to their end.

    Raises UsageError if `follow` goes with anything but one folder.
    """
    from producers.sources.live import LiveSource
    from producers.sources.opening import open_folder

    if follow:
        if interface:
            raise UsageError("--follow: an interface is followed anyway", "leave --follow away")
        return open_folder(paths or [], note)
    return LiveSource(interface, capture_filter, buffer=settings.capture.buffer) if interface else None
