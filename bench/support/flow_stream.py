"""A stream of flow events, the same at every making: what an office's sensor would publish in ten minutes.

Two thousand clients of 10.0.0.0/16 speak twenty protocols to four thousand servers; event time advances evenly with
up to three seconds of disorder; one record in ten is an interim one, which statistics must not count.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from runtime.errors import BrokerError
from runtime.kafka import producer
from runtime.settings import KafkaSettings
from schemas.events import NANOSECONDS, event_id, timestamp

DATASET = "network_traffic.flow"
WINDOW_NS = 60 * NANOSECONDS
UNKNOWN = "unknown"

_START_NS = 1_790_000_040 * NANOSECONDS  # a full minute
_SPAN_NS = 600 * NANOSECONDS
_DISORDER_NS = 3 * NANOSECONDS
_CLIENTS, _SERVERS = 2_000, 4_000
_BLOCK = 50_000
# Protocol, transport, IANA number, port, share of the flows in per mille.
_MIX = (
    ("tls", "tcp", 6, 443, 330),
    ("dns", "udp", 17, 53, 270),
    ("http", "tcp", 6, 80, 90),
    ("quic", "udp", 17, 443, 80),
    ("smb", "tcp", 6, 445, 30),
    ("ntp", "udp", 17, 123, 30),
    ("krb5", "tcp", 6, 88, 20),
    ("ldap", "tcp", 6, 389, 20),
    ("ssh", "tcp", 6, 22, 15),
    ("smtp", "tcp", 6, 25, 10),
    ("imap", "tcp", 6, 143, 10),
    ("rdp", "tcp", 6, 3389, 10),
    ("dcerpc", "tcp", 6, 135, 10),
    ("snmp", "udp", 17, 161, 10),
    ("syslog", "udp", 17, 514, 10),
    ("mysql", "tcp", 6, 3306, 5),
    ("sip", "udp", 17, 5060, 5),
    ("mdns", "udp", 17, 5353, 5),
    (UNKNOWN, "tcp", 6, 9000, 25),
    (UNKNOWN, "udp", 17, 9000, 15),
)

Sums = dict[tuple[int, str, str], tuple[int, ...]]
"""Flows, packets and bytes by window start (nanoseconds), protocol and transport; what both sides must end with."""


class Made(NamedTuple):
    """An event as it goes to Kafka, and what a statistic counts of it."""

    key: bytes
    value: bytes
    place: tuple[int, str, str]
    packets: int
    bytes: int
    final: bool


@dataclass(frozen=True)
class Filled:
    """A topic's content: its events, the mean size of one, and the sums."""

    events: int
    event_bytes: int
    sums: Sums

    @property
    def groups(self) -> int:
        """How many groups there are in all windows together."""
        return len(self.sums)


def fill(
    kafka: KafkaSettings, topic: str, count: int, *, keys: int = 1, namespace: str = "default"
) -> Filled:
    """Publish `count` events of the stream to a topic; raises BrokerError where one does not arrive."""
    client = producer(kafka, "bench-fill")
    sums: dict[tuple[int, str, str], list[int]] = {}
    size = 0
    for made in flow_stream(count, keys=keys, namespace=namespace):
        while True:
            try:
                client.produce(topic, made.value, key=made.key)
                break
            except BufferError:
                client.poll(0.1)
        size += len(made.value)
        if made.final:
            known = sums.setdefault(made.place, [0, 0, 0])
            known[0] += 1
            known[1] += made.packets
            known[2] += made.bytes
    if left := client.flush(60):
        raise BrokerError(f"topic {topic}: {left:,} of {count:,} events did not arrive in a minute")
    return Filled(count, round(size / max(count, 1)), {place: tuple(found) for place, found in sums.items()})


def flow_stream(count: int, *, keys: int = 1, seed: int = 1, namespace: str = "default") -> Iterator[Made]:
    """The stream's events in order; with `keys`, each protocol under so many names, alike in share."""
    draw = np.random.default_rng(seed)
    share = np.array([mix[-1] for mix in _MIX], dtype=np.float64)
    for begin in range(0, count, _BLOCK):
        size = min(_BLOCK, count - begin)
        at = _START_NS + (np.arange(begin, begin + size) * (_SPAN_NS / count)).astype(np.int64)
        columns = (
            at + draw.integers(0, _DISORDER_NS, size),
            draw.choice(len(_MIX), size, p=share / share.sum()),
            draw.integers(0, keys, size),
            draw.zipf(1.1, size) % _CLIENTS,
            draw.zipf(1.1, size) % _SERVERS,
            draw.integers(32_768, 61_000, size),
            draw.integers(1, 60, size),
            draw.integers(1, 90, size),
            draw.integers(60, 1_200, size),
            draw.random(size) < 0.9,
        )
        for number, row in enumerate(zip(*(column.tolist() for column in columns), strict=True), begin):
            yield _made(number, namespace, *row)


def _made(  # noqa: PLR0913, PLR0917  # one row of the stream's columns
    number: int,
    namespace: str,
    time_ns: int,
    kind: int,
    name: int,
    client: int,
    server: int,
    port: int,
    sent: int,
    received: int,
    size: int,
    final: bool,  # noqa: FBT001
) -> Made:
    protocol, transport, iana, served, _ = _MIX[kind]
    protocol = f"{protocol}-{name}" if name else protocol
    source, destination = f"10.0.{client >> 8}.{client & 255}", f"198.51.{100 + (server >> 8)}.{server & 255}"
    # Not what the ends would give, but of the same form.
    ident = event_id(DATASET, source, time_ns, number)
    community = f"1:{ident}Q="
    packets, volume = sent + received, sent * size + received * 900
    at, begun = timestamp(time_ns), timestamp(time_ns - 40_000_000 * sent)
    named = "" if protocol == UNKNOWN else f'"protocol":"{protocol}",'
    ours = f'"ip":"{source}","port":{port},"packets":{sent},"bytes":{sent * size}'
    theirs = f'"ip":"{destination}","port":{served},"packets":{received},"bytes":{received * 900}'
    value = (
        f'{{"@timestamp":"{at}","ecs":{{"version":"8.17.0"}},'
        f'"event":{{"id":"{ident}","kind":"event","category":["network"],'
        f'"type":["connection"],"action":"network_flow","module":"network_traffic","dataset":"{DATASET}",'
        f'"start":"{begun}","end":"{at}","duration":{40_000_000 * sent},"created":"{at}"}},'
        f'"data_stream":{{"type":"logs","dataset":"{DATASET}","namespace":"{namespace}"}},'
        f'"observer":{{"name":"sensor-1","type":"network-sensor"}},'
        f'"source":{{{ours}}},"destination":{{{theirs}}},'
        f'"network":{{"type":"ipv4","transport":"{transport}","iana_number":"{iana}","community_id":"{community}",'
        f'"direction":"outbound",{named}"bytes":{volume},"packets":{packets}}},'
        f'"flow":{{"id":"{ident[::-1]}","final":{"true" if final else "false"}}},'
        f'"related":{{"ip":["{source}","{destination}"]}}}}'
    )
    place = (time_ns // WINDOW_NS * WINDOW_NS, protocol, transport)
    return Made(source.encode(), value.encode(), place, packets, volume, final)
