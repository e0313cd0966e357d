"""MongoDB's wire protocol (its manual, "MongoDB Wire Protocol"): commands in OP_MSG and OP_QUERY, and older messages.

A reply names the request it answers. A command is a document whose first element is its name.
"""

import json
from collections.abc import Iterator
from typing import Any

from producers.decoders.base import Decoder
from producers.decoders.bson import Documents, elements, inner, value_of
from producers.decoders.convert import number
from producers.decoders.secrets import Credentials
from producers.decoders.tree import Tree, find_all, first
from producers.decoders.unit import Place, Role, Unit

_REPLY, _UPDATE, _INSERT, _QUERY, _GET_MORE, _DELETE, _KILL = (
    "1",
    "2001",
    "2002",
    "2004",
    "2005",
    "2006",
    "2007",
)
_UNANSWERED = frozenset({_UPDATE, _INSERT, _DELETE, _KILL, "1000"})
_OLD = {_UPDATE: "update", _INSERT: "insert", _QUERY: "find", _GET_MORE: "getMore", _DELETE: "delete"}
_NOT_SHOWN = frozenset({"$db", "lsid", "$readPreference", "$clusterTime", "$configServerState", "apiVersion"})
_LOGINS = frozenset({"createUser", "updateUser", "saslStart", "authenticate"})
_NOT_OK = (0,)  # as a number of any type, or false
_MAX_TEXT = 16_384
_MAX_SEQUENCES = 100


class MongodbDecoder(Decoder):
    """Units of MongoDB: a message to the server is a request, the reply that names it the response."""

    def units(self, layer: Tree, protocol: str, place: Place) -> Iterator[Unit]:
        """One unit per message."""
        columns = self.columns(layer)
        opcode = first(layer, "mongo.opcode")
        answers = number(first(layer, "mongo.response_to"))
        if answers is None or not opcode:
            return
        more = number(first(layer, "mongo.msg.flags")) or 0
        if answers or opcode == _REPLY:
            unit = Unit(Role.RESPONSE, {}, place, protocol, (str(answers),))
            _answer(layer, unit)
        else:
            # A message with moreToCome gets no reply.
            role = Role.SINGLE if opcode in _UNANSWERED or more & 2 else Role.REQUEST
            request = str(number(first(layer, "mongo.request_id")))
            unit = Unit(role, self.read(columns, Role.REQUEST), place, protocol, (request,))
            _ask(layer, opcode, unit)
        yield unit


def _ask(layer: Tree, opcode: str, unit: Unit) -> None:
    full = first(layer, "mongo.full_collection_name")
    bodies = list(find_all(layer, "mongo.msg.sections.section.body")) or list(find_all(layer, "mongo.query"))
    if bodies and (opcode != _QUERY or full.endswith(".$cmd")):
        _command(layer, bodies[0], full.removesuffix(".$cmd"), unit)
        return
    database = full.partition(".")[0]
    reader = Documents()
    fields: dict[str, Any] = {
        "method": _OLD.get(opcode, "killCursors" if opcode == _KILL else "unknown"),
        "resource": full,
        "mongodb.fullCollectionName": full,
        "mongodb.numberToSkip": number(first(layer, "mongo.number_to_skip")),
        "mongodb.numberToReturn": number(first(layer, "mongo.number_to_return")),
        "mongodb.cursorId": first(layer, "mongo.cursor_id"),
        "netflight.mongodb.database": database,
    }
    for name, key in (("query", "query"), ("selector", "selector"), ("update", "update")):
        tree = layer.get(f"mongo.{key}")
        if isinstance(tree, dict):
            fields[f"mongodb.{name}"] = _json(reader.read(tree))
    selector = layer.get("mongo.return_field_selector")
    if isinstance(selector, dict):
        fields["mongodb.returnFieldsSelector"] = _json(reader.read(selector))
    if full:
        asked = fields.get("mongodb.query", fields.get("mongodb.selector", ""))
        fields["query"] = f"{full}.{fields['method']}({asked})"
    _keep(unit, fields)


def _command(layer: Tree, body: Tree, database: str, unit: Unit) -> None:
    parts = dict(elements(body))
    wrapped = parts.get("$query")
    if wrapped is not None:  # as mongos is asked for a read preference
        body = inner(wrapped)
    document = Documents().read(body)
    for section in list(find_all(layer, "mongo.msg.sections.section.doc_sequence"))[:_MAX_SEQUENCES]:
        _add_sequence(layer, section, document)
    name = next(iter(document), "")
    database = str(document.get("$db", database))
    of = document.get("collection") if name == "getMore" else document.get(name)
    full = f"{database}.{of}" if isinstance(of, str) and of else database
    shown = {key: value for key, value in document.items() if key not in _NOT_SHOWN and key != name}
    fields: dict[str, Any] = {
        "method": name[:128],
        "resource": full,
        "query": f"{full}.{name[:128]}({_json(shown)})",
        "mongodb.fullCollectionName": full if full != database else "",
        "mongodb.query": _json(document.get("filter", document.get("query", shown))),
        "mongodb.numberToSkip": _whole(document.get("skip")),
        "mongodb.numberToReturn": _whole(document.get("limit", document.get("batchSize"))),
        "netflight.mongodb.database": database,
    }
    if name == "getMore":
        fields["mongodb.cursorId"] = str(document["getMore"])
    if isinstance(document.get("projection"), dict):
        fields["mongodb.returnFieldsSelector"] = _json(document["projection"])
    for list_name in ("updates", "deletes"):
        listed = document.get(list_name)
        change = listed[0] if isinstance(listed, list) and listed else None
        if isinstance(change, dict):
            fields["mongodb.selector"] = _json(change.get("q"))
            fields["mongodb.update"] = _json(change["u"]) if "u" in change else ""
    _keep(unit, fields)
    if name in _LOGINS or "speculativeAuthenticate" in parts:
        _show(name, body, unit)


