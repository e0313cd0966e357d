"""Logins over SSH by the lengths of encrypted segments."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.decoders.datasets.ssh_login import Login, Segment, login


def said(text: str) -> list[Segment]:
    """`c44 s44`: client and server, and the size."""
    sides = {"c": "client", "s": "server"}
    return [Segment(sides[each[0]], int(each[1:])) for each in text.split()]


@pytest.mark.parametrize(
    ("segments", "result", "attempts"),
    [
        ("s200 c44 s44 c68 s76 c148 s28", "success", 1),  # a password
        ("s200 c44 s44 c68 s76 c140 s100 c308 s28", "success", 1),  # a key, asked for first
        ("c44 s44 c68 s28", "success", 1),  # no authentication
        ("c44 s44 c68 s700 c1 s76 c148 s28", "success", 1),  # a banner
        ("c44 s44 c68 s76 c148 s76", "failure", 1),
        ("c44 s44 c68 s76 c148 s76 c148 s76 c148 s76 c0 s84", "failure", 3),
        ("c44 s44 c68 s76 c148 s76 c148 s28", "success", 2),
        ("c44 s44 c68 s76", "", 0),  # asked for the methods, and no more
        ("c44 s44 c68 s76 c148 s76 c148 s308 c112 s280 c60", "", 1),  # a success may be among other messages
        ("s44 s76", "", 0),
        ("", "", 0),
    ],
)
def test_logins(segments: str, result: str, attempts: int) -> None:
    assert login(said(segments)) == Login(result, attempts)


def test_nothing_is_inferred_behind_a_hole() -> None:
    segments = said("c44 s44 c68 s76 c148 s28")
    segments[4] = segments[4]._replace(lost=True)
    assert login(segments) == Login("", 0)


@given(st.lists(st.tuples(st.sampled_from(["client", "server"]), st.integers(1, 2000)), max_size=60))
def test_any_sizes_are_judged(sizes: list[tuple[str, int]]) -> None:
    found = login([Segment(side, size) for side, size in sizes])
    assert found.result in ("", "success", "failure")
    assert found.attempts <= len(sizes)
    assert found.attempts or not found.result
