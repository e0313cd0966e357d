"""Streams whose every byte has a known part, cut anywhere: each segment has the part of its bytes."""

from dataclasses import dataclass
from itertools import cycle

from hypothesis import given, settings
from hypothesis import strategies as st

from producers.engine.kernel.layout import Part
from producers.engine.kernel.phases_state import MISSES
from tests.streams import Packet, chunked, hello, parts, record, ssh_packet

UNKNOWN, HEAD, BODY, ENCRYPTED = Part.UNKNOWN, Part.HEAD, Part.BODY, Part.ENCRYPTED
FIRST = 20  # bytes that a signature needs to be recognised

Stretch = tuple[bytes, Part]


@dataclass(frozen=True)
class Labelled:
    """A packet and what its part must be."""

    packet: Packet
    part: Part


@st.composite
def tls_stream(draw: st.DrawFn, kind: int) -> list[Stretch]:
    lengths = draw(st.lists(st.integers(0, 5000), max_size=4))
    stretches = [(hello(kind, draw(st.integers(60, 3000))), HEAD)]
    stretches += [(record(draw(st.sampled_from([20, 21, 22])), b"h" * length), HEAD) for length in lengths]
    lengths = draw(st.lists(st.integers(1, 16384), max_size=4))
    return stretches + [(record(23, b"x" * length), ENCRYPTED) for length in lengths]


@st.composite
def ssh_stream(draw: st.DrawFn) -> list[Stretch]:
    lengths = draw(st.lists(st.integers(12, 3000), max_size=4))
    stretches = [(b"SSH-2.0-OpenSSH_9.2p1 Debian\r\n", HEAD)]
    stretches += [
        (ssh_packet(draw(st.integers(20, 49).filter(lambda kind: kind != 21)), length), HEAD)
        for length in lengths
    ]
    stretches.append((ssh_packet(21, 12), HEAD))
    return [*stretches, (b"e" * draw(st.integers(0, 20000)), ENCRYPTED)]


BODIES = st.integers(0, 6000).map(lambda length: b"0123456789abcdef"[: length % 16] + b"x" * length)


@st.composite
def framed(draw: st.DrawFn, start: bytes) -> list[Stretch]:
    """A message with a body whose end it tells."""
    body = draw(BODIES)
    fields = b"".join(
        b"X-%d: %s\r\n" % (at, b"v" * at) for at in draw(st.lists(st.integers(0, 900), max_size=3))
    )
    if draw(st.booleans()):
        size = draw(st.integers(1, 5000))
        return [(start + fields + b"Transfer-Encoding: chunked\r\n\r\n", HEAD), (chunked(body, size), BODY)]
    return [(start + b"Content-Length: %d\r\n" % len(body) + fields + b"\r\n", HEAD), (body, BODY)]


