"""What every source yields: raw packets, in the order of their capture, in blocks."""

from collections.abc import Iterator
from typing import NamedTuple, Protocol


class RawPacket(NamedTuple):
    """One packet as captured. `frame` counts from 1 in its capture; `time_ns` is nanoseconds since 1970."""

    frame: int
    time_ns: int
    linktype: int
    data: bytes
    wire_length: int
    interface: str


Block = list[RawPacket]


class Source(Protocol):
    """Packets from one capture or interface.

    `blocks` ends at the end of the capture, or after `stop` was called. It raises CaptureError where the
    capture is cut off or damaged, after everything before that place has been yielded.
    `path` is the file's path (`log.file.path`), empty for an interface; `dropped` is how many packets the
    kernel dropped so far; `live` says that packets come in wall-clock time.
    """

    path: str
    live: bool

    @property
    def dropped(self) -> int:
        """Packets that the kernel or the interface dropped so far."""
        ...

    @property
    def progress(self) -> float | None:
        """The share of the capture that has been read, 0 to 1; None where it has no known end."""
        ...

    def blocks(self) -> Iterator[Block]:
        """Yield blocks of packets; a live source yields an empty block when nothing came for a while."""
        ...

    def stop(self) -> None:
        """End `blocks` soon, from another thread."""
        ...
