"""An index made anew from a segment's packets, where there is none (yet): after a crash, of the one being written.

The flow of a packet is what the kernel's parser says of it; only a fragment whose datagram began in an earlier
segment is without its ports then.
"""

import numpy as np

from producers.compiled import entry
from producers.engine.kernel.layout import FACTS
from producers.engine.kernel.parse import new_datagrams, parse
from producers.recorder import index
from producers.recorder.flowhash import FlowNumbers
from producers.recorder.index import Table
from producers.recorder.segment import Words, head_words, linktypes
from producers.sources.write import PACKET_HEAD

_STEP = 4_096
_PACKET = 6
_MIN_WORDS = 8


def rebuild(words: Words) -> tuple[Table, int]:
    """The index of a segment's packets up to the last whole one, and how many bytes that is."""
    links = np.array(linktypes(words), dtype=np.int32)
    positions = np.empty(len(words) // _MIN_WORDS, dtype=np.uint32)
    count, end = _walk(words, head_words(words), len(links), positions)
    starts = positions[:count].astype(np.int64)
    times = words[starts + 3].astype(np.int64) << 32 | words[starts + 4].astype(np.int64)
    numbers, numbering, datagrams = np.empty(count, dtype=np.uint64), FlowNumbers(), new_datagrams()
    facts, buffer = np.zeros(_STEP, dtype=FACTS), words.view(np.uint8)
    for first in range(0, count, _STEP):
        some = starts[first : first + _STEP]
        rows = facts[: len(some)]
        parse(
            buffer,
            some * index.WORD + PACKET_HEAD,
            words[some + 5].astype(np.int64),
            words[some + 6].astype(np.int64),
            times[first : first + _STEP],
            words[some + 2].astype(np.int32),
            links,
            rows,
            datagrams,
        )
        numbers[first : first + _STEP] = numbering.of(rows, np.arange(len(some)))
    return index.build(numbers, positions[:count], times), end * index.WORD


@entry
def _walk(words: Words, start: int, interfaces: int, positions: Words) -> tuple[int, int]:
    """Put down where whole packet blocks begin; return how many, and where they end. Positions are in words."""
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
