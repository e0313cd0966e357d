"""From terms to Python source: one loop over the packets for the drop rules, one for all others.

What lists hold goes into tables beside the code, so that a list can change without compiling anything.
"""

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Network, IPv6Network, collapse_addresses
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from producers.engine.kernel.layout import DECODE, RECORD, RECORD_HEADERS, Kind
from producers.engine.policy.check import AllOf, Among, AnyOf, Begins, Compare, Flag, Negation, Term, Within
from producers.engine.policy.fields import TCP_FLAGS, Direction
from producers.engine.policy.file import ALL, NONE, Action, Limit, Rule, Unit, takes_all
from producers.engine.policy.syntax import Network

COUNTERS = ("packets", "bytes", "decoded_packets", "decoded_bytes", "recorded_packets", "recorded_bytes")
"""The columns of a policy's counts; bytes decoded are captured ones, bytes recorded what the ring keeps."""

ARGUMENTS = "facts, buffer, offset, captured, wire, tables, counts"
LOCAL = "local"
_MAX_INLINE = 4
_BITS = 1 << 16
_HALF = (1 << 64) - 1

# Conditions that the code prepares for every packet, because every one of them costs time to compile.
_FLOW, _PORTED, _TCP, _FORWARD, _BACKWARD = "flow", "ported", "tcp", "forward", "backward"


class Value(NamedTuple):
    """How code reads a value of a packet, and the condition for the packet to have it."""

    code: str
    present: str = ""


class Address(NamedTuple):
    """How code reads an address: its halves, its IP version, the condition for the packet to have it."""

    high: str
    low: str
    version: str
    present: str = _FLOW


_SOURCE = Address("row.source_high", "row.source_low", "row.version")
_DESTINATION = Address("row.destination_high", "row.destination_low", "row.version")
_OUTER_SOURCE = Address("row.outer_source_high", "row.outer_source_low", "row.outer_version")
_OUTER_DESTINATION = Address("row.outer_destination_high", "row.outer_destination_low", "row.outer_version")

_ADDRESSES: dict[str, tuple[Address, ...]] = {
    "src.ip": (_SOURCE,),
    "dst.ip": (_DESTINATION,),
    "host": (_SOURCE, _DESTINATION),
    "outer.src.ip": (_OUTER_SOURCE,),
    "outer.dst.ip": (_OUTER_DESTINATION,),
    "outer.host": (_OUTER_SOURCE, _OUTER_DESTINATION),
    "client.ip": (_SOURCE._replace(present=_FORWARD), _DESTINATION._replace(present=_BACKWARD)),
    "server.ip": (_DESTINATION._replace(present=_FORWARD), _SOURCE._replace(present=_BACKWARD)),
}
_NUMBERS: dict[str, tuple[Value, ...]] = {
    "ip.version": (Value("row.version", _FLOW),),
    "ip.ttl": (Value("row.ttl", _FLOW),),
    "proto": (Value("row.protocol", _FLOW),),
    "fragment": (Value("row.fragment"),),
    "src.port": (Value("row.source_port", _PORTED),),
    "dst.port": (Value("row.destination_port", _PORTED),),
    "port": (Value("row.source_port", _PORTED), Value("row.destination_port", _PORTED)),
    "client.port": (
        Value("row.source_port", f"{_PORTED} and {_FORWARD}"),
        Value("row.destination_port", f"{_PORTED} and {_BACKWARD}"),
    ),
    "server.port": (
        Value("row.destination_port", f"{_PORTED} and {_FORWARD}"),
        Value("row.source_port", f"{_PORTED} and {_BACKWARD}"),
    ),
    "icmp.type": (Value("row.source_port", f"{_FLOW} and row.ported >= 2"),),
    "tcp.flags": (Value("row.tcp_flags", _TCP),),
    "tcp.window": (Value("row.window", _TCP),),
    "vlan": tuple(Value(f"row.vlan[{at}]", f"row.vlans > {at}") for at in range(4)),
    "vlans": (Value("row.vlans"),),
    "tunnel": (Value("row.tunnel"),),
    "frame.length": (Value("wire[i]"),),
    "frame.captured": (Value("captured[i]"),),
    "payload.length": (Value("row.length", _FLOW),),
    "direction": (Value("direction", _FLOW),),
    "flow.packets": (Value("row.number"),),
    "flow.bytes": (Value("row.flow_bytes"),),
    "sent.packets": (Value("row.sent_packets"),),
    "sent.bytes": (Value("row.sent_before"),),
    "signature": (Value("row.signature"),),
    "part": (Value("row.part"),),
}
_FLAGS = {
    "ip": _FLOW,
    "malformed": f"row.kind == {int(Kind.MALFORMED)}",
    "from_initiator": _FORWARD,
    "answered": f"({_FLOW} and row.answered == 1)",
    **{f"tcp.{name}": f"({_TCP} and row.tcp_flags & {bit} != 0)" for name, bit in TCP_FLAGS.items()},
}
_STARTS = {"payload": ("payload_at", "payload_left"), "frame": ("offset[i]", "captured[i]")}
_PREPARED = {
    "": f"""\
{_FLOW} = row.kind == {int(Kind.FLOW)}
{_PORTED} = {_FLOW} and row.ported == 1
{_TCP} = {_FLOW} and row.protocol == 6 and row.transport >= 0
{_FORWARD} = {_FLOW} and row.forward == 1
{_BACKWARD} = {_FLOW} and row.forward == 0
""",
    "payload": f"""\
payload_at, payload_left = offset[i], np.int64(0)
if {_FLOW} and row.payload >= 0:
    payload_at += row.payload
    payload_left = min(np.int64(row.length), captured[i] - row.payload)
""",
    "direction": f"""\
direction = 0
if {_FLOW}:
    source_local, destination_local = {{source}}, {{destination}}
    outward, inward = source_local, destination_local
    if {_BACKWARD}:
        outward, inward = destination_local, source_local
    direction = ({{outbound}} if outward else 0) + ({{inbound}} if inward else 0)
""",
}


