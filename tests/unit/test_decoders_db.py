"""Databases: strange trees, passwords in statements, answers in parts, trees whose order tshark does not tell."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from producers.decoders.bson import Documents
from producers.decoders.per_flow import MAX_FLOWS, PerFlow
from producers.decoders.secrets import Credentials, Secret
from producers.decoders.statements import statement
from producers.decoders.tree import Tree
from producers.decoders.unit import Role, Unit
from producers.engine.model import Flow
from tests.trees import decoder, event, flow, place

NAMES = ("cassandra", "memcached", "mongodb", "mysql", "pgsql", "redis", "tds")
LAYERS = {"cassandra": "cql", "memcached": "memcache", "mongodb": "mongo", "redis": "resp"}
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
        *(
            "resp.array",
            "resp.bulk_string",
            "resp.bulk_string.value",
            "resp.string",
            "resp.error",
            "resp.fragment",
        ),
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
    said = statement(text)
    assert said.text == shown
    assert [(c.user, c.secret) for c in said.credentials] == ([secret] if secret else [])


def test_a_hash_is_hidden_and_is_no_password_in_clear() -> None:
    said = statement(f"CREATE USER a IDENTIFIED BY PASSWORD '*{'0A' * 20}'")
    assert said.text.endswith("PASSWORD '[redacted]'")
    assert said.credentials == ()


@given(
    text=st.text(alphabet=" 'aPASWORDpasword=\\\"$(", max_size=400),
    secret=st.from_regex(r"[x-z]{12}", fullmatch=True),
)
@settings(deadline=None)
def test_whatever_stands_before_it_a_password_is_hidden(text: str, secret: str) -> None:
    said = statement(f"{text}\n; CREATE USER a IDENTIFIED BY '{secret}'")
    assert secret not in said.text or text.count("'") % 2 or '"' in text or "$" in text or "\\" in text


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


def bulk(*texts: str) -> Tree:
    return {
        "resp.array.length": str(len(texts)),
        "resp.bulk_string": [
            {"resp.bulk_string.length": str(len(t)), "resp.bulk_string.value": t.encode().hex(":")}
            for t in texts
        ],
    }


def test_replies_of_several_types_meet_the_commands_that_have_them() -> None:
    asked: Tree = {
        "resp.array": [bulk("SET", "a", "1"), bulk("INCR", "a"), bulk("GET", "b"), bulk("SET", "c", "2")]
    }
    told: Tree = {
        "resp.string": ["OK", "OK"],
        "resp.error": "ERR no",
        "resp.bulk_string": bulk("x")["resp.bulk_string"],
    }
    replies = [
        unit.fields for unit in units_of("redis", (asked, True), (told, False)) if unit.role is Role.RESPONSE
    ]
    assert [f["netflight.redis.reply_type"] for f in replies] == ["string", "error", "bulk", "string"]


def test_a_setting_that_is_asked_for_is_a_secret() -> None:
    asked: Tree = {"resp.array": bulk("CONFIG", "GET", "requirepass")}
    reply = units_of("redis", (asked, True), ({"resp.array": bulk("requirepass", "s3")}, False))[1]
    assert isinstance(reply.fields["redis.return_value"], Secret)


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
