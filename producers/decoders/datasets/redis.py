"""Redis' protocol, RESP2 (redis.io, "Redis serialization protocol"): commands and replies, which come in order.

tshark puts values of one type that stand in one packet, or in one array, under one name. So the order of values of
different types is not told: in a packet it is taken from what the commands reply, in an array it is that of the types.
Inline commands are shown without their text, and what only RESP3 has is not understood.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from producers.decoders.secrets import REDACTED, Credentials, Secret
from producers.decoders.state import ALONE, MAX_WAITING, SessionDecoder
from producers.decoders.tree import Tree, first, texts
from producers.decoders.turns import Turns
from producers.decoders.unit import Place, Role, Unit
from schemas.model import Dataset

_PORT = 6379
_MAX_TEXT = 8192  # characters of a value that are looked at
_MAX_ITEMS = 1000
_MAX_DEPTH = 8
_TYPES = {
    "resp.string": "string",
    "resp.error": "error",
    "resp.integer": "integer",
    "resp.bulk_string": "bulk",
    "resp.array": "array",
    "resp.fragment": "unknown",
}
_SUBSCRIBE = frozenset(
    {"SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE", "UNSUBSCRIBE", "PUNSUBSCRIBE", "SUNSUBSCRIBE"}
)
_MESSAGES = frozenset({"message", "pmessage", "smessage"})
# What commands reply with, where it is of one type; in a transaction every command but the last is QUEUED.
_KNOWN = {
    "string": (
        "SET MSET SETEX PSETEX AUTH SELECT PING MULTI DISCARD WATCH UNWATCH RENAME TYPE FLUSHDB FLUSHALL "
        "HMSET LSET LTRIM QUIT SAVE BGSAVE RESTORE SWAPDB REPLICAOF SLAVEOF MIGRATE"
    ),
    "integer": (
        "INCR DECR INCRBY DECRBY APPEND STRLEN DEL UNLINK EXISTS EXPIRE PEXPIRE EXPIREAT PEXPIREAT TTL "
        "PTTL PERSIST SETNX MSETNX LPUSH RPUSH LPUSHX RPUSHX LLEN LREM LINSERT SADD SREM SCARD SISMEMBER "
        "SMOVE ZADD ZREM ZCARD ZCOUNT ZRANK HSET HSETNX HDEL HLEN HEXISTS HINCRBY PUBLISH DBSIZE SETBIT "
        "GETBIT BITCOUNT SETRANGE PFADD PFCOUNT TOUCH XLEN XACK XDEL GEOADD COPY MOVE LASTSAVE"
    ),
    "bulk": (
        "GET GETSET GETDEL GETEX GETRANGE LPOP RPOP LINDEX HGET SPOP SRANDMEMBER ZSCORE ZINCRBY "
        "HINCRBYFLOAT INCRBYFLOAT RANDOMKEY DUMP ECHO INFO RPOPLPUSH LMOVE XADD"
    ),
    "array": (
        "MGET KEYS LRANGE SMEMBERS SINTER SUNION SDIFF ZRANGE ZREVRANGE ZRANGEBYSCORE HGETALL HMGET HKEYS "
        "HVALS EXEC SCAN SSCAN HSCAN ZSCAN TIME BLPOP BRPOP XRANGE XREAD HELLO COMMAND SORT ROLE SLOWLOG"
    ),
}
_REPLIES = {name: kind for kind, names in _KNOWN.items() for name in names.split()}
_QUEUED_ANYWAY = frozenset({"MULTI", "EXEC", "DISCARD", "WATCH", "RESET", "QUIT"})
_SETTINGS = ("requirepass", "masterauth", "pass", "password")


@dataclass(slots=True)
class _Waiting:
    """A command without its reply: its name, the type of the reply, how many are to come, whether it is a secret.

    `key` is that of its unit.
    """

    name: str
    expected: str = ""
    left: int = 1
    secret: bool = False
    key: tuple[str, ...] = ()


@dataclass(slots=True)
class _Session:
    waiting: Turns[_Waiting] = field(default_factory=lambda: Turns(MAX_WAITING))
    queueing: bool = False
    numbered: int = 0

    def ask(self, waiting: _Waiting, unit: Unit) -> None:
        """A command was sent: its unit gets a key that no other of the connection has."""
        self.numbered += 1
        waiting.key = unit.key = (str(self.numbered),)
        self.waiting.ask(waiting, unit.place)


class RedisDecoder(SessionDecoder[_Session]):
    """Units of Redis: commands are requests; a packet's replies are put into the order of the commands."""

    def __init__(self, dataset: Dataset) -> None:
        super().__init__(dataset, _Session)

    def units(self, layer: Tree, protocol: str, place: Place) -> Iterator[Unit]:
        """One unit per command or reply; one that goes on in the next packet is none yet."""
        session = self.sessions.of(place)
        if _from_client(place):
            for array in _trees(layer, "resp.array"):
                if not _is_partial(array):
                    yield _command(_arguments(array), session, Unit(Role.REQUEST, {}, place, protocol))
            for _ in texts(layer.get("resp.fragment")):
                unit = Unit(Role.REQUEST, {"netflight.redis.inline": True}, place, protocol)
                session.ask(_Waiting(""), unit)
                yield unit
            return
        values = [(kind, value) for kind, value in _values(layer) if not _is_partial(value)]
        inferred = len({kind for kind, _ in values}) > 1
        for kind, value in _in_order(values, session) if inferred else values:
            reply = _reply(kind, value, session, Unit(Role.RESPONSE, {}, place, protocol))
            if reply is not None:
                if inferred and not reply.extra:
                    reply.fields["netflight.redis.inferred"] = True
                yield reply


