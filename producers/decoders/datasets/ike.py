"""IKE version 1 (RFC 2409) and 2 (RFC 7296): the messages of an exchange, as far as they are in clear."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Any

from producers.decoders.base import Decoder
from producers.decoders.convert import number
from producers.decoders.tables import name_or_number
from producers.decoders.tree import Columns, Tree, find_all, holders, texts
from producers.decoders.unit import Place, Role, Unit
from schemas.model import Dataset

_VERSION_2 = "0x20"
_V1_INFORMATIONAL = "5"
_THREE_MESSAGES = ("4", "32")  # aggressive and quick mode
_LAST_ERROR = 16_383  # of notifications; those above are status (RFC 7296, section 3.10.1)
_MAX_PROPOSALS = 100
_REMEMBERED = 4096  # exchanges of version 1 whose beginning is kept
_TRY_AGAIN = frozenset({17, 16_390, 16_407})  # INVALID_KE_PAYLOAD, COOKIE (RFC 7296), REDIRECT (RFC 5685)
_PROTOCOLS = {"1": "IKE", "2": "AH", "3": "ESP"}
_TRANSFORMS = (
    ("isakmp.tf.id.encr", "ike_encryption"),
    ("isakmp.tf.id.prf", "ike_prf"),
    ("isakmp.tf.id.integ", "ike_integrity"),
    ("isakmp.tf.id.dh", "ike_group"),
    ("isakmp.tf.id.esn", "ike_esn"),
)
_ATTRIBUTES = (
    ("isakmp.ike.attr.encryption_algorithm", "ike1_encryption"),
    ("isakmp.ike.attr.hash_algorithm", "ike1_hash"),
    ("isakmp.ike.attr.authentication_method", "ike1_authentication"),
    ("isakmp.ike.attr.group_description", "ike_group"),
)
_IDENTITIES = (
    *("isakmp.id.data.ipv4_addr", "isakmp.id.data.ipv6_addr", "isakmp.id.data.fqdn"),
    *("isakmp.id.data.user_fqdn", "isakmp.id.data.key_id", "isakmp.id.data.ipv4_subnet"),
)


class IkeDecoder(Decoder):
    """Units of IKE messages. Version 2 says what is a response; in version 1 the sides take turns."""

    def extra_fields(self) -> frozenset[str]:
        """What says who speaks, and of which exchange."""
        return frozenset(
            {
                *(
                    "isakmp.version",
                    "isakmp.flag_r",
                    "isakmp.exchangetype",
                    "isakmp.messageid",
                    "isakmp.ispi",
                ),
                *("isakmp.notify.msgtype", *_IDENTITIES),
            }
        )

    def __init__(self, dataset: Dataset) -> None:
        super().__init__(dataset)
        self._began: OrderedDict[tuple[object, ...], tuple[bool, bool]] = OrderedDict()

    def units(self, layer: Tree, protocol: str, place: Place) -> Iterator[Unit]:
        """One unit per message."""
        columns = self.columns(layer)
        if "isakmp.version" not in columns:
            return
        key = tuple(columns.get(f"isakmp.{name}", [""])[0] for name in ("ispi", "messageid", "exchangetype"))
        role = self._role(columns, place, key)
        unit = Unit(role, self.read(columns, role), place, protocol, key)
        proposals = [
            proposal for tree in holders(layer, "isakmp.prop.number") for proposal in [_proposal(tree)]
        ]
        if proposals:
            name = "selected" if role is Role.RESPONSE else "proposals"
            unit.fields[f"netflight.ike.{name}"] = proposals[:_MAX_PROPOSALS]
        identities = [text for name in _IDENTITIES for text in columns.get(name, ())]
        if identities:
            side = "server" if role is Role.RESPONSE else "client"
            unit.fields[f"netflight.ike.{side}.identity"] = identities[0]
        notified = [
            code for code in map(number, columns.get("isakmp.notify.msgtype", ())) if code is not None
        ]
        if notified:
            unit.fields["netflight.ike.notifications"] = [
                name_or_number("ike_notify", code) for code in notified
            ]
        if role is Role.RESPONSE:
            unit.status = _status(notified)
        yield unit

    def _role(self, columns: Columns, place: Place, key: tuple[str, ...]) -> Role:
        if columns["isakmp.version"][0] == _VERSION_2:
            answer = columns.get("isakmp.flag_r", [""])[0] in ("1", "True")
            return Role.RESPONSE if answer else Role.REQUEST
        if columns.get("isakmp.exchangetype") == [_V1_INFORMATIONAL]:
            return Role.SINGLE
        # Either gateway may begin an exchange: whoever is heard first in it asks. What the asker says after the
        # answer of an exchange of three messages wants none.
        where = (place.flow.uid if place.flow else None, *key)
        began, answered = self._began.get(where, (place.from_initiator, False))
        asks = began == place.from_initiator
        self._began[where] = began, answered or not asks
        if len(self._began) > _REMEMBERED:
            self._began.popitem(last=False)
        if not asks:
            return Role.RESPONSE
        return Role.SINGLE if answered and key[-1] in _THREE_MESSAGES else Role.REQUEST

    def complete(self, fields: dict[str, Any], request: Unit | None, response: Unit | None) -> None:
        """Lists that both sides have are told together; the responder's cookie is that of its answer."""
        if request is None or response is None:
            return
        for name in ("netflight.ike.notifications", "netflight.ike.vendor_ids"):
            both = [*request.fields.get(name, ()), *response.fields.get(name, ())]
            if both:
                fields[name] = list(dict.fromkeys(both))
        if "netflight.ike.responder_spi" in response.fields:
            fields["netflight.ike.responder_spi"] = response.fields["netflight.ike.responder_spi"]


