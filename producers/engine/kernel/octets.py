"""Numbers in network order out of a block's buffer.

Nobody checks here: the caller has made sure that the packet was captured up to there. Indexes are unsigned so that
numba does not look whether they count from the end.
"""

from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from producers.compiled import inner

if TYPE_CHECKING:
    from collections.abc import Callable

Buffer = NDArray[np.uint8]

number = cast("Callable[[Any], int]", np.int64)
"""Any integer as a signed one: numba makes a float of signed and unsigned 64 bits together."""


@inner
def octet(buffer: Buffer, at: int) -> int:
    """The byte at `at`."""
    return number(buffer[np.uint64(at)])


@inner
def short(buffer: Buffer, at: int) -> int:
    """Two bytes."""
    return octet(buffer, at) << 8 | octet(buffer, at + 1)


@inner
def word(buffer: Buffer, at: int) -> int:
    """Four bytes."""
    return short(buffer, at) << 16 | short(buffer, at + 2)


@inner
def long(buffer: Buffer, at: int) -> np.uint64:
    """Eight bytes, unsigned."""
    return np.uint64(word(buffer, at)) << np.uint64(32) | np.uint64(word(buffer, at + 4))


@inner
def little(buffer: Buffer, at: int) -> int:
    """Two bytes, the low one first."""
    return octet(buffer, at) | octet(buffer, at + 1) << 8


@inner
def little_word(buffer: Buffer, at: int) -> int:
    """Four bytes, the low one first."""
    return little(buffer, at) | little(buffer, at + 2) << 16
