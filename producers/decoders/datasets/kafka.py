"""Kafka: heads of requests and responses, what they are about, and the errors among them (Kafka protocol guide)."""

from collections.abc import Iterator
from typing import Any

from producers.decoders.base import Decoder
from producers.decoders.convert import choice, number
from producers.decoders.sasl import octets, plain
from producers.decoders.tree import Columns, Tree
from producers.decoders.unit import Place, Role, Unit

_PRODUCE = "0"
_NULL = "[ Null ]"
# Texts of a layout that tshark knows, by our field. A coordinator is asked for by the group's name.
_TEXTS = {
    "netflight.kafka.group": ("kafka.consumer_group", "kafka.coordinator_key"),
    "netflight.kafka.member_id": ("kafka.member_id",),
    "netflight.kafka.transactional_id": ("kafka.transactional_id",),
}
_LISTS = {
    "netflight.kafka.topic": "kafka.topic_name",
    "netflight.kafka.sasl_mechanism": "kafka.sasl_mechanism",
}
_UNKNOWN = ("kafka.unsupported_api_version", "kafka.request_missing")

# What a consumer answers with another request: REBALANCE_IN_PROGRESS, MEMBER_ID_REQUIRED (KIP-394).
_ROUTINE = frozenset({27, 79})


class KafkaDecoder(Decoder):
    """Units of requests and responses.

    Of a version whose layout tshark does not know only the head is told: what it reads of the rest may be wrong.
    """

    def extra_fields(self) -> frozenset[str]:
        """What is told of layouts that are known, and the signs of those that are not."""
        texts = {name for names in _TEXTS.values() for name in names}
        return frozenset(
            {
                *("kafka.len", "kafka.error", "kafka.partition_id", "kafka.generation_id", *_UNKNOWN, *texts),
                *(
                    "kafka.error_message",
                    "kafka.required_acks",
                    "kafka.sasl_authentication",
                    *_LISTS.values(),
                ),
                *("kafka.client_software_name", "kafka.client_software_version"),
            }
        )

    def units(self, layer: Tree, protocol: str, place: Place) -> Iterator[Unit]:
        """One unit per request or response."""
        versions = {name: value for name, value in layer.items() if not name.startswith("API Version ")}
        columns = self.columns(versions)
        role = self.role(columns, place)
        if role is None:
            return
        fields = self.read(columns, role)
        unit = Unit(role, fields, place, protocol, self.key(columns))
        size = number(_first(columns, "kafka.len"))
        if size is not None:
            fields[f"netflight.kafka.{role.name.lower()}_bytes"] = size
        known = not any(name in columns for name in _UNKNOWN)
        if role is Role.REQUEST:
            fields["netflight.kafka.layout_known"] = known
        if known:
            self._add_body(unit, columns)
        yield unit

    def complete(self, fields: dict[str, Any], request: Unit | None, response: Unit | None) -> None:
        """Topics and partitions of both: a request for all topics has none."""
        for name in ("netflight.kafka.topic", "netflight.kafka.partition"):
            told = [item for unit in (request, response) if unit for item in unit.fields.get(name, ())]
            if told:
                fields[name] = list(dict.fromkeys(told))

    def _add_body(self, unit: Unit, columns: Columns) -> None:
        fields = unit.fields
        for field, names in _TEXTS.items():
            text = next((_first(columns, name) for name in names if name in columns), "")
            if text and text != _NULL:
                fields[field] = text
        for field, name in _LISTS.items():
            told = [text for text in columns.get(name, ()) if text and text != _NULL]
            if told:
                fields[field] = list(dict.fromkeys(told))
        partitions = _numbers(columns, "kafka.partition_id")
        if partitions:
            fields["netflight.kafka.partition"] = partitions
        generation = number(_first(columns, "kafka.generation_id"))
        if generation is not None and generation >= 0:
            fields["netflight.kafka.generation"] = generation
        if unit.role is Role.REQUEST:
            _add_request(unit, columns)
            return
        errors = [code for code in _numbers(columns, "kafka.error") if code != 0]
        unit.status = "" if errors and _ROUTINE.issuperset(errors) else "Error" if errors else "OK"
        if errors:
            message = _first(columns, "kafka.error_message")
            if message and message != _NULL:
                fields["error.message"] = message
            name_of = choice(self.dataset.fields["netflight.kafka.error"].names)
            fields["netflight.kafka.error_code"] = errors
            fields["netflight.kafka.error"] = [name_of(str(code)) for code in errors]


def _add_request(unit: Unit, columns: Columns) -> None:
    software = [_first(columns, f"kafka.client_software_{part}") for part in ("name", "version")]
    if any(software):
        unit.fields["netflight.kafka.client.software"] = " ".join(filter(None, software))
    acks = number(_first(columns, "kafka.required_acks"))
    if acks is not None:
        unit.fields["netflight.kafka.acks"] = acks
        if acks == 0 and _first(columns, "kafka.request_key") == _PRODUCE:
            unit.role = Role.SINGLE  # nobody answers it
    login = plain(octets(_first(columns, "kafka.sasl_authentication")))
    if login is not None:
        unit.fields["user.name"] = login.user
        unit.credentials.append(login)


def _numbers(columns: Columns, name: str) -> list[int]:
    found = (number(text) for text in columns.get(name, ()))
    return list(dict.fromkeys(value for value in found if value is not None))


def _first(columns: Columns, name: str) -> str:
    return columns[name][0] if name in columns else ""
