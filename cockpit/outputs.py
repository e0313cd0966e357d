"""Outputs that are inputs: refused before anything is opened, as opening an output empties it."""

import os
import stat
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

from runtime.errors import CaptureError, NotACaptureError, UsageError

STREAM = "-"
Named: TypeAlias = str | Path
_Identity: TypeAlias = tuple[int, int]


def refuse_inputs(inputs: Sequence[Named], outputs: Mapping[str, Named | None]) -> None:
    """Raise UsageError if an output is also an input, or if two outputs are one file.

    `inputs` are files, folders (which stand for every capture in them, at any depth) and `-` for standard input.
    `outputs` maps the option that names an output to its file; None is no output and `-` is standard output. Files are
    compared by device and inode, so links count as what they lead to.
    """
    taken: dict[_Identity | Path, str] = {}
    for option, output in outputs.items():
        for path in _written(output):
            identity = _identity(path)
            if identity is not None:
                _refuse(option, path, identity, inputs)
            known = identity or (path if isinstance(path, int) else path.resolve())
            if isinstance(known, int):
                continue
            if taken.setdefault(known, option) != option:
                raise UsageError(
                    f"{output}: both {taken[known]} and {option} name this file", "name another file for one"
                )


def refuse_folder(inputs: Sequence[Named], option: str, folder: Path) -> None:
    """Raise UsageError if an input is in the folder that a command writes to and deletes from, or contains it."""
    target = folder.resolve()
    for source in inputs:
        if source == STREAM:
            continue
        path = Path(source).resolve()
        inside = path.is_relative_to(target)
        if inside or (path.is_dir() and target.is_relative_to(path)):
            raise UsageError(
                f"{source}: {option} writes to {folder}, which {'it is in' if inside else 'is in it'}",
                "keep the recorder's ring apart from other captures and outputs",
            )


def _written(output: Named | None) -> Iterator[Path | int]:
    """What is opened for an output: standard output, or the file and the draft that becomes it."""
    if output == STREAM:
        with suppress(OSError, ValueError):
            yield sys.stdout.fileno()
    elif output is not None:
        path = Path(output)
        yield path
        yield path.with_name(f"{path.name}.part")


def _identity(file: Named | int) -> _Identity | None:
    """Device and inode of a regular file that exists; None for all else, such as a pipe or /dev/null."""
    try:
        found = os.stat(file)  # noqa: PTH116  # a path or a descriptor
    except (OSError, ValueError):
        return None
    return (found.st_dev, found.st_ino) if stat.S_ISREG(found.st_mode) else None


def _refuse(option: str, output: Path | int, identity: _Identity, inputs: Sequence[Named]) -> None:
    for source in inputs:
        found = _input(source, identity)
        if found:
            written = "standard output" if isinstance(output, int) else str(output)
            raise UsageError(
                f"{found}: the input is also the output {written} of {option}, which would overwrite it",
                f"name another file with {option}",
            )


def _input(source: Named, identity: _Identity) -> str:
    """The name of the input with this identity: the source itself or a capture in it; empty if there is none."""
    if source == STREAM:
        with suppress(OSError, ValueError):
            return "standard input" if _identity(sys.stdin.fileno()) == identity else ""
        return ""
    path = Path(source)
    if not path.is_dir():
        return str(source) if _identity(path) == identity else ""
    names = (Path(folder, name) for folder, _, names in os.walk(path) for name in names)
    return next((str(file) for file in names if _identity(file) == identity and _is_capture(file)), "")


def _is_capture(file: Path) -> bool:
    """Whether a file in a folder is read: events of an earlier run are passed over, and may be written again."""
    from producers.sources.file import check

    try:
        check(file)
    except NotACaptureError:
        return False
    except CaptureError:
        return True
    return True
