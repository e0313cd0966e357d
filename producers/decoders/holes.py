"""Which events say that they touch a hole: bytes of their connection that were lost."""

from collections.abc import Sequence

from producers.decoders.transactions import Transaction
from producers.decoders.unbroken import Hole, ahead
from producers.decoders.unit import Role, Unit
from producers.engine.model import Flow

TAG = "hole"


def touches(transaction: Transaction, holes: Sequence[Hole], ended: Flow | None) -> bool:
    """Whether lost bytes lie just before one of a transaction's units, or may have held what it lacks.

    `holes` are those of its flow that are known, `ended` is the flow where it is over: its `missed_bytes` has also what
    nothing followed.
    """
    if not holes and ended is None:
        return False
    if any(_follows(unit, holes) for unit in transaction.units):
        return True
    if transaction.parts:
        return bool(holes)
    request, response = transaction.request, transaction.response
    if response is None and request is not None and request.role is Role.REQUEST:
        return _after(request, holes) or (ended is not None and _more(request, holes, ended))
    if request is None and response is not None:
        return _before(response, holes)
    return False


def _follows(unit: Unit, holes: Sequence[Hole]) -> bool:
    """Whether a unit's packet comes right after lost bytes; `hole` alone may have packets without messages between."""
    place = unit.place
    side = 1 - int(place.from_initiator)
    return place.hole and any(hole.side == side and hole.end == place.sequence for hole in holes)


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
