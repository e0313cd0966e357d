"""Measures: right, and the same wherever a batch, a crash or a merge fell."""

import math
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pytest
from ddsketch.mapping import LogarithmicMapping
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import ConfigError
from streams.core import sketches
from streams.core.accumulators import Accumulator, Count, Greatest, Least, Numbers, Sum
from streams.core.declarations import validated
from streams.core.measures import Measures, MeasureSpec, compile_measures
from streams.core.sketches import (
    DISTINCT_ERROR,
    QUANTILE_ERROR,
    Distinct,
    Frequencies,
    Quantiles,
    bucket,
    distinct,
    entropy,
    heaviest,
    quantile,
)

KINDS: list[Accumulator] = [
    Count(),
    Numbers(),
    Sum(),
    Least(),
    Greatest(),
    Distinct(),
    Quantiles(),
    Frequencies(),
]
every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: type(kind).__name__)

numbers = st.integers(-(1 << 80), 1 << 80) | st.floats() | st.sampled_from([0, 0.0, -0.0, 1, 1.0, 1 << 64])
texts = st.text(max_size=4) | st.sampled_from(["", "a", "443", "\ud800", "x" * 300, "y" * 300])
scalars = st.none() | st.booleans() | numbers | texts
field_values = scalars | st.lists(scalars, max_size=3) | st.just({"an": "object"})
streams_of_values = st.lists(field_values, max_size=40)


def one_pass(kind: Accumulator, values: Iterable[Any], state: Any = None) -> Any:
    state = kind.zero() if state is None else state
    for value in values:
        state = kind.add(state, value)
    return state


def restarted(kind: Accumulator, state: Any) -> Any:
    return kind.load(orjson.loads(orjson.dumps(kind.dump(state))))


def in_batches(kind: Accumulator, values: Sequence[Any], cuts: Iterable[int]) -> Any:
    state = kind.zero()
    edges = [0, *sorted(min(cut, len(values)) for cut in cuts), len(values)]
    for begin, end in pairwise(edges):
        state = one_pass(kind, values[begin:end], restarted(kind, state))
    return state


def in_a_tree(kind: Accumulator, values: Sequence[Any], rng: random.Random) -> Any:
    """Values cut at random, both halves made the same way and merged, one way round or the other."""
    if len(values) < 2 or rng.random() < 0.2:
        return one_pass(kind, values)
    cut = rng.randrange(1, len(values))
    parts = [in_a_tree(kind, values[:cut], rng), in_a_tree(kind, values[cut:], rng)]
    rng.shuffle(parts)
    into, other = parts
    before = orjson.dumps(kind.dump(other))
    merged = kind.merge(into, restarted(kind, other) if rng.random() < 0.5 else other)
    assert orjson.dumps(kind.dump(other)) == before
    return merged


def spec(declared: Any) -> MeasureSpec:
    return MeasureSpec.model_validate(declared)


def compiled(**declared: Any) -> Measures:
    return compile_measures({name: spec(measure) for name, measure in declared.items()})


def counted(measures: Measures, events: Iterable[dict[str, Any]]) -> list[Any]:
    states = measures.zero()
    for event in events:
        for place, (accumulator, name) in enumerate(zip(measures.accumulators, measures.inputs, strict=True)):
            states[place] = accumulator.add(states[place], event.get(name) if name else None)
    return states


# What a state depends on


@every_kind
@given(values=streams_of_values, cuts=st.lists(st.integers(0, 40), max_size=4))
def test_a_state_that_was_stored_goes_on_as_if_it_never_had_been(
    kind: Accumulator, values: list[Any], cuts: list[int]
) -> None:
    assert kind.dump(in_batches(kind, values, cuts)) == kind.dump(one_pass(kind, values))


