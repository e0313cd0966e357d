"""Pairing against a brute-force oracle, and connections that end in every way."""

from dataclasses import dataclass
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.decoders.registry import decoder_for
from producers.decoders.transactions import PairTracker, Tracker, Transaction, tracker_for
from producers.decoders.unit import Place, Role, Unit
from producers.engine.model import Flow
from schemas.events import NANOSECONDS
from schemas.model import datasets

TIMEOUT_NS = 10 * NANOSECONDS


UIDS = count(1)


def flow() -> Flow:
    return Flow("udp", 17, 4, "192.0.2.1", "192.0.2.2", 1, 53, "1:x", 0, 0, uid=next(UIDS))


def unit(role: Role, time_ns: int, on: Flow | None, key: str, *, frame: int = 1) -> Unit:
    place = Place(frame, time_ns, on, role is Role.REQUEST, 10, "", "")
    return Unit(role, {}, place, "dns", key=(key,), extra=("", ""))


def tracker() -> PairTracker:
    found = tracker_for(decoder_for(datasets()["dns"]))
    assert isinstance(found, PairTracker)
    return found


@dataclass
class Step:
    request: bool
    key: str
    gap: int
    flow: int


STEPS = st.lists(
    st.builds(Step, st.booleans(), st.sampled_from("ab"), st.integers(0, 6), st.integers(0, 1)), max_size=40
)


def play(steps: list[Step]) -> list[tuple[int | None, int | None]]:
    """The pairs of frame numbers that the tracker tells, in its order."""
    under_test, flows, now, told = tracker(), [flow(), flow()], 0, []

    def tell(transactions: object) -> None:
        told.extend(
            tuple(u.place.frame if u else None for u in (t.request, t.response))
            for t in transactions  # type: ignore[attr-defined]
        )

    for frame, step in enumerate(steps, start=1):
        now += step.gap * NANOSECONDS
        tell(under_test.expire(now))
        role = Role.REQUEST if step.request else Role.RESPONSE
        tell(under_test.add(unit(role, now, flows[step.flow], step.key, frame=frame)))
    tell(under_test.close())
    return told


def oracle(steps: list[Step]) -> set[tuple[int | None, int | None]]:
    """Each response takes the oldest request of its flow and key that is neither answered nor too old."""
    waiting: list[tuple[int, int, int, str]] = []
    pairs: set[tuple[int | None, int | None]] = set()
    now = 0
    for frame, step in enumerate(steps, start=1):
        now += step.gap * NANOSECONDS
        for old in [item for item in waiting if item[1] + TIMEOUT_NS < now]:
            waiting.remove(old)
            pairs.add((old[0], None))
        if step.request:
            waiting.append((frame, now, step.flow, step.key))
            continue
        mine = next((item for item in waiting if item[2:] == (step.flow, step.key)), None)
        if mine is not None:
            waiting.remove(mine)
        pairs.add((mine[0] if mine else None, frame))
    return pairs | {(item[0], None) for item in waiting}


@given(STEPS)
def test_pairs_are_those_of_the_oracle(steps: list[Step]) -> None:
    told = play(steps)
    assert len(told) == len(set(told))
    assert set(told) == oracle(steps)


@given(STEPS)
def test_the_same_units_give_the_same_transactions_in_the_same_order(steps: list[Step]) -> None:
    assert play(steps) == play(steps)


def test_a_flow_that_ends_gives_up_its_requests() -> None:
    under_test, first, second = tracker(), flow(), flow()
    list(under_test.add(unit(Role.REQUEST, 0, first, "a")))
    list(under_test.add(unit(Role.REQUEST, 0, second, "a")))
    assert [t.request.place.flow for t in under_test.end(first) if t.request] == [first]
    assert [t.request.place.flow for t in under_test.close() if t.request] == [second]


def test_memory_follows_what_waits() -> None:
    under_test, on = tracker(), flow()
    for number in range(10_000):
        list(under_test.add(unit(Role.REQUEST, number, on, str(number))))
        list(under_test.add(unit(Role.RESPONSE, number, on, str(number))))
    assert len(under_test._by_age) < 3_000  # noqa: SLF001  # the only place where the past could stay
    assert under_test._by_key == {}  # noqa: SLF001


@pytest.fixture
def connection() -> Tracker:
    return tracker_for(decoder_for(datasets()["ssh"]))


def part(on: Flow, time_ns: int, *, initiator: bool, **part_: str | int) -> Unit:
    place = Place(next(FRAMES), time_ns, on, initiator, 10, "", "")
    side = "client" if initiator else "server"
    fields = {f"netflight.ssh.{side}.software": part_["banner"]} if "banner" in part_ else {}
    return Unit(
        Role.PART, fields, place, "ssh", extra=(side, {k: v for k, v in part_.items() if k != "banner"})
    )


FRAMES = count(1)


def test_a_connection_is_told_once_when_both_sides_have_told_all(connection: Tracker) -> None:
    on = flow()
    units = [
        part(on, 0, initiator=True, banner="SSH-2.0-a"),
        part(on, 1, initiator=False, banner="SSH-2.0-b"),
        part(on, 2, initiator=True, newkeys="1"),
        part(on, 3, initiator=False, newkeys="1"),
        part(on, 4, initiator=True, size=44, sequence=0),
        part(on, 5, initiator=False, size=44, sequence=0),
        part(on, 6, initiator=True, size=60, sequence=44),
    ]
    assert [t for u in units for t in connection.add(u)] == []
    told: list[Transaction] = list(connection.add(part(on, 7, initiator=False, size=28, sequence=44)))
    assert len(told) == 1
    assert len(told[0].parts) == 8
    assert list(connection.add(part(on, 8, initiator=True, banner="SSH-2.0-late"))) == []
    assert list(connection.end(on)) == []


def test_a_connection_is_told_when_its_flow_ends_or_time_is_up(connection: Tracker) -> None:
    first, second = flow(), flow()
    list(connection.add(part(first, 0, initiator=True, banner="SSH-2.0-a")))
    assert len(list(connection.end(first))) == 1
    list(connection.add(part(second, 0, initiator=True, banner="SSH-2.0-a")))
    assert list(connection.expire(120 * NANOSECONDS)) == []
    assert len(list(connection.expire(120 * NANOSECONDS + 1))) == 1


def test_what_repeats_is_kept_once(connection: Tracker) -> None:
    on = flow()
    for number in range(1000):
        list(connection.add(part(on, number, initiator=True, newkeys="1")))
    list(connection.add(part(on, 1000, initiator=True, banner="SSH-2.0-a")))
    (told,) = connection.close()
    assert len(told.parts) == 2
