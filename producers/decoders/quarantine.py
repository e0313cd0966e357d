"""Packets that a tshark died on, kept with those before and after them, so that somebody can find out why."""

import logging
import os
import time
from pathlib import Path
from struct import pack

from runtime.names import shown

_MAX_FILES = 100
_COMMENT = 1  # pcapng's opt_comment
_SECTION = 0x0A0D0D0A

_log = logging.getLogger(__name__)


class Quarantine:
    """A folder of small captures, the oldest of which make room for the newest. Never raises: decoding goes on."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.files: list[str] = []

    def put(self, interfaces: bytes, packets: bytes | memoryview, frame: int, reason: str) -> None:
        """Keep packets (pcapng blocks) around the one at `frame`; the reason is the section's comment."""
        name = f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{os.getpid()}-frame-{frame}.pcapng"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            kept = sorted(self._folder.glob("*.pcapng"))
            for old in kept[: max(len(kept) - _MAX_FILES + 1, 0)]:
                old.unlink(missing_ok=True)
            file = self._folder / name
            file.write_bytes(_section(f"frame {frame}: {reason}") + interfaces + packets)
        except OSError as error:
            _log.warning("%s: packets not quarantined: %s", self._folder, error.strerror)
            return
        self.files.append(shown(file))


def _section(comment: str) -> bytes:
    """A section header (draft-ietf-opsawg-pcapng, section 4.1) of unknown length with a comment."""
    text = comment.encode()[:1000]
    options = pack("<HH", _COMMENT, len(text)) + text + bytes(-len(text) % 4) + bytes(4)
    length = 28 + len(options)
    return pack("<IIIHHq", _SECTION, length, 0x1A2B3C4D, 1, 0, -1) + options + pack("<I", length)
