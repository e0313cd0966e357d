"""A data segment that is taken out of a capture, or comes in another order, changes no event but those that touch it.

By default over a sample of the public captures; `NETFLIGHT_HOLES=all` takes all of them, and three segments of each
connection in turn, which takes half an hour.
"""

import os
import random
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

from producers.sources.opening import expand
from runtime.errors import CaptureError
from schemas.events import Event
from tests.captures import captures
from tests.decoding import FLOW, SAMPLES
from tests.losses import (
    Capture,
    Difference,
    Segment,
    Variant,
    compare,
    differing,
    events_of,
    load,
    plain,
    without,
    write,
)

pytestmark = [
    pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed"),
    pytest.mark.timeout(7200 if os.environ.get("NETFLIGHT_HOLES") else 600),
]
ALL = os.environ.get("NETFLIGHT_HOLES") == "all"
STEP, ROUNDS = (1, 3) if ALL else (9, 1)
_SYN, _ACK = 2, 16
_ASIDE = {FLOW, "network_traffic.file"}
LEAST_SAME = 0.98
"""The share of events that stay as they are, those of DEPENDENT aside."""
MOST_MISSING = 0.01
"""The share of events, of all datasets, that are not there any more."""

# What an event takes from other messages of its connection, which may be the lost ones.
DEPENDENT = {
    "dcerpc": "the interface of a context is in the bind",
    "smb": "share, file, pipe, user and host are in earlier answers",
    "ntlm": "the user is in the third of three messages",
    "file": "names and users are in other messages",
    "anomaly": "counts what the whole flow has",
    "credentials": "user and password come one after the other",
    **dict.fromkeys(("pgsql", "mysql", "tds"), "the login and prepared statements say what follows is"),
    "dnp3": "a message in several link frames",
    "tls": "established needs both sides' change to encryption",
}


@cache
def sample() -> tuple[Capture, ...]:
    """Captures with TCP payload, each so many of them."""
    found = []
    for path in expand([str(captures()), str(SAMPLES)]).captures[::STEP]:
        try:
            capture = load(Path(path))
        except CaptureError:
            continue
        if capture.with_data():
            found.append(capture)
    return tuple(found)


@cache
def complete() -> dict[Path, list[Event]]:
    """The events of the sample as it is."""
    return events_of([capture.path for capture in sample()])


def losses(folder: Path) -> Iterator[Variant]:
    """Each capture without one segment of each connection."""
    for number, capture in enumerate(sample()):
        for turn in range(ROUNDS):
            choose = random.Random(f"{capture.path.name}{turn}")
            flows = capture.with_data().values()
            gone = [choose.choice(segments) for segments in flows if len(segments) > 1]
            if gone:
                yield without(capture, gone, folder / f"{number}_{turn}.pcapng")


def test_a_lost_segment_changes_no_event_but_those_that_touch_it(tmp_path: Path) -> None:
    variants = list(losses(tmp_path))
    assert len(variants) >= len(sample()) * ROUNDS // 2
    events = events_of([variant.path for variant in variants])
    untouched, changed = 0, list[Difference]()
    for variant in variants:
        found = compare(variant, complete()[variant.of.path], events[variant.path])
        untouched += found.untouched
        changed += found.changed
    failures = [each for each in changed if _outcome(each.after) == "failure" != _outcome(each.before)]
    others = [each for each in changed if _dataset(each.before) not in DEPENDENT]
    missing = [each for each in changed if each.after is None]
    told = Counter(
        (each.variant.of.path.name, _dataset(each.before), *sorted(differing(each.before, each.after))[:3])
        for each in others
    )
    assert not [each for each in failures if _dataset(each.before) not in DEPENDENT]
    assert len(missing) <= MOST_MISSING * untouched, Counter(_dataset(each.before) for each in missing)
    assert len(others) <= (1 - LEAST_SAME) * untouched, (
        f"{untouched} untouched, {len(changed)} changed: {told}"
    )


def swapped(capture: Capture, choose: random.Random, *, answers: bool) -> list[int]:
    """Frames that are to change places, two and two: neighbours of one side, or a segment and its acknowledgement."""
    turned: list[int] = []
    for segments in _of_flows(capture):
        pairs, begun = [], set[bool]()
        for before, after in pairwise(segments):
            # Of a connection whose beginning is not in the capture, nobody knows what was before the first segment.
            if before.forward in begun and _swappable(before, after, answers=answers):
                pairs.append((before, after))
            if before.length or before.flags & _SYN:
                begun.add(before.forward)
        if pairs:
            turned += [segment.frame for segment in choose.choice(pairs)]
    return turned


def _swappable(before: Segment, after: Segment, *, answers: bool) -> bool:
    if not before.length:
        return False
    if not answers:
        follows = (before.sequence + before.length) % 2**32 == after.sequence
        return before.forward == after.forward and after.length > 0 and follows and not after.flags & 7
    acknowledged = (before.sequence + before.length) % 2**32 == after.acknowledgement
    return before.forward != after.forward and acknowledged and after.flags & 0x17 == _ACK


def _of_flows(capture: Capture) -> Iterator[list[Segment]]:
    flows: dict[int, list[Segment]] = {}
    for segment in capture.segments:
        flows.setdefault(segment.uid, []).append(segment)
    yield from flows.values()


@pytest.mark.parametrize("answers", [False, True])
def test_the_order_of_neighbours_changes_no_event(tmp_path: Path, answers: bool) -> None:  # noqa: FBT001
    """Neighbours of one side, and a segment with what acknowledges it; each packet keeps its time."""
    made = dict[Path, tuple[Capture, list[int]]]()
    for number, capture in enumerate(sample()):
        turned = swapped(capture, random.Random(capture.path.name), answers=answers)
        if turned:
            packets = list(capture.packets)
            for first, second in zip(turned[::2], turned[1::2], strict=True):
                packets[first - 1], packets[second - 1] = packets[second - 1], packets[first - 1]
            path = tmp_path / f"{number}.pcapng"
            made[path] = capture, write(packets, path)
    assert len(made) > len(sample()) // 4
    events = events_of(list(made))
    differences = [
        (capture.path.name, content)
        for path, (capture, frames) in made.items()
        for content in _changed(complete()[capture.path], events[path], frames)
    ]
    assert differences == []


def _changed(before: Sequence[Event], after: Sequence[Event], frames: Sequence[int]) -> list[str]:
    """Datasets and frames of the events that are not the same, whatever their order.

    Flow records aside, and what is made of packets before they are in order: files (docs/files.md), the sizes of SSH's
    encrypted segments.
    """
    aside = {*_ASIDE, "network_traffic.ssh"}
    now = Counter(_said(plain(event, frames)) for event in after if event["event"]["dataset"] not in aside)
    then = Counter(_said(plain(event)) for event in before if event["event"]["dataset"] not in aside)
    return [said[:400] for said in (then - now | now - then).elements()]


def _said(event: Event) -> str:
    return f"{event['event']['dataset']} {event['netflight'].get('frame')} {event}"


def _outcome(event: Event | None) -> str:
    return "" if event is None else str(event["event"].get("outcome", ""))


def _dataset(event: Event) -> str:
    return str(event["event"]["dataset"]).rpartition(".")[2]
