from hypothesis import given
from hypothesis import strategies as st

from sinks.backoff import Backoff


@given(failures=st.integers(0, 200), first=st.floats(0.01, 5), most=st.floats(5, 100))
def test_waits_grow_to_the_limit_and_never_past_it(failures: int, first: float, most: float) -> None:
    backoff = Backoff(first, most)
    waits = [backoff.next() for _ in range(failures + 1)]
    assert all(0 < wait <= most for wait in waits)
    assert waits[-1] >= min(most, first * 2 ** min(failures, 30)) / 2


def test_the_destinations_own_wish_is_kept() -> None:
    assert Backoff(0.1, 1.0).next(at_least=7.0) == 7.0


def test_success_starts_over() -> None:
    backoff = Backoff(1.0, 100.0)
    for _ in range(6):
        backoff.next()
    backoff.reset()
    assert backoff.next() <= 1.0