class Generated(NamedTuple):
    """A policy's source, the tables that it reads (uint64), and whether it has rules that drop."""

    source: str
    tables: NDArray[np.uint64]
    drops: bool


def generate(rules: Sequence[Rule], local: Sequence[Network]) -> Generated:
    """The source of a policy's functions; `local` are the local networks, for `direction`."""
    writer = _Writer(local)
    admit, decide = writer.admit(rules), writer.decide(rules)
    source = f'"""A policy, compiled from its rules; written by netflight."""\n{_HEAD}{admit}{decide}'
    return Generated(source, np.array(writer.tables, dtype=np.uint64), bool(admit))


_HEAD = """
import numpy as np

from producers.compiled import entry
from producers.engine.policy.native import begins, in_bits, in_ranges, sampled
"""


class _Writer:
    """Writes the code, and gathers the tables it asks for."""

    def __init__(self, local: Sequence[Network]) -> None:
        self._local = local
        self._known: dict[object, int] = {}
        self.tables: list[int] = [0]

    def admit(self, rules: Sequence[Rule]) -> str:
        """The function of the drop rules, empty where there are none."""
        dropping = [(index, rule) for index, rule in enumerate(rules) if rule.then.drop]
        if not dropping:
            return ""
        body = "".join(
            f"        if {self._code(rule.when)}:  # {rule.name}\n"
            f"            row.kind, row.verdict, row.rule = {int(Kind.IGNORED)}, 0, {index}\n"
            f"            counts[{index}, 0] += 1\n"
            f"            counts[{index}, 1] += wire[i]\n"
            f"            continue\n"
            for index, rule in dropping
        )
        return self._function("admit", [rule for _, rule in dropping], body)

    def decide(self, rules: Sequence[Rule]) -> str:
        """The function of all other rules."""
        deciding = [(index, rule) for index, rule in enumerate(rules) if not rule.then.drop]
        partly = False
        lines = [
            f"        if row.kind == {int(Kind.IGNORED)}:",
            "            continue",
            "        verdict, decoded_by, recorded_by = 0, -1, -1",
            "        while True:",
        ]
        for index, rule in deciding:
            lines.extend(" " * 12 + line for line in self._rule(index, rule, partly=partly))
            if takes_all(rule):
                break  # no packet comes to the rules behind it
            partly = partly or None in {rule.then.decode, rule.then.record}
        lines.append("            break")
        lines.extend(" " * 8 + line for line in _STORED)
        return self._function("decide", [rule for _, rule in deciding], "\n".join(lines) + "\n")

    def _function(self, name: str, rules: Sequence[Rule], body: str) -> str:
        asked = {"", *(field for rule in rules for field in _fields(rule.when))}
        prepared = ""
        for field, code in _PREPARED.items():
            if field in asked:
                filled = code.format(**self._ends()) if field == "direction" else code
                prepared += "".join(f"        {line}\n" for line in filled.splitlines())
        start = (
            f"\n\n@entry\ndef {name}({ARGUMENTS}):\n    for i in range(len(facts)):\n        row = facts[i]\n"
        )
        return start + prepared + body

    def _ends(self) -> dict[str, str | int]:
        """What `direction` is made of: INTERNAL is OUTBOUND and INBOUND added up."""
        ends = {"source": _SOURCE, "destination": _DESTINATION}
        local = {
            name: self._within_listed(end._replace(present=""), self._local, LOCAL)
            for name, end in ends.items()
        }
        return {**local, "outbound": int(Direction.OUTBOUND), "inbound": int(Direction.INBOUND)}

    def _rule(self, index: int, rule: Rule, *, partly: bool) -> Iterator[str]:
        """The code of one rule; `partly` says that a rule before it may have answered one question alone."""
        then = rule.then
        guard = ""
        if partly and None in {then.decode, then.record}:
            guard = "decoded_by < 0" if then.record is None else "recorded_by < 0"
        condition = self._code(rule.when)
        yield f"if {_both(guard, condition)}:  # {rule.name}"
        plain = _plain_bits(then)
        if plain is not None and not partly:
            yield f"    verdict, decoded_by, recorded_by = {plain}, {index}, {index}"
            yield "    break"
            return
        kept = f"sampled(facts, i, {then.sample})" if then.sample > 1 else ""
        for name, limit, bits in (
            ("decoded_by", then.decode, (DECODE, 0)),
            ("recorded_by", then.record, (RECORD, RECORD_HEADERS if then.headers else 0)),
        ):
            if limit is None:
                continue
            indent = "    "
            if partly:
                yield f"    if {name} < 0:"
                indent = "        "
            yield f"{indent}{name} = {index}"
            yield from (indent + line for line in _within_limit(limit, bits, kept))
        if None not in {then.decode, then.record}:
            yield "    break"
        else:
            yield "    if decoded_by >= 0 and recorded_by >= 0:"
            yield "        break"

    def _code(self, term: Term) -> str:  # noqa: PLR0911  # one for each kind of term
        match term:
            case AnyOf(terms):
                return f"({' or '.join(self._code(part) for part in terms)})" if terms else "False"
            case AllOf(terms):
                return f"({' and '.join(self._code(part) for part in terms)})" if terms else "True"
            case Negation(part):
                return f"(not {self._code(part)})"
            case Flag(field):
                return _FLAGS[field.name]
            case Compare(field, operator, number):
                return _any(_both(v.present, f"{v.code} {operator} {number}") for v in _NUMBERS[field.name])
            case Among():
                return _any(_both(v.present, self._among(v.code, term)) for v in _NUMBERS[term.field.name])
            case Within():
                return _any(self._within(address, term) for address in _ADDRESSES[term.field.name])
            case Begins(field, offset, prefixes):
                start, left = _STARTS[field.name]
                at = f"{start} + {offset}, {left} - {offset}" if offset else f"{start}, {left}"
                return f"begins(buffer, {at}, tables, {self._prefixes(prefixes)})"

    def _among(self, code: str, term: Among) -> str:
        if (term.listed or len(term.ranges) > _MAX_INLINE) and term.field.high < _BITS:
            words = (term.field.high >> 6) + 1
            return f"in_bits(tables, {self._bits(term, words)}, {words}, {code})"
        return _any(
            f"{code} == {low}" if low == high else f"({code} >= {low} and {code} <= {high})"
            for low, high in term.ranges
        )

    def _within(self, address: Address, term: Within) -> str:
        if term.listed or len(term.networks) > _MAX_INLINE:
            return self._within_listed(address, term.networks, term.listed)
        return _any(_in_network(address, network) for network in term.networks)

    def _within_listed(self, address: Address, networks: Sequence[Network], listed: str) -> str:
        four = self._ranges([n for n in networks if isinstance(n, IPv4Network)], f"4 {listed}")
        six = self._ranges([n for n in networks if isinstance(n, IPv6Network)], f"6 {listed}")
        start = f"({four} if {address.version} == 4 else {six})"
        found = f"in_ranges(tables, {start}, {address.high}, {address.low})"
        return _both(address.present, found)

    def _bits(self, term: Among, words: int) -> int:
        bits = 0
        for low, high in term.ranges:
            bits |= ((1 << (high - low + 1)) - 1) << low
        return self._table(
            [(bits >> (64 * at)) & _HALF for at in range(words)], (term.field.high, term.listed)
        )

    def _prefixes(self, prefixes: Sequence[bytes]) -> int:
        words = [len(prefixes)]
        for prefix in prefixes:
            words.extend((len(prefix), *prefix))
        return self._table(words, "prefixes")

    def _ranges(self, networks: Sequence[Network], listed: str) -> int:
        merged: list[list[int]] = []
        for network in collapse_addresses(networks):  # type: ignore[type-var]  # all of one version
            first, last = int(network.network_address), int(network.broadcast_address)
            if merged and merged[-1][1] + 1 == first:
                merged[-1][1] = last
            else:
                merged.append([first, last])
        words = [half for ends in merged for end in ends for half in (end >> 64, end & _HALF)]
        return self._table([len(merged), *words], listed)

    def _table(self, words: list[int], named: object) -> int:
        """The index of these words in the tables; a list that is asked for twice stands there once."""
        known = (named, tuple(words))
        if known not in self._known:
            self._known[known] = len(self.tables)
            self.tables.extend(words)
        return self._known[known]


