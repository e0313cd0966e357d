"""Reading records: what is remembered by its bytes is what would be read again."""

import orjson
from hypothesis import given
from hypothesis import strategies as st

from producers.decoders.records import Reader, Reading

NAMES = ["frame", "eth", "ip", "gre", "udp", "tcp", "dns", "http", "icmp", "tls", "vnc", "data"]
LAYERS = st.dictionaries(
    st.sampled_from(NAMES),
    st.sampled_from([{"filtered": "x"}, {"dns.id": "1"}, [{"a": "1"}, {"a": "2"}], "text"]),
)


def record(layers: object) -> bytes:
    return orjson.dumps({"_source": {"layers": layers}})


@given(st.lists(LAYERS, min_size=1, max_size=20))
def test_a_reader_that_has_seen_much_reads_like_a_new_one(trees: list[dict[str, object]]) -> None:
    wanted = frozenset({"dns", "http", "tls"})
    seasoned = Reader(wanted)
    for tree in [*trees, *trees]:
        assert seasoned.read(record(tree)) == Reader(wanted).read(record(tree))


def test_only_wanted_layers_are_told_and_all_of_their_occurrences() -> None:
    tree = {
        "ip": {"x": "1"},
        "udp": {"x": "1"},
        "dns": [{"a": "1"}, {"filtered": "dns"}, {"a": "2"}],
        "data": {"b": "1"},
    }
    reading = Reader(frozenset({"dns"})).read(record(tree))
    assert reading == Reading((("dns", {"a": "1"}), ("dns", {"a": "2"})), (("dns",), ("dns",)))


def test_what_an_error_quotes_was_not_sent() -> None:
    tree = {"ip": {}, "icmp": {"a": "1"}, "udp": {}, "dns": {"a": "1"}}
    reading = Reader(frozenset({"icmp", "dns"})).read(record(tree))
    assert reading is not None
    assert [name for name, _ in reading.layers] == ["icmp"]


def test_protocols_inside_a_tunnel_do_not_count_what_carries_it() -> None:
    names = ["eth", "ip", "udp", "vxlan", "tcp", "vnc"]
    tree = {name: {"filtered": name} for name in names}
    reading = Reader(frozenset()).read(record(tree))
    assert reading is not None
    assert reading.protocols[True] == ("rfb",)


def test_what_is_no_record_is_none() -> None:
    reader = Reader(frozenset())
    assert reader.read(b"{") is None
    assert reader.read(b'{"_source": 1}') is None
