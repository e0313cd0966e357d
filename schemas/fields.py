"""A field: its type, what it is, which fields of tshark it is read from."""

from enum import StrEnum
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times faster; the same safe subset
FieldName = Annotated[str, Field(pattern=r"^(@timestamp|[a-z][a-z0-9_]*(\.[a-zA-Z0-9_-]+)*)$")]


class FieldType(StrEnum):
    """Elasticsearch's name of a field's type, for the full dialect."""

    KEYWORD = "keyword"
    WILDCARD = "wildcard"
    TEXT = "match_only_text"
    IP = "ip"
    LONG = "long"
    DOUBLE = "double"
    BOOLEAN = "boolean"
    DATE = "date"
    GEO_POINT = "geo_point"
    OBJECT = "object"
    ALIAS = "alias"


class Of(StrEnum):
    """Which unit of a transaction a field is read from."""

    ANY = "any"
    REQUEST = "request"
    RESPONSE = "response"


class Strict(BaseModel):
    """A part of a YAML file: an unknown name in it is an error, and nobody changes it."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class FieldSpec(Strict):
    """One ECS field: its type, and the tshark fields it is read from (the first that is there).

    `convert` names a converter in producers/decoders/convert.py; `names` says what numbers (1 and 0 for true and
    false) mean, and needs none. `array` says that every occurrence is kept, each value once with `distinct`.
    `related` puts the value into related.*, too, or with `none` keeps it out; addresses go there by their type, and
    what has the name of a host, user or hash by that (schemas/related.py). An alias is in no event: in Elasticsearch it
    is another name of the field `path`. `content`: what kind of content the field shows, which the operator can leave
    out (`decode.content`).
    """

    type: FieldType
    description: str
    example: Any = None
    array: bool = False
    distinct: bool = False
    tshark: tuple[str, ...] = ()
    convert: str = "text"
    names: dict[int, str] = Field(default_factory=dict)
    of: Of = Of.ANY
    path: str = ""
    related: Literal["", "none", "hosts", "user", "hash"] = ""
    content: Literal[
        "", "http_bodies", "http_headers", "icmp_payload", "ldap_attributes", "rpc_arguments"
    ] = ""

    @model_validator(mode="before")
    @classmethod
    def _one_or_many(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("tshark"), str):
            return {**data, "tshark": (data["tshark"],)}
        return data
