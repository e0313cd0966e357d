"""Shapes of windows: panes and windows fit each other, and what does not fit is refused."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from streams.core.shapes import Kind, Shape, Span, WindowSpec, spans
from tests.windows import SECOND


def shape(window: Any) -> Shape:
    return WindowSpec.model_validate(window).shape()


milliseconds = st.integers(1, 60).map(lambda number: number / 1000)


@given(milliseconds, milliseconds, st.integers(-(10**9), 10**9))
def test_a_pane_is_in_exactly_the_windows_that_hold_it(size: float, step: float, time_ns: int) -> None:
    size, step = max(size, step), min(size, step)
    made = shape({"hopping": {"size": size, "step": step}})
    pane = time_ns // made.pane_ns * made.pane_ns
    starts = list(made.starts(pane))
    around = range(starts[0] - 3 * made.step_ns, starts[-1] + 4 * made.step_ns, made.step_ns)
    assert starts == [start for start in around if pane in made.panes(start)]
    assert starts == [start for start in around if start <= time_ns < start + made.size_ns]
    assert all(start % made.step_ns == 0 for start in starts)


@given(milliseconds, st.integers(-(10**9), 10**9))
def test_a_tumbling_window_is_one_pane(size: float, time_ns: int) -> None:
    made = shape(size)
    pane = time_ns // made.pane_ns * made.pane_ns
    assert list(made.starts(pane)) == [pane] == list(made.panes(pane))
    assert made.aligned


@pytest.mark.parametrize(
    ("window", "words"),
    [
        ({}, "one of tumbling, hopping, sliding, session"),
        ({"tumbling": 5, "session": {"gap": 5}}, "one of"),
        (0, "tumbling"),
        (1e-10, "tumbling"),
        (float("inf"), "tumbling"),
        ("soon", "valid dictionary"),
        ({"tumbling": -1}, "tumbling"),
        ({"hopping": {"size": 5}}, "hopping.step"),
        ({"hopping": {"size": 5, "step": 6}}, "step is longer than size"),
        ({"hopping": {"size": 86_400.001, "step": 60}}, "no length goes into size and step"),
        ({"sliding": {"size": 5, "resolution": 2}}, "no multiple of resolution"),
        ({"sliding": {"size": 1, "resolution": 2}}, "no multiple of resolution"),
        ({"sliding": {"size": 5, "resolution": 0}}, "sliding.resolution"),
        ({"session": {"gap": 1, "resolution": 2}}, "resolution is coarser than gap"),
        ({"session": {"pause": 1}}, "session.gap"),
    ],
)
def test_a_window_that_is_none_is_refused_with_the_reason(window: Any, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        shape(window)


@given(st.lists(st.integers(0, 60), unique=True, min_size=1).map(sorted))
def test_a_sliding_window_ends_with_each_pane_and_holds_those_before(starts: list[int]) -> None:
    made = shape({"sliding": {"size": 6, "resolution": 2}})
    assert not made.aligned
    panes = [(start * 2 * SECOND, 0, 0) for start in starts]
    found = spans(made, panes)
    assert [(span.end_ns, span.end_ns - span.start_ns) for span in found] == [
        (pane + 2 * SECOND, 6 * SECOND) for pane, _, _ in panes
    ]
    for span in found:
        assert list(span.panes) == [
            pane for pane, _, _ in panes if span.start_ns <= pane and pane + 2 * SECOND <= span.end_ns
        ]


def test_a_session_goes_on_over_a_pause_of_the_gap_and_no_longer() -> None:
    made = Shape(Kind.SESSION, 10, 10, 0)
    panes = [(0, 3, 8), (10, 18, 19), (30, 30, 39)]
    assert spans(made, panes) == [Span(3, 19, (0, 10)), Span(30, 39, (30,))]
