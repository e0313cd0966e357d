"""Captures with a segment taken out, or put elsewhere, and what that does to the events of everything else."""

import subprocess
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson

from producers.engine.engine import FlowEngine
from producers.engine.kernel.layout import Fragment, Kind
from producers.sources.opening import open_path
from producers.sources.packet import RawPacket, block_of
from producers.sources.write import encode, preamble
from schemas.events import Event
from schemas.model import datasets
from tests.decoding import FLOW, decode

_TCP, _SYN = 6, 2
_REASSEMBLED = (
    *("tcp.reassembled_in", "tls.reassembled_in", "tls.handshake.reassembled_in", "dcerpc.reassembled_in"),
    *("smb_pipe.reassembled_in", "smb2.pipe.reassembled_in", "tds.reassembled_in", "cotp.reassembled_in"),
    *("opcua.reassembled.in", "gss-api.reassembled_in", "s7comm.reassembled.in", "http2.body.reassembled.in"),
    *("dnp3.al.fragment.reassembled_in", "smtp.data.reassembled.in", "pop.data.reassembled.in"),
)
Change = Callable[[list[RawPacket]], list[RawPacket]]


class Segment(NamedTuple):
    """A TCP segment of a capture: its frame, flow, direction, sequence numbers, payload's length and flags."""

    frame: int
    uid: int
    community: str
    forward: bool
    sequence: int
    acknowledgement: int
    length: int
    flags: int


class Capture(NamedTuple):
    """A capture in memory."""

    path: Path
    packets: list[RawPacket]
    segments: list[Segment]

    def with_data(self) -> dict[int, list[Segment]]:
        """The segments with payload by flow."""
        flows: dict[int, list[Segment]] = defaultdict(list)
        for segment in self.segments:
            if segment.length:
                flows[segment.uid].append(segment)
        return flows


def load(path: Path) -> Capture:
    """Read a capture and find its TCP segments."""
    packets: list[RawPacket] = []
    segments: list[Segment] = []
    engine = FlowEngine()
    for block in open_path(str(path)).blocks():
        packets += list(block)
        batch = engine.feed(block)
        facts = batch.facts
        whole = (
            (facts["kind"] == Kind.FLOW) & (facts["protocol"] == _TCP) & (facts["fragment"] == Fragment.NONE)
        )
        for index in np.flatnonzero(whole).tolist():
            row, flow = facts[index], batch.flow(index)
            assert flow is not None
            segments.append(
                Segment(
                    *(block.first_frame + index, int(row["uid"]), flow.community_id, bool(row["forward"])),
                    *(int(row["sequence"]), int(row["acknowledgement"])),
                    *(int(row["length"]), int(row["tcp_flags"])),
                )
            )
    return Capture(path, packets, segments)


def write(packets: Sequence[RawPacket], path: Path) -> list[int]:
    """Write packets as pcapng, in this order; the frame each had before, by its frame now less one."""
    block = block_of([packet._replace(frame=number) for number, packet in enumerate(packets, 1)])
    numbers = np.arange(len(block.interfaces), dtype=np.int64)
    encoded = encode(block, np.arange(len(block), dtype=np.int64), numbers)
    path.write_bytes(preamble(block.interfaces) + encoded.data.tobytes())
    return [packet.frame for packet in packets]


class Variant(NamedTuple):
    """A changed capture: where it is, what it was made of, the frames taken out, and its frames' former numbers."""

    path: Path
    of: Capture
    removed: tuple[Segment, ...]
    frames: list[int]


def without(capture: Capture, removed: Iterable[Segment], path: Path) -> Variant:
    """The capture without these segments."""
    gone = tuple(removed)
    frames = {segment.frame for segment in gone}
    left = [packet for packet in capture.packets if packet.frame not in frames]
    return Variant(path, capture, gone, write(left, path))


def events_of(paths: Sequence[Path]) -> dict[Path, list[Event]]:
    """The events of each capture, decoded in one run."""
    found: dict[Path, list[Event]] = {path: [] for path in paths}
    for event in decode(paths).events:
        found[Path(event["log"]["file"]["path"])].append(event)
    return found


def plain(event: Event, frames: Sequence[int] | None = None) -> Event:
    """An event without what a change of other packets changes: ids, the file, the time it was made.

    `frames` has the former number of each frame.
    """
    told: Event = orjson.loads(orjson.dumps(event))
    del told["event"]["created"], told["event"]["id"], told["log"]
    told.pop("flow", None)
    told["netflight"].pop("alert", None)
    numbers = told["netflight"].get("frame")
    if numbers and frames is not None:
        told["netflight"]["frame"] = {end: frames[number - 1] for end, number in numbers.items()}
    return told


