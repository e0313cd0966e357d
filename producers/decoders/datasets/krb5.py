"""Kerberos (RFC 4120): requests for tickets, read part by part: tickets inside of them have names of their own."""

from collections.abc import Iterator
from typing import Any

from producers.decoders.base import Decoder
from producers.decoders.convert import CONVERTERS, choice, number
from producers.decoders.records import WITHIN
from producers.decoders.tables import name_or_number
from producers.decoders.tree import Tree, collect, texts
from producers.decoders.unit import Place, Unit

_ELEMENTS = ("as_req", "tgs_req", "ap_req", "as_rep", "tgs_rep", "ap_rep", "krb_error")
_CARRIERS = {"smb2": "smb", "cldap": "ldap"}  # where the dataset has another name than the layer
_MECHANISMS = {"spnego": "SPNEGO", "gss-api": "GSS-API"}
_OPTIONS = (
    *("forwardable", "forwarded", "proxiable", "proxy", "allow.postdate", "postdated", "renewable"),
    *("opt.hardware.auth", "constrained.delegation", "canonicalize", "request.anonymous"),
    *("disable.transited.check", "renewable.ok", "enc.tkt.in.skey", "renew", "validate"),
)
_TIMES = {"from": "kerberos.from", "till": "kerberos.till", "renew_till": "kerberos.rtime"}
_WHEN = CONVERTERS["time"]
_TOO_BIG = "52"  # KRB_ERR_RESPONSE_TOO_BIG (RFC 4120, section 7.5.9)
_PROOFS = frozenset({"PA-ENC-TIMESTAMP", "PA-TGS-REQ", "PA-PK-AS-REQ", "PA-ENCRYPTED-CHALLENGE"})


class Krb5Decoder(Decoder):
    """Units of requests, replies and errors. They pair in order: a client has one request under way on a flow.

    Those of the AS and TGS exchanges go to a KDC, those of the AP exchange to the service, inside of its protocol.
    """

    def units(self, layer: Tree, protocol: str, place: Place) -> Iterator[Unit]:
        """One unit per message; the third leg of an AP exchange, which the client sends, is none."""
        for name in _ELEMENTS:
            for message in _children(layer, f"kerberos.{name}_element"):
                columns = {"kerberos.msg_type": texts(message.get("kerberos.msg_type"))[:1]}
                role = self.role(columns, place) if columns["kerberos.msg_type"] else None
                if role is None or (name == "ap_rep" and place.from_initiator):
                    continue
                columns["kerberos.error_code"] = texts(message.get("kerberos.error_code"))[:1]
                columns = {field: found for field, found in columns.items() if found}
                unit = Unit(role, {}, place, protocol, status=self.status(columns, role, place))
                if name == "krb_error" and "kerberos.error_code" not in columns:
                    unit.status = ""
                if name == "ap_req":
                    _for_service(unit.fields, message, layer.get(WITHIN))
                elif name == "ap_rep":
                    unit.fields["netflight.krb5.request_type"] = "AP"
                elif name.endswith("_req"):
                    self._request(unit.fields, message, name)
                else:
                    _response(unit.fields, message, name)
                yield unit

    def complete(self, fields: dict[str, Any], request: Unit | None, response: Unit | None) -> None:
        """The client is the user, and who it is may be in the reply alone.

        A reply that is too big for UDP to one who has authenticated is a success: the KDC has taken the proof.
        """
        if request and response and fields.get("error.code") == _TOO_BIG:
            proofs = request.fields.get("netflight.krb5.preauthentication", ())
            if not _PROOFS.isdisjoint(proofs):
                response.status = "OK"
        for said, name in (("client", "user.name"), ("client_realm", "user.domain")):
            if f"netflight.krb5.{said}" in fields:
                fields[name] = fields[f"netflight.krb5.{said}"]

    def _request(self, fields: dict[str, Any], message: Tree, name: str) -> None:
        fields["netflight.krb5.request_type"] = name.removesuffix("_req").upper()
        _put(fields, "preauthentication", _padata(message.get("kerberos.padata_tree")))
        for body in _children(message, "kerberos.req_body_element"):
            _put(fields, "realm", _text(body, "kerberos.realm"))
            _principal(fields, "client", body, "kerberos.cname_element", "kerberos.CNameString")
            if "netflight.krb5.client" in fields:
                _put(fields, "client_realm", _text(body, "kerberos.realm"))
            _principal(fields, "service", body, "kerberos.sname_element", "kerberos.SNameString")
            kind = [_text(part, "kerberos.name_type") for part in _children(body, "kerberos.cname_element")]
            if kind:
                spec = self.dataset.fields["netflight.krb5.name_type"]
                _put(fields, "name_type", choice(spec.names)(kind[0]))
            types = collect(body, frozenset({"kerberos.ENCTYPE"})).get("kerberos.ENCTYPE", [])
            _put(fields, "etypes", _names("windows.krb5_etype", types))
            flags = collect(body, frozenset(f"kerberos.KDCOptions.{flag}" for flag in _OPTIONS))
            chosen = [f for f in _OPTIONS if flags.get(f"kerberos.KDCOptions.{f}", [""])[0] in ("1", "True")]
            _put(fields, "options", [flag.replace(".", "_") for flag in chosen])
            for said, field in _TIMES.items():
                _put(fields, said, _WHEN(_text(body, field)))


