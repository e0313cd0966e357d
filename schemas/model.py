"""The dataset model: one YAML file per dataset is the one source of truth for every field.

From it come what tshark is asked for, the JSON Schema, the Elasticsearch mappings, the Kibana objects and
the field reference. A wrong file raises SchemaError with the file and the place in it.
"""

from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Annotated, Literal, TypeVar

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator

from schemas.errors import SchemaError
from schemas.fields import LOADER, FieldName, FieldSpec, FieldType, Of, Strict
from schemas.integration import named

__all__ = [
    "LOADER",
    "Condition",
    "Dataset",
    "DecodeSpec",
    "Envelope",
    "EventSpec",
    "FieldName",
    "FieldSpec",
    "FieldType",
    "Of",
    "Transaction",
    "TsharkSpec",
    "datasets",
    "envelope",
    "event_fields",
    "fields_of",
]

M = TypeVar("M", bound=BaseModel)


class Condition(Strict):
    """What holds of a unit: its tshark field has one of the values (without values: is there at all), its side sent it.

    `side` is the flow's initiator (client) or the other one (server). Values are compared as tshark writes them.
    """

    field: str = ""
    values: tuple[str, ...] = Field(default=(), alias="in")
    side: Literal["", "client", "server"] = ""

    @model_validator(mode="after")
    def _says_something(self) -> "Condition":
        if not self.field and not self.side:
            raise ValueError("a condition needs a field or a side")
        return self


class Transaction(Strict):
    """How units become events.

    `single`: every unit is an event. `pair`: a request meets the response with the same `key` on the same
    flow (`any_flow: true`: on any flow); an empty key pairs in order. `connection`: all units of a flow are one
    event (`again: true`: what comes after it is the next one). `stream`: the first units of a flow with the same key
    are one event, later ones none. Of `single` units with the same key a flow has at most `limit` events (0: any
    number); those past it are counted in one more when the flow ends. After `timeout` seconds of packet time a request
    is an event without its response.

    `ok` and `error` say which responses (of `single`: which units) succeeded or failed; with one of the two, all
    others did the opposite, but for those of `neither` (the exchange goes on), and where the field of `ok` is missing.
    """

    kind: Literal["single", "pair", "connection", "stream"]
    request: Condition | None = None
    response: Condition | None = None
    key: tuple[str, ...] = ()
    any_flow: bool = False
    again: bool = False
    ok: Condition | None = None
    error: Condition | None = None
    neither: Condition | None = None
    limit: int = Field(default=0, ge=0)
    timeout: float = Field(default=10.0, gt=0)