@every_kind
@given(values=streams_of_values, rng=st.randoms(use_true_random=False))
def test_a_state_is_a_function_of_the_multiset_of_values(
    kind: Accumulator, values: list[Any], rng: random.Random
) -> None:
    undisturbed = orjson.dumps(kind.dump(one_pass(kind, values)))
    shuffled = rng.sample(values, len(values))
    assert orjson.dumps(kind.dump(one_pass(kind, shuffled))) == undisturbed
    assert orjson.dumps(kind.dump(in_a_tree(kind, shuffled, rng))) == undisturbed


@pytest.mark.parametrize("number", [3, 8, 380, 390, 450, 2_000, 20_000])
def test_distinct_forgets_the_order_of_values_below_and_beyond_its_registers(number: int) -> None:
    kind, rng = Distinct(), random.Random(number)
    values = [f"host{i % number}" for i in range(number * 2)]
    undisturbed = one_pass(kind, values)
    for _ in range(5):
        rng.shuffle(values)
        for state in (
            one_pass(kind, values),
            in_batches(kind, values, [rng.randrange(len(values)) for _ in range(3)]),
            in_a_tree(kind, values, rng),
        ):
            assert kind.dump(state) == kind.dump(undisturbed)
            assert distinct(state) == distinct(undisturbed)


@given(values=st.lists(st.integers(0, 40), max_size=300), cuts=st.lists(st.integers(0, 300), max_size=4))
def test_frequent_values_beyond_capacity_are_a_function_of_their_sequence(
    values: list[int], cuts: list[int]
) -> None:
    kind = Frequencies()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sketches, "CAPACITY", 8)
        undisturbed, cut = one_pass(kind, values), in_batches(kind, values, cuts)
    assert kind.dump(cut) == kind.dump(undisturbed)
    assert (cut.late, cut.size) == (undisturbed.late, undisturbed.size)


