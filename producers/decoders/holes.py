"""Which events say that they touch a hole: bytes of their connection that were lost."""

from collections.abc import Sequence

from producers.decoders.transactions import Transaction
from producers.decoders.unbroken import Hole, ahead
from producers.decoders.unit import Role, Unit
from producers.engine.model import Flow

TAG = "hole"


def touches(transaction: Transaction, holes: Sequence[Hole], ended: Flow | None, *, whole: bool) -> bool:
    """Whether lost bytes may have held something that a transaction lacks.

    `holes` are those of its flow that are known, `ended` is the flow where it is over: its `missed_bytes` has also what
    nothing followed. `whole`: the transaction's parts are those of the connection from its begin.
    """
    if not holes and ended is None:
        return False
    if transaction.parts:
        return any(_among(transaction.parts, hole, ended, whole=whole) for hole in holes)
    request, response = transaction.request, transaction.response
    if response is None and request is not None and request.role is Role.REQUEST:
        return _after(request, holes) or (ended is not None and _more(request, holes, ended))
    if request is None and response is not None:
        return _before(response, holes)
    return False


def _among(parts: Sequence[Unit], hole: Hole, ended: Flow | None, *, whole: bool) -> bool:
    """Whether a hole lies between the first part and the last one, or, where the flow's end ended them, after these.

    Parts that are not all that is said miss only what would have come next. What the initiator said before the first
    part is missed where that is the other side's.
    """
    begin, end = _reached(parts[0], hole.side), _reached(parts[-1], hole.side)
    if begin < 0 or end < 0:
        return True
    if ahead(hole.end, begin) <= 0:
        return whole and hole.side == 0 and hole.end == begin and not parts[0].place.from_initiator
    return ahead(end, hole.begin) > 0 or (ended is not None and (whole or hole.begin == end))


def _reached(unit: Unit, side: int) -> int:
    """How far a side's stream had come at a unit's packet."""
    place = unit.place
    return place.sequence if side == 1 - int(place.from_initiator) else place.acknowledgement


def _after(request: Unit, holes: Sequence[Hole]) -> bool:
    """Whether something is lost of what the other side sent after a request."""
    reached, other = request.place.acknowledgement, int(request.place.from_initiator)
    return reached >= 0 and any(hole.side == other and ahead(hole.end, reached) > 0 for hole in holes)


def _before(response: Unit, holes: Sequence[Hole]) -> bool:
    """Whether something is lost of what the other side sent before a response."""
    reached, other = response.place.acknowledgement, int(response.place.from_initiator)
    return reached >= 0 and any(hole.side == other and ahead(reached, hole.begin) > 0 for hole in holes)


def _more(request: Unit, holes: Sequence[Hole], flow: Flow) -> bool:
    """Whether the other side has sent more that was never seen than lies in the known holes."""
    other = int(request.place.from_initiator)
    missed = (flow.source_missed_bytes, flow.destination_missed_bytes)[other]
    return missed > sum(ahead(hole.end, hole.begin) for hole in holes if hole.side == other)