def _add_sequence(layer: Tree, section: Tree, document: dict[str, Any]) -> None:
    """Add the documents of a section of their own (payload type 1) under the section's name."""
    name = next(
        (
            first(tree, "mongo.msg.sections.section.doc_sequence_id")
            for tree in find_all(layer, "mongo.msg.sections.section")
            if tree.get("mongo.msg.sections.section.doc_sequence") is section
        ),
        "",
    )
    trees = section.get("mongo.document")
    reader = Documents()
    found = [
        reader.read(tree)
        for tree in (trees if isinstance(trees, list) else [trees])
        if isinstance(tree, dict)
    ]
    if name and found:
        document.setdefault(name, found)


def _show(name: str, body: Tree, unit: Unit) -> None:
    """The user that logs in or is made, and the credentials that it shows."""
    document = Documents().read(body, secrets=True)
    login = document.get("speculativeAuthenticate", document)
    if name in {"createUser", "updateUser"}:
        user, secret = str(document.get(name)), document.get("pwd")
        unit.fields["user.name"] = user
        if isinstance(secret, str) and secret:
            unit.credentials.append(Credentials(user, secret[:256], name))
    elif isinstance(login, dict) and isinstance(login.get("mechanism"), str):
        mechanism = login["mechanism"]
        unit.fields["netflight.mongodb.mechanism"] = mechanism
        payload = login.get("payload")
        proof = _bytes(payload.get("$binary")) if isinstance(payload, dict) else str(payload or "")
        if mechanism == "PLAIN":  # RFC 4616
            parts = proof.split("\0")
            if len(parts) == 3:
                unit.fields["user.name"] = parts[1]
                unit.credentials.append(Credentials(parts[1], parts[2], "PLAIN"))
        elif mechanism.startswith("SCRAM") and proof.startswith("n,,n="):  # RFC 5802, section 7
            user = proof[5:].partition(",")[0]
            unit.fields["user.name"] = user.replace("=2C", ",").replace("=3D", "=")
        elif isinstance(login.get("user"), str):
            unit.fields["user.name"] = login["user"]


def _answer(layer: Tree, unit: Unit) -> None:
    bodies = list(find_all(layer, "mongo.msg.sections.section.body"))
    body = bodies[0] if bodies else next(iter(find_all(layer, "mongo.document")), {})
    fields: dict[str, Any] = {
        "mongodb.startingFrom": first(layer, "mongo.starting_from"),
        "mongodb.cursorId": first(layer, "mongo.cursor_id"),
        "mongodb.numberReturned": number(first(layer, "mongo.number_returned")),
    }
    parts = dict(elements(body))
    cursor = dict(elements(inner(parts.get("cursor", {}))))
    batch = cursor.pop("firstBatch", None) or cursor.pop("nextBatch", None)
    command = "ok" in parts
    document = Documents().read(body) if command else {}
    if batch is not None and isinstance(document.get("cursor"), dict):
        fields["mongodb.numberReturned"] = sum(1 for _ in elements(inner(batch)))
        fields["mongodb.cursorId"] = str(document["cursor"].get("id", ""))
        # A result is data, not what happened.
        document["cursor"] = {
            k: v for k, v in document["cursor"].items() if k not in {"firstBatch", "nextBatch"}
        }
    if command:
        fields["netflight.mongodb.reply"] = _json(document)
    if command:
        document["ok"] = value_of(
            parts["ok"]
        )  # it comes last, and may be beyond what is read of a long answer
    code, text = _error(document)
    if text:
        fields |= {"mongodb.error": text, "error.message": text}
    if code:
        fields["error.code"] = code
    failed = document["ok"] in _NOT_OK if command else bool(text)
    unit.status = "Error" if failed or "error.code" in fields or text else "OK"
    _keep(unit, fields)


def _error(document: dict[str, Any]) -> tuple[str, str]:
    """Code and text of a reply's error: of the command, or of the first of its writes that failed."""
    failed = document.get("ok") in _NOT_OK or "$err" in document or isinstance(document.get("err"), str)
    found = document if failed else {}
    for name in ("writeErrors", "writeConcernError"):
        errors = document.get(name)
        one = errors[0] if isinstance(errors, list) and errors else errors
        if isinstance(one, dict):
            found = one
    text = found.get("errmsg") or found.get("$err") or found.get("err") or ""
    code = found.get("code")
    return str(code) if isinstance(code, int) else "", str(text)


def _keep(unit: Unit, fields: dict[str, Any]) -> None:
    """Give the unit the fields that say something, and the copies of some."""
    unit.fields.update({name: value for name, value in fields.items() if value not in {None, ""}})
    for name in ("method", "query"):
        if name in unit.fields:
            unit.fields[f"network_traffic.mongodb.{name}"] = unit.fields[name]


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)[:_MAX_TEXT]


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _bytes(digits: Any) -> str:
    try:
        return bytes.fromhex(str(digits)).decode("utf-8", "replace")
    except ValueError:
        return ""
