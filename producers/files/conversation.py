"""What the watch feeds: a connection's two streams in order, and where files are told."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from producers.files.body import File, Spot
from producers.files.stream import Budget


@dataclass(frozen=True, slots=True)
class Tools:
    """What every conversation uses: where to tell files, up to which size they are hashed, memory for all."""

    tell: Callable[[File], None]
    limit: int
    budget: Budget = field(default_factory=lambda: Budget(1 << 26))


class Conversation(Protocol):
    """A connection's parser. `forward` says that the flow's initiator sent it.

    `done` is true when it looks for nothing more in this connection.
    """

    done: bool

    def data(self, forward: bool, data: bytes, spot: Spot) -> None:  # noqa: FBT001  # which side, no mode
        """The next bytes of a side; `spot` is the packet they came with."""
        ...

    def room(self, forward: bool) -> int:  # noqa: FBT001  # as above
        """How many of a side's next bytes are content and do not end it, so that they can come together."""
        ...

    def gap(self, forward: bool, size: int, spot: Spot) -> None:  # noqa: FBT001  # as above
        """So many bytes of a side were not seen."""
        ...

    def end(self, forward: bool, spot: Spot) -> None:  # noqa: FBT001  # as above
        """A side has sent its FIN, and everything before it was told."""
        ...

    def close(self, spot: Spot) -> None:
        """The connection is over: no packet of it follows."""
        ...
