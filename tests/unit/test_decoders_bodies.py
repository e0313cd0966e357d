"""Bodies that come after their heads: what a response waits for, and what it does not wait for."""

import pytest

from producers.decoders.bodies import HOLD_SECONDS, BodyTracker, tracker_of
from producers.decoders.datasets.http import HttpDecoder
from producers.decoders.transactions import PairTracker, Transaction
from producers.decoders.unit import Place, Role, Unit
from producers.engine.model import Flow
from schemas.events import NANOSECONDS
from schemas.model import datasets
from tests.trees import flow

HTTP = HttpDecoder(datasets()["http"])


@pytest.fixture
def tracker() -> BodyTracker:
    return BodyTracker(HTTP)


def place(on: Flow, frame: int, sequence: int, length: int, *, forward: bool, hole: bool = False) -> Place:
    return Place(frame, frame, on, forward, length, "", "", sequence, 0, hole)


def head(
    on: Flow, frame: int, sequence: int, *, forward: bool, length: int | None = None, method: str = "GET"
) -> Unit:
    role = Role.REQUEST if forward else Role.RESPONSE
    fields = {"http.request.method": method} if forward else {"http.response.status_code": 200}
    known = None if forward and length is None else (length, False, b"")
    return Unit(role, fields, place(on, frame, sequence, 100, forward=forward), "http", extra=(False, known))


def piece(on: Flow, frame: int, sequence: int, data: bytes, *, forward: bool, hole: bool = False) -> Unit:
    said = (data, sequence, (sequence + len(data)) & 0xFFFFFFFF)
    where = place(on, frame, sequence, len(data), forward=forward, hole=hole)
    return Unit(Role.PART, {}, where, "http", extra=said)


def feed(tracker: BodyTracker, *units: Unit) -> list[Transaction]:
    return [transaction for unit in units for transaction in tracker.add(unit)]


def content(transaction: Transaction, side: str = "response") -> str | None:
    fields: dict[str, object] = {}
    HTTP.complete(fields, transaction.request, transaction.response)
    found = fields.get(f"http.{side}.body.content")
    assert found is None or isinstance(found, str)
    return found


def test_a_response_waits_for_its_body(tracker: BodyTracker) -> None:
    on = flow()
    assert feed(tracker, head(on, 1, 10, forward=True), head(on, 2, 50, forward=False, length=6)) == []
    assert on.uid in tracker.held
    assert feed(tracker, piece(on, 3, 150, b"abc", forward=False)) == []
    (told,) = feed(tracker, piece(on, 4, 153, b"def", forward=False))
    assert content(told) == "abcdef"


def test_sequence_numbers_wrap(tracker: BodyTracker) -> None:
    on = flow()
    feed(tracker, head(on, 1, 10, forward=True), head(on, 2, 0xFFFFFFF0, forward=False, length=6))
    feed(tracker, piece(on, 3, (0xFFFFFFF0 + 100) & 0xFFFFFFFF, b"abc", forward=False))
    (told,) = feed(tracker, piece(on, 4, 87, b"def", forward=False))
    assert content(told) == "abcdef"


@pytest.mark.parametrize(("sequence", "hole"), [(160, False), (153, True)])
def test_a_hole_ends_what_is_shown(tracker: BodyTracker, sequence: int, hole: bool) -> None:  # noqa: FBT001  # a case
    on = flow()
    feed(tracker, head(on, 1, 10, forward=True), head(on, 2, 50, forward=False, length=60))
    feed(tracker, piece(on, 3, 150, b"abc", forward=False))
    (told,) = feed(tracker, piece(on, 4, sequence, b"xyz", forward=False, hole=hole))
    assert content(told) == "abc"


def test_what_was_sent_again_is_taken_once(tracker: BodyTracker) -> None:
    on = flow()
    feed(tracker, head(on, 1, 10, forward=True), head(on, 2, 50, forward=False, length=6))
    feed(tracker, piece(on, 3, 150, b"abc", forward=False), piece(on, 4, 150, b"abc", forward=False))
    (told,) = feed(tracker, piece(on, 5, 153, b"def", forward=False))
    assert content(told) == "abcdef"


def test_the_next_head_ends_the_waiting(tracker: BodyTracker) -> None:
    on = flow()
    feed(tracker, head(on, 1, 10, forward=True), head(on, 2, 50, forward=False, length=600))
    (told,) = feed(tracker, head(on, 3, 900, forward=False, length=0))[:1]
    assert told.request is not None
    assert told.response is not None
    assert told.response.place.frame == 2


def test_time_and_the_flow_s_end_end_the_waiting(tracker: BodyTracker) -> None:
    first, second = flow(), flow()
    first.uid, second.uid = 1, 2
    for on in (first, second):
        feed(tracker, head(on, 1, 10, forward=True), head(on, 2, 50, forward=False, length=600))
    assert [told.response is not None for told in tracker.end(first)] == [True]
    assert first.uid not in tracker.held
    due = 2 + int(HOLD_SECONDS * NANOSECONDS)
    assert tracker.due_ns == due
    assert list(tracker.expire(due)) == []
    assert len(list(tracker.expire(due + 1))) == 1
    assert list(tracker.close()) == []


def test_a_request_s_body_is_added_while_it_waits(tracker: BodyTracker) -> None:
    on = flow()
    feed(tracker, head(on, 1, 10, forward=True, length=26, method="POST"))
    feed(tracker, piece(on, 2, 110, b"user=al&password=", forward=True))
    feed(tracker, piece(on, 3, 127, b"s3cret123", forward=True))
    answer = head(on, 4, 50, forward=False)
    answer.extra = (False, None)
    (told,) = feed(tracker, answer)
    assert content(told, "request") == "user=al&password=[redacted]"
    assert told.request is not None
    assert [each.secret for each in told.request.credentials] == ["s3cret123"]


def test_a_response_to_head_waits_for_nothing(tracker: BodyTracker) -> None:
    on = flow()
    asked = head(on, 1, 10, forward=True, method="HEAD")
    (told,) = feed(tracker, asked, head(on, 2, 50, forward=False, length=600))
    assert content(told) is None


def test_only_http_has_bodies_and_only_where_they_are_shown() -> None:
    assert isinstance(tracker_of(HTTP, bodies=True), BodyTracker)
    plain = tracker_of(HTTP, bodies=False)
    assert isinstance(plain, PairTracker)
    assert not isinstance(plain, BodyTracker)
