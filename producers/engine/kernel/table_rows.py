"""The flow table's memory: the rows of FLOW and what finds, times and frees them. No Python object per flow.

Rows are taken from memory that the system only provides once it is written to, so an empty table of a million
flows costs next to nothing, and growing moves nothing.
"""

import secrets
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from producers.engine.kernel.octets import number
from producers.engine.kernel.phases import PHASE_FIELDS
from producers.engine.kernel.splice import SPLICE_FIELDS
from producers.engine.model import Timeouts

SECOND = 1_000_000_000
PIECE = 2_048
"""So many packets at most are tracked at once; a row that is freed meanwhile is not used again before the next."""
MAX_HOLES = 4
HISTORY = 24

IDLE, EVICTED, END, ACTIVE, FIN_CLOSED, RST_CLOSED = map(number, range(1, 7))
"""What `end_reason` counts through: END_REASONS[number]. They have a type, because for a plain number that is passed on
numba compiles the function once more."""
END_REASONS = ("", "idle", "evicted", "end", "active", "fin", "rst")

FLOW = np.dtype(
    [
        # the key as the initiator sends it, addresses and ports as in FACTS
        ("source_high", "u8"),
        ("source_low", "u8"),
        ("destination_high", "u8"),
        ("destination_low", "u8"),
        ("source_port", "u2"),
        ("destination_port", "u2"),
        ("protocol", "u1"),
        ("version", "u1"),
        ("ported", "u1"),
        ("backward", "u1"),  # 1: the first packet went to the initiator
        ("uid", "i8"),  # from 1; stays when the row is freed
        ("end_ns", "i8"),
        ("idle_ns", "i8"),  # how long it may be silent
        # arrays of two: the initiator's, the other side's
        ("interim_ns", "i8"),  # when it is to be reported next
        ("packets", "i8", (2,)),
        ("bytes", "i8", (2,)),
        ("payload_packets", "i8", (2,)),
        ("payload_bytes", "i8", (2,)),
        ("flags", "u1", (2,)),
        ("ttl", "u1", (2,)),
        ("live", "u1"),
        ("closed", "u1"),  # 0, FIN_CLOSED or RST_CLOSED
        ("letters", "u1"),  # how many of `history` are set
        ("handshake", "u1"),  # 1: SYN seen, 2: SYN-ACK seen, 3: over
        ("seen", "u4"),  # a bit for each letter of the history
        ("known", "u1", (2,)),  # bit 0: `next` is known, bit 1: `first` is
        ("holes", "u1", (2,)),
        ("next", "u4", (2,)),
        ("first", "u4", (2,)),
        ("advanced_ns", "i8", (2,)),
        ("hole_start", "u4", (2, MAX_HOLES + 1)),
        ("hole_end", "u4", (2, MAX_HOLES + 1)),
        ("syn_ns", "i8"),
        ("handshake_ns", "i8"),  # -1: not seen
        ("missed_bytes", "i8", (2,)),
        ("retransmits", "u4"),
        ("out_of_order", "u4"),
        ("zero_windows", "u4"),
        # what it is called
        ("ordinal", "u4"),
        ("start_ns", "i8"),
        ("history", "u1", (HISTORY,)),
        ("source_mac", "i8"),  # -1: none
        ("destination_mac", "i8"),
        ("outer_source_high", "u8"),
        ("outer_source_low", "u8"),
        ("outer_destination_high", "u8"),
        ("outer_destination_low", "u8"),
        ("vlan", "u2", (4,)),
        ("vlans", "u1"),
        ("tunnel", "u1"),
        ("outer_version", "u1"),
        ("end_reason", "u1"),
        ("interface", "i4"),
        ("final", "u1"),  # of a record: whether it is the flow's last
        # where it hangs
        ("hash", "u8"),
        ("remembered", "u4"),  # where in `ended` it will be remembered
        ("second", "i8"),
        ("before", "i4"),
        ("after", "i4"),
        *PHASE_FIELDS,
        *SPLICE_FIELDS,
    ],
    align=True,
)

ENDED = np.dtype([("hash", "u8"), ("start_ns", "i8"), ("ordinal", "u4")], align=True)
_REMEMBERED = 1 << 14

COUNT, HIGH, FREE, LIMBO, LIMBO_END, CURSOR, DUE, UIDS, RECORDS, EVICTIONS, MAX_FLOWS = range(11)
"""Places in `Table.state`: open flows, rows ever used, first free row, first and last freed lately, the second whose
bucket is next, when that is in ns, flows so far, records waiting, flows evicted, most flows."""
SEED, TCP_IDLE, OTHER_IDLE, LINGER, INTERIM = range(11, 16)
"""Places in `Table.state` of what never changes: of the hash, and the time-outs in ns."""
KINDS = 16
"""From here on `Table.state` counts packets by layout.Kind."""

NEVER = 9_223_372_036
"""A second that never comes; in nanoseconds it fits in 64 bits."""
RECORD_ROWS = 4_096


class Table(NamedTuple):
    """All of the flow table. `cells` is a hash table: 31 bits of hash, 32 bits of row + 1; 0 is empty.

    `wheel` has the first and last flow of each bucket, by the second they may end in; `records` and
    `record_at` the flows that ended or are reported and the packet each comes before; `blank` is a row as
    a flow begins.
    """

    flows: NDArray[Any]
    cells: NDArray[np.int64]
    wheel: NDArray[np.int32]
    ended: NDArray[Any]
    records: NDArray[Any]
    record_at: NDArray[np.int64]
    blank: NDArray[Any]
    state: NDArray[np.int64]


def new_table(timeouts: Timeouts, max_flows: int) -> Table:
    """An empty table for `max_flows` (1 at least)."""
    state = np.zeros(KINDS + 4, np.int64)
    state[[FREE, LIMBO, LIMBO_END]] = -1
    state[CURSOR], state[DUE] = NEVER, NEVER * SECOND
    state[MAX_FLOWS] = max(max_flows, 1)
    state[SEED] = secrets.randbits(63)  # nobody can choose addresses that all fall in one place
    times = (timeouts.tcp, timeouts.other, timeouts.linger, timeouts.active)
    state[TCP_IDLE : INTERIM + 1] = [int(seconds * SECOND) for seconds in times]
    longest = int(max(timeouts.tcp, timeouts.other, timeouts.linger))
    buckets = 1 << min(max(longest + 2, 64).bit_length(), 16)
    blank = np.zeros(1, FLOW)
    blank["handshake_ns"] = blank["source_mac"] = blank["destination_mac"] = -1
    return Table(
        flows=np.zeros(max(max_flows, 1) + PIECE, FLOW),
        cells=np.zeros(4 * PIECE, np.int64),
        wheel=np.full((buckets, 2), -1, np.int32),
        ended=np.zeros(_REMEMBERED, ENDED),
        records=np.zeros(RECORD_ROWS, FLOW),
        record_at=np.zeros(RECORD_ROWS, np.int64),
        blank=blank,
        state=state,
    )
