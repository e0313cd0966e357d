"""What every source yields: packets in the order of their capture, in blocks of columns.

A block holds the captured bytes of its packets in one buffer and a column for each of their figures, so that the
decision engine reads a million packets without making an object of any. Whoever wants packets one by one
iterates over the block.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray


class RawPacket(NamedTuple):
    """One packet as captured. `frame` counts from 1 in its capture; `time_ns` is nanoseconds since 1970."""

    frame: int
    time_ns: int
    linktype: int
    data: bytes
    wire_length: int
    interface: str


class Interface(NamedTuple):
    """What a packet was captured on: the interface's name (empty if not told) and its link type."""

    name: str
    linktype: int


@dataclass(slots=True, eq=False)
class Block:
    """Packets that follow each other, by column; the columns have one entry a packet.

    `buffer` holds the captured bytes (uint8), `offset` where in it each packet begins (int64), `captured` and
    `wire` its lengths in bytes as captured and on the wire (int64), `time_ns` nanoseconds since 1970
    (int64), `interface` the index of its entry in `interfaces` (int32). The first packet is frame
    `first_frame` of its capture, the next one the next. Nobody changes a block after it was yielded.
    """

    first_frame: int
    buffer: NDArray[np.uint8]
    time_ns: NDArray[np.int64]
    offset: NDArray[np.int64]
    captured: NDArray[np.int64]
    wire: NDArray[np.int64]
    interface: NDArray[np.int32]
    interfaces: tuple[Interface, ...]

    def __len__(self) -> int:
        return len(self.time_ns)

    def packet(self, index: int) -> RawPacket:
        """The packet at `index`, 0 to len - 1, with a copy of its bytes."""
        start = int(self.offset[index])
        name, linktype = self.interfaces[self.interface[index]]
        return RawPacket(
            self.first_frame + index,
            int(self.time_ns[index]),
            linktype,
            self.buffer[start : start + int(self.captured[index])].tobytes(),
            int(self.wire[index]),
            name,
        )

    def __iter__(self) -> Iterator[RawPacket]:
        return map(self.packet, range(len(self)))


def block_of(packets: Sequence[RawPacket]) -> Block:
    """A block of packets that stand one by one; their frames must follow each other."""
    interfaces = list(dict.fromkeys(Interface(p.interface, p.linktype) for p in packets))
    lengths = np.array([len(p.data) for p in packets], dtype=np.int64)
    return Block(
        packets[0].frame if packets else 1,
        np.frombuffer(bytearray().join(p.data for p in packets), dtype=np.uint8),  # writable, as others' are
        np.array([p.time_ns for p in packets], dtype=np.int64),
        np.cumsum(lengths, dtype=np.int64) - lengths,
        lengths,
        np.array([p.wire_length for p in packets], dtype=np.int64),
        np.array([interfaces.index(Interface(p.interface, p.linktype)) for p in packets], dtype=np.int32),
        tuple(interfaces),
    )


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
