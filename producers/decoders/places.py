"""Where the packets were seen that a tshark is given, in columns; and how that gets to the process that decodes."""

import marshal
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from producers.decoders.ordering import Chosen
from producers.decoders.unit import Place
from producers.engine.kernel.layout import Kind, Signature
from producers.engine.model import Batch, Flow, Tunnel

# What of a flow is known before it is over, in the order of its fields.
_IDENTITY = attrgetter(
    *("transport", "ip_protocol", "ip_version", "source_ip", "destination_ip", "source_port"),
    *("destination_port", "community_id", "start_ns", "end_ns", "interface", "ordinal", "uid", "source_mac"),
    *("destination_mac", "vlan_ids"),
)
_FLOW = int(Kind.FLOW)
_TCP = 6
_DNS = int(Signature.DNS)
_DNS_PORTS = (53, 5353, 5355)
_MAX_HOLES = 1 << 14


class Places(NamedTuple):
    """A row a packet; `which` counts in `flows`, `interfaces` in `names`."""

    flows: list[Flow | None]
    names: list[str]
    frames: NDArray[np.int64]
    times: NDArray[np.int64]
    which: NDArray[np.int64]
    forward: NDArray[np.bool_]
    lengths: NDArray[np.int32]
    interfaces: NDArray[Any]
    sequences: NDArray[np.int64]
    acknowledgements: NDArray[np.int64]
    holes: NDArray[np.bool_]
    messages: NDArray[np.object_]
    depths: NDArray[np.uint8]

    def take(self, rows: NDArray[np.bool_] | slice) -> "Places":
        """Some of the rows."""
        return self._replace(
            frames=self.frames[rows],
            times=self.times[rows],
            which=self.which[rows],
            forward=self.forward[rows],
            lengths=self.lengths[rows],
            interfaces=self.interfaces[rows],
            sequences=self.sequences[rows],
            acknowledgements=self.acknowledgements[rows],
            holes=self.holes[rows],
            messages=self.messages[rows],
            depths=self.depths[rows],
        )

    def packed(self) -> bytes:
        """All rows as bytes, for `unpacked`."""
        used, which = np.unique(self.which, return_inverse=True)
        flows = [packed_flow(self.flows[place]) for place in used.tolist()]
        columns = (
            *(self.frames, self.times, which, self.forward, self.lengths, self.interfaces),
            *(*self.tcp(), self.messages, self.depths),
        )
        return marshal.dumps((flows, self.names, *(column.tolist() for column in columns)))

    def tcp(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
        """What TCP says of each row: sequence number, acknowledgement, whether a hole lies before it."""
        return self.sequences, self.acknowledgements, self.holes

    def flow_of_each(self) -> list[Flow | None]:
        """The flow of each row."""
        return [self.flows[place] for place in self.which.tolist()]

    def name_of_each(self) -> list[str]:
        """The interface's name of each row."""
        return [self.names[number] for number in self.interfaces.tolist()]


class Holes:
    """Holes after which no message was read yet, by flow and direction: what is read next is the first after them."""

    def __init__(self) -> None:
        self._open: set[tuple[int, bool]] = set()

    def __bool__(self) -> bool:
        return bool(self._open)

    def lies_before(self, flow: Flow | None, forward: bool, hole: bool, read: bool) -> bool:  # noqa: FBT001  # columns
        """Whether a hole lies before a packet's messages; `hole`: just before the packet; `read`: it has messages."""
        where = (-1 if flow is None else flow.uid, forward)
        if not hole and where not in self._open:
            return False
        self._open.discard(where)
        if not read:
            if len(self._open) >= _MAX_HOLES:
                self._open.clear()
            self._open.add(where)
        return True


def places_of(chosen: Chosen) -> Places:
    """Where chosen packets were seen."""
    batch, indexes = chosen.batch, chosen.indexes
    block, facts = batch.block, batch.facts[indexes]
    uids = np.where(facts["kind"] == _FLOW, facts["uid"], -1)
    _, first, which = np.unique(uids, return_index=True, return_inverse=True)
    tcp = facts["protocol"] == _TCP
    return Places(
        [batch.flow(index) for index in indexes[first].tolist()],
        [name for name, _ in block.interfaces],
        chosen.frames,
        block.time_ns[indexes],
        which,
        facts["forward"] == 1,
        facts["length"],
        block.interface[indexes],
        np.where(tcp, facts["sequence"], np.int64(-1)),
        np.where(tcp, facts["acknowledgement"], np.int64(-1)),
        chosen.holes,
        _messages(batch, indexes),
        np.where(facts["kind"] == _FLOW, facts["depth"], np.uint8(0)),
    )


def _messages(batch: Batch, indexes: NDArray[np.int64]) -> NDArray[np.object_]:
    """The payloads of packets that DNS or its relatives may be in, of whose names tshark does not show every byte."""
    block, facts = batch.block, batch.facts[indexes]
    messages = np.full(len(indexes), b"", dtype=object)
    spoken = facts["signature"] == _DNS
    for end in ("source_port", "destination_port"):
        for port in _DNS_PORTS:
            spoken |= facts[end] == port
    rows = np.flatnonzero(spoken & (facts["payload"] >= 0))
    if not len(rows):
        return messages
    payload = facts["payload"][rows].astype(np.int64)
    ends = np.minimum(block.captured[indexes[rows]], payload + facts["length"][rows])
    starts = block.offset[indexes[rows]]
    columns = rows.tolist(), (starts + payload).tolist(), (starts + np.maximum(payload, ends)).tolist()
    for row, begin, end_of in zip(*columns, strict=True):
        messages[row] = block.buffer[begin:end_of].tobytes()
    return messages


def unpacked(data: bytes) -> list[Place]:
    """The rows that were packed, as places without a path."""
    told, names, frames, times, which, forward, lengths, interfaces, *more = marshal.loads(data)  # noqa: S302  # our own
    flows = [unpacked_flow(each) for each in told]
    return [
        Place(frame, time_ns, flows[at], sent, length, names[number], "", *rest)
        for frame, time_ns, at, sent, length, number, *rest in zip(
            frames, times, which, forward, lengths, interfaces, *more, strict=True
        )
    ]


def packed_flow(flow: Flow | None) -> tuple[Any, ...] | None:
    """What is known of a flow before it is over, as plain values."""
    return None if flow is None else (*_IDENTITY(flow), flow.history[:2], flow.tunnel and tuple(flow.tunnel))


def unpacked_flow(told: tuple[Any, ...] | None) -> Flow | None:
    """The flow that was packed."""
    if told is None:
        return None
    *identity, history, tunnel = told
    flow = Flow(*identity)
    flow.history = history  # how it began
    flow.tunnel = tunnel and Tunnel(*tunnel)
    return flow
