"""Ends a stack when its owner is gone: an ephemeral stack does not outlive a SIGKILL of what started it.

A parent-death signal would not do: it comes when the starting *thread* ends, does not reach the server
that Elasticsearch's launcher starts, and leaves the folder. This small process waits on a pidfd of the owner.
"""

import os
import select
import shutil
import sys
from pathlib import Path

from cockpit.stack.process import ProcessRecord, alive, kill, read_record

LOOK_SECONDS = 2.0


def keep(owner: ProcessRecord, folder: Path) -> None:
    """Wait until the owner has ended, then end every process of the stack and remove its folder.

    Returns early where the folder is gone: the owner has stopped the stack itself.
    """
    try:
        handle = os.pidfd_open(owner.pid)
    except ProcessLookupError:
        handle = -1
    while handle >= 0 and alive(owner) and folder.is_dir():
        select.select([handle], [], [], LOOK_SECONDS)
    end(folder)


def end(folder: Path) -> None:
    """SIGKILL every recorded process of the stack in `folder`, then remove the folder."""
    for path in sorted(folder.glob("parts/*.json")):
        record = read_record(path)
        if record is not None:
            kill(record)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    pid, start, boot, place = sys.argv[1:]
    keep(ProcessRecord(int(pid), int(start), boot), Path(place))
