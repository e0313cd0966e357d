"""The index of a segment: every flow is found, nothing else is, and no damage goes unseen."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from producers.engine.community_id import community_id
from producers.engine.kernel.layout import FACTS, Kind
from producers.recorder import index
from producers.recorder.flowhash import FlowNumbers
from producers.recorder.index import UNKNOWN, IndexDamagedError, IndexFile, flow_number
from runtime.errors import UsageError
from tests.rings import key_of

NUMBERS = st.one_of(st.integers(0, 3), st.integers(0, 2**64 - 1))
ROWS = st.lists(st.tuples(NUMBERS, st.integers(0, 2**63 - 1)), max_size=300)
PATIENT = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def written(path: Path, rows: list[tuple[int, int]]) -> dict[int, list[int]]:
    """An index of packets (flow, time) that stand at word 7, 17, 27 ...; the words of each flow."""
    words = np.arange(7, 7 + 10 * len(rows), 10, dtype=np.uint32)
    table = index.build(
        np.array([flow for flow, _ in rows], dtype=np.uint64),
        words,
        np.array([time for _, time in rows], dtype=np.int64),
    )
    size = index.write(path, table, 1234, 99)
    assert size == path.stat().st_size
    assert size == index.index_bytes(len(rows), len({flow for flow, _ in rows}))
    found: dict[int, list[int]] = {}
    for (flow, _), word in zip(rows, words.tolist(), strict=True):
        found.setdefault(flow, []).append(word)
    return found


@PATIENT
@given(ROWS, st.lists(NUMBERS, max_size=5))
def test_finds_every_flow_and_no_other(
    tmp_path: Path, rows: list[tuple[int, int]], others: list[int]
) -> None:
    flows = written(tmp_path / "x.index", rows)
    with IndexFile(tmp_path / "x.index") as file:
        table = file.table()
        assert file.totals[:2] == (len(rows), len(flows))
        if rows:
            assert file.totals[2:4] == (min(time for _, time in rows), max(time for _, time in rows))
        assert file.totals[4:] == (1234, 99)
        for flow, words in flows.items():
            times = [time for number, time in rows if number == flow]
            for found in (file.find(flow), table.find(flow)):
                assert found is not None
                assert found.words.tolist() == words
                assert (found.first_ns, found.last_ns) == (min(times), max(times))
        for number in set(others) - set(flows):
            assert file.find(number) is None
            assert table.find(number) is None


@PATIENT
@given(ROWS.filter(bool), st.data())
def test_a_changed_byte_is_noticed_or_does_not_matter(
    tmp_path: Path, rows: list[tuple[int, int]], data: st.DataObject
) -> None:
    path = tmp_path / "x.index"
    flows = written(path, rows)
    whole = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(whole)
    noticed = 0
    for flow, words in flows.items():
        try:
            with IndexFile(path) as file:
                found = file.find(flow)
        except IndexDamagedError:
            noticed += 1
        else:
            assert found is not None
            assert found.words.tolist() == words
    in_header_padding = 60 <= at < 64
    assert noticed or in_header_padding or len(whole) > index.PAGE


@pytest.mark.parametrize("keep", [0, 10, 63, 64, 100, -1])
def test_a_cut_index_is_refused(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "x.index"
    written(path, [(n % 17, n) for n in range(100)])
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(IndexDamagedError, match=r"x\.index"):
        IndexFile(path)
    with pytest.raises(IndexDamagedError, match=r"x\.index"):
        index.totals(path)


def test_a_lookup_reads_few_pages(tmp_path: Path) -> None:
    flows = np.random.default_rng(1).integers(1, 2**63, 200_000, dtype=np.uint64)
    table = index.build(flows, np.arange(len(flows), dtype=np.uint32), np.zeros(len(flows), dtype=np.int64))
    size = index.write(tmp_path / "x.index", table, 0, 0)
    with IndexFile(tmp_path / "x.index") as file:
        found = file.find(int(flows[77]))
        assert found is not None
        assert found.words.tolist() == [77]
        assert len(file._good) < 20  # noqa: SLF001  # the claim is about what was read
    assert size / index.PAGE > 1_000


@pytest.mark.parametrize(
    "text", ["", "1:", "LQU9qZlK+B5F3KDmev6m5PMibrg=", "2:LQU9qZlK+B5F3KDmev6m5PMibrg=", "1:LQU9"]
)
def test_what_is_no_community_id_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="no Community ID"):
        flow_number(text)


ADDRESS = {4: st.binary(min_size=4, max_size=4), 6: st.binary(min_size=16, max_size=16)}


@st.composite
def row(draw: st.DrawFn) -> np.void:
    """A row of FACTS as the parser fills it, of any protocol; endpoints are often alike."""
    facts = np.zeros(1, dtype=FACTS)
    one: np.void = facts[0]
    version = draw(st.sampled_from([4, 6]))
    source = draw(ADDRESS[version])
    destination = draw(st.one_of(ADDRESS[version], st.just(source)))
    protocol, ported = draw(
        st.sampled_from([(6, 1), (17, 1), (132, 1), (1, 2), (58, 2), (1, 3), (58, 3), (47, 0), (6, 0)])
    )
    pairs = {
        (1, 2): [(8, 0), (0, 8)],
        (58, 2): [(128, 129), (129, 128)],
        (1, 3): [(3, 9), (11, 0)],
        (58, 3): [(1, 4)],
    }
    ports = draw(
        st.sampled_from(pairs[protocol, ported])
        if ported > 1
        else st.tuples(st.integers(0, 65535), st.integers(0, 65535))
    )
    one["kind"], one["version"], one["protocol"], one["ported"] = Kind.FLOW, version, protocol, ported
    for side, address, port in (("source", source, ports[0]), ("destination", destination, ports[1])):
        value = int.from_bytes(address, "big")
        one[f"{side}_high"], one[f"{side}_low"] = value >> 64, value & (2**64 - 1)
        one[f"{side}_port"] = port if ported else 0
    return one


@settings(max_examples=300, deadline=None)
@given(st.lists(row(), min_size=1, max_size=20))
def test_the_native_number_is_the_community_ids(rows: list[np.void]) -> None:
    facts = np.array(rows, dtype=FACTS)
    facts = np.concatenate([facts, facts[::-1]])
    expected = [flow_number(community_id(key_of(each))) for each in facts]
    numbers = FlowNumbers()
    everything = np.arange(len(facts))
    assert numbers.of(facts, everything).tolist() == expected
    assert numbers.of(facts, everything[::3].copy()).tolist() == expected[::3]


def test_packets_in_no_flow_have_no_number() -> None:
    facts = np.zeros(3, dtype=FACTS)
    facts["kind"] = [Kind.NOT_IP, Kind.MALFORMED, Kind.IGNORED]
    assert FlowNumbers().of(facts, np.arange(3)).tolist() == [UNKNOWN] * 3
