"""Transactions and flow records as ECS events: the envelope, the ids, the order of things."""

import time
from collections import OrderedDict
from collections.abc import Container, Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Any

from producers.decoders.base import Decoder
from producers.decoders.convert import PLACEHOLDERS
from producers.decoders.derive import Derivation
from producers.decoders.protocols import PROTOCOL_NAMES
from producers.decoders.related import MAX_ITEMS, MAX_TEXT, add_related, add_related_of_flow
from producers.decoders.secrets import REDACTED, Credentials, Secret
from producers.decoders.transactions import Transaction
from producers.decoders.unit import Unit
from producers.engine.model import Flow, FlowRecord
from schemas.events import Event, Times, event_id, get, new_event, put, sensor_fields
from schemas.messages import message_of
from schemas.model import Dataset, datasets

_REMEMBERED_ORDINALS = 65_536
_ENDS = ("source", "destination")
_COPIES = {"source": "client", "destination": "server"}


class EventBuilder:
    """Builds events for one sensor and namespace. The same packets give the same event ids.

    With `secrets`, events have the secrets that packets show; `maxmind` are databases of places and networks; of
    fields that show content, those of the kinds in `content` are kept, or all.
    """

    def __init__(  # noqa: PLR0913  # what an operator sets, each named
        self,
        namespace: str,
        sensor: str,
        local_networks: Iterable[str] = (),
        *,
        secrets: bool = False,
        maxmind: Sequence[Path] = (),
        content: Container[str] | None = None,
    ) -> None:
        self._namespace, self._secrets = namespace, secrets
        self._content, self._unshown = content, _unshown(content)
        self._derivation = Derivation(maxmind)
        self._sensor = sensor_fields(sensor)
        self._direction = _direction(tuple(ip_network(text) for text in local_networks))
        self._ordinals: OrderedDict[tuple[str, str, int], int] = OrderedDict()
        self._flow = datasets()["flow"]
        self._credentials = datasets()["credentials"]

    def shows(self, content: str) -> bool:
        """Whether events show content of a kind."""
        return self._content is None or content in self._content

    def transaction(self, decoder: Decoder, transaction: Transaction) -> Event:
        """The event of a transaction."""
        fields, status = _merged(decoder, transaction)
        forward = _client_is_initiator(decoder, transaction)
        event = self._of_units(decoder.dataset, transaction.units, fields, status, forward=forward)
        if not status and decoder.has_outcome:
            event["event"]["outcome"] = "unknown"
        return event

    def credentials(self, unit: Unit, credentials: Credentials) -> Event:
        """The event of credentials that a unit shows."""
        return self._of_units(self._credentials, (unit,), credentials.fields(), "", forward=True)

    def notice(self, name: str, units: Sequence[Unit], *, forward: bool = True) -> Event:
        """The event that units make for a dataset that no decoder reads; `forward`: the initiator is the client.

        Units stand at the first and the last packet, so packets are not counted; frame 0 is the flow as a whole.
        """
        fields = {field: value for unit in reversed(units) for field, value in unit.fields.items()}
        event = self._of_units(datasets()[name], units, fields, "", forward=forward)
        for end in (*_ENDS, *_COPIES.values(), "network"):
            event.get(end, {}).pop("packets", None)
            if not units[0].place.frame:
                event.get(end, {}).pop("bytes", None)
        return event

    def _of_units(
        self,
        dataset: Dataset,
        units: Sequence[Unit],
        fields: dict[str, Any],
        status: str,
        *,
        forward: bool,
    ) -> Event:
        first, last = units[0].place, units[-1].place
        flow = first.flow
        scope = flow.community_id if flow else units[0].scope or "-"
        ordinal = self._ordinal(dataset.dataset, scope, first.time_ns)
        identity = event_id(dataset.dataset, scope, first.time_ns, ordinal)
        event = self._envelope(
            dataset, identity, first.time_ns, (first.time_ns, last.time_ns), first.interface
        )
        network: dict[str, Any] = {}
        if flow is not None:
            network = self._add_flow(event, flow, forward=forward)
            network["protocol"] = PROTOCOL_NAMES.get(units[0].protocol, units[0].protocol)
            self._add_sizes(event, network, units, flow, forward=forward)
        if flow is None:
            network["protocol"] = dataset.protocol or PROTOCOL_NAMES.get(units[0].protocol, units[0].protocol)
            for unit in units:
                for name, value in unit.endpoints.items():
                    put(event, name, value)
        event["network"] = network
        if first.frame:
            event.setdefault("netflight", {})["frame"] = {"first": first.frame, "last": last.frame}
        if first.path:
            event["log"] = {"file": {"path": first.path}}
        if status:
            event["network_traffic"] = {"status": status}
            event["event"]["outcome"] = "success" if status == "OK" else "failure"
        self._put_fields(event, dataset, fields)
        self._derivation.add(event, dataset, flow, first.time_ns, fields)
        _add_copies(event)
        self._derivation.add_places(event)
        add_related(event, dataset.name, fields, units, flow)
        if "message" not in fields:
            event["message"] = message_of(event, dataset)
        return event

    def _put_fields(self, event: Event, dataset: Dataset, fields: dict[str, Any]) -> None:
        """Set the fields of an event, within the size limits; name those that were cut, and those without a value."""
        cut: list[str] = []
        unread: list[str] = []
        for name, value in fields.items():
            if name in self._unshown:
                continue
            if type(value) is str and len(value) <= MAX_TEXT:  # as most are; a Secret is a type of its own
                if value[:1] == "<" and value in PLACEHOLDERS:
                    unread.append(name)
                else:
                    put(event, name, value)
            else:
                told = self._revealed(value) if isinstance(value, Secret) else value
                put(event, name, told if _fits(told) else _capped(name, told, cut, unread))
        for name, further in dataset.copies.items():
            if name in fields and further not in fields and name not in unread and name not in self._unshown:
                put(event, further, get(event, name))
        if cut:
            put(event, "netflight.field.truncated", cut)
        if unread:
            put(event, "netflight.field.unreadable", list(dict.fromkeys(unread))[:MAX_ITEMS])

    def _revealed(self, secret: Secret) -> str:
        return str(secret) if self._secrets else REDACTED

    def flow(self, record: FlowRecord, path: str) -> Event:
        """The event of a flow record."""
        flow = record.flow
        born = f"{flow.start_ns}|{flow.ordinal}"
        ordinal: int | str = f"{born}|{record.final}"
        again = self._ordinal(f"{self._flow.dataset}|{ordinal}", flow.community_id, flow.end_ns)
        if again:  # packets out of order can begin a flow at a time that another has begun at before
            ordinal = f"{ordinal}|{again}"
        identity = event_id(self._flow.dataset, flow.community_id, flow.end_ns, ordinal)
        event = self._envelope(
            self._flow, identity, flow.end_ns, (flow.start_ns, flow.end_ns), flow.interface
        )
        network = self._add_flow(event, flow, forward=True)
        if flow.protocols:
            network["protocol"] = flow.protocols[0]
        network["bytes"] = flow.source_bytes + flow.destination_bytes
        network["packets"] = flow.source_packets + flow.destination_packets
        event["network"] = network
        source, destination = event["source"], event["destination"]
        source["packets"], source["bytes"] = flow.source_packets, flow.source_bytes
        destination["packets"], destination["bytes"] = flow.destination_packets, flow.destination_bytes
        event["flow"] = {
            "id": event_id("flow", flow.community_id, flow.start_ns, flow.ordinal),
            "final": record.final,
        }
        event.setdefault("netflight", {})["flow"] = _told(flow)
        if path:
            event["log"] = {"file": {"path": path}}
        self._derivation.add_to_flow(event, flow, final=record.final)
        _add_copies(event)
        self._derivation.add_places(event)
        add_related_of_flow(event, flow)
        event["message"] = message_of(event, self._flow)
        return event

    def _envelope(
        self, dataset: Dataset, identity: str, at_ns: int, span: tuple[int, int], interface: str
    ) -> Event:
        begin, end = span
        times = Times(at_ns, begin, max(begin, end), time.time_ns())
        event = new_event(dataset, identity, self._namespace, times)
        event |= self._sensor
        if interface:
            event["observer"] = {**self._sensor["observer"], "ingress": {"interface": {"name": interface}}}
        return event

    def _add_flow(self, event: Event, flow: Flow, *, forward: bool) -> dict[str, Any]:
        """Set source and destination, the initiator's side first unless `forward` is false; return network."""
        source = _side(flow.source_ip, flow.source_port, flow.source_mac)
        destination = _side(flow.destination_ip, flow.destination_port, flow.destination_mac)
        if not forward:
            source, destination = destination, source
        event["source"], event["destination"] = source, destination
        network: dict[str, Any] = {
            "type": "ipv6" if flow.ip_version == 6 else "ipv4",
            "transport": flow.transport,
            "iana_number": str(flow.ip_protocol),
            "community_id": flow.community_id,
            "direction": self._direction(source["ip"], destination["ip"]),
        }
        if flow.vlan_ids:
            network["vlan"] = {"id": str(flow.vlan_ids[0])}
            if len(flow.vlan_ids) > 1:
                network["inner"] = {"vlan": {"id": str(flow.vlan_ids[-1])}}
        if flow.tunnel is not None:
            event["netflight"] = {
                "tunnel": {
                    "type": flow.tunnel.kind,
                    "source": {"ip": flow.tunnel.source_ip},
                    "destination": {"ip": flow.tunnel.destination_ip},
                }
            }
        return network

    def _add_sizes(
        self, event: Event, network: dict[str, Any], units: Sequence[Unit], flow: Flow, *, forward: bool
    ) -> None:
        """Set packets and payload bytes of both sides, each packet counted once."""
        seen = {unit.place.frame: unit.place for unit in units}
        packets = total = sent_packets = sent_bytes = 0
        for place in seen.values():
            packets += 1
            total += place.length
            # What came on another flow is the answer to what was asked of many.
            same = place.flow is None or place.flow.uid == flow.uid
            if same and place.from_initiator == forward:
                sent_packets += 1
                sent_bytes += place.length
        source, destination = event["source"], event["destination"]
        source["packets"], source["bytes"] = sent_packets, sent_bytes
        destination["packets"], destination["bytes"] = packets - sent_packets, total - sent_bytes
        network["packets"], network["bytes"] = packets, total

    def _ordinal(self, dataset: str, scope: str, time_ns: int) -> int:
        key = (dataset, scope, time_ns)
        ordinal = self._ordinals.get(key, -1) + 1
        self._ordinals[key] = ordinal
        if len(self._ordinals) > _REMEMBERED_ORDINALS:
            self._ordinals.popitem(last=False)
        return ordinal


