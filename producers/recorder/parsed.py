"""The flows of a segment's packets from the packets themselves.

A fragment whose datagram began before is without its ports.
"""

import numpy as np
from numpy.typing import NDArray

from producers.compiled import entry
from producers.engine.kernel.layout import FACTS
from producers.engine.kernel.parse import new_datagrams, parse
from producers.recorder.flowhash import FlowNumbers
from producers.recorder.index import WORD
from producers.recorder.segment import Words, linktypes
from producers.sources.write import PACKET_HEAD

_STEP = 4_096
_PACKET = 6
_MIN_WORDS = 8


def parsed(words: Words, start: int) -> tuple[NDArray[np.uint64], Words, int]:
    """Numbers and positions of the whole packets from `start` on, and where they end; all in words."""
    links = np.array(linktypes(words), dtype=np.int32)
    positions = np.empty(len(words) // _MIN_WORDS, dtype=np.uint32)
    count, end = _walk(words, start, len(links), positions)
    starts = positions[:count].astype(np.int64)
    numbers, numbering, datagrams = np.empty(count, dtype=np.uint64), FlowNumbers(), new_datagrams()
    facts, buffer = np.zeros(_STEP, dtype=FACTS), words.view(np.uint8)
    for first in range(0, count, _STEP):
        some = starts[first : first + _STEP]
        rows = facts[: len(some)]
        parse(
            buffer,
            some * WORD + PACKET_HEAD,
            words[some + 5].astype(np.int64),
            words[some + 6].astype(np.int64),
            words[some + 3].astype(np.int64) << 32 | words[some + 4].astype(np.int64),
            words[some + 2].astype(np.int32),
            links,
            rows,
            datagrams,
        )
        numbers[first : first + _STEP] = numbering.of(rows, np.arange(len(some)))
    return numbers, positions[:count], end


@entry
def _walk(words: Words, start: int, interfaces: int, positions: Words) -> tuple[int, int]:
    """Put down where whole packet blocks begin; return how many, and where they end."""
    at, count = np.int64(start), np.int64(0)
    while at > 0 and at + _MIN_WORDS <= len(words):
        size = np.int64(words[at + 1])
        end = at + (size >> 2)
        if (
            words[at] != _PACKET
            or size & 3
            or end < at + _MIN_WORDS
            or end > len(words)
            or words[end - 1] != size
            or np.int64(words[at + 5]) > size - 4 * _MIN_WORDS
            or np.int64(words[at + 2]) >= interfaces
        ):
            break
        positions[count] = at
        count += 1
        at = end
    return int(count), int(at)
