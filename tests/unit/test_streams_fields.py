"""Readers of fields: what `get` says, sooner."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from schemas.events import get
from streams.core.fields import reader

parts = st.sampled_from("abc")
leaves = st.none() | st.booleans() | st.integers() | st.text(max_size=3)
nodes = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(parts, inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(parts, nodes, max_size=3), st.lists(parts, min_size=1, max_size=5))
def test_a_reader_says_what_get_says(event: dict[str, Any], name: list[str]) -> None:
    dotted = ".".join(name)
    assert reader(dotted)(event) == get(event, dotted)