@given(
    values=st.lists(st.integers(0, 40).map(lambda n: n * n // 40), max_size=300),
    rng=st.randoms(use_true_random=False),
    how=st.sampled_from(["one pass", "a tree"]),
    limit=st.sampled_from([("CAPACITY", 8), ("MAX_BYTES", 30)]),
)
def test_no_count_is_too_high_and_none_lacks_more_than_the_bound(
    values: list[int], rng: random.Random, how: str, limit: tuple[str, int]
) -> None:
    kind = Frequencies()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sketches, *limit)
        state = in_a_tree(kind, values, rng) if how == "a tree" else one_pass(kind, values)
        assert len(state.counts) <= (8 if limit[0] == "CAPACITY" else 10)
        assert state.size == sum(len(orjson.dumps(value)) for value in state.counts) <= 32
    for value, true in Counter(map(str, values)).items():
        lacks = true - state.counts.get(value, 0)
        assert 0 <= lacks <= (state.late.get(value, 0) if value in state.counts else state.bound)
        assert lacks <= state.bound
    assert state.bound <= len(values) // 4
    assert sum(state.counts.values()) + state.dropped == len(values)


def test_a_merge_leaves_the_other_side_alone() -> None:
    measures = compiled(n="count", d={"distinct": "a"}, t={"top": "a"}, q={"quantile": "b", "q": 0.5})
    into = measures.zero()
    other = counted(measures, [{"a": "x", "b": 1}, {"a": "y", "b": 2}])
    before = measures.dump(other)
    measures.merge(into, other)
    assert measures.dump(into) == before
    for place, (accumulator, value) in enumerate(zip(measures.accumulators, [1, "z", "z", 3], strict=True)):
        into[place] = accumulator.add(into[place], value)
    assert measures.dump(into) != before
    assert measures.dump(other) == before


# Right, or as near as is said


def test_results_come_in_declared_order_from_shared_accumulators() -> None:
    measures = compiled(
        ratio={"ratio": ["bytes", "n"]},
        n="count",
        bytes={"sum": "b"},
        least={"min": "b"},
        most={"max": "b"},
        average={"mean": "b"},
        hosts={"distinct": "h"},
        top={"top": "h", "limit": 2},
        p50={"quantile": "b", "q": 0.5},
        p95={"quantile": "b", "q": 0.95},
        bits={"entropy": "h"},
        events={"rate": "count"},
        speed={"rate": "b"},
    )
    assert measures.names[:3] == ("ratio", "n", "bytes")
    assert sorted(type(accumulator).__name__ for accumulator in measures.accumulators) == [
        "Count",
        "Distinct",
        "Frequencies",
        "Greatest",
        "Least",
        "Numbers",
        "Quantiles",
        "Sum",
    ]
    assert len(measures.inputs) == 8
    assert not measures.additive
    events = [{"b": 100, "h": "x"}, {"b": 300, "h": ["y", "z"]}, {"h": "z"}, {"b": True, "h": "y"}]
    found = dict(zip(measures.names, measures.results(counted(measures, events), 10.0), strict=True))
    p50, p95 = found.pop("p50"), found.pop("p95")
    assert p50 == pytest.approx(100, rel=QUANTILE_ERROR)
    assert p95 == pytest.approx(100, rel=QUANTILE_ERROR)
    assert found == {
        "ratio": 100.0,
        "n": 4,
        "bytes": 400,
        "least": 100,
        "most": 300,
        "average": 200.0,
        "hosts": 3,
        "top": [{"value": "y", "count": 2}, {"value": "z", "count": 2}],
        "bits": pytest.approx(-(0.4 * math.log2(0.4) * 2 + 0.2 * math.log2(0.2))),
        "events": 0.4,
        "speed": 40.0,
    }


def test_nothing_counted_is_zero_or_nothing_to_say() -> None:
    measures = compiled(
        n="count",
        s={"sum": "a"},
        d={"distinct": "a"},
        r={"rate": "a"},
        x={"ratio": ["s", "n"]},
        lo={"min": "a"},
        avg={"mean": "a"},
        t={"top": "a"},
        q={"quantile": "a", "q": 1},
        e={"entropy": "a"},
    )
    assert measures.results(measures.zero(), 60.0) == [0, 0, 0, 0.0, 0.0, None, None, None, None, None]


def test_counts_and_sums_are_plain_numbers_that_add_up() -> None:
    measures = compiled(n="count", s={"sum": "a"}, r={"rate": "a"}, x={"ratio": ["s", "n"]})
    assert measures.additive
    assert measures.inputs == (None, "a")
    assert counted(measures, [{"a": 5}, {"a": 7}, {}]) == [3, 12]
    assert not compiled(m={"mean": "a"}).additive


@given(st.lists(st.integers(), max_size=20))
def test_a_sum_of_ints_is_exact_whatever_their_size(values: list[int]) -> None:
    huge = [value << 100 for value in values]
    kind = Sum()
    assert restarted(kind, one_pass(kind, huge)) == sum(huge)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=20))
def test_a_sum_of_floats_is_rounded_once(values: list[float]) -> None:
    measures = compiled(s={"sum": "a"})
    exact = sum(map(Fraction, values), Fraction(0))
    [found] = measures.results(counted(measures, [{"a": value} for value in values]), 1.0)
    if abs(exact) <= Fraction(sys.float_info.max):
        assert found == float(exact)
    else:
        assert abs(found) == sys.float_info.max


def test_results_are_json_where_a_number_is_beyond_64_bits() -> None:
    measures = compiled(n="count", s={"sum": "a"}, hi={"max": "a"}, m={"mean": "a"}, x={"ratio": ["s", "n"]})
    states = counted(measures, [{"a": 1 << 64}, {"a": 1 << 64}])
    results = measures.results(states, 1.0)
    assert results == [2, 2.0**65, 2.0**64, 2.0**64, 2.0**64]
    assert orjson.loads(orjson.dumps(results)) == results
    assert measures.load(orjson.loads(orjson.dumps(measures.dump(states)))) == states


def test_a_ratio_of_nothing_is_zero() -> None:
    measures = compiled(a={"sum": "a"}, b={"sum": "b"}, x={"ratio": ["a", "b"]})
    assert measures.results(counted(measures, [{"a": 5, "b": 0}]), 1.0) == [5, 0, 0.0]
    assert measures.results(counted(measures, [{"a": 5, "b": 0.5}]), 1.0) == [5, 0.5, 10.0]