def _from_client(place: Place) -> bool:
    """Whether the client sent it: by the port where it is Redis' own, else by who began."""
    flow = place.flow
    if flow is not None and flow.destination_port != _PORT and flow.source_port == _PORT:
        return not place.from_initiator
    return place.from_initiator


def _command(arguments: list[str], session: _Session, unit: Unit) -> Unit:
    name = arguments[0].upper() if arguments else ""
    subcommand = arguments[1].upper() if len(arguments) > 1 else ""
    _waits(name, arguments, session, unit)
    fields = unit.fields
    if not name:
        return unit
    fields["method"] = name[:64]
    shown = _without_secrets(name, subcommand, arguments, unit)
    fields["query"] = fields["redis.query"] = fields["network_traffic.redis.query"] = " ".join(shown)[
        : 2 * _MAX_TEXT
    ]
    if len(shown) > 1 and shown[1] != REDACTED and name != "AUTH":
        fields["resource"] = shown[1]
    return unit


def _waits(name: str, arguments: list[str], session: _Session, unit: Unit) -> None:
    """Remember what the command will be answered with."""
    queued = session.queueing and name not in _QUEUED_ANYWAY
    expected = "string" if queued else _REPLIES.get(name, "")
    replies = max(len(arguments) - 1, 1) if name in _SUBSCRIBE else 1
    secret = name == "CONFIG" and [argument.upper() for argument in arguments[1:2]] == ["GET"]
    session.ask(_Waiting(name, expected, replies, secret), unit)
    if name in {"MULTI", "EXEC", "DISCARD", "RESET"}:
        session.queueing = name == "MULTI"


def _without_secrets(  # noqa: C901  # one branch for each command
    name: str, subcommand: str, arguments: list[str], unit: Unit
) -> list[str]:
    """The arguments without the secrets in them, of which the unit tells; see redis.io for each command's form."""
    found: list[tuple[int, str]] = []  # where a secret is, and whose it is
    user = ""
    upper = [argument.upper() for argument in arguments]
    if name == "AUTH":
        user = arguments[1] if len(arguments) > 2 else ""
        found = [(len(arguments) - 1, user)] if len(arguments) > 1 else []
    elif name in {"HELLO", "MIGRATE"}:
        for word, names in (("AUTH", name == "HELLO"), ("AUTH2", True)):
            if word in upper[1:]:
                at = upper.index(word, 1) + 1
                user = arguments[at] if names and at + 1 < len(arguments) else ""
                found.append((at + names, user))
    elif (name, subcommand) == ("CONFIG", "SET"):
        found = [
            (at + 1, "default")
            for at in range(2, len(arguments) - 1, 2)
            if arguments[at].lower().endswith(_SETTINGS)
        ]
    elif (name, subcommand) == ("ACL", "SETUSER"):
        user = arguments[2] if len(arguments) > 2 else ""
        found = [(at, user) for at in range(3, len(arguments)) if arguments[at][:1] in {">", "<", "#", "!"}]
    shown = list(arguments)
    for at, whose in found:
        if at < len(arguments) and arguments[at]:
            shown[at] = REDACTED
            if arguments[at][:1] not in {"#", "!"} or name != "ACL":  # those are hashes
                secret = arguments[at][1:] if name == "ACL" else arguments[at]
                unit.credentials.append(Credentials(whose, secret[:256], name))
    if name in {"AUTH", "HELLO"} and user:
        unit.fields["user.name"] = user
    return shown


