"""Records made compact: equal keys come together as tshark puts them together when it is asked to."""

from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from producers.decoders import base
from producers.decoders.plan import decode_plan
from producers.decoders.records import Splitter, layers
from schemas.model import datasets

Members = list[tuple[str, "str | Members | None", "Members | None"]]
"""An object as tshark walks it: keys, each with a text, an object or both (`KEY` and `KEY_tree`)."""

KEYS = st.sampled_from(["dns.id", "dns.flags", "a", "b", 'say "b"', "a_tree", "tls", "ein Schlüssel\\"])
VALUES = st.text(max_size=5)


def _members(inner: st.SearchStrategy[Members]) -> st.SearchStrategy[Members]:
    value = st.tuples(KEYS, VALUES, st.none())
    both = st.tuples(st.sampled_from(["dns.flags", "x"]), VALUES, inner.filter(bool))
    alone = st.tuples(st.sampled_from(["label", "rr"]), st.none(), inner.filter(bool))
    return st.lists(value | both | alone, max_size=8)


TREES = st.recursive(st.lists(st.tuples(KEYS, VALUES, st.none()), max_size=4), _members, max_leaves=30)


def printed(members: Members, indent: int) -> str:
    """An object as tshark prints it without `--no-duplicate-keys`."""
    lines = []
    for key, text, tree in members:
        if text is not None:
            lines.append(f"{_text(key)}: {_text(text)}")
        if tree is not None:
            name = key if text is None else f"{key}_tree"
            lines.append(f"{_text(name)}: {printed(tree, indent + 2)}")
    space = "\n" + " " * (indent + 2)
    return "{" + ",".join(space + line for line in lines) + "\n" + " " * indent + "}"


def grouped(members: Members) -> dict[str, object]:
    """The same with equal keys put together."""
    told: dict[str, object] = {}
    for key in dict.fromkeys(key for key, _, _ in members):
        of_key = [(text, tree) for name, text, tree in members if name == key]
        trees = [grouped(tree) if tree is not None else "" for _, tree in of_key]
        if of_key[0][0] is None:
            told[key] = trees if len(trees) > 1 else trees[0]
            continue
        texts = [text for text, _ in of_key]
        told[key] = texts if len(texts) > 1 else texts[0]
        if any(tree != "" for tree in trees):
            told[f"{key}_tree"] = trees if len(trees) > 1 else trees[0]
    return told


def output(*records: Members) -> bytes:
    """What tshark prints for packets."""
    told = [
        printed([("_index", "packets", None), ("_source", None, [("layers", None, layers)])], 2)
        for layers in records
    ]
    return ("[\n  " + "\n  ,\n  ".join(told) + "\n]\n").encode()


def _text(value: str) -> str:
    return orjson.dumps(value).decode()


@settings(deadline=None)  # the first one loads native code
@given(st.lists(TREES.filter(bool), min_size=1, max_size=4), st.lists(st.integers(1, 90)))
def test_equal_keys_come_together_in_the_order_of_the_first(trees: list[Members], cuts: list[int]) -> None:
    data, splitter, found = output(*trees), Splitter(), []
    for size in [*cuts, len(data)]:
        found += splitter.push(data[:size])
        data = data[size:]
    assert all(record.startswith(b"[0,{") for record in found)
    assert [orjson.dumps(layers(record)[1]) for record in found] == [
        orjson.dumps(grouped(tree)) for tree in trees
    ]


def test_a_filtered_layer_is_nothing_but_its_name() -> None:
    tree: Members = [
        ("ip", None, [("filtered", "ip", None)]),
        ("ip", None, [("filtered", "ip", None)]),
        ("dns", None, [("filtered", "x", None), ("dns.id", "1", None)]),
    ]
    (record,) = Splitter().push(output(tree))
    assert record == b'[0,{"ip":[0,0],"dns":{"filtered":"x","dns.id":"1"}},["ip","ip","dns"]]'


def test_the_names_of_all_layers_are_there_if_there_are_several_ip_headers() -> None:
    inner = [("ip", None, []), ("a" * 400, "1", None), ("dns", None, [("dns.id", "1", None)])]
    for outer, named in ((["eth"], False), (["eth", "ipv6", "gre"], True), (["ip", "ip"], True)):
        tree: Members = [*((name, None, [("filtered", name, None)]) for name in outer), *inner]
        (record,) = Splitter().push(output(tree))
        assert layers(record)[2] == ([name for name, _, _ in tree] if named else None)


@pytest.mark.parametrize(
    ("tree", "signs"),
    [
        ([("tcp", "", None)], 0),
        ([("tcp", None, [("tls", None, [("a", "1", None)])])], 0b10),
        ([("x", None, [("_ws.expert.severity", "8388608", None)])], 0b01),
        ([("x", None, [("_ws.expert.severity", "2097152", None)])], 0),
    ],
)
def test_signs_of_nested_layers_are_seen_at_any_depth(tree: Members, signs: int) -> None:
    (record,) = Splitter(["tls", "_ws.expert"]).push(output(tree))
    assert layers(record)[0] == signs


def test_what_is_not_built_as_tshark_builds_is_read_all_the_same() -> None:
    deep: Members = [("x", "1", None)]
    for _ in range(600):
        deep = [("label", None, deep)]
    list_of_texts = b'[\n  {\n    "_source": {"layers": {\n"a": ["1", "2"], "b": "3", "b": "4"}}\n  }\n]\n'
    for data in (list_of_texts, output(deep)):
        (record,) = Splitter(["tls"]).push(data)
        assert record.startswith(b"{")
        signs, found, _ = layers(record)
        assert signs == -1
        assert found is not None
    assert layers(Splitter().push(list_of_texts)[0])[1] == {"a": ["1", "2"], "b": ["3", "4"]}


def test_what_nobody_reads_is_left_out_with_all_that_is_below_it() -> None:
    tree: Members = [
        ("ssh", None, [("ssh.dh.e", "00", None), ("x", "1", [("a", "2", None)]), ("x", "3", None)]),
        ("dns", None, [("ssh.dh.e", "00", None)]),
    ]
    (record,) = Splitter(unread=["ssh.dh.e", "x_tree"]).push(output(tree))
    assert record == b'[0,{"ssh":{"x":["1","3"]},"dns":{}}]'


def test_what_is_left_out_is_what_no_decoder_names() -> None:
    folder = Path(base.__file__).parent
    sources = "".join(path.read_text() for path in folder.rglob("*.py"))
    asked = {
        name for dataset in datasets().values() for spec in dataset.fields.values() for name in spec.tshark
    }
    unread = decode_plan().unread
    assert unread
    assert not unread & asked
    assert [name for name in unread if f'"{name}"' in sources] == []