@pytest.mark.parametrize("number", [10, 384, 1_000, 10_000, 100_000])
def test_distinct_is_within_its_error(number: int) -> None:
    measures = compiled(d={"distinct": "a"})
    [found] = measures.results(counted(measures, ({"a": f"10.{i}"} for i in range(number))), 1.0)
    error = measures.errors["d"]
    assert error == DISTINCT_ERROR
    assert found == pytest.approx(number, rel=error if number > 384 else 0)


def test_a_value_is_the_same_as_int_whole_float_and_text() -> None:
    values = [443, 443.0, "443", True, "true", "", None, [], {"an": "object"}]
    assert distinct(one_pass(Distinct(), values)) == 2
    assert one_pass(Frequencies(), values).counts == {"443": 3, "true": 2}


@pytest.mark.parametrize("q", [0, 0.01, 0.5, 0.9, 0.99, 1])
@pytest.mark.parametrize("sign", [1, -1, 0])
def test_quantiles_are_within_their_error(q: float, sign: int) -> None:
    rng = random.Random(7)
    values = [rng.lognormvariate(8, 4) * (sign or rng.choice([1, -1, 0])) for _ in range(20_001)]
    measures = compiled(q={"quantile": "a", "q": q})
    [found] = measures.results(counted(measures, ({"a": value} for value in values)), 1.0)
    exact = sorted(values)[int(q * 20_000)]
    assert measures.errors["q"] == QUANTILE_ERROR
    assert found == pytest.approx(exact, rel=QUANTILE_ERROR * (1 + 1e-9), abs=1e-9)


@given(st.floats(1e-9, 1e20))
def test_buckets_are_those_of_ddsketch(number: float) -> None:
    mapping = LogarithmicMapping(QUANTILE_ERROR, offset=1 << 12)
    assert bucket(number) in {mapping.key(number * edge) for edge in (1 - 1e-12, 1, 1 + 1e-12)}
    assert quantile({bucket(number): 1}, 0.5) == pytest.approx(number, rel=QUANTILE_ERROR * (1 + 1e-9))


@given(st.integers() | st.floats(allow_nan=False, allow_infinity=False), st.floats(0, 1))
def test_numbers_of_any_size_have_few_buckets(number: float, q: float) -> None:
    at = bucket(number)
    assert -7_436 < at < 7_436
    found = quantile({at: 1}, q)
    assert found is not None
    assert math.isfinite(found)
    assert bucket(-number) == -at


def zipf(number: int, values: int, seed: int) -> list[str]:
    weights = [1 / rank for rank in range(1, values + 1)]
    return [f"v{i}" for i in random.Random(seed).choices(range(values), weights, k=number)]


def shannon(values: Iterable[str]) -> float:
    counts = Counter(values)
    total = sum(counts.values())
    return math.fsum(count / total * math.log2(total / count) for count in counts.values())


def test_the_top_of_zipf_values_beyond_capacity_is_right() -> None:
    values = zipf(100_000, 50_000, 1)
    measures = compiled(t={"top": "a", "limit": 20})
    states = counted(measures, ({"a": value} for value in values))
    [found] = measures.results(states, 1.0)
    exact = Counter(values)
    error = measures.errors["t"]
    assert states[0].bound > 0
    assert error is not None
    assert all(0 <= exact[item["value"]] - item["count"] <= error * len(values) for item in found)
    assert {item["value"] for item in found[:10]} == {value for value, _ in exact.most_common(10)}


