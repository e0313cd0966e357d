"""When a flow may end: a wheel of buckets, one a second.

A flow hangs in the bucket of the second it may end in, and is looked at again only then: what came meanwhile
moves nothing. So a packet costs no more than a comparison, and expiry O(1) a flow and time-out.
"""

from producers.compiled import bare_inner
from producers.engine.kernel.octets import number
from producers.engine.kernel.table_rows import CURSOR, DUE, NEVER, SECOND, Table


@bare_inner
def schedule(table: Table, slot: int, deadline_ns: int) -> None:
    """Hang a flow into the bucket after its deadline."""
    row = table.flows[slot]
    second = deadline_ns // SECOND + 1
    row.second = second
    wheel = table.wheel
    bucket = second & (len(wheel) - 1)
    last = wheel[bucket, 1]
    row.before = last
    row.after = -1
    if last < 0:
        wheel[bucket, 0] = slot
    else:
        table.flows[last].after = slot
    wheel[bucket, 1] = slot
    if second < table.state[CURSOR]:
        set_cursor(table, second)


@bare_inner
def unschedule(table: Table, slot: int) -> None:
    """Take a flow out of its bucket."""
    row = table.flows[slot]
    before, after = row.before, row.after
    bucket = row.second & (len(table.wheel) - 1)
    if before < 0:
        table.wheel[bucket, 0] = after
    else:
        table.flows[before].after = after
    if after < 0:
        table.wheel[bucket, 1] = before
    else:
        table.flows[after].before = before


@bare_inner
def set_cursor(table: Table, second: int) -> None:
    """No flow hangs before `second`."""
    second = min(second, number(NEVER))  # beyond, it would not fit in nanoseconds
    table.state[CURSOR] = second
    table.state[DUE] = second * SECOND


@bare_inner
def deadline(table: Table, slot: int) -> int:
    """When a flow will have been silent for too long, in ns."""
    row = table.flows[slot]
    return number(row.end_ns + row.idle_ns)
