"""DNS, and its relatives on the local link: multicast DNS (RFC 6762) and LLMNR (RFC 4795)."""

from collections.abc import Iterator
from typing import Any, ClassVar

from producers.decoders.base import Decoder
from producers.decoders.convert import number
from producers.decoders.dns_names import Names
from producers.decoders.dns_records import SECTIONS, addresses, edns, extended_code, named, questions, records
from producers.decoders.local_names import asker, responder
from producers.decoders.tables import name_or_number
from producers.decoders.tree import Columns, Tree
from producers.decoders.unit import Place, Role, Unit

_FLAGS = (
    ("AA", "dns.flags.authoritative"),
    ("TC", "dns.flags.truncated"),
    ("RD", "dns.flags.recdesired"),
    ("RA", "dns.flags.recavail"),
    ("AD", "dns.flags.authenticated"),
    ("CD", "dns.flags.checkdisable"),
)

_TRY_AGAIN = "BADCOOKIE"  # the client asks again with the cookie that comes with it (RFC 7873, section 5.3)


class DnsDecoder(Decoder):
    """Units of DNS messages; the question is part of what meets a response with its query.

    `text` says that names are UTF-8, as on the local link, so that only what is no text is escaped.
    """

    text: ClassVar[bool] = False

    def extra_fields(self) -> frozenset[str]:
        """The header's flags, and the sign of a repeated message."""
        return frozenset(field for _, field in _FLAGS) | {"dns.retransmission"}

    def units(self, layer: Tree, protocol: str, place: Place) -> Iterator[Unit]:
        """One unit per message; a message that tshark knows to be a retransmission is none."""
        columns = self.columns(_header(layer))
        role = self.role(columns, place)
        if role is None or "dns.retransmission" in columns:
            return
        unit = Unit(role, self.read(columns, role), place, protocol, self.key(columns))
        fields, names = unit.fields, Names(layer, place.message, text=self.text)
        asked = questions(layer, names)[:1]
        unit.extra = ("", "")
        for question in asked:
            fields.update(_asked(question))
            unit.extra = (question.get("name", ""), question["type"])
        fields["dns.header_flags"] = _flags(columns)
        fields.update(edns(layer))
        if role is Role.RESPONSE:
            _answer(unit, layer, columns, names)
        if names.errors:
            fields["netflight.dns.name_errors"] = names.errors
        yield unit

    def match(self, request: Unit, response: Unit) -> bool:
        """The response repeats the question, or has none (as some refusals)."""
        asked: tuple[str, str] = request.extra
        answered: tuple[str, str] = response.extra
        return answered == ("", "") or (asked[0].lower(), asked[1]) == (answered[0].lower(), answered[1])

    def complete(self, fields: dict[str, Any], request: Unit | None, response: Unit | None) -> None:
        """Say whether there was an answer; flags are the response's where there is one."""
        fields["dns.type"] = "answer" if response else "query"
        told = response or request
        if told is not None:
            fields["dns.header_flags"] = told.fields["dns.header_flags"]


class LlmnrDecoder(DnsDecoder):
    """LLMNR: who asks a group is answered from another address, so asker and id say what belongs together."""

    text = True

    def units(self, layer: Tree, protocol: str, place: Place) -> Iterator[Unit]:
        """One unit per message, as of DNS."""
        for unit in super().units(layer, protocol, place):
            unit.key = (*unit.key, *asker(unit))
            yield unit

    def complete(self, fields: dict[str, Any], request: Unit | None, response: Unit | None) -> None:
        """Say who answered, too."""
        super().complete(fields, request, response)
        fields.update(responder("llmnr", response))


class MdnsDecoder(DnsDecoder):
    """Multicast DNS: every message for itself; many questions, and answers that nobody asked for."""

    text = True

    def extra_fields(self) -> frozenset[str]:
        """The header's flags, and whether it is a response."""
        return super().extra_fields() | {"dns.flags.response"}

    def units(self, layer: Tree, protocol: str, place: Place) -> Iterator[Unit]:
        """One unit per message, also where tshark calls it repeated: all have the same id."""
        columns = self.columns(_header(layer))
        if "dns.flags.response" not in columns:
            return
        unit = Unit(Role.SINGLE, self.read(columns, Role.SINGLE), place, protocol)
        names = Names(layer, place.message, text=self.text)
        fields, asked = unit.fields, questions(layer, names)
        for question in asked[:1]:
            fields.update(_asked(question))
        told = {
            "netflight.mdns.questions": asked,
            "dns.answers": records(layer, "Answers", names),
            "netflight.mdns.authorities": records(layer, "Authoritative nameservers", names),
            "netflight.mdns.additionals": [
                record for record in records(layer, "Additional records", names) if record["type"] != "OPT"
            ],
        }
        fields.update({name: values for name, values in told.items() if values})
        resolved = addresses([*told["dns.answers"], *told["netflight.mdns.additionals"]])
        if resolved:
            fields["dns.resolved_ip"] = resolved
        for section in ("dns.answers", "netflight.mdns.authorities", "netflight.mdns.additionals"):
            _add_told(unit, told[section])
        response = columns["dns.flags.response"][0] in ("1", "True")
        fields["dns.type"] = "answer" if response else "query"
        fields["dns.header_flags"] = _flags(columns)
        if names.errors:
            fields["netflight.dns.name_errors"] = names.errors
        yield unit

    def complete(self, fields: dict[str, Any], request: Unit | None, response: Unit | None) -> None:
        """There is nothing but the message."""


def _header(layer: Tree) -> Tree:
    return {key: value for key, value in layer.items() if key not in SECTIONS}


def _flags(columns: Columns) -> list[str]:
    return [flag for flag, field in _FLAGS if columns.get(field) in (["1"], ["True"])]


def _add_told(unit: Unit, told: list[dict[str, Any]]) -> None:
    """Add the hosts and addresses that records tell for related.*; their owners go there as fields."""
    hosts, found = named(told)
    unit.hosts += hosts
    unit.addresses += found


def _asked(question: dict[str, Any]) -> dict[str, Any]:
    return {f"dns.question.{part}": question[part] for part in ("name", "type", "class") if part in question}


def _answer(unit: Unit, layer: Tree, columns: Columns, names: Names) -> None:
    """Read what a response says beyond its header into the unit."""
    fields = unit.fields
    answers = records(layer, "Answers", names)
    if answers:
        fields["dns.answers"] = answers
    resolved = addresses(answers)
    if resolved:
        fields["dns.resolved_ip"] = resolved
    extended = extended_code(layer)
    if extended:
        header = number(columns.get("dns.flags.rcode", ["0"])[0]) or 0
        fields["dns.response_code"] = name_or_number("dns_rcode", extended << 4 | header)
    _add_told(unit, answers)
    code = fields.get("dns.response_code")
    if code is not None and code != _TRY_AGAIN:
        unit.status = "OK" if code == "NOERROR" else "Error"
