"""How native parts are compiled: `entry` for what Python calls, `inner` for what only native functions call.

Compiled code is kept in the cache folder, under a digest of the sources beside the function and of the kernel's,
because numba's own cache does not see that a function in another file has changed.
"""

import hashlib
import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, NoReturn, TypeVar, cast

import numba
from numba.core.caching import FunctionCache
from numba.core.registry import CPUDispatcher
from numba.core.runtime.nrt import rtsys

from runtime.settings import cache_dir

Function = TypeVar("Function", bound=Callable[..., Any])


UNUSED_SECONDS = 30 * 86_400
"""Compiled code that nobody used for so long is removed when other code is compiled."""

_KERNEL = Path(__file__).parent / "engine" / "kernel"


@lru_cache(maxsize=16)
def cache_folder(folder: Path) -> str:
    """Where the code compiled from a folder's sources is kept."""
    digest = hashlib.sha256(numba.__version__.encode())
    for source in sorted({*folder.glob("*.py"), *_KERNEL.glob("*.py")}):
        digest.update(source.read_bytes())
    folder = cache_dir() / "kernel" / digest.hexdigest()[:16]
    with suppress(
        OSError
    ):  # numba tells if it cannot write there; a cache made by another user serves as it is
        _keep(folder)
    return str(folder)


def _keep(folder: Path) -> None:
    """Note that a folder of the cache is in use; before it is made, remove those that were not for long."""
    if folder.is_dir():
        os.utime(folder)
        return
    folder.mkdir(parents=True)
    for other in folder.parent.iterdir():
        if other.stat().st_mtime < time.time() - UNUSED_SECONDS:
            shutil.rmtree(other, ignore_errors=True)


def is_cached() -> bool:
    """Whether the decision engine was compiled on this machine before, so that it loads in a second."""
    folder = Path(cache_folder(_KERNEL))
    return all(any(folder.glob(f"*/{stage}-*.nbc")) for stage in ("parse.parse", "table.track"))


def entry(function: Function) -> Function:
    """A function that Python calls: compiled at its first call, then loaded from the cache folder."""
    return _kept(function)


class _Inner(CPUDispatcher):  # type: ignore[misc]  # numba has no types
    """Without the wrappers that make a native function callable from Python; they are a third of compiling it."""

    def __call__(self, *_args: Any, **_options: Any) -> NoReturn:
        raise TypeError(f"{self.py_func.__qualname__} is native: only functions of the kernel can call it")


def inner(function: Function) -> Function:
    """A function that only other kernel functions call: compiled with them, not kept on its own."""
    return _native(function)


def bare_entry(function: Function) -> Function:
    """As `entry`, where neither the function nor what it calls makes arrays: references are not counted.

    Counting them is atomic, for each array and call: a third of the time of what passes on a dozen for every packet.
    """
    return _kept(function, _nrt=False)


def bare_inner(function: Function) -> Function:
    """As `inner`, for a function that makes no arrays; whoever calls it may."""
    return _native(function, _nrt=False)


def inlined(function: Function) -> Function:
    """As `bare_inner`, put in place of each call: for what is small, or called in one place, and for every packet.

    A call of anything else pushes seven numbers for each array.
    """
    return _native(function, _nrt=False, forceinline=True)


class _Cache(FunctionCache):  # type: ignore[misc]  # numba has no types
    """Loads compiled code without what only compiling needs: numba's registries take half of the time of a start.

    numba registers them itself when it compiles (`compile_extra`).
    """

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        rtsys.initialize(target_context)
        with self._guard_against_spurious_io_errors():
            return self._load_overload(sig, target_context)


def _kept(function: Function, **options: bool) -> Function:
    """A function compiled at its first call and kept in the cache folder."""
    numba.config.CACHE_DIR = cache_folder(Path(function.__code__.co_filename).parent)
    native = numba.njit(cache=True, nogil=True, error_model="numpy", **options)(function)
    native._cache.__class__ = _Cache  # noqa: SLF001  # numba has no other way to say how compiled code is loaded
    return cast("Function", native)


def _native(function: Function, **options: bool) -> Function:
    options |= {"nogil": True, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    native = numba.njit(error_model="numpy", **options)(function)
    native.__class__ = _Inner
    return cast("Function", native)
