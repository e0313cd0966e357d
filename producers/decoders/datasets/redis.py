"""Redis: commands and replies, which come in order, in either version of its protocol (resp.py), inline ones, too.

Messages to subscribers and what a server pushes (RESP3) answer nobody; with CLIENT REPLY OFF nothing is.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from producers.decoders.resp import MAX_TEXT, RespReader, Value
from producers.decoders.secrets import REDACTED, Credentials, Secret
from producers.decoders.state import ALONE, MAX_WAITING, SessionDecoder
from producers.decoders.stream import piece
from producers.decoders.tree import Tree
from producers.decoders.turns import Turns
from producers.decoders.unit import Place, Role, Unit
from schemas.model import Dataset

_PROTOCOL = "redis"
_MAX_CHANNELS = 1000
_SUBSCRIBE = frozenset({"SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE"})
_UNSUBSCRIBE = frozenset({"UNSUBSCRIBE", "PUNSUBSCRIBE", "SUNSUBSCRIBE"})
_CONFIRMATIONS = frozenset(name.lower() for name in _SUBSCRIBE | _UNSUBSCRIBE)
_MESSAGES = frozenset({"message", "pmessage", "smessage"})
# After these the server sends its data, and then commands, of which nobody answers any.
_REPLICATE = frozenset({"SYNC", "PSYNC"})
_MONITORED = re.compile(r"\d+\.\d+ \[")
# Commands as a client may send them in a line by itself: by these a stream is recognised whose beginning was not seen.
_NAMES = (
    "ACL APPEND AUTH BGREWRITEAOF BGSAVE BITCOUNT BLPOP BRPOP CLIENT CLUSTER COMMAND CONFIG COPY DBSIZE DEBUG "
    "DECR DECRBY DEL DISCARD DUMP ECHO EVAL EVALSHA EXEC EXISTS EXPIRE FLUSHALL FLUSHDB FUNCTION GEOADD GET "
    "GETDEL GETEX GETRANGE GETSET HDEL HELLO HEXISTS HGET HGETALL HINCRBY HKEYS HLEN HMGET HMSET HSCAN HSET "
    "HSETNX HVALS INCR INCRBY INFO KEYS LASTSAVE LATENCY LINDEX LLEN LPOP LPUSH LRANGE LREM LSET LTRIM MEMORY "
    "MGET MIGRATE MODULE MONITOR MSET MSETNX MULTI OBJECT PERSIST PEXPIRE PING PSETEX PSUBSCRIBE PSYNC PTTL "
    "PUBLISH PUBSUB QUIT RANDOMKEY RENAME REPLCONF REPLICAOF RESET RESTORE ROLE RPOP RPUSH SADD SAVE SCAN "
    "SCARD SCRIPT SELECT SET SETEX SETNX SHUTDOWN SISMEMBER SLAVEOF SLOWLOG SMEMBERS SORT SPOP SREM SSCAN "
    "STRLEN SUBSCRIBE SWAPDB SYNC TIME TTL TYPE UNLINK UNSUBSCRIBE UNWATCH WATCH XADD XLEN XRANGE XREAD ZADD "
    "ZCARD ZRANGE ZREM ZSCORE "
)
_COMMANDS = frozenset(_NAMES.split())
_SETTINGS = ("requirepass", "masterauth", "pass", "password")
_OF_USERS = frozenset({"GETUSER", "LIST"})


@dataclass(slots=True)
class _Waiting:
    """A command without its reply: how many replies are to come, whether they are secrets, and its unit's key."""

    name: str
    left: int = 1
    secret: bool = False
    key: tuple[str, ...] = ()


@dataclass(slots=True)
class _Session:
    """A connection: what both sides said last, what waits, whether it is answered at all, and who listens to what."""

    commands: RespReader = field(default_factory=lambda: RespReader(_COMMANDS))
    replies: RespReader = field(default_factory=RespReader)
    waiting: Turns[_Waiting] = field(default_factory=lambda: Turns(MAX_WAITING))
    numbered: int = 0
    off: bool = False
    skip: bool = False
    monitor: bool = False
    replica: bool = False
    channels: dict[str, set[str]] = field(default_factory=dict)

    def ask(self, waiting: _Waiting, unit: Unit) -> None:
        """A command was sent: its unit gets a key that no other of the connection has."""
        self.numbered += 1
        waiting.key = unit.key = (str(self.numbered),)
        self.waiting.ask(waiting, unit.place)


class RedisDecoder(SessionDecoder[_Session]):
    """Units of Redis: commands are requests, replies their responses in the same order."""

    def __init__(self, dataset: Dataset) -> None:
        super().__init__(dataset, _Session)

    def units(self, layer: Tree, protocol: str, place: Place) -> Iterator[Unit]:
        """One unit per command or reply, with the packet that brought the last of it."""
        session = self.sessions.of(place)
        sent = piece(layer, protocol, place)
        place = sent.place
        if sent.client:
            for value in session.commands.read(sent.data, hole=session.commands.lost_before(place)):
                yield _command(value, session, Unit(Role.REQUEST, {}, place, _PROTOCOL))
            return
        for value in session.replies.read(sent.data, hole=session.replies.lost_before(place)):
            if session.replica and not session.waiting:
                return
            unit = _reply(value, session, Unit(Role.RESPONSE, {}, place, _PROTOCOL))
            if unit is not None:
                yield unit


