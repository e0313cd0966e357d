"""Cutting tshark's output into records, and what hostile text makes of it, without starting tshark."""

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from producers.decoders.records import Splitter, layers
from producers.decoders.tree import collect, find_all, holders, layers_of

TREES = st.recursive(
    st.text(),
    lambda inner: st.dictionaries(st.text(min_size=1), inner | st.lists(inner, max_size=3), max_size=4),
)


def output(trees: list[object]) -> bytes:
    """What tshark prints for the trees: a list of objects, indented by two."""
    records = [
        orjson.dumps({"_source": {"layers": tree}}, option=orjson.OPT_INDENT_2).replace(b"\n", b"\n  ")
        for tree in trees
    ]
    return b"[\n  " + b",\n  ".join(records) + b"\n]\n"


@settings(deadline=None)  # the first one loads native code
@given(
    st.lists(st.dictionaries(st.text(), TREES, max_size=3), min_size=1, max_size=5),
    st.lists(st.integers(1, 50)),
)
def test_records_are_whole_wherever_the_output_is_cut(
    trees: list[dict[str, object]], cuts: list[int]
) -> None:
    data, splitter, found = output(list(trees)), Splitter(), []
    for size in [*cuts, len(data)]:
        found += splitter.push(data[:size])
        data = data[size:]
    assert [layers(record)[1] for record in found] == trees


def test_a_record_that_is_no_json_is_none() -> None:
    assert layers(b"{") == (0, None, None)
    assert layers(b'{"a": 1}') == (0, None, None)


def test_filtered_layers_are_none_and_repeated_ones_all() -> None:
    assert layers_of({"filtered": "ip"}) == []
    assert layers_of([{"filtered": "ip"}, {"a": "1"}, "text"]) == [{"a": "1"}]


TREE = {
    "label": {"f": ["1", "2"], "inner": [{"f": "3", "rr": {"f": "4"}}, {"rr": {"g": "5"}}]},
    "f": "6",
}


def test_fields_are_found_at_any_depth_in_order() -> None:
    assert collect(TREE, frozenset({"f"})) == {"f": ["1", "2", "3", "4", "6"]}
    assert list(find_all(TREE, "rr")) == [{"f": "4"}, {"g": "5"}]
    assert [holder.get("f") for holder in holders(TREE["label"], "f")] == [["1", "2"], "3", "4"]
