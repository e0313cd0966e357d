"""Databases: strange trees, passwords in statements, answers in parts, trees whose order tshark does not tell."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from producers.decoders.bson import Documents
from producers.decoders.per_flow import MAX_FLOWS, PerFlow
from producers.decoders.secrets import Credentials, Secret
from producers.decoders.state import ALONE
from producers.decoders.statements import statement
from producers.decoders.tree import Tree
from producers.decoders.unit import Role, Unit
from producers.engine.model import Flow
from tests.trees import decoder, event, flow, place

NAMES = ("cassandra", "memcached", "mongodb", "mysql", "pgsql", "tds")
LAYERS = {"cassandra": "cql", "memcached": "memcache", "mongodb": "mongo"}
KEYS = st.sampled_from(
    [
        *(
            "mysql.request",
            "mysql.command",
            "mysql.query",
            "mysql.num_fields",
            "mysql.login_request",
            "mysql.eof",
        ),
        *("mysql.stmt_id", "mysql.error_code", "pgsql.type", "pgsql.frontend", "pgsql.query", "pgsql.portal"),
        *("mongo.opcode", "mongo.response_to", "mongo.msg.sections.section.body", "mongo.elements"),
        *("mongo.element.name", "mongo.element.name_tree", "mongo.element.type", "mongo.document"),
        *("memcache.magic", "memcache.opcode", "memcache.command", "memcache.key", "memcache.response"),
        *("cql.direction", "cql.opcode", "cql.stream", "cql.string", "cql.result.kind", "Metadata"),
        *("tds.type", "tds.status_tree", "tds.status.eom", "tds.rpc.proc_id", "tds.rpc.parameter", "data"),
    ]
)
TEXTS = st.sampled_from(
    [
        "",
        "0",
        "1",
        "2",
        "3",
        "4",
        "8",
        "9",
        "16",
        "-1",
        "0x00",
        "0x08",
        "0xff",
        "2013",
        "99999999999999999999",
        "61:zz",
    ]
) | st.text(max_size=8)
VALUES = st.recursive(
    TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=20,
)


@pytest.mark.parametrize("name", NAMES)
@given(layers=st.lists(st.tuples(st.dictionaries(KEYS, VALUES, max_size=8), st.booleans()), max_size=4))
@settings(max_examples=25, deadline=None)
def test_no_tree_is_too_strange(name: str, layers: list[tuple[dict[str, Any], bool]]) -> None:
    reader, on = decoder(name), flow()
    for layer, forward in layers:
        for unit in reader.units(layer, LAYERS.get(name, name), place(on, forward=forward)):
            if unit.role is Role.RESPONSE:
                event(name, response=unit)
            else:
                event(name, request=unit)


@pytest.mark.parametrize(
    ("text", "shown", "secret"),
    [
        ("CREATE USER a IDENTIFIED BY 's3'", "CREATE USER a IDENTIFIED BY '[redacted]'", ("a", "s3")),
        ("SET PASSWORD FOR a = PASSWORD('s3')", "SET PASSWORD FOR a = PASSWORD('[redacted]')", ("a", "s3")),
        ("ALTER ROLE a PASSWORD 's''3' x", "ALTER ROLE a PASSWORD '[redacted]' x", ("a", "s''3")),
        ("CREATE LOGIN a WITH PASSWORD = N's3'", "CREATE LOGIN a WITH PASSWORD = '[redacted]'", ("a", "s3")),
        ("alter user a password/* x */'s3", "alter user a password/* x */'[redacted]'", ("a", "s3")),
        ("SELECT dblink('user=a password=s3')", "SELECT dblink('user=a password='[redacted]'')", ("", "s3")),
        ("EXEC sp_addlogin 'a', 's3'", "EXEC sp_addlogin 'a', '[redacted]'", ("", "s3")),
        ("SELECT password FROM users WHERE a = 'b'", "SELECT password FROM users WHERE a = 'b'", None),
    ],
)
def test_passwords_in_statements_are_hidden(text: str, shown: str, secret: tuple[str, str] | None) -> None:
    shown_as = statement(text)
    assert shown_as.text == shown
    assert [(c.user, c.secret) for c in shown_as.credentials] == ([secret] if secret else [])


def test_a_hash_is_hidden_and_is_no_password_in_clear() -> None:
    shown_as = statement(f"CREATE USER a IDENTIFIED BY PASSWORD '*{'0A' * 20}'")
    assert shown_as.text.endswith("PASSWORD '[redacted]'")
    assert shown_as.credentials == ()


@given(
    text=st.text(alphabet=" 'aPASWORDpasword=\\\"$(", max_size=400),
    secret=st.from_regex(r"[x-z]{12}", fullmatch=True),
)
@settings(deadline=None)
def test_whatever_stands_before_it_a_password_is_hidden(text: str, secret: str) -> None:
    shown_as = statement(f"{text}\n; CREATE USER a IDENTIFIED BY '{secret}'")
    assert secret not in shown_as.text or text.count("'") % 2 or '"' in text or "$" in text or "\\" in text


@pytest.mark.parametrize(
    "text", ["PASSWORD '" + "''" * 8000, "PASSWORD " * 5000, "IDENTIFIED /*" * 3000, "'" * 16_000]
)
def test_long_statements_are_cut(text: str) -> None:
    assert len(statement(text).text) <= 20_000


def units_of(name: str, *layers: tuple[Tree, bool]) -> list[Unit]:
    reader, on = decoder(name), flow(port=6379)
    return [
        unit
        for layer, forward in layers
        for unit in reader.units(layer, LAYERS.get(name, name), place(on, forward=forward))
    ]


def said(name: str, *data: tuple[bool, bytes]) -> list[Unit]:
    """The units of what the sides have said, a packet each; each with whether the client sent it."""
    reader, on, layer = decoder(name), flow(port=6379), f"netflight_stream_{name}"
    return [
        unit
        for forward, each in data
        for unit in reader.units(
            {f"{layer}.client": str(int(forward)), f"{layer}.bytes": each.hex(":")},
            layer,
            place(on, forward=forward),
        )
    ]


def command(*words: str) -> bytes:
    return f"*{len(words)}\r\n".encode() + b"".join(f"${len(w.encode())}\r\n{w}\r\n".encode() for w in words)


def replies(units: list[Unit]) -> list[tuple[Any, Any]]:
    return [
        (
            u.fields["netflight.redis.reply_type"],
            u.fields.get("redis.return_value", u.fields.get("redis.error")),
        )
        for u in units
        if u.role is Role.RESPONSE
    ]


def test_every_type_of_resp3_is_one_reply() -> None:
    told = (
        b"%2\r\n+a\r\n:1\r\n+b\r\n*2\r\n#t\r\n_\r\n"
        b"~2\r\n$1\r\nx\r\n,inf\r\n"
        b"(123456789012345678901234567890\r\n"
        b"=7\r\ntxt:abc\r\n"
        b"|1\r\n+ttl\r\n:9\r\n$-1\r\n"
        b"!5\r\nERR x\r\n"
        b"$?\r\n;2\r\nab\r\n;1\r\nc\r\n;0\r\n"
        b"*?\r\n:1\r\n:2\r\n.\r\n"
        b",-1.5e3\r\n"
        b"#f\r\n"
        b"*-1\r\n"
    )
    units = said("redis", (True, command("GET", "a") * 11), (False, told))
    assert replies(units) == [
        ("map", "{a: 1, b: [true, nil]}"),
        ("set", "[x, inf]"),
        ("big_number", "123456789012345678901234567890"),
        ("verbatim", "abc"),
        ("null", "nil"),
        ("error", "ERR x"),
        ("bulk", "abc"),
        ("array", "[1, 2]"),
        ("double", "-1.5e3"),
        ("boolean", "false"),
        ("null", "nil"),
    ]
    assert units[15].fields["netflight.redis.attributes"] == "{ttl: 9}"


def test_commands_in_a_line_and_commands_that_nobody_answers() -> None:
    units = said(
        "redis",
        (
            True,
            b'SET a "b c"\r\n\r\nAUTH "hid\\x64en"\r\n'
            + command("CLIENT", "REPLY", "SKIP")
            + command("GET", "a"),
        ),
        (
            True,
            command("CLIENT", "REPLY", "OFF")
            + command("GET", "b")
            + command("CLIENT", "REPLY", "ON")
            + command("PING"),
        ),
        (False, b"+OK\r\n+OK\r\n+OK\r\n+PONG\r\n"),
    )
    told = [(u.fields["query"], u.role) for u in units if u.role is not Role.RESPONSE]
    assert told == [
        ("SET a b c", Role.REQUEST),
        ("AUTH [redacted]", Role.REQUEST),
        ("CLIENT REPLY SKIP", Role.SINGLE),
        ("GET a", Role.SINGLE),
        ("CLIENT REPLY OFF", Role.SINGLE),
        ("GET b", Role.SINGLE),
        ("CLIENT REPLY ON", Role.REQUEST),
        ("PING", Role.REQUEST),
    ]
    assert len(replies(units)) == 4
    assert units[1].credentials == [Credentials("", "hidden", "AUTH")]


def test_subscribers_transactions_and_what_is_pushed() -> None:
    units = said(
        "redis",
        (True, command("MULTI") + command("INCR", "a") + command("EXEC") + command("SUBSCRIBE", "x", "y")),
        (False, b"+OK\r\n+QUEUED\r\n*1\r\n:1\r\n*3\r\n$9\r\nsubscribe\r\n$1\r\nx\r\n:1\r\n"),
        (False, b"*3\r\n$9\r\nsubscribe\r\n$1\r\ny\r\n:2\r\n*3\r\n$7\r\nmessage\r\n$1\r\ny\r\n$2\r\nhi\r\n"),
        (True, command("UNSUBSCRIBE")),
        (
            False,
            b"*3\r\n$11\r\nunsubscribe\r\n$1\r\nx\r\n:1\r\n*3\r\n$11\r\nunsubscribe\r\n$1\r\ny\r\n:0\r\n",
        ),
        (False, b">2\r\n+invalidate\r\n*1\r\n+a\r\n"),
    )
    assert [shown for _, shown in replies(units)] == [
        "OK",
        "QUEUED",
        "[1]",
        "[subscribe, y, 2]",
        "[message, y, hi]",
        "[unsubscribe, y, 0]",
        "[invalidate, [a]]",
    ]
    alone = [u.fields.get("method") for u in units if u.extra == ALONE]
    assert alone == ["MESSAGE", "INVALIDATE"]


def test_a_setting_that_is_asked_for_is_a_secret() -> None:
    told = b"*2\r\n$11\r\nrequirepass\r\n$2\r\ns3\r\n"
    reply = said("redis", (True, command("CONFIG", "GET", "requirepass")), (False, told))[1]
    assert isinstance(reply.fields["redis.return_value"], Secret)


def test_after_a_hole_redis_goes_on_with_the_next_value() -> None:
    reader, on, layer = decoder("redis"), flow(port=6379), "netflight_stream_redis"
    found = []
    for data, hole in ((b"+OK\r\n$100\r\nabc", False), (b"zz\r\n:1\r\n", True), (b"+PONG\r\n", False)):
        tree = {f"{layer}.client": "0", f"{layer}.bytes": data.hex(":")}
        found += reader.units(tree, layer, place(on, forward=False)._replace(hole=hole))
    assert [shown for _, shown in replies(found)] == ["OK", "PONG"]


def test_memcached_reads_all_commands_of_a_packet() -> None:
    units = said(
        "memcached",
        (
            True,
            b"set a 1 0 12\r\nget x\r\nEND\r\n\r\nget a b\r\ndelete a noreply\r\nincr n 5\r\nno such\r\nmg k v\r\n",
        ),
        (False, b"STORED\r\nVALUE a 1 12\r\nget x\r\nEND\r\n\r\nEND\r\n6\r\nERROR\r\nVA 2 t1\r\nHD\r\n"),
    )
    asked = [(u.fields["query"], u.role) for u in units if u.role is not Role.RESPONSE]
    assert asked == [
        ("set a 1 0 12", Role.REQUEST),
        ("get a b", Role.REQUEST),
        ("delete a noreply", Role.SINGLE),
        ("incr n 5", Role.REQUEST),
        ("no such", Role.REQUEST),
        ("mg k v", Role.REQUEST),
    ]
    told = [(u.fields["memcache.response.command"], u.status) for u in units if u.role is Role.RESPONSE]
    assert told == [("STORED", "OK"), ("VALUE", "OK"), ("6", "OK"), ("ERROR", "Error"), ("VA 2 t1", "OK")]


BYTES = st.sampled_from(
    [b"*1\r\n", b"$4\r\n", b"PING\r\n", b"+OK\r\n", b"get a\r\n", b"VALUE a 0 3\r\n", b"END\r\n", b"|1\r\n"]
)


@pytest.mark.parametrize("name", ["memcached", "redis"])
@given(data=st.lists(st.tuples(st.booleans(), BYTES | st.binary(max_size=10)), max_size=8))
@settings(max_examples=60, deadline=None)
def test_nothing_said_is_too_strange(name: str, data: list[tuple[bool, bytes]]) -> None:
    for unit in said(name, *data):
        if unit.role is Role.RESPONSE:
            event(name, response=unit)
        else:
            event(name, request=unit)


def test_a_password_of_mysql_in_clear_is_told() -> None:
    login: Tree = {
        "mysql.user": "a",
        "mysql.passwd": "73:33:00",
        "mysql.client_auth_plugin": "mysql_clear_password",
    }
    unit = units_of("mysql", ({"mysql.login_request": login}, True))[0]
    assert unit.credentials == [Credentials("a", "s3", "mysql_clear_password")]


def test_what_the_server_leaves_out_after_an_error_is_told() -> None:
    front = ["Parse", "Bind", "Execute", "Bind", "Execute", "Sync"]
    asked: list[tuple[Tree, bool]] = [({"pgsql.type": kind, "pgsql.frontend": "1"}, True) for kind in front]
    told: list[tuple[Tree, bool]] = [
        ({"pgsql.type": "Error", "pgsql.frontend": "0", "pgsql.code": "22012"}, False),
        ({"pgsql.type": "Ready for query", "pgsql.frontend": "0", "pgsql.status": "73"}, False),
    ]
    replies = [unit for unit in units_of("pgsql", *asked, *told) if unit.role is Role.RESPONSE]
    assert [unit.status for unit in replies] == ["Error", "Error"]
    assert replies[1].fields["netflight.pgsql.skipped"] is True


def test_documents_hide_secrets_and_end() -> None:
    names = ["pwd", "payload", "n"]
    values = [
        {"mongo.element.type": "0x02", "mongo.element.value.string": "s3"},
        {"mongo.element.type": "0x05", "mongo.element.value.bytes": "00:61"},
        {"mongo.element.type": "0x10", "mongo.element.value.int": "1"},
    ]
    tree: Tree = {"mongo.elements": {"mongo.element.name": names, "mongo.element.name_tree": values}}
    assert Documents().read(tree) == {"pwd": "[redacted]", "payload": "[redacted]", "n": 1}
    endless: Tree = {
        "mongo.elements": {
            "mongo.element.name": [str(n) for n in range(5000)],
            "mongo.element.name_tree": [values[2]] * 5000,
        }
    }
    assert len(Documents().read(endless)) == 2000


def test_flows_are_forgotten() -> None:
    states: PerFlow[list[int]] = PerFlow(list)
    flows = [
        Flow("tcp", 6, 4, "192.0.2.1", "192.0.2.2", 1, 2, "", 0, 0, uid=uid) for uid in range(MAX_FLOWS + 1)
    ]
    first = states.of(place(flows[0]))
    for each in flows[1:]:
        states.of(place(each))
    assert states.of(place(flows[0])) is not first