def _status(notified: list[int]) -> str:
    """OK or Error by what is notified; nothing where the initiator is to try again in another way."""
    if any(code <= _LAST_ERROR and code not in _TRY_AGAIN for code in notified):
        return "Error"
    return "" if any(code in _TRY_AGAIN for code in notified) else "OK"


def _proposal(tree: Tree) -> dict[str, Any]:
    """A proposal: its number, protocol and transforms; of version 1, each transform with all its attributes."""
    proposal: dict[str, Any] = {}
    index = number(str(tree["isakmp.prop.number"]))
    if index is not None:
        proposal["number"] = index
    protocol = (texts(tree.get("isakmp.prop.protoid")) or [""])[0]
    if protocol:
        proposal["protocol"] = _PROTOCOLS.get(protocol, protocol)
    transforms = [
        name for inner in find_all(tree, "isakmp.typepayload_tree") for name in [_transform(inner)] if name
    ]
    if transforms:
        proposal["transforms"] = transforms[:_MAX_PROPOSALS]
    return proposal


def _transform(tree: Tree) -> str:
    """A transform by its names in the registry, with the key's length in bits where it has one."""
    for field, table in _TRANSFORMS:
        if field in tree:
            name = name_or_number(table, number(str(tree[field])) or 0)
            return _with_key(name, find_all(tree, "isakmp.ike2.attr"), "isakmp.ike2.attr.key_length")
    names = []
    for field, table in _ATTRIBUTES:
        said = next(iter(holders(tree, field)), None)
        if said is not None:
            name = name_or_number(table, number(str(said[field])) or 0)
            names.append(
                _with_key(name, find_all(tree, "isakmp.ike.attr"), "isakmp.ike.attr.key_length")
                if table == "ike1_encryption"
                else name
            )
    return "/".join(names)


def _with_key(name: str, attributes: Iterable[Tree], field: str) -> str:
    length = next((str(attribute[field]) for attribute in attributes if field in attribute), "")
    return f"{name}-{length}" if length else name
