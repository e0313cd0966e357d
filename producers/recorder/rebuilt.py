"""An index made anew, where there is none (yet): of the segment being written, after a crash, or of a damaged one.

The numbers of the packets are those put down when they came (producers.recorder.numbers), as far as they go; the flows
of the packets after that are what the kernel's parser says of them.
"""

import numpy as np

from producers.recorder import index, numbers
from producers.recorder.index import Table
from producers.recorder.segment import Place, head_words, loaded


def rebuilt(place: Place) -> tuple[Table, int]:
    """The index of a segment's packets up to the last whole one, and how many bytes that is; raises OSError."""
    words = loaded(place.path)
    known, positions, end = numbers.read(place.numbers, len(words))
    end = end or head_words(words)
    if 0 < end < len(words):
        from producers.recorder.parsed import parsed  # noqa: PLC0415  # the kernel takes its time to load

        more, places, end = parsed(words, end)
        known, positions = np.concatenate([known, more]), np.concatenate([positions, places])
    starts = positions.astype(np.int64)
    times = words[starts + 3].astype(np.int64) << 32 | words[starts + 4].astype(np.int64)
    return index.build(known, positions, times), end * index.WORD