@st.composite
def http_turns(draw: st.DrawFn, *, with_head: bool) -> list[tuple[bool, list[Stretch]]]:
    """Turns of a connection: requests, pipelined or not, and their responses, the last without a length perhaps."""
    turns: list[tuple[bool, list[Stretch]]] = []
    for _ in range(draw(st.integers(1, 3))):
        requests: list[Stretch] = []
        responses: list[Stretch] = []
        for _ in range(draw(st.integers(1, 3))):
            method = draw(st.sampled_from(["GET", "POST", "HEAD"] if with_head else ["GET", "POST"]))
            if method == "POST":
                requests += draw(framed(b"POST /upload HTTP/1.1\r\nHost: a\r\n"))
            else:
                requests.append((f"{method} /page HTTP/1.1\r\nHost: a\r\n\r\n".encode(), HEAD))
            if draw(st.booleans()):
                responses.append((b"HTTP/1.1 100 Continue\r\n\r\n", HEAD))
            if method == "HEAD":
                responses.append((b"HTTP/1.1 200 OK\r\nContent-Length: 777\r\n\r\n", HEAD))
            elif draw(st.booleans()):
                responses += draw(framed(b"HTTP/1.1 200 OK\r\nServer: b\r\n"))
            else:
                responses.append((b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", HEAD))
        turns += [(True, requests), (False, responses)]
    if draw(st.booleans()):
        turns[-1][1].append((b"HTTP/1.0 200 OK\r\nServer: a\r\n\r\n", HEAD))
        turns[-1][1].append((draw(BODIES), BODY))
    return turns


def labelled(
    turns: list[tuple[bool, list[Stretch]]], bases: tuple[int, int], cuts: list[int]
) -> list[Labelled]:
    """The turns in segments of the lengths `cuts`, over and over, which do not cross the end of a turn."""
    at = [0, 0]
    packets = []
    turn_cuts = cycle(cuts)
    for forward, stretches in turns:
        stream = b"".join(data for data, _ in stretches)
        labels = [part for data, part in stretches for _ in data]
        begin = 0
        while begin < len(stream):
            length = max(next(turn_cuts), FIRST if at[forward] == 0 else 1)
            end = min(begin + length, len(stream))
            part = HEAD if HEAD in labels[begin:end] else labels[begin]
            packets.append(Labelled(Packet(forward, stream[begin:end], bases[forward] + at[forward]), part))
            at[forward] += end - begin
            begin = end
    return packets


CUTS = st.one_of(
    st.lists(st.integers(200, 1448), min_size=1, max_size=20),
    st.lists(st.integers(1, 90), min_size=4, max_size=9),
)
BASES = st.tuples(st.integers(0, 2**32 - 1), st.integers(2**32 - 9000, 2**32 - 1))
CONVERSATIONS = st.one_of(
    st.tuples(tls_stream(1), tls_stream(2)).map(lambda sides: [(True, sides[0]), (False, sides[1])]),
    st.tuples(ssh_stream(), ssh_stream()).map(lambda sides: [(False, sides[1]), (True, sides[0])]),
)


def assert_parts(packets: list[Labelled]) -> None:
    found = parts([each.packet for each in packets])
    wrong = [
        (at, part, each.part)
        for at, (part, each) in enumerate(zip(found, packets, strict=True))
        if part != each.part
    ]
    assert not wrong


@settings(max_examples=120, deadline=None)
@given(turns=CONVERSATIONS, bases=BASES, cuts=CUTS)
def test_records_cut_anywhere(
    turns: list[tuple[bool, list[Stretch]]], bases: tuple[int, int], cuts: list[int]
) -> None:
    assert_parts(labelled(turns, bases, cuts))


@settings(max_examples=200, deadline=None)
@given(turns=http_turns(with_head=True), bases=BASES, cuts=CUTS)
def test_http_cut_anywhere(
    turns: list[tuple[bool, list[Stretch]]], bases: tuple[int, int], cuts: list[int]
) -> None:
    assert_parts(labelled(turns, bases, cuts))


@settings(max_examples=300, deadline=None)
@given(
    turns=st.one_of(CONVERSATIONS, http_turns(with_head=False)),
    bases=BASES,
    cuts=st.lists(st.integers(500, 1448), min_size=1, max_size=20),
    data=st.data(),
)
def test_no_damage_hides_a_head(
    turns: list[tuple[bool, list[Stretch]]], bases: tuple[int, int], cuts: list[int], data: st.DataObject
) -> None:
    """Segments that are late, lost or sent twice: no segment with a byte of a head is taken for bulk.

    That is promised until a stream has not been found again for MISSES packets.
    """
    packets = labelled(turns, bases, cuts)
    first = len(packets)
    for turn in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, len(packets) - 1))
        first = min(first, at - turn)  # what was taken out before has moved the rest
        match data.draw(st.sampled_from(["late", "lost", "twice"])):
            case "late":
                packets.insert(min(at + data.draw(st.integers(1, 6)), len(packets)), packets.pop(at))
            case "lost" if len(packets) > 1:
                packets.pop(at)
            case _:
                packets.insert(min(at + data.draw(st.integers(1, 6)), len(packets)), packets[at])
    found = parts([each.packet for each in packets])
    heads = [at for at, each in enumerate(packets[: max(first, 0) + MISSES]) if each.part == HEAD]
    assert not [at for at in heads if found[at] not in (HEAD, UNKNOWN)]