_STORED = f"""\
row.verdict = verdict
row.rule = decoded_by
counts[decoded_by, 0] += 1
counts[decoded_by, 1] += wire[i]
if recorded_by != decoded_by:
    counts[recorded_by, 0] += 1
    counts[recorded_by, 1] += wire[i]
if verdict & {DECODE}:
    counts[decoded_by, 2] += 1
    counts[decoded_by, 3] += captured[i]
if verdict & {RECORD}:
    counts[recorded_by, 4] += 1
    counts[recorded_by, 5] += captured[i]
elif verdict & {RECORD_HEADERS}:
    counts[recorded_by, 4] += 1
    counts[recorded_by, 5] += min(captured[i], np.int64(row.payload) if row.payload > 0 else 128)
""".splitlines()


def _plain_bits(then: Action) -> int | None:
    """The verdict of an action that gives every packet the same one; None for another action."""
    if then.sample > 1 or then.decode not in {ALL, NONE} or then.record not in {ALL, NONE}:
        return None
    record = RECORD if then.record == ALL else RECORD_HEADERS if then.headers else 0
    return (DECODE if then.decode == ALL else 0) | record


def _within_limit(limit: Limit, bits: tuple[int, int], kept: str) -> Iterator[str]:
    """Set the first of two verdict bits within the limit, the second beyond it."""
    within, beyond = bits
    counted = "row.sent_packets" if limit.unit is Unit.PACKETS else "row.sent_before"
    indent = ""
    if kept:
        yield f"if {kept}:"
        indent = "    "
    if limit.count is None or limit.count == 0:
        yield f"{indent}verdict |= {beyond if limit.count == 0 else within}"
    else:
        yield f"{indent}verdict |= {within} if {counted} < {limit.count} else {beyond}"


def _in_network(address: Address, network: Network) -> str:
    first, mask = int(network.network_address), int(network.netmask)
    parts = [f"{address.version} == {network.version}"]
    for code, shift in ((address.high, 64), (address.low, 0)):
        value, bits = (first >> shift) & _HALF, (mask >> shift) & _HALF
        if bits == _HALF:
            parts.append(f"{code} == np.uint64({value:#x})")
        elif bits:
            parts.append(f"({code} & np.uint64({bits:#x})) == np.uint64({value:#x})")
    return _both(address.present, " and ".join(parts))


def _both(present: str, test: str) -> str:
    return f"({present} and {test})" if present else test


def _any(tests: Iterator[str]) -> str:
    found = list(tests)
    if not found:
        return "False"
    return found[0] if len(found) == 1 else f"({' or '.join(found)})"


def _fields(term: Term) -> Iterator[str]:
    match term:
        case AnyOf(terms) | AllOf(terms):
            for part in terms:
                yield from _fields(part)
        case Negation(part):
            yield from _fields(part)
        case _:
            yield term.field.name