class DecodeSpec(Strict):
    """Which packets the default policy decodes for a dataset, however many: those of ports or of signatures.

    TCP, UDP or SCTP ports; numbers of IP protocols; the protocols that the engine recognises on any port, by their
    names in policies.
    """

    tcp: tuple[Annotated[int, Field(ge=0, le=65_535)], ...] = ()
    udp: tuple[Annotated[int, Field(ge=0, le=65_535)], ...] = ()
    sctp: tuple[Annotated[int, Field(ge=0, le=65_535)], ...] = ()
    ip: tuple[Annotated[int, Field(ge=0, le=255)], ...] = ()
    signatures: tuple[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")], ...] = ()


class TsharkSpec(Strict):
    """What tshark is asked for: its protocol layers and, where needed, its preferences; which packets it needs.

    `nested` are layers that tshark shows inside of others (which some dataset must ask for), as NTLMSSP in SMB. A
    layer is a unit, or, with `each`, every object of that name in it is one, with what the layer says outside of them.
    With `bare`, a layer in which tshark shows nothing is read, too, as an empty one. `beside` are layers of the same
    packet that a decoder gets with its own, as children of the same names. `unread` are fields and subtrees that stand
    there often and that no decoder reads: they are left out before the tree is read.
    """

    protocols: tuple[str, ...]
    nested: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    each: str = ""
    bare: bool = False
    unread: tuple[str, ...] = ()
    preferences: dict[str, str] = Field(default_factory=dict)
    decode: DecodeSpec = DecodeSpec()


class EventSpec(Strict):
    """The ECS categorisation that every event of a dataset carries."""

    kind: Literal["event", "alert", "metric", "state"] = "event"
    category: tuple[str, ...] = ("network",)
    type: tuple[str, ...]
    action: str


class Evidence(Strict):
    """A field that shows a failure: by being there, by one of its values (or none of `but`), or from a number on.

    Values are compared as text; of a list one is enough.
    """

    field: FieldName
    values: tuple[str, ...] = Field(default=(), alias="in")
    but: tuple[str, ...] = ()
    least: int | None = Field(default=None, alias="from")


class OutcomeSpec(Strict):
    """What makes an event a success, a failure, or neither, in words for docs/protocols/outcomes.md.

    `evidence`: of each event that failed at least one of these holds. Without any, no event of the dataset fails.
    """

    success: str = ""
    failure: str = ""
    unknown: str = ""
    evidence: tuple[Evidence, ...] = ()


class Dataset(Strict):
    """One dataset. `decoder` names a function where YAML cannot say how a layer becomes units.

    `message` is the event in one line: words, of which those with a `{field}` that is not there are left out. `copies`
    are fields whose values stand under a further name, by integration.yaml.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    title: str
    description: str
    dataset: str = Field(pattern=r"^(network_traffic|netflight)\.[a-z0-9_]+$")
    stream: Literal["logs", "metrics"] = "logs"
    topic: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    protocol: str = ""
    message: str = ""
    envelope: Literal["packet", "derived", "statistic"] = "packet"
    includes_all: bool = False
    event: EventSpec
    tshark: TsharkSpec | None = None
    decoder: str = "fields"
    transaction: Transaction | None = None
    outcome: OutcomeSpec | None = None
    fields: dict[FieldName, FieldSpec]
    copies: dict[FieldName, FieldName] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _consistent(self) -> "Dataset":
        if self.outcome and bool(self.outcome.failure) != bool(self.outcome.evidence):
            raise ValueError("outcome: failure and evidence come together")
        for evidence in self.outcome.evidence if self.outcome else ():
            if evidence.field not in self.fields:
                raise ValueError(f"outcome.evidence: there is no field {evidence.field}")
        if (self.tshark is None) != (self.transaction is None):
            raise ValueError("tshark and transaction come together")
        if self.transaction and self.transaction.kind == "pair" and not self.transaction.request:
            raise ValueError("transaction.request: a pair needs to know its request")
        return self

    def data_stream(self, namespace: str) -> str:
        """The Elasticsearch data stream, `logs-network_traffic.dns-default`."""
        return f"{self.stream}-{self.dataset}-{namespace}"


class Envelope(Strict):
    """The fields that events of many datasets share: `derived` in all, `packet` for decoded packets, `statistic`."""

    derived: dict[FieldName, FieldSpec]
    packet: dict[FieldName, FieldSpec]
    statistic: dict[FieldName, FieldSpec]

    def parts(self, dataset: Dataset) -> dict[str, dict[FieldName, FieldSpec]]:
        """The parts whose fields an event of the dataset can carry, by name."""
        parts = {"derived": self.derived}
        if dataset.envelope == "packet" or dataset.includes_all:
            parts["packet"] = self.packet
        if dataset.envelope == "statistic" or dataset.includes_all:
            parts["statistic"] = self.statistic
        return parts


@cache
def envelope() -> Envelope:
    """The shared fields, from envelope.yaml."""
    return _parse(resources.files("schemas").joinpath("envelope.yaml"), Envelope)


@cache
def datasets() -> dict[str, Dataset]:
    """All datasets by name, in the order of their names."""
    folder = resources.files("schemas").joinpath("datasets")
    files = sorted((item for item in folder.iterdir() if item.name.endswith(".yaml")), key=lambda f: f.name)
    found = {}
    for file in files:
        dataset = _parse(file, Dataset)
        if file.name != f"{dataset.name}.yaml":
            raise SchemaError(f"{file.name}: name: a dataset has the name of its file, not {dataset.name}")
        every = named(dataset.name, dataset.fields)
        found[dataset.name] = dataset.model_copy(update=every._asdict())
    return found


def fields_of(dataset: Dataset) -> dict[str, FieldSpec]:
    """Every field of the dataset with its aliases, envelope first, by name."""
    base = {name: spec for part in envelope().parts(dataset).values() for name, spec in part.items()}
    if dataset.includes_all:
        for other in datasets().values():
            base |= {name: spec for name, spec in other.fields.items() if spec.type is not FieldType.ALIAS}
    return base | dataset.fields


def event_fields(dataset: Dataset) -> dict[str, FieldSpec]:
    """Every field an event of the dataset can carry, without the aliases, which are only in Elasticsearch's mapping."""
    return {name: spec for name, spec in fields_of(dataset).items() if spec.type is not FieldType.ALIAS}


def _parse(file: Traversable, model: type[M]) -> M:
    try:
        text = file.read_text(encoding="utf-8")
        return model.model_validate(yaml.load(text, Loader=LOADER))  # noqa: S506  # it is a safe loader
    except yaml.YAMLError as error:
        raise SchemaError(f"{file.name}: not YAML: {error}") from error
    except ValidationError as error:
        places = "; ".join(
            f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}" for item in error.errors()
        )
        raise SchemaError(f"{file.name}: {places}") from error