def _unshown(content: Container[str] | None) -> frozenset[str]:
    """The fields that show content of another kind than those in `content`."""
    if content is None:
        return frozenset()
    specs = (item for dataset in datasets().values() for item in dataset.fields.items())
    return frozenset(name for name, spec in specs if spec.content and spec.content not in content)


def _told(flow: Flow) -> dict[str, Any]:
    """What a flow record says under `netflight.flow`."""
    kept: dict[str, Any] = {}
    if flow.state:
        kept["state"] = flow.state
    if flow.history:
        kept["history"] = flow.history
    if flow.end_reason:
        kept["end_reason"] = flow.end_reason
    if flow.protocols:
        kept["protocols"] = flow.protocols.copy()
    source, destination = (
        _seen(flow.source_ttl, flow.source_flags, flow.source_missed_bytes),
        _seen(flow.destination_ttl, flow.destination_flags, flow.destination_missed_bytes),
    )
    if source:
        kept["source"] = source
    if destination:
        kept["destination"] = destination
    if flow.transport == "tcp":
        kept["retransmits"] = flow.retransmits
        kept["out_of_order"] = flow.out_of_order
        kept["zero_windows"] = flow.zero_windows
        kept["missed_bytes"] = flow.missed_bytes
        if flow.handshake_ns is not None:
            kept["handshake"] = {"rtt": flow.handshake_ns}
    return kept


