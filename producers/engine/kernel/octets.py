"""Numbers in network order out of a block's buffer, and what else every stage needs.

Nobody checks here: the caller has made sure that the packet was captured up to there. Indexes are unsigned so that
numba does not look whether they count from the end.
"""

from typing import TYPE_CHECKING, Any, cast

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]  # it has none
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from producers.compiled import bare_inner

if TYPE_CHECKING:
    from collections.abc import Callable

Buffer = NDArray[np.uint8]
Facts = NDArray[Any]
"""Rows of `layout.FACTS`."""
Place = tuple[int, int]
"""An EtherType and where what it names begins."""
NO_IP = (0, -1)
"""The place of what is no IP packet."""

number = cast("Callable[[Any], int]", np.int64)
"""Any integer as a signed one: numba makes a float of signed and unsigned 64 bits together."""


@bare_inner
def octet(buffer: Buffer, at: int) -> int:
    """The byte at `at`."""
    return number(buffer[np.uint64(at)])


@bare_inner
def short(buffer: Buffer, at: int) -> int:
    """Two bytes."""
    return octet(buffer, at) << 8 | octet(buffer, at + 1)


@bare_inner
def word(buffer: Buffer, at: int) -> int:
    """Four bytes."""
    return short(buffer, at) << 16 | short(buffer, at + 2)


@bare_inner
def long(buffer: Buffer, at: int) -> np.uint64:
    """Eight bytes, unsigned."""
    return np.uint64(word(buffer, at)) << np.uint64(32) | np.uint64(word(buffer, at + 4))


@bare_inner
def little(buffer: Buffer, at: int) -> int:
    """Two bytes, the low one first."""
    return octet(buffer, at) | octet(buffer, at + 1) << 8


@bare_inner
def little_word(buffer: Buffer, at: int) -> int:
    """Four bytes, the low one first."""
    return little(buffer, at) | little(buffer, at + 2) << 16


@bare_inner
def spread(value: np.uint64) -> np.uint64:
    """Every bit of a number spread over all of another, for hashes (MurmurHash3's 64-bit finalizer)."""
    value = (value ^ value >> np.uint64(33)) * np.uint64(0xFF51AFD7ED558CCD)
    value = (value ^ value >> np.uint64(33)) * np.uint64(0xC4CEB9FE1A85EC53)
    return value ^ value >> np.uint64(33)


@intrinsic  # type: ignore[untyped-decorator]  # numba has no types
def prefetch(_context: Any, buffer: Any, at: Any) -> Any:
    """Begin to bring the bytes at `at` into the cache, and go on at once; any number is allowed.

    A block is larger than the cache: to wait for the memory at each packet takes longer than to read the packet.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        number = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [data.type, number, number, number])
        native = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(native, [builder.gep(data, [arguments[1]]), number(0), number(3), number(1)])
        return context.get_dummy_value()

    return types.void(buffer, at), generate