def _command(value: Value, session: _Session, unit: Unit) -> Unit:
    arguments = value.texts()
    name = arguments[0].upper() if arguments else ""
    upper = [argument.upper() for argument in arguments[1:3]]
    fields = unit.fields
    if value.inline:
        fields["netflight.redis.inline"] = True
    if not _is_answered(name, upper, session):
        unit.role = Role.SINGLE
        fields["netflight.redis.reply_off"] = True
    else:
        _waits(name, arguments, session, unit)
    if not name:
        return unit
    fields["method"] = name[:64]
    shown = _without_secrets(name, upper[0] if upper else "", arguments, unit)
    fields["query"] = fields["redis.query"] = fields["network_traffic.redis.query"] = " ".join(shown)[
        : 2 * MAX_TEXT
    ]
    if len(shown) > 1 and shown[1] != REDACTED and name != "AUTH":
        fields["resource"] = shown[1]
    return unit


def _is_answered(name: str, upper: list[str], session: _Session) -> bool:
    """Whether a command will be answered (redis.io, CLIENT REPLY)."""
    skipped, session.skip = session.skip, False
    if name == "CLIENT" and upper[:1] == ["REPLY"]:
        how = upper[1] if len(upper) > 1 else ""
        if how == "ON":
            session.off = False
            return True
        session.skip = how == "SKIP" and not session.off
        session.off |= how == "OFF"
        return how not in {"OFF", "SKIP"} and not session.off
    return not (skipped or session.off)


def _waits(name: str, arguments: list[str], session: _Session, unit: Unit) -> None:
    """Remember what the command will be answered with."""
    replies = 1
    if name in _SUBSCRIBE:
        replies = max(len(arguments) - 1, 1)
    elif name in _UNSUBSCRIBE:
        kind = name.lower().replace("un", "", 1)
        replies = len(arguments) - 1 or max(len(session.channels.get(kind, ())), 1)
    second = arguments[1].upper() if len(arguments) > 1 else ""
    secret = (name, second) == ("CONFIG", "GET") or (name == "ACL" and second in _OF_USERS)
    session.ask(_Waiting(name, replies, secret), unit)
    session.monitor |= name == "MONITOR"
    session.replica |= name in _REPLICATE


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


def _reply(value: Value, session: _Session, unit: Unit) -> Unit | None:
    """The unit of a reply; None where more of it are to come, as one for each channel."""
    fields, secret = unit.fields, False
    fields["netflight.redis.reply_type"] = value.kind
    head = value.items[0].text if value.items and value.kind in ("array", "push") else ""
    first = session.waiting.first
    confirms = head in _CONFIRMATIONS and (first is None or first.name == head.upper())
    if _is_alone(value, head, session) and not confirms:
        unit.extra = ALONE
        fields["method"] = head.upper()[:64] or "MONITOR"
        if head in _MESSAGES and len(value.items) > 1:
            fields["resource"] = value.items[1].text
    else:
        waiting = session.waiting.hear(unit.place)
        if confirms and waiting is not None:
            _listen(head, value, session)
            waiting.left -= 1
            if waiting.left > 0:
                return None
        in_doubt = any(other.secret for other in session.waiting)
        taken = session.waiting.answer(unit.place)
        unit.key, unit.doubtful = taken.item.key if taken.item else (), taken.doubtful
        secret = taken.item.secret if taken.item else in_doubt
    if value.attributes is not None:
        fields["netflight.redis.attributes"] = value.attributes.shown()[: 2 * MAX_TEXT]
    if value.kind == "error":
        fields["redis.error"] = fields["error.message"] = value.text
        # MOVED and ASK send the client to another node of a cluster.
        unit.status = "" if value.text.startswith(("MOVED ", "ASK ")) else "Error"
    else:
        said = value.shown()[: 2 * MAX_TEXT]
        fields["redis.return_value"] = Secret(said) if secret else said
        unit.status = "" if unit.extra else "OK"
    return unit


def _is_alone(value: Value, head: str, session: _Session) -> bool:
    """Whether a value answers no command: a push, a message to a subscriber, what a monitor sees."""
    if value.kind == "push":
        return True
    if value.kind == "array" and head in _MESSAGES and session.channels:
        return True
    return session.monitor and value.kind == "string" and _MONITORED.match(value.text) is not None


def _listen(head: str, value: Value, session: _Session) -> None:
    """A channel is listened to, or no more: `subscribe`, its name, how many there are."""
    kind = head.replace("un", "", 1)
    channels = session.channels.setdefault(kind, set())
    name = value.items[1].text if len(value.items) > 1 else ""
    if kind != head:
        channels.discard(name)
    elif len(channels) < _MAX_CHANNELS:
        channels.add(name)
