"""From what was typed to sources: a file, a folder of captures, `-` for standard input."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from producers.sources.file import FileSource, check
from producers.sources.follow import FollowSource
from producers.sources.packet import Source
from producers.sources.stdin import StdinSource
from runtime.errors import CaptureError, UsageError
from runtime.names import shown

STDIN = "-"


class Skipped(NamedTuple):
    """A file in a folder that is no capture, and why it is none."""

    path: str
    reason: str


class Expanded(NamedTuple):
    """Captures to open, in order, and the files passed over in folders."""

    captures: list[str]
    skipped: list[Skipped]


def expand(paths: Iterable[str]) -> Expanded:
    """Replace each folder by the captures in it, sorted, at any depth; name what is none of these.

    A file that was named, a missing one, or a folder without a capture stays in the list: `open_path` tells
    what is wrong with it, and the others are still read. Links to folders are not followed.
    """
    captures: list[str] = []
    skipped: list[Skipped] = []
    for path in paths:
        if path == STDIN or not Path(path).is_dir():
            captures.append(path)
            continue
        found = []
        for file in _walk(Path(path)):
            reason = _why_not(file)
            if reason:
                skipped.append(Skipped(shown(file), reason))
            else:
                found.append(str(file))
        captures += found or [path]
    return Expanded(captures, skipped)


def open_path(path: str) -> Source:
    """The source for a capture file, or for standard input (`-`).

    Raises UsageError for what is missing or a folder, NotACaptureError for a file that holds something else.
    """
    if path == STDIN:
        return StdinSource()
    file = Path(path)
    if file.is_dir():
        raise UsageError(f"{path}: no capture in this folder", "name a capture, or a folder with some")
    try:
        if file.exists() and not file.is_file():  # a named pipe, or a shell's <(command)
            return StdinSource(file.open("rb", buffering=0), path)
        return FileSource(file)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UsageError(
            f"{path}: no such file", "name a capture, a folder, or - for standard input"
        ) from error
    except OSError as error:
        raise CaptureError(f"{path}: {error.strerror}") from error


def open_folder(paths: Sequence[str], tell: Callable[[str], None]) -> FollowSource:
    """The source that follows the folder that was named; `tell` hears of files in it that cannot be read.

    Raises UsageError unless one folder and nothing else was named.
    """
    if len(paths) != 1 or not Path(paths[0]).is_dir():
        raise UsageError(
            f"--follow: {' '.join(paths)} is not one folder", "name the folder that captures are written to"
        )
    return FollowSource(Path(paths[0]), tell)


def _walk(folder: Path) -> Iterator[Path]:
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        yield folder  # named as skipped, with the reason why it cannot be read
        return
    for entry in entries:
        if entry.is_dir():
            if not entry.is_symlink():
                yield from _walk(entry)
        else:
            yield entry


def _why_not(file: Path) -> str:
    """Why a file is no capture, or empty if it is one."""
    if file.exists() and not file.is_file() and not file.is_dir():
        return "not a regular file"
    try:
        check(file)
    except CaptureError as error:
        return error.what.removeprefix(f"{shown(file)}: ")
    return ""