def span(event: Event) -> tuple[int, int]:
    """The frames of an event's first and last unit."""
    frames = event.get("netflight", {}).get("frame", {})
    return frames.get("first", 0), frames.get("last", 0)


@cache
def endings(path: Path) -> dict[int, frozenset[int]]:
    """For each frame with a piece of a longer message, the frames in which tshark puts it together, at any level."""
    fields = [part for name in _REASSEMBLED for part in ("-e", name)]
    command = [
        "tshark",
        "-n",
        "-2",
        "-r",
        path,
        "-o",
        "tcp.reassemble_out_of_order:TRUE",
        "-Y",
        "tcp.len > 0",
    ]
    ran = subprocess.run(
        [*command, "-T", "fields", "-e", "frame.number", *fields], check=False, capture_output=True, text=True
    )
    found: dict[int, frozenset[int]] = {}
    for line in ran.stdout.splitlines():
        frame, *ends = line.split("\t")
        numbers = frozenset(int(number) for end in ends for number in end.split(",") if number)
        if numbers:
            found[int(frame)] = numbers
    return found


def reached(path: Path, frame: int) -> set[int]:
    """The frames in which the messages end that a segment has a part of; itself among them."""
    known = endings(path)
    found, left = {frame}, [frame]
    while left:
        for end in known.get(left.pop(), ()):
            if end not in found:
                found.add(end)
                left.append(end)
    return found


class Difference(NamedTuple):
    """An event that a change should have left alone: as it was, and as it is (None: there is none)."""

    variant: Variant
    before: Event
    after: Event | None


class Comparison(NamedTuple):
    """How many events the change did not touch, on the flows changed, and which of them it changed all the same."""

    untouched: int
    changed: list[Difference]
    extra: list[Event]


ONE_PER_FLOW = {"network_traffic.file"}


def compare(variant: Variant, complete: Sequence[Event], after: Sequence[Event]) -> Comparison:
    """Events of the flows that lost a segment, without and with it."""
    hit: dict[str, set[int]] = defaultdict(set)
    lost: dict[str, list[int]] = defaultdict(list)
    for segment in variant.removed:
        hit[segment.community] |= reached(variant.of.path, segment.frame)
        lost[segment.community].append(segment.frame)
    now: dict[bytes, list[Event]] = defaultdict(list)
    near: dict[tuple[str, int, str], list[Event]] = defaultdict(list)
    for event in after:
        told = plain(event, variant.frames)
        now[_bytes(told)].append(told)
        near[_about(told)].append(told)
    changed, untouched, expected = [], 0, Counter[bytes]()
    for event in complete:
        told = plain(event)
        community = told.get("network", {}).get("community_id", "")
        if told["event"]["dataset"] == FLOW or community not in hit:
            continue
        if _touches(told, hit[community], lost[community], decoder_kind(told["event"]["dataset"])):
            continue
        untouched += 1
        content = _bytes(told)
        expected[content] += 1
        if expected[content] > len(now[content]):
            others = near[_about(told)]
            changed.append(Difference(variant, told, others[0] if others else None))
    known = {_about(plain(event)) for event in complete}
    extra = [
        told
        for event in after
        if (told := plain(event, variant.frames))["event"]["dataset"] != FLOW
        and told.get("network", {}).get("community_id") in hit
        and _about(told) not in known
    ]
    return Comparison(untouched, changed, extra)


@cache
def _kinds() -> dict[str, str]:
    return {d.dataset: d.transaction.kind if d.transaction else "" for d in datasets().values()}


def decoder_kind(dataset: str) -> str:
    """What kind of transaction a dataset's events are."""
    return _kinds()[dataset]


def _touches(event: Event, ends: set[int], lost: Sequence[int], kind: str) -> bool:
    """Whether an event is made of a message that a lost segment has a part of."""
    first, last = span(event)
    if first in ends or last in ends:
        return True
    if kind in ("connection", "stream") or event["event"]["dataset"] in ONE_PER_FLOW:
        return any(first <= frame <= last for frame in (*lost, *ends))
    return False


def _about(event: Event) -> tuple[str, int, str]:
    return event["event"]["dataset"], span(event)[0], event.get("network", {}).get("community_id", "")


def _bytes(event: Event) -> bytes:
    return orjson.dumps(event, option=orjson.OPT_SORT_KEYS)


def differing(before: Any, after: Any, name: str = "") -> Iterator[str]:
    """The names of the fields in which two events differ."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted(before.keys() | after.keys()):
            yield from differing(before.get(key), after.get(key), f"{name}.{key}" if name else key)
    elif before != after:
        yield name
