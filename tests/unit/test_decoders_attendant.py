"""Decoding in a process of its own: what goes over the pipes comes out the same, and a failure costs one packet."""

import os
import select
import time
from collections.abc import Iterator

import numpy as np
import pytest

from producers.decoders.attendant import Attendant
from producers.decoders.decoding import NOTHING, Answer, Decoding, restored
from producers.decoders.outlet import Outlet
from producers.decoders.places import Places, unpacked
from producers.decoders.plan import DecodePlan, decode_plan
from producers.decoders.secrets import Credentials, Secret
from producers.decoders.tree import Tree
from producers.decoders.unit import Place, Role, Unit
from producers.engine.model import Flow, Tunnel
from tests.trees import decoder, flow, place
from tests.waiting import PATIENCE

RECORD = b"""[
  {
    "_source": {
      "layers": {
        "syslog": {
          "syslog.msg": "%d"
        }
      }
    }
  }
"""


def places(flows: list[Flow | None], which: list[int]) -> Places:
    rows = np.arange(len(which))
    none = rows * 0
    return Places(
        *(flows, ["eth0"], rows + 1, rows * 10, np.array(which), rows % 2 == 0, rows.astype(np.int32), none),
        *(rows, rows, rows % 3 == 0, np.array([b"message %d" % row for row in rows.tolist()], dtype=object)),
        rows * 0 - 1,
    )


class Fussy(Decoding):
    """Fails on one record as nothing is expected to."""

    def answer(self, record: bytes, place: Place) -> Answer:
        if b'"13"' in record:
            raise RuntimeError("a fault that nobody expects")
        return super().answer(record, place)


def answers(attendant: Attendant, count: int) -> list[Answer]:
    """So many answers, or as many as there are until it has ended."""
    found: list[Answer] = []
    deadline = time.monotonic() + PATIENCE
    while len(found) < count and time.monotonic() < deadline:
        for outlet in [attendant.places] if attendant.places.waits else []:
            outlet.send()
        select.select([attendant.output], [], [], 0.1)
        came = attendant.receive()
        if came is None:
            break
        found += came
    return found


@pytest.fixture
def printed() -> Iterator[tuple[Outlet, int]]:
    reading, writing = os.pipe()
    outlet = Outlet(writing)
    yield outlet, reading
    outlet.close()


def test_answers_come_in_order_with_what_was_seen_where(printed: tuple[Outlet, int]) -> None:
    outlet, reading = printed
    plan = decode_plan()
    attendant = Attendant(reading, Decoding(plan))
    total = 3_000
    on = flow("udp", 514)
    attendant.expect(places([on, None], [n % 2 for n in range(total)]))
    for number in range(total):
        outlet.write(RECORD % number)
    found: list[Answer] = []
    while outlet.waits:
        outlet.send()
        found += answers(attendant, 1)
    found += answers(attendant, total - len(found))
    assert len(found) == total
    units = [unit for _, told in found for item in told for unit in restored(item, place(on), plan.decoders)]
    assert [unit.fields["message"] for unit in units] == [str(number) for number in range(total)]
    assert found[0][0] == ()  # no transport below it, so it names no protocol of the flow
    outlet.close()
    assert answers(attendant, 1) == []
    assert not attendant.failed
    attendant.close()


def test_what_ends_it_is_told_by_the_packet_that_has_no_answer(printed: tuple[Outlet, int]) -> None:
    outlet, reading = printed
    attendant = Attendant(reading, Fussy(decode_plan()))
    attendant.expect(places([None], [0] * 20))
    for number in range(20):
        outlet.write(RECORD % number)
    outlet.send()
    assert len(answers(attendant, 20)) == 13
    assert attendant.failed
    attendant.close()


def test_places_arrive_as_they_were_seen() -> None:
    on = flow()
    on.tunnel, on.vlan_ids = Tunnel("gre", "10.0.0.1", "10.0.0.2"), (5,)
    sent = places([None, on, flow("udp", 53)], [1, 0, 1])
    found = unpacked(sent.packed())
    assert [(each.frame, each.time_ns, each.from_initiator, each.length) for each in found] == [
        (1, 0, True, 0),
        (2, 10, False, 1),
        (3, 20, True, 2),
    ]
    assert {each.depth for each in found} == {-1}
    assert [each.message for each in found] == [b"message 0", b"message 1", b"message 2"]
    assert found[1].flow is None
    assert found[0].flow is found[2].flow
    seen = found[0].flow
    assert seen is not None
    assert (seen.tunnel, seen.vlan_ids, seen.source_ip) == (on.tunnel, on.vlan_ids, on.source_ip)
    assert unpacked(sent.take(slice(1, 3)).packed())[0].frame == 2


class Told(Decoding):
    """Decodes one layer into units made by the test."""

    def __init__(self, units: list[Unit]) -> None:
        syslog = decoder("syslog")
        syslog.units = lambda _layer, _protocol, _place: iter(units)  # type: ignore[method-assign]
        super().__init__(DecodePlan((syslog,), {"syslog": syslog}))


def test_a_unit_is_the_same_after_the_way() -> None:
    here, there = place(flow()), place(flow(), frame=7, forward=False)
    other = place(Flow(**{**{name: getattr(flow(), name) for name in flow().__slots__}, "uid": 9}), frame=8)
    plain = Unit(Role.REQUEST, {"a": [1, {"b": None}]}, here, "syslog", ("k",), "OK", "s")
    full = Unit(
        Role.PART, {"s": Secret("x")}, there, "x", (), "", "", ["h"], ["i"], ["j"], {"source.ip": "k"}
    )
    full.credentials, full.extra = [Credentials("u", "p")], (1, "two")
    decoding = Told([plain, full, Unit(Role.SINGLE, {}, other, "syslog")])
    _, told = decoding.answer(b'[0,{"syslog":{"a":"1"}}]', here)
    units = [unit for item in told for unit in restored(item, here, (decoder("syslog"),))]
    assert units[0] == plain
    assert units[1].place[:2] == (7, 0)
    assert units[1].credentials == full.credentials
    assert (units[1].fields, units[1].extra) == (full.fields, full.extra)
    assert units[2].place.flow is not None
    assert units[2].place.flow.uid == 9


def test_protocols_are_told_when_they_change() -> None:
    decoding = Decoding(DecodePlan(()))
    here = place(flow())
    first, second = b'[0,{"ip":0,"tcp":0,"vnc":0}]', b'[0,{"ip":0,"tcp":0,"http":0}]'
    told = [decoding.answer(record, here) for record in (first, first, second)]
    assert told == [(("rfb",), []), NOTHING, (("http",), [])]
    assert decoding.answer(b"[", here) == ((), ["record"])


def test_a_fault_in_a_decoder_costs_its_layer() -> None:
    def fails(_layer: Tree, _protocol: str, _place: Place) -> Iterator[Unit]:
        raise KeyError("x")

    decoding = Told([])
    decoding._by_layer["syslog"].units = fails  # type: ignore[method-assign]  # noqa: SLF001  # it has to fail
    _, told = decoding.answer(b'[0,{"syslog":{"a":"1"}}]', place(None))
    assert told == ["the syslog decoder failed (KeyError)"]
