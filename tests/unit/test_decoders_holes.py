"""Which events say that they touch lost bytes: those that may lack them, not their neighbours."""

import pytest

from producers.decoders.holes import touches
from producers.decoders.transactions import Transaction
from producers.decoders.unbroken import Hole
from producers.decoders.unit import Role, Unit
from tests.trees import flow, place

CLIENT, SERVER = 0, 1


def unit(role: Role, *, client: bool, sequence: int, acknowledgement: int) -> Unit:
    where = place(None, forward=client)._replace(
        sequence=sequence, acknowledgement=acknowledgement, length=50
    )
    return Unit(role, {}, where, "x")


ASKED = unit(Role.REQUEST, client=True, sequence=1000, acknowledgement=5000)
ANSWER = unit(Role.RESPONSE, client=False, sequence=5000, acknowledgement=1050)


@pytest.mark.parametrize(
    ("transaction", "hole", "expected"),
    [
        (
            Transaction(ASKED, ANSWER),
            Hole(CLIENT, 950, 1000),
            False,
        ),  # what came just before is no part of it
        (Transaction(ASKED, ANSWER), Hole(SERVER, 5050, 5100), False),
        (Transaction(ASKED, None), Hole(SERVER, 5000, 5050), True),
        (Transaction(ASKED, None), Hole(SERVER, 4900, 5000), False),
        (Transaction(ASKED, None), Hole(CLIENT, 1050, 1100), False),
        (Transaction(None, ANSWER), Hole(CLIENT, 1000, 1050), True),
        (Transaction(None, ANSWER), Hole(CLIENT, 1050, 1100), False),
    ],
)
def test_a_pair_touches_what_may_have_been_its_other_half(
    *, transaction: Transaction, hole: Hole, expected: bool
) -> None:
    assert touches(transaction, [hole], None, whole=False) is expected
    assert not touches(transaction, [], None, whole=False)


@pytest.mark.parametrize(
    ("hole", "whole", "ended", "expected"),
    [
        (Hole(CLIENT, 900, 1000), False, False, False),  # before the first part
        (Hole(CLIENT, 900, 1000), True, False, False),
        (Hole(SERVER, 5050, 5100), False, False, True),  # between the parts
        (Hole(CLIENT, 1150, 1200), False, True, True),  # what would have come next
        (Hole(CLIENT, 1250, 1300), False, True, False),
        (Hole(CLIENT, 1250, 1300), True, True, True),
        (Hole(CLIENT, 1250, 1300), True, False, False),  # all was said before
    ],
)
def test_parts_touch_what_lies_between_them(*, hole: Hole, whole: bool, ended: bool, expected: bool) -> None:
    parts = (
        unit(Role.PART, client=True, sequence=1000, acknowledgement=5000),
        unit(Role.PART, client=False, sequence=5000, acknowledgement=1100),
        unit(Role.PART, client=False, sequence=5200, acknowledgement=1150),
    )
    over = flow() if ended else None
    assert touches(Transaction(None, None, parts), [hole], over, whole=whole) is expected


@pytest.mark.parametrize(
    ("hole", "expected"), [(Hole(CLIENT, 1000, 1100), True), (Hole(SERVER, 4900, 5000), False)]
)
def test_what_the_initiator_said_before_an_answer_is_missed(hole: Hole, *, expected: bool) -> None:
    parts = (unit(Role.PART, client=False, sequence=5000, acknowledgement=1100),)
    assert touches(Transaction(None, None, parts), [hole], None, whole=True) is expected