def _for_service(fields: dict[str, Any], message: Tree, within: object) -> None:
    """What a client shows to a service (RFC 4120 section 5.5.1), and in which protocol (RFC 4121, RFC 4178)."""
    fields["netflight.krb5.request_type"] = "AP"
    _ticket(fields, message)
    flags = collect(
        message, frozenset({"kerberos.APOptions.mutual.required", "kerberos.APOptions.use.session.key"})
    )
    chosen = [name for name, values in flags.items() if values[0] in ("1", "True")]
    _put(fields, "options", [name.removeprefix("kerberos.APOptions.").replace(".", "_") for name in chosen])
    path = within if isinstance(within, list) else []
    mechanism = next((said for name, said in _MECHANISMS.items() if name in path), "Kerberos")
    _put(fields, "mechanism", mechanism)
    if path:
        _put(fields, "carrier", _CARRIERS.get(path[0], path[0]))


def _response(fields: dict[str, Any], message: Tree, name: str) -> None:
    _put(fields, "client_realm", _text(message, "kerberos.crealm"))
    _principal(fields, "client", message, "kerberos.cname_element", "kerberos.CNameString")
    if name == "krb_error":
        _put(fields, "realm", _text(message, "kerberos.realm"))
        _principal(fields, "service", message, "kerberos.sname_element", "kerberos.SNameString")
        code = number(_text(message, "kerberos.error_code"))
        if code is not None:
            fields["error.code"] = str(code)
            fields["error.message"] = name_or_number("windows.krb5_error", code)
        _put(fields, "error_text", _text(message, "kerberos.e_text"))
        _put(fields, "preauthentication_offered", _padata(message.get("kerberos.e_data_tree")))
        return
    fields["netflight.krb5.request_type"] = name.removesuffix("_rep").upper()
    _put(fields, "preauthentication_offered", _padata(message.get("kerberos.padata_tree")))
    _ticket(fields, message)
    for part in _children(message, "kerberos.enc_part_element"):
        _put(fields, "reply_etype", _etype(part))


def _ticket(fields: dict[str, Any], message: Tree) -> None:
    for ticket in _children(message, "kerberos.ticket_element"):
        _put(fields, "ticket.realm", _text(ticket, "kerberos.realm"))
        _principal(fields, "service", ticket, "kerberos.sname_element", "kerberos.SNameString")
        for part in _children(ticket, "kerberos.enc_part_element"):
            _put(fields, "ticket.etype", _etype(part))
            _put(fields, "ticket.kvno", number(_text(part, "kerberos.kvno")))


def _principal(fields: dict[str, Any], said: str, tree: Tree, element: str, field: str) -> None:
    """A name of several parts, as it is written (RFC 1964 section 2.1.1)."""
    for part in _children(tree, element):
        _put(fields, said, "/".join(collect(part, frozenset({field})).get(field, [])))


def _padata(tree: object) -> list[str]:
    if not isinstance(tree, dict):
        return []
    kinds = [_text(data, "kerberos.padata_type") for data in _children(tree, "kerberos.PA_DATA_element")]
    return list(dict.fromkeys(_names("windows.krb5_padata", kinds)))


def _etype(tree: Tree) -> str:
    return "".join(_names("windows.krb5_etype", [_text(tree, "kerberos.etype")]))


def _names(table: str, values: list[str]) -> list[str]:
    numbers = [number(text) for text in values]
    return [name_or_number(table, value) for value in numbers if value is not None]


def _children(tree: Tree, name: str) -> list[Tree]:
    value = tree.get(name)
    return [item for item in (value if isinstance(value, list) else [value]) if isinstance(item, dict)]


def _text(tree: Tree, name: str) -> str:
    return next(iter(texts(tree.get(name))), "")


def _put(fields: dict[str, Any], said: str, value: Any) -> None:
    if value not in ("", None, []):
        fields[f"netflight.krb5.{said}"] = value