def _seen(ttl: int, flags: int, missed: int) -> dict[str, Any]:
    """The first TTL, all TCP flags and the missed bytes of one side, as far as there are any."""
    side: dict[str, Any] = {"ttl": ttl} if ttl else {}
    if flags:
        side["tcp_flags"] = _flag_letters(flags)
    if missed:
        side["missed_bytes"] = missed
    return side


@lru_cache(maxsize=256)
def _flag_letters(flags: int) -> str:
    """TCP flags as letters, the highest bit first (RFC 9293, section 3.1)."""
    return "".join(
        letter for bit, letter in zip(range(7, -1, -1), "CEUAPRSF", strict=True) if flags >> bit & 1
    )


def _merged(decoder: Decoder, transaction: Transaction) -> tuple[dict[str, Any], str]:
    """The fields of all units together, the earlier ones first, and the status."""
    fields: dict[str, Any] = {}
    for unit in transaction.units:
        for name, value in unit.fields.items():
            fields.setdefault(name, value)
    if transaction.parts:
        return fields, decoder.summarise(list(transaction.parts), fields)
    decoder.complete(fields, transaction.request, transaction.response)
    if transaction.response is not None:
        return fields, transaction.response.status
    return fields, "" if transaction.request is None else transaction.request.status


def _client_is_initiator(decoder: Decoder, transaction: Transaction) -> bool:
    if transaction.parts:
        return decoder.client_is_initiator(list(transaction.parts))
    if transaction.request is not None:
        return transaction.request.place.from_initiator
    return transaction.response is None or not transaction.response.place.from_initiator