@pytest.mark.parametrize(
    ("make", "bits"),
    [
        pytest.param(lambda: zipf(100_000, 50_000, 2), 0.3, id="zipf"),
        pytest.param(lambda: [f"{i}" for i in range(100_000)], 0.07, id="each once"),
        pytest.param(lambda: [f"{i % 20_000}" for i in range(100_000)], 0.1, id="uniform"),
        pytest.param(lambda: ["a"] * 90_000 + [f"{i}" for i in range(10_000)], 0.01, id="one heavy"),
        pytest.param(lambda: zipf(100_000, 3_000, 3), 1e-9, id="below capacity"),
    ],
)
def test_entropy_is_near_beyond_capacity(make: Callable[[], list[str]], bits: float) -> None:
    values = make()
    state = one_pass(Frequencies(), values)
    found, exact = entropy(state), shannon(values)
    assert found == pytest.approx(exact, abs=bits)
    share, most = state.dropped / len(values), max(Counter(values).values())
    assert found is not None
    assert found <= exact + share * (1.45 + math.log2(most)) + 1e-9


def test_a_state_of_long_values_fits_a_message() -> None:
    names = [str(i) + "\x01é" * 130 for i in range(5_000)]
    kind = Frequencies()
    state = one_pass(kind, names)
    assert len(orjson.dumps(kind.dump(state))) < 400_000
    merged = kind.merge(one_pass(kind, reversed(names)), state)
    assert len(orjson.dumps(kind.dump(merged))) < 400_000


def test_ties_at_the_top_are_in_order_of_values() -> None:
    state = one_pass(Frequencies(), ["b", "a", "c", "c"])
    assert heaviest(state, 2) == [{"value": "c", "count": 2}, {"value": "a", "count": 1}]


def test_the_mapping_needs_no_protobuf() -> None:
    program = "import sys; sys.modules['google'] = None; import streams.core.sketches"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


# Declarations


@pytest.mark.parametrize(
    ("declared", "kind", "fields"),
    [
        ("count", "count", ()),
        ({"sum": "a"}, "sum", ("a",)),
        ({"top": "a", "limit": 3}, "top", ("a",)),
        ({"quantile": "a", "q": 0}, "quantile", ("a",)),
        ({"rate": "count"}, "rate", ()),
        ({"rate": "a"}, "rate", ("a",)),
        ({"ratio": ["a", "b"]}, "ratio", ()),
    ],
)
def test_a_declaration_says_what_it_reads(declared: Any, kind: str, fields: tuple[str, ...]) -> None:
    found = spec(declared)
    assert (found.kind, found.fields) == (kind, fields)


@pytest.mark.parametrize(
    ("declared", "says"),
    [
        ("counts", "'counts' is no measure; a measure is `count`, or one of sum, min,"),
        ({}, "this has nothing"),
        ({"sum": "a", "min": "a"}, "this has sum and min"),
        ({"sum": ""}, "sum: String should have at least 1 character"),
        ({"median": "a"}, "median: Extra inputs are not permitted"),
        ({"sum": "a", "limit": 3}, "limit belongs to top, not to sum"),
        ({"top": "a", "limit": 0}, "limit: Input should be greater than or equal to 1"),
        ({"top": "a", "q": 0.5}, "q belongs to quantile, not to top"),
        ({"quantile": "a"}, "quantile: which one? q from 0 to 1"),
        ({"quantile": "a", "q": 95}, "q: Input should be less than or equal to 1"),
        ({"ratio": ["a"]}, "ratio.1: Field required"),
        (7, "Input should be a valid dictionary"),
    ],
)
def test_a_wrong_declaration_says_what_is_wrong(declared: Any, says: str) -> None:
    with pytest.raises(ConfigError) as raised:
        validated(MeasureSpec, declared, Path("a.yaml"))
    assert says in str(raised.value)


@pytest.mark.parametrize(
    ("ratio", "says"),
    [
        (["n", "gone"], "x: ratio of gone: no such measure; there are n, hi, x"),
        (["hi", "n"], "x: ratio of hi: a ratio is of counts and sums, and this is a max"),
        (["x", "n"], "x: ratio of x: a ratio is of counts and sums, and this is a ratio"),
    ],
)
def test_a_ratio_is_of_counts_and_sums(ratio: list[str], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        compiled(n="count", hi={"max": "a"}, x={"ratio": ratio})