def _reply(kind: str, value: Any, session: _Session, unit: Unit) -> Unit | None:
    """The unit of a reply; None where more of it are to come, as one for each channel."""
    fields, secret = unit.fields, False
    fields["netflight.redis.reply_type"] = kind
    head = _arguments(value)[:1] if kind == "array" else []
    if head and head[0] in _MESSAGES:
        unit.extra = ALONE
        arguments = _arguments(value)
        fields |= {"method": head[0].upper(), "resource": arguments[1] if len(arguments) > 1 else ""}
    else:
        waiting = session.waiting.hear(unit.place)
        if waiting is not None:
            waiting.left, secret = waiting.left - 1, waiting.secret
            if waiting.left > 0 and kind == "array":
                return None
        taken = session.waiting.answer(unit.place)
        unit.key, unit.doubtful = taken.item.key if taken.item else (), taken.doubtful
    if kind == "error":
        fields["redis.error"] = fields["error.message"] = str(value)
        # MOVED and ASK send the client to another node of a cluster.
        unit.status = "" if str(value).startswith(("MOVED ", "ASK ")) else "Error"
    elif kind != "unknown":
        text = _text(value, kind, 0)
        fields["redis.return_value"] = Secret(text) if secret else text
        unit.status = "" if unit.extra else "OK"
    return unit


def _values(layer: Tree) -> Iterator[tuple[str, Any]]:
    """The values of a packet by their types, those of a type in order."""
    for name, value in layer.items():
        kind = _TYPES.get(name)
        if kind in {"array", "bulk"}:
            yield from ((kind, tree) for tree in _trees(layer, name))
        elif kind is not None:
            yield from ((kind, text) for text in texts(value))


def _in_order(values: list[tuple[str, Any]], session: _Session) -> Iterator[tuple[str, Any]]:
    """The values in the order of the commands that wait: each takes the next one of its type, or an error."""
    left: dict[str, deque[Any]] = {}
    for kind, value in values:
        left.setdefault(kind, deque()).append(value)
    for waiting in list(session.waiting):
        for kind in (waiting.expected, "error", *left) if waiting.expected else left:
            if left.get(kind):
                yield kind, left[kind].popleft()
                break
    for kind, rest in left.items():
        yield from ((kind, value) for value in rest)


def _trees(layer: Tree, name: str) -> list[Tree]:
    value = layer.get(name)
    return [item for item in (value if isinstance(value, list) else [value]) if isinstance(item, dict)]


def _is_partial(value: Any) -> bool:
    """Whether tshark will show the whole of it in a later packet."""
    if not isinstance(value, dict):
        return False
    expert = value.get("_ws.expert")
    notes = expert if isinstance(expert, list) else [expert]
    return any(isinstance(note, dict) and "resp.reassembled_in_next_frame" in note for note in notes) or any(
        _is_partial(item) for item in _trees(value, "resp.array")
    )


def _arguments(array: Any) -> list[str]:
    """The strings of an array that has nothing else, as commands are."""
    if not isinstance(array, dict):
        return []
    return [
        _bytes(first(tree, "resp.bulk_string.value"))
        for tree in _trees(array, "resp.bulk_string")[:_MAX_ITEMS]
    ]


def _text(value: Any, kind: str, depth: int) -> str:
    """A value as text: nil for none, lists in brackets."""
    if kind == "bulk":
        if first(value, "resp.bulk_string.length").startswith("-"):
            return "nil"
        return _bytes(first(value, "resp.bulk_string.value"))
    if kind == "array":
        if first(value, "resp.array.length").startswith("-"):
            return "nil"
        if depth == _MAX_DEPTH:
            return "[...]"
        items = [_text(item, of, depth + 1) for of, item in list(_values(value))[:_MAX_ITEMS]]
        return f"[{', '.join(items)}]"
    return str(value)


def _bytes(digits: str) -> str:
    """Bytes as tshark writes them, as text; what is no UTF-8 is U+FFFD."""
    try:
        return bytes.fromhex(digits[: 3 * _MAX_TEXT].replace(":", "")).decode("utf-8", "replace")
    except ValueError:
        return ""