def _side(ip: str, port: int | None, mac: str) -> dict[str, Any]:
    side: dict[str, Any] = {"ip": ip}
    if port is not None:
        side["port"] = port
    if mac:
        side["mac"] = mac
    return side


def _add_copies(event: Event) -> None:
    """Set client and server."""
    for end, copy in _COPIES.items():
        if end in event:
            event[copy] = event[end].copy()


def _unreadable(value: Any) -> bool:
    return type(value) is str and value[:1] == "<" and value in PLACEHOLDERS


def _fits(value: Any) -> bool:
    """Whether a value is within the size limits and holds nothing unreadable, as all but the hostile are."""
    if isinstance(value, str):
        return len(value) <= MAX_TEXT and not _unreadable(value)
    if isinstance(value, list):
        return len(value) <= MAX_ITEMS and all(map(_fits, value))
    if isinstance(value, dict):
        return all(map(_fits, value.values()))
    return True


def _capped(name: str, value: Any, cut: list[str], unread: list[str]) -> Any:
    """A value within the size limits, without what is unreadable; what was cut or left out is named."""
    if isinstance(value, str) and len(value) > MAX_TEXT:
        cut.append(name)
        return value[:MAX_TEXT]
    if isinstance(value, list):
        if len(value) > MAX_ITEMS:
            cut.append(name)
        inner: list[str] = []
        kept = [_capped(name, item, inner, unread) for item in value[:MAX_ITEMS] if not _unreadable(item)]
        cut.extend(inner[:1] if name not in cut else ())
        if any(map(_unreadable, value)):
            unread.append(name)
        return kept
    if isinstance(value, dict):
        unread.extend(f"{name}.{key}" for key, item in value.items() if _unreadable(item))
        return {
            key: _capped(f"{name}.{key}", item, cut, unread)
            for key, item in value.items()
            if not _unreadable(item)
        }
    return value


def _direction(local: tuple[IPv4Network | IPv6Network, ...]) -> Any:
    """A function of two addresses that says inbound, outbound, internal or external."""

    @lru_cache(maxsize=65_536)
    def is_local(text: str) -> bool:
        address = ip_address(text.partition("%")[0])
        return any(address in network for network in local if network.version == address.version)

    def direction(source: str, destination: str) -> str:
        if is_local(source):
            return "internal" if is_local(destination) else "outbound"
        return "inbound" if is_local(destination) else "external"

    return direction
