"""The assembler against an oracle that knows every byte's place and asks who came first."""

from hypothesis import given
from hypothesis import strategies as st

from producers.files.stream import Budget, Stream

START = st.integers(0, 2**32 - 1)


@st.composite
def _segments(draw: st.DrawFn) -> list[tuple[int, bytes]]:
    """Segments anywhere in the first 60 bytes, each with content of its own, so that it shows whose byte won."""
    count = draw(st.integers(0, 12))
    return [
        (draw(st.integers(0, 50)), bytes([65 + number]) * draw(st.integers(1, 12))) for number in range(count)
    ]


def _oracle(segments: list[tuple[int, bytes]]) -> list[int | None]:
    places: dict[int, int] = {}
    for begin, data in segments:
        for offset, octet in enumerate(data):
            places.setdefault(begin + offset, octet)
    return [places.get(place) for place in range(max(places, default=-1) + 1)]


def _flat(pieces: list[bytes | int]) -> list[int | None]:
    told: list[int | None] = []
    for piece in pieces:
        told += [None] * piece if isinstance(piece, int) else list(piece)
    return told


@given(_segments(), START)
def test_each_byte_is_the_first_that_came_and_holes_are_told(
    segments: list[tuple[int, bytes]], start: int
) -> None:
    budget = Budget(1 << 20)
    stream = Stream(start, budget)
    pieces = [piece for begin, data in segments for piece in stream.push((start + begin) & 0xFFFFFFFF, data)]
    assert all(isinstance(piece, bytes) for piece in pieces)
    pieces += stream.flush()
    assert _flat(pieces) == _oracle(segments)
    assert budget.used == 0


@given(st.data(), START, st.binary(min_size=1, max_size=80))
def test_segments_in_any_order_twice_and_overlapping_give_the_stream(
    data: st.DataObject, start: int, content: bytes
) -> None:
    cuts = data.draw(st.lists(st.tuples(st.integers(0, 80), st.integers(1, 20)), max_size=20))
    whole = [(at, content[at : at + 7]) for at in range(0, len(content), 7)]
    extra = [(at, content[at : at + size]) for at, size in cuts if at < len(content)]
    stream, told = Stream(start, Budget(1 << 20)), b""
    for at, piece in data.draw(st.permutations(whole + extra)):
        for part in stream.push((start + at) & 0xFFFFFFFF, piece):
            assert isinstance(part, bytes)
            told += part
    assert told == content
    stream.finish((start + len(content)) & 0xFFFFFFFF)
    assert stream.over
    assert list(stream.flush()) == []


@given(_segments(), st.integers(0, 30), st.integers(0, 30))
def test_no_more_is_held_than_allowed(segments: list[tuple[int, bytes]], held: int, memory: int) -> None:
    budget = Budget(memory)
    stream = Stream(0, budget, held)
    told = []
    for begin, data in segments:
        told += stream.push(begin, data)
        assert budget.used <= min(memory, held + len(data))
    told += stream.flush()
    assert budget.used == 0
    assert len(_flat(told)) <= len(_oracle(segments))


def test_what_the_other_side_has_is_waited_for_no_longer() -> None:
    stream = Stream(10, Budget(100))
    assert list(stream.push(15, b"later")) == []
    assert list(stream.acknowledged(12)) == []
    assert list(stream.acknowledged(20)) == [5, b"later"]
    assert list(stream.push(10, b"late")) == []


def test_a_stream_ends_with_its_fin_and_the_hole_before_it() -> None:
    stream = Stream(0, Budget(100))
    assert list(stream.push(0, b"ab")) == [b"ab"]
    stream.finish(5)
    assert not stream.over
    assert list(stream.flush()) == [3]
    assert stream.over
